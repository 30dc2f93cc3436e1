"""Near duplicates: candidates by hash, within a radius of bits under one of the eight views; the search is exact.

Letters: N images, P pairs, K images that are asked, S = 16 pixels, V = 8 views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops import hamming, phash
from webclean.ops.pairs import NOTHING, Pairs, best_views
from webclean.ops.verdict import LUMA, Bars, Looks, verify

CROWD: Final = 256
"""Contents of one hash from which on not all pairs of them are looked at (`in_crowds`)."""

_BLEACHING_HASHED: Final = np.float32(1.25)  # half of the way, by ratio, to the most
_BITS_MOVED: Final = (
    8  # bits that bleaching moves; by less, the search among the hashes as they are finds the copy
)
_BLOCK: Final = 4096  # small copies that are hashed at once


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


def bleached_candidates(
    hash_N: NDArray[np.uint64], asked_K: NDArray[np.int64], looks: Looks, radius: int
) -> Iterator[Pairs]:
    """Pairs of cut-outs of which one, made brighter and cut off at white, comes near to the other: in blocks.

    Bleaching a pale thing moves its hash by more than any radius allows. The hash that it would have then is that of
    its tiny copy, brightened; only cut-outs that move far are asked.

    Args:
        hash_N: (N,) uint64.
        asked_K: the images to compare.
        looks: of the N.
        radius: most bits in which the hash of the brightened one may differ, 0 to 64.

    Yields:
        Pairs with first < second, their distance that of their own hashes; one may come more than once.
    """
    cutout = asked_K[looks.cutout_N[asked_K]]
    rows, hashes = [NOTHING], [np.empty(0, dtype=np.uint64)]
    for start in range(0, len(cutout), _BLOCK):
        row = cutout[start : start + _BLOCK]
        gray = looks.tiny_NSSC[row].astype(np.float32)
        plain, bleached = (
            _tiny_hash(x @ LUMA) for x in (gray, np.minimum(np.float32(255.0), gray * _BLEACHING_HASHED))
        )
        moved = np.flatnonzero(phash.hamming(plain, bleached) > _BITS_MOVED)
        rows.append(row[moved])
        hashes.append(bleached[moved])
    pale, bleached_hash = np.concatenate(rows), np.concatenate(hashes)
    for found in candidates(bleached_hash, hash_N[cutout], radius):
        first, second, view = pale[found.first_P], cutout[found.second_P], found.view_P
        swapped = first > second
        view = np.where(swapped, phash.inverse(view), view)
        first, second = np.minimum(first, second), np.maximum(first, second)
        distance = phash.hamming(phash.views(hash_N[first])[view, np.arange(len(view))], hash_N[second])
        yield Pairs(first, second, view, distance).where(first != second)


def _tiny_hash(gray_PSS: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hashes of pictures by their tiny grey copies: each pixel fills a square of the picture that is hashed."""
    times = phash.SIDE // gray_PSS.shape[1]
    return phash.phash(gray_PSS.repeat(times, axis=1).repeat(times, axis=2))


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
