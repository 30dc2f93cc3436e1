"""Whether two pictures are copies, by their small colour copies.

The verdict looks at the 16 x 16 RGB copies ("tiny") under the view that matched. Two kinds of picture
need two bars:

* A *scene* (something reaches the border): grey correlation and colour decide. A crop, a new brightness or
  a logo in a corner leaves the correlation of 256 pixels high, and no other scene comes near.
* A *cut-out* (one thing on a plain ground): all trousers, rackets or spectacles have the same outline, and
  their correlation is high though they are different things. Only a copy whose pixels are nearly equal,
  once its ground is made as bright as the other's, counts; a strongly cropped cut-out is missed rather
  than two products merged. More light bleaches a pale one: where the two no longer correlate, the darker is
  bleached likewise and compared again.

Letters: N images, P pairs, S = 16 pixels, V = 8 views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from webclean.ops import phash
from webclean.ops.copy_groups import Fits
from webclean.ops.pairs import Pairs

LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Grey from RGB: pixels times this vector."""

_CHROMA: Final = np.eye(3, dtype=np.float32) - LUMA[:, None]
"""What is left of RGB without its grey: pixels times this matrix."""

_PAIRS: Final = 1024  # pairs whose pixels are compared at once

FLAT: Final = 3.0
"""Grey levels of standard deviation below which a picture has too little in it to be matched by chance-proof
means: plain colours, blank pages."""

_GROUND_TOLERANCE: Final = 12.0  # levels in which a border pixel may differ from the ground
_PLAIN_BORDER: Final = (
    0.65  # share of the border that is ground in a cut-out: trousers touch it above and below
)
_SCENE_COLOR: Final = 10.0  # mean chroma difference of a scene's copy, levels; edits of photos stay below 7
_LEAST_GAIN: Final = 0.7  # each of a pair is made at most this much paler or stronger
_CUTOUT_PEAK: Final = 20.0  # largest difference of one pixel of a cut-out's copy, levels
_SAME_PEAK: Final = (
    8.0  # one that no pixel exceeds is a copy however pale: no more than coding and scaling leave
)
# What coding and scaling leave of a small picture differs from pixel to pixel: it may be larger where means of four
# pixels differ little.
_FINE_PEAK: Final = 35.0
_FINE_RESIDUAL: Final = 5 / 3  # times the residual of a cut-out's copy
_COARSE_PEAK: Final = 14.0
_MOST_GAIN: Final = 1.6  # a brighter copy is at most this much brighter
_GAIN_SLACK: Final = 1.05
# What is cut off at white is cut off before pixels are averaged, so that the gain that fits the means is less than the
# true one: some are tried.
_BLEACHING: Final = (1.1, 1.2, 1.35, 1.5)
_BLEACHED_FLAT: Final = (
    2.5 * FLAT
)  # the same as `FLAT` for what bleaching has left: a racket's handle is like another's
_GAIN_RANGE: Final = (
    40.0,
    235.0,
)  # levels between which a gain is read: below noise rules, above white is cut off
_GAIN_PIXELS: Final = 6  # values in that range from which on the gain is read and not assumed
_BRIGHTER_BELOW: Final = 10.0  # levels by which one pixel of a brighter copy may be darker
_BRIGHTER_ABOVE: Final = 15.0  # ... or brighter than the gain allows
_LAX: Final = 2.0  # how much further from the representative than from a neighbour a member may be
_NO_ENERGY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Bars:
    """Thresholds of the verdict.

    Attributes:
        correlation: least grey correlation of a scene's copy, in [0, 1].
        cutout_residual: largest root-mean-square difference of a cut-out's copy relative to what stands out
            from its ground, in [0, 1].
    """

    correlation: float = 0.9
    cutout_residual: float = 0.06

    def lax(self) -> Bars:
        """The bars for a member against its group's representative: twice as far away."""
        return Bars(
            correlation=1 - _LAX * (1 - self.correlation), cutout_residual=_LAX * self.cutout_residual
        )


