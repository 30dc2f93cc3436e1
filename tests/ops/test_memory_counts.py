import numpy as np
import pytest
import reference_somnet as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from webclean.ops import memory_counts

COUNTS = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 20))


@given(COUNTS)
def test_the_scores_are_the_product_of_the_shares(counts):
    d, r = reference.shares(counts.tolist())
    np.testing.assert_allclose(memory_counts.prototype_scores(counts), np.where(counts > 0, d * r, 0.0))


def test_usefulness_is_one_plus_chi_squared_over_n():
    from scipy.stats import chi2_contingency

    counts = np.random.default_rng(0).integers(1, 30, size=(4, 9))
    chi2 = chi2_contingency(counts, correction=False).statistic
    assert memory_counts.usefulness(counts) == pytest.approx(1 + chi2 / counts.sum())


def test_usefulness_at_its_ends():
    assert memory_counts.usefulness(np.outer([1, 2, 3], [4, 5])) == pytest.approx(1.0)
    pure = np.array([[5, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 9]])
    assert memory_counts.usefulness(pure) == pytest.approx(3.0)  # every slot one category: C
    one_each = np.array([[5, 0], [0, 2], [0, 0]])
    assert memory_counts.usefulness(one_each) == pytest.approx(2.0)  # L < C: L
    assert memory_counts.usefulness(np.zeros((2, 3))) == 0.0


@pytest.mark.parametrize(
    ("counts", "words"),
    [(np.zeros(3), "shape"), (np.array([[-1.0]]), "not negative"), (np.zeros((0, 2)), "shape")],
)
def test_unusable_counts_are_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        memory_counts.prototype_scores(counts)
