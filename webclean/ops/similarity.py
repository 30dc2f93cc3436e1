"""Category relations: WordNet and text blended, thresholded, and each category's nearest ones.

Legend: C categories, D dims, K neighbours of a category.

The blend of the two-stage method (SINet, ECCV 2020, hybrid similarity S_t; row "category relations" of
docs/papers.md): S_w from the is-a graph, S_l = max(0, cos) of the category texts, each stretched to [0, 1] off the
diagonal, mixed by lambda, cut at theta so that unrelated pairs are worth exactly nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CategorySimilarity:
    """How alike categories are.

    Attributes:
        combined_CC: float64, S_t in [0, 1], symmetric, diagonal 1.
        match_CC: float64, S-bar in [0, 1]: S_t above theta, exact zeros below, diagonal 1.
        theta: the threshold, as given or as the quantile found.
    """

    combined_CC: NDArray[np.float64]
    match_CC: NDArray[np.float64]
    theta: float


def cosine_similarity(vector_CD: NDArray[np.floating]) -> NDArray[np.float64]:
    """S_l = max(0, cos) between rows: float64 (C, C), symmetric, diagonal 1.

    A zero row is like nothing, itself excepted.

    Raises:
        ValueError: not a matrix of finite numbers.
    """
    x_CD = np.asarray(vector_CD, dtype=np.float64)
    if x_CD.ndim != 2 or not np.isfinite(x_CD).all():
        raise ValueError(f"vectors must be a finite matrix, got shape {x_CD.shape}")
    norm_C = np.linalg.norm(x_CD, axis=1)
    unit_CD = x_CD / np.where(norm_C > 0, norm_C, 1.0)[:, None]
    similarity_CC = np.clip(unit_CD @ unit_CD.T, 0.0, 1.0)
    similarity_CC = (similarity_CC + similarity_CC.T) / 2
    np.fill_diagonal(similarity_CC, 1.0)
    return similarity_CC


def stretch(similarity_CC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Min-max of the known off-diagonal to [0, 1], symmetrised, diagonal 1; NaN (unknown) stays NaN.

    Where the pairs do not differ (two categories have one pair) there is nothing to stretch: the values
    stay as they are, cut to [0, 1].
    """
    mean_CC = (similarity_CC + similarity_CC.T) / 2
    off_CC = ~np.eye(len(mean_CC), dtype=bool) & ~np.isnan(mean_CC)
    hat_CC = np.clip(mean_CC, 0.0, 1.0)
    if off_CC.any():
        low, high = mean_CC[off_CC].min(), mean_CC[off_CC].max()
        if high > low:
            hat_CC = np.clip((mean_CC - low) / (high - low), 0.0, 1.0)
    np.fill_diagonal(hat_CC, 1.0)
    return hat_CC


def blend(
    wordnet_CC: NDArray[np.float64] | None,
    text_CC: NDArray[np.float64] | None,
    *,
    text_share: float = 0.5,
    theta: float = 0.3,
    theta_quantile: float | None = None,
) -> CategorySimilarity:
    """S_t = (1 - lambda) hat S_w + lambda hat S_l, and S-bar = max(0, (S_t - theta) / (1 - theta)).

    A pair that one side does not know (NaN: a category without a synset) takes the other side alone; a pair
    that neither knows is worth 0.

    Args:
        wordnet_CC: S_w in [0, 1], NaN where unknown; None for text alone.
        text_CC: S_l in [0, 1]; None for WordNet alone.
        text_share: lambda in [0, 1].
        theta: threshold in [0, 1).
        theta_quantile: where given, theta is this quantile of the off-diagonal of S_t instead.

    Raises:
        ValueError: no side at all, not square, sizes that differ, or a number out of range.
    """
    given = [side for side in (wordnet_CC, text_CC) if side is not None]
    if not given or any(side.shape != (len(given[0]), len(given[0])) for side in given):
        raise ValueError("need square matrices of one size, from WordNet, text or both")
    if not (0 <= text_share <= 1 and 0 <= theta < 1):
        raise ValueError(f"text_share must be in [0, 1] and theta in [0, 1), got {text_share} and {theta}")
    num = len(given[0])
    unknown_CC = np.full((num, num), np.nan)
    wordnet_hat_CC = unknown_CC if wordnet_CC is None else stretch(wordnet_CC)
    text_hat_CC = unknown_CC if text_CC is None else stretch(text_CC)
    combined_CC = (1.0 - text_share) * wordnet_hat_CC + text_share * text_hat_CC
    combined_CC = np.where(np.isnan(wordnet_hat_CC), text_hat_CC, combined_CC)
    combined_CC = np.where(np.isnan(text_hat_CC), wordnet_hat_CC, combined_CC)
    combined_CC = np.nan_to_num(combined_CC, nan=0.0)
    np.fill_diagonal(combined_CC, 1.0)
    if theta_quantile is not None and num > 1:
        # A quantile of 1 would be the largest pair itself, where S_t may be 1 and the slope infinite.
        found = float(np.quantile(combined_CC[~np.eye(num, dtype=bool)], theta_quantile))
        theta = min(found, float(np.nextafter(1.0, 0.0)))
    match_CC = np.maximum(0.0, (combined_CC - theta) / (1.0 - theta))
    np.fill_diagonal(match_CC, 1.0)
    return CategorySimilarity(combined_CC, match_CC, theta)


def nearest(combined_CC: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """N_K(y): the K most similar other categories of each, ties by index: int64 (C, min(K, C - 1))."""
    num = len(combined_CC)
    ranked_CC = np.where(np.eye(num, dtype=bool), -np.inf, combined_CC)
    return np.argsort(-ranked_CC, axis=1, kind="stable")[:, : max(0, min(k, num - 1))].astype(np.int64)
