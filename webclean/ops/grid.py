"""The memory's grid: m x m slots on a torus, so that all slots have equally many neighbours.

SOMNet (arXiv 1906.12028), section 3.3.3 and supplement.  # K slots, slot = row * side + column
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def torus_distance(side: int) -> NDArray[np.int64]:
    """Length of the shortest path between every two slots: the wrapped Manhattan distance.

    Args:
        side: m, slots along one edge of the grid, at least 1.

    Returns:
        geo_KK, int64, K = side * side; symmetric, zero diagonal, at most 2 * (side // 2).

    Raises:
        ValueError: side is below 1.
    """
    if side < 1:
        raise ValueError(f"a grid needs at least one slot along its edge; got {side}")
    step = np.abs(np.arange(side)[:, None] - np.arange(side)[None, :])
    wrapped = np.minimum(step, side - step)
    geo = wrapped[:, None, :, None] + wrapped[None, :, None, :]
    flat: NDArray[np.int64] = geo.reshape(side * side, side * side).astype(np.int64)
    return flat


def neighbour_weights(side: int, radius: int) -> NDArray[np.float64]:
    """Share of each slot in an update of the winner: 1 / (1 + geo) inside the radius, else 0.

    eta(k_z, k_i) of SOMNet for N(k_z, delta) = {i : geo(z, i) <= delta}; radius 0 switches the
    neighbourhood off.

    Returns:
        eta_KK, float64; row z holds the weights of an update whose winner is z.

    Raises:
        ValueError: side is below 1 or radius below 0.
    """
    if radius < 0:
        raise ValueError(f"a neighbourhood radius cannot be negative; got {radius}")
    geo = torus_distance(side)
    return np.where(geo <= radius, 1.0 / (1.0 + geo), 0.0)
