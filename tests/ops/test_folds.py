import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops.folds import grouped_folds


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 6)), min_size=1, max_size=60), st.integers(2, 5))
def test_groups_stay_together_and_folds_are_even(rows, num_folds):
    category, group = np.array(rows).T
    fold = grouped_folds(category, group, num_folds, np.random.default_rng(0))
    assert ((fold >= 0) & (fold < num_folds)).all()
    for g in range(7):
        assert len(np.unique(fold[group == g])) <= 1
    alone = np.full_like(group, -1)
    sizes = np.bincount(
        grouped_folds(category, alone, num_folds, np.random.default_rng(0)), minlength=num_folds
    )
    assert sizes.max() - sizes.min() <= 1


def test_each_category_is_spread():
    category = np.repeat([0, 1], [50, 5])
    fold = grouped_folds(category, np.full(55, -1), 5, np.random.default_rng(1))
    assert np.bincount(fold[:50]).tolist() == [10] * 5
    assert np.bincount(fold[50:]).tolist() == [1] * 5


def test_unusable_inputs_are_refused():
    with pytest.raises(ValueError, match="F >= 2"):
        grouped_folds(np.zeros(3, dtype=int), np.zeros(3, dtype=int), 1, np.random.default_rng(0))