class Tinies(Protocol):
    """Tiny copies of images, in memory or on a disk."""

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def __getitem__(self, row_P: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Those of some rows, (P, 16, 16, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class Looks:
    """What the verdict needs to know of each image: a few bytes, and its tiny copy when it is asked for.

    Attributes:
        tiny_NSSC: (N, 16, 16, 3) uint8.
        flat_N: too little in it to be matched.
        cutout_N: one thing on a plain ground.
        gray_N: no colour anywhere.
    """

    tiny_NSSC: Tinies
    flat_N: NDArray[np.bool_]
    cutout_N: NDArray[np.bool_]
    gray_N: NDArray[np.bool_]


def look(tiny_NSSC: NDArray[np.uint8], gray_N: NDArray[np.bool_]) -> Looks:
    """Describe images by their tiny copies.

    Raises:
        ValueError: shapes do not fit.
    """
    if tiny_NSSC.ndim != 4 or tiny_NSSC.shape[3] != 3 or tiny_NSSC.dtype != np.uint8:
        raise ValueError(f"expected (N, S, S, 3) uint8, got {tiny_NSSC.shape} {tiny_NSSC.dtype}")
    if gray_N.shape != (len(tiny_NSSC),):
        raise ValueError(f"expected {len(tiny_NSSC)} gray flags, got {gray_N.shape}")
    num = len(tiny_NSSC)
    flat_N = np.empty(num, dtype=np.bool_)
    cutout_N = np.empty(num, dtype=np.bool_)
    for start in range(0, num, _PAIRS):
        block = slice(start, start + _PAIRS)
        tiny = tiny_NSSC[block].astype(np.float32)
        flat_N[block] = _gray(tiny).std(axis=(1, 2)) < FLAT
        border, ground = _border(tiny)
        is_ground = np.abs(border - ground[:, None]).max(axis=2) <= _GROUND_TOLERANCE
        cutout_N[block] = is_ground.mean(axis=1) >= _PLAIN_BORDER
    return Looks(tiny_NSSC, flat_N, cutout_N, gray_N)


def _gray(tiny_PSSC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey values with mean 0."""
    # One product of a matrix and a vector: of an array of four axes it would be one for each row of pixels.
    gray = (tiny_PSSC.reshape(-1, 3) @ LUMA).reshape(tiny_PSSC.shape[:3])
    gray -= gray.mean(axis=(1, 2), keepdims=True)
    return np.asarray(gray)


@dataclass(frozen=True, slots=True)
class _Compared:
    """One side of some pairs as the verdict needs it.

    Attributes:
        tiny_PSSC: float32.
        shape_PSS: float32, grey values with mean 0 and norm 1 (0 where a picture is constant).
        norm_P: float32, by which the grey values were divided.
        cutout_P, gray_P: as in `Looks`.
    """

    tiny_PSSC: NDArray[np.float32]
    shape_PSS: NDArray[np.float32]
    norm_P: NDArray[np.float32]
    cutout_P: NDArray[np.bool_]
    gray_P: NDArray[np.bool_]

    @classmethod
    def of(cls, looks: Looks, row_P: NDArray[np.int64]) -> _Compared:
        """Some images, each as often as it is named."""
        tiny = looks.tiny_NSSC[row_P].astype(np.float32)
        shape, norm_P = _shape(tiny)
        return cls(tiny, shape, norm_P, looks.cutout_N[row_P], looks.gray_N[row_P])


def _shape(tiny_PSSC: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grey values with mean 0 and norm 1 (0 where a picture is constant), and (P,) what they were divided by."""
    shape = _gray(tiny_PSSC)
    norm_P = np.maximum(np.sqrt(np.einsum("pij,pij->p", shape, shape)), _NO_ENERGY)
    shape /= norm_P[:, None, None]
    return shape, norm_P


def _border(tiny_PSSC: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pixels of the border, and the ground's colour, their median, (P, 3)."""
    border = np.concatenate(
        [tiny_PSSC[:, 0], tiny_PSSC[:, -1], tiny_PSSC[:, 1:-1, 0], tiny_PSSC[:, 1:-1, -1]], axis=1
    )
    return border, np.median(border, axis=1)


def verify(
    pairs: Pairs, first: Looks, second: Looks, bars: Bars
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether pairs are copies by their pixels, and their grey correlation.

    Args:
        pairs: `first_P` counts in `first`, `second_P` in `second`.
        first, second: the images; may be the same object.
        bars: thresholds.

    Returns:
        (P,) bool and (P,) float64 in [-1, 1]. A pair with a flat image is never a copy.
    """
    verdict_P = np.zeros(len(pairs), dtype=np.bool_)
    correlation_P = np.full(len(pairs), -1.0)
    informative_P = ~(first.flat_N[pairs.first_P] | second.flat_N[pairs.second_P])
    for view in range(phash.NUM_VIEWS):
        of_view = np.flatnonzero(informative_P & (pairs.view_P == view))
        for start in range(0, len(of_view), _PAIRS):
            rows = of_view[start : start + _PAIRS]
            a = _Compared.of(first, pairs.first_P[rows])
            b = _Compared.of(second, pairs.second_P[rows])
            verdict_P[rows], correlation_P[rows] = _compare(a, b, view, bars)
    return verdict_P, correlation_P


def _compare(
    a: _Compared, b: _Compared, view: int, bars: Bars
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Verdicts and correlations of pairs of which the first is turned by a view."""
    correlation_P = np.einsum("pij,pij->p", phash.turn(a.shape_PSS, view), b.shape_PSS)
    verdict_P = np.zeros(len(correlation_P), dtype=np.bool_)
    is_near_P, is_cutout_P = correlation_P >= bars.correlation, a.cutout_P | b.cutout_P
    near = np.flatnonzero(is_near_P & ~is_cutout_P)
    verdict_P[near] = (a.gray_P[near] ^ b.gray_P[near]) | _same_colors(a, b, near, view)
    near = np.flatnonzero(is_near_P & is_cutout_P)
    verdict_P[near] = _same_on_ground(a.tiny_PSSC[near], b.tiny_PSSC[near], view, bars.cutout_residual)
    far = np.flatnonzero(~is_near_P & a.cutout_P & b.cutout_P)
    verdict_P[far] = _same_but_bleached(phash.turn(a.tiny_PSSC[far], view), b.tiny_PSSC[far], bars)
    return verdict_P, correlation_P


def _same_but_bleached(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32], bars: Bars
) -> NDArray[np.bool_]:
    """Copies of which the brighter has lost so much at white that the two no longer correlate.

    The darker one, made as bright and cut off as well, must correlate with what is left, which must be more than
    a few specks: those come near to many a thing.
    """
    sum_a_P, sum_b_P = a_PSSC.sum(axis=(1, 2, 3)), b_PSSC.sum(axis=(1, 2, 3))
    is_a_brighter_P = (sum_a_P > sum_b_P)[:, None, None, None]
    dark = np.where(is_a_brighter_P, b_PSSC, a_PSSC)
    bright = np.where(is_a_brighter_P, a_PSSC, b_PSSC)
    verdict_P = np.zeros(len(dark), dtype=np.bool_)
    possible = _may_be_brighter(dark, bright)
    possible = possible[_gray(bright[possible]).std(axis=(1, 2)) >= _BLEACHED_FLAT]
    dark, bright = dark[possible], bright[possible]
    shape, _ = _shape(bright)
    fitting = np.zeros(len(possible), dtype=np.bool_)
    for gain in _BLEACHING:
        predicted, _ = _shape(np.minimum(np.float32(255.0), dark * np.float32(gain)))
        fitting |= (predicted * shape).sum(axis=(1, 2)) >= bars.correlation
    if fitting.any():
        ground = _border(bright[fitting])[1][:, None, None], _border(dark[fitting])[1][:, None, None]
        verdict_P[possible[fitting]] = _brightened_cutout(
            dark[fitting], bright[fitting], ground[1], ground[0], bars.cutout_residual
        )
    return verdict_P


def _may_be_brighter(dark_PSSC: NDArray[np.float32], bright_PSSC: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pairs of which no pixel is darker in the brighter copy, or brighter than any gain makes it."""
    possible = np.arange(len(dark_PSSC))
    # Most are out by a few pixels already.
    for step in (5, 1):
        dark, bright = dark_PSSC[possible, ::step, ::step], bright_PSSC[possible, ::step, ::step]
        excess = np.maximum(dark - bright - _BRIGHTER_BELOW, bright - _MOST_GAIN * dark - _BRIGHTER_ABOVE)
        possible = possible[excess.max(axis=(1, 2, 3), initial=-np.inf) <= 0]
    return possible


def _same_on_ground(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32], view: int, residual: float
) -> NDArray[np.bool_]:
    (_, ground_a_P3), (_, ground_b_P3) = _border(a_PSSC), _border(b_PSSC)
    turned = phash.turn(a_PSSC, view)
    # A brighter copy's ground is brighter by as much. White grounds are equally bright: two products that differ in
    # brightness alone stay two.
    brighter_P = (ground_b_P3 @ LUMA + 1.0) / (ground_a_P3 @ LUMA + 1.0)
    gain_P = np.sqrt(np.clip(brighter_P, _LEAST_GAIN, 1 / _LEAST_GAIN))[:, None, None, None]
    ground_a_P, ground_b_P = ground_a_P3[:, None, None], ground_b_P3[:, None, None]
    same = _same_cutout((turned - ground_a_P) * gain_P, (b_PSSC - ground_b_P) / gain_P, residual)
    return same | _brightened_cutout(turned, b_PSSC, ground_a_P, ground_b_P, residual)


def _same_colors(a: _Compared, b: _Compared, chosen: NDArray[np.int64], view: int) -> NDArray[np.bool_]:
    """Chroma (RGB less grey) at equal contrast and without its mean, which a new white balance may move."""
    norm_a_P, norm_b_P = a.norm_P[chosen], b.norm_P[chosen]
    # Shared, so that order is no matter.
    gain_P = np.clip(np.sqrt(norm_b_P / norm_a_P), _LEAST_GAIN, 1 / _LEAST_GAIN)
    difference = phash.turn(a.tiny_PSSC[chosen], view) * gain_P[:, None, None, None]
    difference -= b.tiny_PSSC[chosen] / gain_P[:, None, None, None]
    # Chroma is linear: the difference's is the differences'. Products of matrices are many times as fast here as what
    # NumPy does along an axis of three.
    num, num_pixels = len(chosen), difference.shape[1] * difference.shape[2]
    chroma = (difference.reshape(-1, 3) @ _CHROMA).reshape(num, num_pixels, 3)
    mean = np.full((1, num_pixels), 1 / num_pixels, dtype=np.float32) @ chroma
    apart = np.abs(chroma.reshape(num, num_pixels * 3) - np.tile(mean[:, 0], num_pixels))
    return np.asarray(apart.mean(axis=1) <= _SCENE_COLOR)


def _same_cutout(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32], residual: float
) -> NDArray[np.bool_]:
    """Copies as they stand on their grounds, which are subtracted already."""
    relative_P, peak_P = _apart(a_PSSC, b_PSSC)
    is_near_P = (relative_P <= residual) & (peak_P <= _CUTOUT_PEAK) | (peak_P <= _SAME_PEAK)
    coarse_relative_P, coarse_peak_P = _apart(_halved(a_PSSC), _halved(b_PSSC))
    is_noise_P = (relative_P <= _FINE_RESIDUAL * residual) & (peak_P <= _FINE_PEAK)
    is_noise_P &= (coarse_relative_P <= residual) & (coarse_peak_P <= _COARSE_PEAK)
    return np.asarray(is_near_P | is_noise_P)


def _apart(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far two are apart, relative to what stands out from their grounds, and where they are farthest."""
    difference = np.abs(a_PSSC - b_PSSC)
    energy_P = np.maximum((a_PSSC**2).sum(axis=(1, 2, 3)), (b_PSSC**2).sum(axis=(1, 2, 3)))
    relative_P = np.sqrt((difference**2).sum(axis=(1, 2, 3)) / np.maximum(energy_P, _NO_ENERGY))
    return relative_P, difference.max(axis=(1, 2, 3))


def _halved(x_PSSC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of four pixels."""
    num, side, _, channels = x_PSSC.shape
    squares = x_PSSC.reshape(num, side // 2, 2, side // 2, 2, channels)
    return np.asarray(squares.mean(axis=(2, 4)))


def _brightened_cutout(
    a_PSSC: NDArray[np.float32],
    b_PSSC: NDArray[np.float32],
    ground_a_P: NDArray[np.float32],
    ground_b_P: NDArray[np.float32],
    residual: float,
) -> NDArray[np.bool_]:
    """Copies of which one is brighter and cut off at white, where its ground stays.

    A pixel here is the mean of many. Where some of them were cut off, the mean lies anywhere between the
    old value and that times the gain: what lies outside is held against the copy, relative to what stands out.
    """
    is_a_brighter_P = (a_PSSC.sum(axis=(1, 2, 3)) > b_PSSC.sum(axis=(1, 2, 3)))[:, None, None, None]
    dark = np.where(is_a_brighter_P, b_PSSC, a_PSSC)
    bright = np.where(is_a_brighter_P, a_PSSC, b_PSSC)
    ground = np.where(is_a_brighter_P, ground_b_P, ground_a_P)
    energy_P = np.maximum(
        ((a_PSSC - ground_a_P) ** 2).sum(axis=(1, 2, 3)), ((b_PSSC - ground_b_P) ** 2).sum(axis=(1, 2, 3))
    )
    possible = _may_be_brighter(dark, bright)
    verdict_P = np.zeros(len(dark), dtype=np.bool_)
    if len(possible):
        verdict_P[possible] = _is_between(
            dark[possible], bright[possible], ground[possible], np.sqrt(energy_P[possible]) * residual
        )
    return verdict_P


def _is_between(
    dark_PSSC: NDArray[np.float32],
    bright_PSSC: NDArray[np.float32],
    ground_P: NDArray[np.float32],
    most_outside_P: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether each value of the bright copy lies between the dark one and that times a gain, cut off at white.

    The gain is the one of most values. The thing must have become brighter as much as all with its ground.
    """
    low, high = _GAIN_RANGE
    is_readable = (dark_PSSC >= low) & (bright_PSSC <= high)
    is_thing = np.abs(dark_PSSC - ground_P).max(axis=3, keepdims=True) > _GROUND_TOLERANCE
    ratio = np.divide(bright_PSSC, np.maximum(dark_PSSC, 1.0), dtype=np.float32)
    gain_P, thing_gain_P = (
        _median_where(ratio, readable) for readable in (is_readable, is_readable & is_thing)
    )
    has_one_gain_P = (thing_gain_P <= gain_P * _GAIN_SLACK) & (thing_gain_P * _GAIN_SLACK >= gain_P)
    known_P = np.where(np.isnan(gain_P), _MOST_GAIN, np.clip(gain_P * _GAIN_SLACK, 1.0, _MOST_GAIN))
    most = np.minimum(255.0, known_P[:, None, None, None] * dark_PSSC)
    below, above = np.maximum(0.0, dark_PSSC - bright_PSSC), np.maximum(0.0, bright_PSSC - most)
    outside_P = np.sqrt((below**2 + above**2).sum(axis=(1, 2, 3)))
    is_close_P = (below.max(axis=(1, 2, 3)) <= _BRIGHTER_BELOW) & (
        above.max(axis=(1, 2, 3)) <= _BRIGHTER_ABOVE
    )
    return np.asarray((outside_P <= most_outside_P) & is_close_P & (has_one_gain_P | np.isnan(thing_gain_P)))


def _median_where(x_PSSC: NDArray[np.float32], mask_PSSC: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(P,) upper medians of the values under the mask; NaN where they are too few."""
    num = len(x_PSSC)
    in_order = np.sort(np.where(mask_PSSC, x_PSSC, np.inf).reshape(num, -1), axis=1)
    num_P = mask_PSSC.reshape(num, -1).sum(axis=1)
    middle_P = in_order[np.arange(num), np.minimum(num_P // 2, in_order.shape[1] - 1)]
    return np.where(num_P >= _GAIN_PIXELS, middle_P, np.nan).astype(np.float32)


def fits_by_tiny(
    image_M: NDArray[np.int64],
    representative_M: NDArray[np.int64],
    *,
    hash_N: NDArray[np.uint64],
    looks: Looks,
    bars: Bars,
) -> Fits:
    """Under its best view: whether each image is a copy of its representative by the tiny pictures.

    Args:
        bars: the lax ones.
    """
    num = len(image_M)
    distance_VM = phash.hamming(phash.views(hash_N[image_M]), hash_N[representative_M][None])
    fits_VM = np.zeros((phash.NUM_VIEWS, num), dtype=np.bool_)
    score_VM = np.full((phash.NUM_VIEWS, num), -1.0)
    informative = np.flatnonzero(~(looks.flat_N[image_M] | looks.flat_N[representative_M]))
    for start in range(0, len(informative), _PAIRS):
        rows = informative[start : start + _PAIRS]
        a, b = _Compared.of(looks, image_M[rows]), _Compared.of(looks, representative_M[rows])
        for view in range(phash.NUM_VIEWS):
            fits_VM[view, rows], score_VM[view, rows] = _compare(a, b, view, bars)
    # First a view that fits, then the highest correlation, then the lowest number of the view.
    best_M = np.argmax(score_VM + 4.0 * fits_VM, axis=0)
    columns = np.arange(num)
    return Fits(fits_VM[best_M, columns], best_M.astype(np.int64), distance_VM[best_M, columns])
