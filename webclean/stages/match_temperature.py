"""The temperature of the judge's probabilities in stage 2, chosen without truth.

Out-of-sample likelihood of the crawl's own labels, each counted by P(label right) of the same round. Counting
all labels alike, or by stage 1's weights, makes a judge too unsure of itself: labels that are wrong are foretold
badly by a good judge, too (docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError
from webclean.io import tables
from webclean.ops.temperature import Terms, fitted_temperature, join, likelihood_terms
from webclean.stages.base import Context
from webclean.stages.rows import Categories, floats, is_usable, padded, refuse_in_sample

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.stages.imagetext import ImageText

Ints = NDArray[np.int64]

_SAMPLE_ROWS: Final = 16_384  # one number is not better for more
_SAMPLE_VALUES: Final = 2**18  # of a part, images times categories
_SAMPLE_PARTS: Final = 256  # of a larger crawl not every part is read
_FEWEST: Final = 100  # judged images; fewer say nothing of a temperature


Predict = Callable[["pa.Table", str, Ints, int], tuple[Terms, Ints] | None]
"""(usable images of a part, its name, their labels, how many rows at most) -> terms of some rows, and which."""


def of_judge(ctx: Context, judge: str, num_categories: int) -> Predict:
    """Terms of the predictions of an artefact.

    Raises:
        ConfigError: the predictions are in sample.
        ArtifactInvalidError: they are not those of the usable images in their order.
    """

    def predict(usable: pa.Table, name: str, label_N: Ints, most: int) -> tuple[Terms, Ints] | None:
        wanted = (
            schema.FOLD, schema.TOP_CATEGORIES, schema.TOP_PROBABILITIES, schema.LABEL_PROBABILITY,
            schema.IN_SAMPLE,
        )  # fmt: skip
        judged = _beside(ctx, judge, name, schema.PREDICTIONS_TABLE, wanted, usable)
        refuse_in_sample(judged)
        known = np.flatnonzero(judged.column(schema.FOLD).to_numpy() >= 0)
        known = known[_evenly(len(known), most)]
        if not len(known):
            return None
        judged = judged.take(known)
        width = int(max(len(one) for one in judged.column(schema.TOP_CATEGORIES).to_pylist()))
        terms = likelihood_terms(
            padded(judged.column(schema.TOP_CATEGORIES), width, -1, np.int64),
            padded(judged.column(schema.TOP_PROBABILITIES), width, 0.0, np.float64),
            label_N[known],
            floats(judged.column(schema.LABEL_PROBABILITY)),
            num_categories,
        )
        return terms, known

    return predict


def of_image_text(score: ImageText, num_categories: int) -> Predict:
    """Terms of a CLIP model's probabilities."""

    def predict(usable: pa.Table, name: str, label_N: Ints, most: int) -> tuple[Terms, Ints] | None:
        some = _evenly(len(usable), max(1, min(most, _SAMPLE_VALUES // max(num_categories, 1))))
        if not len(some):
            return None
        p_MC = np.exp(score.log_probability(score.of_part(name).column(schema.VECTOR).take(some)))
        every_MC = np.broadcast_to(np.arange(num_categories), p_MC.shape)
        own_M = p_MC[np.arange(len(some)), label_N[some]]
        return likelihood_terms(every_MC, p_MC, label_N[some], own_M, num_categories), some

    return predict


def fitted(ctx: Context, categories: Categories, round_: int, predict: Predict) -> float:
    """T of predictions from up to 16,384 images, evenly spaced; 1 where fewer than 100 are judged.

    Args:
        ctx: of the stage.
        categories: of the run.
        round_: whose beliefs count the labels.
        predict: gives the terms of each part.

    Raises:
        ConfigError: the predictions are in sample.
        ArtifactInvalidError: predictions or beliefs are not those of the usable images in their order.
    """
    names = tables.part_names(ctx.run, schema.IMAGES)
    names = names[:: -(-len(names) // _SAMPLE_PARTS) or 1]
    terms: list[Terms] = []
    weights: list[NDArray[np.float64]] = []
    for name in names:
        images = tables.read_part(
            ctx.run,
            schema.IMAGES,
            name,
            schema.IMAGES_TABLE,
            (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS),
        )
        usable = images.filter(is_usable(images))
        label_N = categories.encode(usable.column(schema.CATEGORY))
        found = predict(usable, name, label_N, max(1, _SAMPLE_ROWS // len(names)))
        if found is None:
            continue
        terms.append(found[0])
        believed = _beside(
            ctx, schema.beliefs_path(round_), name, schema.BELIEFS_TABLE, (schema.P_RIGHT,), usable
        )
        weights.append(floats(believed.column(schema.P_RIGHT))[found[1]])
    if sum(map(len, weights)) < _FEWEST:
        return 1.0
    return fitted_temperature(join(terms), np.concatenate(weights))


def _evenly(num: int, most: int) -> NDArray[np.int64]:
    """Up to `most` of 0..num-1, evenly spaced."""
    size = min(num, most)
    return np.asarray(np.arange(size) * num // max(size, 1), dtype=np.int64)


def _beside(
    ctx: Context, artefact: str, name: str, table: schema.Table, columns: tuple[str, ...], usable: pa.Table
) -> Any:
    """The same part of an artefact with one row for each usable image."""
    rows = tables.read_part(ctx.run, artefact, name, table, (schema.IMAGE_ID, *columns))
    if not rows.column(schema.IMAGE_ID).equals(usable.column(schema.IMAGE_ID)):
        raise ArtifactInvalidError(
            f"{ctx.run.url}/{artefact}/{name} does not hold the usable images of `{schema.IMAGES}` in their order",
            hint=f"make it again with `webclean weight {ctx.run.url} --force`",
        )
    return rows
