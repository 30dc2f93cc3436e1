"""What a search among hashes finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Matches:
    """Hashes found near queries.

    Attributes:
        query_M: int64, position of the query.
        found_M: int64, position of the hash found.
        distance_M: int64, bits in which they differ.
        flip: which of the flips of the queries (see `hamming.between`).
    """

    query_M: NDArray[np.int64]
    found_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]
    flip: int = 0
