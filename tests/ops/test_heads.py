"""Cross-fitted heads: closed forms, and that no image is judged by what its own label taught."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from webclean.ops import heads

STRENGTHS = (1.0, 10.0, 100.0)


def test_log_margin_by_hand():
    log_p = np.log([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])
    margin = heads.log_margin(log_p, np.array([0, 2, 1]))
    np.testing.assert_allclose(margin, [np.log(3.5), np.log(1 / 7), 0.0], atol=1e-12)


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_log_margin_matches_the_reference(seed, num):
    rng = np.random.default_rng(seed)
    log_p = heads.log_softmax(rng.normal(size=(7, num)) * 5)
    label = rng.integers(0, num, 7)
    expected = [reference.log_margin(row.tolist(), y) for row, y in zip(log_p, label, strict=True)]
    np.testing.assert_allclose(heads.log_margin(log_p, label), expected)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0)


def test_one_category_has_no_margin():
    assert heads.log_margin(np.zeros((3, 1)), np.zeros(3, dtype=int)).tolist() == [0.0, 0.0, 0.0]


def test_log_softmax_survives_large_numbers():
    np.testing.assert_allclose(heads.log_softmax(np.array([[1e4, 0.0]])), [[0.0, -1e4]])


def test_cross_entropy_by_hand_and_without_weight():
    log_p = np.log([[0.5, 0.5], [0.25, 0.75]])
    label = np.array([0, 0])
    assert heads.cross_entropy(log_p, label, np.array([1.0, 3.0])) == pytest.approx(
        (np.log(2) + 3 * np.log(4)) / 4
    )
    assert heads.cross_entropy(log_p, label, np.zeros(2)) == 0.0


def test_best_scale_finds_the_temperature_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5_000, 3))
    p = np.exp(heads.log_softmax(4.0 * logits))
    label = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    scale, loss = heads.best_scale(logits, label, np.ones(len(label)))
    assert scale == pytest.approx(4.0, rel=0.1)
    assert loss <= heads.cross_entropy(heads.log_softmax(logits), label, np.ones(len(label)))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("strength", [0.5, 30.0])
def test_ridge_equals_the_closed_form(form, strength):
    rng = np.random.default_rng(1)
    x, test = rng.normal(size=(80, 6)), rng.normal(size=(9, 6))
    label, weight = rng.integers(0, 4, 80), rng.random(80)
    found = heads.ridge(form(x), label, weight, form(test), 4, strength)
    np.testing.assert_allclose(found, reference.ridge(x, label, weight, test, 4, strength), atol=2e-4)


def test_ridge_by_hand():
    """x = +-1, label = sign: beta = 2 (1/2) / (2 + strength) for each category, prior 1/2."""
    x = np.array([[1.0], [-1.0]])
    found = heads.ridge(x, np.array([1, 0]), np.ones(2), np.array([[1.0]]), 2, 2.0)
    np.testing.assert_allclose(found, [[0.25, 0.75]])


@pytest.mark.parametrize("solver", [heads.ridge, heads.logistic])
def test_without_weight_every_category_is_alike(solver):
    found = solver(np.ones((3, 2)), np.array([0, 1, 1]), np.zeros(3), np.ones((2, 2)), 3, 1.0)
    assert found.tolist() == [[0.0] * 3] * 2


def test_logistic_gives_unseen_categories_next_to_nothing():
    x = np.array([[1.0], [-1.0]] * 5)
    found = heads.logistic(x, np.array([0, 2] * 5), np.ones(10), x[:2], 4, 1.0)
    assert found[0].argmax() == 0
    assert found[1].argmax() == 2
    np.testing.assert_allclose(found[:, [1, 3]], np.log(1e-12))
    only = heads.logistic(x, np.zeros(10, dtype=int), np.ones(10), x[:1], 2, 1.0)
    assert only.tolist() == [[0.0, np.log(1e-12)]]


def _fit(world, fold_N, categories, **options):
    return heads.cross_fit(
        world.x_ND / 4,
        world.label_N,
        fold_N,
        categories,
        heads.ridge,
        options.pop("strengths", STRENGTHS),
        **options,
    )


def test_cross_fit_matches_a_loop_over_the_folds():
    w = reference.world(60, 3, 0.2)
    fold_N = np.arange(60) % 5
    fit = _fit(w, fold_N, 3, strengths=(10.0,))
    x, logits = w.x_ND / 4, np.zeros((60, 3))
    for fold in range(5):
        train, test = fold_N != fold, fold_N == fold
        logits[test] = reference.ridge(x[train], w.label_N[train], np.ones(train.sum()), x[test], 3, 10.0)
    np.testing.assert_allclose(fit.log_probability_NC, heads.log_softmax(fit.scale * logits), atol=5e-3)
    assert fit.strength == 10.0


def test_a_poisoned_label_never_reaches_its_own_judge():
    """Whatever the labels of a fold are turned into, the raw outputs for that fold stay the same."""
    w = reference.world(90, 3, 0.1)
    fold_N = np.arange(90) // 3 % 5
    seen: list[np.ndarray] = []

    def recording(x, label, weight, test, num, strength):
        seen.append(heads.ridge(x, label, weight, test, num, strength))
        return seen[-1]

    heads.cross_fit(w.x_ND, w.label_N, fold_N, 3, recording, (10.0,))
    before, seen = seen[2], []
    poisoned = np.where(fold_N == 2, (w.label_N + 1) % 3, w.label_N)
    heads.cross_fit(w.x_ND, poisoned, fold_N, 3, recording, (10.0,))
    np.testing.assert_array_equal(seen[2], before)


def test_memorised_features_do_not_help_a_cross_fitted_head():
    """One feature for each image (a perfect memory of the training set) tells nothing of other images."""
    label_N = np.random.default_rng(0).integers(0, 2, 200)
    fit = heads.cross_fit(np.eye(200), label_N, np.arange(200) % 5, 2, heads.ridge, (0.01,))
    margin_N = heads.log_margin(fit.log_probability_NC, label_N)
    assert abs((margin_N > 0).mean() - 0.5) < 0.12


def test_images_are_also_judged_by_a_head_that_was_shown_them():
    """A perfect memory of the training set: every label seen comes back, whatever it is."""
    label_N, fold_N = np.random.default_rng(0).integers(0, 2, 60), np.arange(60) % 5
    seen_M = np.array([0, 7, 21, 59])
    fit = heads.cross_fit(np.eye(60), label_N, fold_N, 2, heads.ridge, (0.01,), seen_M=seen_M)
    assert (fit.seen_MC.argmax(axis=1) == label_N[seen_M]).all()
    without = heads.cross_fit(np.eye(60), label_N, fold_N, 2, heads.ridge, (0.01,))
    np.testing.assert_array_equal(fit.log_probability_NC, without.log_probability_NC)
    assert without.seen_MC.shape == (0, 2)


def test_folds_follow_each_other_in_a_ring():
    assert heads.following_folds(np.array([3, 0, 0, 1])) == {0: 1, 1: 3, 3: 0}


def test_the_best_strength_wins_and_ties_take_the_first():
    w = reference.world(120, 3, 0.3, apart=0.3)
    fold_N = np.arange(120) // 3 % 5
    assert _fit(w, fold_N, 3, strengths=(1e-3, 100.0)).strength == 100.0
    assert _fit(w, fold_N, 3, strengths=(7.0, 7.0)).strength == 7.0


def test_cross_fit_finds_wrong_labels_with_both_solvers():
    w = reference.world(400, 4, 0.3)
    fold_N = np.arange(400) // 4 % 5
    for solver, strengths in ((heads.ridge, STRENGTHS), (heads.logistic, (0.1, 1.0))):
        fit = heads.cross_fit(w.x_ND / 4, w.label_N, fold_N, 4, solver, strengths)
        assert reference.auroc(heads.log_margin(fit.log_probability_NC, w.label_N), ~w.wrong_N) > 0.95


def test_weights_take_images_out_of_the_training():
    w = reference.world(120, 3, 0.0)
    spoiled = w.label_N.copy()
    spoiled[:40] = (spoiled[:40] + 1) % 3
    weight = np.where(np.arange(120) < 40, 0.0, 1.0)
    fold_N = np.arange(120) // 3 % 5
    a = heads.cross_fit(w.x_ND, w.label_N, fold_N, 3, heads.ridge, (10.0,), weight)
    b = heads.cross_fit(w.x_ND, spoiled, fold_N, 3, heads.ridge, (10.0,), weight)
    np.testing.assert_array_equal(a.log_probability_NC, b.log_probability_NC)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_the_order_of_images_does_not_matter_when_folds_move_along(seed):
    rng = np.random.default_rng(seed)
    w = reference.world(60, 3, 0.2, seed=seed)
    fold_N = rng.permutation(np.arange(60) % 4)
    order = rng.permutation(60)
    a = heads.cross_fit(w.x_ND, w.label_N, fold_N, 3, heads.ridge, (10.0,)).log_probability_NC
    b = heads.cross_fit(
        w.x_ND[order], w.label_N[order], fold_N[order], 3, heads.ridge, (10.0,)
    ).log_probability_NC
    np.testing.assert_allclose(b, a[order], atol=1e-4)  # how far conjugate gradients go
    np.testing.assert_allclose(np.exp(a).sum(axis=1), 1.0)


def test_two_images_two_folds_and_every_fold_is_told():
    told = []
    fit = heads.cross_fit(
        np.eye(2),
        np.array([0, 1]),
        np.array([0, 1]),
        2,
        heads.ridge,
        STRENGTHS,
        on_fold=lambda: told.append(1),
    )
    assert np.isfinite(fit.log_probability_NC).all()
    assert len(told) == 2


@pytest.mark.parametrize(
    ("label", "fold"), [(np.zeros(3, int), np.zeros(3, int)), (np.zeros(2, int), np.array([0, 1, 0]))]
)
def test_unusable_folds_are_refused(label, fold):
    with pytest.raises(ValueError, match="two folds"):
        heads.cross_fit(np.eye(3), label, fold, 2, heads.ridge, STRENGTHS)


def test_standardise_keeps_distances_of_standardised_rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 12)).astype(np.float32)
    whole = heads.standardise(x, 12)
    np.testing.assert_allclose(whole.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(whole.std(axis=0), 1.0)
    rotated = heads.standardise(x, 11)
    assert rotated.shape == (50, 11)
    kept = (rotated**2).sum() / (whole**2).sum()
    values = np.linalg.eigvalsh(whole.T @ whole)
    assert kept == pytest.approx(values[1:].sum() / values.sum())


def test_standardise_of_odd_features():
    same = heads.standardise(np.ones((4, 3)), 2)
    np.testing.assert_allclose(same, 0.0, atol=1e-6)
    assert np.isfinite(heads.standardise(np.zeros((2, 5)), 2)).all()
    with pytest.raises(ValueError, match="NaN"):
        heads.standardise(np.array([[1.0, np.nan]]), 2)
