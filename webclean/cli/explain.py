"""webclean explain: all that is known of one image, and why it was kept or dropped."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import console, explanation_tables, show
from webclean.cli.options import Settings, configurable


@configurable()
def explain(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    image: Annotated[
        str, typer.Argument(help="An image_id, the beginning of one, or the path as in source_key.")
    ],
    *,
    settings: Settings,
) -> None:
    """Show one image: its file, texts, copies, flags, weights, what each judge says, and the verdict in words."""
    from webclean.io.run_dir import RunDir
    from webclean.stages import explain as stage

    found = stage.explain(RunDir(run), image)
    if settings.json:
        console.print_json(found)
        return
    show.sections(explanation_tables.sections(found))
    for artefact, reason in found["stale"].items():
        console.print_text(f"{artefact} is stale: {reason}")
    for name, row in found["decisions"].items():
        console.print_text(f"{name}: {row['why']}")
    if not found["decisions"]:
        console.print_text(f"Nothing is decided yet: webclean weight {run}")
