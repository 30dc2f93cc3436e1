"""The temperature at which a judge's out-of-sample probabilities foretell labels best.

Shapes: N images, K categories listed of each, C categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLDEST, HOTTEST = 0.05, 20.0
_DIGITS = 3  # of a temperature: what is told is what is used
_TINY = 1e-37  # float32 holds no smaller normal number; a category never has probability 0


@dataclass(frozen=True)
class Terms:
    """What the likelihood of labels needs of predictions of which only the best categories are kept.

    Attributes:
        own_N: float64, log p(label).
        other_NK: float64, log p of the other categories listed; -inf where there are fewer.
        rest_N: float64, log of the probability of each category that is not listed, all alike; -inf where none is.
        num_rest_N: float64, how many those are.
    """

    own_N: Floats
    other_NK: Floats
    rest_N: Floats
    num_rest_N: Floats


def join(pieces: Sequence[Terms]) -> Terms:
    """Terms of several lots of images, one below the other; their lists may differ in length."""
    width = max(piece.other_NK.shape[1] for piece in pieces)

    def widened(other_NK: Floats) -> Floats:
        return np.pad(other_NK, ((0, 0), (0, width - other_NK.shape[1])), constant_values=-np.inf)

    return Terms(
        np.concatenate([piece.own_N for piece in pieces]),
        np.concatenate([widened(piece.other_NK) for piece in pieces]),
        np.concatenate([piece.rest_N for piece in pieces]),
        np.concatenate([piece.num_rest_N for piece in pieces]),
    )


def likelihood_terms(
    top_NK: Ints, probability_NK: Floats, label_N: Ints, label_probability_N: Floats, num_categories: int
) -> Terms:
    """Terms of predictions whose remainder is shared evenly by the categories that are not listed.

    Args:
        top_NK: predicted categories, -1 where there are fewer than K.
        probability_NK: of these.
        label_N: labels, listed or not.
        label_probability_N: of the labels.
        num_categories: C.
    """
    listed_NK = top_NK >= 0
    is_label_NK = top_NK == label_N[:, None]
    own_N = np.maximum(label_probability_N, _TINY)
    other_NK = np.where(listed_NK & ~is_label_NK, np.maximum(probability_NK, _TINY), 0.0)
    num_rest_N = num_categories - 1.0 - (other_NK > 0).sum(axis=1)
    each_N = np.maximum(1.0 - own_N - other_NK.sum(axis=1), _TINY) / np.maximum(num_rest_N, 1.0)
    with np.errstate(divide="ignore"):
        log_other_NK = np.log(other_NK)
    return Terms(np.log(own_N), log_other_NK, np.where(num_rest_N > 0, np.log(each_N), -np.inf), num_rest_N)


def held_out_loss(terms: Terms, weight_N: Floats, temperature: float) -> float:
    """Weighted mean of -log softmax(log p / T) at the labels; 0 without weight."""
    total = float(weight_N.sum())
    if total == 0.0:
        return 0.0
    rest_N = terms.rest_N / temperature + np.log(np.maximum(terms.num_rest_N, 1.0))
    own_N = terms.own_N / temperature
    all_NK = np.concatenate([own_N[:, None], terms.other_NK / temperature, rest_N[:, None]], axis=1)
    best_N = all_NK.max(axis=1)
    total_N = best_N + np.log(np.exp(all_NK - best_N[:, None]).sum(axis=1))
    return float((weight_N * (total_N - own_N)).sum() / total)


def fitted_temperature(terms: Terms, weight_N: Floats) -> float:
    """T in [COLDEST, HOTTEST] of least weighted `held_out_loss`; 1 where nothing has weight.

    The loss is convex in 1 / T, so that one search finds the least.

    Args:
        terms: of out-of-sample predictions.
        weight_N: float64 >= 0, how far each label is believed: a wrong label that is foretold well is no merit.

    Raises:
        ValueError: a weight is negative, or there are not as many as images.

    Guo et al. 2017, temperature scaling (docs/papers.md).
    """
    from scipy.optimize import minimize_scalar

    if weight_N.shape != terms.own_N.shape or (len(weight_N) and not weight_N.min() >= 0):
        raise ValueError(f"need {len(terms.own_N)} weights >= 0; got an array of shape {weight_N.shape}")
    if not weight_N.any():
        return 1.0
    found = minimize_scalar(
        lambda log_t: held_out_loss(terms, weight_N, float(np.exp(log_t))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.clip(round(float(np.exp(found.x)), _DIGITS), COLDEST, HOTTEST))
