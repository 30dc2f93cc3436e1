"""The entry point: which command, and which exit code an error becomes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from webclean.cli import console
from webclean.cli.commands import COMMANDS, Command
from webclean.errors import StorageFullError, WebcleanError

_HELP = "Turn a raw web crawl of images into a data set that is fit to train on."
_EPILOG = "Every command has --help. Results go to stdout, everything else to stderr."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Front(TyperGroup):
    """Lists the commands under their headings, in plain text: rich costs a third of the time to start."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Called by `--help`."""
        for panel in dict.fromkeys(command.panel for command in COMMANDS):
            with formatter.section(panel):
                formatter.write_dl([(c.name, c.summary) for c in COMMANDS if c.panel == panel])


def _stub(command: Command) -> Callable[[], None]:
    """Stands for a command that this call does not run: its line in the help needs no import."""

    def function() -> None:
        raise AssertionError(f"{command.name} was not loaded")

    return function


def build(argv: Sequence[str]) -> typer.Typer:
    """The Typer app with the one command that argv names loaded, the others as lines of help."""
    wanted = next((word for word in argv if not word.startswith("-")), None)
    app = typer.Typer(
        name="webclean",
        cls=_Front,
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None if wanted is None else "rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for command in COMMANDS:
        function: Callable[..., Any] = _stub(command)
        if command.name == wanted:
            function = getattr(importlib.import_module(command.module), command.name)
            app.command(command.name)(function)
        else:
            app.command(command.name, help=command.summary)(function)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        import webclean

        typer.echo(f"webclean {webclean.__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and leave.", callback=_show_version, is_eager=True
    ),
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run webclean; returns the exit code (0, or as `webclean.errors` lists)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()  # a reader that has left is met here, not when Python ends
    except WebcleanError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return _deserted()
    except OSError as error:
        if error.errno in _FULL:
            return _fail(StorageFullError(f"no space left: {error}", hint="free space and run it again"))
        return _bug()
    except Exception:  # noqa: BLE001 - the one place where a bug becomes an exit code
        return _bug()
    return code


def _run(arguments: list[str]) -> int:
    try:
        build(arguments)(arguments, prog_name="webclean", standalone_mode=True)
    except SystemExit as leaving:
        # Typer turns an interrupt and a broken pipe into exits of its own; what they were stands behind.
        if isinstance(leaving.__context__, BrokenPipeError):
            raise leaving.__context__ from None
        if leaving.__context__ is not None and isinstance(leaving.__context__.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def _interrupted() -> int:
    sys.stderr.write("interrupted; run the same command again to go on from here\n")
    return 130


def _deserted() -> int:
    # The reader of our output left: not an error of ours, and nothing more can be written.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _bug() -> int:
    traceback.print_exc()
    sys.stderr.write("this is a bug in webclean: please report it with the lines above\n")
    return 1


def _fail(error: WebcleanError) -> int:
    console.note(f"error[{error.reference}]: {error}")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
