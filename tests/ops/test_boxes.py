import numpy as np
import pytest

from webclean.ops import boxes


def test_area_scores_by_hand():
    rois = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.5, 1.0]])
    np.testing.assert_allclose(boxes.area_scores(rois), [1.0, 0.5, 1.0])
    np.testing.assert_allclose(boxes.area_scores(rois[:1]), [1.0])


def test_pixels_and_areas_by_hand():
    share = np.array([[0.0, 0.25, 0.5, 1.0]])
    np.testing.assert_allclose(boxes.to_pixels(share, 200, 40), [[0, 10, 100, 40]])
    np.testing.assert_allclose(boxes.areas(share), [0.375])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((2, 3)), "shape"),
        (np.array([[0, 0, np.nan, 1]]), "not finite"),
        (np.array([[0.5, 0, 0.5, 1]]), "no area"),
    ],
)
def test_unusable_boxes_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        boxes.areas(bad)


def test_no_roi_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one ROI"):
        boxes.area_scores(np.zeros((0, 4)))
