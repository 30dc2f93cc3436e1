"""Hashes of windows of a picture: what its crops, and copies with something laid over them, still share with it.

A crop shows about one of the windows, so that its hash is near that window's; a copy with a box or a text over it
keeps the hashes of the quarters that are left alone. Both hold under the eight views: a turned window is a window of
the turned picture. No window is cut out: resampling a window and its cosine transform are one matrix.

Letters: N images, P pairs, S side in pixels, W windows, V = 8 views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops import phash
from webclean.ops.hamming import HammingIndex

_SPANS: Final = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95), (0.1, 0.9))
_STRIPS: Final = ((0.0, 0.8), (0.2, 1.0))
_ALL: Final = (0.0, 1.0)

WINDOWS_W4: Final[NDArray[np.float64]] = np.array(
    [(*rows, *columns) for rows in _SPANS for columns in _SPANS]
    + [(*strip, *_ALL) for strip in _STRIPS]
    + [(*_ALL, *strip) for strip in _STRIPS]
)
"""Windows as shares of the picture: top, bottom, left, right; the first is all of it.

Crops of up to a tenth from any edge, or a fifth from one, lie within a few hundredths of one of them.
"""

_HALVES: Final = ((0.0, 0.5), (0.5, 1.0))
QUARTERS_44: Final[NDArray[np.float64]] = np.array(
    [(*rows, *columns) for rows in _HALVES for columns in _HALVES]
)
NUM_QUARTERS: Final = 4

RADIUS: Final = 10
"""Bits of 64 in which the hash of a window may differ from that of a crop near it."""

CUTOUT_RADIUS: Final = 7
"""The same between two cut-outs."""

_FLAT: Final = (
    4.0  # grey levels of standard deviation; the hash of less is noise, and alike in all blank corners
)
_LEAST_QUARTERS: Final = 2  # that must be alike for a pair to be looked at
BLOCK: Final = 256
"""Images whose windows are searched at once."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Hashes of the windows of N images.

    Attributes:
        window_NW: uint64, of `WINDOWS_W4`.
        quarter_N4: uint64, of the four quarters, row by row.
        flat_N: the picture has too little in it to be hashed.
        flat_N4: the same of each quarter.
    """

    window_NW: NDArray[np.uint64]
    quarter_N4: NDArray[np.uint64]
    flat_N: NDArray[np.bool_]
    flat_N4: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Starts:
    """Ways in which a second image may show a part, or all, of a first one that is turned.

    Attributes:
        first_P: int64.
        second_P: int64.
        view_P: int64, the view that is applied to the first.
        window_P4: float64, the part of the turned first that the second shows; shares as in `WINDOWS_W4`.
    """

    first_P: NDArray[np.int64]
    second_P: NDArray[np.int64]
    view_P: NDArray[np.int64]
    window_P4: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first_P)

    def where(self, chosen_P: NDArray[np.bool_] | NDArray[np.int64]) -> Starts:
        """Those under a mask, or at these positions."""
        return Starts(
            self.first_P[chosen_P], self.second_P[chosen_P], self.view_P[chosen_P], self.window_P4[chosen_P]
        )


def describe(gray_NSS: NDArray[np.float32]) -> Windows:
    """Hash the windows of square grey pictures.

    Args:
        gray_NSS: (N, S, S) float, S even and at least 32.
    """
    if gray_NSS.ndim != 3 or gray_NSS.shape[1] != gray_NSS.shape[2] or gray_NSS.shape[1] % 2:
        raise ValueError(f"expected (N, S, S) grey images with an even S, got {gray_NSS.shape}")
    window_NW = _window_hashes(gray_NSS, WINDOWS_W4)
    half = gray_NSS.shape[1] // 2
    quarters = [gray_NSS[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    return Windows(
        window_NW,
        _window_hashes(gray_NSS, QUARTERS_44),
        gray_NSS.std(axis=(1, 2)) < _FLAT,
        np.stack([quarter.std(axis=(1, 2)) < _FLAT for quarter in quarters], axis=1),
    )


def join(parts: Sequence[Windows]) -> Windows:
    """The windows of several lots of images as those of one."""
    return Windows(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("window_NW", "quarter_N4", "flat_N", "flat_N4")
        )
    )


def _window_hashes(gray_NSS: NDArray[np.float32], windows_W4: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(N, W) uint64."""
    side = gray_NSS.shape[1]
    spans = sorted({span for w in windows_W4.tolist() for span in ((w[0], w[1]), (w[2], w[3]))})
    transform = np.concatenate([phash.transform_of_span(*span, side) for span in spans])  # (spans x 9, S)
    coefficients = transform @ gray_NSS.astype(np.float64) @ transform.T
    num = len(transform) // len(spans)
    split = coefficients.reshape(len(gray_NSS), len(spans), num, len(spans), num)
    hashes = [
        phash.from_coefficients(split[:, spans.index((top, bottom)), :, spans.index((left, right))])
        for top, bottom, left, right in windows_W4.tolist()
    ]
    return np.stack(hashes, axis=1)


