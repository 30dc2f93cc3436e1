"""The table of the ablation and its place in a document."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    for name in ("commands", "shuffle_texts", "known_sets"):
        load_script(f"benchmarks/{name}.py")
    return load_script("benchmarks/ablation.py")


def test_changes_are_told_from_the_default(ablation: ModuleType) -> None:
    default, other = ablation.Change("the default", ()), ablation.Change("1 round", ("--rounds", "1"))
    figures = ablation.Figures
    lines = ablation.table(
        {
            default: [figures(0.99, 0.95, None, -0.01), figures(0.97, 0.93, None, 0.02)],
            other: [figures(0.95, 0.90, None, 0.1), figures(0.97, 0.92, None, 0.1)],
        }
    )
    assert lines[2:] == [
        "| the default |  | 0.9800 +- 0.0141 |  | 0.940 +- 0.014 | +0.005 |",
        "| 1 round | `--rounds 1` | 0.9600 +- 0.0141 | -0.0200 | 0.910 +- 0.014 | +0.100 |",
    ]
    with_topic = ablation.table({default: [figures(0.99, 0.95, 0.98, 0.0)]})
    assert [line.count("|") for line in with_topic] == [8, 8, 8]
    assert "| 0.9800 |" in with_topic[2]


def test_tables_stand_between_their_marks(ablation: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marked = "# Page\n\n<!-- one: benchmarks/ablation.py -->\n{}<!-- end of one -->\n\nLast words.\n"
    page.write_text(marked.format("\nold\n\n"))
    ablation.write_between(page, "one", ["| new |"])
    assert page.read_text() == marked.format("\n| new |\n\n")
    ablation.write_between(page, "one", ["| new |"])
    assert page.read_text() == marked.format("\n| new |\n\n")
    ablation.write_between(page, "two", ["| other |"])
    added = "\n## two\n\n<!-- two: benchmarks/ablation.py -->\n\n| other |\n\n<!-- end of two -->\n"
    assert page.read_text() == marked.format("\n| new |\n\n") + added
    ablation.write_between(page, "two", ["| other |"])
    assert page.read_text().count("## two") == 1


def test_no_part_is_left_out_by_another_name(ablation: ModuleType) -> None:
    assert ablation.without("rank") == ("--evidence", "judge,neighbors,topic,mass,text-judge,somnet")
    names = [change.name for change in ablation.CHANGES]
    assert len(set(names)) == len(names)
    assert names[0] == ablation.DEFAULT
