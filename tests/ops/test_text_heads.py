"""Heads on sparse rows: those of `cross_fit` on a small crawl, and a fair choice of rows from a large one."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from webclean.ops import heads, text_heads
from webclean.ops.text_heads import fit_sparse, learnt_rows

STRENGTHS = (1.0, 10.0)


def _world(num, categories, seed=0):
    """Sparse rows of a world whose columns are mostly never met."""
    w = reference.world(num, categories, 0.2, seed=seed)
    x = sparse.lil_matrix((num, 1000))
    x[:, ::63] = w.x_ND / 4
    return w, sparse.csr_matrix(x)


@pytest.mark.parametrize("columns", [2, 128])
def test_they_are_the_heads_of_cross_fit(monkeypatch, columns):
    monkeypatch.setattr(text_heads, "_COLUMNS", columns)  # categories solved at once
    monkeypatch.setattr(text_heads, "_STEPS", 100)
    w, x = _world(120, 5)
    fold_N = np.arange(120) % 4
    weight_N = np.random.default_rng(0).random(120)
    other = heads.cross_fit(x, w.label_N, fold_N, 5, heads.ridge, STRENGTHS, weight_N)
    told = []
    fit = fit_sparse(x, w.label_N, fold_N, weight_N, 4, 5, STRENGTHS, on_fold=lambda: told.append(1))
    assert (fit.strength, len(told)) == (other.strength, 4)
    assert fit.scale == pytest.approx(other.scale)
    np.testing.assert_allclose(fit.log_probability(x, fold_N), other.log_probability_NC, atol=1e-9)
    assert len(fit.column_D) == 16


def test_a_row_that_was_not_learnt_from_is_judged_by_the_head_of_its_fold():
    w, x = _world(90, 3)
    fold_N = np.arange(90) % 3
    some = np.arange(0, 90, 2)
    fit = fit_sparse(x[some], w.label_N[some], fold_N[some], np.ones(45), 3, 3, (10.0,))
    train = some[fold_N[some] != 1]
    x_ND = x.toarray()
    one = np.ones(len(train))
    logits = reference.ridge(x_ND[train], w.label_N[train], one, x_ND[fold_N == 1], 3, 10.0)
    found = fit.log_probability(x[np.flatnonzero(fold_N == 1)], np.ones(30, dtype=int))
    np.testing.assert_allclose(found, heads.log_softmax(fit.scale * logits), atol=1e-2)


def test_eight_steps_order_images_as_precise_heads_do(monkeypatch):
    w, x = _world(400, 4)
    fold_N = np.arange(400) // 4 % 5
    coarse = fit_sparse(x.astype(np.float32), w.label_N, fold_N, np.ones(400), 5, 4, STRENGTHS)
    monkeypatch.setattr(text_heads, "_STEPS", 100)
    precise = fit_sparse(x, w.label_N, fold_N, np.ones(400), 5, 4, STRENGTHS)
    assert (coarse.beta_FDC.dtype, precise.beta_FDC.dtype) == (np.float32, np.float64)
    wrong = [
        reference.auroc(heads.log_margin(fit.log_probability(x, fold_N), w.label_N), ~w.wrong_N)
        for fit in (precise, coarse)
    ]
    assert wrong[1] == pytest.approx(wrong[0], abs=0.01)


def test_a_column_of_one_row_tells_nothing_of_the_others():
    w, x = _world(40, 2)
    fold_N = np.arange(40) % 2
    alone = sparse.csr_matrix((np.ones(1), ([7], [5])), x.shape)  # column 5 is of row 7 only
    fit = fit_sparse(x + alone, w.label_N, fold_N, np.ones(40), 2, 2, STRENGTHS)
    assert 5 not in fit.column_D
    same = fit_sparse(x, w.label_N, fold_N, np.ones(40), 2, 2, STRENGTHS)
    np.testing.assert_array_equal(fit.log_probability(x + alone, fold_N), same.log_probability(x, fold_N))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(5, 60), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_small_categories_stay_whole_and_all_keep_their_weight(counts, size, seed):
    label_N = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    among_N = np.ones(len(label_N), dtype=bool)
    among_N[: len(label_N) // 4] = False
    row_M, weight_M = learnt_rows(label_N, among_N, size)
    assert (np.diff(row_M) > 0).all()
    assert among_N[row_M].all()
    held_C = np.bincount(label_N[among_N], minlength=len(counts))
    taken_C = np.bincount(label_N[row_M], minlength=len(counts))
    assert len(row_M) <= max(size, len(counts))
    np.testing.assert_allclose(np.bincount(label_N[row_M], weight_M, minlength=len(counts)), held_C)
    assert (taken_C[held_C <= taken_C.max() - 1] == held_C[held_C <= taken_C.max() - 1]).all()
    if among_N.sum() <= size:
        assert (weight_M == 1.0).all()
        assert len(row_M) == among_N.sum()


def test_one_fold_is_refused():
    w, x = _world(20, 2)
    with pytest.raises(ValueError, match="two folds"):
        fit_sparse(x, w.label_N, np.zeros(20, dtype=int), np.ones(20), 1, 2, STRENGTHS)
