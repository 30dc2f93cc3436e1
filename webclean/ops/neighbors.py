"""Votes of the nearest images: what an image's look-alikes are labelled.

Up to some ten thousand images every pair is compared. Beyond, unit vectors are brought to their leading directions,
which hold most of every cosine, and sought in the cells of an inverted file: the work of an image grows with the
square root of their number instead of the number.

Shapes: N images, M of them asked about, C categories, D dims, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean.ops.cells import Cells

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Blocks = Callable[[], Iterable[tuple[slice, NDArray[np.floating[Any]]]]]
"""Starts anew over all features: their places and rows, block by block in order."""

EXACT = 2**15  # images up to which all pairs are compared
_SPARE = 32  # further neighbours fetched, since copies of the image itself do not vote
_FLOOR = 0.01  # share of the mean vote given to every category, so that none has probability 0
TOPIC_NEIGHBORS = 10
# Beyond EXACT (docs/decisions/0016): directions kept, and images that they are found on.
_DIRECTIONS = 128
_MOMENT_IMAGES = 2**16


@dataclass(frozen=True)
class Votes:
    """log_probability_NC: (N, C); similarity_N: mean cosine to the 10 nearest images of any label, (N,)."""

    log_probability_NC: Floats
    similarity_N: Floats


class Index:
    """Unit vectors of all images, and a way to the nearest of them."""

    def __init__(self, blocks: Blocks, num: int, dim: int) -> None:
        """Read all features: once, or twice where there are more than EXACT.

        Raises:
            ValueError: a feature is NaN or infinite.
        """
        import faiss

        self.is_exact = num <= EXACT
        directions_DK = None if self.is_exact else _directions(blocks, num, dim)
        self._unit_NK = np.empty((num, dim if directions_DK is None else directions_DK.shape[1]), np.float32)
        for rows, block_MD in blocks():
            unit_MD = _unit(block_MD)
            self._unit_NK[rows] = unit_MD if directions_DK is None else unit_MD @ directions_DK
        if self.is_exact:
            self._index: Any = faiss.IndexFlatIP(self._unit_NK.shape[1])
            self._index.add(self._unit_NK)
        else:
            self._cells = Cells(self._unit_NK)
            del self._unit_NK

    def nearest(self, rows: slice, k: int) -> tuple[NDArray[np.float32], Ints]:
        """Cosines and places (M, K) of the nearest images, these images themselves among them; -1 where there are fewer."""
        if not self.is_exact:
            return self._cells.nearest(rows, k)
        cosine_MK, near_MK = self._index.search(self._unit_NK[rows], k)
        return cosine_MK, near_MK


def _unit(features_MD: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    if not np.isfinite(features_MD).all():
        raise ValueError("features hold NaN or infinity")
    unit_MD = np.array(features_MD, dtype=np.float32)
    unit_MD /= np.maximum(np.linalg.norm(unit_MD, axis=1, keepdims=True), 1e-12)
    return unit_MD


def _directions(blocks: Blocks, num: int, dim: int) -> NDArray[np.float32] | None:
    """Directions (D, K) that hold most of the unit vectors' products; None where there are few dims anyway."""
    if dim <= _DIRECTIONS:
        return None
    moment_DD = np.zeros((dim, dim))
    step = max(1, num // _MOMENT_IMAGES)
    for rows, block_MD in blocks():
        unit_MD = _unit(block_MD[-rows.start % step :: step])
        moment_DD += unit_MD.T @ unit_MD
    _, vectors = np.linalg.eigh(moment_DD)
    return np.ascontiguousarray(vectors[:, ::-1][:, :_DIRECTIONS].astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """Who votes for what. label_N and group_N int64, -1 without copies; weight_N of each vote.

    k: neighbours that vote, fewer in a small crawl; temperature: of the votes, in cosine.
    """

    label_N: Ints
    group_N: Ints
    weight_N: Floats
    num_categories: int
    k: int
    temperature: float

    def count(self, index: Index, rows: slice) -> tuple[Floats, Floats]:
        """log_probability_MC and similarity_M of these images; an own label and that of copies do not vote."""
        num = len(self.label_N)
        own_M = np.arange(rows.start, rows.stop)
        if num < 2:
            return np.full((len(own_M), self.num_categories), -np.log(self.num_categories)), np.full(
                len(own_M), np.nan
            )
        cosine_MK, near_MK = index.nearest(rows, min(num, self.k + 1 + _SPARE))
        group_M = self.group_N[rows, None]
        same_MK = (near_MK == own_M[:, None]) | (near_MK < 0)
        same_MK |= (self.group_N[near_MK] == group_M) & (group_M >= 0)
        # Voters first, still by cosine; ties by image order, so that threads change nothing.
        order_MK = np.lexsort((near_MK, -cosine_MK, same_MK), axis=1)[:, : self.k]
        near_MK = np.take_along_axis(near_MK, order_MK, axis=1)
        cosine_MK = np.take_along_axis(cosine_MK, order_MK, axis=1).astype(np.float64)
        voter_MK = ~np.take_along_axis(same_MK, order_MK, axis=1)
        votes_MK = np.exp((cosine_MK - 1.0) / self.temperature) * self.weight_N[near_MK]
        votes_MK = np.where(voter_MK, votes_MK, 0.0)
        share_MC = np.zeros((len(own_M), self.num_categories))
        np.add.at(share_MC, (np.arange(len(own_M))[:, None], self.label_N[near_MK]), votes_MK)
        count_M1 = voter_MK.sum(axis=1, keepdims=True)
        share_MC += np.maximum(_FLOOR * votes_MK.sum(axis=1, keepdims=True) / np.maximum(count_M1, 1), 1e-300)
        log_p_MC = np.log(share_MC) - np.log(share_MC.sum(axis=1, keepdims=True))
        first = voter_MK & (np.cumsum(voter_MK, axis=1) <= TOPIC_NEIGHBORS)
        total = first.sum(axis=1)
        mean = np.where(first, cosine_MK, 0.0).sum(axis=1) / np.maximum(total, 1)
        return log_p_MC, np.where(total > 0, mean, np.nan)


def vote(
    features_ND: NDArray[np.floating[Any]],
    label_N: Ints,
    group_N: Ints,
    num_categories: int,
    *,
    k: int,
    temperature: float,
    weight_N: Floats | None = None,
) -> Votes:
    """Label distribution of the K nearest images by cosine, weighted exp(cosine/temperature).

    An image's own label and its duplicates' do not vote on it.

    Args:
        features_ND: float features.
        label_N: int64 labels.
        group_N: int64 duplicate group, -1 without one.
        num_categories: C.
        k: neighbours that vote, fewer in a small crawl.
        temperature: of the votes, in cosine.
        weight_N: float64 weight of each image's vote, default 1.

    Raises:
        ValueError: shapes differ, or a feature is NaN or infinite.
    """
    num = len(features_ND)
    if label_N.shape != (num,) or group_N.shape != (num,):
        raise ValueError("features, labels and groups differ in length")
    ballot = Ballot(
        label_N=label_N,
        group_N=group_N,
        weight_N=np.ones(num) if weight_N is None else weight_N,
        num_categories=num_categories,
        k=k,
        temperature=temperature,
    )
    index = Index(lambda: [(slice(0, num), features_ND)], num, features_ND.shape[1])
    log_p_NC, similarity_N = np.empty((num, num_categories)), np.empty(num)
    for start in range(0, num, 4096):
        rows = slice(start, min(num, start + 4096))
        log_p_NC[rows], similarity_N[rows] = ballot.count(index, rows)
    return Votes(log_p_NC, similarity_N)
