"""Runs of equal keys among sorted numbers, laid side by side so that many are compared at once.

Letters: N sorted numbers, R runs of one key, P places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

NUM_BITS: Final = 64
CHUNK: Final = 1 << 15
"""Hashes compared at once: what they need stays in the processor's cache."""

_INDEX_BITS: Final = 40  # of a number that holds a length and an index


def runs(sorted_N: NDArray[np.uint64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of numbers with equal `width` highest bits begins, and how long it is."""
    if not len(sorted_N):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    is_new = ((sorted_N[1:] ^ sorted_N[:-1]) >> np.uint64(NUM_BITS - width)) != 0
    begin_R = np.concatenate([np.zeros(1, dtype=np.int64), np.flatnonzero(is_new) + 1])
    return begin_R, np.diff(begin_R, append=len(sorted_N))


def longest_first(num_R: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """The runs of at least so many, in descending order of their lengths."""
    chosen = np.flatnonzero(num_R >= least)
    # One sort of plain numbers is several times as fast as a sort of places.
    packed = (num_R[chosen] << np.int64(_INDEX_BITS)) | chosen
    packed.sort()
    return packed[::-1] & np.int64((1 << _INDEX_BITS) - 1)


def places(begin_R: NDArray[np.int64], num_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of some runs, in the order of the runs."""
    end_R = np.cumsum(num_R)
    place_P = np.repeat(begin_R - (end_R - num_R), num_R)
    place_P += np.arange(len(place_P))
    return place_P


def stops(length_R: NDArray[np.int64], end_R: NDArray[np.int64], start: int) -> Iterator[int]:
    """Up to where a chunk from `start` is in runs of a length above 0, 1, 2, ..., as long as any is.

    Args:
        length_R: in descending order.
        end_R: where each run ends.
        start: first place of the chunk.
    """
    first = int(np.searchsorted(end_R, start, side="right"))
    last = int(np.searchsorted(end_R, start + CHUNK - 1, side="right"))
    lengths = length_R[first : last + 1]
    most = min(start + CHUNK, int(end_R[-1]))
    shortest_first = lengths[::-1]
    # All of a chunk for the shortest of its runs, then less and less.
    for length in range(int(lengths[0])):
        num = len(lengths) - int(np.searchsorted(shortest_first, length, side="right"))
        yield min(most, int(end_R[first + num - 1]))
