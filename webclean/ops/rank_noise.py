"""How much is wrong at which search rank, and down to which rank a query is worth keeping.

P(label right) is averaged in bands of ranks and, as a later result is no better than an earlier one, fitted by
a curve that never rises (isotonic regression). The depth worth keeping is the last position at which the
curve of the query's own list is still at the bar.

Shapes: N images, L result lists, B bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.grouping import rows_by_code

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BANDS: Final = 10


@dataclass(frozen=True, slots=True)
class RankNoise:
    """Share of wrong labels by tenths of the result lists.

    wrong_B: float64, estimated; fitted_B: the same as a curve that never falls; count_B: int64 images.
    """

    wrong_B: Floats
    fitted_B: Floats
    count_B: Ints


def by_band(percentile_N: Floats, p_right_N: Floats) -> RankNoise:
    """Estimated share of wrong labels in each tenth of the result lists.

    Args:
        percentile_N: float64 in [0, 1], 0 the first result; NaN without a rank.
        p_right_N: float64 P(label right).
    """
    ranked = np.flatnonzero(np.isfinite(percentile_N))
    band_M = np.minimum((percentile_N[ranked] * BANDS).astype(np.int64), BANDS - 1)
    count_B = np.bincount(band_M, minlength=BANDS)
    there_B = count_B > 0
    right_B: Floats = np.full(BANDS, np.nan)
    right_B[there_B] = np.bincount(band_M, p_right_N[ranked], minlength=BANDS)[there_B] / count_B[there_B]
    fitted_B: Floats = np.full(BANDS, np.nan)
    fitted_B[there_B] = 1.0 - falling(right_B[there_B], count_B[there_B].astype(np.float64))
    return RankNoise(1.0 - right_B, fitted_B, count_B.astype(np.int64))


def depths(list_N: Ints, position_N: Ints, p_right_N: Floats, bar: float) -> dict[int, tuple[int, int]]:
    """For each result list, the depth worth keeping and the deepest position that holds a usable image.

    Args:
        list_N: int64 codes of the result lists.
        position_N: int64 from 1; 0 without a rank.
        p_right_N: float64 P(label right).
        bar: the share of right labels at which a position is still worth keeping.

    Returns:
        list -> (depth, length): 0 where not even the first results are at the bar.
    """
    found = {}
    for code, row_M in rows_by_code(list_N, position_N > 0):
        order_M = row_M[np.argsort(position_N[row_M], kind="stable")]
        kept = int((falling(p_right_N[order_M]) >= bar).sum())
        position_M = position_N[order_M]
        found[code] = (int(position_M[kept - 1]) if kept else 0, int(position_M[-1]))
    return found


def falling(value_M: Floats, weight_M: Floats | None = None) -> Floats:
    """The curve that never rises and is closest to the values in weighted least squares, float64 (M,)."""
    from sklearn.isotonic import isotonic_regression

    return np.asarray(
        isotonic_regression(value_M, sample_weight=weight_M, increasing=False), dtype=np.float64
    )
