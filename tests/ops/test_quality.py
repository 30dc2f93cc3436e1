import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from webclean.ops import quality


def test_hand_worked_checkerboard():
    board = (np.indices((4, 4)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = quality.measure(board)
    assert found.brightness == 0.5
    assert found.contrast == pytest.approx(1.0)
    assert found.entropy == pytest.approx(1.0)
    assert found.sharpness == pytest.approx(4.0)  # Laplacians of +-4 in levels of 0 to 1


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_matches_literal_formulas(gray):
    found = quality.measure(gray)
    levels = gray.astype(float)
    assert found.brightness == pytest.approx(levels.mean() / 255, abs=1e-9)
    assert found.contrast == pytest.approx(levels.std() / 127.5, abs=1e-6)
    shares = [np.mean(gray == level) for level in np.unique(gray)]
    assert found.entropy == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-9)
    laplacians = [
        levels[y - 1, x] + levels[y + 1, x] + levels[y, x - 1] + levels[y, x + 1] - 4 * levels[y, x]
        for y in range(1, gray.shape[0] - 1)
        for x in range(1, gray.shape[1] - 1)
    ]
    expected = np.std(laplacians) / 255 if laplacians else 0.0
    assert found.sharpness == pytest.approx(expected, abs=1e-6)


@given(hnp.arrays(np.uint8, (6, 7)), st.integers(0, 3))
def test_turning_changes_nothing(gray, turns):
    turned = quality.measure(np.ascontiguousarray(np.rot90(gray, turns)))
    assert turned == quality.measure(gray)


def test_one_pixel():
    assert quality.measure(np.full((1, 1), 7, dtype=np.uint8)) == quality.Quality(7 / 255, 0.0, 0.0, 0.0)


def test_rejects_other_arrays():
    with pytest.raises(ValueError, match="non-empty"):
        quality.measure(np.zeros((0, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        quality.measure(np.zeros((3, 3)))


def test_is_gray_tolerates_noise_not_colour():
    gray = np.full((16, 16, 3), 100, dtype=np.uint8)
    gray[..., 0] += 5
    assert quality.is_gray(gray)
    gray[3, 3, 0] += 40
    assert not quality.is_gray(gray)
