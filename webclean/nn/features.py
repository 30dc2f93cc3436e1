"""Features of images from a frozen backbone, in fixed batches so that the bytes do not depend on the workers."""

# N images, B images of a batch, S side in pixels, D dims
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from webclean.io import pixels
from webclean.nn import backbones
from webclean.nn.backbones import Backbone, BackboneSpec
from webclean.nn.threads import default_device, repeatable

BATCH_CPU = 8  # what fits a core's cache: 8 is a third faster than 32 on EfficientNet-Lite0
BATCH_CUDA = 128
_THREADS = 1  # one per worker: two processes of one thread beat one of two


@lru_cache(maxsize=1)
def _backbone(spec: BackboneSpec, device: str) -> Backbone:
    backbone = backbones.build(spec, fused=True)
    backbone.module.to(device)
    return backbone


def extract(
    locations: Sequence[str], *, spec: BackboneSpec, fit: str, layers: str, flip: bool, precision: str
) -> NDArray[np.float32]:
    """Features of the images at these uris, in their order.

    A module-level function of plain values, so that any engine can run it. On a CPU it computes in one
    thread and in batches of one size (the last one is filled up with black and cut), hence the same images
    in the same calls give the same bytes in any process.

    Args:
        locations: uris; one call is one task of an engine.
        spec: network and weights.
        fit: how an image becomes a square (`io.pixels.square`).
        layers: `last` or `mid+last` (`Backbone.features`).
        flip: average with the features of the mirrored image.
        precision: `float32`, or `bf16` for the network's inside.

    Returns:
        float32 (N, D).

    Raises:
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    device = default_device()
    with repeatable(num_threads=_THREADS, seed=0):
        backbone = _backbone(spec, str(device))
        images_NSSC = pixels.load_squares(locations, side=backbone.size, fit=fit)
        return forward(backbone, images_NSSC, device=device, layers=layers, flip=flip, precision=precision)


def forward(
    backbone: Backbone,
    images_NSSC: NDArray[np.uint8],
    *,
    device: torch.device,
    layers: str = "last",
    flip: bool = False,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Features (N, D) float32 of uint8 images (N, S, S, 3); arguments as for `extract`."""
    batch = BATCH_CUDA if device.type == "cuda" else BATCH_CPU
    features_ND = np.empty((len(images_NSSC), backbone.features_dim(layers)), dtype=np.float32)
    for start in range(0, len(images_NSSC), batch):
        taken = images_NSSC[start : start + batch]
        full_BSSC = np.zeros((batch, *images_NSSC.shape[1:]), dtype=np.uint8)
        full_BSSC[: len(taken)] = taken
        features_BD = _batch(backbone, torch.from_numpy(full_BSSC).to(device), layers, flip, precision)
        features_ND[start : start + len(taken)] = features_BD[: len(taken)]
    return features_ND


@torch.inference_mode()
def _batch(
    backbone: Backbone, images_BSSC: torch.Tensor, layers: str, flip: bool, precision: str
) -> NDArray[np.float32]:
    inputs = backbone.normalize(images_BSSC)
    with torch.autocast(images_BSSC.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        features_BD = backbone.features(inputs, layers).float()
        if flip:
            mirrored = inputs.flip(3).contiguous(memory_format=torch.channels_last)
            features_BD = (features_BD + backbone.features(mirrored, layers).float()) / 2
    result: NDArray[np.float32] = features_BD.cpu().numpy()
    return result
