"""What README.md tells people to type works: every command in its `sh` blocks, and its Python."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from webclean.cli.app import main
from webclean.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "sample_data"
EVERY = 5  # of the sample crawl's lines the chain runs on one in so many
SMALL = "[train]\nrepeats = 1\nfolds = 2\nepochs = 3\n"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command in the `sh` blocks, as words, without its comment."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_setup(words: list[str]) -> bool:
    """Whether a command prepares the environment that the tests already run in."""
    return words in (["python3", "-m", "venv", ".venv"], [".", ".venv/bin/activate"]) or words[0] == "pip"


def webclean(words: list[str], folder: Path) -> str:
    """Run `webclean ...` in a folder, in this process, so that heavy imports are paid once; its output."""
    told = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        warnings.simplefilter("ignore")  # as for a person, not as for the other tests
        code = main(words[1:])
    assert code == 0, f"{shlex.join(words)}\n{told.getvalue()}"
    return told.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `my-crawl`, a part of the sample crawl, its `truth.csv`, and some `scores.csv`."""
    folder = tmp_path_factory.mktemp("readme")
    crawl = folder / "my-crawl"
    (crawl / "images").mkdir(parents=True)
    lines = (SAMPLE / "crawl" / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (crawl / "manifest.csv").write_text("".join([lines[0], *lines[1::EVERY]]), encoding="utf-8")
    with (crawl / "manifest.csv").open(newline="", encoding="utf-8") as file:
        paths = {row["path"] for row in csv.DictReader(file)}
    for path in paths:
        if (SAMPLE / "crawl" / path).exists():
            shutil.copy(SAMPLE / "crawl" / path, crawl / path)
    with (SAMPLE / "truth.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if row["path"] in paths]
        rows = [row | {"of": row["of"] if row["of"] in paths else ""} for row in rows]
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    scores = "".join(f"{row['path']},0.{number}\n" for number, row in enumerate(rows, 10))
    (folder / "scores.csv").write_text(f"path,clip_score\n{scores}", encoding="utf-8")
    (folder / "my-run").mkdir()
    (folder / "my-run" / "webclean.toml").write_text(SMALL, encoding="utf-8")
    return folder


def test_every_command_is_one_that_is_tested() -> None:
    strange = [words for words in commands() if words[0] not in ("make", "webclean") and not is_setup(words)]
    assert not strange


def test_make_targets_are_there() -> None:
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [words[1] for words in commands() if words[0] == "make"]
    assert wanted == ["demo", "test"]
    assert set(wanted) <= set(rules)


def test_extras_of_pip_are_there() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [e for words in commands() if words[0] == "pip" for e in re.findall(r"\.\[(\w+)\]", words[-1])]
    assert extras
    assert set(extras) <= set(known["optional-dependencies"])


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link


def test_links_into_the_command_page_lead_to_a_command() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {heading.replace(" ", "-") for heading in headings}
    assert set(re.findall(r"docs/cli\.md#([\w-]+)", README)) <= anchors


def test_the_picture_is_small() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).stat().st_size < 400_000


def test_the_output_shown_for_ingest_is_its_output(tmp_path: Path) -> None:
    """Ingest and duplicates are exact: their numbers are the same on every machine."""
    told = webclean(["webclean", "ingest", str(SAMPLE / "crawl"), "run"], tmp_path)
    shown = next(block for block in blocks("text") if "dedup" in block)
    rows = [line.split("   ") for line in shown.splitlines() if re.match(r" (ingest|dedup|quality) ", line)]
    assert len(rows) == 3
    flat = " ".join(told.split())
    for row in rows:
        assert " ".join(" ".join(row).split()) in flat
    assert shown.splitlines()[0].removesuffix("...") in told


@pytest.mark.slow
def test_every_command_runs_and_python_reads_the_result(folder: Path) -> None:
    """The webclean commands, one after the other in one folder; then the Python block."""
    ran = [words for words in commands() if words[0] == "webclean"]
    for words in ran:
        webclean(words, folder)
    assert {words[1] for words in ran} == {command.name for command in COMMANDS}
    (block,) = blocks("python")
    code = block.replace("    ...", "    print(tuple(images.shape), len(labels), float(weights.min()) > 0)")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"\((\d+), 3, 224, 224\) \1 True\n", done.stdout)
