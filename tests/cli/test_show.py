"""Results as a person sees them."""

from __future__ import annotations

import pytest

from webclean.cli import show
from webclean.stages.similarity import Sense


def cranes(num: int) -> list[Sense]:
    return [
        Sense(
            category_id=i, name=f"crane {i}", queries=(), synset="crane.n.04", gloss="lifts and moves " * 9,
            senses_found=("crane.n.01", "crane.n.04", "crane.n.05"), chosen_by="text",
        )
        for i in range(num)
    ]  # fmt: skip


def test_senses_are_shown_where_a_name_has_several(capsys: pytest.CaptureFixture[str]) -> None:
    dog = Sense(category_id=9, name="dog", queries=(), synset="dog.n.01", senses_found=("dog.n.01",))
    show.senses([dog], "my-run")
    assert capsys.readouterr().out == ""
    show.senses([dog, *cranes(1)], "my-run")
    shown = capsys.readouterr().out
    assert "dog" not in shown
    row = next(line.split() for line in shown.splitlines() if "crane 0" in line)
    assert row[2] == "crane.n.04"
    assert row[-1] == "2"
    assert "..." in row
    assert "fit with the other categories" in " ".join(row)
    assert "webclean weight my-run --explain CATEGORY" in shown
    assert "--senses FILE" in shown
    assert "more" not in shown


def test_many_senses_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show.senses(cranes(14), "my-run")
    shown = capsys.readouterr().out
    assert shown.count("crane.n.04") == 10
    assert "... and 4 more, in my-run/category_senses" in shown


def test_the_sense_of_one_category(capsys: pytest.CaptureFixture[str]) -> None:
    show.sense(cranes(1)[0], ["a town", None], "my-run")
    shown = capsys.readouterr().out
    assert "crane 0: crane.n.04 (lifts and moves" in shown
    assert "fit with the other categories" in shown
    assert "crane.n.01   a town" in shown
    assert "--senses FILE" in shown
    show.sense(Sense(category_id=0, name="formula1", queries=()), [], "my-run")
    assert "formula1: no sense in WordNet" in capsys.readouterr().out
