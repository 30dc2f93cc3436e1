"""Folds whose members never share a duplicate group.  # N images, F folds"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webclean.ops.grouping import rows_by_code


def grouped_folds(
    category_N: NDArray[np.int64],
    group_N: NDArray[np.int64],
    num_folds: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Spread the images evenly over folds, category by category; a duplicate group stays together.

    A group counts for the category of its first member. Groups are dealt in random order, so every fold
    gets its share of each category, to within one group.

    Args:
        category_N: int64 labels.
        group_N: int64 group of each image; -1 for an image without duplicates.
        num_folds: F >= 2.

    Returns:
        fold_N, int64 in 0..F-1.

    Raises:
        ValueError: shapes differ or fewer than two folds.
    """
    if category_N.shape != group_N.shape or num_folds < 2:
        raise ValueError(f"folds need labels and groups of one shape and F >= 2; got {num_folds}")
    alone = group_N < 0
    key_N = np.where(alone, np.arange(len(group_N)) + group_N.max(initial=-1) + 1, group_N)
    _, first_G, member_N = np.unique(key_N, return_index=True, return_inverse=True)
    fold_G = np.empty(len(first_G), dtype=np.int64)
    start = 0  # goes on from category to category, so that small categories do not all fill fold 0
    for _, members in rows_by_code(category_N[first_G]):
        groups = rng.permutation(members)
        fold_G[groups] = (start + np.arange(len(groups))) % num_folds
        start += len(groups)
    fold_N: NDArray[np.int64] = fold_G[member_N]
    return fold_N
