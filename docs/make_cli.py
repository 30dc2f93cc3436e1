"""Write docs/cli.md from the commands themselves.

python docs/make_cli.py            writes docs/cli.md
python docs/make_cli.py --check    exits 1 where it is out of date
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from webclean.cli.app import build
from webclean.cli.commands import COMMANDS
from webclean.config import sections

TARGET = Path(__file__).with_name("cli.md")
_GENERAL = "general"
_COMMON = ("config_file", "json_output", "quiet", "force")
_KEYS = {
    (section, field.metadata["flag"].replace("-", "_")): field.name
    for section, kind in sections().items()
    for field in dataclasses.fields(kind)
    if field.metadata.get("flag")
}
"""(section, flag) -> key in TOML, where it is not the flag's own name."""
_DEFAULT = re.compile(r" ?\[default: (.*)\]$")
_HEAD = """\
# The command line

Written by `python docs/make_cli.py` from the commands' own help; a test fails where the two differ.

A setting comes from its flag, else from a TOML file (`--config FILE`, else `RUN/webclean.toml`, else `./webclean.toml`),
else from its default. In TOML the flag's group is the table and underscores stand for dashes: `--keep-threshold 0.6` of
the group `[decide]` is `keep_threshold = 0.6` below `[decide]`. A flag that several stages share stands under the first
of them and sets them all; in TOML each has its own. `webclean init SOURCE` writes a file with every setting, its meaning
and its range. An unknown table, an unknown key or a value out of its range is an error (exit 2), never ignored.

Results go to stdout (`--json` for scripts), notes and progress to stderr. `--quiet` silences the notes.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in webclean |
| 2 | a flag, a setting or a combination of them is not usable |
| 3 | the data or the run folder stands in the way: no usable image, too many bad files, an input missing or stale, \
the folder is being written by another process, the disk is full, `verify` found a difference |
| 4 | something has to be installed |
| 5 | a worker process died, mostly for want of memory; finished parts are kept, and the same command goes on from there |
| 130 | interrupted; the same command goes on from there |
| 141 | the reader of the output left (a closed pipe) |
"""


def render() -> str:
    """The whole page."""
    lines = _HEAD.splitlines()
    lines += ["", "## For every command", "", *_table("option", _options(COMMANDS[0].name, common=True))]
    for panel in dict.fromkeys(command.panel for command in COMMANDS):
        lines += ["", f"## {panel}"]
        for command in COMMANDS:
            if command.panel == panel:
                lines += _command(command.name)
    return "\n".join(lines) + "\n"


def _command(name: str) -> list[str]:
    found = _load(name)
    arguments = [p for p in found.params if p.param_type_name == "argument"]
    options = _options(name, common=False)
    words = ["webclean", name, *(p.name.upper() for p in arguments)]
    words += [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
    lines = ["", f"### webclean {name}", "", f"`{' '.join(words)}`"]
    for paragraph in re.split(r"\n\s*\n", (found.help or "").strip()):
        lines += ["", " ".join(paragraph.split())]
    if arguments:
        lines += ["", "| argument | meaning |", "|---|---|"]
        lines += [f"| `{p.name.upper()}` | {_cell(p.help)} |" for p in arguments]
    for group in dict.fromkeys(p.rich_help_panel for p in options):
        title = f"`[{group}]`" if group else "option"
        lines += ["", *_table(title, [p for p in options if p.rich_help_panel == group])]
    return lines


def _load(name: str) -> Any:
    group: Any = typer.main.get_command(build([name]))
    return group.commands[name]


def _options(name: str, *, common: bool) -> list[Any]:
    """Options of a command that all commands have, or those that are its own."""
    found = [p for p in _load(name).params if p.param_type_name == "option"]
    return [p for p in found if common == (p.rich_help_panel == _GENERAL or p.name in _COMMON)]


def _table(title: str, options: Iterable[Any]) -> Iterable[str]:
    yield f"| {title} | meaning | default |"
    yield "|---|---|---|"
    for option in options:
        text = option.help.replace("\\[", "[")
        default = _DEFAULT.search(text)
        shown = f"`{default.group(1)}`" if default else ("required" if option.required else "")
        flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
        key = _KEYS.get((option.rich_help_panel, option.name))
        said = _DEFAULT.sub("", text) + (f" In TOML: `{key}`." if key else "")
        yield f"| {flags} | {_cell(said)} | {shown} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where it is out of date")
    given = parser.parse_args(arguments)
    page = render()
    if given.check:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write("docs/cli.md is out of date: run `python docs/make_cli.py`\n")
        return 1
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
