"""The front: version, help, which command is loaded."""

from __future__ import annotations

import pytest

import webclean
from webclean.cli import app, console
from webclean.cli.app import main
from webclean.cli.commands import COMMANDS


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"webclean {webclean.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_front_help_lists_every_command_under_its_heading(arguments, capsys):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n  {command.name} ") for command in COMMANDS]
    assert places == sorted(places)
    assert text.index("The four commands:") < places[0] < places[3] < text.index("Around them:") < places[4]
    assert "Every command has --help" in text


def test_nothing_at_all_shows_the_help(capsys):
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "The four commands:" in shown.out + shown.err


def test_a_misspelt_command_offers_the_nearest(capsys):
    assert main(["wieght"]) == 2
    assert "weight" in capsys.readouterr().err


def test_a_stub_is_never_run():
    with pytest.raises(AssertionError, match="train was not loaded"):
        app._stub(next(c for c in COMMANDS if c.name == "train"))()


def test_tables_for_people(capsys):
    console.print_table("T [x]", ("name", "n"), [("a\x1b[2J", 1234), ("b", None), ("[red]c", 0.5)])
    text = capsys.readouterr().out
    assert "T [x]" in text
    assert "a\\x1b[2J" in text
    assert "1,234" in text
    assert "[red]c" in text
    assert "0.500" in text
    console.print_table("E", ("name", "yes"), [("x", True), ("y", False)])
    assert "yes" in capsys.readouterr().out


def test_progress_is_silent_where_nobody_looks(capsys):
    with console.progress(total=3, unit="images", label="decode") as bar:
        bar.advance(2)
        bar.describe("loss [1]")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_json_is_sorted_and_keeps_letters(capsys):
    console.print_json({"b": "ü", "a": 1})
    assert capsys.readouterr().out == '{\n  "a": 1,\n  "b": "ü"\n}\n'
