"""webclean doctor: what this machine has, what it lacks, how to get it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from webclean.cli import console
from webclean.cli.options import Settings, configurable


@configurable()
def doctor(
    fetch: Annotated[str | None, typer.Option(help="Get a missing part: wordnet (no root needed).")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Environment that a fetched part goes into; default: this Python's.")
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Look at packages, weights, WordNet and the sentence encoder; exit 4 where the core lacks something."""
    from webclean.errors import ConfigError, DependencyMissingError
    from webclean.stages import doctor as stage

    if fetch not in (None, "wordnet"):
        raise ConfigError(f"doctor cannot fetch {fetch!r}", hint="--fetch wordnet")
    if fetch == "wordnet":
        from webclean.io.wordnet_fetch import fetch_wordnet

        console.note(f"WordNet: {fetch_wordnet(into or Path(sys.prefix))}")
    found = stage.examine()
    if settings.json:
        console.print_json(found)
    else:
        rows = [(f["part"], "yes" if f["found"] else "no", f["detail"]) for f in found]
        console.print_table("This machine", ("part", "there", "detail"), rows)
    missing = [f for f in found if not f["found"] and f["needed"]]
    if missing:
        raise DependencyMissingError(
            f"missing: {', '.join(f['part'] for f in missing)}", hint=missing[0]["hint"]
        )
