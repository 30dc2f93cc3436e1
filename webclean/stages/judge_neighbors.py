"""The neighbours' judge: how the most similar images are labelled, and how similar they are at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import JudgeNeighborsConfig
from webclean.io import tables
from webclean.ops.fold_heads import Columns
from webclean.ops.neighbors import EXACT, TOPIC_NEIGHBORS, Ballot, Index
from webclean.stages.base import Context, Counts, committed
from webclean.stages.judge_image import require_label_free
from webclean.stages.judged import Usable, feature_blocks, features_dim, fit_weights, read_usable
from webclean.stages.predictions import write_predictions
from webclean.stages.rows import floats


def run(config: JudgeNeighborsConfig, context: Context) -> Counts:
    """Write predictions/neighbors-r<k>: the votes of each image's nearest images, its copies left out.

    Votes are by the cosine of standardised features, in which no common direction drowns the others;
    likeness to any image is by the cosine of the features as they are, whose common part tells what is off
    topic (docs/decisions/0020).

    Raises:
        ConfigError: the features are not label free.
    """
    run, name = context.run, config.features
    usable = read_usable(run)
    require_label_free(context, name)
    num, dim = len(usable.label_N), features_dim(run, name)
    few_N = usable.too_few(config.judge_folds)
    ballot = Ballot(
        label_N=usable.label_N,
        group_N=usable.group_N,
        weight_N=fit_weights(context, config.round, usable),
        num_categories=usable.num_categories,
        k=config.neighbors,
        temperature=config.neighbors_temperature,
    )
    if num > EXACT:
        context.note(
            f"neighbours: {num:,} images are too many to compare all; nearly all of the nearest are found"
        )
    similarity_N = _likeness_before(config, context)
    if similarity_N is None:
        similarity_N = _likeness(config, context, usable, ballot)

    def parts() -> Iterator[NDArray[np.float64]]:
        columns = Columns(dim)
        for _, block_MD in feature_blocks(run, name, usable):
            columns.add(block_MD)
        scaling = columns.scaling()

        def standardised() -> Iterator[tuple[slice, NDArray[np.float32]]]:
            return ((rows, scaling.apply(x_MD)) for rows, x_MD in feature_blocks(run, name, usable))

        index = Index(standardised, num, dim)
        start = 0
        with context.progress(total=num, unit="images", label="neighbours") as bar:
            for size in usable.part_sizes:
                rows = slice(start, start + size)
                start = rows.stop
                yield ballot.count(index, rows)[0]
                bar.advance(size)

    votes = parts() if usable.can_judge else None
    write_predictions(
        run,
        schema.predictions_path(schema.JUDGE_NEIGHBORS, config.round),
        usable,
        votes,
        usable.label_N * 0 if usable.can_judge else None,
        top=config.judge_top,
        unknown_N=few_N,
        similarity_N=similarity_N,
    )
    return usable.counts(few_N)


def _likeness_before(config: JudgeNeighborsConfig, context: Context) -> NDArray[np.float64] | None:
    """The likeness that the round before found in these very features: no belief has a part in it; None without one."""
    before = schema.predictions_path(schema.JUDGE_NEIGHBORS, config.round - 1)
    if not context.has(before):
        return None
    record, features = committed(context.run, before), schema.features_path(config.features)
    if record is None or features not in record["inputs"]:
        return None
    pieces = [
        floats(part.column(schema.SIMILARITY))
        for part in tables.iter_parts(context.run, before, schema.PREDICTIONS_TABLE, (schema.SIMILARITY,))
    ]
    return np.concatenate(pieces)


def _likeness(
    config: JudgeNeighborsConfig, context: Context, usable: Usable, ballot: Ballot
) -> NDArray[np.float64]:
    """Mean cosine of each image's features to its nearest images', float64 (N,)."""
    run, name, num = context.run, config.features, len(usable.label_N)
    similarity_N = np.full(num, np.nan)
    index = Index(lambda: feature_blocks(run, name, usable), num, features_dim(run, name))
    few = replace(ballot, k=TOPIC_NEIGHBORS)
    start = 0
    with context.progress(total=num, unit="images", label="likeness") as bar:
        for size in usable.part_sizes:
            rows = slice(start, start + size)
            start = rows.stop
            similarity_N[rows] = few.count(index, rows)[1]
            bar.advance(size)
    return similarity_N
