"""The last step: one score from all evidence, keep or drop, one reason each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DecideConfig
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops import policies
from webclean.ops.clean_score import Evidence, Score, combine
from webclean.ops.trusted import Correction
from webclean.stages import attach, score_reports
from webclean.stages import trusted as trusted_labels
from webclean.stages.base import Context, Counts, committed
from webclean.stages.copies import Copies, CopyTable
from webclean.stages.judged import Usable, read_usable
from webclean.stages.predictions import Judgement, read_predictions, rows_in_scratch
from webclean.stages.rows import Categories, Follow, flags, floats, is_usable
from webclean.stages.trusted import Trusted

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDS = 5
_FEW = 200  # 90 images of the sample crawl, 27 % of them wrong, were estimated at .00 and .04; 250 at .17


def check(config: DecideConfig, context: Context) -> None:
    """Refuse evidence that is not there, before the decisions that stand are touched."""
    refuse_evidence(config, context)
    before = committed(context.run, schema.decisions_path(config.name))
    if config.trusted is None and before is not None and (file := before["config"].get("trusted")):
        context.note(
            f"decisions '{config.name}' were corrected by the trusted labels of {file}; without --trusted {file} they no"
            " longer are"
        )


def source_fingerprint(config: DecideConfig) -> str | None:
    """SHA-256 of the table of trusted labels; None without one.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: it cannot be read.
    """
    return None if config.trusted is None else trusted_labels.source_fingerprint(config.trusted)


def run(config: DecideConfig, context: Context) -> Counts:
    """Write decisions/<name>: one row for every image, with its score, the parts of it and its reason.

    The share of wrong labels is that of the whole crawl, so the log-probabilities of each judge, and of judges joined, lie in
    files of the scratch folder, 4 bytes an image and category each. In memory some 300 bytes an image are held.
    """
    run_dir = context.run
    categories = Categories(run_dir)
    usable = read_usable(run_dir)
    wanted = config.wanted
    evidence = _gather(config, context, usable, wanted)
    fold_N = usable.folds(_FOLDS, context.seed) if len(usable.label_N) > 1 else np.zeros(1, dtype=np.int64)
    score = combine(
        evidence,
        usable.label_N,
        fold_N[: len(usable.label_N)],
        usable.num_categories,
        neighbor_weight=config.neighbor_weight,
        topic_middle=config.topic_middle,
        room=partial(rows_in_scratch, run_dir),
    )
    trusted, correction, before = None, None, score
    if config.trusted is not None:
        trusted = trusted_labels.read(config.trusted, context.run, context.note)
        score, correction = trusted.correct(score)
        context.result["trusted"] = {
            "labels": int(trusted.known_N.sum()),
            "right": int(trusted.right_N.sum()),
            "slope": round(correction.slope, 4),
            "shift": round(correction.shift, 4),
        }
    if trusted is None and not score.no_judge and len(usable.label_N) < _FEW:
        context.note(
            f"{len(usable.label_N)} usable images are few: the share of wrong labels is estimated too low rather"
            " than too high, and a target purity may not be reached; look at the lowest scores yourself"
        )
    added = partial(_added, before, correction)
    counts = _write(config, context, score, categories, trusted, added)
    context.result |= _told(score, usable, categories)
    stage1 = schema.stage1_path(config.round)
    if not score.no_judge and context.has(stage1):
        context.result["rank_noise"] = score_reports.ranks(
            context.run, stage1, score.clean_N, score.told.get("rank", {}), config.keep_threshold
        )
    return counts


def refuse_evidence(config: DecideConfig, context: Context) -> None:
    """Refuse what is attached as evidence and is not there, or is no column of numbers, and wrong trusted labels.

    Raises:
        DataError: as `trusted.read`.
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
    if config.trusted is not None and committed(context.run, schema.IMAGES) is not None:
        trusted_labels.read(config.trusted, context.run)


