"""The judge `folds`: small networks trained from scratch on all folds but one, which they then predict.

For crawls that pretrained features do not fit, or where there are none: drawings, satellite tiles, spectra.
"""

# N images, B images of a batch, C categories, S side in pixels
from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from webclean.config import FoldsConfig
from webclean.io import checkpoints
from webclean.io.run_dir import RunDir
from webclean.nn.small import STRIDE, SmallClassifier
from webclean.nn.threads import default_device, repeatable
from webclean.ops.heads import following_folds

_NUM_THREADS = 2  # part of the result, like the seed; two is what the smallest machines have
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_WARM_UP_SHARE = 0.2  # of the steps, learning rate rising from a tenth
_LABEL_SMOOTHING = 0.1
_MIN_EPOCHS = 6  # however large the crawl, each image is seen this often
_LEAST_CROP = 0.6  # side of the smallest crop, as a share of the image's
_COLOUR = 0.25  # brightness, contrast and channel gains vary by up to this share
_PREDICT_BATCH = 128
_MEAN, _STD = 127.5, 64.0

Advance = Callable[[int], None]


@dataclass(frozen=True)
class FoldPredictions:
    """float32 logits, the mean over each image and its mirror image.

    Attributes:
        logits_NC: out of sample.
        seen_MC: of some images, by a network that was trained on them.
    """

    logits_NC: NDArray[np.float32]
    seen_MC: NDArray[np.float32]


def fold_predictions(
    images_NSSC: NDArray[np.uint8],
    label_N: NDArray[np.int64],
    fold_N: NDArray[np.int64],
    num_categories: int,
    config: FoldsConfig,
    *,
    weight_N: NDArray[np.float64] | None = None,
    seed: int = 0,
    advance: Advance = lambda steps: None,
    checkpoint_dir: Path | None = None,
    seen_M: NDArray[np.int64] | None = None,
) -> FoldPredictions:
    """Out-of-sample logits of every image: for each fold, a network that saw only the other folds.

    The same inputs and seed give the same bytes on the same machine, also after a kill and resume.

    Args:
        images_NSSC: uint8, may be a memory map; S is a multiple of `STRIDE`.
        label_N: crawled categories, 0 .. C-1.
        fold_N: fold of each image, 0 .. F-1 with F >= 2; members of a duplicate group must share one.
        num_categories: C.
        config: size and length of the trainings.
        weight_N: how much each image counts in training, >= 0; None counts all alike.
        seed: of initial weights, order and augmentation.
        advance: told how many images have been trained on; their total is `training_images`.
        checkpoint_dir: where to keep the state after every epoch and each finished fold; None keeps none.
        seen_M: images that are also to be judged by a network that was trained on them; None for none.

    Raises:
        ValueError: shapes, labels or folds that do not fit together.
    """
    _check(images_NSSC, label_N, fold_N, num_categories, weight_N)
    seen_M = np.zeros(0, dtype=np.int64) if seen_M is None else seen_M
    store = None
    if checkpoint_dir is not None:
        key = _key(images_NSSC, label_N, fold_N, num_categories, config, weight_N, seen_M, seed)
        store = RunDir(str(checkpoint_dir / key))
    logits_NC, seen_MC = (
        np.zeros((num, num_categories), dtype=np.float32) for num in (len(label_N), len(seen_M))
    )
    for fold, shown in following_folds(fold_N).items():
        held_N = fold_N == fold
        inside = np.flatnonzero(fold_N[seen_M] == shown)
        done = f"fold-{fold}.safetensors"
        if store is not None and store.exists(done):
            kept = checkpoints.load_weights(store, done)
            logits_NC[held_N], seen_MC[inside] = kept["logits"].numpy(), kept["seen"].numpy()
            advance(_images_of_fold(int((~held_N).sum()), config))
            continue
        train_M = np.flatnonzero(~held_N)
        with repeatable(num_threads=_NUM_THREADS, seed=_seed(seed, fold, 0)):
            training = _Training(images_NSSC, label_N, weight_N, train_M, num_categories, config, seed, fold)
            training.run(store, f"fold-{fold}-epoch.safetensors", advance)
            logits_NC[held_N] = training.predict(np.flatnonzero(held_N))
            seen_MC[inside] = training.predict(seen_M[inside])
        if store is not None:
            predicted = {"logits": logits_NC[held_N], "seen": seen_MC[inside]}
            checkpoints.save_weights(
                store, done, {name: torch.from_numpy(values) for name, values in predicted.items()}
            )
            store.remove(f"fold-{fold}-epoch.safetensors")
    return FoldPredictions(logits_NC, seen_MC)


def training_images(fold_N: NDArray[np.int64], config: FoldsConfig) -> int:
    """How many images `fold_predictions` will train on in all, for a progress bar."""
    sizes = np.bincount(fold_N)
    return sum(_images_of_fold(int(len(fold_N) - size), config) for size in sizes if size)


