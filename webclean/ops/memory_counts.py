"""What the counts of the memory say of its use.

n_{y,l} = training bags of category y whose winner is slot l (SOMNet, section 3.3.2; supplement eq. 7).
# C categories, K slots
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _check_counts(counts_CK: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.asarray(counts_CK, dtype=np.float64)
    if counts.ndim != 2 or not counts.size:
        raise ValueError(f"counts must have shape (C, K); got {counts.shape}")
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("counts must be finite and not negative")
    return counts


def prototype_scores(counts_CK: NDArray[np.float64]) -> NDArray[np.float64]:
    """S = d * r = n^2 / (N_l N_y), float64 (C, K); 0 where a slot or a category has no bag."""
    counts = _check_counts(counts_CK)
    product = counts.sum(axis=0, keepdims=True) * counts.sum(axis=1, keepdims=True)
    score: NDArray[np.float64] = np.where(counts > 0, counts**2 / np.where(product > 0, product, 1.0), 0.0)
    return score


def usefulness(counts_CK: NDArray[np.float64]) -> float:
    """Sum of S = 1 + chi^2 / N of the table: 1 for a useless memory, at most min(C, K); 0 without bags."""
    return float(prototype_scores(counts_CK).sum())
