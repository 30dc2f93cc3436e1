import numpy as np
import pytest

from webclean.ops import boxes, proposals


def test_grid_starts_with_the_image_and_stays_inside():
    rois = proposals.grid_rois()
    assert rois.shape == (1 + 4 + 9 + 9, 4)
    np.testing.assert_array_equal(rois[0], [0, 0, 1, 1])
    assert (rois >= 0).all()
    assert (rois <= 1).all()
    np.testing.assert_allclose(boxes.areas(rois[1:5]), 0.36)
    assert rois[1:5, 0].min() == 0
    assert rois[1:5, 2].max() == 1


def test_one_window_of_a_scale_stands_in_the_middle():
    np.testing.assert_allclose(proposals.grid_rois(((1, 0.5),))[1], [0.25, 0.25, 0.75, 0.75])


def test_grid_is_its_own_mirror_image():
    rois = proposals.grid_rois()
    mirrored = np.stack([1 - rois[:, 2], rois[:, 1], 1 - rois[:, 0], rois[:, 3]], axis=1)
    assert sorted(map(tuple, rois.round(9))) == sorted(map(tuple, mirrored.round(9)))


def test_random_windows_are_usable_and_seeded():
    first = proposals.random_rois(50, np.random.default_rng(3))
    np.testing.assert_array_equal(first, proposals.random_rois(50, np.random.default_rng(3)))
    assert (first >= 0).all()
    assert (first <= 1).all()
    assert (boxes.areas(first[1:]) >= 0.25**2 - 1e-12).all()
    assert proposals.random_rois(0, np.random.default_rng(0)).shape == (1, 4)
    assert proposals.whole_image().shape == (1, 4)


def test_scales_out_of_range_are_refused():
    with pytest.raises(ValueError, match="a scale needs"):
        proposals.grid_rois(((2, 1.5),))
    with pytest.raises(ValueError, match="random windows need"):
        proposals.random_rois(-1, np.random.default_rng(0))
