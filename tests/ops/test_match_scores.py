"""Stage 2: does the prediction mean what the label means?"""

from __future__ import annotations

import numpy as np
import pytest
import reference_two_stage as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from webclean.ops import match_scores as ms

APPLE = np.array([1, 0.8, 0.7, 0.05, 0])  # apple, pear, orange, phone, laptop


def _matrix(match_CC: np.ndarray) -> ms.MatchMatrix:
    num = len(match_CC)
    a, b = np.divmod(np.arange(num * num), num)
    return ms.match_matrix(a, b, np.asarray(match_CC, dtype=float).ravel(), num)


def _apple() -> ms.MatchMatrix:
    match_CC = np.eye(5)
    match_CC[0], match_CC[:, 0] = APPLE, APPLE
    return _matrix(match_CC)


def _score(p: list[float], label: int, matrix: ms.MatchMatrix, *, k: int = 5, minimum: float = 0.05) -> float:
    order = np.argsort(-np.array(p), kind="stable")[:k]
    score_N = ms.expected_match(
        order[None], np.array(p)[order][None], np.array([label]), matrix, minimum=minimum
    )
    return float(score_N[0])


def test_the_apple_of_the_slides() -> None:
    assert _score([0.6, 0.2, 0.15, 0.05, 0], 0, _apple()) == pytest.approx(0.8675)
    assert _score([0.1, 0, 0, 0.7, 0.2], 0, _apple()) == pytest.approx(0.135)


def test_one_hot_predictions_give_the_matrix_and_small_scores_exact_zeros() -> None:
    for c, match in enumerate(APPLE):
        one_hot = [float(i == c) for i in range(5)]
        assert _score(one_hot, 0, _apple()) == (match if match >= 0.05 else 0)
    assert _score([0, 0, 0, 0.5, 0.5], 0, _apple()) == 0
    assert _score([0, 0, 0, 0.5, 0.5], 0, _apple(), minimum=0) == pytest.approx(0.025)


matrices = hnp.arrays(float, (4, 4), elements=st.floats(0, 1)).map(lambda m: np.maximum(m, np.eye(4)))
predictions = hnp.arrays(float, 4, elements=st.floats(0.001, 1)).map(lambda p: p / p.sum())


@given(matrices, predictions, st.integers(0, 3), st.integers(1, 4))
def test_scores_match_the_reference_and_are_bounded(
    match_CC: np.ndarray, p: np.ndarray, label: int, k: int
) -> None:
    match_CC[np.diag_indices(4)] = 1
    score = _score(p.tolist(), label, _matrix(match_CC), k=k, minimum=0)
    assert 0 <= score <= 1
    assert score == pytest.approx(reference.expected_match(p.tolist(), label, match_CC.tolist(), k, 0))


@given(predictions, predictions, st.floats(0, 1))
def test_with_all_categories_the_score_is_linear(p: np.ndarray, q: np.ndarray, t: float) -> None:
    matrix = _matrix(np.array([[1, 0.8, 0.3, 0], [0.8, 1, 0, 0.1], [0.3, 0, 1, 0], [0, 0.1, 0, 1]]))
    mixed = _score((t * p + (1 - t) * q).tolist(), 0, matrix, minimum=0)
    ends = (_score(v.tolist(), 0, matrix, minimum=0) for v in (p, q))
    assert mixed == pytest.approx(t * next(ends) + (1 - t) * next(ends))


@given(predictions, st.floats(0, 1))
def test_mass_that_moves_to_a_nearer_category_never_lowers_the_score(p: np.ndarray, share: float) -> None:
    matrix = _matrix(np.array([[1, 0.8, 0.3, 0], [0.8, 1, 0, 0], [0.3, 0, 1, 0], [0, 0, 0, 1.0]]))
    moved = p.copy()
    moved[3] -= share * p[3]
    moved[1] += share * p[3]
    before, after = (_score(v.tolist(), 0, matrix, minimum=0) for v in (p, moved))
    assert after >= before - 1e-12


def test_temperature_is_softmax_of_scaled_logits_on_the_top() -> None:
    logits = np.array([2.0, 1.0, 0.5, -1.0, -3.0])
    p = np.exp(logits) / np.exp(logits).sum()
    warm = np.exp(logits / 3)
    score_N = ms.expected_match(
        np.arange(5)[None], p[None], np.array([0]), _apple(), temperature=3.0, minimum=0
    )
    assert score_N[0] == pytest.approx(float((warm / warm.sum()) @ APPLE))


def test_short_and_empty_predictions() -> None:
    top_NK = np.array([[0, -1], [-1, -1], [3, 0]])
    p_NK = np.array([[0.2, 9.0], [0.5, 0.5], [0.0, 0.0]])
    score_N = ms.expected_match(top_NK, p_NK, np.zeros(3, int), _apple())
    np.testing.assert_array_equal(score_N, [1, np.nan, np.nan])


def test_bad_options_are_refused() -> None:
    nothing = (np.zeros((1, 1), int), np.ones((1, 1)), np.zeros(1, int), _apple())
    with pytest.raises(ValueError, match="temperature must be above 0"):
        ms.expected_match(*nothing, temperature=0)
    with pytest.raises(ValueError, match="minimum must be in"):
        ms.expected_match(*nothing, minimum=2)


