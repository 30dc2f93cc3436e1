"""The three judges on disk: out of sample, one row for every usable image, silent where they know nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun

from webclean import schema
from webclean.config import BelieveConfig, JudgeImageConfig, JudgeNeighborsConfig, JudgeTextConfig
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.io import tables
from webclean.ops import fold_heads, neighbors, text_heads
from webclean.stages import judge_image, judge_neighbors, judged
from webclean.stages.judged import fit_weights, read_usable
from webclean.stages.predictions import by_part, read_predictions, write_predictions

N, C = 240, 4


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A crawl of 240 images, a quarter wrong, with copies, bad files and silent images, judged once."""
    world = reference.world(N, C, 0.25)
    texts = [None if i % 10 == 0 else f"{'abcd'[c] * 6} photo" for i, c in enumerate(world.true_N)]
    made = JudgedRun(
        tmp_path_factory.mktemp("judges"), world, texts=texts, bad=[3, 77, 239], groups=[(0, 4, 8), (1, 2)]
    )
    made.features()
    made.judge(weights=False)
    return made


@pytest.mark.parametrize("judge", ["image", "neighbors", "text"])
def test_every_judge_finds_the_wrong_labels(done, judge):
    found = done.predictions(judge)
    assert found["image_id"].tolist() == [done.image_ids[i] for i in done.usable]
    known = np.isfinite(found["log_margin"].astype(float))
    right_N = ~done.world.wrong_N[done.usable]
    assert reference.auroc(found["log_margin"][known].astype(float), right_N[known]) > 0.9
    assert not found["in_sample"].any()
    parts = [done.run.list(schema.predictions_path(judge, 1)), done.run.list("images")]
    assert parts[0] == parts[1]


def test_copies_share_a_fold(done):
    for judge in ("image", "text"):
        fold = done.predictions(judge)["fold"]
        of = {i: fold[place] for place, i in enumerate(done.usable)}
        assert len({of[i] for i in (0, 4, 8) if of[i] >= 0}) <= 1
        assert len({of[i] for i in (1, 2)}) == 1
        assert set(fold) - {-1} == set(range({"image": 20, "text": 5}[judge]))


def test_an_image_without_text_gets_no_opinion(done):
    found = done.predictions("text")
    silent = np.array([i % 10 == 0 for i in done.usable])
    assert (found["fold"][silent] == -1).all()
    assert (found["fold"][~silent] >= 0).all()
    assert np.isnan(found["log_margin"][silent].astype(float)).all()
    record = done.run.read_json("predictions/text-r1/run.json")
    assert record["counts"]["dropped"] == {"bad_file": 3, "no_text": int(silent.sum()), "few_of_category": 0}


def test_a_large_crawl_is_judged_in_the_same_way(done, tmp_path, monkeypatch):
    """Sizes beyond which texts are chosen and neighbours sought in cells, lowered below this crawl's."""
    monkeypatch.setattr(text_heads, "LEARNT", 90)
    monkeypatch.setattr(text_heads, "_TRIED", 70)
    monkeypatch.setattr(neighbors, "EXACT", 60)
    monkeypatch.setattr(judge_neighbors, "EXACT", 60)
    monkeypatch.setattr(neighbors, "_DIRECTIONS", 8)
    monkeypatch.setattr(fold_heads, "_SAMPLE_LOGITS", 100)
    monkeypatch.setattr(fold_heads, "_LEAST_SAMPLE", 40)
    monkeypatch.setattr(judged, "BLOCK_ROWS", 30)
    made = JudgedRun(tmp_path, done.world, bad=sorted(done.bad), part_rows=41)
    made.features()
    made.judge(weights=False)
    for judge in ("image", "neighbors", "text"):
        margin_N, fold_N = (made.predictions(judge)[name].astype(float) for name in ("log_margin", "fold"))
        assert (fold_N >= 0).all()
        assert reference.auroc(margin_N, ~done.world.wrong_N[made.usable]) > 0.85
    assert any("too many to compare all" in note for note in made.notes)


def test_predictions_are_read_back_as_they_were(done):
    judgement = read_predictions(done.run, schema.predictions_path("image", 1), read_usable(done.run))
    found = done.predictions("image")
    np.testing.assert_allclose(np.exp(judgement.log_probability_NC).sum(axis=1), 1.0, atol=1e-5)
    label_N = done.world.label_N[done.usable]
    p_N = np.exp(judgement.log_probability_NC[np.arange(len(label_N)), label_N])
    np.testing.assert_allclose(p_N, found["label_probability"].astype(float), rtol=1e-5)
    assert (found["suggested"] != label_N).all()


