"""Near duplicates: candidates by hash, verdict by pixels, groups without chains.

A candidate pair lies within a radius of hash bits under one of the eight views; the search is exact.
The verdict looks at the 16 x 16 RGB copies ("tiny") under the view that matched. Two kinds of picture
need two bars:

* A *scene* (something reaches the border): grey correlation and colour decide. A crop, a new brightness or
  a logo in a corner leaves the correlation of 256 pixels high, and no other scene comes near.
* A *cut-out* (one thing on a plain ground): all trousers, rackets or spectacles have the same outline, and
  their correlation is high though they are different things. Only a copy whose pixels are nearly equal,
  once its ground is made as bright as the other's, counts; a strongly cropped cut-out is missed rather
  than two products merged.

Letters: N images, P pairs, S = 16 pixels, V = 8 views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from webclean.ops import hamming, phash
from webclean.ops.components import components

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CHROMA: Final = np.eye(3, dtype=np.float32) - _LUMA[:, None]
"""What is left of RGB without its grey: pixels times this matrix."""

CROWD: Final = 256
"""Contents of one hash from which on not all pairs of them are looked at (`in_crowds`)."""

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


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of images, the first turned by a view.

    Attributes:
        first_P: int64, the image that is turned.
        second_P: int64.
        view_P: int64, 0 to 7 (`phash.turn`).
        distance_P: int64, hash bits that differ under the view.
    """

    first_P: NDArray[np.int64]
    second_P: NDArray[np.int64]
    view_P: NDArray[np.int64]
    distance_P: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first_P)

    def where(self, chosen_P: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs under a mask, or at these positions."""
        return Pairs(
            self.first_P[chosen_P], self.second_P[chosen_P], self.view_P[chosen_P], self.distance_P[chosen_P]
        )

    def at(self, row_K: NDArray[np.int64]) -> Pairs:
        """The same pairs where image k is known by another number."""
        return Pairs(row_K[self.first_P], row_K[self.second_P], self.view_P, self.distance_P)


_NOTHING = np.empty(0, dtype=np.int64)
NO_PAIRS: Final = Pairs(_NOTHING, _NOTHING, _NOTHING, _NOTHING)


def best_views(found: Sequence[Pairs], scores: Sequence[NDArray[np.float64]]) -> Pairs:
    """All pairs once, sorted; of one that was found in several ways the view of the highest score.

    Args:
        found: pairs, first < second.
        scores: one number for each pair of each of `found`.
    """
    if not found:
        return NO_PAIRS
    names = ("first_P", "second_P", "view_P", "distance_P")
    pairs = Pairs(*(np.concatenate([getattr(some, name) for some in found]) for name in names))
    order = np.lexsort((pairs.view_P, -np.concatenate(scores), pairs.second_P, pairs.first_P))
    first, second = pairs.first_P[order], pairs.second_P[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return pairs.where(order[is_new])


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
    gray = (tiny_PSSC.reshape(-1, 3) @ _LUMA).reshape(tiny_PSSC.shape[:3])
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
        shape = _gray(tiny)
        norm_P = np.maximum(np.sqrt(np.einsum("pij,pij->p", shape, shape)), _NO_ENERGY)
        shape /= norm_P[:, None, None]
        return cls(tiny, shape, norm_P, looks.cutout_N[row_P], looks.gray_N[row_P])


def _border(tiny_PSSC: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pixels of the border, and the ground's colour, their median, (P, 3)."""
    border = np.concatenate(
        [tiny_PSSC[:, 0], tiny_PSSC[:, -1], tiny_PSSC[:, 1:-1, 0], tiny_PSSC[:, 1:-1, -1]], axis=1
    )
    return border, np.median(border, axis=1)


_TRANSPOSED: Final = 4  # the view from which the last four come by turning bits over, as 1 to 3 do from 0
_HALF_OF_TRANSPOSED: Final = (4, 5, 7)  # pairs of view 6 are those of view 5 the other way round


def candidates(
    query_N: NDArray[np.uint64],
    base_M: NDArray[np.uint64] | None,
    radius: int,
    told: Callable[[float], None] = lambda share: None,
) -> Iterator[Pairs]:
    """All pairs of hashes within a radius under any of the eight views: exact, in blocks, in no order.

    Args:
        query_N: hashes whose views are searched; `first_P` counts in them.
        base_M: hashes to find; `second_P` counts in them. None for the queries themselves: then each pair
            is given once, with first < second.
        radius: most bits that may differ, 0 to 64.
        told: what share of the search is done.

    Yields:
        Pairs; one may come under several views, and under each once.
    """
    flip_V = [np.uint64(bits) for bits in phash.views(np.zeros(1, dtype=np.uint64))[:, 0]]
    transposed_N = phash.view(query_N, _TRANSPOSED)
    searches: list[tuple[NDArray[np.uint64], tuple[int, ...]]]
    if base_M is None:
        searches = [(transposed_N, _HALF_OF_TRANSPOSED)]
        base_N, done, num = query_N, _TRANSPOSED, _TRANSPOSED + len(_HALF_OF_TRANSPOSED)
        for found in hamming.within_one(
            query_N, radius, _part(told, 0, done, num), flips=flip_V[:_TRANSPOSED]
        ):
            yield Pairs(
                found.query_M, found.found_M, np.full(len(found.query_M), found.flip), found.distance_M
            )
    else:
        searches = [(query_N, (0, 1, 2, 3)), (transposed_N, (4, 5, 6, 7))]
        base_N, done, num = base_M, 0, phash.NUM_VIEWS
    for asked_N, views in searches:
        flips = [flip_V[view] for view in views]
        part = _part(told, done, len(views), num)
        for found in hamming.between(asked_N, base_N, radius, flips=flips, told=part):
            view = views[found.flip]
            pairs = Pairs(found.query_M, found.found_M, np.full(len(found.query_M), view), found.distance_M)
            yield _each_once(pairs, view) if base_M is None else pairs
        done += len(views)


def _part(told: Callable[[float], None], done: int, searches: int, of: int) -> Callable[[float], None]:
    """Tells what share of all searches is done, when told that of some that follow others."""
    return lambda share: told((done + searches * share) / of)


def _each_once(pairs: Pairs, view: int) -> Pairs:
    """Pairs of one set under one view, of which each is found both ways, with first < second."""
    ahead = pairs.where(pairs.first_P < pairs.second_P)
    undoing = int(phash.inverse(np.array([view]))[0])
    if undoing == view:
        return ahead
    # A quarter turn taken the other way round is the other quarter turn, for which no search is made.
    behind = pairs.where(pairs.first_P > pairs.second_P)
    return Pairs(
        np.concatenate([ahead.first_P, behind.second_P]),
        np.concatenate([ahead.second_P, behind.first_P]),
        np.concatenate([ahead.view_P, np.full(len(behind), undoing)]),
        np.concatenate([ahead.distance_P, behind.distance_P]),
    )


def in_crowds(
    hash_N: NDArray[np.uint64], asked_K: NDArray[np.int64], looks: Looks, bars: Bars
) -> tuple[NDArray[np.bool_], Pairs]:
    """Copies among images of one and the same hash where those are too many to compare each with each.

    The first image of more than `CROWD` is compared with all others of its hash, and stands for its copies; then the
    first of those that are no copies of it, and so on. So a placeholder that comes back as a million different files
    takes a million comparisons, and its copies are linked to one of them.

    Args:
        hash_N: (N,) uint64.
        asked_K: the images to compare, in order.
        looks: of the N.
        bars: thresholds.

    Returns:
        (K,) which images stand for others, or for themselves, in every further search; pairs with first < second.
    """
    stands_K = np.ones(len(asked_K), dtype=np.bool_)
    found = []
    hash_K = hash_N[asked_K]
    order = np.argsort(hash_K, kind="stable")
    _, begin_U, num_U = np.unique(hash_K[order], return_index=True, return_counts=True)
    for crowd in np.flatnonzero(num_U > CROWD).tolist():
        rest = order[begin_U[crowd] : begin_U[crowd] + num_U[crowd]]
        while len(rest) > 1:
            first, others = rest[0], rest[1:]
            nothing = np.zeros(len(others), dtype=np.int64)
            pairs = Pairs(np.full(len(others), asked_K[first]), asked_K[others], nothing, nothing)
            verdict_P, _ = verify(pairs, looks, looks, bars)
            found.append(pairs.where(verdict_P))
            stands_K[others[verdict_P]] = False
            rest = others[~verdict_P]
    return stands_K, best_views(found, [np.ones(len(pairs)) for pairs in found])


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
    return verdict_P, correlation_P


def _same_on_ground(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32], view: int, residual: float
) -> NDArray[np.bool_]:
    (_, ground_a_P3), (_, ground_b_P3) = _border(a_PSSC), _border(b_PSSC)
    turned = phash.turn(a_PSSC, view)
    # A brighter copy's ground is brighter by as much. White grounds are equally bright: two products that differ in
    # brightness alone stay two.
    brighter_P = (ground_b_P3 @ _LUMA + 1.0) / (ground_a_P3 @ _LUMA + 1.0)
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
    # Most candidates are out already where no gain would help.
    excess = np.maximum(dark - bright - _BRIGHTER_BELOW, bright - _MOST_GAIN * dark - _BRIGHTER_ABOVE)
    possible = np.flatnonzero(excess.max(axis=(1, 2, 3)) <= 0)
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


