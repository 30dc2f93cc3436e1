"""Whether two pictures show the same in the part that both have: the verdict on crops and on things laid over.

One picture, turned, is laid over the other: its edges are moved, and its contrast and brightness, until most of the
pixels fit (Gauss-Newton on small copies, coarse to fine, in which pixels that do not fit lose their say). Then each
pixel of the part that both have either agrees or not. A pixel in a plain area says little, one with detail around it
says much, so that shares are shares of *detail*. Where something was laid over, whole cells disagree; as long as
they are few, the rest decides. Things on a plain ground (cut-outs) are held to narrower bars: their outlines are alike,
and two products may differ in a small part.

Letters: P pairs, S = 64 pixels, K = 8 cells a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops import phash
from webclean.ops.verdict import LUMA
from webclean.ops.windows import Starts

SIDE: Final = 64
"""Side of the square copies that are compared, in pixels."""

BLOCK: Final = 128
"""Pairs compared at once."""

_CELLS: Final = 8
_CELL: Final = SIDE // _CELLS

# Side of the copy, steps, grey levels beyond which a pixel loses its say while the two are brought together, and by how
# much less detail than it must in the end may agree: of means of many pixels, whose colours coding has mixed, less does.
_LEVELS: Final = ((16, 4, 40.0, 0.25), (32, 3, 20.0, 0.1), (SIDE, 1, 15.0, 0.0))
_DAMPING: Final = 1e-3
_LONGEST_STEP: Final = 0.05  # of the side, an edge moves in one step
_FARTHEST: Final = 0.4  # of the side, an edge may lie outside
_GAINS: Final = (0.5, 2.0)

_WHITE: Final = 238.0  # levels from which both are white, whatever was cut off
_CUT_OFF: Final = 230.0  # levels from which on a brighter copy has lost some of the pixels behind a mean
_DETAIL: Final = (
    4.0,
    64.0,
)  # levels of range around a pixel from which it has detail, up to which more counts more
_BAD_CELL: Final = 0.35  # share of a cell's pixels that do not agree
_LEAST_OVERLAP: Final = 0.5  # share of the second picture that the first one covers
_LEAST_DETAIL: Final = 3.0  # mean detail, levels: less is a blank page


@dataclass(frozen=True, slots=True)
class Bars:
    """What a pair must reach to be a copy in the part that both have.

    Attributes:
        levels, per_range: a pixel agrees within so many levels, and so much of the range of levels around it.
        detail: least share of the detail that agrees.
        good_detail: the same outside bad cells.
        good_pixels: least share of the pixels there that agree.
        bad_cells: largest share of bad cells.
        bad_detail: largest share of the detail that lies in them.
        gain: largest change of contrast, up or down: things of one outline may be alike but for that.
    """

    levels: float
    per_range: float
    detail: float
    good_detail: float
    good_pixels: float
    bad_cells: float
    bad_detail: float
    gain: float


SCENE: Final = Bars(
    levels=12.0,
    per_range=0.3,
    detail=0.45,
    good_detail=0.85,
    good_pixels=0.85,
    bad_cells=0.3,
    bad_detail=0.4,
    gain=2.0,
)
"""Bars for two scenes, or a scene and a cut-out."""

SCENE_MEMBER: Final = Bars(
    levels=12.0,
    per_range=0.3,
    detail=0.2,
    good_detail=0.78,
    good_pixels=0.78,
    bad_cells=0.45,
    bad_detail=0.6,
    gain=2.0,
)
"""The same for a member of a group against what stands for it: half as much again may differ."""

CUTOUT: Final = Bars(
    levels=8.0,
    per_range=0.2,
    detail=0.84,
    good_detail=0.86,
    good_pixels=0.9,
    bad_cells=0.12,
    bad_detail=0.2,
    gain=1.12,
)
"""Bars for two cut-outs, members of a group or not: laxer ones would join things of one outline."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well pairs agree once one is laid over the other.

    Attributes:
        detail_P: share of the detail that agrees, in [0, 1].
        good_detail_P: the same outside bad cells.
        good_pixels_P: share of the pixels outside bad cells that agree.
        bad_cells_P: share of bad cells.
        bad_detail_P: share of the detail in them.
        overlap_P: share of the second picture that the first covers.
        amount_P: mean detail, levels.
        gain_P: change of contrast, up or down, that the change of size does not explain; at least 1. Lines
            thinner than a pixel are the paler the smaller a picture is.
    """

    detail_P: NDArray[np.float64]
    good_detail_P: NDArray[np.float64]
    good_pixels_P: NDArray[np.float64]
    bad_cells_P: NDArray[np.float64]
    bad_detail_P: NDArray[np.float64]
    overlap_P: NDArray[np.float64]
    amount_P: NDArray[np.float64]
    gain_P: NDArray[np.float64]

    def reaches(self, bars: Bars) -> NDArray[np.bool_]:
        """(P,) whether each pair is a copy."""
        return (
            (self.detail_P >= bars.detail)
            & (self.good_detail_P >= bars.good_detail)
            & (self.good_pixels_P >= bars.good_pixels)
            & (self.bad_cells_P <= bars.bad_cells)
            & (self.bad_detail_P <= bars.bad_detail)
            & (self.gain_P <= bars.gain)
            & (self.overlap_P >= _LEAST_OVERLAP)
            & (self.amount_P >= _LEAST_DETAIL)
        )


@dataclass(frozen=True, slots=True)
class Task:
    """Up to `BLOCK` pairs to compare; small enough to travel to another process.

    Attributes:
        first_PSSC, second_PSSC: (P, 64, 64, 3) uint8, the first turned already.
        window_P4: part of the turned first that the second may show.
        bars: what makes a copy.
    """

    first_PSSC: NDArray[np.uint8]
    second_PSSC: NDArray[np.uint8]
    window_P4: NDArray[np.float64]
    bars: Bars


def tasks(
    squares_NSSC: NDArray[np.uint8], cutout_N: NDArray[np.bool_], starts: Starts, *, lax: bool = False
) -> Iterator[tuple[NDArray[np.int64], Task]]:
    """Split starts into tasks of one kind of picture each, with the positions of their starts.

    Args:
        squares_NSSC: (N, 64, 64, 3) uint8 copies; may be a memory map.
        cutout_N: which show one thing on a plain ground.
        starts: what to try; `first_P` and `second_P` count in the N.
        lax: by the bars for members of a group.
    """
    is_cutout_P = cutout_N[starts.first_P] & cutout_N[starts.second_P]
    for is_cutout, bars in ((False, SCENE_MEMBER if lax else SCENE), (True, CUTOUT)):
        of_kind = np.flatnonzero(is_cutout_P == is_cutout)
        for begin in range(0, len(of_kind), BLOCK):
            chosen = of_kind[begin : begin + BLOCK]
            some = starts.where(chosen)
            first_PSSC = np.empty((len(some), SIDE, SIDE, 3), dtype=np.uint8)
            for view in np.unique(some.view_P).tolist():
                of_view = some.view_P == view
                first_PSSC[of_view] = phash.turn(squares_NSSC[some.first_P[of_view]], view)
            second_PSSC = np.asarray(squares_NSSC[some.second_P])
            yield chosen, Task(first_PSSC, second_PSSC, some.window_P4, bars)


def judge(task: Task) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each second picture shows what the first shows, in the part that both have.

    Returns:
        (P,) bool and (P,) float64 in [0, 1], the share of detail that agrees.
    """
    found = fit(
        task.first_PSSC.astype(np.float32), task.second_PSSC.astype(np.float32), task.window_P4, task.bars
    )
    return found.reaches(task.bars), found.detail_P


