"""Stage 1: rank times text match inside each category."""

from __future__ import annotations

import numpy as np
import pytest
import reference_two_stage as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import stage_weights as sw

NAN = float("nan")
rows = st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=40)


def _columns(drawn: list) -> tuple[np.ndarray, ...]:
    label, a, b = zip(*drawn, strict=True)
    return np.array(label), np.array(a), np.array(b), np.ones(len(label), dtype=bool)


def test_class_median_and_mean_by_hand() -> None:
    value_N = np.array([3.0, 1.0, NAN, 2.0, 5.0, 9.0])
    category_N = np.array([0, 0, 0, 0, 2, 2])
    np.testing.assert_array_equal(sw.class_median(value_N, category_N, 4), [2, NAN, 7, NAN])
    np.testing.assert_array_equal(sw.class_mean(value_N, category_N, 4), [2, NAN, 7, NAN])


def test_share_of_class_max_by_hand() -> None:
    value_N = np.array([2.0, 4.0, NAN, 0.0, 3.0])
    category_N = np.array([0, 0, 0, 1, -1])
    # The category of zeros and the image without a category stay as they are.
    np.testing.assert_array_equal(sw.share_of_class_max(value_N, category_N, 2), [0.5, 1, NAN, 0, 3])


@given(rows)
def test_class_median_matches_the_reference(drawn: list) -> None:
    label_N, value_N, _, _ = _columns(drawn)
    median_C = sw.class_median(value_N, label_N, 4)
    for c in set(label_N.tolist()):
        assert median_C[c] == reference.median(value_N[label_N == c].tolist())


def test_text_match_fills_missing_text_by_the_class_median() -> None:
    mass_N = np.array([0.9, 0.1, NAN, NAN])
    kappa_N, missing_N = sw.text_match(mass_N, np.full(4, NAN), np.array([0, 0, 0, 1]), 2, evidence="mass")
    np.testing.assert_allclose(kappa_N, [0.9, 0.1, 0.5, 1.0])  # category 1 has no text: nothing against it
    assert missing_N.tolist() == [False, False, True, True]


def test_both_kinds_join_by_the_geometric_mean_after_filling() -> None:
    mass_N = np.array([0.9, 0.4, NAN])
    judge_N = np.array([0.4, NAN, NAN])
    kappa_N, missing_N = sw.text_match(mass_N, judge_N, np.zeros(3, int), 1, evidence="both")
    np.testing.assert_allclose(kappa_N, [0.6, 0.4, np.sqrt(0.65 * 0.4)])
    assert missing_N.tolist() == [False, False, True]


def test_a_kind_that_a_category_lacks_takes_no_part() -> None:
    mass_N, judge_N = np.array([0.9, 0.2]), np.full(2, NAN)
    both_N, missing_N = sw.text_match(mass_N, judge_N, np.zeros(2, int), 1, evidence="both")
    np.testing.assert_allclose(both_N, mass_N)
    assert not missing_N.any()
    with pytest.raises(ValueError, match="evidence must be one of"):
        sw.text_match(mass_N, judge_N, np.zeros(2, int), 1, evidence="all")


@given(rows)
def test_stage1_matches_the_reference_and_peaks_at_one(drawn: list) -> None:
    label_N, rho_N, kappa_N, usable_N = _columns(drawn)
    weight_N = sw.stage1_weight(rho_N, kappa_N, label_N, 4, usable_N)
    np.testing.assert_allclose(weight_N, reference.stage1(rho_N, kappa_N, label_N), rtol=1e-12)
    for c in set(label_N.tolist()):
        assert weight_N[label_N == c].max() == 1
    perm = np.random.default_rng(0).permutation(len(label_N))
    again_N = sw.stage1_weight(rho_N[perm], kappa_N[perm], label_N[perm], 4, usable_N)
    np.testing.assert_array_equal(again_N, weight_N[perm])


def test_bad_files_weigh_nothing_and_set_no_maximum() -> None:
    usable_N = np.array([False, True, True])
    weight_N = sw.stage1_weight(np.array([1.0, 0.5, 0.25]), np.ones(3), np.zeros(3, int), 1, usable_N)
    assert weight_N.tolist() == [0, 1, 0.5]


def test_text_against_a_whole_category_leaves_the_rank() -> None:
    weight_N = sw.stage1_weight(np.array([1.0, 0.5]), np.zeros(2), np.zeros(2, int), 1, np.ones(2, bool))
    assert weight_N.tolist() == [1, 0.5]
    weight_N = sw.stage1_weight(np.zeros(2), np.zeros(2), np.zeros(2, int), 1, np.ones(2, bool))
    assert weight_N.tolist() == [1, 1]


