"""Stage 2: stage-1 weight times how well the judge's prediction matches the label.

Images are read and written part by part; the scores of the whole crawl are held as numbers (about 40
bytes an image), because an image without a prediction takes the median of its category, and a category's
mean must not fall below the minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import Stage2Config
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops import match_scores, stage_weights
from webclean.stages import match_temperature, memorised
from webclean.stages.base import Context, Counts, committed
from webclean.stages.imagetext import ImageText
from webclean.stages.predictions import dense
from webclean.stages.rows import (
    Categories,
    Follow,
    collect,
    floats,
    padded,
    refuse_in_sample,
    write_columns,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Rows:
    """The numbers of all images, in image order."""

    category_N: NDArray[np.int64]
    usable_N: NDArray[np.bool_]
    stage1_N: NDArray[np.float64]
    sampled_N: NDArray[np.bool_]
    score_N: NDArray[np.float64]  # NaN where no judge has looked


def run(config: Stage2Config, ctx: Context) -> Counts:
    """Write weights/r<round>/stage2: one row for every image, bad files with weight 0.

    Without a judge every score is 1 and `no_judge` is true: the weight is stage 1's.

    Raises:
        ConfigError: the predictions are in sample.
    """
    categories = Categories(ctx.run)
    judge = schema.predictions_path(schema.JUDGE_IMAGE, config.round)
    has_judge = ctx.has(judge)
    if not has_judge and config.clip_features is None:
        ctx.note("no image judge: stage 2 leaves the weights of stage 1 as they are")
    image_text = None
    if config.clip_features is not None:
        image_text = ImageText(ctx, config.clip_features, categories.num)
        has_judge = False  # whose predictions are not asked
    temperature = None
    if image_text is not None or has_judge:
        temperature = _temperature(config, ctx, categories, judge, image_text)
    score = _Score(config, ctx, categories, temperature) if has_judge else None
    inside = None
    if has_judge and ctx.has(schema.inside_path(schema.JUDGE_IMAGE, config.round)):
        inside = memorised.Inside(ctx, config.round)
    scored = _of_image_text(config, image_text, temperature) if image_text is not None else None
    if score is not None:
        scored = _of_judge(config, ctx, judge, score)
    rows, counts = _read(config, ctx, categories, scored, inside)
    judged_N = ~np.isnan(rows.score_N)

    known_N = rows.score_N
    if config.match_score == "kl":
        known_N = stage_weights.share_of_class_max(known_N, rows.category_N, categories.num)
    memory = None
    if inside is not None and score is not None:
        memory = inside.compare(ctx, score.of, rows.category_N, rows.score_N, known_N)
        if memory is not None:
            memorised.warn(ctx, memory, config.round)
    median_C = stage_weights.class_median(known_N, rows.category_N, categories.num)
    unjudged_C = np.where(np.isnan(median_C), 1.0, median_C)
    score_N = np.where(judged_N, known_N, unjudged_C[rows.category_N])
    raw_N = np.where(rows.usable_N, score_N, np.nan)
    raw_mean_C = stage_weights.class_mean(raw_N, rows.category_N, categories.num)
    score_N = stage_weights.raise_class_means(
        score_N, rows.category_N, categories.num, rows.usable_N, config.stage2_minimum_mean
    )
    weight_N = rows.stage1_N * score_N
    write_columns(
        ctx.run,
        schema.stage2_path(config.round),
        schema.STAGE2_TABLE,
        {
            schema.STAGE1_WEIGHT: rows.stage1_N,
            schema.MATCH_SCORE: score_N,
            schema.WEIGHT: weight_N,
            schema.NO_JUDGE: ~judged_N,
        },
    )
    drawn_N = np.where(rows.sampled_N, weight_N, 0.0)
    effective_C = stage_weights.effective_samples(drawn_N, rows.category_N, categories.num)
    ctx.result = {
        "judged": int(np.count_nonzero(judged_N)),
        "temperature": temperature,
        "memorisation": memory,
        "mean_match": round(float(np.nanmean(raw_N)), 4) if rows.usable_N.any() else None,
        "mean_match_by_category": categories.by_name(raw_mean_C),
        "categories_lifted": int(np.count_nonzero(raw_mean_C < config.stage2_minimum_mean)),
        "effective_samples": categories.by_name(effective_C, digits=1),
    }
    return counts


def _temperature(
    config: Stage2Config, ctx: Context, categories: Categories, judge: str, image_text: ImageText | None
) -> float | None:
    """Of the judge's probabilities, or the CLIP model's; None for a score that does not use one."""
    if config.match_score != "expected":
        return None
    if not isinstance(config.match_temperature, str):
        return config.match_temperature
    if image_text is not None:
        predict = match_temperature.of_image_text(image_text, categories.num)
    else:
        predict = match_temperature.of_judge(ctx, judge, categories.num)
    return match_temperature.fitted(ctx, categories, config.round, predict)


Scored = Callable[["pa.ChunkedArray", NDArray[np.int64]], NDArray[np.float64]]
"""(ids of the next usable images, their labels) -> match scores, NaN where nobody has looked."""


def _of_judge(config: Stage2Config, ctx: Context, judge: str, score: _Score) -> Scored:
    wanted = (
        schema.FOLD, schema.TOP_CATEGORIES, schema.TOP_PROBABILITIES, schema.LABEL_PROBABILITY, schema.IN_SAMPLE,
    )  # fmt: skip
    predictions = Follow(ctx.run, judge, schema.PREDICTIONS_TABLE, wanted)

    def of(image_id: pa.ChunkedArray, label_N: NDArray[np.int64]) -> NDArray[np.float64]:
        judged = predictions.take(image_id)
        refuse_in_sample(judged)
        return score.of(judged, label_N)

    return of


def _of_image_text(config: Stage2Config, image_text: ImageText, temperature: float | None) -> Scored:
    assert temperature is not None

    def of(image_id: pa.ChunkedArray, label_N: NDArray[np.int64]) -> NDArray[np.float64]:
        return image_text.following(image_id, label_N, temperature, config.match_minimum)

    return of


def _read(
    config: Stage2Config,
    ctx: Context,
    categories: Categories,
    scored: Scored | None,
    inside: memorised.Inside | None,
) -> tuple[_Rows, Counts]:
    run = ctx.run
    stage1 = Follow(
        run, schema.stage1_path(config.round), schema.STAGE1_TABLE, (schema.WEIGHT, schema.SAMPLING)
    )

    def of_part(part: Any, usable_N: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        image_id = part.column(schema.IMAGE_ID)
        category_N = categories.encode(part.column(schema.CATEGORY))
        if inside is not None:
            inside.meet(image_id)
        weights = stage1.take(image_id)
        score_N = np.full(part.num_rows, np.nan)
        if scored is not None:
            score_N[usable_N] = scored(image_id.filter(usable_N), category_N[usable_N])
        return {
            "category_N": category_N,
            "usable_N": usable_N,
            "stage1_N": floats(weights.column(schema.WEIGHT)),
            "sampled_N": floats(weights.column(schema.SAMPLING)) > 0,
            "score_N": score_N,
        }

    joined, counts = collect(ctx, (schema.CATEGORY,), "stage 2: predictions against labels", of_part)
    return _Rows(**joined), counts


class _Score:
    """The chosen score of one part of predictions."""

    def __init__(
        self, config: Stage2Config, ctx: Context, categories: Categories, temperature: float | None
    ) -> None:
        self._config, self._num = config, categories.num
        self._temperature = 1.0 if temperature is None else temperature
        if config.match_score == "kl":
            self._relation_CC = _relation(ctx, categories.num)
        elif config.match_by == "keywords":
            self._matrix = match_scores.keyword_matrix(
                _class_texts(ctx, categories.num), top=config.match_keywords
            )
        elif config.match_by == "label":
            self._matrix = match_scores.only_itself(categories.num)
        else:
            self._matrix = _match_matrix(ctx, categories.num)

    def of(self, judged: Any, label_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 (N,), NaN where the judge had nothing to go by."""
        config = self._config
        if config.match_score == "expected":
            score_N = match_scores.expected_match(
                padded(judged.column(schema.TOP_CATEGORIES), config.match_top, -1, np.int64),
                padded(judged.column(schema.TOP_PROBABILITIES), config.match_top, 0.0, np.float64),
                label_N,
                self._matrix,
                temperature=self._temperature,
                minimum=config.match_minimum,
            )
        else:
            score_N = match_scores.consistency(
                self._relation_CC[label_N],
                dense(judged, label_N, self._num),
                norm=config.kl_norm,
                temperature=config.kl_temperature,
                epsilon=config.kl_epsilon,
                gamma=config.kl_gamma,
            )
        return np.where(judged.column(schema.FOLD).to_numpy() >= 0, score_N, np.nan)


