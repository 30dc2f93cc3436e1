"""webclean attach: columns made elsewhere, for policies and as evidence."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import console, show
from webclean.cli.options import Settings, configurable, writing
from webclean.config import AttachConfig


@configurable(AttachConfig)
def attach(
    run: Annotated[str, typer.Argument(help="Run folder made by ingest.")],
    table: Annotated[
        str, typer.Argument(help="CSV, TSV, JSONL or Parquet table with one row for each image it speaks of.")
    ],
    *,
    settings: Settings,
) -> None:
    """Join a table's columns to the images: scores, licences, anything made elsewhere.

    Stages: attach.
    """
    from webclean.stages import attach as stage
    from webclean.stages.base import execute
    from webclean.stages.chain import BY_NAME

    name = settings.build(AttachConfig).name or stage.default_name(table)
    config = settings.build(AttachConfig, table=table, name=name)
    with writing(run, "attach", settings) as context:
        outcome = execute(BY_NAME["attach"], config, context, force=settings.force)
    show.outcomes([outcome], run, settings)
    if not settings.json:
        columns = ", ".join(f"{column} ({kind})" for column, kind in outcome.result[stage.COLUMNS].items())
        console.print_text(
            f"Attached as {name}: {columns}. {outcome.counts.forwarded:,} of {outcome.counts.total:,} images have a row,"
            f" {outcome.result['unmatched_rows']:,} of {outcome.result['rows']:,} rows name no image."
        )
