"""The estimated share of wrong labels, with an interval.

The estimate is the mean of 1 - p, p = P(label right). It is off for two reasons: which labels are wrong is
chance even where every p is right (variance sum p (1 - p)), and the p of a category may all lean to one side.
The second is taken as a common shift of their log-odds with standard deviation LEAN, which moves the
expected number by LEAN sum p (1 - p):

    share +- z sqrt(V + (LEAN V)^2) / n,    V = sum p (1 - p) + V_LEAST

Shapes: N images, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAN: Final = 0.65  # by crawls whose truth is known: benchmarks/results/evidence_reports.md
V_LEAST: Final = 0.25  # a category of sure images may still hold a mistake or two
COVERAGE: Final = 0.9
_NORMAL_90: Final = 1.6449  # 5 % of a normal lies above


@dataclass(frozen=True, slots=True)
class WrongShares:
    """float64 (C,): the estimate, and the ends of its interval; NaN for a category without images."""

    share_C: Floats
    low_C: Floats
    high_C: Floats


def wrong_shares(p_right_N: Floats, label_N: Ints, num_categories: int) -> WrongShares:
    """Share of wrong labels of each category, and its 90 % interval.

    Args:
        p_right_N: float64 in [0, 1].
        label_N: int64 categories, 0..C-1.
        num_categories: C.

    Raises:
        ValueError: lengths differ, or a probability is outside [0, 1].
    """
    if p_right_N.shape != label_N.shape or not ((p_right_N >= 0) & (p_right_N <= 1)).all():
        raise ValueError("one probability for each label is needed")
    count_C = np.bincount(label_N, minlength=num_categories).astype(np.float64)
    count_C[count_C == 0] = np.nan
    variance_C = np.bincount(label_N, p_right_N * (1.0 - p_right_N), minlength=num_categories) + V_LEAST
    share_C = np.bincount(label_N, 1.0 - p_right_N, minlength=num_categories) / count_C
    half_C = _NORMAL_90 * np.sqrt(variance_C + (LEAN * variance_C) ** 2) / count_C
    return WrongShares(share_C, np.clip(share_C - half_C, 0.0, 1.0), np.clip(share_C + half_C, 0.0, 1.0))
