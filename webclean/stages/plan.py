"""Which stages a command runs, in which order, with which config."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from webclean import schema
from webclean.config import (
    DecideConfig,
    DedupConfig,
    FeaturesConfig,
    IngestConfig,
    JudgeImageConfig,
    JudgeNeighborsConfig,
    JudgeTextConfig,
    SimilarityConfig,
    Stage1Config,
    Stage2Config,
    StageConfig,
    TextConfig,
    TrainConfig,
    WeightConfig,
)
from webclean.errors import ArtifactMissingError
from webclean.io import tables
from webclean.stages.base import Context, Outcome, committed, execute
from webclean.stages.chain import BY_NAME

C = TypeVar("C", bound=StageConfig)


class Builder(Protocol):
    """Makes a stage's config from what the person asked for."""

    def build(self, kind: type[C], **fixed: Any) -> C:
        """A config of this kind; `fixed` values are the plan's own."""
        ...


def ingest(
    config: IngestConfig, dedup: DedupConfig, context: Context, *, force: bool = False
) -> list[Outcome]:
    """Run ingest and dedup."""
    return [
        execute(BY_NAME["ingest"], config, context, force=force),
        execute(BY_NAME["dedup"], dedup, context, force=force),
    ]


def weight(settings: Builder, context: Context, *, force: bool = False, decide: bool = True) -> list[Outcome]:
    """Run features, similarity and text, the rounds of judging and weighting, and decide.

    A round beyond the first stops the loop when it changes too little (`round_tolerance`).
    """

    def step(name: str, config: StageConfig) -> Outcome:
        outcome = execute(BY_NAME[name], config, context, force=force)
        outcomes.append(outcome)
        return outcome

    outcomes: list[Outcome] = []
    general = settings.build(WeightConfig)
    features = settings.build(FeaturesConfig)
    made = step("features", features).result["features"]
    feature_set = None if made == "none" else features.name
    step("similarity", settings.build(SimilarityConfig))
    step("text", settings.build(TextConfig))
    last = 1
    for round_ in range(1, general.rounds + 1):
        last = round_
        step("judge-text", settings.build(JudgeTextConfig, round=round_))
        step("judge-image", settings.build(JudgeImageConfig, round=round_, features=feature_set))
        if feature_set is not None:
            step("judge-neighbors", settings.build(JudgeNeighborsConfig, round=round_, features=feature_set))
        step("stage1", settings.build(Stage1Config, round=round_))
        step("stage2", settings.build(Stage2Config, round=round_))
        if round_ > 1:
            change = weight_change(context, round_)
            context.note(f"round {round_}: mean change of the weights {change:.4f}")
            if change < general.round_tolerance:
                context.note(f"rounds stop here: the change is below {general.round_tolerance}")
                break
    if decide:
        step("decide", settings.build(DecideConfig, round=last))
    return outcomes


def weight_change(context: Context, round_: int) -> float:
    """Mean absolute change of the final weights from the round before."""
    import numpy as np

    total, count = 0.0, 0
    pairs = zip(
        tables.iter_parts(context.run, schema.stage2_path(round_ - 1), schema.STAGE2_TABLE, [schema.WEIGHT]),
        tables.iter_parts(context.run, schema.stage2_path(round_), schema.STAGE2_TABLE, [schema.WEIGHT]),
        strict=True,
    )
    for before, after in pairs:
        old, new = before.column(schema.WEIGHT).to_numpy(), after.column(schema.WEIGHT).to_numpy()
        total += float(np.abs(new - old).sum())
        count += len(new)
    return total / max(1, count)


def last_round(context: Context) -> int:
    """The last round whose weights have been made.

    Raises:
        ArtifactMissingError: there are no weights.
    """
    round_ = 0
    while committed(context.run, schema.stage2_path(round_ + 1)) is not None:
        round_ += 1
    if round_ == 0:
        raise ArtifactMissingError(
            f"{context.run.url} has no weights",
            context="train reads the last round's weights",
            hint=f"run `webclean weight {context.run.url}` first",
        )
    return round_


def train(settings: Builder, context: Context, *, force: bool = False) -> list[Outcome]:
    """Train a model on the last round's weights, then decide again with its scores."""
    round_ = last_round(context)
    config = settings.build(TrainConfig, round=round_)
    return [
        execute(BY_NAME["train"], config, context, force=force),
        execute(BY_NAME["decide"], settings.build(DecideConfig, round=round_), context, force=force),
    ]
