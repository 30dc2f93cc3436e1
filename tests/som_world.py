"""A small made-up crawl of ROI features: two clusters a category, shared background, flipped labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from webclean.nn.memory import MemoryOptions, SelfOrganizingMemory
from webclean.nn.roi_cache import CachedRows
from webclean.nn.roi_features import CachedRois
from webclean.nn.somnet import BagLearner, LabelledImages, SomNet, SomnetOptions
from webclean.ops.roi_weights import Curriculum

CATEGORIES, DIM, ROIS = 3, 12, 5


@dataclass
class World:
    """Features, labels, and what they hide."""

    rows: CachedRows
    labels: LabelledImages
    is_wrong_N: np.ndarray
    is_background_NR: np.ndarray


def make_world(num=180, wrong=0.2, seed=0) -> World:
    """ROI 0 is the whole image, 1 and 2 show the object, 3 and 4 the background."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    truth = np.arange(num) % CATEGORIES
    cluster = 2 * truth + rng.integers(2, size=num)
    background = centres[2 * CATEGORIES]
    features = np.empty((num, ROIS, DIM))
    features[:, 1:3] = 3 * centres[cluster][:, None]
    features[:, 3:] = 3 * background
    features[:, 0] = 0.6 * features[:, 1] + 0.4 * features[:, 3]
    features += 0.25 * rng.normal(size=features.shape)
    is_wrong = rng.random(num) < wrong
    label = np.where(is_wrong, (truth + 1) % CATEGORIES, truth).astype(np.int64)
    labels = LabelledImages(label, np.ones(num), np.ones(num), np.zeros(num, dtype=bool))
    is_background = np.zeros((num, ROIS), dtype=bool)
    is_background[:, 3:] = True
    return World(
        CachedRows(features.astype(np.float16), torch.device("cpu")), labels, is_wrong, is_background
    )


def make_learner(
    world, *, memory=None, seed=(0,), area=None, curriculum=None, with_memory=True, **options
) -> BagLearner:
    """A learner on the world; options of `SomnetOptions`, `memory` of `MemoryOptions`."""
    torch.manual_seed(0)
    settings = {"side": 4, "decay": 0.95} | (memory or {})
    part = SelfOrganizingMemory(CATEGORIES, DIM, MemoryOptions(**settings)) if with_memory else None
    net = SomNet(CachedRois(), DIM, CATEGORIES, part)
    area_R = np.ones(ROIS) if area is None else area
    used = SomnetOptions(**({"images_per_bag": 2, "batch_bags": 8} | options))
    return BagLearner(net, world.rows, world.labels, area_R, used, curriculum or Curriculum(), seed)
