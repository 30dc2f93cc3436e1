"""The neighbours' judge: how the most similar images are labelled, and how similar they are at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import JudgeNeighborsConfig
from webclean.ops.neighbors import Ballot, Index
from webclean.stages.base import Context, Counts
from webclean.stages.judge_image import require_label_free
from webclean.stages.judged import feature_blocks, features_dim, fit_weights, read_usable
from webclean.stages.predictions import write_predictions


def run(config: JudgeNeighborsConfig, context: Context) -> Counts:
    """Write predictions/neighbors-r<k>: the votes of each image's nearest images, its copies left out.

    Raises:
        ConfigError: the features are not label free.
    """
    run, name = context.run, config.features
    usable = read_usable(run)
    require_label_free(context, name)
    num = len(usable.label_N)
    few_N = usable.too_few(config.judge_folds)
    ballot = Ballot(
        label_N=usable.label_N,
        group_N=usable.group_N,
        weight_N=fit_weights(context, config.round, usable),
        num_categories=usable.num_categories,
        k=config.neighbors,
        temperature=config.neighbors_temperature,
    )
    similarity_N = np.full(num, np.nan)

    def parts() -> Iterator[NDArray[np.float64]]:
        index = Index(lambda: feature_blocks(run, name, usable), num, features_dim(run, name))
        if not index.is_exact:
            context.note(
                f"neighbours: {num:,} images are too many to compare all; nearly all of the nearest are found"
            )
        start = 0
        with context.progress(total=num, unit="images", label="neighbours") as bar:
            for size in usable.part_sizes:
                rows = slice(start, start + size)
                start = rows.stop
                log_p_MC, similarity_N[rows] = ballot.count(index, rows)
                yield log_p_MC
                bar.advance(size)

    votes: Iterator[NDArray[np.float64]] | None = parts()
    if not usable.can_judge:  # likeness tells off-topic images all the same
        for _ in votes or ():
            pass
        votes = None
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
