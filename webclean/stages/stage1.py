"""Stage 1: what each image is worth before any model has seen it (two-stage weighting).

Images are read and written part by part; only numbers are held for the whole crawl (about 100 bytes an
image: a code, a rank, two text scores), because a rank counts inside its query, a weight inside its
category, and the images of a query or category are spread over all parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import Stage1Config
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops import ranks, stage_weights
from webclean.stages.base import Context, Counts
from webclean.stages.copies import CopyTable
from webclean.stages.rows import (
    Categories,
    Codes,
    Follow,
    collect,
    flags,
    floats,
    padded,
    refuse_in_sample,
    write_columns,
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The numbers of all images, in image order."""

    category_N: NDArray[np.int64]
    query_N: NDArray[np.int64]
    source_N: NDArray[np.int64]
    rank_N: NDArray[np.int64]
    has_rank_N: NDArray[np.bool_]
    usable_N: NDArray[np.bool_]  # the file can be read
    drawn_N: NDArray[np.bool_]  # training may draw it: no copy of a kept image or of a test image
    mass_N: NDArray[np.float64]
    judge_N: NDArray[np.float64]
    agreement_N: NDArray[np.float64]


def run(config: Stage1Config, ctx: Context) -> Counts:
    """Write weights/r<round>/stage1: one row for every image, bad files with weight 0.

    Raises:
        ConfigError: an option asks for predictions or features that are not there.
    """
    categories = Categories(ctx.run)
    judge = schema.predictions_path(schema.JUDGE_TEXT, 1)  # later ones have been told what the images say
    has_judge = ctx.has(judge)
    if config.rank_model == "calibrated" and not has_judge:
        raise ConfigError(
            "rank model 'calibrated' learns from the text judge, and this run has no text judge",
            context=f"{judge} is not there",
            hint="choose --rank-model linear, log or exp",
        )
    if config.stage1_method == "prototype" and config.prototype_features is None:
        raise ConfigError(
            "stage-1 method 'prototype' needs a feature set", hint="name it with --prototype-features"
        )
    rows, counts = _read(ctx, categories, judge if has_judge else None)

    positions = _positions(rows, ctx)
    known_rho_N = ranks.rank_weight(
        positions,
        model=config.rank_model,
        floor=config.rank_floor,
        power=config.rank_power,
        agreement_N=rows.agreement_N,
    )
    rho_N = ranks.fill_missing(known_rho_N, rows.query_N)
    kappa_N, missing_text_N = stage_weights.text_match(
        rows.mass_N, rows.judge_N, rows.category_N, categories.num, evidence=config.text_evidence
    )
    if config.stage1_method == "prototype":
        weight_N = _prototype_weights(config, ctx, rows, positions, categories.num)
    else:
        weight_N = stage_weights.stage1_weight(rho_N, kappa_N, rows.category_N, categories.num, rows.usable_N)
    weight_N = stage_weights.raise_class_means(
        weight_N, rows.category_N, categories.num, rows.usable_N, config.stage1_minimum_mean
    )
    drawn_N = np.where(rows.drawn_N, weight_N, 0.0)
    sampling_N = stage_weights.sampling_probability(drawn_N, rows.category_N, categories.num)

    ranked_N = positions.position_N > 0
    write_columns(
        ctx.run,
        schema.stage1_path(config.round),
        schema.STAGE1_TABLE,
        {
            schema.RANK_POSITION: (positions.position_N, ~ranked_N),
            schema.RANK_PERCENTILE: (positions.percentile_N, ~ranked_N),
            schema.RANK_WEIGHT: rho_N,
            schema.TEXT_MATCH: kappa_N,
            schema.P_TEXT_JUDGE_STAGE1: (rows.judge_N, np.isnan(rows.judge_N)),
            schema.WEIGHT: weight_N,
            schema.SAMPLING: sampling_N,
            schema.MISSING_RANK: ~ranked_N,
            schema.MISSING_TEXT: missing_text_N,
        },
    )
    usable_N = rows.usable_N
    mean_C = stage_weights.class_mean(np.where(usable_N, weight_N, np.nan), rows.category_N, categories.num)
    effective_C = stage_weights.effective_samples(drawn_N, rows.category_N, categories.num)
    ctx.result = {
        "rank_lists": positions.num_lists,
        "rank_lists_from_zero": positions.num_zero_based,
        "tied_ranks": positions.num_tied,
        "missing_rank": int(np.count_nonzero(usable_N & ~ranked_N)),
        "missing_text": int(np.count_nonzero(usable_N & missing_text_N)),
        "text_judge": has_judge,
        "copies_not_sampled": int(np.count_nonzero(usable_N & ~rows.drawn_N)),
        "mean_weight": categories.by_name(mean_C),
        "effective_samples": categories.by_name(effective_C, digits=1),
    }
    return counts


