"""Ridge heads from sums by fold: the closed form of each fold, whatever the blocks, and no label judges itself."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import heads
from webclean.ops.fold_heads import Columns, FoldSums, Sample, fit_heads, sample_rows, unit_rows

STRENGTHS = (1.0, 10.0, 100.0)


def _fit(x_ND, label_N, fold_N, num, *, strengths=STRENGTHS, dims=512, weight_N=None, block=37):
    """All steps in blocks; heads and standardised rows."""
    size = len(x_ND)
    columns = Columns(x_ND.shape[1])
    for start in range(0, size, block):
        columns.add(x_ND[start : start + block])
    scaling = columns.scaling()
    cut = [(slice(start, start + block), x_ND[start : start + block]) for start in range(0, size, block)]
    scaling = scaling.turned(cut, size, dims)
    sums = FoldSums(int(fold_N.max()) + 1, scaling.dim, num)
    for start in range(0, size, block):
        rows = slice(start, start + block)
        weight = None if weight_N is None else weight_N[rows]
        sums.add(scaling.apply(x_ND[rows]), label_N[rows], fold_N[rows], weight)
    z_ND = scaling.apply(x_ND)
    given_N = np.ones(size) if weight_N is None else weight_N
    return fit_heads(sums, Sample(z_ND, label_N, fold_N, given_N), strengths), z_ND


@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans(), st.sampled_from([6, 16]))
@settings(max_examples=15, deadline=None)
def test_they_are_the_heads_of_cross_fit(seed, folds, weighted, dims):
    rng = np.random.default_rng(seed)
    w = reference.world(150, 3, 0.2, seed=seed)
    fold_N = rng.permutation(np.arange(150) % folds)
    weight_N = rng.random(150) if weighted else None
    fit, z_ND = _fit(w.x_ND, w.label_N, fold_N, 3, dims=dims, weight_N=weight_N)
    x_ND = heads.standardise(w.x_ND, dims) / np.sqrt(w.x_ND.shape[1])
    others = [heads.cross_fit(x_ND, w.label_N, fold_N, 3, heads.ridge, (one,), weight_N) for one in STRENGTHS]
    other = min(others, key=lambda one: one.held_out_loss)
    assert fit.held_out_loss == pytest.approx(other.held_out_loss, abs=1e-3)
    other = others[STRENGTHS.index(fit.strength)]
    found = fit.log_probability(z_ND, fold_N)
    np.testing.assert_allclose(found, other.log_probability_NC, atol=2e-2)  # as far as conjugate gradients go
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0)


def test_in_sample_is_the_head_of_the_next_fold_which_saw_the_row():
    label_N = np.random.default_rng(0).integers(0, 2, 40)
    fold_N = np.arange(40) % 4
    fit, z_ND = _fit(np.eye(40), label_N, fold_N, 2, strengths=(1e-4,))
    inside_NC = fit.in_sample(z_ND, fold_N)
    assert (inside_NC.argmax(axis=1) == label_N).all()  # one direction for each row: all is known by heart
    for fold in range(4):
        rows = fold_N == fold
        logits = z_ND[rows] @ fit.beta_FDC[(fold + 1) % 4] + fit.prior_FC[(fold + 1) % 4]
        np.testing.assert_allclose(inside_NC[rows], heads.log_softmax(fit.scale * logits), atol=1e-5)


def test_each_fold_has_the_closed_form_of_the_others():
    w = reference.world(90, 3, 0.2)
    fold_N = np.arange(90) % 3
    fit, z_ND = _fit(w.x_ND, w.label_N, fold_N, 3, strengths=(10.0,))
    logits = np.zeros((90, 3))
    for fold in range(3):
        train, test = fold_N != fold, fold_N == fold
        one = np.ones(train.sum())
        logits[test] = reference.ridge(z_ND[train], w.label_N[train], one, z_ND[test], 3, 10.0)
    expected = heads.log_softmax(fit.scale * logits)
    np.testing.assert_allclose(fit.log_probability(z_ND, fold_N), expected, atol=1e-4)


def test_blocks_change_next_to_nothing():
    w = reference.world(200, 4, 0.3)
    fold_N = np.arange(200) // 4 % 5
    a, z_ND = _fit(w.x_ND, w.label_N, fold_N, 4, block=200)
    b, _ = _fit(w.x_ND, w.label_N, fold_N, 4, block=7)
    np.testing.assert_allclose(b.log_probability(z_ND, fold_N), a.log_probability(z_ND, fold_N), atol=1e-4)


def test_a_label_never_reaches_its_own_fold():
    w = reference.world(90, 3, 0.1)
    fold_N = np.arange(90) // 3 % 5
    a, _ = _fit(w.x_ND, w.label_N, fold_N, 3, strengths=(10.0,))
    poisoned = np.where(fold_N == 2, (w.label_N + 1) % 3, w.label_N)
    b, _ = _fit(w.x_ND, poisoned, fold_N, 3, strengths=(10.0,))
    np.testing.assert_array_equal(b.beta_FDC[2], a.beta_FDC[2])
    assert not np.array_equal(b.beta_FDC[1], a.beta_FDC[1])


def test_weights_take_images_out():
    w = reference.world(120, 3, 0.0)
    weight_N = np.where(np.arange(120) < 40, 0.0, 1.0)
    spoiled = np.where(weight_N == 0, (w.label_N + 1) % 3, w.label_N)
    fold_N = np.arange(120) // 3 % 5
    a, z_ND = _fit(w.x_ND, w.label_N, fold_N, 3, weight_N=weight_N)
    b, _ = _fit(w.x_ND, spoiled, fold_N, 3, weight_N=weight_N)
    np.testing.assert_array_equal(b.log_probability(z_ND, fold_N), a.log_probability(z_ND, fold_N))


def test_spread_of_columns_by_hand_and_of_columns_that_hardly_vary():
    """Rows (3, 4) and (4, 3) are (.6, .8) and (.8, .6): mean .7, spread .1, and D = 2."""
    columns = Columns(2)
    columns.add(np.array([[3.0, 4.0]]))
    columns.add(np.array([[8.0, 6.0]]))
    np.testing.assert_allclose(
        columns.scaling().apply(np.array([[3.0, 4.0]])), [[-1 / np.sqrt(2), 1 / np.sqrt(2)]]
    )
    same = Columns(3)
    same.add(np.ones((5, 3)))
    np.testing.assert_allclose(same.scaling().apply(np.ones((2, 3))), 0.0, atol=1e-6)
    with pytest.raises(ValueError, match="no rows"):
        Columns(3).scaling()
    assert unit_rows(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]


def test_without_weight_every_category_is_alike_and_one_fold_is_refused():
    w = reference.world(20, 2, 0.0)
    fit, z_ND = _fit(w.x_ND, w.label_N, np.arange(20) % 2, 2, weight_N=np.zeros(20))
    np.testing.assert_allclose(np.exp(fit.log_probability(z_ND, np.arange(20) % 2)), 0.5)
    with pytest.raises(ValueError, match="two folds"):
        _fit(w.x_ND, w.label_N, np.zeros(20, dtype=int), 2)


def test_a_sample_is_all_of_a_small_crawl_and_evenly_spaced_of_a_large_one():
    assert sample_rows(50, 1280, 14).tolist() == list(range(50))
    large = sample_rows(10**7, 1280, 100)
    assert len(large) == 2**23 // 100
    assert set(np.diff(large)) == {119, 120}
    assert len(sample_rows(10**7, 1280, 10**5)) == 4096
    assert len(sample_rows(0, 4, 2)) == 0


def test_directions_of_few_rows_are_those_of_many_dims():
    """From 30 rows of 50 dims: up to signs the same directions as from the products of dims with each other."""
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(30, 50)) * np.linspace(1, 3, 50) + rng.normal(size=(30, 4)) @ rng.normal(
        size=(4, 50)
    )
    columns = Columns(50)
    columns.add(x_ND)
    scaling = columns.scaling()
    wide = scaling.turned([(slice(0, 30), x_ND)], 30, 6)
    tall = scaling.turned_by(x_ND, 6)
    np.testing.assert_allclose(np.abs(tall.apply(x_ND)), np.abs(wide.apply(x_ND)), atol=1e-4)
    assert scaling.turned_by(x_ND, 100).dim == 29  # less their mean, 30 rows differ along 29 directions


def test_rows_that_do_not_differ_have_no_direction():
    columns = Columns(5)
    columns.add(np.ones((3, 5)))
    assert columns.scaling().turned_by(np.ones((3, 5)), 2).apply(np.ones((3, 5))).shape == (3, 0)