def fit(
    first_PSSC: NDArray[np.float32],
    second_PSSC: NDArray[np.float32],
    window_P4: NDArray[np.float64],
    bars: Bars,
) -> Fit:
    """Lay the windows of the first pictures over the second ones, adjust, and compare.

    Args:
        first_PSSC, second_PSSC: (P, 64, 64, 3), levels of 0 to 255.
        window_P4: shares of the first that the second shows: top, bottom, left, right; right within some hundredths.
        bars: when a pixel agrees; the rest of the bars is not used.
    """
    first_PSS, second_PSS = first_PSSC @ LUMA, second_PSSC @ LUMA
    laid = _Laid(window_P4.copy(), np.ones(len(window_P4)), np.zeros(len(window_P4)))
    found = Fit(*(np.ones(len(window_P4)) for _ in fields(Fit)))
    rows = np.arange(len(window_P4))
    for side, steps, scale, slack in _LEVELS:
        if not len(rows):
            break
        _adjust(laid, _reduced(first_PSS[rows], side), _reduced(second_PSS[rows], side), steps, scale)
        here = _compare(_reduced(first_PSSC[rows], side), _reduced(second_PSSC[rows], side), laid, bars)
        for field in fields(Fit):
            getattr(found, field.name)[rows] = getattr(here, field.name)
        promising = np.flatnonzero(here.detail_P >= bars.detail - slack)
        rows, laid = rows[promising], laid.of(promising)
    # What was left on the way was not compared in full.
    left = np.ones(len(window_P4), dtype=np.bool_)
    left[rows] = False
    found.overlap_P[left] = 0.0
    return found


