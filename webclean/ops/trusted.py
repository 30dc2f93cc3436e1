"""Probabilities corrected by the few labels that a person has looked at.

With the log-odds L of an unsupervised P(label right) and M images whose label is known to be right or wrong,

    P(right) = sigmoid(a L + b),     a ~ N(1, 0.35), b ~ N(0, 0.7)

a and b are the most probable ones given the M answers (Platt's scaling, drawn to "leave it as it is"). The
map rises, so the order of the images, and with it AUROC, stays what it was, however few the labels. A fit
on L is not biased by a draw that depends on L: images of unsure score may be looked at more often, and
should be, since they tell the most (`choose`).

Shapes: N images, M trusted ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.evidence import logit, sigmoid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SLOPE_SPREAD: Final = 0.35  # standard deviations of the priors; docs/decisions/0017 has others
SHIFT_SPREAD: Final = 0.7
LEAST_SLOPE: Final = 0.05  # the order of the images is never turned round
_TINY: Final = 1e-12  # a probability of exactly 0 or 1 has no log-odds
_STEPS: Final = 100


@dataclass(frozen=True, slots=True)
class Correction:
    """a and b of the corrected log-odds a L + b."""

    slope: float = 1.0
    shift: float = 0.0

    def of(self, p_N: Floats) -> Floats:
        """Corrected probabilities, float64 (N,); NaN stays."""
        log_odds_N = logit(np.clip(p_N, _TINY, 1.0 - _TINY))
        return sigmoid(self.slope * log_odds_N + self.shift)


def fit(p_M: Floats, right_M: Bools) -> Correction:
    """The most probable correction given the trusted labels; none of them changes nothing.

    Args:
        p_M: float64 in [0, 1], what was said of P(label right).
        right_M: whether the label is right.

    Raises:
        ValueError: lengths differ, or a probability is NaN or outside [0, 1].

    Platt's scaling with a prior (docs/papers.md).
    """
    if p_M.shape != right_M.shape or p_M.ndim != 1:
        raise ValueError(f"two lists of one length are needed; got {p_M.shape} and {right_M.shape}")
    if not ((p_M >= 0) & (p_M <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    design_M2 = np.column_stack([np.ones(len(p_M)), logit(np.clip(p_M, _TINY, 1.0 - _TINY))])
    middle = np.array([0.0, 1.0])
    penalty = np.diag([SHIFT_SPREAD**-2.0, SLOPE_SPREAD**-2.0])
    found = middle
    for _ in range(_STEPS):
        q_M = sigmoid(design_M2 @ found)
        gradient = design_M2.T @ (right_M - q_M) - penalty @ (found - middle)
        information = (design_M2 * (q_M * (1.0 - q_M))[:, None]).T @ design_M2 + penalty
        step = np.linalg.solve(information, gradient)
        found = found + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    return Correction(slope=max(LEAST_SLOPE, float(found[1])), shift=float(found[0]))


def choose(p_N: Floats, num: int, rng: np.random.Generator) -> Ints:
    """Which images are worth a look: `num` of them, spread over the scores, unsure ones more densely.

    An image is taken with probability proportional to sqrt(p (1 - p)), the spread of its answer; one walk
    along the scores takes them evenly (systematic sampling), so that every band of scores gets its share.

    Args:
        p_N: float64 in [0, 1]; NaN is never taken.
        num: how many; all where there are fewer.
        rng: source of the draw.

    Returns:
        int64 rows, rising.
    """
    known = np.flatnonzero(np.isfinite(p_N))
    if num >= len(known):
        return known
    known = known[np.argsort(p_N[known], kind="stable")]
    p_K = np.clip(p_N[known], _TINY, 1.0 - _TINY)
    share_K = _inclusion(np.sqrt(p_K * (1.0 - p_K)), num)
    reached_K = np.cumsum(share_K)
    ticks = np.arange(num) + rng.random()
    taken = np.searchsorted(reached_K, ticks * (reached_K[-1] / num), side="right")
    return np.sort(known[np.minimum(taken, len(known) - 1)])


def _inclusion(size_K: Floats, num: int) -> Floats:
    """Probabilities proportional to sizes, none above 1, that sum to `num` < K."""
    certain_K = np.zeros(len(size_K), dtype=bool)
    while True:
        left = num - int(certain_K.sum())
        share_K = np.where(certain_K, 1.0, left * size_K / size_K[~certain_K].sum())
        over_K = (share_K > 1.0) & ~certain_K
        if not over_K.any():
            return share_K
        certain_K |= over_K