@given(rows, st.floats(0, 1))
def test_raising_brings_every_mean_to_the_minimum_and_keeps_the_order(drawn: list, minimum: float) -> None:
    label_N, weight_N, _, usable_N = _columns(drawn)
    lifted_N = sw.raise_class_means(weight_N, label_N, 4, usable_N, minimum)
    assert ((lifted_N >= weight_N - 1e-15) & (lifted_N <= 1 + 1e-12)).all()
    for c in set(label_N.tolist()):
        mine = label_N == c
        assert lifted_N[mine].mean() >= minimum - 1e-9
        if weight_N[mine].mean() >= minimum:
            np.testing.assert_allclose(lifted_N[mine], weight_N[mine], rtol=1e-12)
        order = np.argsort(weight_N[mine], kind="stable")
        assert (np.diff(lifted_N[mine][order]) >= -1e-12).all()


def test_raising_keeps_exact_zeros_unless_all_are_zero() -> None:
    weight_N = np.array([0.0, 0.1, 0.0, 0.0, 0.7])
    usable_N = np.array([True, True, True, True, False])
    lifted_N = sw.raise_class_means(weight_N, np.array([0, 0, 1, 1, 1]), 2, usable_N, 0.2)
    np.testing.assert_allclose(lifted_N, [0, 0.4, 0.2, 0.2, 0])
    with pytest.raises(ValueError, match="minimum must be in"):
        sw.raise_class_means(weight_N, np.zeros(5, int), 1, usable_N, 2.0)


@given(rows)
def test_sampling_is_balanced_over_categories(drawn: list) -> None:
    label_N, weight_N, _, _ = _columns(drawn)
    p_N = sw.sampling_probability(weight_N, label_N, 4)
    np.testing.assert_allclose(p_N, reference.sampling(weight_N, label_N), rtol=1e-10)
    assert p_N.sum() == pytest.approx(1)
    present = set(label_N.tolist())
    for c in present:
        assert p_N[label_N == c].sum() == pytest.approx(1 / len(present))


def test_sampling_of_nothing_is_zero() -> None:
    assert sw.sampling_probability(np.zeros(2), np.array([0, 1]), 2).tolist() == [0, 0]
    assert sw.sampling_probability(np.array([0.0, 0.5]), np.array([0, 1]), 2).tolist() == [0, 1]


def test_prototype_seeds_are_the_first_results_or_else_all() -> None:
    seed_N = sw.prototype_seeds(
        np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 0, 0]), np.array([True, True, True, True, False]), 2, 2
    )
    assert seed_N.tolist() == [True, True, False, True, False]


def test_prototype_weight_matches_the_reference() -> None:
    rng = np.random.default_rng(0)
    features_ND = rng.normal(size=(12, 4))
    label_N = np.arange(12) % 3
    mu_CD = sw.prototype_sum(features_ND[:6], label_N[:6], 3) + sw.prototype_sum(
        features_ND[6:], label_N[6:], 3
    )
    np.testing.assert_allclose(mu_CD, sw.prototype_sum(features_ND, label_N, 3))
    neighbors_CK = np.array([[1, 2], [0, -1], [1, -1]])
    weight_N = sw.prototype_weight(features_ND, label_N, mu_CD, neighbors_CK, 0.1)
    mu = {c: mu_CD[c].tolist() for c in range(3)}
    for i in range(12):
        near = [c for c in neighbors_CK[label_N[i]].tolist() if c >= 0]
        assert weight_N[i] == pytest.approx(
            reference.prototype_weight(features_ND[i], int(label_N[i]), mu, near, 0.1)
        )


def test_prototype_weight_of_odd_input() -> None:
    alone_N = sw.prototype_weight(
        np.zeros((2, 3)), np.zeros(2, int), np.zeros((1, 3)), np.full((1, 0), -1), 0.1
    )
    assert alone_N.tolist() == [1, 1]  # no rival, no evidence
    sharp_N = sw.prototype_weight(
        np.array([[1.0, 0], [-1.0, 0]]),
        np.zeros(2, int),
        np.array([[1.0, 0], [-1.0, 0]]),
        np.array([[1], [0]]),
        1e-4,
    )
    np.testing.assert_allclose(sharp_N, [1, 0], atol=1e-12)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        sw.prototype_weight(np.zeros((1, 2)), np.zeros(1, int), np.zeros((1, 2)), np.full((1, 0), -1), 0.0)


def test_effective_samples_count_equal_weights_as_images() -> None:
    weight_N = np.array([0.5, 0.5, 0.5, 1.0, 0.0])
    effective_C = sw.effective_samples(weight_N, np.array([0, 0, 0, 1, 1]), 3)
    np.testing.assert_allclose(effective_C, [3, 1, 0])