@dataclass(frozen=True, slots=True)
class Groups:
    """Images that are in a group, by their rows in ascending order.

    Attributes:
        image_M: int64, row of the image.
        representative_M: int64, row of the group's best image, to which view and distance refer.
        view_M: int64, the view that, applied to this image, gives the representative.
        distance_M: int64, hash bits between the two under that view.
    """

    image_M: NDArray[np.int64]
    representative_M: NDArray[np.int64]
    view_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]

    @property
    def number_M(self) -> NDArray[np.int64]:
        """Number of each one's group, from 0 in the order of the groups' smallest images."""
        _, first_G, group_M = np.unique(self.representative_M, return_index=True, return_inverse=True)
        number_G = np.empty(len(first_G), dtype=np.int64)
        number_G[np.argsort(first_G)] = np.arange(len(first_G))
        return np.asarray(number_G[group_M], dtype=np.int64)

    def at(self, row_K: NDArray[np.int64]) -> Groups:
        """The same groups where image k is known by another number; the numbers ascend."""
        return Groups(row_K[self.image_M], row_K[self.representative_M], self.view_M, self.distance_M)

    def with_alone(self, image_K: NDArray[np.int64]) -> Groups:
        """With images that are in no group yet, each in one of its own."""
        none = np.zeros(len(image_K), dtype=np.int64)
        return _groups([self, Groups(image_K, image_K, none, none)])


