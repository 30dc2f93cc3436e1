"""Noise by rank: bands, the fitted curve, and the depth worth keeping, by hand."""

from __future__ import annotations

import numpy as np

from webclean.ops.rank_noise import BANDS, by_band, depths, falling


def test_a_rise_is_pooled_with_what_stands_before():
    np.testing.assert_allclose(falling(np.array([0.9, 0.4, 0.6, 0.2])), [0.9, 0.5, 0.5, 0.2])
    np.testing.assert_allclose(falling(np.array([0.0, 1.0]), np.array([3.0, 1.0])), [0.25, 0.25])


def test_bands_count_ranked_images_and_their_fit_never_falls():
    percentile = np.array([0.0, 0.05, 0.95, 1.0, np.nan])
    found = by_band(percentile, np.array([1.0, 0.5, 0.8, 1.0, 0.0]))
    assert found.count_B.tolist() == [2, *[0] * (BANDS - 2), 2]
    np.testing.assert_allclose(found.wrong_B[[0, -1]], [0.25, 0.1])
    np.testing.assert_allclose(found.fitted_B[[0, -1]], [0.175, 0.175])  # pooled: later is not better
    assert np.isnan(found.wrong_B[1:-1]).all()


def test_depth_is_the_last_position_at_the_bar():
    lists = np.array([0, 0, 0, 0, 1, 1, 2])
    position = np.array([7, 1, 2, 5, 1, 2, 0])  # list 0 has gaps: bad files stood there
    p = np.array([0.1, 0.9, 0.4, 0.8, 0.2, 0.3, 0.9])
    # In order .9 .4 .8 .1, fitted .9 .6 .6 .1: positions 1, 2 and 5 stay; list 1 is nowhere at the bar.
    assert depths(lists, position, p, 0.5) == {0: (5, 7), 1: (0, 2)}
