from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference_policies as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.config import ExportConfig
from webclean.ops import policies
from webclean.ops.policies import Policy, decide_keep, net_weight, relabel, settle_groups

NAN = float("nan")


def decide(score, category=None, policy=None, **given_):
    n = len(score)
    no = np.zeros(n, dtype=bool)
    values = {
        "clean_score_N": np.asarray(score, dtype=float),
        "category_N": np.zeros(n, dtype=int) if category is None else np.asarray(category),
        "status_N": ["ok"] * n,
        "duplicate_drop_N": no,
        "conflict_drop_N": no,
        "against_N": no,
        "policy": policy or Policy(),
    }
    verdicts = decide_keep(**(values | given_))
    assert verdicts.keep_N.dtype == bool
    return verdicts.keep_N.tolist(), verdicts.reason_N.tolist()


def test_the_default_drops_below_one_half_and_keeps_what_nobody_judged():
    assert decide([0.5, 0.49, 1.0, NAN]) == (
        [True, False, True, True],
        ["ok", "low_score", "ok", "ok"],
    )


def test_one_reason_each_in_the_order_of_precedence():
    yes = np.ones(6, dtype=bool)
    steps = {
        "status_N": ["excluded", "truncated", "ok", "ok", "ok", "ok"],
        "duplicate_drop_N": yes & [1, 1, 1, 0, 0, 0],
        "conflict_drop_N": yes & [1, 1, 1, 1, 0, 0],
        "against_N": yes & [1, 1, 1, 1, 1, 0],
    }
    assert decide([0.1] * 6, **steps)[1] == [
        "excluded", "bad_file:truncated", "duplicate", "label_conflict", "policy:against", "low_score",
    ]  # fmt: skip


def test_flags_speak_before_scores_and_are_not_given_back():
    flagged = {
        "blurry": np.array([True, False, True, False]),
        "dark": np.array([True, True, False, False]),
        "gray": np.ones(4, dtype=bool),  # nobody asked for it
    }
    policy = Policy(drop_flags=("blurry", "dark"), min_per_category=4)
    assert decide([0.9, 0.9, 0.1, 0.9], policy=policy, flagged=flagged) == (
        [False, False, False, True],
        ["policy:flag_blurry", "policy:flag_dark", "policy:flag_blurry", "ok"],
    )
    assert not policies.is_score_reason("policy:flag_blurry")


def test_target_purity_keeps_the_most_that_reaches_it():
    # means of the sorted prefixes: 1, .95, .9, .75
    assert decide([0.3, 0.9, 1.0, 0.8], policy=Policy(threshold=None, target_purity=0.9)) == (
        [False, True, True, True],
        ["policy:target-purity", "ok", "ok", "ok"],
    )


def test_target_purity_of_equal_scores_is_not_lost_to_rounding():
    assert all(decide([0.1] * 7, policy=Policy(threshold=None, target_purity=0.1))[0])


def test_keep_fraction_goes_by_category_and_rounds_up():
    keep, reason = decide(
        [0.9, 0.8, 0.7, 0.2, 0.1],
        category=[0, 0, 0, 1, 1],
        policy=Policy(threshold=None, keep_fraction=0.5),
    )
    assert keep == [True, True, False, True, False]
    assert reason[2] == "policy:keep-fraction"


def test_keep_fraction_is_not_raised_by_float_dust():
    keep, _ = decide(np.linspace(0, 1, 100), policy=Policy(threshold=None, keep_fraction=0.07))
    assert sum(keep) == 7


def test_bounds_per_category():
    keep, reason = decide(
        [0.9, 0.8, 0.7, 0.4, 0.3, 0.2],
        category=[0, 0, 0, 1, 1, 1],
        policy=Policy(min_per_category=2, max_per_category=2),
    )
    assert keep == [True, True, False, True, True, False]
    assert reason == ["ok", "ok", "policy:max-per-category", "ok", "ok", "low_score"]


def test_the_minimum_never_brings_back_copies_or_broken_files():
    keep, _ = decide(
        [0.1, 0.1, 0.1],
        status_N=["ok", "empty", "ok"],
        duplicate_drop_N=np.asarray([False, False, True]),
        policy=Policy(min_per_category=3),
    )
    assert keep == [True, False, False]


@pytest.mark.parametrize(
    "values",
    [{"threshold": 1.1}, {"target_purity": -0.1}, {"keep_fraction": 2.0}, {"min_per_category": -1},
     {"max_per_category": 0}, {"min_per_category": 5, "max_per_category": 4}],
)  # fmt: skip
def test_a_policy_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match="must"):
        Policy(**values)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one value an image"):
        decide([0.1, 0.2], status_N=["ok"])


def test_no_image_at_all():
    assert decide([]) == ([], [])


scores = st.one_of(st.just(NAN), st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0]), st.floats(0, 1))
fractions = st.one_of(st.none(), st.integers(0, 20).map(lambda k: k / 20))


@st.composite
def crawls(draw):
    n = draw(st.integers(0, 14))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    low = draw(st.integers(0, 3))
    return {
        "score": column(scores),
        "category": column(st.integers(0, 2)),
        "status": column(st.sampled_from(["ok", "ok", "ok", "ok", "excluded", "empty"])),
        "duplicate": column(st.booleans()),
        "conflict": column(st.sampled_from([False, False, True])),
        "against": column(st.sampled_from([False, False, False, True])),
        "flagged": {name: column(st.sampled_from([False, False, True])) for name in ("blurry", "dark")},
        "policy": Policy(
            threshold=draw(fractions),
            target_purity=draw(fractions),
            keep_fraction=draw(fractions),
            min_per_category=low,
            max_per_category=draw(st.one_of(st.none(), st.integers(max(low, 1), 5))),
            drop_duplicates=draw(st.booleans()),
            drop_against=draw(st.booleans()),
            drop_flags=draw(st.sampled_from([(), ("dark",), ("blurry", "dark")])),
        ),
    }