@dataclass(slots=True)
class _Laid:
    """How the first is laid over the second: `window_P4` of it, its levels times `gain_P` plus `offset_P`."""

    window_P4: NDArray[np.float64]
    gain_P: NDArray[np.float64]
    offset_P: NDArray[np.float64]

    def of(self, chosen: NDArray[np.int64]) -> _Laid:
        return _Laid(self.window_P4[chosen], self.gain_P[chosen], self.offset_P[chosen])


def _adjust(laid: _Laid, a: NDArray[np.float32], b: NDArray[np.float32], steps: int, scale: float) -> None:
    """Move edges, gain and offset towards the best fit of grey pictures `a` to `b`; changes `laid`."""
    side = a.shape[1]
    place = ((np.arange(side) + 0.5) / side).astype(np.float32)
    for _ in range(steps):
        rows, in_rows = _resampling(laid.window_P4[:, :2], side)
        columns, in_columns = _resampling(laid.window_P4[:, 2:], side)
        moved = rows @ a @ columns.swapaxes(1, 2)
        gain = laid.gain_P.astype(np.float32)[:, None, None]
        shown = gain * moved + laid.offset_P.astype(np.float32)[:, None, None]
        residual = b - np.minimum(255.0, shown)
        size = laid.window_P4[:, 1::2] - laid.window_P4[:, ::2]
        # Change per share of the first picture: along rows, then along columns.
        down, across = (
            (gain * np.gradient(moved, axis=axis) * side / size[:, axis - 1, None, None]).astype(np.float32)
            for axis in (1, 2)
        )
        say = (in_rows[:, :, None] & in_columns[:, None, :] & (shown < 255.0)) / (
            1.0 + (residual / scale) ** 2
        ) ** 2
        slope_P6 = np.empty((len(a), 6, side, side), dtype=np.float32)
        slope_P6[:, 0], slope_P6[:, 1] = down * (1 - place)[:, None], down * place[:, None]
        slope_P6[:, 2], slope_P6[:, 3] = across * (1 - place), across * place
        slope_P6[:, 4], slope_P6[:, 5] = moved, 1.0
        weighted_P6 = (slope_P6 * say[:, None]).reshape(len(a), 6, -1)
        normal = (weighted_P6 @ slope_P6.reshape(len(a), 6, -1).swapaxes(1, 2)).astype(np.float64)
        pull = (weighted_P6 @ residual.reshape(len(a), -1, 1)).astype(np.float64)
        diagonal = np.einsum("pii->pi", normal)
        normal += np.eye(6) * (_DAMPING * diagonal + _DAMPING)[:, None, :]
        step = np.linalg.solve(normal, pull)[..., 0]
        edges = laid.window_P4 + np.clip(step[:, :4], -_LONGEST_STEP, _LONGEST_STEP)
        laid.window_P4 = np.clip(edges, -_FARTHEST, 1 + _FARTHEST)
        laid.gain_P = np.clip(laid.gain_P + step[:, 4], *_GAINS)
        laid.offset_P = laid.offset_P + step[:, 5]


