"""The image judge: a cross-fitted head on frozen features, or small networks from scratch by folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import JudgeImageConfig
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops.fold_heads import Columns, FoldSums, Sample, fit_heads, sample_rows
from webclean.ops.heads import cross_fit, log_softmax, logistic, standardise
from webclean.stages import space
from webclean.stages.base import Context, Counts, committed
from webclean.stages.judged import (
    Usable,
    feature_blocks,
    features_dim,
    fit_weights,
    read_features,
    read_usable,
)
from webclean.stages.patch_head import judge_patches
from webclean.stages.predictions import by_part, write_inside, write_predictions

_SEEN: Final = 4096  # images that are judged inside their fold as well; a mean over more is not better


@dataclass(frozen=True)
class _Judgement:
    """Out-of-sample log-probabilities part by part, folds, and log-probabilities of `seen_M` in sample."""

    log_probability: Iterator[NDArray[np.float64]]
    fold_N: NDArray[np.int64]
    seen_M: NDArray[np.int64]
    seen_MC: NDArray[np.float64]


def run(config: JudgeImageConfig, context: Context) -> Counts:
    """Write predictions/image-r<k>: what each image's looks say of its category, out of sample.

    And inside/image-r<k>: what judges that were shown them say of some thousand of the same images, which tells how
    much a judge learns by heart.

    Raises:
        ConfigError: the features were trained with labels, so that a judge on them repeats the labels.
    """
    usable = read_usable(context.run)
    artefact = schema.predictions_path(schema.JUDGE_IMAGE, config.round)
    few_N = usable.too_few(config.scratch_folds if config.features is None else config.judge_folds)
    counts = usable.counts(few_N)
    if not usable.can_judge or few_N.all():
        write_predictions(context.run, artefact, usable, None, None, top=config.judge_top)
        nothing_M = np.zeros(0, dtype=np.int64)
        write_inside(
            context.run, config.round, usable, nothing_M, np.zeros((0, 0)), nothing_M, top=config.judge_top
        )
        context.result["judge"] = "none: no two categories with enough different images"
        return counts
    weight_N = fit_weights(context, config.round, usable)
    if config.features is None:
        judge = _from_scratch
    else:
        require_label_free(context, config.features)
        judge = _ridge if config.head == "ridge" else _logistic
    found = judge(config, context, usable, weight_N, np.flatnonzero(~few_N))
    write_predictions(
        context.run,
        artefact,
        usable,
        found.log_probability,
        found.fold_N,
        top=config.judge_top,
        unknown_N=few_N,
    )
    write_inside(
        context.run, config.round, usable, found.seen_M, found.seen_MC, found.fold_N, top=config.judge_top
    )
    return counts


def _some(rows_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Evenly spaced ones of these rows, to be judged inside their fold."""
    size = min(len(rows_M), _SEEN)
    return rows_M[np.arange(size) * len(rows_M) // max(size, 1)]


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


def _ridge(
    config: JudgeImageConfig,
    context: Context,
    usable: Usable,
    weight_N: NDArray[np.float64],
    known_M: NDArray[np.int64],
) -> _Judgement:
    """Four passes over the features: spread of their columns, their directions, sums by fold, predictions; none holds them."""
    assert config.features is not None
    run, name = context.run, config.features
    num, num_categories = len(usable.label_N), usable.num_categories
    fold_N = usable.folds(config.ridge_folds, context.seed)
    columns = Columns(features_dim(run, name))
    with context.progress(total=2 * num, unit="images", label="image judge, learning") as bar:
        for _, block_MD in feature_blocks(run, name, usable):
            columns.add(block_MD)
            bar.advance(len(block_MD))
        scaling = columns.scaling().turned(feature_blocks(run, name, usable), num, config.judge_dims)
        sums = FoldSums(int(fold_N.max()) + 1, scaling.dim, num_categories)
        chosen = sample_rows(num, scaling.dim, num_categories)
        sample_MD = np.empty((len(chosen), scaling.dim), dtype=np.float32)
        same_weight = bool((weight_N == 1.0).all())
        for rows, block_MD in feature_blocks(run, name, usable):
            z_MD = scaling.apply(block_MD)
            sums.add(z_MD, usable.label_N[rows], fold_N[rows], None if same_weight else weight_N[rows])
            first, last = np.searchsorted(chosen, (rows.start, rows.stop))
            sample_MD[first:last] = z_MD[chosen[first:last] - rows.start]
            bar.advance(len(block_MD))
    sample = Sample(sample_MD, usable.label_N[chosen], fold_N[chosen], weight_N[chosen])
    heads = fit_heads(sums, sample, config.judge_strengths)
    seen_M = _some(np.intersect1d(known_M, chosen))
    seen_MC = heads.in_sample(sample_MD[np.searchsorted(chosen, seen_M)], fold_N[seen_M])
    context.result |= {
        "judge": f"ridge head on features/{name}",
        "strength": heads.strength,
        "held_out_loss": round(heads.held_out_loss, 4),
    }

    def parts() -> Iterator[NDArray[np.float64]]:
        with context.progress(total=num, unit="images", label="image judge") as bar:
            for rows, part_MD in feature_blocks(run, name, usable, by_part=True):
                yield heads.log_probability(scaling.apply(part_MD), fold_N[rows])
                bar.advance(len(part_MD))

    return _Judgement(parts(), fold_N, seen_M, seen_MC)


def _logistic(
    config: JudgeImageConfig,
    context: Context,
    usable: Usable,
    weight_N: NDArray[np.float64],
    known_M: NDArray[np.int64],
) -> _Judgement:
    """Held whole: L-BFGS goes over the features some hundred times."""
    assert config.features is not None
    features_ND = read_features(context.run, config.features, usable)
    x_ND = standardise(features_ND, config.judge_dims) / np.sqrt(features_ND.shape[1])
    fold_N = usable.folds(config.judge_folds, context.seed)
    seen_M = _some(known_M)
    with context.progress(total=int(fold_N.max()) + 1, unit="folds", label="image judge") as bar:
        fit = cross_fit(
            x_ND,
            usable.label_N,
            fold_N,
            usable.num_categories,
            logistic,
            config.judge_strengths,
            weight_N,
            bar.advance,
            seen_M,
        )
    context.result |= {
        "judge": f"logistic head on features/{config.features}",
        "strength": fit.strength,
        "held_out_loss": round(fit.held_out_loss, 4),
    }
    return _Judgement(by_part(fit.log_probability_NC, usable), fold_N, seen_M, fit.seen_MC)


def _from_scratch(
    config: JudgeImageConfig,
    context: Context,
    usable: Usable,
    weight_N: NDArray[np.float64],
    known_M: NDArray[np.int64],
) -> _Judgement:
    """Networks of some folds, and beside them a head on patches, which has more folds of its own.

    Neither was shown an image that it judges, or a copy; the fold that is told is that of the networks.
    """
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
            usable.image_ids.to_pylist(),
            uris,
            side=config.folds_side,
            map_items=context.engine.map,
            advance=bar.advance,
        )
    fold_N = usable.folds(config.scratch_folds, context.seed)
    checkpoints = context.run.scratch(f"folds/r{config.round}")
    total = scratch.training_images(fold_N, config)
    seen_M = _some(known_M)
    with context.progress(total=total, unit="images", label="networks from scratch") as bar:
        found = scratch.fold_predictions(
            squares,
            usable.label_N,
            fold_N,
            usable.num_categories,
            config,
            weight_N=weight_N,
            seed=context.seed,
            advance=bar.advance,
            checkpoint_dir=checkpoints,
            seen_M=seen_M,
        )
    logits_NC, seen_MC = found.logits_NC.astype(np.float64), found.seen_MC.astype(np.float64)
    scale, loss = best_scale(logits_NC, usable.label_N, weight_N)
    log_p_NC, seen_MC = log_softmax(scale * logits_NC), log_softmax(scale * seen_MC)
    context.result |= {
        "judge": f"{config.scratch_folds} small networks from scratch",
        "scale": round(scale, 4),
        "held_out_loss": round(loss, 4),
    }
    if config.folds_patches and config.patch_weight:
        beside = judge_patches(config, context, usable, squares, weight_N, seen_M)
        log_p_NC += config.patch_weight * beside.log_probability_NC
        seen_MC += config.patch_weight * beside.seen_MC
        scale, loss = best_scale(log_p_NC, usable.label_N, weight_N)  # two that agree are not twice as sure
        log_p_NC, seen_MC = log_softmax(scale * log_p_NC), log_softmax(scale * seen_MC)
        context.result["judge"] += f", and a ridge head on {beside.num_patches} patches"
        context.result |= {
            "networks_held_out_loss": context.result["held_out_loss"],
            "patches_held_out_loss": round(beside.held_out_loss, 4),
            "patches_strength": beside.strength,
            "joined_scale": round(scale, 4),
            "held_out_loss": round(loss, 4),
        }
    return _Judgement(by_part(log_p_NC, usable), fold_N, seen_M, seen_MC)
