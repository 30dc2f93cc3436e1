"""webclean ingest: any crawl layout -> images, categories, duplicates."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import show
from webclean.cli.options import Settings, configurable, writing
from webclean.config import DedupConfig, IngestConfig, QualityConfig


@configurable(IngestConfig, DedupConfig, QualityConfig)
def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder tree, archive, known data set, img2dataset's output, or CSV, JSONL or Parquet manifest."
        ),
    ],
    run: Annotated[str, typer.Argument(help="Run folder to write: a local path or an fsspec URL.")],
    *,
    settings: Settings,
) -> None:
    """Bring a crawl into a run folder: every file verified and hashed, duplicates grouped, flaws flagged.

    Stages: ingest, dedup, quality.
    """
    from webclean.stages import plan

    with writing(run, "ingest", settings, source) as context:
        outcomes = plan.ingest(
            settings.build(IngestConfig, source=source),
            settings.build(DedupConfig),
            settings.build(QualityConfig),
            context,
            force=settings.force,
        )
    show.outcomes(outcomes, run, settings)
