"""webclean evaluate: hold decisions, scores and models against a truth table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webclean.cli import console, evaluation_tables, show
from webclean.cli.options import Settings, configurable, writing
from webclean.config import EvaluateConfig


@configurable(EvaluateConfig)
def evaluate(
    run: Annotated[str, typer.Argument(help="Run folder with decisions.")],
    truth: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet with the true category of each image.")],
    reliability: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw how often labels are right at each score into FILE.png."),
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Hold the decisions against a truth table: ranking, errors, duplicates, bad files, a model's top-1."""
    from webclean.stages import evaluate as stage

    with writing(run, "evaluate", settings) as context:
        result = stage.run(settings.build(EvaluateConfig), context, truth, force=settings.force)
    if reliability is not None:
        stage.draw(result, reliability)
    if settings.json:
        console.print_json(result)
    else:
        show.sections(evaluation_tables.sections(result))
