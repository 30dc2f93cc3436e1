"""The last step: one score from all evidence, keep or drop, one reason each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DecideConfig
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops import policies
from webclean.ops.clean_score import Evidence, Score, combine
from webclean.stages import attach
from webclean.stages.base import Context, Counts
from webclean.stages.copies import CopyTable
from webclean.stages.judged import Usable, read_usable
from webclean.stages.predictions import Judgement, read_predictions
from webclean.stages.rows import Categories, Follow, flags, floats, is_usable

if TYPE_CHECKING:
    import pyarrow as pa

_GROUPS = {"image": ("judge", "neighbors", "topic"), "text": ("mass", "text-judge")}
_FOLDS = 5
_FEW = 200  # 90 images of the sample crawl, 27 % of them wrong, were estimated at .00 and .04; 250 at .17


def check(config: DecideConfig, context: Context) -> None:
    """Refuse evidence that is not there, before the decisions that stand are touched."""
    refuse_evidence(config, context)


def run(config: DecideConfig, context: Context) -> Counts:
    """Write decisions/<name>: one row for every image, with its score, the parts of it and its reason.

    Held whole: the dense probabilities of each judge, 8 bytes an image and category, since the share of wrong
    labels is that of the whole crawl. Three judges of a million images in 50 categories take 1.2 GB.
    """
    run_dir = context.run
    categories = Categories(run_dir)
    usable = read_usable(run_dir)
    wanted = _wanted(config)
    evidence = _gather(config, context, usable, wanted)
    fold_N = usable.folds(_FOLDS, context.seed) if len(usable.label_N) > 1 else np.zeros(1, dtype=np.int64)
    score = combine(
        evidence,
        usable.label_N,
        fold_N[: len(usable.label_N)],
        usable.num_categories,
        neighbor_weight=config.neighbor_weight,
        topic_middle=config.topic_middle,
    )
    if not score.no_judge and len(usable.label_N) < _FEW:
        context.note(
            f"{len(usable.label_N)} usable images are few: the share of wrong labels is estimated too low rather"
            " than too high, and a target purity may not be reached; look at the lowest scores yourself"
        )
    counts = _write(config, context, usable, score, categories)
    context.result |= _told(score, usable, categories)
    return counts


def refuse_evidence(config: DecideConfig, context: Context) -> None:
    """Refuse what is attached as evidence and is not there, or is no column of numbers.

    Raises:
        ColumnMissingError, ArtifactStaleError: as `attach.locate`.
        ConfigError: its cells are no numbers.
    """
    for name, column in config.attached_evidence:
        wanted = f"{name}.{column}"
        _, _, kind = attach.locate(context.run, wanted, reader="--evidence", force=context.force)
        if kind == "string":
            raise ConfigError(
                f"--evidence attached:{wanted}: its cells are text, and an evidence is a number",
                hint="use it in a policy: export --require",
            )


def _wanted(config: DecideConfig) -> set[str]:
    if not config.evidence:
        return {"judge", "neighbors", "topic", "rank", "mass", "text-judge", "somnet"}
    return {part for name in config.evidence for part in _GROUPS.get(name, (name,))}


def _gather(config: DecideConfig, context: Context, usable: Usable, wanted: set[str]) -> Evidence:
    """Read what was asked for and is there."""
    import pyarrow as pa

    run_dir, num = context.run, len(usable.image_ids)
    missing = np.full(num, np.nan)

    def judge(name: str, *parts: str) -> Judgement | None:
        artefact = schema.predictions_path(name, config.round)
        if wanted.isdisjoint(parts) or not context.has(artefact):
            return None
        return read_predictions(run_dir, artefact, usable)

    head, nearest, text_judge = (
        judge(schema.JUDGE_IMAGE, "judge"),
        judge(schema.JUDGE_NEIGHBORS, "neighbors", "topic"),
        judge(schema.JUDGE_TEXT, "text-judge"),
    )
    neighbors = nearest if "neighbors" in wanted else None
    topic = nearest if "topic" in wanted else None
    rank_N = missing
    if "rank" in wanted and context.has(schema.stage1_path(config.round)):
        rank_N = _of_usable(
            context, usable, schema.stage1_path(config.round), schema.STAGE1_TABLE, schema.RANK_PERCENTILE
        )
    mass_N = missing
    if "mass" in wanted and context.has(schema.TEXT):
        mass_N = _of_usable(context, usable, schema.TEXT, schema.TEXT_TABLE, schema.LABEL_MASS)
    somnet_N = missing
    model = schema.model_predictions_path(config.model)
    if "somnet" in wanted and context.has(model):
        columns = (schema.SOMNET_SCORE, schema.IN_SAMPLE)
        follow = Follow(run_dir, model, schema.MODEL_PREDICTIONS_TABLE, columns)
        rows = follow.take(pa.chunked_array([pa.array(usable.image_ids, type=pa.string())]))
        if flags(rows.column(schema.IN_SAMPLE)).any():
            context.note(f"{model} are in sample: a score that has seen the labels is left out")
        else:
            somnet_N = floats(rows.column(schema.SOMNET_SCORE))
    judged_N = np.zeros(num, dtype=bool)
    for judgement in (head, neighbors):
        if judgement is not None:
            judged_N |= judgement.known_N
    return Evidence(
        judge_NC=_known(head),
        judged_N=judged_N,
        neighbors_NC=_known(neighbors),
        text_judge_NC=None
        if text_judge is None or not text_judge.known_N.any()
        else text_judge.log_probability_NC,
        has_text_N=np.zeros(num, dtype=bool) if text_judge is None else text_judge.known_N,
        similarity_N=missing if topic is None else topic.similarity_N,
        rank_percentile_N=rank_N,
        text_mass_N=mass_N,
        somnet_N=somnet_N,
        further={
            f"{name}.{column}": _attached(context, usable, name, column)
            for name, column in config.attached_evidence
        },
    )


def _attached(context: Context, usable: Usable, name: str, column: str) -> NDArray[np.float64]:
    """A column of numbers that was attached, at the usable images."""
    artefact, columns = schema.attached_path(name), attach.columns_of(context.run, name)
    return _of_usable(context, usable, artefact, schema.attached_table(columns), column)


def _known(judgement: Judgement | None) -> NDArray[np.float64] | None:
    return None if judgement is None or not judgement.known_N.any() else judgement.log_probability_NC


def _of_usable(
    context: Context, usable: Usable, artefact: str, table: schema.Table, column: str
) -> NDArray[np.float64]:
    """A column of an artefact with a row for every image, at the usable ones; null is NaN."""
    follow = Follow(context.run, artefact, table, (column,))
    pieces = []
    for part in tables.iter_parts(
        context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, schema.STATUS)
    ):
        value = floats(follow.take(part.column(schema.IMAGE_ID)).column(column))
        pieces.append(value[is_usable(part)])
    return np.concatenate(pieces)


def _write(
    config: DecideConfig, context: Context, usable: Usable, score: Score, categories: Categories
) -> Counts:
    """Spread the usable images' scores over all images, settle copies, apply the policy, write."""
    import pyarrow as pa

    rows = tables.read(
        context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS)
    )
    image_ids = rows.column(schema.IMAGE_ID).to_pylist()
    status = rows.column(schema.STATUS).to_pylist()
    category_M = categories.encode(rows.column(schema.CATEGORY))
    ok_M = is_usable(rows)

    def spread(value_N: NDArray[Any]) -> NDArray[np.float64]:
        value_M = np.full(len(image_ids), np.nan)
        value_M[ok_M] = value_N
        return value_M

    clean_M = spread(score.clean_N)
    copies = CopyTable(context.run).of(rows.column(schema.IMAGE_ID))
    settled = copies.settle(ok_M, category_M, clean_M)
    verdicts = policies.decide_keep(
        clean_M,
        category_M,
        status,
        settled.duplicate_drop_N,
        settled.conflict_drop_N,
        copies.is_against_N,
        policies.Policy(threshold=config.keep_threshold),
    )
    weight_M = np.where(
        verdicts.keep_N, _weights(config, context, rows.column(schema.IMAGE_ID), clean_M), 0.0
    )
    suggested_M = np.full(len(image_ids), -1, dtype=np.int64)
    suggested_M[ok_M] = np.where(score.suggested_probability_N > score.clean_N, score.suggested_N, -1)
    names = np.array([categories.name_of.get(int(code)) for code in suggested_M], dtype=object)
    columns: dict[str, Any] = {
        schema.IMAGE_ID: image_ids,
        schema.KEEP: verdicts.keep_N,
        schema.WEIGHT: weight_M,
        schema.CLEAN_SCORE: clean_M,
        schema.P_RANK: spread(score.p_rank_N),
        schema.P_TEXT: spread(score.p_mass_N),
        schema.P_TEXT_JUDGE: spread(score.p_text_judge_N),
        schema.P_JUDGE: spread(score.p_judge_N),
        schema.P_NEIGHBORS: spread(score.p_neighbors_N),
        schema.P_TOPIC: spread(score.p_topic_N),
        schema.P_SOMNET: spread(score.p_somnet_N),
        schema.REASON: verdicts.reason_N.tolist(),
        schema.SUGGESTED_CATEGORY: names.tolist(),
        schema.SUGGESTED_PROBABILITY: np.where(
            suggested_M >= 0, spread(score.suggested_probability_N), np.nan
        ),
    }
    for index, start in enumerate(range(0, len(image_ids), tables.PART_ROWS)):
        part: dict[str, Any] = {}
        for name, values in columns.items():
            piece = values[start : start + tables.PART_ROWS]
            is_float = isinstance(piece, np.ndarray) and piece.dtype.kind == "f"
            part[name] = pa.array(piece, mask=np.isnan(piece)) if is_float else piece
        tables.write_part(
            context.run, schema.decisions_path(config.name), index, part, schema.DECISIONS_TABLE
        )
    reasons = Counter(verdicts.reason_N[~verdicts.keep_N].tolist())
    return Counts(
        total=len(image_ids), forwarded=int(verdicts.keep_N.sum()), dropped=dict(sorted(reasons.items()))
    )


