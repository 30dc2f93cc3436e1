"""webclean run: the whole chain in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import show
from webclean.cli.options import Settings, configurable, writing
from webclean.cli.weight import WEIGHING
from webclean.config import (
    DecideConfig,
    DedupConfig,
    IngestConfig,
    QualityConfig,
    TrainConfig,
    WeightConfig,
)


@configurable(
    WeightConfig,
    DecideConfig,
    IngestConfig,
    DedupConfig,
    QualityConfig,
    *WEIGHING,
    TrainConfig,
)
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder tree, archive, known data set, img2dataset's output, or CSV, JSONL or Parquet manifest."
        ),
    ],
    run: Annotated[str, typer.Argument(help="Run folder to write.")],
    train: Annotated[bool, typer.Option(help="Train a model after weighting.")] = True,
    *,
    settings: Settings,
) -> None:
    """The whole chain: ingest, dedup, quality, features, similarity, text, judges, weights, train, decide."""
    from webclean.stages import plan

    with writing(run, "run", settings, source) as context:
        outcomes = plan.ingest(
            settings.build(IngestConfig, source=source),
            settings.build(DedupConfig),
            settings.build(QualityConfig),
            context,
            force=settings.force,
        )
        outcomes += plan.weight(settings, context, force=settings.force, decide=not train)
        if train:
            outcomes += plan.train(settings, context, force=settings.force)
    show.outcomes(outcomes, run, settings)
