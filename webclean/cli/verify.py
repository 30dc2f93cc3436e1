"""webclean verify: is an export still what was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webclean.cli import console
from webclean.cli.options import Settings, configurable


@configurable()
def verify(
    out: Annotated[Path, typer.Argument(help="Folder written by webclean export.")],
    *,
    settings: Settings,
) -> None:
    """Read every file of an export again and compare it with the checksum list; exit 3 where one differs."""
    from webclean.stages import verify as stage

    found = stage.run(out)
    if settings.json:
        console.print_json({"out": str(out), "files": found.num_files, "differing": [], "missing": []})
    else:
        console.print_text(f"{found.num_files:,} files are as they were exported")