def _check(
    images_NSSC: NDArray[np.uint8],
    label_N: NDArray[np.int64],
    fold_N: NDArray[np.int64],
    num_categories: int,
    weight_N: NDArray[np.float64] | None,
) -> None:
    num = len(images_NSSC)
    if images_NSSC.ndim != 4 or images_NSSC.shape[3] != 3 or images_NSSC.shape[1] % STRIDE:
        raise ValueError(
            f"images must be (N, S, S, 3) with S a multiple of {STRIDE}; got {images_NSSC.shape}"
        )
    if (
        label_N.shape != (num,)
        or fold_N.shape != (num,)
        or (weight_N is not None and weight_N.shape != (num,))
    ):
        raise ValueError(f"{num} images need as many labels, folds and weights")
    if num == 0 or label_N.min() < 0 or label_N.max() >= num_categories:
        raise ValueError(f"labels must be in 0..{num_categories - 1}, and at least one")
    if fold_N.min() < 0 or (fold_N == fold_N[0]).all():
        raise ValueError("a judge needs at least two folds, numbered from 0")


def _key(
    images_NSSC: NDArray[np.uint8],
    label_N: NDArray[np.int64],
    fold_N: NDArray[np.int64],
    num_categories: int,
    config: FoldsConfig,
    weight_N: NDArray[np.float64] | None,
    seen_M: NDArray[np.int64],
    seed: int,
) -> str:
    """Name of the checkpoints' folder: another input never takes up this one's state."""
    digest = hashlib.sha256(
        json.dumps([config.fingerprint_fields(), num_categories, seed], sort_keys=True).encode()
    )
    for start in range(0, len(images_NSSC), 4096):
        digest.update(np.asarray(images_NSSC[start : start + 4096]).tobytes())
    for array in (label_N, fold_N, weight_N, seen_M):
        digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()[:16]


