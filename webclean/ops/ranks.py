"""Search ranks as evidence: dense positions inside a query, and what a position is worth.

Legend: N images, Q queries, G result lists, one for each (query, source).

The rank that a crawl records is kept as found; formulas use the 1-based dense position inside the
result list, so gaps, lists that count from 0 and two engines' different scales do not matter. Every
listed row takes a place, also one whose file turned out to be bad: a neighbour's broken file must not
promote an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RANK_MODELS: Final = ("linear", "log", "exp", "calibrated")


@dataclass(frozen=True, slots=True)
class RankPositions:
    """Where each image stands in its result list.

    Attributes:
        position_N: int64, 1-based; 0 where the image has no rank.
        size_N: int64, R, how many images of the same list have a rank; 0 where this one has none.
        percentile_N: float64, u = (position - 1) / max(1, R - 1) in [0, 1]; NaN without a rank.
        num_lists: result lists with at least one rank.
        num_zero_based: lists whose smallest recorded rank is 0.
        num_tied: images that share their recorded rank with another image of the list.
    """

    position_N: NDArray[np.int64]
    size_N: NDArray[np.int64]
    percentile_N: NDArray[np.float64]
    num_lists: int
    num_zero_based: int
    num_tied: int


def dense_positions(
    rank_N: NDArray[np.int64],
    has_rank_N: NDArray[np.bool_],
    list_N: NDArray[np.int64],
    order_N: NDArray[np.int64],
) -> RankPositions:
    """Turn recorded ranks into 1-based positions without gaps inside each result list.

    Args:
        rank_N: recorded ranks; any integers, read only where `has_rank_N`.
        has_rank_N: False where the crawl recorded none.
        list_N: code of the image's (query, source).
        order_N: position of the image's source_key among all; breaks ties, so that two images that
            share a rank still get different positions and the listing order does not matter.

    Raises:
        ValueError: the arrays differ in shape.

    Two-stage weighting, stage 1: u_i and r_i (docs/papers.md).
    """
    num = len(rank_N)
    if not (has_rank_N.shape == list_N.shape == order_N.shape == rank_N.shape == (num,)):
        raise ValueError("rank_N, has_rank_N, list_N and order_N must be vectors of one length")
    position_N = np.zeros(num, dtype=np.int64)
    size_N = np.zeros(num, dtype=np.int64)
    percentile_N = np.full(num, np.nan)
    ranked = np.flatnonzero(has_rank_N)
    if len(ranked) == 0:
        return RankPositions(position_N, size_N, percentile_N, 0, 0, 0)
    sorted_rows = ranked[np.lexsort((order_N[ranked], rank_N[ranked], list_N[ranked]))]
    list_sorted, rank_sorted = list_N[sorted_rows], rank_N[sorted_rows]
    new_list = np.append(True, list_sorted[1:] != list_sorted[:-1])
    starts = np.flatnonzero(new_list)
    sizes = np.diff(np.append(starts, len(sorted_rows)))
    position_N[sorted_rows] = np.arange(len(sorted_rows)) - np.repeat(starts, sizes) + 1
    size_N[sorted_rows] = np.repeat(sizes, sizes)
    percentile_N[ranked] = (position_N[ranked] - 1) / np.maximum(1, size_N[ranked] - 1)
    same_as_previous = ~new_list & np.append(False, rank_sorted[1:] == rank_sorted[:-1])
    tied = same_as_previous | np.append(same_as_previous[1:], False)
    return RankPositions(
        position_N,
        size_N,
        percentile_N,
        num_lists=len(starts),
        num_zero_based=int(np.count_nonzero(rank_sorted[starts] == 0)),
        num_tied=int(np.count_nonzero(tied)),
    )


def rank_weight(
    positions: RankPositions,
    *,
    model: str = "linear",
    floor: float = 0.3,
    power: float = 1.0,
    agreement_N: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """How far each position speaks for the label: rho in [0, 1], 1 at the head of a list.

    Args:
        positions: from `dense_positions`.
        model: `linear` floor + (1 - floor) (1 - u)^power; `log` 1 / log2(1 + position), which has no
            floor; `exp` the exponential with rate `power` that falls from 1 to the floor;
            `calibrated` a decreasing fit of `agreement_N` on u, as a share of its maximum.
        floor: rho of the last image of a list for `linear` and `exp`: a low rank is weak evidence.
        power: > 0, shape of `linear` and `exp`.
        agreement_N: for `calibrated`: 1 where an out-of-sample prediction is the label, 0 where it is
            not, NaN where unknown.

    Returns:
        float64 (N,); NaN where the image has no rank (see `fill_missing`).

    Raises:
        ValueError: unknown model, a number out of range, or `calibrated` without agreement.

    Two-stage weighting, stage 1: rho_i; the three other models are its options (docs/papers.md).
    """
    if model not in RANK_MODELS:
        raise ValueError(f"model must be one of {', '.join(RANK_MODELS)}; got {model!r}")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must be in [0, 1]; got {floor}")
    if not power > 0:
        raise ValueError(f"power must be above 0; got {power}")
    u_N = positions.percentile_N
    if model == "linear":
        return floor + (1 - floor) * (1 - u_N) ** power
    if model == "exp":
        last = np.exp(-power)
        return np.asarray(floor + (1 - floor) * (np.exp(-power * u_N) - last) / (1 - last))
    if model == "log":
        position_N = np.where(positions.position_N > 0, positions.position_N, np.nan)
        return np.asarray(1 / np.log2(1 + position_N), dtype=np.float64)
    if agreement_N is None:
        raise ValueError("model 'calibrated' needs agreement_N")
    return _calibrated(u_N, agreement_N)


def _calibrated(u_N: NDArray[np.float64], agreement_N: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.isotonic import IsotonicRegression

    rho_N = np.full(len(u_N), np.nan)
    ranked_N = ~np.isnan(u_N)
    known_N = ranked_N & ~np.isnan(agreement_N)
    if not known_N.any():
        rho_N[ranked_N] = 1.0  # nothing to learn from: no rank is better than another
        return rho_N
    fit = IsotonicRegression(increasing=False, y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fit.fit(u_N[known_N], agreement_N[known_N])
    rho_N[ranked_N] = fit.predict(u_N[ranked_N])
    best = rho_N[ranked_N].max()
    rho_N[ranked_N] = rho_N[ranked_N] / best if best > 0 else 1.0
    return rho_N


def fill_missing(rho_N: NDArray[np.float64], query_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give images without a rank the mean rho of their query: no better and no worse than the rest.

    Args:
        rho_N: NaN where the rank is missing.
        query_N: code of the image's query, 0 <= code.

    Returns:
        float64 (N,) without NaN. A query without any rank gets the mean of all ranked images; where
        nothing has a rank, rho is 1.
    """
    known_N = ~np.isnan(rho_N)
    if not known_N.any():
        return np.ones(len(rho_N))
    num_queries = int(query_N.max()) + 1
    count_Q = np.bincount(query_N[known_N], minlength=num_queries)
    sum_Q = np.bincount(query_N[known_N], weights=rho_N[known_N], minlength=num_queries)
    overall = float(rho_N[known_N].mean())
    mean_Q = np.where(count_Q > 0, sum_Q / np.maximum(count_Q, 1), overall)
    return np.where(known_N, rho_N, mean_Q[query_N])
