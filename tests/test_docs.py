"""The pages under docs/ say what the code does."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

from webclean import schema
from webclean.config import QualityConfig
from webclean.io.readers import columns
from webclean.stages.chain import CHAIN
from webclean.stages.export import TABLE_COLUMNS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FORMATS = (DOCS / "formats.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def make_cli() -> ModuleType:
    return load_script("docs/make_cli.py")


def section(title: str) -> str:
    """The text of one `##` section of formats.md."""
    return FORMATS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """Words in code type in the first cell of each row of a section's tables."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return [word for cell in rows for word in re.findall(r"`([^`]+)`", cell)]


def test_the_command_page_is_up_to_date(make_cli: ModuleType) -> None:
    assert make_cli.main(["--check"]) == 0, "run `python docs/make_cli.py`"


def test_an_old_command_page_is_noticed(
    make_cli: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(make_cli, "TARGET", tmp_path / "cli.md")
    assert make_cli.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert make_cli.main([]) == 0
    assert make_cli.main(["--check"]) == 0


def test_columns_of_an_export_stand_in_their_order() -> None:
    table = section("Exports").split("Columns of the table")[1]
    assert tuple(first_cells(table)) == TABLE_COLUMNS


def test_columns_of_the_decisions_are_all_explained() -> None:
    table = section("Decisions").split("| reason |")[0]
    assert set(first_cells(table)) == set(schema.DECISIONS_TABLE.column_names)


def test_statuses_are_all_explained() -> None:
    rows = re.findall(r"^\| ([a-z_]+) \|", section("What becomes of a file"), re.MULTILINE)
    assert set(rows) - {"status"} == set(schema.STATUSES)


def test_quality_flags_are_all_explained_with_their_settings() -> None:
    text = section("Quality flags")
    assert tuple(first_cells(text)) == schema.FLAGS
    config = dataclasses.fields(QualityConfig)
    assert all(f"`--{field.name.replace('_', '-')}`" in text for field in config)
    numbers = set(re.findall(r"\d+(?:\.\d+)?", text))
    assert all(f"{field.default:g}" in numbers for field in config)


def test_artefacts_of_the_chain_are_all_named() -> None:
    words = first_cells(section("The run folder"))
    shapes = [re.compile(re.sub(r"<[^>]+>", r"[^/]+", word)) for word in words]
    for template in (path for stage in CHAIN for path in stage.writes):
        assert any(shape.fullmatch(template) for shape in shapes), template


def named(cell: str) -> Iterator[tuple[str, str | None]]:
    """(file, name inside it) of each reference of a cell of papers.md.

    A reference is `file.py::name` or `file.py`; a name without a file, or behind `…::`, stands in the file before
    it. A file of tests that was named with its folder once may go by its last name.
    """
    file = ""
    for word in re.findall(r"`([^`]+)`", cell):
        if word.startswith("--"):  # a flag
            continue
        found, _, name = word.rpartition("::") if "::" in word else ("", "", word)
        if word.endswith(".py"):
            found, name = word, ""
        file = file if found in ("", "…") else found
        yield file, name or None


def defined(source: Path) -> set[str]:
    """Functions and classes of a module, and methods with and without their class."""
    found: set[str] = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
            found |= {*methods, *(f"{node.name}.{name}" for name in methods)}
    return found


def test_functions_and_tests_of_the_papers_page_are_there() -> None:
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    rows = [re.split(r"(?<!\\)\|", line)[2:4] for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "Function"]
    assert len(rows) > 30
    tests = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    for function, test in rows:
        assert "`" in function, function
        assert "`" in test, test
        for file, name in named(function):
            source = ROOT / "webclean" / file
            assert source.is_file(), file
            assert name is None or name in defined(source), f"{file}::{name}"
        for file, name in named(test):
            source = ROOT / file if "/" in file else tests[file]
            assert source.is_file(), file
            assert name is None or name in defined(source), f"{file}::{name}"


def test_guessed_column_names_are_the_reader_s() -> None:
    for field, names in columns.NAMES.items():
        assert f"| {field} | `--{field.replace('_', '-')}-column` | {', '.join(names)} |" in FORMATS
