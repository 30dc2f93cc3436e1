import math

import numpy as np
import pytest

from webclean.ops import evaluation
from webclean.ops.evaluation import Decided, Known, View


@pytest.fixture
def view():
    """Right kept, right dropped as a copy, wrong dropped, off topic kept, uncertain, bad, unmatched."""
    decided = Decided(
        category=["cat", "cat", "cat", "dog", "dog", "dog", "dog"],
        status=["ok", "ok", "ok", "ok", "ok", "truncated", "ok"],
        reason=["ok", "duplicate", "low_score", "ok", "ok", "bad_file:truncated", "ok"],
        keep_N=np.array([True, False, False, True, True, False, True]),
        score_N=np.array([0.9, 0.8, 0.1, 0.4, 0.5, math.nan, 0.7]),
    )
    known = Known(
        matched_N=np.array([True] * 6 + [False]),
        uncertain_N=np.array([False] * 4 + [True, False, False]),
        category=["cat", "cat", "dog", None, "cat", "dog", None],
        kind=["as-crawled", "as-crawled", "wrong-category", "off-topic", "wrong-category", "truncated", None],
    )
    return View(decided, known)


def test_which_images_take_part(view):
    assert view.judged_N.tolist() == [True] * 4 + [False] * 3
    assert view.wrong_N.tolist() == [False, False, True, True, False, False, False]
    assert view.label_N.tolist() == [True, False, True, True, False, False, False]
    assert evaluation.counts(view) == {
        "matched": 6, "bad_files": 1, "uncertain": 1, "judged": 4, "without_score": 0,
    }  # fmt: skip


def test_rates_by_hand(view):
    decided = evaluation.decided(view)
    assert (decided["right"], decided["wrong"]) == (2, 2)
    assert (decided["precision"], decided["recall"]) == (1.0, 0.5)  # the copy says nothing of labels
    assert (decided["right_dropped"], decided["right_dropped_for_label"]) == (1, 0)
    assert (decided["purity_before"], decided["purity_after"]) == (0.5, 0.5)
    ranking = evaluation.ranking(view, is_probability=False)
    assert ranking["auroc"] == 1.0
    assert ranking["kept_fraction"] == pytest.approx(2 / 3)
    assert ranking["calibration_error"] is None
    assert evaluation.ranking(view, is_probability=True)["calibration_error"] is not None


def test_parts_add_up(view):
    by_category, by_kind = evaluation.by_category(view), evaluation.by_kind(view)
    assert sum(part["judged"] for part in by_category.values()) == 4
    assert list(by_kind) == ["as-crawled", "off-topic", "truncated", "wrong-category"]
    assert sum(part["images"] for part in by_kind.values()) == 6
    assert by_kind["off-topic"]["auroc"] == 1.0
    assert by_kind["truncated"]["auroc"] is None
    assert sum(part["images"] for part in evaluation.by_reason(view).values()) == 7
    assert evaluation.bad_files(view) == {
        "by_status": {"truncated": 1}, "by_kind": [{"kind": "truncated", "status": "truncated", "images": 1}],
    }  # fmt: skip


def test_copies_by_hand():
    found = evaluation.copies(
        np.array([0, 0, 1, -1, 0, -1]), np.array([0, 0, 1, 1, 2, -1]), np.array([[0, 4], [1, 5]])
    )
    assert (found.groups, found.images_in_groups) == (1, 3)
    assert (found.equal_groups, found.equal_groups_found) == (2, 1)
    assert found.is_found_P.tolist() == [True, False]
    assert found.outside_Q2.tolist() == []


def test_top1_of_all_and_of_each_category():
    found = evaluation.top1(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    assert found == {
        "images": 3, "top1": 2 / 3,
        "by_category": {"cat": {"images": 2, "top1": 0.5}, "dog": {"images": 1, "top1": 1.0}},
    }  # fmt: skip
    assert math.isnan(evaluation.top1([], [])["top1"])
