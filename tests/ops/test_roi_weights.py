import numpy as np
import pytest
import reference_somnet as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from webclean.ops import roi_weights
from webclean.ops.roi_weights import Curriculum

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.just(6)),
    elements=st.integers(0, 1000).map(lambda v: v / 1000),
)
INITIAL = roi_weights.initial_weights(2, 3)


def test_initial_weights_are_the_images():
    np.testing.assert_allclose(INITIAL, [0.5, 0, 0, 0.5, 0, 0])


def test_selection_by_hand():
    score = np.array([[0.1, 0.4, 0.0, 0.3, 0.2, 0.0]])
    np.testing.assert_allclose(roi_weights.select_rois(score, 34, INITIAL), [[0, 4 / 9, 0, 3 / 9, 2 / 9, 0]])
    np.testing.assert_allclose(roi_weights.select_rois(score, 1, INITIAL), [[0, 1, 0, 0, 0, 0]])


@given(SCORES, st.floats(0.5, 100))
def test_selection_matches_the_literal_version(score, percent):
    weight = roi_weights.select_rois(score, percent, INITIAL)
    slow = [reference.roi_weights(row.tolist(), percent, INITIAL) for row in score]
    np.testing.assert_allclose(weight, slow, atol=1e-12)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    assert (weight >= 0).all()


@given(SCORES.map(lambda s: s + 0.01), st.floats(1, 100))
def test_the_kept_share_is_exact_and_the_scale_does_not_matter(score, percent):
    weight = roi_weights.select_rois(score, percent, INITIAL)
    assert ((weight > 0).sum(axis=1) == roi_weights.num_kept(6, percent)).all()
    np.testing.assert_allclose(roi_weights.select_rois(1e-200 * score, percent, INITIAL), weight)
    higher = score[:, :, None] > score[:, None, :]
    assert (weight[:, :, None] >= weight[:, None, :])[higher].all()


def test_equal_scores_kept_whole_are_uniform_and_ties_go_by_index():
    even = np.full((1, 6), 0.2)
    np.testing.assert_allclose(roi_weights.select_rois(even, 100, INITIAL), 1 / 6)
    np.testing.assert_allclose(roi_weights.select_rois(even, 30, INITIAL), [[0.5, 0.5, 0, 0, 0, 0]])


def test_a_bag_without_score_falls_back_to_its_images():
    np.testing.assert_allclose(roi_weights.select_rois(np.zeros((1, 6)), 50, INITIAL), [INITIAL])


def test_kept_number_has_no_rounding_surprises():
    assert roi_weights.num_kept(40, 10) == 4
    assert roi_weights.num_kept(46, 10) == 5
    assert [roi_weights.num_kept(100, p) for p in (7, 14, 28, 29, 55, 56, 57)] == [7, 14, 28, 29, 55, 56, 57]


def test_slot_scores_and_their_ablations():
    d, r = np.array([[0.7, 0.2]]), np.array([[0.4, 0.6]])
    np.testing.assert_allclose(roi_weights.slot_scores(d, r), [[0.28, 0.12]])
    np.testing.assert_allclose(roi_weights.slot_scores(d, r, "d"), d)
    np.testing.assert_allclose(roi_weights.slot_scores(d, r, "r"), r)


def test_curriculum_grows_and_stops_on_a_fall_above_forty():
    curriculum = Curriculum()
    assert [curriculum.percent(k) for k in (0, 1, 6, 7, 30)] == [10, 15, 40, 45, 100]
    assert not curriculum.is_over(6, [0.9, 0.5])
    assert curriculum.is_over(7, [0.9, 0.5])
    assert not curriculum.is_over(7, [0.5, 0.5])
    assert not curriculum.is_over(7, [0.5])


@pytest.mark.parametrize("score", [np.full((1, 6), np.nan), np.full((1, 6), -1.0), np.zeros((1, 5))])
def test_unusable_scores_are_refused(score):
    with pytest.raises(ValueError, match=r"scores|shape"):
        roi_weights.select_rois(score, 50, INITIAL)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="share of ROIs"):
        roi_weights.num_kept(5, 0)
    with pytest.raises(ValueError, match="one of d, r"):
        roi_weights.slot_scores(np.ones((1, 1)), np.ones((1, 1)), "x")
    with pytest.raises(ValueError, match="curriculum"):
        Curriculum(start=50, last=40)