def _gather(config: DecideConfig, context: Context, usable: Usable, wanted: frozenset[str]) -> Evidence:
    """Read what was asked for and is there."""
    run_dir, num = context.run, len(usable.label_N)
    missing = np.full(num, np.nan)

    def judge(name: str, *parts: str, round_: int = config.round) -> Judgement | None:
        artefact = schema.predictions_path(name, round_)
        if wanted.isdisjoint(parts) or not context.has(artefact):
            return None
        return read_predictions(run_dir, artefact, usable)

    head, nearest, text_judge = (
        judge(schema.JUDGE_IMAGE, "judge"),
        judge(schema.JUDGE_NEIGHBORS, "neighbors", "topic"),
        judge(schema.JUDGE_TEXT, "text-judge", round_=config.text_round),
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
        rows = follow.take(usable.image_ids)
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


def _added(score: Score, correction: Correction | None, rows: slice) -> Mapping[str, NDArray[np.float64]]:
    return score_reports.added(score.at(rows), correction)


def _write(
    config: DecideConfig,
    context: Context,
    score: Score,
    categories: Categories,
    trusted: Trusted | None,
    added: Callable[[slice], Mapping[str, NDArray[np.float64]]],
) -> Counts:
    """Spread the usable images' scores over all images, settle copies, apply the policy, write part by part."""
    import pyarrow as pa

    run = context.run
    wanted = (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS)
    copy_table = CopyTable(run)
    pieces: dict[str, list[NDArray[Any]]] = {"category": [], "ok": [], "group": [], "keeper": []}
    for rows in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, wanted):
        of_part = copy_table.of(rows.column(schema.IMAGE_ID))
        pieces["category"].append(categories.encode(rows.column(schema.CATEGORY)))
        pieces["ok"].append(is_usable(rows))
        pieces["group"].append(of_part.group_N)
        pieces["keeper"].append(of_part.is_keeper_N)
    category_M, ok_M, group_M, keeper_M = (np.concatenate(piece) for piece in pieces.values())

    def spread(value_K: NDArray[Any], rows: slice) -> NDArray[np.float64]:
        """The numbers of these rows' usable images as those of the rows; NaN where a row is no usable image."""
        value_M = np.full(rows.stop - rows.start, np.nan)
        value_M[ok_M[rows]] = value_K
        return value_M

    first_M = np.concatenate([[0], np.cumsum(ok_M)])
    trusted_N = np.zeros(len(score.clean_N), dtype=bool) if trusted is None else trusted.known_N
    clean_M = spread(score.clean_N, slice(0, len(ok_M)))
    no_test = np.zeros(0, dtype=bool)  # settling copies does not ask for it
    settled = Copies(group_M, keeper_M, no_test).settle(ok_M, category_M, clean_M)
    policy = policies.Policy(threshold=config.keep_threshold)
    weights = _Weights(config, context)
    reasons: Counter[str] = Counter()
    kept = start = 0
    for index, part in enumerate(tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, wanted)):
        rows = slice(start, start + part.num_rows)
        start = rows.stop
        usable = slice(int(first_M[rows.start]), int(first_M[rows.stop]))
        one = score.at(usable)
        image_id = part.column(schema.IMAGE_ID)
        verdicts = policies.decide_keep(
            clean_M[rows],
            category_M[rows],
            part.column(schema.STATUS).to_pylist(),
            settled.duplicate_drop_N[rows],
            settled.conflict_drop_N[rows],
            copy_table.of(image_id).is_against_N,
            policy,
        )
        suggested_p_M = spread(one.suggested_probability_N, rows)
        better_M = suggested_p_M > clean_M[rows]  # False for NaN
        suggested_M = np.where(better_M, spread(one.suggested_N, rows), -1)
        columns: dict[str, Any] = {
            schema.IMAGE_ID: image_id,
            schema.KEEP: verdicts.keep_N,
            schema.WEIGHT: np.where(verdicts.keep_N, weights.of(image_id, clean_M[rows]), 0.0),
            schema.CLEAN_SCORE: clean_M[rows],
            schema.P_RANK: spread(one.p_rank_N, rows),
            schema.P_TEXT: spread(one.p_mass_N, rows),
            schema.P_TEXT_JUDGE: spread(one.p_text_judge_N, rows),
            schema.P_JUDGE: spread(one.p_judge_N, rows),
            schema.P_NEIGHBORS: spread(one.p_neighbors_N, rows),
            schema.P_TOPIC: spread(one.p_topic_N, rows),
            schema.P_SOMNET: spread(one.p_somnet_N, rows),
            **{name: spread(added_K, rows) for name, added_K in added(usable).items()},
            schema.TRUSTED: spread(trusted_N[usable], rows) == 1.0,
            schema.REASON: verdicts.reason_N.tolist(),
            schema.SUGGESTED_CATEGORY: [categories.name_of.get(int(code)) for code in suggested_M],
            schema.SUGGESTED_PROBABILITY: np.where(suggested_M >= 0, suggested_p_M, np.nan),
        }
        for name, values in columns.items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f":
                columns[name] = pa.array(values, mask=np.isnan(values))
        tables.write_part(run, schema.decisions_path(config.name), index, columns, schema.DECISIONS_TABLE)
        kept += int(verdicts.keep_N.sum())
        reasons.update(verdicts.reason_N[~verdicts.keep_N].tolist())
    return Counts(total=len(ok_M), forwarded=kept, dropped=dict(sorted(reasons.items())))


class _Weights:
    """Training weights of the images if they are kept, part by part; an image nobody judged counts fully."""

    def __init__(self, config: DecideConfig, context: Context) -> None:
        artefact, table = schema.stage2_path(config.round), schema.STAGE2_TABLE
        if config.weight_by == "stage1":
            artefact, table = schema.stage1_path(config.round), schema.STAGE1_TABLE
        self._follow = None
        self._times_net = config.weight_by == "product"
        if config.weight_by != "net" and context.has(artefact):
            self._follow = Follow(context.run, artefact, table, (schema.WEIGHT,))

    def of(self, image_id: pa.ChunkedArray, clean_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64, of the next images."""
        net_M = policies.net_weight(clean_M)
        if self._follow is None:
            return net_M
        stages_M = floats(self._follow.take(image_id).column(schema.WEIGHT))
        return stages_M * net_M if self._times_net else stages_M


def _told(score: Score, usable: Usable, categories: Categories) -> dict[str, Any]:
    """What a person wants to know: what each evidence was worth, and how much is wrong where.

    A score without a judge orders the images; of the share of wrong labels it says nothing.
    """
    told = {"no_judge": score.no_judge, "main_view": score.main_view, "evidence": score.told}
    if score.no_judge or not len(score.clean_N):
        nothing: dict[str, Any] = {"wrong_share_by_category": {}, "wrong_share_interval_by_category": {}}
        return told | {"wrong_share": None, "wrong_share_interval": None} | nothing
    return told | score_reports.wrong(score.clean_N, usable.label_N, categories)