def test_a_label_outside_the_best_categories_keeps_its_probability(done):
    """Read back as an even share of the rest, a label judged impossible would be one among many."""
    usable = read_usable(done.run)
    num = len(usable.image_ids)
    logits = np.random.default_rng(0).normal(scale=5.0, size=(num, C))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    log_p[:, :] = np.sort(log_p, axis=1)[:, ::-1]  # category 0 is best, C - 1 worst
    write_predictions(done.run, "predictions/few", usable, by_part(log_p, usable), np.zeros(num, int), top=2)
    found = read_predictions(done.run, "predictions/few", usable).log_probability_NC
    rows = np.arange(num)
    found_N, expected_N = (np.exp(p[rows, usable.label_N]) for p in (found, log_p))
    np.testing.assert_allclose(found_N, expected_N, rtol=1e-3)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=1e-5)
    assert (usable.label_N >= 2).any()


def test_predictions_of_other_images_are_refused(done):
    usable = read_usable(done.run)
    turned = replace(usable, image_ids=usable.image_ids.take(np.arange(len(usable.label_N))[::-1]))
    with pytest.raises(ArtifactInvalidError, match="usable images"):
        read_predictions(done.run, schema.predictions_path("image", 1), turned)


def test_some_images_are_also_judged_in_sample(done, monkeypatch):
    found = tables.read(done.run, "inside/image-r1", schema.PREDICTIONS_TABLE)
    assert found.column("image_id").to_pylist() == [done.image_ids[i] for i in done.usable]
    assert all(found.column("in_sample").to_pylist())
    outside = done.predictions("image")
    np.testing.assert_array_equal(found.column("fold").to_numpy(), outside["fold"])
    inside_N = found.column("label_probability").to_numpy()
    assert inside_N.mean() > outside["label_probability"].astype(float).mean()


