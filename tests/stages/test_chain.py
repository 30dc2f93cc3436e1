"""The chain: artefact names filled from a config, and who writes what."""

from __future__ import annotations

import pytest

from webclean.config import (
    DecideConfig,
    JudgeTextConfig,
    Stage1Config,
    TrainConfig,
    sections,
)
from webclean.io.run_dir import RunDir
from webclean.stages.base import command_for
from webclean.stages.chain import BY_NAME, CHAIN, writer_of


def test_the_first_round_reads_no_round_before():
    judge = BY_NAME["judge-text"]
    assert not [name for name in judge.inputs(JudgeTextConfig(round=1)) if name.startswith("weights")]
    assert judge.inputs(JudgeTextConfig(round=3))["beliefs/r2"] is True
    assert judge.outputs(JudgeTextConfig(round=3)) == ("predictions/text-r3",)


def test_optional_inputs_and_fields_that_are_not_set():
    inputs = BY_NAME["stage1"].inputs(Stage1Config())
    assert inputs["text"] is False
    assert inputs["images"] is True
    assert not [name for name in inputs if name.startswith("features")]
    chosen = BY_NAME["stage1"].inputs(Stage1Config(prototype_features="mine"))
    assert chosen["features/mine"] is True


def test_names_stand_in_the_outputs():
    assert BY_NAME["decide"].outputs(DecideConfig(evidence=("rank",))) == ("decisions/rank",)
    assert BY_NAME["train"].outputs(TrainConfig(name="m"))[:2] == ("models/m", "models/m/predictions")


@pytest.mark.parametrize(
    ("artefact", "stage"),
    [
        ("images", "ingest"),
        ("duplicates", "dedup"),
        ("features/default", "features"),
        ("weights/r12/stage1", "stage1"),
        ("predictions/text-r2", "judge-text"),
        ("models/somnet/predictions", "train"),
        ("decisions/v1.0", "decide"),
    ],
)
def test_the_writer_of_an_artefact(artefact, stage):
    found = writer_of(artefact)
    assert found is not None
    assert found.name == stage


@pytest.mark.parametrize("artefact", ["nonsense", "features/a/b", "decisions", "imagesx"])
def test_nobody_writes_what_is_no_artefact(artefact):
    assert writer_of(artefact) is None


def test_commands_that_make_an_artefact():
    run = RunDir("/data/run")
    assert command_for("images", run) == "webclean ingest SOURCE /data/run"
    assert command_for("weights/r1/stage2", run) == "webclean weight /data/run"
    assert command_for("models/plain", run) == "webclean train /data/run"
    assert command_for("beliefs/r2", run) == "webclean weight /data/run --rounds 2"


def test_every_stage_has_its_settings():
    assert {stage.name for stage in CHAIN} <= set(sections())
