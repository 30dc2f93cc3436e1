"""Bags: n_g images of one category, drawn so that every category gets equally many bags.

SOMNet, section 3.2 (multi-instance learning). Unbalanced bags would let big categories own the
clusters, because d is normalised over categories.  # B bags, G images of a bag, N images, C categories
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webclean.errors import DataError
from webclean.ops.grouping import rows_by_code


@dataclass(frozen=True, slots=True)
class BagPlan:
    """The bags of one epoch, in the order of training.

    Attributes:
        images_BG: int64, image indices; a row never mixes categories.
        category_B: int64, the bag's category.
        short_C: bool (C,), categories with fewer than n_g usable images, drawn with replacement.
    """

    images_BG: NDArray[np.int64]
    category_B: NDArray[np.int64]
    short_C: NDArray[np.bool_]


def draw_bags(
    category_N: NDArray[np.int64],
    probability_N: NDArray[np.float64],
    *,
    num_categories: int,
    images_per_bag: int,
    bags_per_category: int,
    rng: np.random.Generator,
) -> BagPlan:
    """Draw the bags of one epoch, class-balanced.

    Inside a category each image is used about equally often times its probability: the images are
    walked in random order, again and again, an image being passed over in proportion to its
    probability over the category's largest. A category without a usable image gets no bag.

    Args:
        category_N: int64 (N,), the label of each image, 0 <= label < num_categories.
        probability_N: float64 (N,), >= 0; 0 leaves an image out.
        images_per_bag: n_g >= 1.
        bags_per_category: bags of each category, >= 1.

    Raises:
        DataError: shapes differ, a label or probability out of range, or no usable image at all.
    """
    category_N = np.asarray(category_N, dtype=np.int64)
    probability_N = np.asarray(probability_N, dtype=np.float64)
    if category_N.shape != probability_N.shape or category_N.ndim != 1:
        raise DataError(f"labels {category_N.shape} and probabilities {probability_N.shape} differ in shape")
    if images_per_bag < 1 or bags_per_category < 1:
        raise DataError(
            f"bags need images and categories need bags; got {images_per_bag}, {bags_per_category}"
        )
    if len(category_N) and not 0 <= category_N.min() <= category_N.max() < num_categories:
        raise DataError(f"a label lies outside 0..{num_categories - 1}")
    if not (np.isfinite(probability_N) & (probability_N >= 0)).all():
        raise DataError("sampling probabilities must be finite and not negative")
    if not (probability_N > 0).any():
        raise DataError(
            "no image is left to train on: every sampling probability is 0",
            context="the images held out in a fold, or for validation, may be the only ones with weight",
            hint="train on more images, or with --folds 0 and --validation 0",
        )
    images, labels = [], []
    short_C = np.zeros(num_categories, dtype=bool)
    for category, members in rows_by_code(category_N, probability_N > 0):
        short_C[category] = len(members) < images_per_bag
        drawn = _draw(members, probability_N[members], bags_per_category, images_per_bag, rng)
        images.append(drawn)
        labels.append(np.full(bags_per_category, category, dtype=np.int64))
    order = rng.permutation(sum(len(chunk) for chunk in labels))
    return BagPlan(np.concatenate(images)[order], np.concatenate(labels)[order], short_C)


def _draw(
    members: NDArray[np.int64],
    probability: NDArray[np.float64],
    num_bags: int,
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Images of one category for `num_bags` bags, (num_bags, size); distinct inside a bag where possible."""
    accept = probability / probability.max()
    chunks: list[NDArray[np.int64]] = []
    have = 0
    while have < num_bags * size:
        order = rng.permutation(len(members))
        kept = order[rng.random(len(members)) < accept[order]]
        chunks.append(members[kept])
        have += len(kept)
    flat = np.concatenate(chunks)[: num_bags * size].reshape(num_bags, size)
    if len(members) >= size:  # a bag that straddles two walks may hold an image twice: redraw such bags
        for row in flat:
            if len(np.unique(row)) < size:
                row[:] = rng.choice(members, size=size, replace=False)
    return flat
