"""webclean train: SOMNet, or the plain baseline."""

from __future__ import annotations

from typing import Annotated

import typer

from webclean.cli import show
from webclean.cli.options import Settings, configurable, writing
from webclean.config import DecideConfig, TrainConfig


@configurable(TrainConfig, DecideConfig)
def train(
    run: Annotated[str, typer.Argument(help="Run folder made by ingest and weight.")],
    *,
    settings: Settings,
) -> None:
    """Train a noise-robust model; its scores then take part in the decisions.

    Stages: train, decide.
    """
    from webclean.stages import plan

    with writing(run, "train", settings) as context:
        outcomes = plan.train(settings, context, force=settings.force)
    show.outcomes(outcomes, run, settings)
