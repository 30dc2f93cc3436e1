"""Which stages a command runs, in which order, with which config."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar

from webclean import schema
from webclean.config import (
    BelieveConfig,
    DecideConfig,
    DedupConfig,
    FeaturesConfig,
    IngestConfig,
    JudgeImageConfig,
    JudgeModelConfig,
    JudgeNeighborsConfig,
    JudgeTextConfig,
    QualityConfig,
    SimilarityConfig,
    Stage1Config,
    Stage2Config,
    StageConfig,
    TextConfig,
    TrainConfig,
    WeightConfig,
)
from webclean.errors import ArtifactMissingError, ConfigError
from webclean.io import tables
from webclean.stages.base import Context, Outcome, committed, execute, require, staleness
from webclean.stages.chain import BY_NAME

C = TypeVar("C", bound=StageConfig)

_ROUNDS = 3  # on features; a fourth changes AUROC by less than .0003 (docs/decisions/0020)
_FEWEST_WRONG = 5.0  # expected; fewer teach nothing

_SCAN = "webclean.io.scan"  # what the workers of ingest run


class Builder(Protocol):
    """Makes a stage's config from what the person asked for."""

    def build(self, kind: type[C], **fixed: Any) -> C:
        """A config of this kind; `fixed` values are the plan's own."""
        ...


def ingest(
    config: IngestConfig,
    dedup: DedupConfig,
    quality: QualityConfig,
    context: Context,
    *,
    force: bool = False,
) -> list[Outcome]:
    """Run ingest, dedup and quality."""
    from webclean.stages import retry

    if force:
        config = dataclasses.replace(config, retry_failed=False, update=False)
    again = config.retry_failed and retry.is_wanted(context.run)
    if committed(context.run, schema.IMAGES) is None:
        context.engine.prepare(_SCAN)  # while this process lists SOURCE
    found = execute(BY_NAME["ingest"], config, context, force=force or again)
    if config.retry_failed or config.update:
        retry.forget(context.run)
    return [
        found,
        execute(BY_NAME["dedup"], dedup, context, force=force),
        execute(BY_NAME["quality"], quality, context, force=force),
    ]


def weight(settings: Builder, context: Context, *, force: bool = False, decide: bool = True) -> list[Outcome]:
    """Run features, similarity and text, the rounds of judging, and on the last of them the two stages' weights and decide.

    Rounds stop where the images' judges find no wrong label to learn from, or when a round changes little beside
    the share of wrong labels (`round_tolerance`). With `judge = model:NAME` there is one round: the one after the
    weights that the model was trained on.

    Raises:
        ConfigError: `judge` is no known one, the model's predictions are in sample, or a CLIP model is wanted.
        ArtifactMissingError: the model has not been trained.
    """
    from webclean.stages import decide as decide_stage
    from webclean.stages import imagetext, judge_model

    decide_stage.refuse_evidence(settings.build(DecideConfig), context)  # now, not when its turn comes

    def step(name: str, config: StageConfig) -> Outcome:
        outcome = execute(BY_NAME[name], config, context, force=force)
        outcomes.append(outcome)
        return outcome

    outcomes: list[Outcome] = []
    general = settings.build(WeightConfig)
    model = _judging_model(general)
    first = 1 if model is None else _round_of(context, model) + 1
    if model is not None:
        judge_model.refuse_model_in_sample(context.run, model)
    features = settings.build(FeaturesConfig)
    clip = imagetext.features_config(settings, settings.build(Stage2Config), general, features)
    made = step("features", features).result["features"]
    if clip is not None and clip is not features:
        step("features", clip)
    feature_set = None if made == "none" else features.name
    step("similarity", settings.build(SimilarityConfig))
    step("text", settings.build(TextConfig))
    last = first
    rounds = general.rounds or (1 if model is not None or feature_set is None else _ROUNDS)
    step(
        "judge-text", settings.build(JudgeTextConfig, round=first)
    )  # stage 1 and beliefs need none of a later one
    for round_ in range(first, first + rounds):
        last = round_
        if model is not None:
            step("judge-model", settings.build(JudgeModelConfig, round=round_, model=model))
        else:
            step("judge-image", settings.build(JudgeImageConfig, round=round_, features=feature_set))
        if feature_set is not None:
            step("judge-neighbors", settings.build(JudgeNeighborsConfig, round=round_, features=feature_set))
        believed = step("believe", settings.build(BelieveConfig, round=round_)).result
        if rounds > 1 and (reason := _enough(context, round_, believed, general.round_tolerance)) is not None:
            context.note(f"{round_} of {rounds} rounds: {reason}")
            break
    if last > first:
        step("judge-text", settings.build(JudgeTextConfig, round=last))
    step("stage1", settings.build(Stage1Config, round=last))
    clip_features = None if clip is None else clip.name
    step("stage2", settings.build(Stage2Config, round=last, clip_features=clip_features))
    if decide:
        step("decide", settings.build(DecideConfig, round=last))
    return outcomes


