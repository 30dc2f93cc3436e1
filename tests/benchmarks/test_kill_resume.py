"""The kill harness itself, on a small program in place of webclean: it passes the good and finds the bad."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from scripts import load_script

PROGRAM = """
import json, sys, time
from pathlib import Path

def log(text):
    with open(run / "webclean.log", "a") as file:
        file.write(f"2020-01-01T00:00:00 {text}\\n")

def write(path, data):
    if TORN:
        half = len(data) // 2
        with path.open("wb") as file:
            file.write(data[:half]); file.flush(); time.sleep(0.03); file.write(data[half:])
        return
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data); file.flush(); time.sleep(0.03)
    temporary.replace(path)

run = Path(sys.argv[-1]); run.mkdir(exist_ok=True)
for stage in ("first", "second"):
    folder = run / stage; folder.mkdir(exist_ok=True)
    log(f"{stage}: started, fingerprint 0")
    start = time.time()
    for index in range(5):
        path = folder / f"part-{index:05d}.json"
        if path.exists():
            continue
        write(path, json.dumps({"x": index}).encode())
    record = {"stage": stage, "files": [], "clock": {"seconds": time.time() - start}}
    write(folder / "run.json", json.dumps(record).encode())
    log(f"{stage}: done in 0 s")
"""


@pytest.fixture(scope="module")
def kill_resume() -> ModuleType:
    return load_script("benchmarks/kill_resume.py")


def _main(kill_resume: ModuleType, folder: Path, *, torn: bool, draws: int) -> int:
    program = folder / "program.py"
    program.write_text(f"TORN = {torn}\n{PROGRAM}")
    return int(
        kill_resume.main(
            ["SOURCE", "--work", str(folder / "work"), "--program", f"{sys.executable} {program}",
             "--commands", "ingest", "--draws", str(draws), "--writes", "1"]
        )
    )  # fmt: skip


@pytest.mark.slow
def test_an_atomic_program_passes(
    kill_resume: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert _main(kill_resume, tmp_path, torn=False, draws=1) == 0
    said = capfd.readouterr().out
    assert "0 differ" in said
    assert "ingest: second" in said


@pytest.mark.slow
def test_a_program_that_writes_in_place_is_caught(
    kill_resume: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert _main(kill_resume, tmp_path, torn=True, draws=4) == 1
    assert "DIFFERS" in capfd.readouterr().out


def test_the_stage_is_read_from_the_log(kill_resume: ModuleType) -> None:
    log = (
        "T ingest: started, fingerprint 0\nT ingest: done in 1 s, Counts()\nT dedup: started, fingerprint 1\n"
    )
    assert kill_resume.stage_hit("") == "start-up"
    assert kill_resume.stage_hit(log) == "dedup"
    assert kill_resume.stage_hit(log.split("T dedup")[0]) == "after ingest"
    assert kill_resume.stage_hit("T ingest [77]: started, {}\n") == "start-up"  # the command's own line


def test_clocks_and_logs_are_not_compared(kill_resume: ModuleType, tmp_path: Path) -> None:
    for name, seconds in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(f'{{"x": 1, "clock": {{"seconds": {seconds}}}}}')
        (tmp_path / name / "history.jsonl").write_text(f'{{"loss": 0.5, "clock": {seconds}}}\n')
        (tmp_path / name / "webclean.log").write_text(name)
    a, b = (kill_resume.digest(tmp_path / name) for name in "ab")
    assert kill_resume.differences(a, b) == []
    (tmp_path / "b" / "history.jsonl").write_text('{"loss": 0.6, "clock": 1}\n')
    (tmp_path / "b" / ".part.tmp").write_text("")
    found = kill_resume.differences(a, kill_resume.digest(tmp_path / "b"))
    assert found == [".part.tmp is left over", "history.jsonl differs"]


def test_the_clock_of_a_checkpoint_is_not_compared_but_its_tensors_and_losses_are(
    kill_resume: ModuleType, tmp_path: Path
) -> None:
    def digest(name: str, seconds: float, loss: float, value: float) -> dict[str, str]:
        (tmp_path / name).mkdir()
        state = json.dumps({"history": [{"loss": loss, "clock": {"seconds": seconds}}]})
        save_file({"w": torch.tensor([value])}, tmp_path / name / "fold.safetensors", {"state": state})
        return dict(kill_resume.digest(tmp_path / name))

    unbroken = digest("unbroken", 0.1234567, 0.5, 1.0)
    assert kill_resume.differences(unbroken, digest("slower", 12.5, 0.5, 1.0)) == []
    assert kill_resume.differences(unbroken, digest("loss", 0.1, 0.6, 1.0)) == ["fold.safetensors differs"]
    assert kill_resume.differences(unbroken, digest("tensor", 0.1, 0.5, 2.0)) == ["fold.safetensors differs"]
