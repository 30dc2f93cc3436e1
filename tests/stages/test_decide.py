"""One row, one reason for every image; copies settled; evidence subsets; nothing stale, nothing lost."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun
from threadpoolctl import threadpool_limits

from webclean import schema
from webclean.config import DecideConfig, JudgeImageConfig
from webclean.stages.base import command_for

N, C = 300, 4
INSIDE, ACROSS = (0, 4, 8), (1, 2)
BAD = (3, 77, 299)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A quarter of 300 labels are wrong; three copies inside a category, two across, three bad files."""
    world = reference.world(N, C, 0.25)
    world.label_N[[*INSIDE, 1]], world.label_N[2] = world.true_N[[*INSIDE, 1]], 2
    world.true_N[2] = 1  # the picture that image 1 shows, under another label
    world.x_ND[[4, 8]], world.x_ND[2] = world.x_ND[0], world.x_ND[1]
    made = JudgedRun(tmp_path_factory.mktemp("decide"), world, bad=BAD, groups=[INSIDE, ACROSS])
    made.features()
    made.judge()
    return made


def test_every_image_has_one_row_and_one_reason(done):
    rows = done.decide()
    assert rows["image_id"].tolist() == done.image_ids
    for i, (keep, reason) in enumerate(zip(rows["keep"], rows["reason"], strict=True)):
        assert keep == (reason == "ok")
        assert (reason == "bad_file:corrupt") == (i in BAD)
    record = done.run.read_json("decisions/default/run.json")
    dropped = Counter(r for r in rows["reason"] if r != "ok")
    assert record["counts"] == {"total": N, "forwarded": int(rows["keep"].sum()), "dropped": dict(dropped)}


def test_scores_and_weights_are_in_range(done):
    rows = done.decide()
    ok = np.array([i not in BAD for i in range(N)])
    score = rows["clean_score"].astype(float)
    assert np.isnan(score[~ok]).all()
    assert ((score[ok] >= 0) & (score[ok] <= 1)).all()
    assert (rows["weight"][~rows["keep"]] == 0).all()
    np.testing.assert_allclose(rows["weight"][rows["keep"]], 2 * score[rows["keep"]] - 1)
    for name in ("p_rank", "p_text_judge", "p_judge", "p_neighbors", "p_topic"):
        part = rows[name].astype(float)
        assert np.isfinite(part[ok]).all(), name
        assert ((part[ok] >= 0) & (part[ok] <= 1)).all(), name
    assert np.isnan(rows["p_somnet"].astype(float)).all()


def test_it_finds_what_is_wrong_and_says_what_it_is(done):
    rows = done.decide()
    usable, wrong = np.array(done.usable), done.world.wrong_N
    assert reference.auroc(rows["clean_score"][usable].astype(float), ~wrong[usable]) > 0.97
    named = [i for i in usable if rows["suggested_category"][i] is not None]
    assert np.mean([rows["suggested_category"][i] == done.names[done.world.true_N[i]] for i in named]) > 0.9
    low = rows["reason"] == "low_score"
    assert (rows["clean_score"][low].astype(float) < 0.5).all()


def test_copies_are_settled(done):
    rows = done.decide()
    assert rows["reason"][list(INSIDE)].tolist() == ["ok", "duplicate", "duplicate"]
    assert rows["keep"][list(ACROSS)].sum() <= 1
    assert rows["reason"][2] == "label_conflict"
    assert rows["clean_score"][1] > rows["clean_score"][2]


def test_evidence_subsets_stand_under_their_own_name(done):
    everything = done.decide()
    image = done.decide(evidence=("image",))
    text = done.decide(evidence=("rank", "text"))
    assert {"default", "image", "rank-text"} <= set(done.run.list(schema.DECISIONS))
    for name in ("p_rank", "p_text_judge"):
        assert np.isnan(image[name].astype(float)).all()
    for name in ("p_judge", "p_neighbors", "p_topic"):
        assert np.isnan(text[name].astype(float)).all()
    usable, wrong = np.array(done.usable), done.world.wrong_N
    found = [
        reference.auroc(rows["clean_score"][usable].astype(float), ~wrong[usable])
        for rows in (everything, image, text)
    ]
    assert min(found) > 0.9
    assert found[0] >= found[1] - 0.005
    assert done.run.read_json("decisions/rank-text/run.json")["result"]["main_view"] == "text"


def test_rank_alone_condemns_nobody(done):
    rows = done.decide(evidence=("rank",))
    assert "low_score" not in rows["reason"]
    told = done.run.read_json("decisions/rank/run.json")["result"]
    assert told["no_judge"]
    assert told["wrong_share"] is None  # a score that only orders says nothing of it
    assert told["wrong_share_by_category"] == {}
    made_by = f"webclean weight {done.run.url} --evidence rank --decisions rank"
    assert command_for("decisions/rank", done.run) == made_by


