"""How far a further evidence may be trusted, learnt from the crawl itself.

The image judge gives a calibrated P(label right), q. Another evidence x (text, rank) sees other things of
the same image; given whether the label is right, the two are taken as independent. So whatever x tells
about q it tells about the label:

    E[q | x] = b + (a - b) P(right | x),      a = E[q | right] = E[q^2]/E[q],   b = E[q | wrong]

E[q | x] is a logistic fit, always applied to images it was not fitted on; solving for P(right | x) undoes
that q itself is unsure. Its log-odds beyond the prior are added to those of q. Text that tells nothing
gets a flat fit and adds nothing; text that names the query under every image does not either.

Shapes: N images, E evidences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webclean.ops.grouping import rows_by_code
from webclean.ops.heads import blocks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CERTAINTY = 0.01  # a second view alone makes us at most 99 % sure
MIN_EXPECTED_WRONG = 5.0  # below, there is nothing to learn trust from
MIN_CONTRAST = 0.05  # between E[q | right] and E[q | wrong]; below, q tells nothing
MIN_LIKENESSES = 20  # fewer tell no spread
_RIDGE = 1e-3  # relative penalty that keeps the fit finite on separable data


@dataclass(frozen=True)
class Trust:
    """log_odds_N: what the evidences add, float64 (N,); gain: held-out fall of the log loss, nats an image."""

    log_odds_N: Floats
    gain: float
    slopes_E: Floats


def learn_trust(
    x_NE: Floats, present_NE: Bools, p_right_N: Floats, fold_N: Ints, taught_N: Bools | None = None
) -> Trust:
    """Log-odds that evidences add to an independent, calibrated P(label right).

    Args:
        x_NE: float64 evidences, any scale; values where not present are ignored.
        present_NE: whether the image has the evidence; without it, nothing is added.
        p_right_N: float64 in (0, 1), from the other view.
        fold_N: int64 folds; an image's fit never saw its fold.
        taught_N: images whose p_right_N the other view really told; only these are learnt from. Default all.

    Returns:
        Trust; all zero where the evidences do not predict held-out images better than the prior does.
    """
    num = len(p_right_N)
    nothing = Trust(np.zeros(num), 0.0, np.zeros(x_NE.shape[1]))
    taught_N = np.ones(num, dtype=bool) if taught_N is None else taught_N
    taught_M = p_right_N[taught_N]
    means = _teacher_means(taught_M)
    if means is None or not present_NE[taught_N].any():
        return nothing
    wrong_mean, right_mean = means
    scaled_NE = _standardise(x_NE, present_NE)
    fitted_N = np.empty(num)
    prior_N = np.empty(num)
    slopes = []
    for fold in np.unique(fold_N):
        test = fold_N == fold
        train = ~test & taught_N
        if not train.any():
            return nothing
        beta = _logistic(scaled_NE[train], p_right_N[train])
        slopes.append(beta[1:])
        fitted_N[test] = sigmoid(beta[0] + scaled_NE[test] @ beta[1:])
        prior_N[test] = p_right_N[train].mean()
    gain = _loss(prior_N[taught_N], taught_M) - _loss(fitted_N[taught_N], taught_M)
    if gain <= 0.0:
        return Trust(np.zeros(num), gain, np.mean(slopes, axis=0))
    p_N = np.clip((fitted_N - wrong_mean) / (right_mean - wrong_mean), CERTAINTY, 1.0 - CERTAINTY)
    base_N = np.clip((prior_N - wrong_mean) / (right_mean - wrong_mean), CERTAINTY, 1.0 - CERTAINTY)
    log_odds_N = np.where(present_NE.any(axis=1), logit(p_N) - logit(base_N), 0.0)
    return Trust(log_odds_N, gain, np.mean(slopes, axis=0))


def cross_slope(x_N: Floats, p_right_N: Floats) -> float:
    """How fast the log-odds of a right label rise with x, as another view's calibrated P(label right) shows; at least 0.

    The fit allows for the other view's own doubts, as in `relative_weight`. 0 where it has nothing to teach,
    or x is the same everywhere.
    """
    means = _teacher_means(p_right_N)
    spread = float(x_N.std())
    if means is None or spread <= 0.0:
        return 0.0
    return max(0.0, float(_logistic((x_N / spread)[:, None], p_right_N, *means)[1]) / spread)


@dataclass(frozen=True)
class SameView:
    """What a further evidence of the judge's own view comes to.

    log_odds_N: what it says itself, float64 (N,); judge_scale: what is left of the judge's log-odds beside
    it, in (0, 1]; weight: its slope in units of the judge's; gain: as in Trust.
    """

    log_odds_N: Floats
    judge_scale: float
    weight: float
    gain: float


def relative_weight(
    x_N: Floats, present_N: Bools, log_odds_N: Floats, target_N: Floats, fold_N: Ints
) -> SameView:
    """How much an evidence of the judge's view counts beside it, learnt on another view's P(label right).

    Used for evidences that look at the image as the judge does: they are not independent of it, so only
    what they say beyond it counts, and the judge counts less where they say the same. A logistic fit of
    the other view on the judge alone (slope a) and on both (slopes b, c): the sum is (b L + c x) / a.
    Adding c x / b to L would count twice what both saw. The fits allow for the other view's own doubts,
    which flatten a slope the more the more the evidence knows: its mean runs from E[q | wrong] to
    E[q | right], not from 0 to 1.

    Args:
        x_N: float64 evidence.
        present_N: where it is there.
        log_odds_N: what the judge says.
        target_N: P(label right) of the other view.
        fold_N: folds for the held-out gain.

    Returns:
        SameView; nothing beside the whole judge where the evidence does not improve the held-out fit.
    """
    num = len(x_N)

    def nothing(gain: float) -> SameView:
        return SameView(np.zeros(num), 1.0, 0.0, gain)

    means = _teacher_means(target_N)
    if means is None or present_N.sum() < 2:
        return nothing(0.0)
    low, high = means
    scaled_N = _standardise(x_N[:, None], present_N[:, None])[:, 0]
    both_N2 = np.stack([log_odds_N, scaled_N], axis=1)
    alone_N, joint_N = np.empty(num), np.empty(num)
    for fold in np.unique(fold_N):
        train = fold_N != fold
        if not train.any():
            return nothing(0.0)
        beta = _logistic(both_N2[train, :1], target_N[train], low, high)
        alone_N[~train] = low + (high - low) * sigmoid(beta[0] + both_N2[~train, :1] @ beta[1:])
        beta = _logistic(both_N2[train], target_N[train], low, high)
        joint_N[~train] = low + (high - low) * sigmoid(beta[0] + both_N2[~train] @ beta[1:])
    gain = _loss(alone_N, target_N) - _loss(joint_N, target_N)
    alone = _logistic(both_N2[:, :1], target_N, low, high)[1]
    judge, evidence = _logistic(both_N2, target_N, low, high)[1:]
    if gain <= 0.0 or min(alone, judge, evidence) <= 0.0:
        return nothing(gain)
    return SameView(evidence / alone * scaled_N, min(1.0, judge / alone), evidence / judge, gain)


def _teacher_means(q_N: Floats) -> tuple[float, float] | None:
    """(E[q | wrong], E[q | right]) of a calibrated view; None where it has nothing to teach."""
    wrong = float((1.0 - q_N).sum())
    if min(wrong, len(q_N) - wrong) < MIN_EXPECTED_WRONG:
        return None
    wrong_mean = float((q_N * (1.0 - q_N)).sum() / wrong)
    right_mean = float((q_N**2).sum() / q_N.sum())
    return (wrong_mean, right_mean) if right_mean - wrong_mean >= MIN_CONTRAST else None


def on_topic(similarity_N: Floats, label_N: Ints, middle: float) -> Floats:
    """P(the image shows any of the crawl's categories), from its likeness to its nearest images.

    Off topic is another question than wrong category: such an image has no near neighbour under any
    label. The likeness is put in robust standard deviations from the median, of the crawl and of the
    image's own label, whichever is kinder: a label whose images differ much among themselves is not off
    topic. A logistic falls from 1 to 0 around `middle`.

    Args:
        similarity_N: float64 mean cosine to the nearest images of any label; NaN where unknown.
        label_N: int64 labels.
        middle: robust z-score at which P = 1/2, negative.

    Returns:
        float64 (N,) in (0, 1]; 1 where unknown.
    """
    known_N = np.isfinite(similarity_N)
    z_N = np.full(len(similarity_N), -np.inf)
    if not _judge_likeness(similarity_N, np.flatnonzero(known_N), z_N):
        return np.ones(len(similarity_N))
    for _, members in rows_by_code(label_N, known_N):
        _judge_likeness(similarity_N, members, z_N)
    return np.where(known_N, sigmoid(2.0 * (np.where(known_N, z_N, 0.0) - middle)), 1.0)


def _judge_likeness(similarity_N: Floats, row_M: Ints, z_N: Floats) -> bool:
    """Raise z_N to the robust z-score among these images; False where too few or too alike to tell."""
    likeness_M = similarity_N[row_M]
    if len(likeness_M) < MIN_LIKENESSES:
        return False
    median = np.median(likeness_M)
    spread = 1.4826 * np.median(np.abs(likeness_M - median))
    if spread <= 0.0:
        return False
    z_N[row_M] = np.maximum(z_N[row_M], (likeness_M - median) / spread)
    return True


def _standardise(x_NE: Floats, present_NE: Bools) -> Floats:
    """Columns with mean 0 and variance 1 over the images that have them; 0 elsewhere."""
    result = np.zeros(x_NE.shape)
    for column_N, present_N, into_N in zip(x_NE.T, present_NE.T, result.T, strict=True):
        known_M = column_N[present_N]
        known_M = known_M - known_M.sum() / max(len(known_M), 1)
        spread = np.sqrt((known_M**2).sum() / max(len(known_M), 1))
        into_N[present_N] = known_M / (spread if spread > 0 else 1.0)
    return result


def _logistic(x_NE: Floats, target_N: Floats, low: float = 0.0, high: float = 1.0) -> Floats:
    """Intercept and slopes of target ~ low + (high - low) sigmoid(x), by Fisher scoring on the log loss."""
    size = x_NE.shape[1] + 1
    penalty = _RIDGE * len(x_NE) * np.eye(size)
    penalty[0, 0] = 0.0
    beta = np.zeros(size)
    start = (target_N.mean() - low) / (high - low)
    beta[0] = logit(np.clip(np.array([start]), 1e-6, 1 - 1e-6))[0]
    for _ in range(50):
        gradient, information = -penalty @ beta, penalty + 1e-9 * np.eye(size)
        for rows in blocks(len(x_NE), size):
            design = np.column_stack([np.ones(rows.stop - rows.start), x_NE[rows]])
            p_M = sigmoid(design @ beta)
            mean_M = np.clip(low + (high - low) * p_M, 1e-12, 1 - 1e-12)
            slope_M = (high - low) * p_M * (1 - p_M)
            weight_M = slope_M / (mean_M * (1 - mean_M))
            gradient += design.T @ (weight_M * (target_N[rows] - mean_M))
            information += (design * (weight_M * slope_M)[:, None]).T @ design
        step = np.linalg.solve(information, gradient)
        beta = beta + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return beta


def _loss(p_N: Floats, target_N: Floats) -> float:
    p_N = np.clip(p_N, 1e-9, 1 - 1e-9)
    return float(-(target_N * np.log(p_N) + (1 - target_N) * np.log1p(-p_N)).mean())


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow, float64."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def logit(p: Floats) -> Floats:
    """log(p / (1 - p)), float64."""
    result: Floats = np.log(p) - np.log1p(-p)
    return result
