"""Train a classifier on the weighted crawl and say, out of sample where possible, what it makes of every image.

A frozen backbone's ROI features are cached once; then one network is trained on all images (the model)
and, with folds, one per fold whose images it never saw (the predictions). Duplicates share a fold.
"""

# N usable images, R ROIs, C categories
from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import TrainConfig
from webclean.errors import ImagesNotFoundError
from webclean.io import tables
from webclean.ops import boxes, folds
from webclean.ops.roi_weights import select_rois, slot_scores
from webclean.stages import space
from webclean.stages.base import Context, Counts
from webclean.stages.copies import CopyTable
from webclean.stages.predictions import prediction_columns
from webclean.stages.rows import Categories, Follow, floats, is_usable, not_usable

if TYPE_CHECKING:
    from webclean.nn.recipe import Recipe
    from webclean.nn.roi_features import Reducer
    from webclean.nn.somnet import LabelledImages, Rows, SomNet

_TINY = np.finfo(np.float64).tiny  # an average of probabilities that are 0 in float64 has a logarithm too
MEMORY_FOLDER, CHECKPOINTS = "memory", "checkpoints"
HISTORY = "history.jsonl"


def source_fingerprint(config: TrainConfig) -> str:
    """Network, weights and device that these settings lead to on this machine."""
    from webclean.nn import backbones
    from webclean.nn.threads import default_device

    spec = backbones.resolve(config.backbone, config.weights)
    return f"{spec.name} {spec.sha256} {default_device().type}"


@dataclass(frozen=True)
class _Crawl:
    """The usable images as arrays, in image order.

    Attributes:
        image_ids, locations: text of each.
        category_N: int64 category_id.
        sampling_N, loss_N: float64; sampling 0 = not learned from (a copy of another image).
        group_N: int64 duplicate group, -1 for none.
        size_N2: float64 width, height in pixels of the upright image.
        parts: for each part of `images`, how many usable images it holds.
    """

    image_ids: list[str]
    locations: list[str]
    category_N: NDArray[np.int64]
    sampling_N: NDArray[np.float64]
    loss_N: NDArray[np.float64]
    group_N: NDArray[np.int64]
    size_N2: NDArray[np.float64]
    parts: list[int]


