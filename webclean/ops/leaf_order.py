"""An order of things in which like stands beside like, for pictures of similarity matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def leaf_order(similarity_CC: NDArray[np.float64]) -> NDArray[np.int64]:
    """Leaves of the average-linkage tree of 1 - similarity, from left to right: int64 (C,), a permutation.

    Args:
        similarity_CC: in [0, 1], diagonal 1; of (a, b) and (b, a) the larger counts.
    """
    num = len(similarity_CC)
    if num < 3:
        return np.arange(num)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart_CC = 1.0 - np.maximum(similarity_CC, similarity_CC.T)
    np.fill_diagonal(apart_CC, 0.0)
    return np.asarray(leaves_list(linkage(squareform(apart_CC, checks=False), "average")), dtype=np.int64)
