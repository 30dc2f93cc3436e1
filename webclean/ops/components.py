"""Connected components: what hangs together where pairs are links."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components(num: int, first_P: NDArray[np.int64], second_P: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected components: (N,) int64, for each node the smallest node of its component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first_P), dtype=np.int8), (first_P, second_P)), shape=(num, num))
    _, label_N = connected_components(graph, directed=False)
    _, start_C = np.unique(label_N, return_index=True)
    return np.asarray(start_C[label_N], dtype=np.int64)
