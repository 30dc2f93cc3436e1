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
from typing import Final

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

    def where(self, mask_P: NDArray[np.bool_]) -> Pairs:
        """The pairs under a mask."""
        return Pairs(
            self.first_P[mask_P], self.second_P[mask_P], self.view_P[mask_P], self.distance_P[mask_P]
        )


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
    turned = (turned - ground_a_P3[:, None, None]) * gain_P
    other = (other - ground_b_P3[:, None, None]) / gain_P
    return _same_cutout(turned, other, cutout_residual)


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


def group(
    hash_N: NDArray[np.uint64],
    looks: Looks,
    same_N: NDArray[np.int64],
    pairs: Pairs,
    best_first_N: Sequence[int],
    bars: Bars,
) -> list[list[Member]]:
    """Groups of copies, without chains.

    A component of verified pairs is a group if every member is, by the lax bars, also a copy of its best
    image. The members that are not form groups among themselves by the same rule, from their own pairs;
    one that is left alone is in no group. So A ~ B ~ C cannot join A and C that are different pictures.

    Args:
        hash_N: (N,) hashes.
        looks: of the same images.
        same_N: (N,) any number that two images share exactly if their content is the same bytes.
        pairs: verified near copies among the N.
        best_first_N: the images from the best to the worst to keep; no two alike.
        bars: the bars that `pairs` passed.

    Returns:
        Groups of at least two, each sorted by image, in the order of their smallest image.
    """
    num = len(hash_N)
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
        fits_M, view_M, distance_M = _against_representative(
            hash_N, looks, same_label_N, members, representative_M, bars.lax()
        )
        found: dict[int, list[Member]] = {}
        for image, rep, fits, view, distance in zip(
            members.tolist(),
            representative_M.tolist(),
            fits_M,
            view_M.tolist(),
            distance_M.tolist(),
            strict=True,
        ):
            if fits:
                found.setdefault(rep, []).append(Member(image, rep, view, distance))
                open_N[image] = False
        groups += [group_ for group_ in found.values() if len(group_) > 1]
    return sorted(groups, key=lambda group_: group_[0].image)


def _against_representative(
    hash_N: NDArray[np.uint64],
    looks: Looks,
    same_N: NDArray[np.int64],
    image_M: NDArray[np.int64],
    representative_M: NDArray[np.int64],
    bars: Bars,
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Under its best view: whether each image is a copy of its representative, the view, the distance."""
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
    same_M = same_N[image_M] == same_N[representative_M]
    best_M[same_M] = 0
    return (
        fits_VM[best_M, columns] | same_M,
        best_M.astype(np.int64),
        np.where(same_M, 0, distance_VM[best_M, columns]),
    )
