"""The pages under docs/ say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

from webclean import schema
from webclean.io.readers import columns
from webclean.stages.chain import CHAIN
from webclean.stages.export import TABLE_COLUMNS

DOCS = Path(__file__).parents[1] / "docs"
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


def test_artefacts_of_the_chain_are_all_named() -> None:
    words = first_cells(section("The run folder"))
    for template in (path for stage in CHAIN for path in stage.writes):
        name = re.sub(r"\{[^}]+\}", "*", template).split("*")[0].rstrip("/")
        assert any(word.split("<")[0].rstrip("/").startswith(name.split("/")[0]) for word in words), template


def test_guessed_column_names_are_the_reader_s() -> None:
    for field, names in columns.NAMES.items():
        assert f"| {field} | `--{field.replace('_', '-')}-column` | {', '.join(names)} |" in FORMATS
