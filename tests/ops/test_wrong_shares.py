"""Shares of wrong labels: by hand, and intervals that hold what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from webclean.ops import wrong_shares as ws


def test_by_hand():
    # Four images at 3/4: share 1/4, V = 4 x 3/16 + 1/4 = 1, half = 1.6449 sqrt(1 + LEAN^2) / 4.
    found = ws.wrong_shares(np.full(4, 0.75), np.zeros(4, dtype=np.int64), 2)
    assert found.share_C[0] == 0.25
    half = 1.6449 * np.sqrt(1 + 0.65**2) / 4
    np.testing.assert_allclose([found.low_C[0], found.high_C[0]], [0.0, 0.25 + half])
    assert np.isnan([found.share_C[1], found.low_C[1], found.high_C[1]]).all()


def test_nine_in_ten_hold_the_truth_where_categories_lean():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        odds = rng.normal(2.0, 2.0, 200)
        right = rng.random(200) < 1 / (1 + np.exp(-(odds + rng.normal(0, ws.LEAN))))
        found = ws.wrong_shares(1 / (1 + np.exp(-odds)), np.zeros(200, dtype=np.int64), 1)
        inside += found.low_C[0] <= 1 - right.mean() <= found.high_C[0]
    assert 0.86 <= inside / 400 <= 0.96


@pytest.mark.parametrize("p", [np.array([1.5]), np.array([np.nan]), np.array([0.5, 0.5])])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="one probability"):
        ws.wrong_shares(p, np.zeros(1, dtype=np.int64), 1)