def num_pairs(matrix: ms.MatchMatrix) -> int:
    """How many ordered pairs of different categories match at all."""
    return int(
        np.count_nonzero(matrix.key_P // matrix.num_categories != matrix.key_P % matrix.num_categories)
    )


def test_matrix_without_pairs_is_the_identity() -> None:
    none = np.zeros(0, int)
    matrix = ms.match_matrix(none, none, np.zeros(0), 1)
    assert matrix.lookup(np.array([0]), np.array([0])).tolist() == [1]
    assert num_pairs(matrix) == 0
    assert num_pairs(_apple()) == 6


@pytest.mark.parametrize(
    ("a", "b", "value", "message"),
    [
        ([0], [1], [1.5], "match values"),
        ([0], [2], [0.5], "category codes"),
        ([0, 0], [1, 1], [0.5, 0.5], "listed twice"),
    ],
)
def test_broken_pairs_are_refused(a: list, b: list, value: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ms.match_matrix(np.array(a), np.array(b), np.array(value), 2)


def test_keywords_match_categories_that_share_words() -> None:
    matrix = ms.keyword_matrix(["apple fruit tree", "pear fruit tree", "laptop computer", ""])
    m = matrix.lookup(*np.divmod(np.arange(16), 4)).reshape(4, 4)
    np.testing.assert_allclose(m, m.T)
    np.testing.assert_array_equal(np.diag(m), 1)
    assert 0 < m[0, 1] < 1
    assert m[0, 2] == m[0, 3] == 0


def test_keywords_keep_the_strongest_words_only() -> None:
    texts = ["apple fruit fruit", "pear fruit", "orange fruit"]  # `fruit` is common: least telling but once
    assert num_pairs(ms.keyword_matrix(texts, top=20)) == 6
    assert num_pairs(ms.keyword_matrix(["apple common", "pear common", "common"], top=1)) == 0


def test_keywords_of_empty_texts_match_nothing_else() -> None:
    assert num_pairs(ms.keyword_matrix(["", " - ", "the of"])) == 0


def test_consistency_matches_the_reference_and_falls_with_the_distance() -> None:
    semantic = np.array([[1.0, 0.5, 0.0]])
    scores = []
    for step in (0.0, 0.3, 0.6, 0.9):
        visual = np.array([[1.0 - step, 0.5, step]])
        score = ms.consistency(semantic, visual, epsilon=0.5, gamma=1.5)[0]
        assert score == pytest.approx(
            reference.consistency(semantic[0].tolist(), visual[0].tolist(), 0.1, 0.5, 1.5)
        )
        scores.append(score)
    assert scores[0] == pytest.approx(0.5**-1.5)
    assert (np.diff(scores) < 0).all()


@pytest.mark.parametrize("norm", ms.NORMS)
def test_consistency_of_equal_rows_is_the_best_also_with_zeros(norm: str) -> None:
    rows_NC = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    equal_N = ms.consistency(rows_NC, rows_NC, norm=norm, epsilon=2.0)
    np.testing.assert_allclose(equal_N, 0.5)
    other_N = ms.consistency(rows_NC, np.roll(rows_NC, 1, axis=1), norm=norm, epsilon=2.0)
    assert np.isfinite(other_N).all()
    assert (other_N <= 0.5 + 1e-12).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l3"}, "norm must be one of"),
        ({"epsilon": 0.0}, "epsilon must"),
        ({"gamma": -1.0}, "gamma must"),
    ],
)
def test_consistency_refuses_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ms.consistency(np.ones((1, 2)), np.ones((1, 2)), **options)


def test_dense_predictions_spread_the_rest() -> None:
    p_NC = ms.dense_predictions(np.array([[2, 0], [1, -1]]), np.array([[0.5, 0.3], [1.0, 7.0]]), 4)
    np.testing.assert_allclose(p_NC, [[0.3, 0.1, 0.5, 0.1], [0, 1, 0, 0]])
    np.testing.assert_allclose(ms.dense_predictions(np.array([[0]]), np.array([[1.0]]), 1), [[1.0]])


def test_only_the_label_itself_counts_where_nothing_matches():
    top = np.array([[0, 1, 2], [1, 0, 2]])
    p = np.array([[0.6, 0.3, 0.1], [0.9, 0.06, 0.04]])
    found = ms.expected_match(top, p, np.array([0, 0]), ms.only_itself(3), minimum=0.0)
    np.testing.assert_allclose(found, [0.6, 0.06])


def test_image_text_by_hand() -> None:
    log_p_NC = ms.image_text(np.array([[2.0, 0], [0, 0]]), np.array([[3.0, 0], [0, 1.0]]), 4.0)
    high = 1 / (1 + np.exp(-4.0))
    np.testing.assert_allclose(np.exp(log_p_NC), [[high, 1 - high], [0.5, 0.5]])
    with pytest.raises(ValueError, match="one length and a scale above 0"):
        ms.image_text(np.ones((1, 3)), np.ones((2, 2)), 1.0)
    with pytest.raises(ValueError, match="one length and a scale above 0"):
        ms.image_text(np.ones((1, 2)), np.ones((2, 2)), 0.0)


def test_label_match_is_the_labels_tempered_probability_with_exact_zeros() -> None:
    log_p_NC = np.log([[0.8, 0.2], [0.97, 0.03]])
    label_N = np.array([1, 1])
    np.testing.assert_allclose(ms.label_match(log_p_NC, label_N), [0.2, 0])
    np.testing.assert_allclose(ms.label_match(log_p_NC, label_N, minimum=0), [0.2, 0.03])
    np.testing.assert_allclose(ms.label_match(log_p_NC, label_N, temperature=0.5, minimum=0)[0], 0.04 / 0.68)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        ms.label_match(log_p_NC, label_N, temperature=0)
