"""clean_score = P(label right), one documented combination of all evidence.

    log p(category) = log p_judge + b log p_neighbors + a log p_text        of the categories, renormalised
    log-odds = L + L_rank + L_somnet                 P = P(on topic) * sigmoid(log-odds)

L is the calibrated margin of the sum (`label_noise.calibrate`): image and text must agree on another category
to speak against a label. How far the text judge is believed, a, follows from how its margin rises with the
image view's P(label right): text that tells nothing, or names the query under every image, gets none
(`evidence.cross_slope`). Where it would talk wrong labels right it is not joined so: like rank, and the text's
keywords, it is then a view of its own, whose worth is learnt on L (`evidence.learn_trust`). SOMNet's score looks at the image as the judge does, so
what it adds to the judge, and takes from it, is learnt on text and rank (`evidence.relative_weight`). A part
that proves nothing on held-out images adds exactly nothing.

Shapes: N usable images, C categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean.ops.evidence import (
    Trust,
    cross_slope,
    learn_trust,
    logit,
    on_topic,
    relative_weight,
    sigmoid,
)
from webclean.ops.heads import blocks, log_margin, log_softmax
from webclean.ops.label_noise import Calibration, calibrate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Room = Callable[[tuple[int, int], Any], NDArray[Any]]
"""Makes an array (N, C) of a dtype: in memory, or in a file where it would not fit."""

_UNJUDGED_ODDS = float(np.log(2.0))  # the least that an image without any judge gets, see _without_judge
_MASS_FLOOR = 0.01  # keeps the log of a text mass finite
# Multiples of the slopes' ratio that the text judge is tried with: slopes tell a scale, and text that knows more than the
# image gets up to three times that where it leaves no more doubt (docs/decisions/0020).
_TEXT_SCALES = (0.5, 1.0, 1.5, 2.0, 3.0)
_ALIKE = 1.03  # doubts that differ by less are alike
_KEPT_WRONG = 0.9  # least part of the wrong labels found by images that must be left beside text
_LEAST_TEXT = 0.02  # text that is believed less is left out
_MARGIN, _ODDS = 8.0, 6.0  # beyond, a margin or log-odds says no more of the slope


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of N images. Judges: log-probabilities (N, C), None where absent; numbers: NaN.

    judged_N, has_text_N: where the image judges and the text judge have an opinion; elsewhere their rows
    are ignored.
    """

    judge_NC: Floats | None
    judged_N: Bools
    neighbors_NC: Floats | None
    text_judge_NC: Floats | None
    has_text_N: Bools
    similarity_N: Floats
    rank_percentile_N: Floats
    text_mass_N: Floats
    somnet_N: Floats
    further: Mapping[str, Floats] = field(default_factory=dict)
    """Numbers that a person brought in, by name; taken for a view of their own, as rank and text are."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """float64 (N,): clean_N in [0, 1]; p_* the parts, NaN where absent; suggested category and P of it."""

    clean_N: Floats
    p_judge_N: Floats
    p_neighbors_N: Floats
    p_topic_N: Floats
    p_rank_N: Floats
    p_mass_N: Floats
    p_text_judge_N: Floats
    p_somnet_N: Floats
    suggested_N: Ints
    suggested_probability_N: Floats
    no_judge: bool
    main_view: str
    told: dict[str, Any]
    prior_odds: float = 0.0
    """Log-odds of an image of which nothing is known."""
    further: Mapping[str, Floats] = field(default_factory=dict)
    """What each attached evidence says alone, as p_*."""

    def at(self, rows: slice) -> Score:
        """The scores of some of the images."""
        cut: dict[str, Any] = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        cut["further"] = {name: p_N[rows] for name, p_N in self.further.items()}
        return replace(self, **cut)


def combine(
    evidence: Evidence,
    label_N: Ints,
    fold_N: Ints,
    num_categories: int,
    *,
    neighbor_weight: float,
    topic_middle: float,
    room: Room = np.empty,
) -> Score:
    """P(label right) of every usable image, and what each part of the evidence said.

    Args:
        evidence: what is there.
        label_N: int64 labels, 0..C-1.
        fold_N: int64 folds in which trust is cross-fitted.
        num_categories: C.
        neighbor_weight: weight of the neighbours' log-probabilities beside the judge's.
        topic_middle: see `evidence.on_topic`.
        room: for the views that are joined.
    """
    num = len(label_N)
    unknown = np.full(num, np.nan)
    told: dict[str, Any] = {}
    topic_N = on_topic(evidence.similarity_N, label_N, topic_middle)
    p_judge_N = _alone(evidence.judge_NC, evidence.judged_N, label_N, room)
    p_neighbors_N = _alone(evidence.neighbors_NC, evidence.judged_N, label_N, room)
    image_NC = image_view(evidence.judge_NC, evidence.neighbors_NC, neighbor_weight, room)
    rank_N = -evidence.rank_percentile_N
    mass_N = np.log(evidence.text_mass_N + _MASS_FLOOR)
    text_N = unknown if evidence.text_judge_NC is None else log_margin(evidence.text_judge_NC, label_N)
    text_N = np.where(evidence.has_text_N, text_N, np.nan)

    main_NC, main_view, known_N = image_NC, "image", evidence.judged_N
    if main_NC is None and evidence.text_judge_NC is not None:
        main_NC, main_view, known_N = evidence.text_judge_NC, "text", evidence.has_text_N
    p_rank_N, p_mass_N, p_text_judge_N = unknown, unknown, unknown
    p_somnet_N = unknown
    if main_NC is None or not known_N.any():
        clean_N = topic_N * _without_judge(evidence)
        nobody = np.full(num, -1, dtype=np.int64)
        return Score(
            clean_N=clean_N, p_judge_N=unknown, p_neighbors_N=unknown,
            p_topic_N=np.where(np.isfinite(evidence.similarity_N), topic_N, np.nan), p_rank_N=unknown,
            p_mass_N=unknown, p_text_judge_N=unknown, p_somnet_N=unknown, suggested_N=nobody,
            suggested_probability_N=np.zeros(num), no_judge=True, main_view="none", told=told,
        )  # fmt: skip

    main = calibrate(rows_of(main_NC, known_N, room), label_N[known_N])
    told[main_view] = {"wrong_share_alone": round(main.wrong_share, 4)}
    prior_odds = float(logit(np.array([np.clip(main.p_right_N.mean(), 0.01, 0.99)]))[0])
    # Without an opinion an image stands where the crawl does, but lack of evidence condemns nobody.
    p_right_N = np.full(num, float(sigmoid(np.array([max(_UNJUDGED_ODDS, prior_odds)]))[0]))
    p_right_N[known_N] = main.p_right_N
    base_odds_N = logit(p_right_N)

    def alone(name: str, x_N: Floats) -> Floats:
        trust = _trusted([x_N], p_right_N, known_N, fold_N)
        told[name] = {"gain": _rounded(trust.gain), "slope": _rounded(float(trust.slopes_E[0]))}
        p_N = sigmoid(prior_odds + trust.log_odds_N)
        return np.where(np.isfinite(x_N), p_N, np.nan)

    view_NC, view_odds_N = main_NC, base_odds_N
    if main_view == "image" and np.isfinite(text_N).any():
        p_text_judge_N = alone("text-judge", text_N)
        weight = 0.0
        if told["text-judge"]["gain"] > 0:
            weight, joint_NC, joint_N = _with_text(
                main_NC, evidence, text_N, label_N, known_N, p_right_N, main.least_wrong, room
            )
        if weight > 0:
            view_NC = joint_NC
            view_odds_N = base_odds_N.copy()
            view_odds_N[known_N] = logit(joint_N)
        told["text-judge"]["weight"] = _rounded(weight)
    p_view_N = sigmoid(view_odds_N)
    side = []
    if np.isfinite(rank_N).any():
        p_rank_N = alone("rank", rank_N)
        side.append(rank_N)
    if main_view == "image" and np.isfinite(mass_N).any():
        p_mass_N = alone("mass", mass_N)
        if view_NC is main_NC:  # keywords are part of what the text judge reads
            side.append(mass_N)
    if main_view == "image" and view_NC is main_NC and np.isfinite(text_N).any():
        side.append(text_N)
    further = {}
    for name, x_N in evidence.further.items():
        if np.isfinite(x_N).any():
            further[name] = alone(name, x_N)
            side.append(x_N)
    side_odds_N = np.zeros(num)
    if side:
        trust = _trusted(side, p_view_N, known_N, fold_N)
        told["side"] = {"gain": _rounded(trust.gain), "slopes": [_rounded(float(s)) for s in trust.slopes_E]}
        side_odds_N = trust.log_odds_N
    odds_N = view_odds_N + side_odds_N
    if np.isfinite(evidence.somnet_N).any():
        present_N = np.isfinite(evidence.somnet_N)
        text_odds_N = np.zeros(num)
        if view_NC is not main_NC:
            text_odds_N = np.where(np.isfinite(p_text_judge_N), logit(p_text_judge_N) - prior_odds, 0.0)
        other_N = sigmoid(prior_odds + text_odds_N + side_odds_N)
        found = relative_weight(evidence.somnet_N, present_N, base_odds_N, other_N, fold_N)
        told["somnet"] = {"gain": _rounded(found.gain), "weight": _rounded(found.weight)}
        p_somnet_N = np.where(present_N, sigmoid(prior_odds + found.log_odds_N), np.nan)
        beyond_N = found.judge_scale * (base_odds_N - prior_odds) + found.log_odds_N
        odds_N = np.where(present_N, prior_odds + beyond_N + odds_N - base_odds_N, odds_N)
    clean_N = topic_N * sigmoid(odds_N)

    suggested_N, suggested_p_N = _suggest(view_NC, label_N, topic_N - clean_N)
    return Score(
        clean_N=clean_N, p_judge_N=p_judge_N, p_neighbors_N=p_neighbors_N,
        p_topic_N=np.where(np.isfinite(evidence.similarity_N), topic_N, np.nan), p_rank_N=p_rank_N,
        p_mass_N=p_mass_N,
        p_text_judge_N=np.where(known_N, p_right_N, np.nan) if main_view == "text" else p_text_judge_N,
        p_somnet_N=p_somnet_N, suggested_N=suggested_N, suggested_probability_N=suggested_p_N,
        no_judge=False, main_view=main_view, told=told, prior_odds=prior_odds, further=further,
    )  # fmt: skip


def image_view(
    judge_NC: Floats | None, neighbors_NC: Floats | None, neighbor_weight: float, room: Room = np.empty
) -> Floats | None:
    """Log-probabilities of the image judges, (N, C): judge plus weighted neighbours, renormalised; None without both."""
    if judge_NC is None:
        return neighbors_NC
    if neighbors_NC is None or neighbor_weight == 0.0:
        return judge_NC
    return _joined(judge_NC, neighbors_NC, neighbor_weight, np.ones(len(judge_NC), dtype=bool), room)


def _joined(one_NC: Floats, other_NC: Floats, weight: float, has_other_N: Bools, room: Room) -> Floats:
    """log p + weight log q of the images that have q, renormalised; of the first one's dtype, block by block."""
    joined_NC = room((one_NC.shape[0], one_NC.shape[1]), one_NC.dtype)
    for rows in blocks(one_NC.shape[0], one_NC.shape[1]):
        other_MC = np.where(has_other_N[rows, None], other_NC[rows], 0.0)
        joined_NC[rows] = log_softmax(one_NC[rows].astype(np.float64) + weight * other_MC)
    return joined_NC


