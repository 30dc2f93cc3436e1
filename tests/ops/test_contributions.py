"""Parts of a score: by hand, their sum, and what says nothing adds nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops.contributions import share_out


def test_the_difference_is_shared_by_strength():
    # Alone 3 and -1, together 1: the missing -1 goes 3/4 to the first and 1/4 to the second.
    np.testing.assert_allclose(share_out(np.array([1.0]), np.array([[3.0, -1.0]])), [[2.25, -1.25]])


def test_what_says_nothing_adds_nothing_and_what_is_not_there_stays_unknown():
    added = share_out(np.array([2.0, 0.5]), np.array([[1.0, 0.0, np.nan], [0.0, 0.0, np.nan]]))
    np.testing.assert_array_equal(added, [[2.0, 0.0, np.nan], [0.25, 0.25, np.nan]])


@given(st.lists(st.tuples(*[st.floats(-20, 20)] * 4), min_size=1, max_size=10))
def test_parts_sum_up(rows):
    table = np.array(rows)
    added = share_out(table[:, 0], table[:, 1:])
    np.testing.assert_allclose(added.sum(axis=1), table[:, 0], atol=1e-9)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="one row of parts"):
        share_out(np.zeros(2), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="one row of parts"):
        share_out(np.zeros(2), np.zeros((2, 0)))