@given(crawls())
def test_decide_keep_matches_the_slow_reference(crawl):
    keep, reason = decide(
        crawl["score"],
        category=np.asarray(crawl["category"], dtype=int),
        status_N=crawl["status"],
        duplicate_drop_N=np.asarray(crawl["duplicate"], dtype=bool),
        conflict_drop_N=np.asarray(crawl["conflict"], dtype=bool),
        against_N=np.asarray(crawl["against"], dtype=bool),
        policy=crawl["policy"],
        flagged={name: np.asarray(values, dtype=bool) for name, values in crawl["flagged"].items()},
    )
    assert (keep, reason) == reference.decide_keep(**crawl)


@given(crawls())
def test_a_higher_threshold_never_keeps_more(crawl):
    kept = [
        sum(decide(crawl["score"], status_N=crawl["status"], policy=Policy(threshold=t))[0])
        for t in (0.0, 0.3, 0.6, 1.0)
    ]
    assert kept == sorted(kept, reverse=True)


def groups(group, keeper, category, score):
    settled = settle_groups(
        np.asarray(group, dtype=int),
        np.asarray(keeper, dtype=bool),
        np.asarray(category, dtype=int),
        np.asarray(score, dtype=float),
    )
    return settled.duplicate_drop_N.tolist(), settled.conflict_drop_N.tolist()


def test_inside_a_category_the_technical_keeper_stays_whatever_the_scores():
    assert groups([7, 7, -1], [False, True, False], [0, 0, 0], [0.9, 0.4, 0.1]) == (
        [True, False, False],
        [False, False, False],
    )


def test_across_categories_only_the_best_score_stays():
    assert groups([3, 3, 3], [False] * 3, [0, 1, 0], [0.2, 0.9, 0.3]) == ([False] * 3, [True, False, True])


def test_a_contradiction_nobody_judged_leaves_the_first():
    assert groups([3, 3], [False] * 2, [0, 1], [NAN, NAN]) == ([False] * 2, [False, True])
    assert groups([3, 3], [False] * 2, [0, 1], [0.4, NAN]) == ([False] * 2, [True, False])


@given(st.data())
def test_settle_groups_matches_the_slow_reference(data):
    n = data.draw(st.integers(0, 12))

    def column(values):
        return data.draw(st.lists(values, min_size=n, max_size=n))

    group, category, score = column(st.integers(-1, 3)), column(st.integers(0, 1)), column(scores)
    keeper, seen = [], set()
    for g in group:
        keeper.append(g not in seen and data.draw(st.booleans()))
        seen |= {g} if keeper[-1] else set()
    duplicate, conflict = groups(group, keeper, category, score)
    assert (duplicate, conflict) == reference.settle_groups(group, keeper, category, score)
    for g in set(group) - {-1}:
        members = [i for i in range(n) if group[i] == g]
        assert sum(not (duplicate[i] or conflict[i]) for i in members) == 1


def test_by_default_a_suggestion_moves_an_image_from_an_even_chance_on():
    done = relabel(
        np.zeros(4, dtype=np.int64),
        np.array([0.4, 0.4, 0.2, 0.55]),
        np.array([1, 1, 1, 1]),
        np.array([0.49, 0.5, 0.8, 0.45]),
        threshold=ExportConfig().relabel_threshold,
    )
    assert done.changed_N.tolist() == [False, True, True, False]
    # Nothing is won at an even chance, and nothing lost: a move weighs what it teaches on balance.
    np.testing.assert_allclose(net_weight(done.clean_score_N), [0.0, 0.0, 0.6, 0.1])


def test_relabel_moves_only_what_is_clearly_likelier_elsewhere():
    done = relabel(
        np.asarray([0, 0, 0, 0, 0]),
        np.asarray([0.1, 0.1, 0.85, NAN, 0.1]),
        np.asarray([1, 1, 1, 1, -1]),
        np.asarray([0.9, 0.7, 0.8, 0.9, NAN]),
        threshold=0.8,
    )
    assert done.changed_N.tolist() == [True, False, False, False, False]
    assert done.category_N.tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_equal(done.clean_score_N, [0.9, 0.1, 0.85, NAN, 0.1])
    with pytest.raises(ValueError, match="threshold"):
        relabel(*(np.zeros(1),) * 4, threshold=2.0)


def test_a_policy_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().threshold = 0.1


def test_soft_reasons():
    assert policies.is_score_reason("low_score")
    assert not policies.is_score_reason("duplicate")


def test_export_weights_by_hand():
    got = policies.export_weights(
        np.asarray([0.4, 0.0, 0.0, 0.0, 0.7]),
        np.asarray([True, True, False, False, False]),
        np.asarray([0.9, 0.9, 0.3, NAN, 0.8]),
    )
    np.testing.assert_allclose(got, [0.4, 0.0, 0.0, 1.0, 0.6], atol=1e-15)


def test_net_weight_is_what_a_label_teaches_on_balance():
    got = policies.net_weight(np.asarray([0.0, 0.5, 0.75, 1.0, NAN]))
    assert got.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
