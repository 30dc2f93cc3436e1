"""What a stage opens is what it declares: an input too few goes stale unseen, one too many for nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from webclean import config, schema
from webclean.engines.local import InlineEngine
from webclean.io import sentence, tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import Context, execute
from webclean.stages.chain import BY_NAME, CHAIN

COLOURS = {"blue": (30, 40, 200), "red": (210, 50, 40)}
IMAGES = 16


class Letters:
    """A stand-in for the sentence encoder: a text is the counts of its letters."""

    identity = "letters"

    def encode(self, texts):
        letters = "abcdefghijklmnopqrstuvwxyz"
        rows = np.array([[text.count(letter) for letter in letters] for text in texts]).reshape(
            -1, len(letters)
        )
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    def close(self):
        pass


@pytest.fixture
def manifest(tmp_path):
    """A crawl of 16 pictures of two colours with titles and ranks, two of them equal."""
    rows = [("path", "category", "rank", "title")]
    for i in range(IMAGES):
        name = sorted(COLOURS)[i % 2]
        rng = np.random.default_rng(0 if i == 2 else i)  # number 2 is number 0 again
        coarse = np.array(COLOURS[name]) + rng.normal(0, 25, (6, 6, 3))
        picture = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((48, 48))
        picture.save(tmp_path / f"{i:02d}.png")
        rows.append((f"{i:02d}.png", name, i // 2 + 1, f"a {name} square, view {'abcdefgh'[i // 2]}"))
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    scores = "".join(f"{i:02d}.png,{i / IMAGES}\n" for i in range(IMAGES))
    (tmp_path / "scores.csv").write_text(f"path,score\n{scores}")
    return str(tmp_path / "manifest.csv")


def plan(manifest, weights):
    """Each stage in the order of the chain, under all settings that make it read something else."""
    features = {"features": "default"}
    small = {
        "backbone": "small", "weights": "none", "image_side": 32, "epochs": 2, "warmup_epochs": 1, "memory_side": 2,
        "batch_images": 8, "images_per_bag": 2, "threads": 1, "folds": 2, "repeats": 1,
    }  # fmt: skip
    yield "ingest", config.IngestConfig(source=manifest)
    yield "dedup", config.DedupConfig()
    yield "quality", config.QualityConfig()
    yield "attach", config.AttachConfig(table=str(Path(manifest).with_name("scores.csv")), name="scores")
    yield "features", config.FeaturesConfig(backbone="mobilenet_v3_small", weights=weights)
    yield "similarity", config.SimilarityConfig(wordnet="none")
    yield "text", config.TextConfig(wordnet="none")
    for round_ in (1, 2):
        shared = {"round": round_, "judge_folds": 2}
        yield "judge-text", config.JudgeTextConfig(**shared)
        yield "judge-image", config.JudgeImageConfig(**shared, **features)
        yield "judge-neighbors", config.JudgeNeighborsConfig(**shared, **features)
        if round_ == 1:
            prototype = {"stage1_method": "prototype", "prototype_features": "default"}
            yield "stage1", config.Stage1Config(**prototype)
            yield "stage1", config.Stage1Config()
            yield "stage2", config.Stage2Config(match_by="keywords")
            yield "stage2", config.Stage2Config(match_score="kl")
            yield "stage2", config.Stage2Config()
    yield "train", config.TrainConfig(**small)
    yield "judge-model", config.JudgeModelConfig(model="somnet")
    yield "decide", config.DecideConfig(weight_by="stages", evidence=("image", "attached:scores.score"))
    yield "decide", config.DecideConfig(weight_by="stages")


def test_stages_open_what_they_declare(manifest, weights, tmp_path, monkeypatch):
    opened: set[str] = set()

    def watch(name):
        reader = getattr(tables, name)

        def read(run, artefact, *arguments, **options):
            opened.add(artefact)
            return reader(run, artefact, *arguments, **options)

        monkeypatch.setattr(tables, name, read)

    for name in ("read_part", "num_rows", "part_schema"):  # all else in io.tables goes through these
        watch(name)
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: Letters())
    run = RunDir(str(tmp_path / "run"))
    run.make()
    context = Context(run, InlineEngine())
    declared: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    for name, settings in plan(manifest, weights):
        stage = BY_NAME[name]
        opened.clear()
        assert not execute(stage, settings, context).skipped
        inputs = stage.inputs(settings)
        undeclared = opened - set(inputs) - set(stage.outputs(settings))
        assert not undeclared, f"{name} opens what it does not declare"
        declared.setdefault(name, set()).update(inputs)
        read.setdefault(name, set()).update(opened)
    assert set(declared) == {stage.name for stage in CHAIN}
    for name, inputs in declared.items():
        assert not inputs - read[name], f"{name} declares what it opens under no settings"
    assert tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).num_rows == IMAGES
