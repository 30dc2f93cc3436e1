"""What decisions and a score are worth, given what each image truly shows.

An image is wrong where its true category is not its label, or where it is off topic. Images whose file is
bad are judged by their status alone; images that the truth calls uncertain are left out of every rate.

Shapes: N images in image order, M some of them, P planted pairs. A rate with nothing below it is NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.ops import metrics, policies
from webclean.ops.grouping import rows_by_code

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

OFF_TOPIC: Final = frozenset({"off-topic", "off_topic", "offtopic"})
_ABOUT_COPIES: Final = frozenset({schema.REASON_DUPLICATE, f"{schema.REASON_POLICY}:against"})


@dataclass(frozen=True, slots=True)
class Decided:
    """What the run says of each image.

    Attributes:
        category, status, reason: text of each.
        keep_N: whether it is kept.
        score_N: float64, higher = label right; NaN where there is none.
    """

    category: Sequence[str]
    status: Sequence[str]
    reason: Sequence[str]
    keep_N: Bools
    score_N: Floats


@dataclass(frozen=True, slots=True)
class Known:
    """What the truth says of each image.

    Attributes:
        matched_N: whether it speaks of the image at all.
        uncertain_N: whether it says that it does not know.
        category: the true one, None where it names none.
        kind: kind of fault of each, None where the truth knows no kinds.
    """

    matched_N: Bools
    uncertain_N: Bools
    category: Sequence[str | None]
    kind: Sequence[str | None] | None


class View:
    """Both side by side.

    Attributes:
        ok_N: the file is a usable image.
        judged_N: it takes part in the rates; wrong_N, right_N: what it is.
        ranked_N: it takes part and has a score.
        label_N: it takes part and was not dropped as a copy. A copy is dropped whether its label is right
            or wrong: that says nothing of the label.
    """

    def __init__(self, decided: Decided, known: Known) -> None:
        self.decided, self.known = decided, known
        self.ok_N = _equal(decided.status, schema.STATUS_OK)
        off_topic_N = np.zeros(len(self.ok_N), dtype=bool)
        if known.kind is not None:
            off_topic_N = np.asarray([kind in OFF_TOPIC for kind in known.kind], dtype=bool)
        is_said_N = off_topic_N | np.asarray([name is not None for name in known.category], dtype=bool)
        is_other_N = np.asarray(
            [true != label for true, label in zip(known.category, decided.category, strict=True)], dtype=bool
        )
        self.judged_N = known.matched_N & self.ok_N & is_said_N & ~known.uncertain_N
        self.wrong_N = self.judged_N & (off_topic_N | is_other_N)
        self.right_N = self.judged_N & ~self.wrong_N
        self.ranked_N = self.judged_N & ~np.isnan(decided.score_N)
        about_copies_N = np.asarray([reason in _ABOUT_COPIES for reason in decided.reason], dtype=bool)
        self.label_N = self.judged_N & ~about_copies_N


def counts(view: View) -> dict[str, int]:
    """How many images the truth speaks of, and why some take no part."""
    known = view.known
    return {
        "matched": int(known.matched_N.sum()),
        "bad_files": int((known.matched_N & ~view.ok_N).sum()),
        "uncertain": int((known.matched_N & view.ok_N & known.uncertain_N).sum()),
        "judged": int(view.judged_N.sum()),
        "without_score": int((view.judged_N & ~view.ranked_N).sum()),
    }


def ranking(view: View, *, is_probability: bool) -> dict[str, float | None]:
    """How well low scores find wrong images; the rates drop as many images as the decisions do.

    Args:
        view: the images.
        is_probability: the score is a probability that the label is right, so that it can be calibrated.
    """
    score_N, ranked_N, label_N = view.decided.score_N, view.ranked_N, view.label_N
    among_N = ranked_N & label_N
    share = float((~view.decided.keep_N[label_N]).mean()) if label_N.any() else 0.0
    taken = metrics.highest(-score_N[among_N], round(share * int(among_N.sum())))
    rates = metrics.detection(view.wrong_N[among_N], taken)
    calibration_error = None
    if is_probability:
        calibration_error = metrics.expected_calibration_error(
            view.right_N[ranked_N], np.clip(score_N[ranked_N], 0, 1)
        )
    return {
        "auroc": metrics.auroc(view.wrong_N[ranked_N], -score_N[ranked_N]),
        "average_precision": metrics.average_precision(view.wrong_N[ranked_N], -score_N[ranked_N]),
        "kept_fraction": 1.0 - share,
        "precision": rates.precision,
        "recall": rates.recall,
        "calibration_error": calibration_error,
    }


def reliability(view: View, p_N: Floats, among_N: Bools) -> dict[str, Any]:
    """The reliability curve of a probability, 15 bins of equal mass, and its expected calibration error.

    Args:
        view: the images.
        p_N: float64, said P(label right); NaN takes no part.
        among_N: images that take part.
    """
    row_M = np.flatnonzero(view.judged_N & among_N & np.isfinite(p_N))
    found = metrics.reliability(view.right_N[row_M], p_N[row_M])
    bins = zip(found.said_B.tolist(), found.came_B.tolist(), found.count_B.tolist(), strict=True)
    return {
        "error": found.error,
        "bins": [{"said": said, "right": came, "images": num} for said, came, num in bins],
    }


def decided(view: View) -> dict[str, float]:
    """What the decisions did to right and wrong images; rates of finding leave dropped copies aside."""
    keep_N = view.decided.keep_N
    rates = metrics.detection(view.wrong_N[view.label_N], ~keep_N[view.label_N])
    num_right, num_wrong = int(view.right_N.sum()), int(view.wrong_N.sum())
    right_label_N, kept_N = view.right_N & view.label_N, view.judged_N & keep_N
    return {
        "right": num_right,
        "wrong": num_wrong,
        "right_dropped": int((view.right_N & ~keep_N).sum()),
        "right_dropped_for_label": int((right_label_N & ~keep_N).sum()),
        "right_kept_for_label": mean(keep_N[right_label_N]),
        "wrong_dropped": int((view.wrong_N & ~keep_N).sum()),
        "precision": rates.precision,
        "recall": rates.recall,
        "purity_before": num_right / (num_right + num_wrong) if num_right + num_wrong else math.nan,
        "purity_after": mean(view.right_N[kept_N]),
    }


def by_reason(view: View) -> dict[str, dict[str, int]]:
    """Images, right and wrong ones, of each reason."""
    return {
        reason: {
            "images": len(row_M),
            "right": int(view.right_N[row_M].sum()),
            "wrong": int(view.wrong_N[row_M].sum()),
        }
        for reason, row_M in _rows_by_name(view.decided.reason).items()
    }


def by_category(view: View) -> dict[str, dict[str, Any]]:
    """The same questions inside each label."""
    return {
        name: {
            "judged": int(view.judged_N[row_M].sum()),
            **_dropped(view, row_M),
            "auroc": _auroc(view, row_M[view.ranked_N[row_M]]),
        }
        for name, row_M in _rows_by_name(view.decided.category).items()
    }


def by_kind(view: View) -> dict[str, dict[str, Any]] | None:
    """Each kind of fault: its wrong images are ranked against all right ones. None without kinds."""
    known = view.known
    if known.kind is None:
        return None
    found = {}
    for name, row_M in _rows_by_name([kind or "" for kind in known.kind], known.matched_N).items():
        auroc = None
        if view.wrong_N[row_M].any():
            against_N = view.right_N.copy()
            against_N[row_M] |= view.wrong_N[row_M]
            auroc = _auroc(view, np.flatnonzero(view.ranked_N & against_N))
        found[name] = {
            "images": len(row_M),
            "bad_files": int((~view.ok_N[row_M]).sum()),
            **_dropped(view, row_M),
            "auroc": auroc,
        }
    return found


def bad_files(view: View) -> dict[str, Any]:
    """Bad files by status, and by the kind of fault that the truth gives them."""
    status = view.decided.status
    kinds = view.known.kind or [None] * len(status)
    is_bad = [name != schema.STATUS_OK for name in status]
    by_status = Counter(name for name, bad in zip(status, is_bad, strict=True) if bad)
    both = Counter((kind or "", name) for kind, name, bad in zip(kinds, status, is_bad, strict=True) if bad)
    return {
        "by_status": dict(sorted(by_status.items())),
        "by_kind": [{"kind": k, "status": s, "images": n} for (k, s), n in sorted(both.items())],
    }


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies found and missed.

    Attributes:
        groups, images_in_groups: reported groups of more than one image.
        equal_groups, equal_groups_found: groups of equal bytes; those that one reported group holds whole.
        is_found_P: bool, whether a planted pair shares a group.
        outside_Q2: int64, reported pairs that neither planting nor equal bytes explain.
    """

    groups: int
    images_in_groups: int
    equal_groups: int
    equal_groups_found: int
    is_found_P: Bools
    outside_Q2: Ints