def test_a_small_crawl_is_told_that_its_share_leans_low(tmp_path):
    made = JudgedRun(tmp_path, reference.world(60, 3, 0.25))
    made.features()
    made.judge()
    made.decide()
    assert any("60 usable images are few" in note for note in made.notes)


@pytest.mark.parametrize("by", ["stage1", "stages", "product"])
def test_weights_of_the_two_stages(done, by):
    rows = done.decide(weight_by=by, name=by)
    first = done.rows(schema.stage1_path(1), schema.STAGE1_TABLE)["weight"]
    both = done.rows(schema.stage2_path(1), schema.STAGE2_TABLE)["weight"]
    assert (first != both).any()
    net = 2 * rows["clean_score"].astype(float) - 1
    expected = {"stage1": first, "stages": both, "product": both * net}[by]
    np.testing.assert_allclose(rows["weight"], np.where(rows["keep"], expected, 0.0))


def test_the_threshold_is_a_knob(done):
    lenient, strict = (
        done.decide(keep_threshold=0.0, name="lenient"),
        done.decide(keep_threshold=1.0, name="strict"),
    )
    assert "low_score" not in lenient["reason"]
    assert strict["keep"].sum() == 0


def test_a_stale_input_is_left_out_and_said(tmp_path, done):
    made = JudgedRun(tmp_path, done.world, part_rows=100)
    made.features()
    made.judge(text=False, weights=False)
    assert np.isfinite(made.decide()["p_judge"].astype(float)).all()
    made.features(made.world.x_ND + 1.0)  # made again, so that the judges are older than their features
    rows = made.decide()
    assert np.isnan(rows["p_judge"].astype(float)).all()
    assert rows["keep"].all()
    assert any("predictions/image-r1 is left out" in note for note in made.notes)


def test_nothing_but_images_keeps_all_of_them(tmp_path):
    for num in (1, 2, 30):
        made = JudgedRun(tmp_path / str(num), reference.world(num, 2, 0.0))
        rows = made.decide()
        assert rows["reason"].tolist() == ["ok"] * num
        assert (rows["clean_score"] >= 0.5).all()


def test_images_of_a_tiny_category_stay(tmp_path):
    """Their judges saw next to none of them: that is no reason to drop one."""
    world = reference.world(120, 3, 0.2)
    world.label_N[:3] = world.true_N[:3] = 3
    made = JudgedRun(tmp_path, world)
    made.features()
    made.judge()
    rows = made.decide()
    assert rows["keep"][:3].all()
    assert (rows["weight"][:3] > 0).all()
    assert np.isnan(rows["p_judge"][:3].astype(float)).all()
    stage2 = made.rows(schema.stage2_path(1), schema.STAGE2_TABLE)
    assert stage2["no_judge"][:3].all()
    assert not stage2["no_judge"][3:].any()


def test_the_listing_order_of_a_crawl_changes_decisions_only_near_the_threshold(tmp_path, done):
    """Folds are dealt in image order, which is the order of source keys; other keys, other folds."""
    order = np.random.default_rng(0).permutation(N)
    world = reference.World(done.world.x_ND[order], done.world.true_N[order], done.world.label_N[order])
    made = JudgedRun(tmp_path, world)
    made.features()
    made.judge(weights=False)
    plain = JudgedRun(tmp_path / "plain", done.world)
    plain.features()
    plain.judge(weights=False)
    a, b = plain.decide()["clean_score"].astype(float)[order], made.decide()["clean_score"].astype(float)
    assert np.corrcoef(a, b)[0, 1] > 0.97
    assert ((a >= 0.5) == (b >= 0.5)).mean() > 0.95


@pytest.mark.slow
def test_one_and_two_threads_agree(tmp_path, done):
    """The third promise of sameness: scores within 1e-3, the same decisions but for those that close."""
    world = reference.world(600, 6, 0.25, apart=0.6)
    # As wide as real features, so that the products are large enough to be split over threads.
    world.x_ND = world.x_ND @ np.random.default_rng(0).normal(size=(16, 700)) + np.random.default_rng(
        1
    ).normal(size=(600, 700))
    scores = []
    for threads in (1, 2):
        made = JudgedRun(tmp_path / str(threads), world, part_rows=600)
        made.features()
        with threadpool_limits(threads):
            made.judge(weights=False)
            scores.append(made.decide()["clean_score"].astype(float))
    assert np.abs(scores[0] - scores[1]).max() < 1e-3
    same = (scores[0] >= 0.5) == (scores[1] >= 0.5)
    assert (np.abs(scores[0][~same] - 0.5) < 1e-3).all()


def test_decisions_follow_their_inputs(tmp_path, done):
    made = JudgedRun(tmp_path, done.world)
    made.features()
    made.judge(weights=False, text=False)
    config = DecideConfig()
    assert not made.execute("decide", config).skipped
    assert made.execute("decide", config).skipped
    made.execute("judge-image", JudgeImageConfig(features="default", ridge_folds=3))
    assert not made.execute("decide", config).skipped