def turned(window_P4: NDArray[np.float64], view: int) -> NDArray[np.float64]:
    """Where windows, (P, 4), of a picture lie in the picture that a view makes of it."""
    top, bottom, left, right = window_P4.T
    if view & 4:
        top, bottom, left, right = left, right, top, bottom
    if view & 2:
        top, bottom = 1 - bottom, 1 - top
    if view & 1:
        left, right = 1 - right, 1 - left
    return np.stack([top, bottom, left, right], axis=1)


_TURNED_VW4: Final = np.stack([turned(WINDOWS_W4, view) for view in range(phash.NUM_VIEWS)])
# Which quarter of a picture comes to lie in each quarter of the turned one.
_QUARTER_V4: Final = np.stack(
    [phash.turn(np.arange(4).reshape(1, 2, 2), view).reshape(4) for view in range(phash.NUM_VIEWS)]
)


def candidates(windows: Windows, cutout_N: NDArray[np.bool_]) -> Iterator[Starts]:
    """Pairs of which one may be a crop of the other, or both have quarters in common, in blocks of `BLOCK` images.

    A pair is given once for a crop each way, from the window that is nearest, and once for its quarters.
    The search is exact to `RADIUS` bits; of two cut-outs, whose hashes are alike anyway, to `CUTOUT_RADIUS`.

    Args:
        windows: of N images.
        cutout_N: which show one thing on a plain ground.
    """
    base = np.flatnonzero(~windows.flat_N)
    whole = HammingIndex(windows.window_NW[base, 0])
    quarter_bases = [np.flatnonzero(~windows.flat_N4[:, q]) for q in range(NUM_QUARTERS)]
    quarters = [HammingIndex(windows.quarter_N4[rows, q]) for q, rows in enumerate(quarter_bases)]
    for start in range(0, len(windows.flat_N), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(windows.flat_N)))
        crops = _crops(windows, rows[~windows.flat_N[rows]], whole, base, cutout_N)
        patched = _patched(windows, rows, quarters, quarter_bases)
        yield _both(crops, patched)


def _crops(
    windows: Windows,
    rows: NDArray[np.int64],
    index: HammingIndex,
    base: NDArray[np.int64],
    cutout_N: NDArray[np.bool_],
) -> Starts:
    num_windows = len(WINDOWS_W4)
    asked = phash.views(windows.window_NW[rows].reshape(-1))
    found = index.within(asked.reshape(-1), RADIUS)
    view_M, place_M = np.divmod(found.query_M, len(rows) * num_windows)
    row_M, window_M = np.divmod(place_M, num_windows)
    first_M, second_M = rows[row_M], base[found.found_M]
    # The whole of one near the whole of the other is found from both sides.
    new_M = (first_M < second_M) | ((first_M != second_M) & (window_M > 0))
    new_M &= (found.distance_M <= CUTOUT_RADIUS) | ~(cutout_N[first_M] & cutout_N[second_M])
    first_M, second_M, view_M, window_M = (x[new_M] for x in (first_M, second_M, view_M, window_M))
    order = np.lexsort((window_M, view_M, found.distance_M[new_M], second_M, first_M))
    order = order[_is_new(first_M[order], second_M[order])]
    view_P, window_P = view_M[order], window_M[order]
    return Starts(first_M[order], second_M[order], view_P, _TURNED_VW4[view_P, window_P])


