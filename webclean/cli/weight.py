"""webclean weight: relations, judges, two-stage weights, decisions."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import show
from webclean.cli.options import Settings, configurable, writing
from webclean.config import (
    DecideConfig,
    FeaturesConfig,
    GeneralConfig,
    JudgeImageConfig,
    JudgeNeighborsConfig,
    JudgeTextConfig,
    SimilarityConfig,
    Stage1Config,
    Stage2Config,
    TextConfig,
    WeightConfig,
)

WEIGHING = (
    FeaturesConfig,
    SimilarityConfig,
    TextConfig,
    JudgeTextConfig,
    JudgeImageConfig,
    JudgeNeighborsConfig,
    Stage1Config,
    Stage2Config,
)
"""Configs of the stages that judge and weigh, which `run` runs too."""


@configurable(WeightConfig, DecideConfig, *WEIGHING)
def weight(
    run: Annotated[str, typer.Argument(help="Run folder made by ingest.")],
    explain: Annotated[
        str | None, typer.Option(help="Print the sense and the neighbours of one category and leave.")
    ] = None,
    relations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write how alike the categories are to FILE (.graphml, .png, .csv or .parquet) and leave.",
        ),
    ] = None,
    to_label: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write images that are worth a look for --trusted, unsure ones most, to FILE.csv and leave.",
        ),
    ] = None,
    to_label_count: Annotated[int, typer.Option(min=1, help="How many images --to-label writes.")] = 50,
    *,
    settings: Settings,
) -> None:
    """Weigh every image by rank, text and out-of-sample judges, and decide what to keep.

    Stages: features, similarity, text, then in each round judge-text, judge-image,
    judge-neighbors, believe, stage1, stage2; at last decide. With --judge model:NAME, judge-model instead
    of judge-image, in the round after the model's own.
    """
    if explain is not None:
        from webclean.io.run_dir import RunDir
        from webclean.stages import similarity

        found = similarity.neighbors_of(RunDir(run), explain)
        if not settings.json:
            sense = similarity.sense_of(RunDir(run), explain)
            corpus = settings.build(SimilarityConfig).wordnet
            show.sense(sense, similarity.glosses(sense.alternatives, corpus), run)
        show.neighbors(explain, found, settings)
        return
    if relations is not None:
        from webclean.io.run_dir import RunDir
        from webclean.stages import relations as stage

        show.relations(relations, stage.write(RunDir(run), relations), settings)
        return
    if to_label is not None:
        from webclean.io.run_dir import RunDir
        from webclean.stages import trusted

        name, seed = settings.build(DecideConfig).name, settings.build(GeneralConfig).seed
        written = trusted.write_to_label(RunDir(run), to_label, name, to_label_count, seed)
        show.to_label(to_label, written, run, settings)
        return
    from webclean.stages import plan

    with writing(run, "weight", settings) as context:
        outcomes = plan.weight(settings, context, force=settings.force)
    show.outcomes(outcomes, run, settings)