def _with_text(
    main_NC: Floats,
    evidence: Evidence,
    text_N: Floats,
    label_N: Ints,
    known_N: Bools,
    p_right_N: Floats,
    least_wrong: float,
    room: Room,
) -> tuple[float, Floats, Floats]:
    """How much the text judge counts beside the image view, the view of both, and the known images' P(right).

    Both views' margins rise with P(label right): the image's own as `calibrate` has it, the text's as the
    image sees it. Their ratio is the weight at which both speak one language; of its multiples those are
    alike that leave next to least doubt, the mean of P (1 - P), and of these the largest is taken: what the
    image itself is unsure of makes text look weaker than it is. Text that names the query under wrong images
    would talk wrong labels right: a weight at which fewer are found wrong than by images alone is none.
    """
    text_NC = evidence.text_judge_NC
    assert text_NC is not None
    both_N = known_N & np.isfinite(text_N)
    if not both_N.any():
        return 0.0, main_NC, p_right_N[known_N]
    margin_M = np.clip(log_margin(rows_of(main_NC, known_N, room), label_N[known_N]), -_MARGIN, _MARGIN)
    odds_M = np.clip(logit(p_right_N[known_N]), -_ODDS, _ODDS)
    own = float(np.cov(margin_M, odds_M)[0, 1] / max(float(margin_M.var(ddof=1)), 1e-12))
    ratio = cross_slope(text_N[both_N], p_right_N[both_N]) / own if own > 0 else 0.0
    if ratio < _LEAST_TEXT:
        return 0.0, main_NC, p_right_N[known_N]

    def joined(weight: float) -> tuple[Floats, Calibration]:
        joint_NC = _joined(main_NC, text_NC, weight, evidence.has_text_N, room)
        return joint_NC, calibrate(rows_of(joint_NC, known_N, room), label_N[known_N])

    doubts = {}
    for scale in _TEXT_SCALES:
        found = joined(scale * ratio)[1]
        if found.least_wrong >= _KEPT_WRONG * least_wrong:
            doubts[scale] = float((found.p_right_N * (1.0 - found.p_right_N)).mean())
    if not doubts:
        return 0.0, main_NC, p_right_N[known_N]
    weight = ratio * max(scale for scale, doubt in doubts.items() if doubt <= _ALIKE * min(doubts.values()))
    joint_NC, found = joined(weight)
    return weight, joint_NC, found.p_right_N