def run(config: TrainConfig, context: Context) -> Counts:
    """Write models/<name>: the model, its history, and its predictions, ROIs and memory as tables.

    Raises:
        ImagesNotFoundError: no usable image, or none with weight.
        ConfigError, DependencyMissingError: the backbone cannot be had.
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    from webclean.nn import backbones, recipe
    from webclean.nn.threads import repeatable

    spec = backbones.resolve(config.backbone, config.weights)
    context.note(f"train: {spec}")
    categories = Categories(context.run)
    crawl = _read(config, context, categories)
    median_side = float(np.median(crawl.size_N2.min(axis=1)))
    plan = recipe.decide(config, spec, median_side, context.seed)
    context.result |= plan.summary()
    inputs = _inputs(plan, context, crawl)
    with repeatable(num_threads=plan.threads, seed=context.seed):
        fits = _Fits(plan, context, crawl, inputs, categories.num)
        nets = fits.train()
        folder = schema.model_path(config.name)
        names = [categories.name_of.get(code, "") for code in range(categories.num)]
        recipe.save_model(context.run, folder, plan, nets.whole, inputs.reducer, names)
        _write_predictions(config, context, crawl, inputs.rows, nets)
        _write_rois(config, context, crawl, inputs.rows, nets, plan)
        _write_memory(config, context, nets.whole, categories)
    context.result["learned_from"] = int((crawl.sampling_N > 0).sum())
    num, left_out = len(crawl.image_ids), not_usable(context.run)
    return Counts(total=num + sum(left_out.values()), forwarded=num, dropped=left_out)


# ---------------------------------------------------------------- read
def _read(config: TrainConfig, context: Context, categories: Categories) -> _Crawl:
    run = context.run
    stage1, stage2 = schema.stage1_path(config.round), schema.stage2_path(config.round)
    first = Follow(run, stage1, schema.STAGE1_TABLE, (schema.WEIGHT,)) if context.has(stage1) else None
    second = Follow(run, stage2, schema.STAGE2_TABLE, (schema.MATCH_SCORE,)) if context.has(stage2) else None
    if first is None:
        context.note("train: no weights of stage 1, so every image counts alike")
    ids: list[str] = []
    locations: list[str] = []
    pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in ("category", "sampling", "loss", "size")}
    parts: list[int] = []
    columns = (schema.IMAGE_ID, schema.URI, schema.CATEGORY, schema.STATUS, schema.WIDTH, schema.HEIGHT)
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        ok = is_usable(part)
        image_id = part.column(schema.IMAGE_ID)
        for name, follow, column in (
            ("sampling", first, schema.WEIGHT),
            ("loss", second, schema.MATCH_SCORE),
        ):
            value = np.ones(len(ok)) if follow is None else floats(follow.take(image_id).column(column))
            pieces[name].append(value[ok])
        pieces["category"].append(categories.encode(part.column(schema.CATEGORY))[ok])
        size_N2 = np.stack([floats(part.column(schema.WIDTH)), floats(part.column(schema.HEIGHT))], axis=1)
        pieces["size"].append(size_N2[ok])
        ids += [value for value, use in zip(image_id.to_pylist(), ok, strict=True) if use]
        uris = part.column(schema.URI).to_pylist()
        locations += [value for value, use in zip(uris, ok, strict=True) if use]
        parts.append(int(ok.sum()))
    if not ids:
        raise ImagesNotFoundError("no usable image to train on", context=run.url)
    copies = CopyTable(run).of(ids)
    sampling_N = np.where(copies.is_drawn_N, np.concatenate(pieces["sampling"]), 0.0)
    loss_N = np.concatenate(pieces["loss"])
    if not (sampling_N * loss_N > 0).any():
        raise ImagesNotFoundError("every usable image has weight 0", context=run.url)
    return _Crawl(
        ids, locations, np.concatenate(pieces["category"]), sampling_N, loss_N, copies.group_N,
        np.concatenate(pieces["size"]), parts,
    )  # fmt: skip


@dataclass(frozen=True)
class _Inputs:
    """What the encoder reads; `reducer` only where the backbone is frozen."""

    rows: Rows
    dim: int
    reducer: Reducer | None


def _inputs(plan: Recipe, context: Context, crawl: _Crawl) -> _Inputs:
    from webclean.engines.local import InlineEngine
    from webclean.io import pixels
    from webclean.nn import backbones
    from webclean.nn.roi_cache import CachedRows, PixelRows, roi_cache
    from webclean.nn.threads import default_device

    device = default_device()
    num = len(crawl.image_ids)
    if plan.is_frozen:
        dim = min(plan.config.roi_dim, backbones.build(plan.spec, pretrained=False).map_dim)
        # One GPU is filled by one process; many would only share it.
        engine = InlineEngine() if device.type == "cuda" else context.engine
        per_image = len(plan.rois_R4) * dim * 2  # half floats
        space.require(context, num * per_image, f"region features of {num:,} images", in_scratch=True)
        with context.progress(total=num, unit="images", label="region features") as bar:
            cache = roi_cache(
                context.run, crawl.image_ids, crawl.locations, spec=plan.spec, side=plan.side,
                rois_R4=plan.rois_R4, dim=dim, map_items=engine.map, advance=bar.advance,
            )  # fmt: skip
        return _Inputs(CachedRows(cache.features_NRE, device), dim, cache.reducer)
    backbone = backbones.build(plan.spec)
    space.require(context, num * plan.side**2 * 3, f"the pixels of {num:,} images", in_scratch=True)
    with context.progress(total=num, unit="images", label="decode") as bar:
        squares_NSSC = pixels.square_cache(
            context.run, crawl.image_ids, crawl.locations, side=plan.side,
            map_items=context.engine.map, advance=bar.advance,
        )  # fmt: skip
    return _Inputs(PixelRows(squares_NSSC, backbone, device), backbone.map_dim, None)


# ---------------------------------------------------------------- train
@dataclass(frozen=True)
class _Nets:
    """The model, and for each repeat the fold of each image and that fold's network."""

    whole: SomNet
    fold_SN: list[NDArray[np.int64]]
    by_fold: list[list[SomNet]]


