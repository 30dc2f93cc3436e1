"""Hashed TF-IDF rows of a crawl's own text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops.text_features import NUM_HASHED, text_features


def _cosine(fields, a=0, b=1):
    x = text_features(fields)
    return float((x[a] @ x[b].T).toarray()[0, 0])


def test_rows_are_unit_and_empty_texts_are_zero():
    x = text_features([["a red tent", "", "tent"]])
    assert x.shape == (3, NUM_HASHED)
    np.testing.assert_allclose(_norms(x), [1, 0, 1])


def _norms(x):
    return np.sqrt(np.asarray(x.multiply(x).sum(axis=1))).ravel()


def test_one_word_by_hand():
    """' ab ' has the n-grams ' ab', 'ab ', ' ab ': three equal columns of 1/sqrt(3)."""
    x = text_features([["ab"]])
    np.testing.assert_allclose(x.data, [1 / np.sqrt(3)] * 3)


def test_words_run_together_and_case_are_read():
    assert _cosine([["basketball court", "www.BasketBallCourt.com", "zebra"]]) > 0.3
    assert _cosine([["basketball court", "zebra"]]) == 0.0


def test_the_same_word_in_another_field_is_another_word():
    assert _cosine([["tennis", ""], ["", "tennis"]]) == pytest.approx(0.0)
    assert _cosine([["tennis", "tennis"], ["", ""]]) == pytest.approx(1.0)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_any_text_gives_finite_rows_that_move_with_their_image(texts):
    x = text_features([texts, texts])
    assert np.isfinite(x.data).all()
    assert ((np.abs(_norms(x) - 1) < 1e-9) | (_norms(x) == 0)).all()
    turned = text_features([texts[::-1], texts[::-1]])
    np.testing.assert_allclose(turned.toarray()[::-1][:, x.indices], x.toarray()[:, x.indices])


def test_no_text_at_all_and_no_field():
    assert text_features([["", ""]]).nnz == 0
    with pytest.raises(ValueError, match="one length"):
        text_features([])
    with pytest.raises(ValueError, match="one length"):
        text_features([["a"], ["a", "b"]])