def rows_of(log_probability_NC: Floats, known_N: Bools, room: Room) -> Floats:
    """The known rows; no copy where that is all of them."""
    if known_N.all():
        return log_probability_NC
    num, num_categories = log_probability_NC.shape
    known_MC = room((int(known_N.sum()), num_categories), log_probability_NC.dtype)
    end = 0
    for rows in blocks(num, num_categories):
        some = log_probability_NC[rows][known_N[rows]]
        known_MC[end : end + len(some)] = some
        end += len(some)
    return known_MC


def _alone(log_probability_NC: Floats | None, known_N: Bools, label_N: Ints, room: Room) -> Floats:
    p_N = np.full(len(label_N), np.nan)
    if log_probability_NC is not None and known_N.any():
        p_N[known_N] = calibrate(rows_of(log_probability_NC, known_N, room), label_N[known_N]).p_right_N
    return p_N


def _trusted(evidences: list[Floats], p_right_N: Floats, known_N: Bools, fold_N: Ints) -> Trust:
    x_NE = np.stack(evidences, axis=1)
    return learn_trust(x_NE, np.isfinite(x_NE), p_right_N, fold_N, known_N)


def _without_judge(evidence: Evidence) -> Floats:
    """With one category, or no judge at all, rank and text can order images but never condemn one."""
    rank_N = np.where(np.isfinite(evidence.rank_percentile_N), 1.0 - evidence.rank_percentile_N, 0.5)
    mass_N = np.where(np.isfinite(evidence.text_mass_N), evidence.text_mass_N, 0.5)
    score_N: Floats = 0.5 + 0.5 * (1.0 + rank_N + np.clip(mass_N, 0.0, 1.0)) / 3.0
    return score_N


def _suggest(view_NC: Floats, label_N: Ints, wrong_N: Floats) -> tuple[Ints, Floats]:
    """The likeliest category other than the label, and its share of P(on topic and label wrong)."""
    suggested_N, share_N = np.empty(len(label_N), dtype=np.int64), np.empty(len(label_N))
    for rows in blocks(view_NC.shape[0], view_NC.shape[1]):
        others_MC = np.array(view_NC[rows], dtype=np.float64)
        at = np.arange(len(others_MC))
        others_MC[at, label_N[rows]] = -np.inf
        share_MC = np.exp(log_softmax(others_MC))
        suggested_N[rows] = share_MC.argmax(axis=1)
        share_N[rows] = share_MC[at, suggested_N[rows]]
    return suggested_N, np.clip(wrong_N, 0.0, 1.0) * share_N


def _rounded(value: float) -> float:
    return round(value, 5)