def _read(ctx: Context, categories: Categories, judge: str | None) -> tuple[_Rows, Counts]:
    import pyarrow.compute as pc

    queries, sources = Codes(), Codes()
    copies = CopyTable(ctx.run)
    text = _follow_text(ctx)
    predictions = _follow_judge(ctx, judge)

    def of_part(part: Any, usable_N: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        image_id, rank = part.column(schema.IMAGE_ID), part.column(schema.RANK)
        category_N = categories.encode(part.column(schema.CATEGORY))
        judge_N, agreement_N = np.full((2, part.num_rows), np.nan)
        if predictions is not None:
            judged = predictions.take(image_id.filter(usable_N))
            judge_N[usable_N], agreement_N[usable_N] = _judgement(judged, category_N[usable_N])
        return {
            "category_N": category_N,
            "query_N": queries.encode(part.column(schema.QUERY)),
            "source_N": sources.encode(part.column(schema.SOURCE)),
            "rank_N": pc.fill_null(rank, 0).to_numpy(),
            "has_rank_N": flags(pc.is_valid(rank)),
            "usable_N": usable_N,
            "drawn_N": copies.of(image_id).is_drawn_N,
            "mass_N": _mass(text, image_id),
            "judge_N": judge_N,
            "agreement_N": agreement_N,
        }

    columns = (schema.CATEGORY, schema.QUERY, schema.SOURCE, schema.RANK)
    joined, counts = collect(ctx, columns, "stage 1: rank and text", of_part)
    return _Rows(**joined), counts


def _follow_text(ctx: Context) -> Follow | None:
    if not ctx.has(schema.TEXT):
        ctx.note("no text scores: stage 1 weighs by rank and by what the text judge says, where there is one")
        return None
    return Follow(ctx.run, schema.TEXT, schema.TEXT_TABLE, (schema.TEXT_MASS,))


def _follow_judge(ctx: Context, judge: str | None) -> Follow | None:
    if judge is None:
        return None
    columns = (schema.FOLD, schema.TOP_CATEGORIES, schema.LABEL_PROBABILITY, schema.IN_SAMPLE)
    return Follow(ctx.run, judge, schema.PREDICTIONS_TABLE, columns)


def _mass(text: Follow | None, image_id: Any) -> NDArray[np.float64]:
    if text is None:
        return np.full(len(image_id), np.nan)
    return floats(text.take(image_id).column(schema.TEXT_MASS))


def _judgement(judged: Any, label_N: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(label) and whether the best category is the label; NaN where the judge had nothing to go by."""
    refuse_in_sample(judged)
    known_N = judged.column(schema.FOLD).to_numpy() >= 0
    probability_N = floats(judged.column(schema.LABEL_PROBABILITY))
    best_N = padded(judged.column(schema.TOP_CATEGORIES), 1, -1, np.int64)[:, 0]
    return (
        np.where(known_N, probability_N, np.nan),
        np.where(known_N & (best_N >= 0), (best_N == label_N).astype(np.float64), np.nan),
    )


def _positions(rows: _Rows, ctx: Context) -> ranks.RankPositions:
    num = len(rows.rank_N)
    list_N = rows.query_N * (int(rows.source_N.max(initial=0)) + 1) + rows.source_N
    positions = ranks.dense_positions(rows.rank_N, rows.has_rank_N, list_N, np.arange(num))
    if positions.num_zero_based:
        ctx.note(
            f"ranks count from 0 in {positions.num_zero_based} of {positions.num_lists} result lists;"
            " positions start at 1 throughout"
        )
    if positions.num_lists == 0:
        ctx.note("no search ranks: every image of a query is worth the same by rank")
    return positions


def _prototype_weights(
    config: Stage1Config, ctx: Context, rows: _Rows, positions: ranks.RankPositions, num_categories: int
) -> NDArray[np.float64]:
    neighbors_CK = _neighbors(ctx, num_categories)
    seed_N = stage_weights.prototype_seeds(
        rows.category_N, positions.position_N, rows.usable_N, num_categories, config.prototype_top
    )
    sum_CD: NDArray[np.float64] | None = None
    for row_N, features_ND in _features(config, ctx, rows.usable_N):
        chosen = seed_N[row_N]
        part_CD = stage_weights.prototype_sum(
            features_ND[chosen], rows.category_N[row_N[chosen]], num_categories
        )
        sum_CD = part_CD if sum_CD is None else sum_CD + part_CD
    weight_N = np.zeros(len(rows.category_N))
    if sum_CD is not None:
        for row_N, features_ND in _features(config, ctx, rows.usable_N):
            weight_N[row_N] = stage_weights.prototype_weight(
                features_ND, rows.category_N[row_N], sum_CD, neighbors_CK, config.prototype_temperature
            )
    return weight_N


def _features(
    config: Stage1Config, ctx: Context, usable_N: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Row numbers in `images` and features, part by part; features hold the usable images in order."""
    artefact = schema.features_path(str(config.prototype_features))
    dim = tables.part_schema(ctx.run, artefact).field(schema.VECTOR).type.list_size
    usable_rows, start = np.flatnonzero(usable_N), 0
    for part in tables.iter_parts(ctx.run, artefact, schema.features_table(dim), (schema.VECTOR,)):
        flat = part.column(schema.VECTOR).combine_chunks().flatten().to_numpy()
        yield usable_rows[start : start + part.num_rows], flat.reshape(-1, dim).astype(np.float64)
        start += part.num_rows


def _neighbors(ctx: Context, num_categories: int) -> NDArray[np.int64]:
    neighbors_CK = np.full((num_categories, 0), -1, dtype=np.int64)
    if not tables.part_names(ctx.run, schema.CATEGORY_NEIGHBORS):
        return neighbors_CK
    rows = tables.read(ctx.run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE)
    a, position, b = (rows.column(name).to_numpy() for name in (schema.A, schema.POSITION, schema.B))
    if len(a):
        first, last = int(position.min()), int(position.max())
        neighbors_CK = np.full((num_categories, last - first + 1), -1, dtype=np.int64)
        neighbors_CK[a, position - first] = b
    return neighbors_CK
