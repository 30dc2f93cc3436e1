"""webclean status: what a run folder holds, what is stale, what comes next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from webclean.cli import console
from webclean.cli.options import Settings, configurable


@configurable()
def status(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    *,
    settings: Settings,
) -> None:
    """List the artefacts of a run with their counts and age, and say which command comes next."""
    from webclean.io.run_dir import RunDir
    from webclean.stages import status as stage

    found = stage.survey(RunDir(run))
    if settings.json:
        console.print_json(found)
        return
    rows = [
        (row["artefact"], row["state"], row["total"], row["forwarded"], row["seconds"], _age(row["finished"]))
        for row in found["artefacts"]
    ]
    console.print_table(f"Run {run}", ("artefact", "state", "in", "on", "seconds", "age"), rows)
    if lock := found["lock"]:
        who = f"`{lock['command']}`, process {lock['pid']} on {lock['host']}"
        gone = lock["alive"] is False
        console.print_text(f"left by {who}, which is gone" if gone else f"being written by {who}")
    console.print_text(f"next: {found['next']}")


def _age(finished: str | None) -> str | None:
    """How long ago, in the largest unit that fits."""
    if finished is None:
        return None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(finished)).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "< 1 min"