def _patched(
    windows: Windows,
    rows: NDArray[np.int64],
    indexes: list[HammingIndex],
    bases: list[NDArray[np.int64]],
) -> Starts:
    firsts, seconds, views = [], [], []
    turned_V4R = np.stack([phash.views(windows.quarter_N4[rows, q]) for q in range(NUM_QUARTERS)], axis=1)
    for view in range(phash.NUM_VIEWS):
        for place, quarter in enumerate(_QUARTER_V4[view]):
            asked = np.flatnonzero(~windows.flat_N4[rows, quarter])
            found = indexes[place].within(turned_V4R[view, quarter, asked], RADIUS)
            first_M, second_M = rows[asked[found.query_M]], bases[place][found.found_M]
            later = first_M < second_M
            firsts.append(first_M[later])
            seconds.append(second_M[later])
            views.append(np.full(int(later.sum()), view))
    first_M, second_M, view_M = (np.concatenate(x).astype(np.int64) for x in (firsts, seconds, views))
    triple_T3, count_T = np.unique(np.stack([first_M, second_M, view_M], axis=1), axis=0, return_counts=True)
    often = count_T >= _LEAST_QUARTERS
    triple_T3, count_T = triple_T3[often], count_T[often]
    order = np.lexsort((triple_T3[:, 2], -count_T, triple_T3[:, 1], triple_T3[:, 0]))
    order = order[_is_new(triple_T3[order, 0], triple_T3[order, 1])]
    first_P, second_P, view_P = triple_T3[order].T
    return Starts(first_P, second_P, view_P, np.tile(WINDOWS_W4[0], (len(order), 1)))


def _is_new(first_M: NDArray[np.int64], second_M: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a sorted list of pairs comes to another pair."""
    is_new = np.ones(len(first_M), dtype=np.bool_)
    is_new[1:] = (first_M[1:] != first_M[:-1]) | (second_M[1:] != second_M[:-1])
    return is_new


def _both(a: Starts, b: Starts) -> Starts:
    return Starts(
        *(
            np.concatenate([getattr(a, name), getattr(b, name)])
            for name in ("first_P", "second_P", "view_P", "window_P4")
        )
    )


def best_starts(windows: Windows, first_P: NDArray[np.int64], second_P: NDArray[np.int64]) -> Starts:
    """For each pair, however far apart its hashes are, the ways in which it fits best.

    Returns:
        Three for each pair, one after the other: the second as a crop of the first, the first as one of the
        second, and both whole with their quarters as alike as can be.
    """
    crop = _nearest_window(windows, first_P, second_P)
    back = _nearest_window(windows, second_P, first_P)
    distance_VP = np.zeros((phash.NUM_VIEWS, len(first_P)), dtype=np.int64)
    for view in range(phash.NUM_VIEWS):
        per_quarter_P4 = np.stack(
            [
                phash.hamming(
                    phash.views(windows.quarter_N4[first_P, quarter])[view],
                    windows.quarter_N4[second_P, place],
                )
                for place, quarter in enumerate(_QUARTER_V4[view])
            ],
            axis=1,
        )
        distance_VP[view] = np.sort(per_quarter_P4, axis=1)[:, :_LEAST_QUARTERS].sum(axis=1)
    whole = Starts(first_P, second_P, distance_VP.argmin(axis=0), np.tile(WINDOWS_W4[0], (len(first_P), 1)))
    return _both(_both(crop, back), whole)


def _nearest_window(windows: Windows, first_P: NDArray[np.int64], second_P: NDArray[np.int64]) -> Starts:
    num, num_windows = len(first_P), len(WINDOWS_W4)
    turned_VPW = phash.views(windows.window_NW[first_P].reshape(-1)).reshape(
        phash.NUM_VIEWS, num, num_windows
    )
    distance = phash.hamming(turned_VPW, windows.window_NW[second_P, 0][None, :, None])
    nearest_P = distance.transpose(1, 0, 2).reshape(num, -1).argmin(axis=1)
    view_P, window_P = np.divmod(nearest_P, num_windows)
    return Starts(first_P, second_P, view_P, _TURNED_VW4[view_P, window_P])