def copies(group_N: Ints, content_N: Ints, planted_P2: Ints) -> Copies:
    """Hold the reported groups against equal bytes and planted pairs.

    Args:
        group_N: int64 (N,), the reported group of each image, `policies.NO_GROUP` for none.
        content_N: int64 (N,), equal numbers for equal bytes, negative for unknown.
        planted_P2: int64 (P, 2), index pairs known to be copies.
    """
    equal = [row_M for _, row_M in rows_by_code(content_N, content_N >= 0) if len(row_M) > 1]
    found_in = [set(group_N[row_M].tolist()) for row_M in equal]
    together = [len(groups) == 1 and policies.NO_GROUP not in groups for groups in found_in]
    recovery = metrics.pair_recovery(group_N, planted_P2, content_N)
    size_G = np.unique(group_N[group_N != policies.NO_GROUP], return_counts=True)[1]
    return Copies(
        groups=int((size_G > 1).sum()),
        images_in_groups=int(size_G[size_G > 1].sum()),
        equal_groups=len(equal),
        equal_groups_found=sum(together),
        is_found_P=recovery.is_found_P,
        outside_Q2=recovery.outside_Q2,
    )


def top1(true: Sequence[Any], predicted: Sequence[str]) -> dict[str, Any]:
    """Share of images whose predicted category is the true one, in all and in each category."""
    hit_N = np.asarray([t == p for t, p in zip(true, predicted, strict=True)], dtype=bool)
    return {
        "images": len(hit_N),
        "top1": mean(hit_N),
        "by_category": {
            str(name): {"images": len(row_M), "top1": mean(hit_N[row_M])}
            for name, row_M in _rows_by_name(true).items()
        },
    }


