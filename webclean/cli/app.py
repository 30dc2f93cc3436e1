"""The entry point: which command, and which exit code an error becomes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer

from webclean.cli.commands import COMMANDS, Command
from webclean.errors import StorageFullError, WebcleanError

_HELP = "Turn a raw web crawl of images into a data set that is fit to train on."
_EPILOG = "Every command has --help. Results go to stdout, everything else to stderr."


def _stub(command: Command) -> Callable[[], None]:
    """Stands for a command that this call does not run: its line in the help needs no import."""

    def function() -> None:
        raise AssertionError(f"{command.name} was not loaded")

    return function


def build(argv: Sequence[str]) -> typer.Typer:
    """The Typer app with the one command that argv names loaded, the others as lines of help."""
    app = typer.Typer(
        name="webclean",
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for command in COMMANDS:
        function: Callable[..., Any] = _stub(command)
        if command.name == wanted:
            function = getattr(importlib.import_module(command.module), command.name)
            app.command(command.name, rich_help_panel=command.panel)(function)
        else:
            app.command(command.name, help=command.summary, rich_help_panel=command.panel)(function)
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
        build(arguments)(arguments, prog_name="webclean", standalone_mode=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else (0 if leaving.code is None else 1)
    except WebcleanError as error:
        return _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on from here\n")
        return 130
    except BrokenPipeError:
        # The reader of our output left: not an error of ours, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(StorageFullError(f"no space left: {error}", hint="free space and run it again"))
        traceback.print_exc()
        return 1
    except Exception:  # noqa: BLE001 - the one place where a bug becomes an exit code
        traceback.print_exc()
        sys.stderr.write("this is a bug in webclean: please report it with the lines above\n")
        return 1
    return 0


def _fail(error: WebcleanError) -> int:
    text = f"error[{error.reference}]: {error}"
    # Paths and titles come from the crawl: control characters must not reach the terminal.
    clean = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
    sys.stderr.write(clean.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
