"""The judge from scratch's second voice: a cross-fitted ridge head on how often common patches occur in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.config import JudgeImageConfig
from webclean.ops.fold_heads import Columns, FoldSums, Sample, fit_heads, sample_rows
from webclean.stages import space
from webclean.stages.base import Context
from webclean.stages.judged import BLOCK_ROWS, Usable
from webclean.stages.predictions import in_scratch

_HELD: Final = 2048  # images whose features, thousands of numbers each, are held to find directions
_BLOCK: Final = 256  # images whose features are made at once
_DIMS: Final = 256  # directions kept; with 512 the head was not better (AUROC .9052, with 256 .9048)


@dataclass(frozen=True)
class PatchJudgement:
    """Out-of-sample log-probabilities float64 (N, C), those of `seen_M` in sample, and how they were made."""

    log_probability_NC: NDArray[np.float64]
    seen_MC: NDArray[np.float64]
    num_patches: int
    strength: float
    held_out_loss: float


def judge_patches(
    config: JudgeImageConfig,
    context: Context,
    usable: Usable,
    squares_NSSC: NDArray[np.uint8],
    weight_N: NDArray[np.float64],
    seen_M: NDArray[np.int64],
) -> PatchJudgement:
    """Judge each image by patches: what is learnt from all images knows no label, heads know those of other folds.

    Features are made once for each image and kept as `_DIMS` numbers in a file of the scratch folder.

    Args:
        config: number of patches, folds and strengths.
        context: of the stage.
        usable: the images.
        squares_NSSC: their pixels, uint8, may be a memory map.
        weight_N: float64 >= 0, how much each counts in learning.
        seen_M: images that are also to be judged by a head that was shown them.
    """
    z_ND, num_patches = _turned_features(config, context, squares_NSSC)
    num, dim = z_ND.shape
    fold_N = usable.folds(config.ridge_folds, context.seed)
    sums = FoldSums(int(fold_N.max()) + 1, dim, usable.num_categories)
    same_weight = bool((weight_N == 1.0).all())
    blocks = [slice(start, min(num, start + BLOCK_ROWS)) for start in range(0, num, BLOCK_ROWS)]
    for rows in blocks:
        sums.add(z_ND[rows], usable.label_N[rows], fold_N[rows], None if same_weight else weight_N[rows])
    chosen = sample_rows(num, dim, usable.num_categories)
    sample = Sample(z_ND[chosen], usable.label_N[chosen], fold_N[chosen], weight_N[chosen])
    heads = fit_heads(sums, sample, config.judge_strengths)
    log_p_NC = np.empty((num, usable.num_categories))
    for rows in blocks:
        log_p_NC[rows] = heads.log_probability(z_ND[rows], fold_N[rows])
    seen_MC = heads.in_sample(z_ND[seen_M], fold_N[seen_M])
    return PatchJudgement(log_p_NC, seen_MC, num_patches, heads.strength, heads.held_out_loss)


def _turned_features(
    config: JudgeImageConfig, context: Context, squares_NSSC: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], int]:
    """Standardised features on their leading directions, float32 (N, at most `_DIMS`), in a file; and how many patches."""
    from webclean.nn import patches

    num = len(squares_NSSC)
    space.require(context, num * _DIMS * 4, f"the patches of {num:,} images", in_scratch=True)
    held_M = np.arange(min(num, _HELD)) * num // min(num, _HELD)
    others = np.setdiff1d(np.arange(num), held_M)
    with context.progress(total=num, unit="images", label="patches") as bar:
        dictionary = patches.learn(squares_NSSC, config.folds_patches, seed=context.seed)
        held_MD = np.empty((len(held_M), dictionary.dim), dtype=np.float32)
        columns = Columns(dictionary.dim)
        for start in range(0, len(held_M), _BLOCK):
            block = held_M[start : start + _BLOCK]
            held_MD[start : start + _BLOCK] = patches.features(squares_NSSC[block], dictionary)
            columns.add(held_MD[start : start + _BLOCK])
            bar.advance(len(block))
        scaling = columns.scaling().turned_by(held_MD, _DIMS)
        z_ND = in_scratch(context.run, (num, scaling.dim), np.float32)
        z_ND[held_M] = scaling.apply(held_MD)
        for start in range(0, len(others), _BLOCK):
            block = others[start : start + _BLOCK]
            z_ND[block] = scaling.apply(patches.features(squares_NSSC[block], dictionary))
            bar.advance(len(block))
    return z_ND, len(dictionary.centroid_KD)
