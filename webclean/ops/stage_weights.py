"""Stage-1 weights: search rank times text match, compared inside each category.

Legend: N images, C categories, D dims, K neighbours of a category.

All functions take category codes 0 <= code < C. A row that must not be weighted (a file that cannot be
read) is False in `usable_N`: its weight is 0 and it takes no part in any maximum, median or sum. Such a
row, and no other, may have the code -1: it is of no category.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TEXT_EVIDENCE: Final = ("mass", "judge", "both")


def class_median(
    value_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    """Median of the known values of each category: float64 (C,), NaN where a category has none."""
    known = np.flatnonzero(~np.isnan(value_N))
    order = known[np.lexsort((value_N[known], category_N[known]))]
    count_C = np.bincount(category_N[order], minlength=num_categories)
    start_C = np.concatenate(([0], np.cumsum(count_C)[:-1]))
    median_C = np.full(num_categories, np.nan)
    filled = np.flatnonzero(count_C)
    low = order[start_C[filled] + (count_C[filled] - 1) // 2]
    high = order[start_C[filled] + count_C[filled] // 2]
    median_C[filled] = (value_N[low] + value_N[high]) / 2
    return median_C


def class_mean(
    value_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    """Mean of the known values of each category: float64 (C,), NaN where a category has none."""
    known_N = ~np.isnan(value_N)
    count_C = np.bincount(category_N[known_N], minlength=num_categories)
    sum_C = np.bincount(category_N[known_N], weights=value_N[known_N], minlength=num_categories)
    return np.where(count_C > 0, sum_C / np.maximum(count_C, 1), np.nan)


def text_match(
    mass_N: NDArray[np.float64],
    judge_N: NDArray[np.float64],
    category_N: NDArray[np.int64],
    num_categories: int,
    *,
    evidence: str = "both",
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Match kappa of an image's text with its label, where missing text is worth the class median.

    Args:
        mass_N: text mass on the label and its nearest categories, in [0, 1]; NaN without text.
        judge_N: the out-of-sample text judge's probability of the label; NaN where it had nothing.
        category_N: category codes.
        num_categories: C.
        evidence: `mass`, `judge`, or `both`: the geometric mean of the two, each filled by its class
            median first so that rows with one of them stay comparable. A kind that a whole category
            lacks takes no part there.

    Returns:
        kappa_N float64 in [0, 1], and missing_N, True where no kind of the evidence was known. A
        category without any text gets 1 throughout: nothing speaks against its images.

    Raises:
        ValueError: unknown evidence.

    Two-stage weighting, stage 1: kappa_i and the rule for missing text (docs/papers.md).
    """
    if evidence not in TEXT_EVIDENCE:
        raise ValueError(f"evidence must be one of {', '.join(TEXT_EVIDENCE)}; got {evidence!r}")
    kinds = {"mass": (mass_N,), "judge": (judge_N,), "both": (mass_N, judge_N)}[evidence]
    product_N = np.ones(len(mass_N))
    num_kinds_N = np.zeros(len(mass_N))
    missing_N = np.ones(len(mass_N), dtype=bool)
    for value_N in kinds:
        unknown_N = np.isnan(value_N)
        median_C = class_median(value_N, category_N, num_categories)
        fill_N = np.where(category_N >= 0, median_C[category_N], np.nan)
        filled_N = np.where(unknown_N, fill_N, value_N)
        usable_N = ~np.isnan(filled_N)
        product_N = np.where(usable_N, product_N * np.where(usable_N, filled_N, 1.0), product_N)
        num_kinds_N += usable_N
        missing_N &= unknown_N
    return product_N ** (1 / np.maximum(num_kinds_N, 1)), missing_N