def _seed(seed: int, fold: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, fold, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _num_epochs(num_train: int, config: FoldsConfig) -> int:
    return max(_MIN_EPOCHS, math.ceil(config.folds_images / max(1, num_train)))


def _images_of_fold(num_train: int, config: FoldsConfig) -> int:
    return _num_epochs(num_train, config) * num_train


class _Training:
    """One network of one fold: the state that an epoch ends with is all that the next one needs."""

    def __init__(
        self,
        images_NSSC: NDArray[np.uint8],
        label_N: NDArray[np.int64],
        weight_N: NDArray[np.float64] | None,
        train_M: NDArray[np.int64],
        num_categories: int,
        config: FoldsConfig,
        seed: int,
        fold: int,
    ) -> None:
        self.device = default_device()
        self.images_NSSC, self.label_N, self.train_M = images_NSSC, label_N, train_M
        mean_weight = 1.0 if weight_N is None else float(weight_N[train_M].mean())
        # All weights 0 leaves nothing to learn from: the network then stays at its start.
        self.weight_N = None if weight_N is None else weight_N / (mean_weight or 1.0)
        self.config, self.seed, self.fold = config, seed, fold
        self.num_categories = num_categories
        self.num_epochs = _num_epochs(len(train_M), config)
        self.net = SmallClassifier(num_categories, config.folds_width).to(memory_format=torch.channels_last)
        self.net.to(self.device)
        self.velocity = {name: torch.zeros_like(p) for name, p in self.net.named_parameters()}
        self.mean = {name: value.clone() for name, value in self.net.state_dict().items()}

    def run(self, store: RunDir | None, file: str, advance: Advance) -> None:
        """Train to the end, from the last epoch that the store holds."""
        first = 0
        if store is not None and store.exists(file):
            first = self._restore(store, file)
            advance(first * len(self.train_M))
        for epoch in range(first, self.num_epochs):
            self._epoch(epoch, advance)
            if store is not None and epoch + 1 < self.num_epochs:
                self._save(store, file, epoch + 1)

    def _epoch(self, epoch: int, advance: Advance) -> None:
        self.net.train()
        generator = torch.Generator().manual_seed(_seed(self.seed, self.fold, epoch + 1))
        order_M = self.train_M[torch.randperm(len(self.train_M), generator=generator).numpy()]
        batches = np.array_split(order_M, max(1, round(len(order_M) / self.config.folds_batch)))
        for index, rows_B in enumerate(batches):
            rate = self._rate((epoch + index / len(batches)) / self.num_epochs)
            self._step(np.sort(rows_B), rate, generator)
            advance(len(rows_B))

    def _rate(self, done: float) -> float:
        """Learning rate after a share of the training: linear warm-up, then a half cosine to 0."""
        if done < _WARM_UP_SHARE:
            return self.config.folds_rate * (0.1 + 0.9 * done / _WARM_UP_SHARE)
        left = (done - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)
        return self.config.folds_rate * 0.5 * (1 + math.cos(math.pi * left))

    def _step(self, rows_B: NDArray[np.int64], rate: float, generator: torch.Generator) -> None:
        inputs = augment(_tensor(self.images_NSSC[rows_B]), generator)
        target_BC = F.one_hot(torch.from_numpy(self.label_N[rows_B]), self.num_categories).float()
        target_BC = target_BC * (1 - _LABEL_SMOOTHING) + _LABEL_SMOOTHING / self.num_categories
        weight_B = torch.ones(len(rows_B))
        if self.weight_N is not None:
            weight_B = torch.from_numpy(self.weight_N[rows_B]).float()
        # Mixup (Zhang et al. 2018): a wrong label is never seen alone, so it is hard to learn by heart.
        share = float(
            np.random.default_rng(_draw(generator)).beta(self.config.folds_mixup, self.config.folds_mixup)
        )
        other = torch.randperm(len(rows_B), generator=generator)
        inputs = share * inputs + (1 - share) * inputs[other]
        loss_BC = weight_B[:, None] * target_BC * share + (weight_B[:, None] * target_BC)[other] * (1 - share)
        logits_BC = self.net(inputs.contiguous(memory_format=torch.channels_last).to(self.device))
        loss = -(loss_BC.to(self.device) * F.log_softmax(logits_BC, dim=1)).sum(dim=1).mean()
        self.net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._update(rate)

    @torch.no_grad()
    def _update(self, rate: float) -> None:
        """One step of SGD with Nesterov momentum, and of the running mean of the weights."""
        for name, parameter in self.net.named_parameters():
            assert parameter.grad is not None
            gradient = parameter.grad
            if parameter.ndim > 1:  # gains and biases are not decayed
                gradient = gradient + _WEIGHT_DECAY * parameter
            velocity = self.velocity[name].mul_(_MOMENTUM).add_(gradient)
            parameter.sub_(gradient + _MOMENTUM * velocity, alpha=rate)
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, 1 - self.config.folds_average)
            else:
                self.mean[name].copy_(value)

    @torch.inference_mode()
    def predict(self, rows_M: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits (M, C) of the averaged weights, mean over image and mirror image."""
        net = SmallClassifier(self.num_categories, self.config.folds_width)
        net.load_state_dict(self.mean)
        net.to(memory_format=torch.channels_last).to(self.device).eval()
        logits_MC = np.empty((len(rows_M), self.num_categories), dtype=np.float32)
        for start in range(0, len(rows_M), _PREDICT_BATCH):
            rows_B = rows_M[start : start + _PREDICT_BATCH]
            inputs = _tensor(self.images_NSSC[rows_B]).to(self.device)
            both_BC = net(inputs) + net(inputs.flip(3).contiguous(memory_format=torch.channels_last))
            logits_MC[start : start + len(rows_B)] = (both_BC / 2).cpu().numpy()
        return logits_MC

    def _save(self, store: RunDir, file: str, epoch: int) -> None:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.items()}
        tensors |= {f"velocity.{k}": v for k, v in self.velocity.items()}
        checkpoints.save_checkpoint(store, file, tensors, {"epoch": epoch})

    def _restore(self, store: RunDir, file: str) -> int:
        tensors, state = checkpoints.load_checkpoint(store, file)

        def part(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

        self.net.load_state_dict(part("net"))
        for name, value in part("mean").items():
            self.mean[name].copy_(value)
        for name, value in part("velocity").items():
            self.velocity[name].copy_(value)
        return int(state["epoch"])


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=generator))


def _tensor(images_BSSC: NDArray[np.uint8]) -> Tensor:
    """uint8 images as float32 (B, 3, S, S) around 0, channels last in memory."""
    return (torch.from_numpy(np.asarray(images_BSSC)).float().sub_(_MEAN).div_(_STD)).permute(0, 3, 1, 2)


def augment(inputs_B3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops, mirrored half of the time, with changed brightness, contrast and colours.

    Args:
        inputs_B3SS: float32, around 0.
        generator: all randomness is from here.
    """
    num, _, side, _ = inputs_B3SS.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    scale_B2 = (_LEAST_CROP + (1 - _LEAST_CROP) * uniform(num, 1)) * torch.exp(
        0.15 * (2 * uniform(num, 2) - 1)
    )
    scale_B2 = scale_B2.clamp(max=1.0)
    shift_B2 = (2 * uniform(num, 2) - 1) * (1 - scale_B2)
    mirror_B = torch.where(uniform(num) < 0.5, -1.0, 1.0)
    affine_B23 = torch.zeros(num, 2, 3)
    affine_B23[:, 0, 0] = scale_B2[:, 0] * mirror_B
    affine_B23[:, 1, 1] = scale_B2[:, 1]
    affine_B23[:, :, 2] = shift_B2
    grid = F.affine_grid(affine_B23, [num, 3, side, side], align_corners=False)
    cropped = F.grid_sample(
        inputs_B3SS, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    gain_B3 = 1 + _COLOUR * (2 * uniform(num, 1) - 1) + 0.4 * _COLOUR * (2 * uniform(num, 3) - 1)
    offset_B1 = 2 * _COLOUR * (2 * uniform(num, 1) - 1)
    return cropped * gain_B3[:, :, None, None] + offset_B1[:, :, None, None]
