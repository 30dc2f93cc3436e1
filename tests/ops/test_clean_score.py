"""One score from all evidence: parts that tell nothing add nothing, and what is missing hurts nobody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_judging as reference

from webclean.ops.clean_score import Evidence, Score, combine
from webclean.ops.heads import log_softmax
from webclean.ops.label_noise import calibrate

N, C = 1200, 4


@pytest.fixture(scope="module")
def world():
    return reference.world(N, C, 0.3)


def evidence(num: int = N, **known: Any) -> Evidence:
    """What is not named is absent; a judge that is named knows every image."""
    absent = np.full(num, np.nan)
    parts: dict[str, Any] = {
        "judge_NC": None, "neighbors_NC": None, "text_judge_NC": None, "similarity_N": absent,
        "rank_percentile_N": absent, "text_mass_N": absent, "somnet_N": absent,
        "judged_N": np.full(num, "judge_NC" in known or "neighbors_NC" in known),
        "has_text_N": np.full(num, "text_judge_NC" in known),
    }  # fmt: skip
    return Evidence(**parts | known)


def scored(label_N: np.ndarray, known: Evidence, categories: int = C, **options: Any) -> Score:
    options = {"neighbor_weight": 0.5, "topic_middle": -4.0} | options
    return combine(known, label_N, np.arange(len(label_N)) % 5, categories, **options)


def test_a_judge_alone_is_its_own_calibration(world):
    judge_NC = reference.judged(world, C)
    score = scored(world.label_N, evidence(judge_NC=judge_NC))
    expected = calibrate(judge_NC, world.label_N).p_right_N
    np.testing.assert_allclose(score.clean_N, expected)
    np.testing.assert_allclose(score.p_judge_N, expected)
    assert np.isnan(score.p_rank_N).all()
    assert (score.main_view, score.no_judge) == ("image", False)


def test_the_formula_literally(world):
    """Log-probabilities of image and text add, and the probability of being on topic multiplies."""
    rng = np.random.default_rng(0)
    judge_NC = reference.judged(world, C)
    likeness_N = 0.8 + 0.02 * rng.normal(size=N)
    likeness_N[:5] = 0.1
    text_NC = reference.judged(world, C, seed=7)
    score = scored(world.label_N, evidence(judge_NC=judge_NC, text_judge_NC=text_NC, similarity_N=likeness_N))
    weight = score.told["text-judge"]["weight"]
    assert 0.5 < weight < 4.0
    joint_N = calibrate(log_softmax(judge_NC + weight * text_NC), world.label_N).p_right_N
    np.testing.assert_allclose(
        score.clean_N, score.p_topic_N * joint_N, atol=1e-3
    )  # the weight is told rounded
    assert (score.clean_N[:5] < 0.01).all()


def test_every_informative_part_helps(world):
    right_N = ~world.wrong_N
    rng = np.random.default_rng(1)
    weak = {"sure": 2.0, "spread": 1.5}
    parts = {
        "judge_NC": reference.judged(world, C, **weak),
        "neighbors_NC": reference.judged(world, C, **weak, seed=2),
        "text_judge_NC": reference.judged(world, C, **weak, seed=3),
        "rank_percentile_N": np.clip(rng.uniform(size=N) + 0.2 * world.wrong_N, 0, 1),
        "somnet_N": rng.normal(size=N) + 1.5 * right_N,
    }
    before = 0.0
    for last in range(1, len(parts) + 1):
        score = scored(world.label_N, evidence(**dict(list(parts.items())[:last])))
        after = reference.auroc(score.clean_N, right_N)
        assert after > before - 0.002
        before = after
    assert before > 0.97
    assert (score.told["text-judge"]["gain"] > 0) & (score.told["somnet"]["weight"] > 0)


def test_shuffled_or_misleading_text_does_not_hurt(world):
    right_N, rng = ~world.wrong_N, np.random.default_rng(2)
    judge_NC = reference.judged(world, C, sure=3.0)
    text_NC = reference.judged(world, C, seed=3)
    shuffled_NC, misleading_NC = text_NC.copy(), text_NC.copy()
    for c in range(C):
        of_label = np.flatnonzero(world.label_N == c)
        shuffled_NC[of_label] = text_NC[rng.permutation(of_label)]
        wrong, right = of_label[world.wrong_N[of_label]], of_label[~world.wrong_N[of_label]]
        misleading_NC[wrong] = text_NC[rng.choice(right, len(wrong))]
    alone = reference.auroc(scored(world.label_N, evidence(judge_NC=judge_NC)).clean_N, right_N)
    for text in (shuffled_NC, misleading_NC):
        score = scored(world.label_N, evidence(judge_NC=judge_NC, text_judge_NC=text))
        assert reference.auroc(score.clean_N, right_N) > alone - 0.003


def test_suggestions_name_the_true_category(world):
    score = scored(world.label_N, evidence(judge_NC=reference.judged(world, C, sure=6.0)))
    sure_N = world.wrong_N & (score.suggested_probability_N > 0.5)
    assert sure_N.sum() > 0.8 * world.wrong_N.sum()
    assert (score.suggested_N[sure_N] == world.true_N[sure_N]).mean() > 0.97
    assert (score.suggested_N != world.label_N).all()
    assert (score.suggested_probability_N + score.clean_N <= 1 + 1e-9).all()


def test_text_is_the_main_view_where_there_are_no_features(world):
    text_NC = reference.judged(world, C)
    has_text_N = np.arange(N) % 3 > 0
    score = scored(world.label_N, evidence(text_judge_NC=text_NC, has_text_N=has_text_N))
    assert score.main_view == "text"
    assert reference.auroc(score.clean_N[has_text_N], ~world.wrong_N[has_text_N]) > 0.9
    assert np.isnan(score.p_text_judge_N[~has_text_N]).all()


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_lack_of_evidence_drops_nobody(share):
    """Images that no judge has an opinion of stay, also in a crawl that is mostly wrong."""
    w = reference.world(N, C, share)
    unknown_N = np.arange(N) < 100
    score = scored(w.label_N, evidence(judge_NC=reference.judged(w, C), judged_N=~unknown_N))
    assert (score.clean_N[unknown_N] >= 0.5).all()
    assert np.isnan(score.p_judge_N[unknown_N]).all()
    text = evidence(text_judge_NC=reference.judged(w, C), has_text_N=~unknown_N)
    assert (scored(w.label_N, text).clean_N[unknown_N] >= 0.5).all()


def test_what_no_judge_knows_teaches_nothing(world):
    """The rows of an unknown image are ignored, whatever stands in them."""
    judge_NC = reference.judged(world, C)
    rank_N = np.random.default_rng(0).uniform(size=N)
    known_N = np.arange(N) >= 200
    garbage_NC = np.where(known_N[:, None], judge_NC, judge_NC[:, ::-1])
    a = scored(world.label_N, evidence(judge_NC=judge_NC, judged_N=known_N, rank_percentile_N=rank_N))
    b = scored(world.label_N, evidence(judge_NC=garbage_NC, judged_N=known_N, rank_percentile_N=rank_N))
    np.testing.assert_array_equal(a.clean_N, b.clean_N)


@pytest.mark.parametrize("known", [{}, {"rank": True}, {"rank": True, "mass": True}])
def test_without_a_judge_rank_and_text_order_but_never_condemn(known):
    label_N = np.zeros(60, dtype=np.int64)
    rank_N = np.linspace(0, 1, 60) if "rank" in known else np.full(60, np.nan)
    mass_N = np.full(60, 0.4) if "mass" in known else np.full(60, np.nan)
    score = scored(label_N, evidence(60, rank_percentile_N=rank_N, text_mass_N=mass_N), categories=1)
    assert score.no_judge
    assert score.main_view == "none"
    assert ((score.clean_N >= 0.5) & (score.clean_N <= 1)).all()
    assert (np.diff(score.clean_N) <= 0).all()
    assert (score.suggested_N == -1).all()


def test_a_judge_that_knows_no_image_is_no_judge():
    score = scored(np.array([0, 1]), evidence(2, judge_NC=np.zeros((2, 2)), judged_N=np.zeros(2, bool)), 2)
    assert score.no_judge
    assert (score.clean_N >= 0.5).all()
    silent = evidence(
        2, judge_NC=np.zeros((2, 2)), text_judge_NC=np.zeros((2, 2)), has_text_N=np.zeros(2, bool)
    )
    assert np.isfinite(scored(np.array([0, 1]), silent, 2).clean_N).all()


def test_no_image_at_all():
    assert scored(np.zeros(0, dtype=np.int64), evidence(0), 2).clean_N.shape == (0,)


def test_ties_get_the_same_score(world):
    judge_NC = np.round(reference.judged(world, C), 1)
    score = scored(world.label_N, evidence(judge_NC=np.repeat(judge_NC[:600], 2, axis=0)))
    same_N = np.flatnonzero(world.label_N[:-1:2] == world.label_N[1::2])
    np.testing.assert_array_equal(score.clean_N[2 * same_N], score.clean_N[2 * same_N + 1])


def test_the_order_of_images_does_not_matter_when_folds_move_along(world):
    rng = np.random.default_rng(5)
    judge_NC, text_NC = reference.judged(world, C), reference.judged(world, C, seed=9)
    rank_N, order = rng.uniform(size=N), rng.permutation(N)
    fold_N = np.arange(N) % 5
    a = combine(
        evidence(judge_NC=judge_NC, text_judge_NC=text_NC, rank_percentile_N=rank_N),
        world.label_N, fold_N, C, neighbor_weight=0.5, topic_middle=-4.0,
    )  # fmt: skip
    b = combine(
        evidence(judge_NC=judge_NC[order], text_judge_NC=text_NC[order], rank_percentile_N=rank_N[order]),
        world.label_N[order], fold_N[order], C, neighbor_weight=0.5, topic_middle=-4.0,
    )  # fmt: skip
    np.testing.assert_allclose(b.clean_N, a.clean_N[order], atol=1e-9)


def test_what_is_brought_in_helps_where_it_knows_something_and_adds_nothing_where_not(world):
    rng = np.random.default_rng(3)
    judge_NC = reference.judged(world, C, sure=2.0, spread=1.5)
    right_N = ~world.wrong_N
    alone = scored(world.label_N, evidence(judge_NC=judge_NC))
    known_N = 10.0 * right_N + 5.0 * rng.normal(size=N)  # on any scale
    known_N[::7] = np.nan
    told = scored(world.label_N, evidence(judge_NC=judge_NC, further={"clip.score": known_N}))
    assert reference.auroc(told.clean_N, right_N) > reference.auroc(alone.clean_N, right_N) + 0.01
    assert told.told["clip.score"]["gain"] > 0
    assert told.told["clip.score"]["slope"] > 0
    turned = scored(world.label_N, evidence(judge_NC=judge_NC, further={"clip.score": -3.0 * known_N}))
    np.testing.assert_allclose(turned.clean_N, told.clean_N, atol=1e-6)
    nothing_N = np.full(N, 4.0)
    mute = scored(world.label_N, evidence(judge_NC=judge_NC, further={"clip.score": nothing_N}))
    np.testing.assert_allclose(mute.clean_N, alone.clean_N)