def _reduced(x_PSS: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of squares of pixels, (P, side, side, ...); the side is a half, a quarter, ... of what there is."""
    while x_PSS.shape[1] > side:
        rows = x_PSS[:, ::2] + x_PSS[:, 1::2]
        x_PSS = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return x_PSS


def _resampling(span_P2: NDArray[np.float64], side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Matrices (P, side, side) that stretch a span of a line over the line, and which of its pixels lie on it."""
    place = (np.arange(side) + 0.5) / side
    x = span_P2[:, :1] + (span_P2[:, 1:] - span_P2[:, :1]) * place
    is_on_line = (x >= 0.0) & (x <= 1.0)
    at = np.clip(x * side - 0.5, 0, side - 1)
    left = np.minimum(at.astype(np.int64), side - 2)
    share = (at - left).astype(np.float32)
    weights = np.zeros((len(span_P2), side, side), dtype=np.float32)
    pair, row = np.ogrid[: len(span_P2), :side]
    weights[pair, row, left] = 1 - share
    weights[pair, row, left + 1] = share
    return weights, is_on_line


def _compare(
    first_PSSC: NDArray[np.float32], second_PSSC: NDArray[np.float32], laid: _Laid, bars: Bars
) -> Fit:
    side = second_PSSC.shape[1]
    rows, in_rows = _resampling(laid.window_P4[:, :2], side)
    columns, in_columns = _resampling(laid.window_P4[:, 2:], side)
    moved: NDArray[np.float32] = np.stack(
        [rows @ first_PSSC[..., c] @ columns.swapaxes(1, 2) for c in range(3)], axis=-1
    )
    gain = laid.gain_P.astype(np.float32)[:, None, None, None]
    offset = laid.offset_P.astype(np.float32)[:, None, None, None]
    shown: NDArray[np.float32] = np.clip(gain * moved + offset, 0.0, 255.0)
    both = (in_rows[:, :, None] & in_columns[:, None, :]).astype(np.float32)
    span = np.maximum(_local_range(shown @ LUMA), _local_range(second_PSSC @ LUMA))
    tolerance = np.float32(bars.levels) + np.float32(bars.per_range) * span
    agrees = _agrees(moved, shown, second_PSSC, gain, offset, tolerance) * both
    low, high = _DETAIL
    detail = np.clip(span - low, 0.0, high - low) * both

    cell = side // _CELLS
    pixels_PKK = _cells(both, cell)
    agrees_PKK = _cells(agrees, cell)
    is_bad_PKK = agrees_PKK < (1 - _BAD_CELL) * pixels_PKK
    is_there_PKK = pixels_PKK > 0
    detail_PKK, agreeing_PKK = _cells(detail, cell), _cells(detail * agrees, cell)
    is_good_PKK = ~is_bad_PKK

    def share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
        total = whole.sum(axis=(1, 2), dtype=np.float64)
        return np.asarray(part.sum(axis=(1, 2), dtype=np.float64) / np.where(total > 0, total, 1.0))

    overlap = both.sum(axis=(1, 2), dtype=np.float64)
    height_P, width_P = (laid.window_P4[:, 1::2] - laid.window_P4[:, ::2]).T
    enlarged_P = 1.0 / (height_P * width_P)
    return Fit(
        detail_P=share(agreeing_PKK, detail_PKK),
        good_detail_P=share(agreeing_PKK * is_good_PKK, detail_PKK * is_good_PKK),
        good_pixels_P=share(agrees_PKK * is_good_PKK, pixels_PKK * is_good_PKK),
        bad_cells_P=share(is_bad_PKK, is_there_PKK),
        bad_detail_P=share(detail_PKK * is_bad_PKK, detail_PKK),
        overlap_P=overlap / side**2,
        amount_P=detail.sum(axis=(1, 2), dtype=np.float64) / np.maximum(overlap, 1.0),
        gain_P=np.maximum(
            laid.gain_P / np.maximum(1.0, enlarged_P), np.minimum(1.0, enlarged_P) / laid.gain_P
        ),
    )


def _agrees(
    moved_PSSC: NDArray[np.float32],
    shown_PSSC: NDArray[np.float32],
    second_PSSC: NDArray[np.float32],
    gain: NDArray[np.float32],
    offset: NDArray[np.float32],
    tolerance_PSS: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """(P, S, S) whether all colours of a pixel agree.

    Where the brighter of two was cut off at white, what is left of a pixel's fine detail may be as dark as before.
    """
    over = np.abs(shown_PSSC - second_PSSC)
    back = np.clip((second_PSSC - offset) / gain, 0.0, 255.0)  # the second as dark as the first was
    is_brighter = gain > 1.0
    bright, dark = np.where(is_brighter, shown_PSSC, back), np.where(is_brighter, moved_PSSC, second_PSSC)
    middle = np.where(is_brighter, second_PSSC, moved_PSSC)
    lost = (bright >= _CUT_OFF) & (middle >= dark) & (middle <= bright)
    white = np.minimum(shown_PSSC, second_PSSC) >= _WHITE
    return np.asarray(((over <= tolerance_PSS[..., None]) | lost | white).all(axis=-1))


def _local_range(gray_PSS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest less smallest level among a pixel and its eight neighbours."""
    high, low = gray_PSS, gray_PSS
    for axis in (1, 2):
        high, low = _over_neighbours(high, axis, np.maximum), _over_neighbours(low, axis, np.minimum)
    return np.subtract(high, low)


def _over_neighbours(
    x_PSS: NDArray[np.float32], axis: int, pick: Callable[..., NDArray[np.float32]]
) -> NDArray[np.float32]:
    ahead = [slice(None)] * 3
    behind = [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    out = x_PSS.copy()
    out[tuple(behind)] = pick(out[tuple(behind)], x_PSS[tuple(ahead)])
    out[tuple(ahead)] = pick(out[tuple(ahead)], x_PSS[tuple(behind)])
    return out


def _cells(x_PSS: NDArray[np.generic], cell: int) -> NDArray[np.float32]:
    """Sums over the cells, (P, 8, 8)."""
    num = len(x_PSS)
    return np.asarray(x_PSS.reshape(num, _CELLS, cell, _CELLS, cell).sum(axis=(2, 4)))
