"""One temperature, from probabilities of which only the best are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import temperature as tp


def _terms(p_NC: np.ndarray, label_N: np.ndarray, top: int) -> tp.Terms:
    order_NK = np.argsort(-p_NC, axis=1, kind="stable")[:, :top]
    p_NK = np.take_along_axis(p_NC, order_NK, axis=1)
    return tp.likelihood_terms(order_NK, p_NK, label_N, p_NC[np.arange(len(p_NC)), label_N], p_NC.shape[1])


def _slow_loss(p_NC: np.ndarray, label_N: np.ndarray, weight_N: np.ndarray, temperature: float) -> float:
    power_NC = p_NC ** (1 / temperature)
    picked_N = (power_NC / power_NC.sum(axis=1, keepdims=True))[np.arange(len(p_NC)), label_N]
    return float(-(weight_N * np.log(picked_N)).sum() / weight_N.sum())


def test_loss_by_hand() -> None:
    terms = _terms(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1]), 2)
    assert tp.held_out_loss(terms, np.array([1.0, 0]), 1.0) == pytest.approx(-np.log(0.8))
    # squared: .64 and .04
    assert tp.held_out_loss(terms, np.array([1.0, 0]), 0.5) == pytest.approx(-np.log(0.64 / 0.68))
    assert tp.held_out_loss(terms, np.array([0, 3.0]), 0.5) == pytest.approx(np.log(2))
    assert tp.held_out_loss(terms, np.zeros(2), 0.5) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.2, 5))
def test_what_is_not_listed_counts_as_shared_evenly(seed: int, top: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    p_NC = rng.dirichlet(np.ones(5), 7) + 1e-3
    p_NC /= p_NC.sum(axis=1, keepdims=True)
    label_N, weight_N = rng.integers(0, 5, 7), rng.random(7) + 0.1
    kept_NC = np.zeros((7, 5), dtype=bool)
    kept_NC[np.arange(7)[:, None], np.argsort(-p_NC, axis=1, kind="stable")[:, :top]] = True
    kept_NC[np.arange(7), label_N] = True
    rest_N1 = np.where(kept_NC, 0, p_NC).sum(axis=1, keepdims=True)
    shared_NC = np.where(kept_NC, p_NC, rest_N1 / np.maximum((~kept_NC).sum(axis=1, keepdims=True), 1))
    found = tp.held_out_loss(_terms(p_NC, label_N, top), weight_N, temperature)
    assert found == pytest.approx(_slow_loss(shared_NC, label_N, weight_N, temperature), rel=1e-9)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_spoilt_the_probabilities_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    p_NC = rng.dirichlet(np.full(4, 0.7), 20_000)
    label_N = (p_NC.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    spoilt_NC = p_NC ** (1 / true_temperature)  # the same as logits / T
    spoilt_NC /= spoilt_NC.sum(axis=1, keepdims=True)
    found = tp.fitted_temperature(_terms(spoilt_NC, label_N, 4), np.ones(20_000))
    assert found == pytest.approx(1 / true_temperature, rel=0.03)


def test_labels_that_nobody_believes_do_not_count() -> None:
    rng = np.random.default_rng(1)
    p_NC = rng.dirichlet(np.full(4, 0.7), 4_000)
    label_N = (p_NC.cumsum(axis=1) < rng.random((4_000, 1))).sum(axis=1)
    wrong_N = rng.random(4_000) < 0.4
    noisy_N = np.where(wrong_N, (label_N + rng.integers(1, 4, 4_000)) % 4, label_N)
    terms = _terms(p_NC, noisy_N, 4)
    assert tp.fitted_temperature(terms, np.ones(4_000)) > 1.5
    assert tp.fitted_temperature(terms, 1.0 - wrong_N) == pytest.approx(1.0, rel=0.1)


def test_a_judge_that_is_always_right_is_not_sharpened_without_end() -> None:
    p_NC = np.full((50, 3), 0.1) + 0.7 * np.eye(3)[np.arange(50) % 3]
    assert tp.fitted_temperature(_terms(p_NC, np.arange(50) % 3, 3), np.ones(50)) == pytest.approx(
        tp.COLDEST, abs=0.01
    )


def test_nothing_to_go_by_changes_nothing() -> None:
    terms = _terms(np.full((4, 2), 0.5), np.zeros(4, dtype=np.int64), 2)
    assert tp.fitted_temperature(terms, np.zeros(4)) == 1
    with pytest.raises(ValueError, match="need 4 weights"):
        tp.fitted_temperature(terms, np.ones(3))
    with pytest.raises(ValueError, match="weights >= 0"):
        tp.fitted_temperature(terms, np.array([1, 1, 1, -1.0]))


def test_lots_with_lists_of_other_lengths_are_joined() -> None:
    p_NC, label_N = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]), np.array([0, 1])
    apart = [_terms(p_NC[:1], label_N[:1], 3), _terms(p_NC[1:], label_N[1:], 2)]
    assert tp.held_out_loss(tp.join(apart), np.ones(2), 2.0) == pytest.approx(
        tp.held_out_loss(_terms(p_NC, label_N, 3), np.ones(2), 2.0)
    )