def _match_matrix(ctx: Context, num_categories: int) -> match_scores.MatchMatrix:
    """Thresholded relation; a category that the table lacks (a crawl of one) matches itself only."""
    kept: list[tuple[NDArray[Any], ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    if tables.part_names(ctx.run, schema.CATEGORY_SIMILARITY):
        columns = (schema.A, schema.B, schema.MATCH)
        for part in tables.iter_parts(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, columns):
            a, b, match = (part.column(name).to_numpy() for name in columns)
            related = match > 0
            kept.append((a[related], b[related], match[related]))
    a_P, b_P, match_P = (np.concatenate(pieces) for pieces in zip(*kept, strict=True))
    return match_scores.match_matrix(a_P, b_P, match_P, num_categories)


def _relation(ctx: Context, num_categories: int) -> NDArray[np.float64]:
    made = committed(ctx.run, schema.CATEGORY_SIMILARITY)
    if made is not None and made["result"].get("pairs") == "related":
        raise ConfigError(
            "match_score kl compares whole rows of the relations, and only related pairs are written",
            context=f"{ctx.run.url}/{schema.CATEGORY_SIMILARITY}",
            hint=f"run `webclean weight {ctx.run.url} --keep-pairs all --match-score kl`, or take --match-score expected",
        )
    relation_CC = np.eye(num_categories)
    if tables.part_names(ctx.run, schema.CATEGORY_SIMILARITY):
        columns = (schema.A, schema.B, schema.COMBINED)
        rows = tables.read(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, columns)
        a, b, combined = (rows.column(name).to_numpy() for name in columns)
        relation_CC[a, b] = combined
    return relation_CC


def _class_texts(ctx: Context, num_categories: int) -> list[str]:
    """Name, lemmas and gloss of each category, by category_id."""
    columns = (schema.CATEGORY_ID, schema.NAME, schema.LEMMAS, schema.GLOSS)
    rows = tables.read(ctx.run, schema.SENSES, schema.SENSES_TABLE, columns).to_pylist()
    texts = [""] * num_categories
    for row in rows:
        words = dict.fromkeys((row[schema.NAME], *row[schema.LEMMAS], row[schema.GLOSS] or ""))
        texts[row[schema.CATEGORY_ID]] = " ".join(words).replace("_", " ")
    return texts
