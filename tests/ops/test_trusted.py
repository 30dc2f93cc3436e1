"""The correction by trusted labels: by hand, against a slow search, its order kept, its draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import trusted
from webclean.ops.metrics import auroc, reliability


def log_posterior(slope, shift, p, right):
    total = -((slope - 1) ** 2) / (2 * trusted.SLOPE_SPREAD**2) - shift**2 / (2 * trusted.SHIFT_SPREAD**2)
    for one, is_right in zip(p, right, strict=True):
        odds = slope * math.log(one / (1 - one)) + shift
        total -= math.log1p(math.exp(-odds if is_right else odds))
    return total


def test_one_label_at_even_odds_moves_the_shift_alone():
    # Of an image at 1/2 the slope tells nothing: b solves b / 0.49 = 1 / (1 + e^b).
    found = trusted.fit(np.array([0.5]), np.array([True]))
    assert found.slope == pytest.approx(1.0, abs=1e-12)
    assert found.shift / 0.49 == pytest.approx(1 / (1 + math.exp(found.shift)), abs=1e-9)
    assert found.of(np.array([0.5]))[0] == pytest.approx(1 / (1 + math.exp(-found.shift)))


def test_no_other_slope_and_shift_are_more_probable():
    rng = np.random.default_rng(0)
    p, right = rng.uniform(0.02, 0.98, 40), rng.random(40) < 0.5
    found = trusted.fit(p, right)
    best = log_posterior(found.slope, found.shift, p, right)
    for slope in np.linspace(0.05, 2, 40):
        for shift in np.linspace(-2, 2, 41):
            assert log_posterior(slope, shift, p, right) <= best + 1e-9


def test_nothing_known_changes_nothing():
    p = np.array([0.1, 0.5, 0.9, np.nan])
    same = trusted.fit(np.zeros(0), np.zeros(0, dtype=bool)).of(p)
    np.testing.assert_allclose(same, p, atol=1e-12)


def test_an_overconfident_score_is_brought_down():
    rng = np.random.default_rng(1)
    true_p = rng.uniform(0.05, 0.95, 5000)
    right = rng.random(5000) < true_p
    said = true_p**3 / (true_p**3 + (1 - true_p) ** 3)  # thrice the log-odds
    seen = trusted.choose(said, 300, rng)
    rest = np.setdiff1d(np.arange(5000), seen)
    corrected = trusted.fit(said[seen], right[seen]).of(said)
    before, after = (reliability(right[rest], p[rest]).error for p in (said, corrected))
    assert after < 0.5 * before
    assert auroc(right[rest], corrected[rest]) == auroc(right[rest], said[rest])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30),
    st.lists(st.floats(0.001, 0.999), min_size=2, max_size=20),
)
def test_the_order_stays_and_values_are_probabilities(labels, p):
    said = np.array([one for one, _ in labels])
    found = trusted.fit(said, np.array([right for _, right in labels], dtype=bool))
    corrected = found.of(np.sort(np.array(p)))
    assert ((corrected >= 0) & (corrected <= 1)).all()
    assert (np.diff(corrected) >= 0).all()


@pytest.mark.parametrize("p", [np.array([np.nan]), np.array([1.1]), np.array([[0.5]])])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="must lie in|are needed"):
        trusted.fit(p, np.ones(1, dtype=bool))


def test_unsure_images_are_chosen_more_densely_and_every_one_at_most_once():
    p = np.concatenate([np.full(900, 0.999), np.full(100, 0.5), [np.nan] * 50])
    counts = np.zeros(len(p))
    for seed in range(200):
        chosen = trusted.choose(p, 60, np.random.default_rng(seed))
        assert len(np.unique(chosen)) == 60
        counts[chosen] += 1
    # Sizes sqrt(p q): .0316 and .5, so 100 x .5 of 78.5 in all fall to the unsure.
    assert counts[900:1000].sum() / 200 == pytest.approx(60 * 50 / 78.45, abs=0.6)
    assert counts[1000:].sum() == 0


def test_few_unsure_images_are_all_chosen():
    p = np.array([1.0] * 100 + [0.5] * 5)
    chosen = trusted.choose(p, 10, np.random.default_rng(0))
    assert set(range(100, 105)) <= set(chosen.tolist())
    assert len(chosen) == 10


def test_more_than_there_are_gives_all():
    assert trusted.choose(np.array([0.2, np.nan, 0.7]), 9, np.random.default_rng(0)).tolist() == [0, 2]


def test_a_draw_depends_on_its_seed_alone():
    p = np.random.default_rng(0).random(500)
    first, same, other = (trusted.choose(p, 50, np.random.default_rng(s)).tolist() for s in (3, 3, 4))
    assert first == same != other
