from __future__ import annotations

import numpy as np
import pytest

from webclean.ops.leaf_order import leaf_order


def test_like_stands_beside_like() -> None:
    group = np.array([0, 1, 0, 2, 1, 0, 2])
    similarity_CC = np.where(group[:, None] == group[None, :], 0.9, 0.1)
    similarity_CC[similarity_CC == 0.1] += 0.01 * (group[:, None] + group[None, :])[similarity_CC == 0.1]
    np.fill_diagonal(similarity_CC, 1.0)
    order = leaf_order(similarity_CC)
    assert sorted(order.tolist()) == list(range(7))
    assert np.count_nonzero(np.diff(group[order])) == 2


@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_equal_pairs_and_few_things(num: int) -> None:
    assert sorted(leaf_order(np.ones((num, num))).tolist()) == list(range(num))