class _Fits:
    """All networks of one training, each with a checkpoint of its own, so a rerun takes up the one it was at."""

    def __init__(
        self, plan: Recipe, context: Context, crawl: _Crawl, inputs: _Inputs, num_categories: int
    ) -> None:
        self.plan, self.context, self.crawl, self.inputs = plan, context, crawl, inputs
        self.num_categories = num_categories
        self.folder = schema.model_path(plan.config.name)
        self.history: list[dict[str, Any]] = []

    def train(self) -> _Nets:
        """Train all; writes history.jsonl after each."""
        plan, crawl = self.plan, self.crawl
        repeats = plan.config.repeats if plan.num_folds else 0
        fold_SN = [
            folds.grouped_folds(
                crawl.category_N,
                crawl.group_N,
                plan.num_folds,
                np.random.default_rng([self.context.seed, 1, s]),
            )
            for s in range(repeats)
        ]
        self.num_fits = repeats * plan.num_folds + 1
        by_fold = []
        with contextlib.ExitStack() as stack:
            self._bar: Any = None
            self._stack = stack
            for s, fold_N in enumerate(fold_SN):
                by_fold.append(
                    [self._fit(f"fold-{s}-{k}", (s, k), fold_N != k) for k in range(plan.num_folds)]
                )
            whole = self._fit("all", (repeats, 0), np.ones(len(crawl.image_ids), dtype=bool))
        return _Nets(whole, fold_SN, by_fold)

    def _fit(self, name: str, number: tuple[int, int], use_N: NDArray[np.bool_]) -> SomNet:
        import torch

        from webclean.nn import backbones, loop, recipe
        from webclean.nn.threads import default_device

        context, plan = self.context, self.plan
        seed = (context.seed, 2, *number)
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**31)))
        # Made anew under the fit's own seed: without pretrained weights its start is random.
        backbone = None if plan.is_frozen else backbones.build(plan.spec)
        net = recipe.build_net(plan, self.num_categories, self.inputs.dim, backbone).to(default_device())
        learner = recipe.build_learner(plan, net, self.inputs.rows, self._labels(use_N, seed), seed)
        options = recipe.loop_options(plan)
        steps = options.epochs * learner.steps_per_epoch
        if self._bar is None:
            total = self.num_fits * steps
            self._bar = self._stack.enter_context(context.progress(total=total, unit="steps", label="train"))
        done = [0]

        def on_step(advanced: int, loss: float) -> None:
            done[0] += advanced
            self._bar.advance(advanced)
            if not math.isnan(loss):
                self._bar.describe(f"{name}, loss {loss:.3f}")

        fitted = loop.fit(
            net, learner, options, run=context.run, checkpoint=f"{self.folder}/{CHECKPOINTS}/{name}.safetensors",
            on_step=on_step,
        )  # fmt: skip
        self._bar.advance(max(0, steps - done[0]))
        if name == "all":
            self._report(learner, fitted.history)
        self.history += [{"fit": name, **row} for row in fitted.history]
        text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.history)
        context.run.write_bytes(f"{self.folder}/{HISTORY}", text.encode())
        return net

    def _labels(self, use_N: NDArray[np.bool_], seed: tuple[int, ...]) -> LabelledImages:
        from webclean.nn.somnet import LabelledImages

        crawl, share = self.crawl, self.plan.config.validation
        sampling_N = np.where(use_N & (crawl.loss_N > 0), crawl.sampling_N, 0.0)
        held_out_N = np.zeros(len(use_N), dtype=bool)
        if share > 0:
            rng = np.random.default_rng([*seed, 3])
            tenth_N = folds.grouped_folds(crawl.category_N, crawl.group_N, max(2, round(1 / share)), rng)
            held_out_N = (tenth_N == 0) & (sampling_N > 0)
        return LabelledImages(crawl.category_N, sampling_N, crawl.loss_N, held_out_N)

    def _report(self, learner: Any, history: list[dict[str, Any]]) -> None:
        result = self.context.result
        result["final"] = {key: value for key, value in history[-1].items() if key != "clock"}
        result["epochs_run"] = len(history)
        result["short_categories"] = [int(c) for c in learner.short_categories]
        result["empty_categories"] = [int(c) for c in learner.empty_categories]
        if len(learner.short_categories):
            self.context.note(
                f"train: {len(learner.short_categories)} categories have fewer usable images than a bag holds;"
                " their images are drawn with replacement"
            )


# ---------------------------------------------------------------- write
def _write_predictions(config: TrainConfig, context: Context, crawl: _Crawl, rows: Rows, nets: _Nets) -> None:
    artefact = schema.model_predictions_path(config.name)
    for index, span in _spans(crawl):
        if tables.has_part(context.run, artefact, index):
            continue
        images = np.arange(span.start, span.stop)
        label_N = crawl.category_N[span]
        probability_NC, score_N = _out_of_sample(rows, nets, images, label_N)
        data: dict[str, Any] = {
            schema.IMAGE_ID: crawl.image_ids[span],
            schema.FOLD: nets.fold_SN[0][span] if nets.fold_SN else np.full(len(images), -1),
            **prediction_columns(np.log(np.maximum(probability_NC, _TINY)), label_N, config.judge_top),
            schema.SIMILARITY: [None] * len(images),
            schema.IN_SAMPLE: [not nets.fold_SN] * len(images),
            schema.SOMNET_SCORE: [None] * len(images) if score_N is None else score_N,
        }
        tables.write_part(context.run, artefact, index, data, schema.MODEL_PREDICTIONS_TABLE)


