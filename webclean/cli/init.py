"""webclean init: a commented webclean.toml for a SOURCE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webclean.cli import console
from webclean.cli.options import Settings, configurable


@configurable()
def init(
    source: Annotated[str, typer.Argument(help="The crawl, as `webclean ingest` takes it.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("webclean.toml"),
    *,
    settings: Settings,
) -> None:
    """Write a TOML file with every setting, its meaning and default; columns of SOURCE are guessed."""
    from webclean.errors import ConfigError
    from webclean.stages import settings_file

    if out.exists() and not settings.force:
        raise ConfigError(f"{out} exists", hint="add --force to replace it")
    text, guessed = settings_file.compose(source)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror}", hint="name another file with --out"
        ) from error
    console.print_text(f"wrote {out}")
    for line in guessed:
        console.print_text(f"  {line}")
