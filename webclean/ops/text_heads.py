"""Cross-fitted ridge heads on sparse rows, learnt from at most some ten thousands of them.

A text's n-grams say much the same in sixty thousand texts as in ten million; what a head has learnt is applied to as many as there
are, block by block. Heads are those of `heads.cross_fit` with `heads.ridge`, but for the last digits: after some steps of conjugate
gradients what is left to learn is the noise of the labels.

Shapes: N rows to learn from, K rows of them, M rows to judge, D columns, C categories, F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.heads import Floats, Ints, Solved, best_scale, log_softmax, solve_ridge

LEARNT: Final = 2**16  # texts that heads are learnt from
_STEPS: Final = 8  # of conjugate gradients
_TRIED: Final = 2**13  # texts that the strength is chosen on
_COLUMNS: Final = 128  # categories solved at once: memory does not grow with their number
_SCALED_VALUES: Final = 2**23  # outputs that the scale is fitted on


def learnt_rows(label_N: Ints, among_N: NDArray[np.bool_], size: int | None = None) -> tuple[Ints, Floats]:
    """Which rows heads are learnt from, in order, and what each counts for, so that categories keep their weight.

    All of a small crawl. Of one with more than `size` (default LEARNT) the same number of each category, evenly spaced, and
    all of one that has fewer.
    """
    size = LEARNT if size is None else size
    row_M = np.flatnonzero(among_N)
    if len(row_M) <= size:
        return row_M, np.ones(len(row_M))
    row_M = row_M[np.argsort(label_N[row_M], kind="stable")]
    count_C = np.bincount(label_N[row_M])
    low, high = 0, int(count_C.max())
    while high - low > 1:  # the largest number from each category that is not too many in all
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(count_C, middle).sum() <= size else (low, middle)
    start_C = np.cumsum(count_C) - count_C
    chosen, weights = [], []
    for start, count in zip(start_C.tolist(), count_C.tolist(), strict=True):
        taken = min(count, max(low, 1))
        chosen.append(row_M[start + np.arange(taken) * count // max(taken, 1)])
        weights.append(np.full(taken, count / max(taken, 1)))
    row_M, weight_M = np.concatenate(chosen), np.concatenate(weights)
    order = np.argsort(row_M)
    return row_M[order], weight_M[order]


@dataclass(frozen=True)
class SparseHeads:
    """A head for each fold, which never saw it: beta_FDC of the columns that tell something, prior_FC."""

    column_D: Ints
    beta_FDC: NDArray[np.floating[Any]]
    prior_FC: Floats
    strength: float
    scale: float
    held_out_loss: float

    def log_probability(self, x: Any, fold_M: Ints) -> Floats:
        """Out-of-sample log-probabilities of CSR rows, float64 (M, C)."""
        return log_softmax(self.scale * self._outputs(x[:, self.column_D], fold_M))

    def _outputs(self, x: Any, fold_M: Ints) -> Floats:
        return _outputs(x, fold_M, self.beta_FDC, self.prior_FC)


def _outputs(x: Any, fold_M: Ints, beta_FDC: NDArray[np.floating[Any]], prior_FC: Floats) -> Floats:
    logits_MC = np.zeros((x.shape[0], prior_FC.shape[1]))
    for fold in np.unique(fold_M):
        row_K = np.flatnonzero(fold_M == fold)
        logits_MC[row_K] = x[row_K] @ beta_FDC[fold] + prior_FC[fold]
    return logits_MC


def fit_sparse(
    x: Any,
    label_N: Ints,
    fold_N: Ints,
    weight_N: Floats,
    num_folds: int,
    num_categories: int,
    strengths: Sequence[float],
    empty: Callable[[tuple[int, int, int], Any], NDArray[Any]] = np.empty,
    on_fold: Callable[[], None] | None = None,
) -> SparseHeads:
    """Heads of all folds.

    Args:
        x: (N, columns) CSR of the rows to learn from, of norm about 1; the heads are of their dtype.
        label_N: int64 labels.
        fold_N: int64 folds, 0..F-1; rows to be judged may lie in folds that have none here.
        weight_N: float64 >= 0.
        num_folds: F, at least 2.
        num_categories: C.
        strengths: penalties to choose from as `heads.cross_fit` does.
        empty: makes the array (F, D, C) of the heads, of a dtype.
        on_fold: called after each fold.

    Raises:
        ValueError: fewer than two folds, or shapes differ.
    """
    num = x.shape[0]
    if num_folds < 2 or label_N.shape != (num,) or fold_N.shape != (num,):
        raise ValueError(f"need rows, labels and folds of one length and two folds; got {num_folds} folds")
    # What stands in one text only tells nothing of the others.
    column_D = np.flatnonzero(np.bincount(x.indices, minlength=x.shape[1]) >= 2)
    x = x[:, column_D]

    def solve(row_K: Ints, strength: float) -> list[Solved]:
        x_train, label_K, weight_K = x[row_K], label_N[row_K], weight_N[row_K]
        starts = range(0, num_categories, _COLUMNS)
        some = [range(start, min(num_categories, start + _COLUMNS)) for start in starts]
        return [solve_ridge(x_train, label_K, weight_K, codes, strength, _STEPS) for codes in some]

    strength = strengths[0]
    if len(strengths) > 1:
        tried_N = np.zeros(num, dtype=bool)
        tried_N[np.arange(min(num, _TRIED)) * num // min(num, _TRIED)] = True
        held_N = tried_N & (fold_N == (1 % num_folds))
        inner_K = np.flatnonzero(tried_N & ~held_N & ((fold_N != 0) | (num_folds == 2)))
        x_held = x[np.flatnonzero(held_N)]
        losses = []
        for candidate in strengths:
            logits = np.hstack([x_held @ one.beta_DK + one.prior_K for one in solve(inner_K, candidate)])
            losses.append(best_scale(logits.astype(np.float64), label_N[held_N], weight_N[held_N])[1])
        strength = strengths[int(np.argmin(losses))]
    beta_FDC = empty((num_folds, len(column_D), num_categories), x.dtype)
    prior_FC = np.zeros((num_folds, num_categories))
    for fold in range(num_folds):
        start = 0
        for one in solve(np.flatnonzero(fold_N != fold), strength):
            stop = start + one.beta_DK.shape[1]
            beta_FDC[fold, :, start:stop], prior_FC[fold, start:stop] = one.beta_DK, one.prior_K
            start = stop
        if on_fold is not None:
            on_fold()
    size = min(num, max(1, _SCALED_VALUES // num_categories))
    some = np.arange(size) * num // size
    logits_MC = _outputs(x[some], fold_N[some], beta_FDC, prior_FC)
    scale, loss = best_scale(logits_MC, label_N[some], weight_N[some])
    return SparseHeads(column_D, beta_FDC, prior_FC, strength, scale, loss)
