"""Every command of the table is there, has help, and says which stages it runs."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from webclean.cli.app import main
from webclean.cli.commands import COMMANDS
from webclean.stages.chain import CHAIN

# run names the judges in one word
_TOLD = dict.fromkeys(
    ("judge-text", "judge-image", "judge-model", "judge-neighbors", "believe"), "judges"
) | {
    "stage1": "weights",
    "stage2": "weights",
}


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([name, "--help"]) == 0
    return re.sub(r"[\s│]+", " ", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_help_works_and_says_what_the_command_is_for(command, capsys):
    text = help_of(command.name, capsys)
    function = getattr(importlib.import_module(command.module), command.name)
    assert function.__doc__ is not None
    first = function.__doc__.split("\n\n")[0].strip()
    assert " ".join(first.split()) in text
    for flag in ("--config", "--json", "--quiet", "--force", "--seed", "--workers", "--help"):
        assert flag in text


@pytest.mark.parametrize("name", ["ingest", "weight", "train", "attach"])
def test_help_lists_the_stages(name, capsys):
    text = help_of(name, capsys)
    assert "Stages:" in text
    for stage in CHAIN:
        if stage.command == name:
            assert re.search(rf"\b{stage.name}\b", text), stage.name


def test_run_lists_the_whole_chain(capsys):
    text = help_of("run", capsys)
    for stage in CHAIN:
        if stage.command == "attach":
            continue  # it needs a table that only the person has
        assert re.search(rf"\b({stage.name}|{_TOLD.get(stage.name, stage.name)})\b", text), stage.name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_summaries_are_one_sentence(command):
    assert command.summary.endswith(".")
    assert len(command.summary) < 100
    assert command.module == f"webclean.cli.{command.name}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_every_argument_and_flag_has_help(command):
    function = getattr(importlib.import_module(command.module), command.name)
    for parameter in inspect.signature(function).parameters.values():
        (option,) = parameter.annotation.__metadata__
        assert option.help, parameter.name
        assert option.help.rstrip("]").strip(), parameter.name