def test_of_a_larger_crawl_evenly_spaced_images_are(done, tmp_path, monkeypatch):
    monkeypatch.setattr(judge_image, "_SEEN", 50)
    made = JudgedRun(tmp_path, done.world)
    made.features()
    for head, strengths in (("ridge", (10.0,)), ("logistic", (0.1,))):
        config = JudgeImageConfig(features="default", head=head, judge_strengths=strengths)
        made.execute("judge-image", config)
        ids = (
            tables.read(made.run, "inside/image-r1", schema.PREDICTIONS_TABLE).column("image_id").to_pylist()
        )
        assert ids == [made.image_ids[i * N // 50] for i in range(50)]


def test_a_rerun_is_skipped_and_force_gives_the_same_bytes(done):
    config = JudgeImageConfig(features="default")
    assert done.execute("judge-image", config).skipped
    before = done.run.read_json("predictions/image-r1/run.json")["digest"]
    done.execute("judge-image", config, force=True)
    assert done.run.read_json("predictions/image-r1/run.json")["digest"] == before


def test_both_heads_agree_on_what_is_wrong(done):
    done.execute(
        "judge-image", JudgeImageConfig(features="default", head="logistic", judge_strengths=(0.1, 1.0))
    )
    margin = done.predictions("image")["log_margin"].astype(float)
    assert reference.auroc(margin, ~done.world.wrong_N[done.usable]) > 0.9
    done.execute("judge-image", JudgeImageConfig(features="default"))


def test_a_category_smaller_than_the_folds_is_not_judged(tmp_path):
    """Four images of one category, two of them copies of each other: no judge has an opinion of them."""
    world = reference.world(64, 2, 0.0)
    world.label_N[:4] = world.true_N[:4] = 2
    made = JudgedRun(tmp_path, world, groups=[(0, 1)])
    made.features()
    made.judge(weights=False, judge_folds=4)
    for judge in ("image", "neighbors", "text"):
        found = made.predictions(judge)
        assert (found["fold"][:4] == -1).all()
        assert (found["fold"][4:] >= 0).all()
        assert (
            made.run.read_json(f"predictions/{judge}-r1/run.json")["counts"]["dropped"]["few_of_category"]
            == 4
        )
    assert np.isfinite(made.predictions("neighbors")["similarity"].astype(float)).all()


@pytest.mark.parametrize("case", ["one category", "one picture", "two images", "no text"])
def test_where_nothing_can_be_judged_nothing_is(tmp_path, case):
    num = {"one category": 30, "one picture": 6, "two images": 2, "no text": 40}[case]
    world = reference.world(num, 2, 0.0)
    if case == "one category":
        world.label_N[:] = 0
    groups = [tuple(range(6))] if case == "one picture" else []
    made = JudgedRun(tmp_path, world, groups=groups, texts=[None] * num if case == "no text" else None)
    made.features()
    made.judge(weights=False)
    judges = ["text"] if case == "no text" else ["image", "neighbors", "text"]
    for judge in judges:
        found = made.predictions(judge)
        assert len(found["fold"]) == num
        assert (found["fold"] == -1).all()
    assert "none" in made.run.read_json("predictions/text-r1/run.json")["result"]["judge"]


def test_features_that_saw_the_labels_are_refused(done, tmp_path):
    made = JudgedRun(tmp_path, done.world)
    made.features(label_free=False)
    for stage, config in (
        ("judge-image", JudgeImageConfig(features="default")),
        ("judge-neighbors", JudgeNeighborsConfig()),
    ):
        with pytest.raises(ConfigError, match="not label free"):
            made.execute(stage, config)


def test_nan_features_are_an_error(done, tmp_path):
    made = JudgedRun(tmp_path, done.world)
    x_ND = done.world.x_ND.copy()
    x_ND[17, 3] = np.nan
    made.features(x_ND)
    with pytest.raises(ArtifactInvalidError, match="1 vectors hold NaN"):
        made.execute("judge-image", JudgeImageConfig(features="default"))


def test_fit_weights_have_mean_one_in_each_category(done, tmp_path):
    made = JudgedRun(tmp_path, done.world, bad=[3])
    usable = read_usable(made.run)
    assert (fit_weights(made.context, 1, usable) == 1.0).all()
    weight = np.linspace(0, 1, N)
    weight[done.world.label_N == 2] = 0.0
    rows = [{"image_id": made.image_ids[i], "p_right": weight[i]} for i in made.usable]
    made.commit(schema.beliefs_path(1), schema.BELIEFS_TABLE, rows)
    found = fit_weights(made.context, 2, usable)
    for c in (0, 1, 3):
        assert found[usable.label_N == c].mean() == pytest.approx(1.0)
    assert (found[usable.label_N == 2] == 0.0).all()


def test_round_two_stands_beside_round_one(done):
    config = JudgeTextConfig(round=2)
    rows = [{"image_id": done.image_ids[i], "p_right": 1.0} for i in done.usable]
    done.commit(schema.beliefs_path(1), schema.BELIEFS_TABLE, rows)
    done.execute("judge-text", config)
    again = done.rows(schema.predictions_path("text", 2), schema.PREDICTIONS_TABLE)
    first = done.predictions("text")
    np.testing.assert_allclose(
        again["log_margin"].astype(float), first["log_margin"].astype(float), atol=1e-6
    )


@pytest.mark.parametrize(("features", "measured"), [("default", False), ("other", True)])
def test_likeness_is_measured_once_for_all_rounds_on_the_same_features(done, monkeypatch, features, measured):
    """No belief has a part in it; features of another network are another question."""
    rows = [{"image_id": done.image_ids[i], "p_right": (i % 7) / 7} for i in done.usable]
    done.commit(schema.beliefs_path(1), schema.BELIEFS_TABLE, rows)
    done.features(name="other")
    calls, likeness = [], judge_neighbors._likeness

    def counted(*given):
        calls.append(1)
        return likeness(*given)

    monkeypatch.setattr(judge_neighbors, "_likeness", counted)
    done.execute("judge-neighbors", JudgeNeighborsConfig(round=2, features=features))
    assert bool(calls) == measured
    again = done.rows(schema.predictions_path("neighbors", 2), schema.PREDICTIONS_TABLE)
    first = done.predictions("neighbors")
    np.testing.assert_array_equal(again["similarity"], first["similarity"])
    assert not np.allclose(again["log_margin"].astype(float), first["log_margin"].astype(float))


def test_beliefs_tell_right_labels_from_wrong_ones(done):
    """P(label right) of the usable images in their order; what is told of the crawl is their mean."""
    done.execute("believe", BelieveConfig())
    rows = done.rows(schema.beliefs_path(1), schema.BELIEFS_TABLE)
    assert rows["image_id"].tolist() == [done.image_ids[i] for i in done.usable]
    right_N = ~done.world.wrong_N[done.usable]
    assert reference.auroc(rows["p_right"].astype(float), right_N) > 0.9
    record = done.run.read_json(f"{schema.beliefs_path(1)}/run.json")
    assert record["result"]["judged"] == len(done.usable)
    assert record["result"]["wrong_share"] == pytest.approx(1 - rows["p_right"].mean(), abs=1e-4)
    assert record["counts"]["dropped"] == {"bad_file": 3}


def test_without_a_judge_of_images_every_label_is_believed(done, tmp_path):
    made = JudgedRun(tmp_path, done.world)
    made.execute("believe", BelieveConfig())
    rows = made.rows(schema.beliefs_path(1), schema.BELIEFS_TABLE)
    assert (rows["p_right"] == 1.0).all()
    assert made.run.read_json(f"{schema.beliefs_path(1)}/run.json")["result"]["wrong_share"] is None
