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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from webclean.ops import phash
from webclean.ops.components import components

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
BLOCK: Final = 256
"""Images whose eight views are searched at once."""

_PAIRS: Final = 4096  # pairs whose pixels are compared at once

FLAT: Final = 3.0
"""Grey levels of standard deviation below which a picture has too little in it to be matched by chance-proof
means: plain colours, blank pages."""

_GROUND_TOLERANCE: Final = 12.0  # levels in which a border pixel may differ from the ground
_PLAIN_BORDER: Final = 0.7  # share of the border that is ground in a cut-out
_SCENE_COLOR: Final = 10.0  # mean chroma difference of a scene's copy, levels; edits of photos stay below 7
_LEAST_GAIN: Final = 0.7  # each of a pair is made at most this much paler or stronger
_CUTOUT_PEAK: Final = 20.0  # largest difference of one pixel of a cut-out's copy, levels
_SAME_PEAK: Final = (
    8.0  # one that no pixel exceeds is a copy however pale: no more than coding and scaling leave
)
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


@dataclass(frozen=True, slots=True)
class Looks:
    """What the verdict needs to know of each image.

    Attributes:
        tiny_NSSC: (N, 16, 16, 3) uint8.
        shape_NSS: (N, 16, 16) float32, its grey values with mean 0 and norm 1 (0 where it is constant).
        flat_N: too little in it to be matched.
        cutout_N: one thing on a plain ground.
        ground_NC: (N, 3) float32, the ground's colour, median of the border.
        gray_N: no colour anywhere.
    """

    tiny_NSSC: NDArray[np.uint8]
    shape_NSS: NDArray[np.float32]
    flat_N: NDArray[np.bool_]
    cutout_N: NDArray[np.bool_]
    ground_NC: NDArray[np.float32]
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
    shape_NSS = np.empty(tiny_NSSC.shape[:3], dtype=np.float32)
    flat_N = np.empty(num, dtype=np.bool_)
    cutout_N = np.empty(num, dtype=np.bool_)
    ground_NC = np.empty((num, 3), dtype=np.float32)
    for start in range(0, num, _PAIRS):
        block = slice(start, start + _PAIRS)
        tiny = tiny_NSSC[block].astype(np.float32)
        gray = tiny @ _LUMA
        gray -= gray.mean(axis=(1, 2), keepdims=True)
        flat_N[block] = gray.std(axis=(1, 2)) < FLAT
        norm = np.sqrt((gray**2).sum(axis=(1, 2), keepdims=True))
        shape_NSS[block] = gray / np.maximum(norm, _NO_ENERGY)
        border = np.concatenate([tiny[:, 0], tiny[:, -1], tiny[:, 1:-1, 0], tiny[:, 1:-1, -1]], axis=1)
        ground_NC[block] = np.median(border, axis=1)
        is_ground = np.abs(border - ground_NC[block][:, None]).max(axis=2) <= _GROUND_TOLERANCE
        cutout_N[block] = is_ground.mean(axis=1) >= _PLAIN_BORDER
    return Looks(tiny_NSSC, shape_NSS, flat_N, cutout_N, ground_NC, gray_N)


def candidates(
    query_N: NDArray[np.uint64], base_M: NDArray[np.uint64] | None, radius: int
) -> Iterator[Pairs]:
    """All pairs of hashes within a radius under any of the eight views: exact, in blocks of queries.

    Args:
        query_N: hashes whose views are searched; `first_P` counts in them.
        base_M: hashes to find; `second_P` counts in them. None for the queries themselves: then each pair
            is given once, with first < second.
        radius: most bits that may differ, 0 to 64.

    Yields:
        Pairs sorted by first, second, view; a pair may come under several views.
    """
    import faiss

    within = base_M is None
    base = query_N if base_M is None else base_M
    octets = np.ascontiguousarray(base, dtype="<u8").view(np.uint8).reshape(-1, 8)
    if not len(base):
        return
    index = None
    for start in range(0, len(query_N), BLOCK):
        # Within one set only what comes after the block is searched: half the work.
        offset = start if within else 0
        if index is None or within:
            index = faiss.IndexBinaryFlat(phash.NUM_BITS)
            index.add(octets[offset:])
        queries = phash.views(query_N[start : start + BLOCK])
        num = queries.shape[1]
        asked = np.ascontiguousarray(queries.reshape(-1), dtype="<u8").view(np.uint8).reshape(-1, 8)
        limits, distance, found = index.range_search(asked, radius + 1)  # faiss: strictly below
        row = np.repeat(np.arange(len(asked)), np.diff(limits.astype(np.int64)).astype(np.int64))
        first, view = row % num + start, row // num
        second = found.astype(np.int64) + offset
        pairs = Pairs(first, second, view, distance.astype(np.int64))
        if within:
            pairs = pairs.where(first < second)
        order = np.lexsort((pairs.view_P, pairs.second_P, pairs.first_P))
        yield Pairs(pairs.first_P[order], pairs.second_P[order], pairs.view_P[order], pairs.distance_P[order])


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
            a, b = pairs.first_P[rows], pairs.second_P[rows]
            turned = phash.turn(first.shape_NSS[a], view).reshape(len(a), -1)
            correlation = (turned * second.shape_NSS[b].reshape(len(b), -1)).sum(axis=1)
            correlation_P[rows] = correlation
            for kind in (True, False):
                near = correlation >= bars.correlation
                near &= (first.cutout_N[a] | second.cutout_N[b]) == kind
                verdict_P[rows[near]] = _same_pixels(
                    first, second, a[near], b[near], view, bars.cutout_residual if kind else None
                )
    return verdict_P, correlation_P


