"""Stage 2 as a stage: stage 1 times the match of prediction and label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from two_stage_run import TinyRun, image

from webclean import schema
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.stages import memorised

MATCH = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]])


def _run(folder: Path, num: int = 6, **fields: object) -> TinyRun:
    names = ["ape", "bear", "chair"]
    rows = [image(i, category=names[i % 3], query=names[i % 3], **fields) for i in range(num)]
    run = TinyRun(folder, rows)
    run.similarity(MATCH)
    return run


def test_weight_is_stage1_times_the_expected_match(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[1, 0, 0], [0.6, 0.4, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0.3, 0.3, 0.4]])
    _, first = run.stage1()
    counts, found = run.stage2(stage2_minimum_mean=0.0)
    assert counts.total == counts.forwarded == 6
    np.testing.assert_allclose(found["match_score"], [1, 0.6 * 0.5 + 0.4, 1, 0, 1, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(found["stage1_weight"], first["weight"])
    np.testing.assert_allclose(found["weight"], first["weight"] * found["match_score"])
    assert not found["no_judge"].any()
    assert run.ctx.result["mean_match_by_category"] == {"ape": 0.5, "bear": 0.85, "chair": 0.7}
    assert run.ctx.result["effective_samples"]["ape"] == 1


def test_without_a_judge_the_weight_is_stage_1(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.stage1()
    _, found = run.stage2()
    assert found["match_score"].tolist() == [1] * 6
    assert found["no_judge"].all()
    np.testing.assert_array_equal(found["weight"], found["stage1_weight"])
    assert any("no image judge" in note for note in run.notes)


def test_an_image_without_prediction_takes_the_median_of_its_category(tmp_path: Path) -> None:
    run = _run(tmp_path, num=9)
    chair = [0, 0, 1]
    run.predictions(
        "image", [[1, 0, 0], [1, 0, 0], chair, [0.5, 0, 0.5], None, chair, None, [1, 0, 0], chair]
    )
    run.stage1()
    _, found = run.stage2()
    np.testing.assert_allclose(found["match_score"], [1, 0.5, 1, 0.5, 0.5, 1, 0.75, 0.5, 1])
    assert found["no_judge"].tolist() == [False] * 4 + [True, False, True, False, False]


def test_bad_files_have_no_weight(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.images = [row | {"status": "empty" if i >= 4 else "ok"} for i, row in enumerate(run.images)]
    run.write("images", schema.IMAGES_TABLE, run.images)
    run.predictions("image", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    run.stage1()
    counts, found = run.stage2()
    assert counts.dropped == {"bad_file:empty": 2}
    assert found["weight"][4:].tolist() == [0, 0]
    assert found["no_judge"].tolist() == [False] * 4 + [True] * 2


def test_a_category_that_the_judge_denies_does_not_vanish(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[1, 0, 0], [0, 1, 0], [1, 0, 0]] * 2)  # no chair is ever a chair
    run.stage1()
    _, found = run.stage2(stage2_minimum_mean=0.1)
    np.testing.assert_allclose(found["match_score"], [1, 1, 0.1] * 2)
    assert run.ctx.result["categories_lifted"] == 1
    assert run.ctx.result["mean_match_by_category"]["chair"] == 0


def test_one_category_and_no_similarity(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i) for i in range(3)])
    run.predictions("image", [[1.0], [1.0], None])
    run.stage1()
    _, found = run.stage2()
    assert found["match_score"].tolist() == [1, 1, 1]


def test_kl_scores_are_shares_of_the_best_of_the_category(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    run.stage1()
    _, found = run.stage2(match_score="kl")
    score_N = found["match_score"]
    assert score_N[[0, 1, 2]].tolist() == [1, 1, 1]
    assert (score_N[[3, 4]] < 0.5).all()
    assert score_N[5] == 1


def test_keywords_come_from_the_category_texts(tmp_path: Path) -> None:
    run = _run(tmp_path)
    glosses = ["large hairy animal", "large hairy animal with claws", "furniture to sit on"]
    run.write(
        schema.SENSES,
        schema.SENSES_TABLE,
        [
            {
                "category_id": c, "name": name, "synset": None, "synsets": [], "lemmas": [name], "gloss": glosses[c],
                "parent": None, "head_word": None, "senses_found": [], "chosen_by": "only",
            }
            for c, name in enumerate(run.names)
        ],
    )  # fmt: skip
    run.predictions("image", [[0, 1, 0], [0, 1, 0], [0, 1, 0]] * 2)
    run.stage1()
    _, found = run.stage2(match_by="keywords", stage2_minimum_mean=0.0)
    assert 0.3 < found["match_score"][0] < 1
    assert found["match_score"][1:3].tolist() == [1, 0]


def _doubtful(folder: Path) -> TinyRun:
    """300 images of two categories: a judge too unsure of itself, a third of the labels wrong and known to be."""
    rng = np.random.default_rng(5)
    num = 300
    p_N = np.where(rng.random(num) < 0.5, 0.9, 0.1)  # of ape
    shown_N = np.where(rng.random(num) < p_N, 0, 1)
    wrong_N = rng.random(num) < 0.3
    names = ["ape", "bear"]
    run = TinyRun(
        folder, [image(i, category=names[c]) for i, c in enumerate(shown_N ^ wrong_N)], part_rows=64
    )
    unsure_N = p_N**0.5 / (p_N**0.5 + (1 - p_N) ** 0.5)  # as at T = 2
    run.predictions("image", [[p, 1 - p] for p in unsure_N])
    run.beliefs([0.0 if wrong else 1.0 for wrong in wrong_N])
    run.stage1()
    return run


def test_the_temperature_is_the_one_at_which_believed_labels_are_foretold_best(tmp_path: Path) -> None:
    run = _doubtful(tmp_path / "auto")
    _, found = run.stage2(match_by="label", stage2_minimum_mean=0.0, match_minimum=0.0)
    temperature = run.ctx.result["temperature"]
    assert temperature == pytest.approx(0.5, rel=0.2)
    sharp = 1 / (1 + (0.75 / 0.25) ** (-1 / temperature))  # the judge's two answers are .75 and .25
    np.testing.assert_allclose(np.unique(found["match_score"].round(5)), [1 - sharp, sharp], atol=1e-5)

    run = _doubtful(tmp_path / "given")
    _, given = run.stage2(match_by="label", stage2_minimum_mean=0.0, match_temperature=1.0)
    assert run.ctx.result["temperature"] == 1
    np.testing.assert_allclose(np.unique(given["match_score"].round(5)), [0.25, 0.75], atol=1e-5)


def test_a_few_images_say_nothing_of_a_temperature(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[0.9, 0.1, 0]] * 6)
    run.stage1()
    run.stage2()
    assert run.ctx.result["temperature"] == 1


def test_what_was_learnt_by_heart_is_told(tmp_path: Path) -> None:
    run = _run(tmp_path)
    unsure = [[0.6, 0.4, 0], [0.4, 0.6, 0], [0.3, 0.3, 0.4]] * 2
    run.predictions("image", unsure)
    run.inside([1, 2, 5], [[0, 1.0, 0], [0, 0.5, 0.5], [0, 0, 1.0]])
    run.stage1()
    run.stage2(match_by="label", stage2_minimum_mean=0.0)
    told = run.ctx.result["memorisation"]
    assert told == {"images": 3, "inside": 0.8333, "outside": pytest.approx((0.6 + 0.4 + 0.4) / 3, abs=1e-4)}
    note = next(note for note in run.notes if "by heart" in note)
    assert "0.83 for images that it was trained on and 0.47 for the same images out of sample" in note
    assert f"webclean weight {run.dir.url} --folds-images 1" in note


def test_a_judge_that_learns_little_by_heart_is_not_warned_of(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[0.6, 0.4, 0], [0.4, 0.6, 0], [0.3, 0.3, 0.4]] * 2)
    run.inside([1, 5], [[0.3, 0.7, 0], [0.3, 0.3, 0.4]])
    run.stage1()
    run.stage2(match_by="label", stage2_minimum_mean=0.0)
    assert run.ctx.result["memorisation"] == {"images": 2, "inside": 0.55, "outside": 0.5}
    assert not any("by heart" in note for note in run.notes)


def test_inside_and_outside_are_on_one_scale_for_kl(tmp_path: Path) -> None:
    run = _run(tmp_path)
    said = [[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    run.predictions("image", said)
    run.inside([0, 3], [said[0], said[3]])
    run.stage1()
    run.stage2(match_score="kl", stage2_minimum_mean=0.0)
    told = run.ctx.result["memorisation"]
    assert told["inside"] == told["outside"] > 0.5


def test_images_that_are_gone_are_refused(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.predictions("image", [[0.6, 0.4, 0]] * 6)
    run.inside([1], [[0.3, 0.7, 0]], image_ids=["f" * 33])
    run.stage1()
    with pytest.raises(ArtifactInvalidError, match="inside/image-r1 holds images that `images` does not"):
        run.stage2()


def test_the_remedy_follows_the_settings_of_the_judge(tmp_path: Path) -> None:
    run = _run(tmp_path)
    artefact = schema.predictions_path("image", 1)
    told = {"images": 9, "inside": 0.9, "outside": 0.5}
    base = {name: {} for name in ("fingerprint", "inputs", "digest", "counts", "result")}
    for config, flag in (
        ({"features": None, "folds_images": 45000}, "--folds-images 22500"),
        (
            {"features": "default", "head": "ridge", "judge_strengths": [1, 100]},
            "--judge-strengths 100,300,1000",
        ),
        (
            {"features": "default", "head": "logistic", "judge_strengths": [0.1, 1]},
            "--judge-strengths 0.01,0.0333333,0.1",
        ),
    ):
        run.dir.write_json(f"{artefact}/{schema.RUN_JSON}", base | {"config": config})
        memorised.warn(run.ctx, told, 1)
        assert run.notes[-1].endswith(flag)


def test_beliefs_of_other_images_are_refused(tmp_path: Path) -> None:
    run = _doubtful(tmp_path)
    run.images[70] = run.images[70] | {"image_id": "f" * 33}
    run.beliefs([1.0] * 300)
    with pytest.raises(ArtifactInvalidError, match=r"beliefs/r1/part-00001.parquet does not hold the usable"):
        run.stage2()


def test_in_sample_predictions_are_refused(tmp_path: Path) -> None:
    run = _run(tmp_path, num=3)
    run.predictions("image", [[1, 0, 0]] * 3, in_sample=True)
    run.stage1()
    with pytest.raises(ConfigError, match="in-sample predictions"):
        run.stage2()
