"""Pairs of images that may be, or are, copies of each other.

Letters: P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of images, the first turned by a view.

    Attributes:
        first_P: int64, the image that is turned.
        second_P: int64.
        view_P: int64, 0 to 7 (`phash.turn`).
        distance_P: int64, hash bits that differ under the view.
    """

    first_P: NDArray[np.int64]
    second_P: NDArray[np.int64]
    view_P: NDArray[np.int64]
    distance_P: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first_P)

    def where(self, chosen_P: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs under a mask, or at these positions."""
        return Pairs(
            self.first_P[chosen_P], self.second_P[chosen_P], self.view_P[chosen_P], self.distance_P[chosen_P]
        )

    def at(self, row_K: NDArray[np.int64]) -> Pairs:
        """The same pairs where image k is known by another number."""
        return Pairs(row_K[self.first_P], row_K[self.second_P], self.view_P, self.distance_P)


NOTHING: Final = np.empty(0, dtype=np.int64)
NO_PAIRS: Final = Pairs(NOTHING, NOTHING, NOTHING, NOTHING)


def best_views(found: Sequence[Pairs], scores: Sequence[NDArray[np.float64]]) -> Pairs:
    """All pairs once, sorted; of one that was found in several ways the view of the highest score.

    Args:
        found: pairs, first < second.
        scores: one number for each pair of each of `found`.
    """
    if not found:
        return NO_PAIRS
    names = ("first_P", "second_P", "view_P", "distance_P")
    pairs = Pairs(*(np.concatenate([getattr(some, name) for some in found]) for name in names))
    order = np.lexsort((pairs.view_P, -np.concatenate(scores), pairs.second_P, pairs.first_P))
    first, second = pairs.first_P[order], pairs.second_P[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return pairs.where(order[is_new])
