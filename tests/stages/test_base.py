"""`execute`: skip, rerun, resume, stale inputs, and what run.json says."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import fake_stages
import pytest
from fake_stages import DOUBLED, EXTRA, NUMBERS, FakeConfig, Killed, World
from hypothesis import given
from hypothesis import strategies as st

import webclean
from webclean.engines.local import InlineEngine
from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ArtifactStaleError, ConfigError
from webclean.io.run_dir import RunDir
from webclean.stages import base
from webclean.stages.base import Context, Counts, Outcome, execute, staleness

CONFIG = FakeConfig()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    fake_stages.install(made)
    yield made
    for name in ("fake_numbers", "fake_doubled", "fake_extra"):
        del sys.modules[name]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def context(run_dir: RunDir, notes: list[str]) -> Context:
    return Context(run=run_dir, engine=InlineEngine(), note=notes.append)


def snapshot(run: RunDir, folder: str = "") -> dict[str, Any]:
    """Every file but the log, without what stands under `clock`."""
    found: dict[str, Any] = {}
    for name in run.list(folder):
        path = f"{folder}/{name}".lstrip("/")
        if name in run.folders(folder):
            found |= snapshot(run, path)
        elif name == "run.json":
            found[path] = {k: v for k, v in run.read_json(path).items() if k != "clock"}
        elif name != "webclean.log":
            found[path] = run.read_bytes(path)
    return found


# ---------------------------------------------------------------- counts


@given(st.integers(0, 100), st.dictionaries(st.text(max_size=5), st.integers(0, 100), max_size=4))
def test_counts_that_add_up(forwarded, dropped):
    total = forwarded + sum(dropped.values())
    assert Counts(total, forwarded, dropped).total == total
    with pytest.raises(AssertionError, match="do not add up"):
        Counts(total + 1, forwarded, dropped)


# ---------------------------------------------------------------- skip and rerun


def test_unchanged_is_skipped_and_tells_the_same(context, world):
    first = execute(NUMBERS, CONFIG, context)
    second = execute(NUMBERS, CONFIG, context)
    assert (first.skipped, second.skipped) == (False, True)
    assert second == Outcome("numbers", True, Counts(4, 3, {"bad_file:empty": 1}), {"told": [2]}, 0.0)
    assert (first.counts, first.result) == (second.counts, second.result)
    assert world.runs == ["numbers"]


def test_a_technical_setting_changes_nothing(context, world):
    execute(NUMBERS, CONFIG, context)
    assert execute(NUMBERS, FakeConfig(seconds=9.0), context).skipped


def test_config_seed_and_source_run_it_again(context, world):
    execute(NUMBERS, CONFIG, context)
    assert not execute(NUMBERS, FakeConfig(factor=3), context).skipped
    context.seed = 1
    assert not execute(NUMBERS, FakeConfig(factor=3), context).skipped
    world.source = "another"
    assert not execute(NUMBERS, FakeConfig(factor=3), context).skipped
    assert execute(NUMBERS, FakeConfig(factor=3), context).skipped


def test_another_seed_leaves_alone_what_draws_nothing(context, world):
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    context.seed = 1
    assert execute(DOUBLED, CONFIG, context).skipped


def test_another_version_of_webclean_runs_it_again(context, world, monkeypatch):
    execute(NUMBERS, CONFIG, context)
    monkeypatch.setattr(webclean, "__version__", "99")
    assert not execute(NUMBERS, CONFIG, context).skipped


def test_changed_inputs_run_it_again_and_equal_ones_do_not(context, world):
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    execute(NUMBERS, CONFIG, context, force=True)  # the same bytes once more
    assert execute(DOUBLED, CONFIG, context).skipped
    execute(NUMBERS, FakeConfig(factor=5), context)
    assert not execute(DOUBLED, CONFIG, context).skipped


def test_force_runs_it_and_does_all_parts(context, world):
    execute(NUMBERS, CONFIG, context)
    before = snapshot(context.run)
    world.parts.clear()
    assert not execute(NUMBERS, CONFIG, context, force=True).skipped
    assert world.parts == [0, 1, 2]
    assert snapshot(context.run) == before


# ---------------------------------------------------------------- kill and resume


@pytest.mark.parametrize("die_after", [0, 1, 2])
def test_killed_then_resumed_gives_the_same_bytes(die_after, context, world, tmp_path):
    other = Context(run=RunDir(str(tmp_path / "other")), engine=InlineEngine())
    execute(NUMBERS, CONFIG, other)
    world.parts.clear()
    world.die_after = die_after
    with pytest.raises(Killed):
        execute(NUMBERS, CONFIG, context)
    assert base.committed(context.run, "images") is None
    world.die_after = None
    execute(NUMBERS, CONFIG, context)
    assert world.parts == [0, 1, 2], "finished parts are not made again"
    assert snapshot(context.run) == snapshot(other.run)


@pytest.mark.parametrize("change", ["config", "force", "seed"])
def test_parts_of_another_fingerprint_are_cleared(change, context, world):
    world.die_after = 2
    with pytest.raises(Killed):
        execute(NUMBERS, CONFIG, context)
    context.run.write_bytes("images/part-00009.parquet", b"left over")
    context.run.write_bytes("images/.part-00008.parquet.tmp", b"half")
    world.die_after = None
    world.parts.clear()
    context.seed = 1 if change == "seed" else 0
    config = FakeConfig(factor=3) if change == "config" else CONFIG
    execute(NUMBERS, config, context, force=change == "force")
    assert world.parts == [0, 1, 2]
    assert context.run.list("images") == [f"part-0000{i}.parquet" for i in range(3)] + ["run.json"]


@pytest.mark.parametrize("write", range(4))
def test_killed_in_the_commit_a_rerun_ends_it(write, context, world, monkeypatch, tmp_path):
    other = Context(run=RunDir(str(tmp_path / "other")), engine=InlineEngine())
    execute(NUMBERS, CONFIG, other)
    world.parts.clear()
    real_json, real_remove = RunDir.write_json, RunDir.remove
    steps = 0

    def step(real: Any, self: RunDir, rel: str, *rest: Any) -> None:
        nonlocal steps
        if world.parts and rel.endswith(("run.json", base.PENDING)):
            if steps == write:
                raise Killed
            steps += 1
        real(self, rel, *rest)

    monkeypatch.setattr(RunDir, "write_json", lambda *a: step(real_json, *a))
    monkeypatch.setattr(RunDir, "remove", lambda *a: step(real_remove, *a))
    with pytest.raises(Killed):
        execute(NUMBERS, CONFIG, context)
    monkeypatch.undo()
    execute(NUMBERS, CONFIG, context)
    assert world.parts == [0, 1, 2], "finished parts are not made again"
    assert snapshot(context.run) == snapshot(other.run)


def test_a_failing_stage_commits_nothing(context, world):
    execute(NUMBERS, CONFIG, context)
    world.die_after = 0
    with pytest.raises(Killed):
        execute(NUMBERS, FakeConfig(factor=3), context)
    with pytest.raises(ArtifactMissingError, match="images has not been made"):
        execute(DOUBLED, CONFIG, context)


# ---------------------------------------------------------------- inputs


def test_a_missing_input_names_the_command(context, world):
    with pytest.raises(ArtifactMissingError, match="images has not been made") as caught:
        execute(DOUBLED, CONFIG, context)
    assert caught.value.context == "stage 'doubled' reads it"
    assert caught.value.hint == f"run `webclean ingest SOURCE {context.run.url}` first"


def test_a_stale_input_names_the_command_and_force_uses_it(context, world):
    execute(NUMBERS, CONFIG, context)
    execute(EXTRA, CONFIG, context)
    execute(NUMBERS, FakeConfig(factor=3), context)
    assert staleness(context.run, "text") == "text was made from an older images"
    with pytest.raises(ArtifactStaleError, match="stale: text was made from an older images") as caught:
        base.require(context.run, "text", reader="stage 'judge'")
    assert caught.value.hint is not None
    assert f"`webclean weight {context.run.url}`" in caught.value.hint
    assert "--force" in caught.value.hint
    assert base.require(context.run, "text", reader="stage 'judge'", force=True)["stage"] == "extra"


def test_staleness_is_seen_through_what_stands_between(context, world):
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    record = context.run.read_json("duplicates/run.json")
    context.run.write_json("text/run.json", record | {"inputs": {"duplicates": record["digest"]}})
    assert staleness(context.run, "text") is None
    execute(NUMBERS, FakeConfig(factor=3), context)
    assert staleness(context.run, "text") == "duplicates was made from an older images"
    context.run.remove("images")
    assert staleness(context.run, "text") == "duplicates was made from images, which is gone"


def test_an_optional_input_is_used_left_out_and_said(context, world, notes):
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    assert (world.had_extra, notes) == (False, [])
    execute(EXTRA, CONFIG, context)
    assert not execute(DOUBLED, CONFIG, context).skipped
    assert world.had_extra is True
    assert context.run.read_json("duplicates/run.json")["inputs"]["text"] is not None
    execute(NUMBERS, FakeConfig(factor=3), context)
    execute(DOUBLED, CONFIG, context)
    assert world.had_extra is False
    assert context.run.read_json("duplicates/run.json")["inputs"]["text"] is None
    said = "text is left out: text was made from an older images"
    assert notes == [f"{said}; `webclean weight {context.run.url}` brings it back"]


def test_evidence_that_came_later_makes_stale_what_was_made_without_it(run_dir):
    record = {"fingerprint": "f", "counts": {}, "result": {}, "digest": "d", "inputs": {}}
    late = {"images": "d", "text": None, "models/somnet/predictions": None}
    run_dir.write_json("images/run.json", record)
    run_dir.write_json("decisions/default/run.json", record | {"inputs": late})
    run_dir.write_json("models/somnet/predictions/run.json", record)  # a model comes after the weights
    assert staleness(run_dir, "decisions/default") is None
    run_dir.write_json("text/run.json", record | {"inputs": {"images": "older"}})
    assert staleness(run_dir, "decisions/default") is None  # what is stale itself would not be used
    run_dir.write_json("text/run.json", record | {"inputs": {"images": "d"}})
    said = "decisions/default was made without text, which is there now"
    assert staleness(run_dir, "decisions/default") == said


def test_what_a_stage_refuses_leaves_its_outputs_standing(context, world, monkeypatch):
    execute(NUMBERS, CONFIG, context)
    before = context.run.read_bytes("images/run.json")

    def check(config, context):
        raise ConfigError("no such sense")

    monkeypatch.setattr(importlib.import_module(NUMBERS.module), "check", check, raising=False)
    with pytest.raises(ConfigError, match="no such sense"):
        execute(NUMBERS, FakeConfig(factor=3), context)
    assert context.run.read_bytes("images/run.json") == before


def test_each_ancestor_is_read_once(run_dir, monkeypatch):
    record = {"fingerprint": "f", "counts": {}, "result": {}, "digest": "d"}
    for level in range(20):  # each level read twice by the one below: a million ways up
        above = {f"l{level - 1}a": "d", f"l{level - 1}b": "d"} if level else {}
        for side in "ab":
            run_dir.write_json(f"l{level}{side}/run.json", record | {"inputs": above})
    reads: list[str] = []
    real = base.committed

    def counted(run: RunDir, artefact: str) -> dict[str, Any] | None:
        reads.append(artefact)
        return real(run, artefact)

    monkeypatch.setattr(base, "committed", counted)
    assert staleness(run_dir, "l19a") is None
    assert len(reads) <= 41


@pytest.mark.parametrize("record", [[], {}, {"fingerprint": "f"}])
def test_a_strange_run_json_is_named(record, run_dir):
    run_dir.write_json("images/run.json", record)
    with pytest.raises(ArtifactInvalidError, match="images/run.json is not the record of a stage"):
        base.committed(run_dir, "images")


# ---------------------------------------------------------------- run.json


def test_run_json_tells_all_and_clocks_stand_under_clock(context, world):
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    above, record = (context.run.read_json(f"{name}/run.json") for name in ("images", "duplicates"))
    assert set(above) == {
        "stage", "artefact", "fingerprint", "config", "seed", "inputs", "source", "versions", "counts",
        "result", "files", "digest", "clock",
    }  # fmt: skip
    assert above["config"] == {"factor": 2}
    assert (above["seed"], above["source"], above["result"]) == (0, "first", {"told": [2]})
    assert above["counts"] == {"total": 4, "forwarded": 3, "dropped": {"bad_file:empty": 1}}
    assert [file["name"] for file in above["files"]] == [f"part-0000{i}.parquet" for i in range(3)]
    assert above["versions"]["webclean"] == webclean.__version__
    assert set(above["clock"]) == {"started", "seconds"}
    assert record["inputs"] == {"images": above["digest"], "text": None}
    assert record["seed"] is None


def test_all_but_the_clock_is_the_same_each_time(context, world, tmp_path):
    other = Context(run=RunDir(str(tmp_path / "other")), engine=InlineEngine())
    for ctx in (context, other):
        execute(NUMBERS, CONFIG, ctx)
        execute(DOUBLED, CONFIG, ctx)
    assert snapshot(context.run) == snapshot(other.run)


def test_the_log_has_a_line_for_each_start_and_end(context, world):
    execute(NUMBERS, CONFIG, context)
    lines = context.run.read_bytes("webclean.log").decode().splitlines()
    assert len(lines) == 2
    assert "numbers: started" in lines[0]
    assert "numbers: done" in lines[1]


def test_works_on_a_remote_run(world):
    context = Context(run=RunDir("memory://execute/run"), engine=InlineEngine())
    execute(NUMBERS, CONFIG, context)
    execute(DOUBLED, CONFIG, context)
    assert execute(DOUBLED, CONFIG, context).skipped
    context.run.remove("")
