"""P(label right) from a judge's predictions, without one trusted label.

A judge gives every image a margin: log p(label) - log max p(other). How low the margins of wrong labels
are cannot be seen directly, since nobody says which labels are wrong - but it can be made: give an image
another label than its own and look at the margin it gets. These injected margins have the density f0 of
wrong labels; the observed ones mix f0 with that of the right labels,

    f = (1 - k) f1 + k f0          k = share of wrong labels

so k <= F/F0 for every left tail, and where right labels hardly come, F/F0 reaches it. Then
P(wrong | margin) = k f0(margin) / f(margin), made monotone. The injected labels follow the crawl's own
confusions, which are learnt in a few rounds: a label that is wrong as siblings are has a margin quite
unlike that of a label out of the blue. Where people gave the labels, a wrong one also looks like its image: how
far wrong labels follow the judge's own probabilities beyond the confusions of their category, the likeness b in
q(label | image) ~ confusion(category, label) p(label | image)^b, is fitted on the images whose label is not the
judge's first choice, and k is taken from labels injected so. Nothing assumes a shape of the margins of a judge that tells
labels apart: a crawl without wrong labels gets k near 0 and stays whole, where a two-component mixture
would cut it in half. A judge that tells little gives right labels low margins too, and then f/f0 says
nothing of k: what two normal densities as far apart as f1 and f0 would put there is taken off, and a judge
that puts the given labels hardly above others condemns nobody.

Shapes: N images, C categories, B bins of the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MARGIN_LIMIT = 40.0  # margins are clipped there: e^40 is certainty
NUM_BINS = 3200
ROUNDS = 8  # of learning which category is mistaken for which; the share moves by < 0.002 after 5
# Left shares of f0 at which F/F0 is looked at. Shorter tails hold few images, and the wildest of the injected labels.
TAILS = np.linspace(0.3, 0.9, 30)
ANYWHERE = 0.1  # part of a category's mistakes that may go to any other, so that a confusion not yet seen is possible
# Standard errors added to each F/F0, as the lowest of many noisy ratios lies too low. With a half, the share comes out
# where it is in crawls whose share is known (benchmarks/wrong_share.py).
LOWEST = 0.5
CHANCE = 1.0  # standard errors by which a judge may be worse than it looks
KNOWS = (
    0.12  # P(given label above another) - 1/2 of a judge that is listened to, and 3 standard errors at least
)
CERTAINTY = 1e-3  # no margin alone makes us surer than this
# Spread, in units of margin, over which the steps of the monotone fit are smoothed: where it is flat, a rank's small say
# would else turn the order of margins far apart.
SMOOTH = 1.0
FARTHEST = 10.0  # log-probabilities farther below the best are alike when wrong labels are compared with them
LIKEST = 2.0  # bound of the likeness b
TILT = 0.05  # log-odds per unit of margin that keep the order where the monotone fit is flat
_CHUNK_VALUES = 2**22
_INJECTED_VALUES = 2**25  # injected margins looked at: a histogram of so many does not change with more
_COMPARED_VALUES = 2**22  # probabilities of doubted images from which the likeness is learnt
_NEVER_SEEN = 1e-6  # a category without a single doubtful image may be mistaken for any other


@dataclass(frozen=True)
class Calibration:
    """p_right_N: float64 (N,) in (0, 1); wrong_share: k in [0, 1]; confusion_CC: true x label, rows sum 1.

    likeness: b >= 0, how far wrong labels follow the judge's probabilities beyond the confusions.
    least_wrong: mean P(label wrong) were b 0, which no misjudged right label raises.
    """

    p_right_N: Floats
    wrong_share: float
    confusion_CC: Floats
    likeness: float
    least_wrong: float


def margins_under_every_label(log_probability_NC: Floats) -> Floats:
    """The margin each image would have under each category, float64 (N, C), clipped to +-40.

    Raises:
        ValueError: fewer than two categories.
    """
    if log_probability_NC.shape[1] < 2:
        raise ValueError("a margin needs two categories")
    two_N2 = np.partition(log_probability_NC, -2, axis=1)[:, -2:]
    second_N1, best_N1 = two_N2[:, :1], two_N2[:, 1:]
    is_best_NC = log_probability_NC == best_N1
    margins_NC = log_probability_NC - np.where(is_best_NC, second_N1, best_N1)
    result: Floats = np.clip(margins_NC, -MARGIN_LIMIT, MARGIN_LIMIT)
    return result


def calibrate(log_probability_NC: Floats, label_N: Ints) -> Calibration:
    """P(label right) of every image from out-of-sample log-probabilities.

    Args:
        log_probability_NC: (N, C) float, of a judge that never saw the image's own label.
        label_N: int64 labels, 0..C-1.

    Raises:
        ValueError: no image, fewer than two categories, shapes differ, or a NaN.
    """
    num, num_categories = log_probability_NC.shape
    if num == 0 or num_categories < 2 or label_N.shape != (num,):
        raise ValueError(f"cannot calibrate {num} images, {num_categories} categories")
    margin_N = np.empty(num)
    suggested_N = np.empty(num, dtype=np.int64)
    for rows in _chunks(num, num_categories):
        log_p = np.asarray(log_probability_NC[rows], dtype=np.float64)
        own = label_N[rows]
        margin_N[rows] = margins_under_every_label(log_p)[np.arange(len(own)), own]
        log_p = log_p.copy()
        log_p[np.arange(len(own)), own] = -np.inf
        suggested_N[rows] = log_p.argmax(axis=1)
    if np.isnan(margin_N).any():
        raise ValueError("log-probabilities hold NaN")
    observed_B = np.bincount(_bins(margin_N), minlength=NUM_BINS) / num
    knows = _knows(log_probability_NC, label_N)
    p_right_N: Floats = 1.0 / (1.0 + np.exp(-margin_N))
    confusion_CC = _confusion(p_right_N, margin_N, suggested_N, label_N, num_categories)
    share = 0.0
    injected = _Injected(log_probability_NC, label_N)
    for _ in range(ROUNDS):
        injected_B = injected.histogram(p_right_N, confusion_CC)
        share = _share(observed_B, injected_B, num) if knows else 0.0
        log_odds_B = _log_odds(observed_B, injected_B, share)
        p_right_N = 1.0 / (1.0 + np.exp(-_odds(margin_N, log_odds_B)))
        confusion_CC = _confusion(p_right_N, margin_N, suggested_N, label_N, num_categories)
    likeness, least = 0.0, float((1.0 - p_right_N).mean())
    if knows:
        likeness = _likeness(log_probability_NC, label_N, margin_N < 0, suggested_N, confusion_CC, log_odds_B)
        share = _share(observed_B, injected.histogram(p_right_N, confusion_CC, likeness), num)
        p_right_N = _shifted(p_right_N, share)
    return Calibration(p_right_N, share, confusion_CC, likeness, least)


def _odds(margin: Floats, log_odds_B: Floats) -> Floats:
    """Log-odds of a right label at any margin, from those of the bins."""
    return np.asarray(np.interp(margin, _centers(), log_odds_B) + TILT * margin)


def _likeness(
    log_probability_NC: Floats,
    label_N: Ints,
    doubted_N: NDArray[np.bool_],
    first_N: Ints,
    confusion_CC: Floats,
    log_odds_B: Floats,
) -> float:
    """The b in [0, LIKEST] under which the wrong labels of doubted images are likeliest, a conditional logit.

    A misjudged right label is near by nature, so each image counts by P(wrong) at its margin, and each label that
    it might have had by P(wrong) at that label's: what is left out on one side is left out on the other.

    Args:
        doubted_N: bool, where the label is not the judge's first choice.
        first_N: int64, the judge's first choice there.
        log_odds_B: of a right label, by margin.
    """
    from scipy.optimize import brentq

    num_categories = log_probability_NC.shape[1]
    rows_M = np.flatnonzero(doubted_N)
    if not len(rows_M) or num_categories < 3:
        return 0.0  # with two categories a mistaken label is the other one, whatever it looks like
    rows_M = rows_M[:: -(-len(rows_M) * num_categories // _COMPARED_VALUES)]
    log_p_MC = np.asarray(log_probability_NC[rows_M], dtype=np.float64)
    near_MC = np.maximum(log_p_MC - log_p_MC.max(axis=1, keepdims=True), -FARTHEST)
    wrong_MC = 1.0 / (1.0 + np.exp(_odds(margins_under_every_label(log_p_MC), log_odds_B)))
    at, own_M, first_M = np.arange(len(rows_M)), label_N[rows_M], first_N[rows_M]
    base_MC = np.log(np.maximum(confusion_CC[first_M] * wrong_MC, 1e-300))
    base_MC[at, first_M] = -np.inf
    counts_M = wrong_MC[at, own_M]
    own = float(counts_M @ near_MC[at, own_M])

    def slope(likeness: float) -> float:
        """Nearness of the labels beyond that of labels drawn with b; falls as b grows."""
        return own - float(counts_M @ (_softmax(base_MC + likeness * near_MC) * near_MC).sum(axis=1))

    if slope(0.0) <= 0.0:
        return 0.0
    if slope(LIKEST) >= 0.0:
        return LIKEST
    return float(brentq(slope, 0.0, LIKEST, xtol=1e-4))


def _softmax(log_NC: Floats) -> Floats:
    power_NC = np.exp(log_NC - log_NC.max(axis=1, keepdims=True))
    return np.asarray(power_NC / power_NC.sum(axis=1, keepdims=True))


def _shifted(p_right_N: Floats, share: float) -> Floats:
    """The same odds times one factor, so that P(wrong) has the mean `share`; the order stays."""
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    odds_N = logit(p_right_N)
    wanted = float(np.clip(share, CERTAINTY, 1.0 - CERTAINTY))
    shift = float(brentq(lambda by: float(expit(-odds_N - by).mean()) - wanted, -60.0, 60.0, xtol=1e-6))
    return np.asarray(expit(odds_N + shift))


def _knows(log_probability_NC: Floats, label_N: Ints) -> bool:
    """Whether the judge puts the given labels above others, beyond what it thinks of the categories at large."""
    num, num_categories = log_probability_NC.shape
    mean_C = np.zeros(num_categories)
    for rows in _chunks(num, num_categories):
        mean_C += np.sum(log_probability_NC[rows], axis=0, dtype=np.float64) / num
    above = 0.0
    for rows in _chunks(num, num_categories):
        beyond_NC = np.asarray(log_probability_NC[rows], dtype=np.float64) - mean_C
        own_N1 = np.take_along_axis(beyond_NC, label_N[rows, None], axis=1)
        # Ties count half; each label ties with itself.
        above += float(((own_N1 > beyond_NC) + 0.5 * (own_N1 == beyond_NC)).sum() - 0.5 * len(own_N1))
    share_above: float = above / (num * (num_categories - 1))
    return share_above - 0.5 > max(KNOWS, 3.0 / math.sqrt(12.0 * num))


def _confusion(
    p_right_N: Floats, margin_N: Floats, suggested_N: Ints, label_N: Ints, num_categories: int
) -> Floats:
    """Which label a mistaken image of each category gets, rows sum to 1, the diagonal is 0."""
    wrong_N = (1.0 - p_right_N) * (margin_N < 0)
    confusion_CC = np.zeros((num_categories, num_categories))
    np.add.at(confusion_CC, (suggested_N, label_N), wrong_N)
    confusion_CC += ANYWHERE * confusion_CC.sum(axis=1, keepdims=True) / num_categories + _NEVER_SEEN
    np.fill_diagonal(confusion_CC, 0.0)
    return np.asarray(confusion_CC / confusion_CC.sum(axis=1, keepdims=True))


def _chunks(num: int, num_categories: int) -> list[slice]:
    size = max(1, _CHUNK_VALUES // num_categories)
    return [slice(i, min(num, i + size)) for i in range(0, num, size)]


def _centers() -> Floats:
    width = 2 * MARGIN_LIMIT / NUM_BINS
    return np.asarray(-MARGIN_LIMIT + width * (np.arange(NUM_BINS) + 0.5), dtype=np.float64)


def _bins(margin: Floats) -> Ints:
    width = 2 * MARGIN_LIMIT / NUM_BINS
    return np.clip(((margin + MARGIN_LIMIT) / width).astype(np.int64), 0, NUM_BINS - 1)


class _Injected:
    """Histogram f0: likely-right images under labels drawn from the confusions of their category.

    An image's margin under each category is the same in all rounds: its bin is looked up once. Of a crawl of very many
    images and categories, evenly spaced images stand for all.
    """

    def __init__(self, log_probability_NC: Floats, label_N: Ints) -> None:
        num, num_categories = log_probability_NC.shape
        step = -(-num * num_categories // _INJECTED_VALUES)
        self._log_probability_MC = log_probability_NC[::step]
        self._chosen = slice(0, num, step)
        self._label_M = label_N[self._chosen]
        self._bin_MC = np.empty((len(self._label_M), num_categories), dtype=np.uint16)
        for rows in _chunks(len(self._label_M), num_categories):
            log_p = np.asarray(self._log_probability_MC[rows], dtype=np.float64)
            self._bin_MC[rows] = _bins(margins_under_every_label(log_p))

    def histogram(self, p_right_N: Floats, confusion_CC: Floats, likeness: float = 0.0) -> Floats:
        """f0, sums to 1, of labels drawn in proportion to confusion times p^likeness."""
        p_right_M = p_right_N[self._chosen]
        histogram_B = np.zeros(NUM_BINS)
        for rows in _chunks(*self._bin_MC.shape):
            weights = confusion_CC[self._label_M[rows]]
            if likeness > 0:
                log_p = np.asarray(self._log_probability_MC[rows], dtype=np.float64)
                near = np.maximum(log_p - log_p.max(axis=1, keepdims=True), -FARTHEST)
                with np.errstate(divide="ignore"):  # an image keeps no label of its own: log 0
                    weights = _softmax(np.log(weights) + likeness * near)
            weights = p_right_M[rows, None] * weights
            histogram_B += np.bincount(
                self._bin_MC[rows].ravel(), weights=weights.ravel(), minlength=NUM_BINS
            )
        total = histogram_B.sum()
        return histogram_B / total if total > 0 else np.full(NUM_BINS, 1.0 / NUM_BINS)


def _share(observed_B: Floats, injected_B: Floats, num: int) -> float:
    """The smallest k that explains the lowest ratio F/F0 of the left tails of N images."""
    below_B, below0_B = np.cumsum(observed_B), np.cumsum(injected_B)
    place = np.minimum(np.searchsorted(below0_B, TAILS), NUM_BINS - 1)
    tail_K = np.maximum(below0_B[place], 1e-12)
    ratio_K = below_B[place] / tail_K
    bound = min(1.0, float((ratio_K + LOWEST * np.sqrt(ratio_K / (tail_K * num))).min()))
    # P(observed margin > injected one), ties counted half: 1/2 for a judge that knows nothing.
    rank = float((observed_B * (below0_B - 0.5 * injected_B)).sum())
    return _smallest_share(bound, rank, num)


def _smallest_share(bound: float, rank: float, num: int) -> float:
    """Solve bound = k + (1 - k) r(k), r = F1/F0 in the left tail for normal f0, f1 of equal width.

    Their distance follows from P(observed > injected) = k/2 + (1 - k) P(right > injected). Both that and
    r are taken as badly as chance among N images allows: doubt about a judge is no evidence against
    labels. For a judge whose right and injected margins hardly overlap r is 0 and k = bound.
    """
    from scipy.special import ndtr, ndtri

    tail = float(TAILS[0])
    share_K = np.linspace(0.0, bound, 513)
    apart_K = (rank - 0.5 * share_K) / np.maximum(1.0 - share_K, 1e-9) - CHANCE / np.sqrt(12.0 * num)
    distance_K = np.sqrt(2.0) * ndtri(np.clip(apart_K, 0.5, 1.0 - 1e-9))
    right_K = ndtr(ndtri(tail) - distance_K) / tail
    right_K = np.minimum(1.0, right_K + CHANCE * np.sqrt(right_K / (tail * num)))
    explained_K = share_K + (1.0 - share_K) * right_K
    return float(share_K[int(np.argmax(explained_K >= bound - 1e-12))])


def _log_odds(observed_B: Floats, injected_B: Floats, share: float) -> Floats:
    """Log-odds of a right label in each bin, from a monotone estimate of f0/f."""
    from scipy.ndimage import gaussian_filter1d
    from sklearn.isotonic import IsotonicRegression

    both_B = observed_B + injected_B
    used = both_B > 0
    centers = _centers()
    fit = IsotonicRegression(increasing=False, y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip")
    fit.fit(centers[used], injected_B[used] / both_B[used], sample_weight=both_B[used])
    part_B = fit.predict(centers)
    p_wrong_B = np.clip(share * part_B / (1.0 - part_B), CERTAINTY, 1.0 - CERTAINTY)
    log_odds_B = np.log1p(-p_wrong_B) - np.log(p_wrong_B)
    width = 2 * MARGIN_LIMIT / NUM_BINS
    return np.asarray(gaussian_filter1d(log_odds_B, SMOOTH / width, mode="nearest"))
