"""The baseline: image-level cross entropy with weights, on the same network without a memory."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from webclean.nn.somnet import SomNet, SomnetOptions


def plain_net(encoder: nn.Module, dim: int, num_categories: int) -> SomNet:
    """Encoder and linear classifier."""
    return SomNet(encoder, dim, num_categories, memory=None)


def plain_options(options: SomnetOptions) -> SomnetOptions:
    """The same training on bags of one whole image; as many images a step as before."""
    return replace(
        options, images_per_bag=1, batch_bags=options.batch_bags * options.images_per_bag, image_loss=0.0,
        kmeans=False,
    )  # fmt: skip