def _enough(context: Context, round_: int, believed: dict[str, Any], tolerance: float) -> str | None:
    """Why a further round would teach nothing; None where it may."""
    share = believed["wrong_share"]
    if share is None:
        return "no judge of images could say which labels to believe"
    if share * believed["judged"] < _FEWEST_WRONG:
        return f"of {believed['judged']:,} labels hardly one is wrong"
    if round_ > 1 and (change := belief_change(context, round_)) < tolerance * share:
        return f"the last moved P(label right) by {change:.4f} in the mean, {share:.3f} of the labels being wrong"
    return None


def _judging_model(config: WeightConfig) -> str | None:
    """Name of the model that judges; None where heads or small networks do."""
    kind, _, name = config.judge.partition(":")
    if config.judge == "auto":
        return None
    if kind != "model" or not name:
        raise ConfigError(f"[weight] judge must be auto or model:NAME; got {config.judge!r}")
    if config.rounds is not None and config.rounds > 1:
        raise ConfigError(
            f"{config.rounds} rounds with the judge {config.judge}: a trained model judges one round",
            hint="leave --rounds out; train again on the new weights for a further one",
        )
    return name


def _round_of(context: Context, model: str) -> int:
    """The round whose weights a model was trained on."""
    record = committed(context.run, schema.model_path(model))
    if record is None:
        raise ArtifactMissingError(
            f"{context.run.url} has no model '{model}'",
            context="its predictions shall judge the images",
            hint=f"run `webclean train {context.run.url} --model-name {model}` first",
        )
    return int(record["config"]["round"])


def belief_change(context: Context, round_: int) -> float:
    """Mean absolute change of P(label right) from the round before."""
    import numpy as np

    total, count = 0.0, 0
    pairs = zip(
        tables.iter_parts(
            context.run, schema.beliefs_path(round_ - 1), schema.BELIEFS_TABLE, [schema.P_RIGHT]
        ),
        tables.iter_parts(context.run, schema.beliefs_path(round_), schema.BELIEFS_TABLE, [schema.P_RIGHT]),
        strict=True,
    )
    for before, after in pairs:
        old, new = before.column(schema.P_RIGHT).to_numpy(), after.column(schema.P_RIGHT).to_numpy()
        total += float(np.abs(new - old).sum())
        count += len(new)
    return total / max(1, count)


def last_round(context: Context, *, force: bool = False) -> int:
    """The round that was last decided on, or else the last one, whose weights are fresh; with `force`, fresh or not.

    Raises:
        ArtifactMissingError: there are no weights.
        ArtifactStaleError: the weights of every round are older than what they were made from.
    """
    names = context.run.folders(schema.WEIGHTS)
    rounds = sorted((int(name[1:]) for name in names if name[1:].isdecimal()), reverse=True)
    made = [round_ for round_ in rounds if committed(context.run, schema.stage2_path(round_)) is not None]
    if not made:
        raise ArtifactMissingError(
            f"{context.run.url} has no weights",
            context="train reads the last round's weights",
            hint=f"run `webclean weight {context.run.url}` first",
        )
    decided = committed(context.run, schema.decisions_path("default"))
    if decided is not None and (wanted := int(decided["config"]["round"])) in made:
        made.insert(0, wanted)  # a later round may stand from a `weight` that was asked for more of them
    for round_ in made:
        if force or staleness(context.run, schema.stage2_path(round_)) is None:
            return round_
    require(context.run, schema.stage2_path(made[0]), reader="train")
    raise AssertionError("a stale artefact is refused")


def train(settings: Builder, context: Context, *, force: bool = False) -> list[Outcome]:
    """Train a model on the last round's weights, then decide again with its scores.

    Raises:
        ArtifactMissingError: there are no weights.
        ArtifactStaleError: the weights are older than what they were made from, and `force` is not set.
        ConfigError: these weights were made by the model that would be overwritten.
    """
    round_ = last_round(context, force=force)
    config = settings.build(TrainConfig, round=round_)
    judge = committed(context.run, schema.predictions_path(schema.JUDGE_IMAGE, round_))
    if judge is not None and schema.model_predictions_path(config.name) in judge["inputs"]:
        raise ConfigError(
            f"the weights of round {round_} were judged by the model '{config.name}' itself",
            context="training it anew would make its own labels' weights stale",
            hint=f"give the new model a name: --model-name {config.name}-r{round_}",
        )
    return [
        execute(BY_NAME["train"], config, context, force=force),
        execute(BY_NAME["decide"], settings.build(DecideConfig, round=round_), context, force=force),
    ]
