"""Flags over TOML over defaults; flags are the knobs."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from webclean.cli import options
from webclean.cli.app import main
from webclean.cli.options import Settings, configurable, writing
from webclean.config import (
    DecideConfig,
    DedupConfig,
    GeneralConfig,
    IngestConfig,
    Stage1Config,
    sections,
)
from webclean.errors import ArtifactMissingError
from webclean.stages.base import Context


def settings(flags: dict[str, Any] | None = None, toml: dict[str, dict[str, Any]] | None = None) -> Settings:
    return Settings(flags=flags or {}, toml=toml or {}, quiet=False, json=False, force=False)


@pytest.mark.parametrize(
    ("flags", "toml", "radius"),
    [({}, {}, 12), ({}, {"dedup": {"radius": 5}}, 5), ({"radius": 3}, {"dedup": {"radius": 5}}, 3)],
)
def test_flags_over_toml_over_defaults(flags, toml, radius):
    assert settings(flags, toml).build(DedupConfig).radius == radius


def test_a_flag_that_was_not_given_is_no_value():
    assert settings({"radius": None}, {"dedup": {"radius": 5}}).build(DedupConfig).radius == 5
    assert settings({"radius": 0}, {"dedup": {"radius": 5}}).build(DedupConfig).radius == 0


def test_what_the_command_decides_is_above_all():
    built = settings({"round": 7}, {}).build(Stage1Config, round=2)
    assert built.round == 2
    assert settings({"round": 7}, {}).build(Stage1Config).round == 1


def test_a_flag_of_another_name_reaches_its_field():
    assert settings({"decisions": "mine"}).build(DecideConfig).name == "mine"


def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `webclean ingest` would run, without running it."""
    found: list[tuple[Any, ...]] = []

    @contextmanager
    def no_writing(*arguments: Any) -> Iterator[None]:
        yield None

    def ingest(*configs: Any, force: bool) -> list[Any]:
        found.append((*configs[:2], force))
        return []

    monkeypatch.setattr("webclean.cli.ingest.writing", no_writing)
    monkeypatch.setattr("webclean.stages.plan.ingest", ingest)
    monkeypatch.setattr("webclean.cli.show.outcomes", lambda *_: None)
    return found


def test_a_command_line_becomes_configs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = captured(monkeypatch)
    Path("run").mkdir()
    Path("run/webclean.toml").write_text("[dedup]\nradius = 5\ncorrelation = 0.8\n")
    assert main(["ingest", "SRC", "run", "--radius", "3", "--limit", "9", "--allow-outside", "--force"]) == 0
    ((ingest, dedup, force),) = found
    assert ingest == IngestConfig(source="SRC", limit=9, allow_outside=True)
    assert dedup == DedupConfig(radius=3, correlation=0.8)
    assert force is True


def test_which_settings_file_is_read(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = captured(monkeypatch)
    Path("run").mkdir()
    Path("webclean.toml").write_text("[dedup]\nradius = 1\n")
    assert main(["ingest", "SRC", "run"]) == 0
    Path("run/webclean.toml").write_text("[dedup]\nradius = 2\n")
    assert main(["ingest", "SRC", "run"]) == 0
    Path("my.toml").write_text("[dedup]\nradius = 3\n")
    assert main(["ingest", "SRC", "run", "--config", "my.toml"]) == 0
    assert [dedup.radius for _, dedup, _ in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dedup]\nradus = 3\n", "did you mean 'radius'?"),
        ("[dedupe]\nradius = 3\n", "did you mean [dedup]?"),
        ("[dedup]\nradius = 64\n", "radius must be at most 20; got 64"),
        ("[stage1]\nrank_floor = 2\n", "rank_floor must be at most 1"),
        ("[ingest]\nsource = 'x'\n", "source cannot be set"),
        ("dedup = 3\n", "no section [dedup]"),
        ("[dedup\n", "is not TOML"),
    ],
)
def test_a_settings_file_that_is_wrong_is_2(text, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = captured(monkeypatch)
    Path("webclean.toml").write_text(text)
    assert main(["ingest", "SRC", "run"]) == 2
    assert words in capsys.readouterr().err
    assert not found


def test_a_settings_file_that_is_not_there_is_2(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    captured(monkeypatch)
    assert main(["ingest", "SRC", "run", "--config", "none.toml"]) == 2
    assert "none.toml does not exist" in capsys.readouterr().err


def test_a_flag_out_of_range_is_said_before_any_work(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = captured(monkeypatch)
    assert main(["ingest", "SRC", "run", "--radius", "64"]) == 2
    assert "radius must be at most 20" in capsys.readouterr().err
    # A knob of a late stage: also before the first stage starts.
    assert main(["weight", "run", "--neighbor-weight=-1"]) == 2
    assert "neighbor_weight must be at least 0" in capsys.readouterr().err
    assert not found
    assert not Path("run").exists()


def test_a_flag_shared_by_stages_means_one_thing():
    meant = defaultdict(set)
    for kind in sections().values():
        for field in dataclasses.fields(kind):
            if field.metadata.get("flag") != "":
                meant[options._parameter(kind, field)].add(field.type)
    mixed = {name: types for name, types in meant.items() if len(types) > 1}
    assert not mixed


def test_every_knob_of_a_command_is_a_flag():
    @configurable(DedupConfig)
    def command(run: str, *, settings: Settings) -> None:
        """A command."""

    names = list(inspect.signature(command).parameters)
    own = [field.name for field in dataclasses.fields(DedupConfig)]
    general = [field.name for field in dataclasses.fields(GeneralConfig)]
    assert names == ["run", *own, *general, "config_file", "json_output", "quiet", "force"]


def test_quiet_says_nothing(capsys):
    Settings(flags={}, toml={}, quiet=True, json=False, force=False).note("hello")
    settings().note("told")
    assert capsys.readouterr().err == "told\n"


def test_only_ingest_and_run_start_a_run_folder(tmp_path):
    nowhere = str(tmp_path / "run")
    with (
        pytest.raises(ArtifactMissingError, match="does not exist") as caught,
        writing(nowhere, "weight", settings()),
    ):
        pass
    assert caught.value.hint == f"run `webclean ingest SOURCE {nowhere}` first"
    assert not Path(nowhere).exists()
    with writing(nowhere, "ingest", settings({"seed": 5, "workers": 0})) as context:
        assert isinstance(context, Context)
        assert (context.seed, context.engine.num_workers) == (5, 0)
        assert context.run.list() == [".lock"]
    assert Path(nowhere).is_dir()


_HELD = """
import sys, time
from webclean.cli.options import Settings, writing
with writing(sys.argv[1], "run", Settings(flags={}, toml={}, quiet=False, json=False, force=False)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_3_with_the_holders_name(tmp_path, capsys):
    run = str(tmp_path / "run")
    process = subprocess.Popen([sys.executable, "-c", _HELD, run], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        assert main(["weight", run]) == 3
        told = capsys.readouterr().err
        assert "error[run-locked]" in told
        assert "being written by `webclean run`" in told
        assert f"process {process.pid} on" in told
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
