"""webclean export: the cleaned or weighted set, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from webclean.cli import console
from webclean.cli.options import Settings, configurable, writing
from webclean.config import ExportConfig

_SHOWN: Final = 5  # categories that a note lists


@configurable(ExportConfig)
def export(
    run: Annotated[str, typer.Argument(help="Run folder with decisions.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it appears whole or not at all.")],
    *,
    settings: Settings,
) -> None:
    """Write the kept images, or all usable ones with their weights, as a folder that trainers read."""
    from webclean.stages import export as stage

    with writing(run, "export", settings) as context:
        done = stage.run(settings.build(ExportConfig), context, out, force=settings.force)
    if short := _short_of(settings.build(ExportConfig).min_per_category, done.by_category):
        settings.note(short)
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in sorted(done.counts.dropped.items()) if n)
    if settings.json:
        console.print_json(
            {
                "out": str(done.out),
                "total": done.counts.total,
                "exported": done.counts.forwarded,
                "dropped": done.counts.dropped,
                "relabelled": done.num_relabelled,
                "by_category": {
                    name: {"exported": kept, "dropped": left}
                    for name, (kept, left) in sorted(done.by_category.items())
                },
            }
        )
        return
    rows = [(name, kept, left) for name, (kept, left) in sorted(done.by_category.items())]
    console.print_table(f"Exported to {out}", ("category", "exported", "left out"), rows)
    console.print_text(
        f"{done.counts.forwarded:,} of {done.counts.total:,} images exported"
        f"{f', {done.num_relabelled:,} of them relabelled' if done.num_relabelled else ''};"
        f" left out: {dropped or 'none'}. Check it any time with: webclean verify {out}"
    )


def _short_of(least: int, by_category: Mapping[str, tuple[int, int]]) -> str | None:
    """Which categories hold fewer images than --min-per-category asks for."""
    short = [(name, kept) for name, (kept, _) in sorted(by_category.items()) if kept < least]
    if not short:
        return None
    shown = ", ".join(f"{name} ({kept})" for name, kept in short[:_SHOWN])
    more = ", ..." if len(short) > _SHOWN else ""
    return (
        f"--min-per-category {least} is not reached by {len(short)} categories: {shown}{more};"
        " bad files and copies are not given back"
    )
