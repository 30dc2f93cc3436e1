"""The judge from scratch with its second voice: it hears it, out of sample, and says so; 0 patches leave it out."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun
from PIL import Image
from reference_patches import textures

from webclean import schema
from webclean.config import JudgeImageConfig
from webclean.nn import patches, scratch
from webclean.stages import patch_head
from webclean.stages.judged import Usable, read_usable

N, C = 96, 4
SHORT = {"folds_images": 1, "folds_width": 4, "folds_side": 16, "judge_strengths": (0.1, 1.0)}


@pytest.fixture
def crawl(tmp_path, monkeypatch):
    """Textures of four kinds, a quarter of their labels wrong, with copies and a broken file."""
    monkeypatch.setattr(patches, "_PATCHES", 2000)
    for module in (patches, scratch):
        monkeypatch.setattr(module, "_NUM_THREADS", 1)
    images, kind_N = textures(N)
    images[5] = images[4]
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{row:05d}.jpg", format="PNG")
    monkeypatch.chdir(tmp_path)
    label_N = reference.world(N, C, 0.25).label_N
    world = reference.World(np.zeros((N, 1)), kind_N, label_N)
    return JudgedRun(tmp_path / "run", world, bad=[7], groups=[(4, 5)]), images


def _auroc(made):
    margin_N = made.predictions("image")["log_margin"].astype(float)
    return reference.auroc(margin_N, ~made.world.wrong_N[made.usable])


def test_networks_that_learnt_little_are_helped(crawl):
    made, _ = crawl
    results, found = {}, {}
    for num in (0, 40):
        made.execute("judge-image", JudgeImageConfig(folds_patches=num, **SHORT))
        results[num] = made.run.read_json("predictions/image-r1/run.json")["result"]
        found[num] = _auroc(made)
    assert found[40] > 0.9
    assert found[0] < 0.75
    assert results[0]["judge"] == "3 small networks from scratch"
    assert results[40]["judge"] == "3 small networks from scratch, and a ridge head on 40 patches"
    assert results[40]["networks_held_out_loss"] == results[0]["held_out_loss"]
    assert results[40]["held_out_loss"] < results[0]["held_out_loss"]
    inside = made.rows(schema.inside_path("image", 1), schema.PREDICTIONS_TABLE)
    assert len(inside["image_id"]) == N - 1
    assert inside["in_sample"].all()
    # a head that was shown a wrong label believes it more than one that was not
    wrong_N = made.world.wrong_N[made.usable]
    by_heart = inside["log_margin"].astype(float) - made.predictions("image")["log_margin"].astype(float)
    assert by_heart[wrong_N].mean() > 0


def test_no_label_of_an_image_or_its_copy_reaches_its_own_judge(crawl, monkeypatch):
    """Up to the one scale of all, what is said of images 4 and 5, copies, does not change with their labels."""
    made, images = crawl
    config = JudgeImageConfig(folds_patches=40, folds_side=16, ridge_folds=6, judge_strengths=(1.0,))
    usable = read_usable(made.run)
    squares = images[made.usable]
    # Folds are drawn by label and group: the same ones here, so that nothing but the labels differs.
    fold_N = np.where(usable.group_N >= 0, 0, np.arange(len(squares)) % 6)
    monkeypatch.setattr(Usable, "folds", lambda *_: fold_N)
    judged = []
    for label in (0, 2):
        usable.label_N[[4, 5]] = label
        found = patch_head.judge_patches(
            config, made.context, usable, squares, np.ones(len(squares)), np.zeros(0, dtype=np.int64)
        )
        odds_NC = found.log_probability_NC - found.log_probability_NC[:, :1]
        judged.append(odds_NC / np.linalg.norm(odds_NC, axis=1, keepdims=True))
    np.testing.assert_allclose(judged[0][[4, 5]], judged[1][[4, 5]], atol=1e-4)
    assert np.abs(judged[0] - judged[1])[8:].max() > 1e-3


def test_features_that_are_not_held_are_made_alike(crawl, monkeypatch):
    """Directions come from some images; the others' features are made later, block by block."""
    made, images = crawl
    config = JudgeImageConfig(folds_patches=40, folds_side=16, judge_strengths=(1.0,))
    usable, squares = read_usable(made.run), images[made.usable]
    weight_N, seen_M = np.ones(len(squares)), np.arange(5)

    def judge():
        return patch_head.judge_patches(config, made.context, usable, squares, weight_N, seen_M)

    whole = judge()
    monkeypatch.setattr(patch_head, "_HELD", 70)
    monkeypatch.setattr(patch_head, "_BLOCK", 16)
    some = judge()
    assert some.log_probability_NC.shape == whole.log_probability_NC.shape == (N - 1, C)
    assert some.seen_MC.shape == (5, C)
    agree = some.log_probability_NC.argmax(axis=1) == whole.log_probability_NC.argmax(axis=1)
    assert agree.mean() > 0.85
    assert judge().log_probability_NC.tobytes() == some.log_probability_NC.tobytes()
