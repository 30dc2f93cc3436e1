from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from webclean.ops import metrics

flags_and_scores = st.lists(
    st.tuples(st.booleans(), st.one_of(st.integers(0, 4).map(float), st.floats(-5, 5))),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({flag for flag, _ in rows}) == 2)


def test_auroc_by_hand():
    # pairs (positive, negative): 3>1, 3>2, 2>1, 2=2 -> (1 + 1 + 1 + 1/2) / 4
    assert metrics.auroc([True, True, False, False], [3, 2, 1, 2]) == 0.875
    assert metrics.auroc([True, False], [0, 0]) == 0.5


def test_average_precision_by_hand():
    # thresholds 3: recall 1/2 precision 1; 2: recall 1/2, no rise; 1: recall 1 precision 2/3
    got = metrics.average_precision([True, False, True], [3, 2, 1])
    assert got == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # ties enter together
    assert metrics.average_precision([True, False], [1, 1]) == 0.5


@given(flags_and_scores)
def test_ranking_metrics_match_scikit_learn(rows):
    flag, score = [list(column) for column in zip(*rows, strict=True)]
    assert metrics.auroc(flag, score) == pytest.approx(roc_auc_score(flag, score), abs=1e-12)
    assert metrics.average_precision(flag, score) == pytest.approx(
        average_precision_score(flag, score), abs=1e-12
    )


@given(flags_and_scores)
def test_auroc_is_the_literal_count_of_pairs_and_turns_with_the_score(rows):
    flag, score = [np.asarray(column) for column in zip(*rows, strict=True)]
    pairs = [(p > n) + 0.5 * (p == n) for p in score[flag] for n in score[~flag]]
    assert metrics.auroc(flag, score) == pytest.approx(np.mean(pairs))
    assert metrics.auroc(flag, -score) == pytest.approx(1 - metrics.auroc(flag, score))


def test_ranking_metrics_without_a_class():
    assert np.isnan(metrics.auroc([True], [1.0]))
    assert np.isnan(metrics.average_precision([False, False], [1.0, 2.0]))
    assert metrics.average_precision([True], [1.0]) == 1.0


def test_scores_must_be_numbers():
    with pytest.raises(ValueError, match="1 scores are NaN"):
        metrics.auroc([True, False], [1.0, float("nan")])
    with pytest.raises(ValueError, match="one length"):
        metrics.average_precision([True], [1.0, 2.0])


def test_detection_by_hand():
    got = metrics.detection([True, True, False, False], [True, False, True, True])
    assert (got.num_positive, got.num_taken, got.num_hit) == (2, 3, 1)
    assert (got.precision, got.recall) == (pytest.approx(1 / 3), 0.5)
    nothing = metrics.detection([False], [False])
    assert np.isnan(nothing.precision)
    assert np.isnan(nothing.recall)
    with pytest.raises(ValueError, match="lengths differ"):
        metrics.detection([True], [True, False])


def test_highest_breaks_ties_by_index():
    assert metrics.highest([1, 2, 2, 0], 1).tolist() == [False, True, False, False]
    assert metrics.highest([1, 2], 0).tolist() == [False, False]


def test_calibration_error_by_hand():
    # two bins: (0, .5] says .2 .4, comes true 1 of 2; (.5, 1] says 1.0, comes true
    got = metrics.expected_calibration_error([True, False, True], [0.2, 0.4, 1.0], num_bins=2)
    assert got == pytest.approx(2 / 3 * abs(0.5 - 0.3))
    assert metrics.expected_calibration_error([False], [0.0]) == 0.0
    assert np.isnan(metrics.expected_calibration_error([], []))
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        metrics.expected_calibration_error([True], [1.5])
    with pytest.raises(ValueError, match="num_bins"):
        metrics.expected_calibration_error([True], [0.5], num_bins=0)


def test_paired_bootstrap():
    rng = np.random.default_rng(0)
    same = metrics.paired_bootstrap([1.0, 2.0, 3.0], [0.5, 1.5, 2.5], rng=rng)
    assert same == metrics.Interval(0.5, 0.5, 0.5)
    draw = metrics.paired_bootstrap(rng.normal(1, 1, 200), np.zeros(200), rng=rng)
    assert draw.low < draw.mean < draw.high
    assert draw.high - draw.low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.2)
    with pytest.raises(ValueError, match="pairs"):
        metrics.paired_bootstrap([], [], rng=rng)
    with pytest.raises(ValueError, match="level"):
        metrics.paired_bootstrap([1.0], [0.0], rng=rng, level=1.0)


def test_gap_closed():
    rng = np.random.default_rng(0)
    got = metrics.gap_closed([0.80, 0.82], [0.88, 0.90], [0.90, 0.92], rng=rng)
    assert got.mean == pytest.approx(0.8)
    assert (got.low, got.high) == (pytest.approx(0.8), pytest.approx(0.8))
    none = metrics.gap_closed([0.5], [0.6], [0.5], rng=rng)
    assert np.isnan(none.mean)
    assert np.isnan(none.low)


def test_pair_recovery_by_hand():
    # images 0-1 planted and found, 2-3 planted and missed, 4 and 5 have equal bytes, 6 hangs in 0's group
    got = metrics.pair_recovery([5, 5, -1, 8, 9, 9, 5], [[0, 1], [2, 3]], [0, 1, 2, 3, 4, 4, -1])
    assert got.is_found_P.tolist() == [True, False]
    assert got.outside_Q2.tolist() == [[0, 6], [1, 6]]


def test_pair_recovery_follows_chains():
    got = metrics.pair_recovery([1, 1, 1], [[0, 1], [1, 2]], [-1, -1, -1])
    assert got.outside_Q2.tolist() == []
    assert got.is_found_P.all()


def test_pair_recovery_of_nothing():
    got = metrics.pair_recovery([], [], [])
    assert got.is_found_P.tolist() == []
    assert got.outside_Q2.shape == (0, 2)
    with pytest.raises(ValueError, match="lengths differ"):
        metrics.pair_recovery([1], [], [])


def test_reliability_by_hand():
    # Two bins of two: said (.1 + .3) / 2 and (.6 + 1) / 2, came 1/2 and 1.
    found = metrics.reliability([True, False, True, True], [0.3, 0.1, 0.6, 1.0], 2)
    np.testing.assert_allclose(found.said_B, [0.2, 0.8])
    np.testing.assert_allclose(found.came_B, [0.5, 1.0])
    assert found.count_B.tolist() == [2, 2]
    assert found.error == pytest.approx((0.3 + 0.2) / 2)


def test_reliability_of_few_images_has_few_bins():
    assert metrics.reliability([True, False], [0.5, 0.5]).count_B.tolist() == [1, 1]
    assert np.isnan(metrics.reliability([], []).error)
    with pytest.raises(ValueError, match="num_bins"):
        metrics.reliability([True], [0.5], 0)
