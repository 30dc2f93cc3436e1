import numpy as np
import pytest
import reference_somnet as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from webclean.ops import memory_counts

COUNTS = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 20))


def test_shares_by_hand():
    counts = np.array([[7, 0], [2, 3], [1, 0]])
    np.testing.assert_allclose(memory_counts.d_scores(counts)[:, 0], [0.7, 0.2, 0.1])
    np.testing.assert_allclose(memory_counts.r_scores(counts)[1], [0.4, 0.6])


@given(COUNTS)
def test_shares_match_the_literal_version(counts):
    d, r = reference.shares(counts.tolist())
    np.testing.assert_allclose(memory_counts.d_scores(counts), d)
    np.testing.assert_allclose(memory_counts.r_scores(counts), r)
    np.testing.assert_allclose(memory_counts.d_scores(counts).sum(axis=0), 1.0)
    np.testing.assert_allclose(memory_counts.r_scores(counts).sum(axis=1), 1.0)
    np.testing.assert_allclose(memory_counts.d_scores(3 * counts), d)
    product = np.where(counts > 0, d * r, 0.0)
    np.testing.assert_allclose(memory_counts.prototype_scores(counts), product)


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


def test_smoothing_pulls_towards_even_shares():
    d = memory_counts.d_scores(np.array([[8.0], [0.0]]), smoothing=1.0)
    np.testing.assert_allclose(d[:, 0], [0.9, 0.1])


def test_usage_entropy():
    assert memory_counts.usage_entropy(np.ones(8)) == pytest.approx(np.log(8))
    assert memory_counts.usage_entropy(np.array([0.0, 3.0])) == 0.0
    assert memory_counts.usage_entropy(np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("counts", "words"),
    [(np.zeros(3), "shape"), (np.array([[-1.0]]), "not negative"), (np.zeros((0, 2)), "shape")],
)
def test_unusable_counts_are_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        memory_counts.d_scores(counts)