def mean(flag_M: Bools) -> float:
    """The share that is true; NaN of nothing."""
    return float(flag_M.mean()) if len(flag_M) else math.nan


def _dropped(view: View, row_M: Ints) -> dict[str, int]:
    right_M, wrong_M, keep_M = view.right_N[row_M], view.wrong_N[row_M], view.decided.keep_N[row_M]
    return {
        "right": int(right_M.sum()),
        "wrong": int(wrong_M.sum()),
        "right_dropped": int((right_M & ~keep_M).sum()),
        "wrong_dropped": int((wrong_M & ~keep_M).sum()),
    }


def _auroc(view: View, row_M: Ints) -> float:
    return metrics.auroc(view.wrong_N[row_M], -view.decided.score_N[row_M])


def _equal(values: Sequence[str], wanted: str) -> Bools:
    return np.asarray([value == wanted for value in values], dtype=bool)


def _rows_by_name(names: Sequence[Any], among_N: Bools | None = None) -> dict[Any, Ints]:
    """Each name that occurs (among some images), sorted, with its images."""
    ordered = sorted(set(names))
    code_of = {name: code for code, name in enumerate(ordered)}
    code_N = np.asarray([code_of[name] for name in names], dtype=np.int64)
    return {ordered[code]: row_M for code, row_M in rows_by_code(code_N, among_N)}
