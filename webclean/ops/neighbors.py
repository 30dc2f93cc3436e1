"""Votes of the nearest images: what an image's look-alikes are labelled.  # N images, C categories, K"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SPARE = 32  # further neighbours fetched, since copies of the image itself do not vote
_FLOOR = 0.01  # share of the mean vote given to every category, so that none has probability 0
_TOPIC_NEIGHBORS = 10


@dataclass(frozen=True)
class Votes:
    """log_probability_NC: (N, C); similarity_N: mean cosine to the 10 nearest images of any label, (N,)."""

    log_probability_NC: Floats
    similarity_N: Floats


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
    import faiss

    num = len(features_ND)
    if label_N.shape != (num,) or group_N.shape != (num,):
        raise ValueError("features, labels and groups differ in length")
    if not np.isfinite(features_ND).all():
        raise ValueError("features hold NaN or infinity")
    weight_N = np.ones(num) if weight_N is None else weight_N
    unit_ND = np.array(features_ND, dtype=np.float32)
    unit_ND /= np.maximum(np.linalg.norm(unit_ND, axis=1, keepdims=True), 1e-12)
    log_p_NC = np.full((num, num_categories), -np.log(num_categories))
    similarity_N = np.full(num, np.nan)
    if num < 2:
        return Votes(log_p_NC, similarity_N)
    index = faiss.IndexFlatIP(unit_ND.shape[1])
    index.add(unit_ND)
    fetched = min(num, k + 1 + _SPARE)
    for start in range(0, num, 4096):
        rows = slice(start, min(num, start + 4096))
        cosine_MK, near_MK = index.search(unit_ND[rows], fetched)
        own_M = np.arange(rows.start, rows.stop)
        same_MK = near_MK == own_M[:, None]
        group_M = group_N[rows, None]
        same_MK |= (group_N[near_MK] == group_M) & (group_M >= 0)
        # Voters first, still by cosine; ties by image order, so that threads change nothing.
        order_MK = np.lexsort((near_MK, -cosine_MK, same_MK), axis=1)[:, :k]
        near_MK = np.take_along_axis(near_MK, order_MK, axis=1)
        cosine_MK = np.take_along_axis(cosine_MK, order_MK, axis=1).astype(np.float64)
        voter_MK = ~np.take_along_axis(same_MK, order_MK, axis=1)
        votes_MK = np.where(voter_MK, np.exp((cosine_MK - 1.0) / temperature) * weight_N[near_MK], 0.0)
        share_MC = np.zeros((len(own_M), num_categories))
        np.add.at(share_MC, (np.arange(len(own_M))[:, None], label_N[near_MK]), votes_MK)
        count_M1 = voter_MK.sum(axis=1, keepdims=True)
        share_MC += np.maximum(_FLOOR * votes_MK.sum(axis=1, keepdims=True) / np.maximum(count_M1, 1), 1e-300)
        log_p_NC[rows] = np.log(share_MC) - np.log(share_MC.sum(axis=1, keepdims=True))
        first = voter_MK & (np.cumsum(voter_MK, axis=1) <= _TOPIC_NEIGHBORS)
        total = first.sum(axis=1)
        mean = np.where(first, cosine_MK, 0.0).sum(axis=1) / np.maximum(total, 1)
        similarity_N[rows] = np.where(total > 0, mean, np.nan)
    return Votes(log_p_NC, similarity_N)