def stage1_weight(
    rho_N: NDArray[np.float64],
    kappa_N: NDArray[np.float64],
    category_N: NDArray[np.int64],
    num_categories: int,
    usable_N: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """w1 = rho kappa / max over the category: float64 (N,) in [0, 1], its maximum 1 in each category.

    A category whose products are all 0 is weighted by rho alone: text that speaks against every image
    of a category tells none of them apart.

    Two-stage weighting, stage 1: w1_i (docs/papers.md).
    """
    product_N = np.where(usable_N, rho_N * kappa_N, 0.0)
    silent_C = _class_max(product_N, category_N, num_categories) == 0
    product_N = np.where(usable_N & silent_C[category_N], rho_N, product_N)
    max_N = _class_max(product_N, category_N, num_categories)[category_N]
    return np.where(max_N > 0, product_N / np.where(max_N > 0, max_N, 1.0), usable_N.astype(np.float64))


def _class_sum(
    value_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    within_N = category_N >= 0
    sum_C = np.bincount(category_N[within_N], weights=value_N[within_N], minlength=num_categories)
    return np.asarray(sum_C, dtype=np.float64)


def share_of_class_max(
    value_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    """value over the largest of its category, float64 (N,); NaN stays, and so does a category of zeros.

    Args:
        value_N: float64, >= 0 or NaN.
        category_N: int64; below 0 the image has no known category and its value stays.
    """
    max_C = _class_max(value_N, category_N, num_categories)
    max_N = np.where(category_N >= 0, max_C[category_N], 0.0)
    return np.where(max_N > 0, value_N / np.where(max_N > 0, max_N, 1.0), value_N)


def _class_max(
    value_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    max_C = np.zeros(num_categories)
    known_N = (category_N >= 0) & ~np.isnan(value_N)
    np.maximum.at(max_C, category_N[known_N], value_N[known_N])
    return max_C


def raise_class_means(
    weight_N: NDArray[np.float64],
    category_N: NDArray[np.int64],
    num_categories: int,
    usable_N: NDArray[np.bool_],
    minimum: float,
) -> NDArray[np.float64]:
    """Lift categories whose mean weight is below `minimum`, so that none vanishes from training.

    Positive weights move towards 1 by w + t (1 - w), with the t of the category that brings its mean to
    the minimum (t <= 1), which keeps their order and their maximum; exact zeros stay zeros. Only where a
    whole category is 0 do all its usable images get the minimum.

    Args:
        weight_N: in [0, 1].
        category_N: category codes.
        num_categories: C.
        usable_N: rows that count in the mean.
        minimum: in [0, 1]; 0 changes nothing.

    Returns:
        float64 (N,) in [0, 1], 0 where not usable.

    Raises:
        ValueError: `minimum` out of range.
    """
    if not 0 <= minimum <= 1:
        raise ValueError(f"minimum must be in [0, 1]; got {minimum}")
    weight_N = np.where(usable_N, weight_N, 0.0)
    count_C = np.bincount(category_N[usable_N], minlength=num_categories)
    positive_C = np.bincount(category_N[weight_N > 0], minlength=num_categories)
    sum_C = _class_sum(weight_N, category_N, num_categories)
    lack_C = np.maximum(0.0, minimum * count_C - sum_C)
    room_C = positive_C - sum_C
    share_C = np.where(room_C > 0, np.minimum(1.0, lack_C / np.where(room_C > 0, room_C, 1.0)), 0.0)
    share_N = np.where(weight_N > 0, share_C[category_N], 0.0)
    lifted_N = weight_N + share_N * (1 - weight_N)
    return np.where(usable_N & (positive_C == 0)[category_N], minimum, lifted_N)


def sampling_probability(
    weight_N: NDArray[np.float64],
    category_N: NDArray[np.int64],
    num_categories: int,
) -> NDArray[np.float64]:
    """P(i) = w_i / (C sum of w over the category): every category equally often, inside it by weight.

    Categories without any weight are left out, and C counts the others, so that P sums to 1 as long as
    any weight is positive.

    Two-stage weighting, stage 1: P(i), class-balanced sampling (docs/papers.md).
    """
    sum_C = _class_sum(weight_N, category_N, num_categories)
    num_present = max(1, int(np.count_nonzero(sum_C > 0)))
    sum_N = sum_C[category_N]
    return np.where(sum_N > 0, weight_N / np.where(sum_N > 0, sum_N, 1.0), 0.0) / num_present


def prototype_seeds(
    category_N: NDArray[np.int64],
    position_N: NDArray[np.int64],
    usable_N: NDArray[np.bool_],
    num_categories: int,
    top: int,
) -> NDArray[np.bool_]:
    """Which images a category's prototype is the mean of: usable ones at positions 1..top of their lists.

    A category without such an image takes all its usable images.

    Two-stage weighting, stage 1, option `prototype`: R_0 (docs/papers.md).
    """
    seed_N = usable_N & (position_N >= 1) & (position_N <= top)
    has_seed_C = np.bincount(category_N[seed_N], minlength=num_categories) > 0
    return seed_N | (usable_N & ~has_seed_C[category_N])


def prototype_sum(
    features_ND: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    """Sum of the unit features of each category: float64 (C, D), zero where a category has none.

    Sums of several batches add up, and since only the direction of mu_c enters the weight, the sum
    stands for the mean.

    Two-stage weighting, stage 1, option `prototype`: mu_c (docs/papers.md).
    """
    sum_CD = np.zeros((num_categories, features_ND.shape[1]))
    np.add.at(sum_CD, category_N, _unit_rows(features_ND))
    return sum_CD


def prototype_weight(
    features_ND: NDArray[np.float64],
    category_N: NDArray[np.int64],
    prototypes_CD: NDArray[np.float64],
    neighbors_CK: NDArray[np.int64],
    temperature: float,
) -> NDArray[np.float64]:
    """Softmax of the cosine to the own prototype among the category's neighbours: float64 (N,) in (0, 1].

    Args:
        features_ND: image features.
        category_N: category codes.
        prototypes_CD: from `prototype_sum`; any length.
        neighbors_CK: the K nearest other categories of each, -1 where there are fewer.
        temperature: > 0.

    Raises:
        ValueError: `temperature` is not above 0.

    Two-stage weighting, stage 1, option `prototype`: w1_i (docs/papers.md).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    unit_ND, unit_CD = _unit_rows(features_ND), _unit_rows(prototypes_CD)
    rivals_NK = neighbors_CK[category_N]
    own_N = np.einsum("nd,nd->n", unit_ND, unit_CD[category_N])
    log_total_N = np.zeros(len(own_N))  # log of the softmax's denominator over the own term
    for column_N in rivals_NK.T:  # one neighbour at a time: (N, K, D) would not fit for a large crawl
        cosine_N = np.einsum("nd,nd->n", unit_ND, unit_CD[np.maximum(column_N, 0)])
        rival_N = np.where(column_N >= 0, (cosine_N - own_N) / temperature, -np.inf)
        log_total_N = np.logaddexp(log_total_N, rival_N)
    return np.asarray(np.exp(-log_total_N))


def _unit_rows(x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    norm_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(x_ND / np.where(norm_N > 0, norm_N, 1.0))


def effective_samples(
    weight_N: NDArray[np.float64], category_N: NDArray[np.int64], num_categories: int
) -> NDArray[np.float64]:
    """(sum w)^2 / sum w^2 of each category (Kish): how many unweighted images its weights are worth."""
    sum_C = _class_sum(weight_N, category_N, num_categories)
    square_C = _class_sum(weight_N**2, category_N, num_categories)
    return np.where(square_C > 0, sum_C**2 / np.where(square_C > 0, square_C, 1.0), 0.0)
