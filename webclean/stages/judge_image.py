"""The image judge: a cross-fitted head on frozen features, or small networks from scratch by folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import JudgeImageConfig
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops.heads import cross_fit, log_softmax, logistic, ridge, standardise
from webclean.stages import space
from webclean.stages.base import Context, Counts, committed
from webclean.stages.judged import Usable, fit_weights, read_features, read_usable
from webclean.stages.predictions import write_predictions

_SOLVERS = {"ridge": ridge, "logistic": logistic}


def run(config: JudgeImageConfig, context: Context) -> Counts:
    """Write predictions/image-r<k>: what each image's looks say of its category, out of sample.

    Raises:
        ConfigError: the features were trained with labels, so that a judge on them repeats the labels.
    """
    usable = read_usable(context.run)
    artefact = schema.predictions_path(schema.JUDGE_IMAGE, config.round)
    few_N = usable.too_few(config.scratch_folds if config.features is None else config.judge_folds)
    counts = usable.counts(few_N)
    if not usable.can_judge or few_N.all():
        write_predictions(context.run, artefact, usable, None, None, top=config.judge_top)
        context.result["judge"] = "none: no two categories with enough different images"
        return counts
    weight_N = fit_weights(context, config.round, usable)
    if config.features is None:
        log_probability_NC, fold_N = _from_scratch(config, context, usable, weight_N)
    else:
        log_probability_NC, fold_N = _from_features(config, context, usable, weight_N)
    write_predictions(
        context.run, artefact, usable, log_probability_NC, fold_N, top=config.judge_top, unknown_N=few_N
    )
    return counts


def require_label_free(context: Context, features: str) -> None:
    """Refuse features whose encoder saw the labels: they carry each label to its own judge.

    Raises:
        ConfigError: `label_free` is not true in the features' run.json.
    """
    record = committed(context.run, schema.features_path(features))
    if record is None or record["result"].get("label_free") is not True:
        raise ConfigError(
            f"features/{features} are not label free: their encoder was trained on these labels",
            context="a judge on such features repeats the labels, right or wrong",
            hint="use features of a network that never saw this crawl's labels",
        )


def _from_features(
    config: JudgeImageConfig, context: Context, usable: Usable, weight_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    assert config.features is not None
    require_label_free(context, config.features)
    features_ND = read_features(context.run, config.features, usable)
    x_ND = standardise(features_ND, config.judge_dims) / np.sqrt(features_ND.shape[1])
    fold_N = usable.folds(config.judge_folds, context.seed)
    with context.progress(total=int(fold_N.max()) + 1, unit="folds", label="image judge") as bar:
        fit = cross_fit(
            x_ND,
            usable.label_N,
            fold_N,
            usable.num_categories,
            _SOLVERS[config.head],
            config.judge_strengths,
            weight_N,
            bar.advance,
        )
    context.result |= {
        "judge": f"{config.head} head on features/{config.features}",
        "strength": fit.strength,
        "held_out_loss": round(fit.held_out_loss, 4),
    }
    return fit.log_probability_NC, fold_N


def _from_scratch(
    config: JudgeImageConfig, context: Context, usable: Usable, weight_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from webclean.io.pixels import square_cache
    from webclean.nn import scratch
    from webclean.ops.heads import best_scale

    uris: list[str] = []
    for part in tables.iter_parts(
        context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.URI, schema.STATUS)
    ):
        ok = zip(part.column(schema.URI).to_pylist(), part.column(schema.STATUS).to_pylist(), strict=True)
        uris.extend(uri for uri, status in ok if status == schema.STATUS_OK)
    nbytes = len(uris) * config.folds_side**2 * 3
    space.require(context, nbytes, f"the pixels of {len(uris):,} images", in_scratch=True)
    with context.progress(total=len(uris), unit="images", label="pixels") as bar:
        squares = square_cache(
            context.run,
            usable.image_ids,
            uris,
            side=config.folds_side,
            map_items=context.engine.map,
            advance=bar.advance,
        )
    fold_N = usable.folds(config.scratch_folds, context.seed)
    checkpoints = context.run.scratch(f"folds/r{config.round}")
    total = scratch.training_images(fold_N, config)
    with context.progress(total=total, unit="images", label="networks from scratch") as bar:
        logits_NC = scratch.fold_predictions(
            squares,
            usable.label_N,
            fold_N,
            usable.num_categories,
            config,
            weight_N=weight_N,
            seed=context.seed,
            advance=bar.advance,
            checkpoint_dir=checkpoints,
        ).astype(np.float64)
    scale, loss = best_scale(logits_NC, usable.label_N, weight_N)
    context.result |= {
        "judge": f"{config.scratch_folds} small networks from scratch",
        "scale": round(scale, 4),
        "held_out_loss": round(loss, 4),
    }
    return log_softmax(scale * logits_NC), fold_N