def _weights(
    config: DecideConfig, context: Context, image_id: pa.ChunkedArray, clean_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Training weight of each image if it is kept; an image nobody judged counts fully."""
    net_M = policies.net_weight(clean_M)
    artefact, table = schema.stage2_path(config.round), schema.STAGE2_TABLE
    if config.weight_by == "stage1":
        artefact, table = schema.stage1_path(config.round), schema.STAGE1_TABLE
    if config.weight_by == "net" or not context.has(artefact):
        return net_M
    stages_M = floats(
        Follow(context.run, artefact, table, (schema.WEIGHT,)).take(image_id).column(schema.WEIGHT)
    )
    return stages_M * net_M if config.weight_by == "product" else stages_M


def _told(score: Score, usable: Usable, categories: Categories) -> dict[str, Any]:
    """What a person wants to know: what each evidence was worth, and how much is wrong where.

    A score without a judge orders the images; of the share of wrong labels it says nothing.
    """
    told = {"no_judge": score.no_judge, "main_view": score.main_view, "evidence": score.told}
    if score.no_judge or not len(score.clean_N):
        return told | {"wrong_share": None, "wrong_share_by_category": {}}
    wrong_C = np.bincount(usable.label_N, 1.0 - score.clean_N, minlength=usable.num_categories)
    count_C = np.bincount(usable.label_N, minlength=usable.num_categories)
    share_C = np.divide(wrong_C, count_C, out=np.full(len(wrong_C), np.nan), where=count_C > 0)
    return told | {
        "wrong_share": round(float((1.0 - score.clean_N).mean()), 4),
        "wrong_share_by_category": categories.by_name(share_C),
    }
