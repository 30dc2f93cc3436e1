"""What each part of the evidence added to a score, in log-odds that sum up to it.

What a part says alone is known: its log-odds against those of an image of which nothing is known. Together
parts say less than the sum, where they repeat one another, and what a part says alone may be more than the
score believed. That difference is shared out in proportion to how strongly each part spoke:

    added_e = alone_e + (total - sum of alone) |alone_e| / sum of |alone|

A part that says nothing (no gain on held-out images, or not there) adds exactly nothing.

Shapes: N images, E parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def share_out(total_N: Floats, alone_NE: Floats) -> Floats:
    """Log-odds that each part added, float64 (N, E), summing to total_N; NaN stays NaN.

    Args:
        total_N: float64, the log-odds to explain, beyond those of an image of which nothing is known.
        alone_NE: float64, what each part says by itself, likewise; NaN where it is not there.

    Raises:
        ValueError: shapes differ, or there is no part.
    """
    if alone_NE.ndim != 2 or alone_NE.shape[0] != len(total_N) or alone_NE.shape[1] == 0:
        raise ValueError(
            f"one row of parts for each total is needed; got {alone_NE.shape} and {total_N.shape}"
        )
    there_NE = np.isfinite(alone_NE)
    spoken_NE = np.where(there_NE, alone_NE, 0.0)
    strength_NE = np.abs(spoken_NE)
    sum_N = strength_NE.sum(axis=1)
    # Where nobody says anything, whatever there is to explain is everybody's that is there.
    even_NE = there_NE / np.maximum(there_NE.sum(axis=1, keepdims=True), 1)
    share_NE = np.where(sum_N[:, None] > 0, strength_NE / np.where(sum_N > 0, sum_N, 1.0)[:, None], even_NE)
    added_NE = spoken_NE + (total_N - spoken_NE.sum(axis=1))[:, None] * share_NE
    return np.where(there_NE, added_NE, np.nan)