def _out_of_sample(
    rows: Rows, nets: _Nets, images: NDArray[np.int64], label_N: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Probabilities (N, C) and mean d-scores (N,) by the networks that did not see the image, averaged over
    the repeats; by the model itself where there are no folds."""
    from webclean.nn.somnet import judge

    num_categories = nets.whole.head.out_features
    if not nets.fold_SN:
        judged = judge(nets.whole, rows, images, label_N)
        score = judged.d_NR.mean(axis=1) if judged.d_NR.shape[1] else None
        return np.exp(judged.log_probability_NC), score
    probability_NC = np.zeros((len(images), num_categories))
    score_N = np.zeros(len(images))
    for fold_N, fold_nets in zip(nets.fold_SN, nets.by_fold, strict=True):
        for k, net in enumerate(fold_nets):
            members = np.flatnonzero(fold_N[images] == k)
            judged = judge(net, rows, images[members], label_N[members])
            probability_NC[members] += np.exp(judged.log_probability_NC) / len(nets.fold_SN)
            if judged.d_NR.shape[1]:
                score_N[members] += judged.d_NR.mean(axis=1) / len(nets.fold_SN)
    return probability_NC, score_N if nets.whole.memory is not None else None


def _write_rois(
    config: TrainConfig, context: Context, crawl: _Crawl, rows: Rows, nets: _Nets, plan: Recipe
) -> None:
    """ROIs as the model weighs them among those of their own image, at the share kept in the last round."""
    from webclean.nn.somnet import judge

    artefact = schema.model_rois_path(config.name)
    area_R = boxes.area_scores(plan.rois_R4) if config.area_score else np.ones(len(plan.rois_R4))
    only_image_R = np.eye(1, len(plan.rois_R4))[0]
    percent = context.result["final"].get("percent") or config.keep_start
    for index, span in _spans(crawl):
        if tables.has_part(context.run, artefact, index):
            continue
        images = np.arange(span.start, span.stop)
        if nets.whole.memory is None or not len(images):
            tables.write_part(context.run, artefact, index, _no_rows(schema.ROIS_TABLE), schema.ROIS_TABLE)
            continue
        judged = judge(nets.whole, rows, images, crawl.category_N[span])
        score_NR = slot_scores(judged.d_NR, judged.r_NR, config.roi_score) * area_R
        num_rois = len(plan.rois_R4)
        box_NR4 = np.stack([boxes.to_pixels(plan.rois_R4, *size) for size in crawl.size_N2[span].tolist()])
        data: dict[str, Any] = {
            schema.IMAGE_ID: np.repeat(np.array(crawl.image_ids[span], dtype=object), num_rois),
            schema.ROI: np.tile(np.arange(num_rois, dtype=np.int32), len(images)),
            schema.BOX: _fixed_lists(box_NR4.reshape(-1, 4).astype(np.float32)),
            schema.WEIGHT: select_rois(score_NR, percent, only_image_R).reshape(-1),
            schema.D_SCORE: judged.d_NR.reshape(-1),
            schema.R_SCORE: judged.r_NR.reshape(-1),
            schema.SLOT: judged.slot_NR.reshape(-1).astype(np.int32),
        }
        tables.write_part(context.run, artefact, index, data, schema.ROIS_TABLE)


def _write_memory(config: TrainConfig, context: Context, net: SomNet, categories: Categories) -> None:
    artefact = f"{schema.model_path(config.name)}/{MEMORY_FOLDER}"
    if net.memory is None:
        tables.write_part(context.run, artefact, 0, _no_rows(schema.MEMORY_TABLE), schema.MEMORY_TABLE)
        return
    d_CK, r_CK = (scores.cpu().numpy() for scores in net.memory.scores())
    num_categories, num_slots = d_CK.shape
    data = {
        schema.SLOT: np.repeat(np.arange(num_slots, dtype=np.int32), num_categories),
        schema.CATEGORY_ID: np.tile(np.arange(num_categories, dtype=np.int32), num_slots),
        schema.D_SCORE: d_CK.T.reshape(-1),
        schema.R_SCORE: r_CK.T.reshape(-1),
        schema.VISITS: np.repeat(net.memory.visits_K.cpu().numpy(), num_categories),
    }
    tables.write_part(context.run, artefact, 0, data, schema.MEMORY_TABLE)


def _spans(crawl: _Crawl) -> Iterator[tuple[int, slice]]:
    start = 0
    for index, size in enumerate(crawl.parts):
        yield index, slice(start, start + size)
        start += size


def _no_rows(table: schema.Table) -> Any:
    return tables.arrow_schema(table).empty_table()


def _fixed_lists(values_N4: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values_N4.reshape(-1)), values_N4.shape[1])