def _groups(parts: Sequence[Groups]) -> Groups:
    names = ("image_M", "representative_M", "view_M", "distance_M")
    columns = [np.concatenate([_NOTHING, *(getattr(part, name) for part in parts)]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    return Groups(*(column[order] for column in columns))


class Membership(Protocol):
    """Whether images are copies of the best image of their group, by lax bars."""

    def __call__(self, image_M: NDArray[np.int64], representative_M: NDArray[np.int64]) -> Fits:
        """Rows of images, and of what stands for each."""
        ...


@dataclass(frozen=True, slots=True)
class Fits:
    """How images relate to what stands for them.

    Attributes:
        fits_M: whether each is a copy.
        view_M: int64, the view that, applied to it, gives the representative.
        distance_M: int64, hash bits between the two under that view.
    """

    fits_M: NDArray[np.bool_]
    view_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]


def group(
    same_N: NDArray[np.int64], pairs: Pairs, best_first_N: NDArray[np.int64], fits: Membership
) -> Groups:
    """Groups of copies, without chains.

    A component of verified pairs is a group if every member is, by the lax bars, also a copy of its best
    image. The members that are not form groups among themselves by the same rule, from their own pairs;
    one that is left alone is in no group. So A ~ B ~ C cannot join A and C that are different pictures.

    Args:
        same_N: (N,) any number that two images share exactly if their content is the same bytes.
        pairs: verified near copies among the N.
        best_first_N: the images from the best to the worst to keep; no two alike.
        fits: asked of images whose content is not that of their representative.

    Returns:
        Groups of at least two.
    """
    num = len(same_N)
    order_N = np.empty(num, dtype=np.int64)
    order_N[best_first_N] = np.arange(num)
    _, first_of_same, same_label_N = np.unique(same_N, return_index=True, return_inverse=True)
    twin_N = first_of_same[same_label_N]
    links_a = np.concatenate([pairs.first_P, np.arange(num)])
    links_b = np.concatenate([pairs.second_P, twin_N])
    groups: list[Groups] = []
    open_N = np.ones(num, dtype=np.bool_)
    while True:
        kept = open_N[links_a] & open_N[links_b]
        root_N = components(num, links_a[kept], links_b[kept])
        size_N = np.bincount(root_N, minlength=num)
        members = np.flatnonzero(open_N & (size_N[root_N] > 1))
        if not len(members):
            break
        # The best image of each component, by root.
        best_N = np.full(num, -1, dtype=np.int64)
        best_first_M = members[np.argsort(order_N[members])]
        root_R, first_R = np.unique(root_N[best_first_M], return_index=True)
        best_N[root_R] = best_first_M[first_R]
        representative_M = best_N[root_N[members]]
        fits_M = same_label_N[members] == same_label_N[representative_M]
        view_M, distance_M = np.zeros((2, len(members)), dtype=np.int64)
        others = np.flatnonzero(~fits_M)
        if len(others):
            other = fits(members[others], representative_M[others])
            fits_M[others], view_M[others], distance_M[others] = other.fits_M, other.view_M, other.distance_M
        open_N[members[fits_M]] = False
        num_N = np.bincount(representative_M[fits_M], minlength=num)
        kept_M = np.flatnonzero(fits_M & (num_N[representative_M] > 1))
        groups.append(Groups(members[kept_M], representative_M[kept_M], view_M[kept_M], distance_M[kept_M]))
    return _groups(groups)


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
