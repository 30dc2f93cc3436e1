"""Exact search among 64-bit hashes: everything within a number of bits.

Letters: N hashes searched in, Q queries, M matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BITS = 64


@dataclass(frozen=True, slots=True)
class Matches:
    """Hashes found near queries.

    Attributes:
        query_M: int64, position of the query.
        found_M: int64, position of the hash found.
        distance_M: int64, bits in which they differ.
    """

    query_M: NDArray[np.int64]
    found_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]


class HammingIndex:
    """Hashes laid out for search.

    Args:
        hash_N: (N,) uint64.
    """

    def __init__(self, hash_N: NDArray[np.uint64]) -> None:
        import faiss

        self._index = faiss.IndexBinaryFlat(NUM_BITS)
        self._index.add(_octets(hash_N))

    def within(self, query_Q: NDArray[np.uint64], radius: int) -> Matches:
        """All hashes that differ from a query in at most `radius` bits, in the order of the queries."""
        limits, distance, found = self._index.range_search(_octets(query_Q), radius + 1)  # strictly below
        limits_Q1: NDArray[np.int64] = limits.astype(np.int64)
        query_M = np.repeat(np.arange(len(query_Q), dtype=np.int64), limits_Q1[1:] - limits_Q1[:-1])
        return Matches(query_M, found.astype(np.int64), distance.astype(np.int64))


def _octets(hash_N: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hash_N, dtype="<u8").view(np.uint8).reshape(-1, NUM_BITS // 8)
