"""Errors travel between processes and become exit codes, tested through `main`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from webclean import errors
from webclean.cli import status as command
from webclean.cli.app import main
from webclean.errors import WebcleanError


def all_kinds(kind: type[WebcleanError] = WebcleanError) -> list[type[WebcleanError]]:
    return [kind, *(k for child in kind.__subclasses__() for k in all_kinds(child))]


@pytest.mark.parametrize("kind", all_kinds())
def test_every_error_survives_pickling(kind):
    error = kind("what [x]", context="where", hint="next")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.context, again.hint) == ("what [x]", "where", "next")
    assert str(again) == "what [x]\n  where: where\n  next:  next"


@pytest.mark.parametrize("kind", all_kinds())
def test_pickling_keeps_what_is_not_said(kind):
    again = pickle.loads(pickle.dumps(kind("only this")))
    assert (str(again), again.context, again.hint) == ("only this", None, None)


def test_references_are_kebab_case_and_unique():
    references = [kind.reference for kind in all_kinds()]
    assert len(set(references)) == len(references)
    assert all(r == r.lower() and " " not in r and "_" not in r for r in references)


def test_every_error_stands_in_the_module_s_table():
    lines = [line.split() for line in (errors.__doc__ or "").splitlines()]
    listed = {word for line in lines for word in line if word.endswith("Error")}
    assert listed == {kind.__name__ for kind in all_kinds()}


def ends(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> int:
    """Exit code of `webclean status RUN` when its stage raises."""

    def survey(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr("webclean.stages.status.survey", survey)
    return main(["status", "run"])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.ImagesNotFoundError, 3),
        (errors.TooManyBadError, 3),
        (errors.ColumnMissingError, 3),
        (errors.ArtifactMissingError, 3),
        (errors.ArtifactStaleError, 3),
        (errors.ArtifactInvalidError, 3),
        (errors.RunLockedError, 3),
        (errors.StorageFullError, 3),
        (errors.DependencyMissingError, 4),
        (errors.WorkerCrashedError, 5),
    ],
)
def test_error_becomes_its_exit_code(kind, code, monkeypatch, capsys):
    assert ends(monkeypatch, kind("what", context="here", hint="do this")) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error[{kind.reference}]: what\n  where: here\n  next:  do this\n"


def test_success_is_0(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("webclean ")


def test_bug_is_1_with_its_traceback(monkeypatch, capsys):
    assert ends(monkeypatch, ZeroDivisionError("of ours")) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ZeroDivisionError: of ours" in shown
    assert "bug in webclean" in shown


def test_interrupt_is_130_and_says_how_to_go_on(monkeypatch, capsys):
    assert ends(monkeypatch, KeyboardInterrupt()) == 130
    assert "go on" in capsys.readouterr().err


@pytest.mark.parametrize("number", [28, 122, 27])  # ENOSPC, EDQUOT, EFBIG
def test_full_disk_is_3_wherever_it_is_met(number, monkeypatch, capsys):
    assert ends(monkeypatch, OSError(number, "no space")) == 3
    assert "error[storage-full]" in capsys.readouterr().err


def test_other_operating_system_errors_are_bugs(monkeypatch, capsys):
    assert ends(monkeypatch, OSError(5, "input/output error")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_broken_pipe_inside_a_command_is_141(monkeypatch):
    monkeypatch.setattr("os.dup2", lambda *_: None)
    stdout, stderr = sys.stdout, sys.stderr
    try:
        assert ends(monkeypatch, BrokenPipeError(32, "reader left")) == 141
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def test_reader_that_leaves_early_gives_141_and_no_noise():
    code = "import sys, time; from webclean.cli.app import main; time.sleep(0.5); sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    noise = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert noise == b""


@pytest.mark.parametrize("arguments", [["nonsense"], ["status"], ["status", "run", "--nonsense"]])
def test_usage_errors_are_2(arguments, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


def test_control_characters_never_reach_the_terminal(monkeypatch, capsys):
    hostile = "cats/\x1b[2J\x07\u202e\udcff.jpg [bold]"
    assert ends(monkeypatch, errors.DataError(hostile)) == 3
    shown = capsys.readouterr().err
    assert shown == "error[data]: cats/\\x1b[2J\\x07\\x202e\\xdcff.jpg [bold]\n"


@pytest.mark.parametrize("write", ["note", "print_text"])
def test_notes_and_results_are_made_safe_too(write, capsys):
    from webclean.cli import console

    function: Callable[[str], None] = getattr(console, write)
    function("a\x1b]0;title\x07b\tc")
    shown = capsys.readouterr()
    assert shown.out + shown.err == "a\\x1b]0;title\\x07b\tc\n"


def test_commands_are_patched_where_they_look():
    assert command.status.__name__ == "status"  # `ends` relies on the import inside the command
