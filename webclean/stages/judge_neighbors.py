"""The neighbours' judge: how the most similar images are labelled, and how similar they are at all."""

from __future__ import annotations

from webclean import schema
from webclean.config import JudgeNeighborsConfig
from webclean.ops.neighbors import vote
from webclean.stages.base import Context, Counts
from webclean.stages.judge_image import require_label_free
from webclean.stages.judged import fit_weights, read_features, read_usable
from webclean.stages.predictions import write_predictions


def run(config: JudgeNeighborsConfig, context: Context) -> Counts:
    """Write predictions/neighbors-r<k>: the votes of each image's nearest images, its copies left out.

    Raises:
        ConfigError: the features are not label free.
    """
    usable = read_usable(context.run)
    require_label_free(context, config.features)
    votes = vote(
        read_features(context.run, config.features, usable),
        usable.label_N,
        usable.group_N,
        usable.num_categories,
        k=config.neighbors,
        temperature=config.neighbors_temperature,
        weight_N=fit_weights(context, config.round, usable),
    )
    few_N = usable.too_few(config.judge_folds)
    write_predictions(
        context.run,
        schema.predictions_path(schema.JUDGE_NEIGHBORS, config.round),
        usable,
        votes.log_probability_NC if usable.can_judge else None,
        usable.label_N * 0 if usable.can_judge else None,
        top=config.judge_top,
        unknown_N=few_N,
        similarity_N=votes.similarity_N,
    )
    return usable.counts(few_N)
