"""How well a score finds wrong labels: exact ranking metrics, calibration, paired intervals.

Shapes: N images, S seeds or runs, R bootstrap draws. `positive` is what is looked for (a wrong
image); a higher score says "more likely positive". NaN stands for a number that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webclean.ops.components import components
from webclean.ops.grouping import rows_by_code

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference and the ends of its bootstrap interval, in the unit of the values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Detection:
    """Counts and rates of a set of images taken for positive; a rate with nothing below it is NaN."""

    num_positive: int
    num_taken: int
    num_hit: int
    precision: float
    recall: float


def auroc(positive: ArrayLike, score: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting one half.

    The Mann-Whitney form of the area under the ROC curve, from mid-ranks, hence exact with ties.

    Args:
        positive: bool (N,).
        score: float (N,), finite.

    Returns:
        A number in [0, 1]; NaN where one of the two classes is empty.

    Raises:
        ValueError: lengths differ or a score is NaN.
    """
    positive_N, score_N = _checked(positive, score)
    num_positive = int(positive_N.sum())
    num_negative = len(positive_N) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    rank_sum = float(_mid_ranks(score_N)[positive_N].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def average_precision(positive: ArrayLike, score: ArrayLike) -> float:
    """Sum over distinct thresholds of (rise in recall) x precision; images with equal scores enter together.

    Args:
        positive: bool (N,).
        score: float (N,), finite.

    Returns:
        A number in [0, 1]; NaN without a positive.

    Raises:
        ValueError: lengths differ or a score is NaN.
    """
    positive_N, score_N = _checked(positive, score)
    num_positive = int(positive_N.sum())
    if num_positive == 0:
        return float("nan")
    order_N = np.argsort(-score_N, kind="stable")
    hits_N = np.cumsum(positive_N[order_N])
    # The last place of each run of equal scores.
    end_T = np.flatnonzero(np.r_[np.diff(score_N[order_N]) != 0, True])
    hits_T = hits_N[end_T]
    precision_T = hits_T / (end_T + 1)
    rise_T = np.diff(np.r_[0, hits_T]) / num_positive
    return float((rise_T * precision_T).sum())


def detection(positive: ArrayLike, taken: ArrayLike) -> Detection:
    """Precision and recall of the images taken for positive.

    Args:
        positive: bool (N,), what is.
        taken: bool (N,), what was said.

    Raises:
        ValueError: the lengths differ.
    """
    positive_N, taken_N = np.asarray(positive, dtype=bool), np.asarray(taken, dtype=bool)
    if positive_N.shape != taken_N.shape:
        raise ValueError(f"lengths differ: {positive_N.shape} and {taken_N.shape}")
    num_positive, num_taken = int(positive_N.sum()), int(taken_N.sum())
    num_hit = int((positive_N & taken_N).sum())
    return Detection(
        num_positive, num_taken, num_hit, _ratio(num_hit, num_taken), _ratio(num_hit, num_positive)
    )


def highest(score: ArrayLike, count: int) -> Bools:
    """True for the `count` highest scores; among equal scores the smaller index first. Shape (N,)."""
    score_N = np.asarray(score, dtype=np.float64)
    taken_N = np.zeros(len(score_N), dtype=bool)
    taken_N[np.argsort(-score_N, kind="stable")[:count]] = True
    return taken_N


def expected_calibration_error(correct: ArrayLike, probability: ArrayLike, num_bins: int = 15) -> float:
    """Mean gap between stated probability and frequency over equal-width bins, weighted by bin size.

    Equation 3 of Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599).

    Args:
        correct: bool (N,), whether the event came true.
        probability: float (N,) in [0, 1], what was said of it.
        num_bins: equal-width bins over [0, 1]; a bin holds its upper end, the first one 0 as well.

    Returns:
        A number in [0, 1]; NaN without images.

    Raises:
        ValueError: lengths differ, a probability is NaN or outside [0, 1], or num_bins < 1.
    """
    correct_N, probability_N = _checked(correct, probability)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1; got {num_bins}")
    if len(correct_N) == 0:
        return float("nan")
    if probability_N.min() < 0 or probability_N.max() > 1:
        raise ValueError("probabilities must lie in [0, 1]")
    bin_N = np.clip(np.ceil(probability_N * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    said_B = np.bincount(bin_N, weights=probability_N, minlength=num_bins)
    came_B = np.bincount(bin_N, weights=correct_N.astype(np.float64), minlength=num_bins)
    return float(np.abs(said_B - came_B).sum() / len(correct_N))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was said and what came true in B bins of equally many images, by rising probability.

    said_B, came_B: float64, mean probability and share of events; count_B: int64 images.
    """

    said_B: Floats
    came_B: Floats
    count_B: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Mean |said - came| over the images; NaN without any."""
        total = int(self.count_B.sum())
        return (
            float((self.count_B * np.abs(self.said_B - self.came_B)).sum() / total) if total else float("nan")
        )


def reliability(correct: ArrayLike, probability: ArrayLike, num_bins: int = 15) -> Reliability:
    """The reliability curve over bins of equal mass, which do not run empty where a score is sure of itself.

    Args:
        correct: bool (N,), whether the event came true.
        probability: float (N,), what was said of it.
        num_bins: bins, their sizes as equal as can be; fewer where there are fewer images.

    Raises:
        ValueError: lengths differ, a probability is NaN, or num_bins < 1.
    """
    correct_N, probability_N = _checked(correct, probability)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1; got {num_bins}")
    order_N = np.argsort(probability_N, kind="stable")
    bins = [row_M for row_M in np.array_split(order_N, num_bins) if len(row_M)]
    return Reliability(
        said_B=np.array([probability_N[row_M].mean() for row_M in bins]),
        came_B=np.array([correct_N[row_M].mean() for row_M in bins]),
        count_B=np.array([len(row_M) for row_M in bins], dtype=np.int64),
    )


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    rng: np.random.Generator,
    num_draws: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of mean(first - second) over pairs drawn with replacement.

    Args:
        first, second: float (S,), values of the same seeds (or images) in the same order.
        rng: source of the draws.
        num_draws: R, number of resamples.
        level: coverage, in (0, 1).

    Raises:
        ValueError: lengths differ, there is no pair, or level is outside (0, 1).
    """
    difference_S = _differences(first, second)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1); got {level!r}")
    draw_RS = rng.integers(len(difference_S), size=(num_draws, len(difference_S)))
    low, high = _ends(difference_S[draw_RS].mean(axis=1), level)
    return Interval(float(difference_S.mean()), low, high)


def gap_closed(
    low: ArrayLike,
    middle: ArrayLike,
    high: ArrayLike,
    *,
    rng: np.random.Generator,
    num_draws: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Part of the way from `low` to `high` that `middle` goes, with a paired bootstrap interval.

    The ratio of mean differences, (middle - low) / (high - low), each draw taking the same seeds from
    all three; draws whose gap is zero have no ratio and are left out.

    Args:
        low, middle, high: float (S,), accuracies of the same seeds in the same order.
        rng, num_draws, level: see `paired_bootstrap`.

    Raises:
        ValueError: lengths differ, there is no seed, or level is outside (0, 1).
    """
    won_S, whole_S = _differences(middle, low), _differences(high, low)
    if len(won_S) != len(whole_S):
        raise ValueError(f"lengths differ: {len(won_S)} and {len(whole_S)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1); got {level!r}")
    draw_RS = rng.integers(len(won_S), size=(num_draws, len(won_S)))
    won_R, whole_R = won_S[draw_RS].mean(axis=1), whole_S[draw_RS].mean(axis=1)
    has_gap_R = whole_R != 0
    mean = _ratio(float(won_S.mean()), float(whole_S.mean()))
    if not has_gap_R.any():
        return Interval(mean, float("nan"), float("nan"))
    return Interval(mean, *_ends(won_R[has_gap_R] / whole_R[has_gap_R], level))


@dataclass(frozen=True, slots=True)
class PairRecovery:
    """Planted pairs that were reported, and reported pairs that nothing planted explains.

    is_found_P: bool (P,), whether a planted pair shares a group; outside_Q2: int (Q, 2), index pairs.
    """

    is_found_P: Bools
    outside_Q2: NDArray[np.int64]


def pair_recovery(group_N: ArrayLike, planted_P2: ArrayLike, content_N: ArrayLike) -> PairRecovery:
    """Hold reported duplicate groups against planted pairs.

    A reported pair (two images of one group) is explained where a chain of planted pairs and of equal
    contents leads from one to the other.

    Args:
        group_N: int (N,), the reported group of each image, negative for none.
        planted_P2: int (P, 2), index pairs known to be copies.
        content_N: int (N,), equal numbers for equal bytes, negative for unknown.

    Raises:
        ValueError: the lengths differ.
    """
    group_N, content_N = np.asarray(group_N, dtype=np.int64), np.asarray(content_N, dtype=np.int64)
    planted_P2 = np.asarray(planted_P2, dtype=np.int64).reshape(-1, 2)
    if group_N.shape != content_N.shape:
        raise ValueError(f"lengths differ: {group_N.shape} and {content_N.shape}")
    first_P, second_P = planted_P2.T
    is_found_P = (group_N[first_P] >= 0) & (group_N[first_P] == group_N[second_P])
    known_M = np.flatnonzero(content_N >= 0)
    known_M = known_M[np.argsort(content_N[known_M], kind="stable")]
    same_M = np.diff(content_N[known_M]) == 0
    component_N = components(
        len(group_N), np.r_[first_P, known_M[:-1][same_M]], np.r_[second_P, known_M[1:][same_M]]
    )
    outside = []
    for _, members in rows_by_code(group_N, group_N >= 0):
        a_Q, b_Q = np.triu_indices(len(members), k=1)
        pairs = np.stack([members[a_Q], members[b_Q]], axis=1)
        outside.append(pairs[component_N[pairs[:, 0]] != component_N[pairs[:, 1]]])
    return PairRecovery(is_found_P, np.concatenate(outside) if outside else np.zeros((0, 2), dtype=np.int64))


def _checked(flags: ArrayLike, score: ArrayLike) -> tuple[Bools, Floats]:
    flag_N, score_N = np.asarray(flags, dtype=bool), np.asarray(score, dtype=np.float64)
    if flag_N.shape != score_N.shape or flag_N.ndim != 1:
        raise ValueError(f"two lists of one length are needed; got {flag_N.shape} and {score_N.shape}")
    if np.isnan(score_N).any():
        raise ValueError(f"{int(np.isnan(score_N).sum())} scores are NaN")
    return flag_N, score_N


def _differences(first: ArrayLike, second: ArrayLike) -> Floats:
    first_S, second_S = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first_S.shape != second_S.shape or first_S.ndim != 1 or len(first_S) == 0:
        raise ValueError(f"pairs are needed; got {first_S.shape} and {second_S.shape}")
    return first_S - second_S


def _mid_ranks(score_N: Floats) -> Floats:
    """1-based ranks by rising score; equal scores share the mean of their ranks."""
    _, inverse_N, count_U = np.unique(score_N, return_inverse=True, return_counts=True)
    last_U = np.cumsum(count_U)
    return np.asarray((last_U - (count_U - 1) / 2)[inverse_N], dtype=np.float64)


def _ends(value_R: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(value_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
