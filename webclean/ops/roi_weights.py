"""Weights of the ROIs of a bag from the memory's scores (SOMNet, section 3.4).

# B bags, M = n_g * n_r ROIs of a bag (image by image), K slots, C categories
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ROI_SCORES = ("d", "r", "d*r")


def initial_weights(images_per_bag: int, rois_per_image: int) -> NDArray[np.float64]:
    """Weights before the memory knows anything: 1 / n_g for each image ROI, 0 for proposals, float64 (M,)."""
    weights = np.zeros((images_per_bag, rois_per_image))
    weights[:, 0] = 1.0 / images_per_bag
    return weights.reshape(-1)


def num_kept(num_rois: int, percent: float) -> int:
    """ROIs of a bag that stay: max(1, ceil(p * M / 100)).

    Raises:
        ValueError: percent outside (0, 100].
    """
    if not 0.0 < percent <= 100.0:
        raise ValueError(f"the share of ROIs that is kept lies above 0 and at most 100 %; got {percent}")
    # Rounded first: 0.1 * 40 * 100 / 100 must not become 4.000000000000001 and then 5.
    return max(1, math.ceil(round(percent * num_rois / 100.0, 9)))


def slot_scores(
    d_CK: NDArray[np.float64], r_CK: NDArray[np.float64], kind: str = "d*r"
) -> NDArray[np.float64]:
    """S_{y,l}: prototypical score d * r, or one of its factors (ablation), float64 (C, K).

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ROI_SCORES:
        raise ValueError(f"ROI score must be one of {', '.join(ROI_SCORES)}; got {kind!r}")
    return np.asarray({"d": d_CK, "r": r_CK, "d*r": np.multiply(d_CK, r_CK)}[kind], dtype=np.float64)


def select_rois(
    score_BM: NDArray[np.float64], percent: float, fallback_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """w(x): the top p % of u(x) in the bag, scaled to sum 1; ties by index.

    Args:
        score_BM: u(x) = S_{y,z} * sigma(x), float64, not negative.
        percent: p, the share of ROIs that stays, 0 < p <= 100.
        fallback_M: weights of a bag whose scores are all 0 (underflow, unvisited slots); sums to 1.

    Returns:
        weight_BM, float64, >= 0, rows sum to 1.

    Raises:
        ValueError: shapes differ, or a score is negative or not finite.
    """
    score = np.asarray(score_BM, dtype=np.float64)
    if score.ndim != 2 or fallback_M.shape != score.shape[1:]:
        raise ValueError(f"scores {score.shape} and fallback {fallback_M.shape} differ in shape")
    if not (np.isfinite(score) & (score >= 0)).all():
        raise ValueError("ROI scores must be finite and not negative")
    keep = num_kept(score.shape[1], percent)
    top_BM = np.argsort(-score, axis=1, kind="stable")[:, :keep]
    kept = np.zeros_like(score)
    np.put_along_axis(kept, top_BM, np.take_along_axis(score, top_BM, axis=1), axis=1)
    # Scaled by the largest first: scores as small as d * r ~ 1e-300 must not underflow in the sum.
    peak = kept.max(axis=1, keepdims=True)
    scaled = np.where(peak > 0, kept / np.where(peak > 0, peak, 1.0), fallback_M[None, :])
    weight: NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return weight


class Curriculum:
    """The share p of ROIs that is kept, growing round by round from easy to hard (Algorithm 1).

    p starts at `start` % and grows by `step` a round up to `last`. Once p is above `stop_above`, a
    validation accuracy lower than the round before ends the training.
    """

    def __init__(
        self, start: float = 10.0, step: float = 5.0, last: float = 100.0, stop_above: float = 40.0
    ) -> None:
        if not 0 < start <= last <= 100 or step < 0:
            raise ValueError(
                f"the curriculum needs 0 < start <= last <= 100 and step >= 0; got {start}, {step}, {last}"
            )
        self.start, self.step, self.last, self.stop_above = start, step, last, stop_above

    def percent(self, round_: int) -> float:
        """p of a 0-based round, in percent."""
        return min(self.last, self.start + self.step * round_)

    def is_over(self, round_: int, accuracies: list[float]) -> bool:
        """Whether to stop after `round_`; accuracies of the rounds so far, oldest first."""
        fell = len(accuracies) >= 2 and accuracies[-1] < accuracies[-2]
        return self.percent(round_) > self.stop_above and fell