def _same_pixels(
    first: Looks,
    second: Looks,
    a_P: NDArray[np.int64],
    b_P: NDArray[np.int64],
    view: int,
    cutout_residual: float | None,
) -> NDArray[np.bool_]:
    turned = phash.turn(first.tiny_NSSC[a_P], view).astype(np.float32)
    other = second.tiny_NSSC[b_P].astype(np.float32)
    if cutout_residual is None:
        return (first.gray_N[a_P] ^ second.gray_N[b_P]) | _same_colors(turned, other)
    ground_a_P3, ground_b_P3 = first.ground_NC[a_P], second.ground_NC[b_P]
    # A brighter copy's ground is brighter by as much. White grounds are equally bright: two products that differ in
    # brightness alone stay two.
    brighter_P = (ground_b_P3 @ _LUMA + 1.0) / (ground_a_P3 @ _LUMA + 1.0)
    gain_P = np.sqrt(np.clip(brighter_P, _LEAST_GAIN, 1 / _LEAST_GAIN))[:, None, None, None]
    ground_a_P, ground_b_P = ground_a_P3[:, None, None], ground_b_P3[:, None, None]
    same = _same_cutout((turned - ground_a_P) * gain_P, (other - ground_b_P) / gain_P, cutout_residual)
    return same | _brightened_cutout(turned, other, ground_a_P, ground_b_P, cutout_residual)


def _same_colors(a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Chroma (RGB less grey) at equal contrast and without its mean, which a new white balance may move."""
    contrast_a_P, contrast_b_P = ((x @ _LUMA).std(axis=(1, 2)) for x in (a_PSSC, b_PSSC))
    gain_P = np.sqrt(
        contrast_b_P / np.maximum(contrast_a_P, _NO_ENERGY)
    )  # shared, so that order is no matter
    gain_P = np.clip(gain_P, _LEAST_GAIN, 1 / _LEAST_GAIN)[:, None, None, None]
    difference = a_PSSC * gain_P - b_PSSC / gain_P
    difference -= (difference @ _LUMA)[..., None]  # chroma is linear: the difference's is the differences'
    difference -= difference.mean(axis=(1, 2), keepdims=True)
    return np.asarray(np.abs(difference).mean(axis=(1, 2, 3)) <= _SCENE_COLOR)


def _same_cutout(
    a_PSSC: NDArray[np.float32], b_PSSC: NDArray[np.float32], residual: float
) -> NDArray[np.bool_]:
    """Copies as they stand on their grounds, which are subtracted already."""
    difference = np.abs(a_PSSC - b_PSSC)
    energy_P = np.maximum((a_PSSC**2).sum(axis=(1, 2, 3)), (b_PSSC**2).sum(axis=(1, 2, 3)))
    relative_P = np.sqrt((difference**2).sum(axis=(1, 2, 3)) / np.maximum(energy_P, _NO_ENERGY))
    peak_P = difference.max(axis=(1, 2, 3))
    return np.asarray((relative_P <= residual) & (peak_P <= _CUTOUT_PEAK) | (peak_P <= _SAME_PEAK))


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
class Member:
    """One image of a group.

    Attributes:
        image: row of the image.
        representative: row of the group's best image, to which view and distance refer.
        view: the view that, applied to this image, gives the representative.
        distance: hash bits between the two under that view.
    """

    image: int
    representative: int
    view: int
    distance: int


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
    same_N: NDArray[np.int64], pairs: Pairs, best_first_N: Sequence[int], fits: Membership
) -> list[list[Member]]:
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
        Groups of at least two, each sorted by image, in the order of their smallest image.
    """
    num = len(same_N)
    order_N = np.empty(num, dtype=np.int64)
    order_N[np.asarray(best_first_N, dtype=np.int64)] = np.arange(num)
    _, first_of_same, same_label_N = np.unique(same_N, return_index=True, return_inverse=True)
    twin_N = first_of_same[same_label_N]
    links_a = np.concatenate([pairs.first_P, np.arange(num)])
    links_b = np.concatenate([pairs.second_P, twin_N])
    groups: list[list[Member]] = []
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
        for image in members[np.argsort(-order_N[members], kind="stable")]:
            best_N[root_N[image]] = image
        representative_M = best_N[root_N[members]]
        fits_M = same_label_N[members] == same_label_N[representative_M]
        view_M, distance_M = np.zeros((2, len(members)), dtype=np.int64)
        others = np.flatnonzero(~fits_M)
        if len(others):
            other = fits(members[others], representative_M[others])
            fits_M[others], view_M[others], distance_M[others] = other.fits_M, other.view_M, other.distance_M
        found: dict[int, list[Member]] = {}
        for image, rep, is_member, view, distance in zip(
            members.tolist(),
            representative_M.tolist(),
            fits_M.tolist(),
            view_M.tolist(),
            distance_M.tolist(),
            strict=True,
        ):
            if is_member:
                found.setdefault(rep, []).append(Member(image, rep, view, distance))
                open_N[image] = False
        groups += [group_ for group_ in found.values() if len(group_) > 1]
    return sorted(groups, key=lambda group_: group_[0].image)


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
    for view in range(phash.NUM_VIEWS):
        pairs = Pairs(image_M, representative_M, np.full(num, view, dtype=np.int64), distance_VM[view])
        fits_VM[view], score_VM[view] = verify(pairs, looks, looks, bars)
    # First a view that fits, then the highest correlation, then the lowest number of the view.
    best_M = np.argmax(score_VM + 4.0 * fits_VM, axis=0)
    columns = np.arange(num)
    return Fits(fits_VM[best_M, columns], best_M.astype(np.int64), distance_VM[best_M, columns])
