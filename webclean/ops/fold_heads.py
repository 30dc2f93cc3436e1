"""Ridge heads of all folds from sums over the rows: as many rows as there are, none of them held.

    head of fold f:  (G + strength I) beta = b - s prior'        G, b, s, prior: sums over the other folds

G = sum w z z', b = sum w z y', s = sum w z, with one-hot labels y. Each fold's sums are gathered once; what a fold's head may
see is the total less its own sums, and every strength comes from the same sums. That is what `heads.cross_fit` with `heads.ridge`
comes to by conjugate gradients, to their tolerance.

Shapes: N rows, M rows of a sample, D dims, C categories, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean.ops.heads import Floats, Ints, best_scale, log_softmax

_LEAST_NORM = 1e-12
_LEAST_SPREAD = 1e-9
_SAMPLE_LOGITS = (
    2**23
)  # outputs and features of the sample on which strength and scale are chosen: 64 MiB and
_SAMPLE_VALUES = 2**27  # 512 MiB. One number out of tens of thousands of images is not better for more.
_LEAST_SAMPLE = 4096


class Columns:
    """Mean and spread of the columns of unit rows, gathered block by block."""

    def __init__(self, dim: int) -> None:
        self._num = 0
        self._sum_D = np.zeros(dim)
        self._square_D = np.zeros(dim)
        self._shift_D: Floats | None = None

    def add(self, x_ND: NDArray[np.floating[Any]]) -> None:
        """Count further rows."""
        if not len(x_ND):
            return
        rows_ND = unit_rows(x_ND)
        if self._shift_D is None:  # near the mean, so that the difference of squares loses no digits
            self._shift_D = rows_ND.mean(axis=0)
        rows_ND -= self._shift_D
        self._num += len(rows_ND)
        self._sum_D += rows_ND.sum(axis=0)
        self._square_D += np.einsum("nd,nd->d", rows_ND, rows_ND)

    def scaling(self) -> Scaling:
        """What brings these columns to mean 0 and variance 1 / D.

        Raises:
            ValueError: no row was counted.
        """
        if self._shift_D is None:
            raise ValueError("no rows to standardise")
        mean_D = self._sum_D / self._num
        spread_D = np.sqrt(np.maximum(self._square_D / self._num - mean_D**2, 0.0))
        return Scaling(self._shift_D + mean_D, np.maximum(spread_D, _LEAST_SPREAD) * np.sqrt(len(mean_D)))


@dataclass(frozen=True)
class Scaling:
    """Standardises unit rows: (row - mean_D) / scale_D, so that rows have norm about 1."""

    mean_D: Floats
    scale_D: Floats

    def apply(self, x_ND: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """float32 (N, D); the arithmetic is float64, since a column may hardly vary."""
        rows_ND = unit_rows(x_ND)
        rows_ND -= self.mean_D
        rows_ND /= self.scale_D
        return rows_ND.astype(np.float32)


def unit_rows(x_ND: NDArray[np.floating[Any]]) -> Floats:
    """Rows of norm 1, float64; a row of zeros stays."""
    rows_ND = np.array(x_ND, dtype=np.float64)
    norm_N = np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND))
    rows_ND /= np.maximum(norm_N, _LEAST_NORM)[:, None]
    return rows_ND


class FoldSums:
    """Per fold: gram_FDD, cross_FDC, sum_FD, weight_FC; and all_DD, the sum of z z' without weights."""

    def __init__(self, num_folds: int, dim: int, num_categories: int) -> None:
        self.gram_FDD = np.zeros((num_folds, dim, dim))
        self.cross_FDC = np.zeros((num_folds, dim, num_categories))
        self.sum_FD = np.zeros((num_folds, dim))
        self.weight_FC = np.zeros((num_folds, num_categories))
        self.all_DD = np.zeros((dim, dim))

    def add(
        self, z_ND: NDArray[np.float32], label_N: Ints, fold_N: Ints, weight_N: Floats | None = None
    ) -> None:
        """Count further rows; products are float32 inside a block, sums over blocks float64.

        Args:
            z_ND: standardised rows; some thousand at once are fastest.
            label_N: int64 labels.
            fold_N: int64 folds.
            weight_N: float64 >= 0; default 1.
        """
        from scipy import sparse

        num_folds, num_categories = self.weight_FC.shape
        for fold in range(num_folds):
            member_M = np.flatnonzero(fold_N == fold)
            if not len(member_M):
                continue
            z_MD, label_M = z_ND[member_M], label_N[member_M]
            gram_DD = z_MD.T @ z_MD
            self.all_DD += gram_DD
            w_M = np.ones(len(member_M)) if weight_N is None else weight_N[member_M]
            if weight_N is not None:
                root_MD = z_MD * np.sqrt(w_M).astype(np.float32)[:, None]
                gram_DD = root_MD.T @ root_MD
            self.gram_FDD[fold] += gram_DD
            shape = (num_categories, len(member_M))
            by_label = sparse.csr_matrix((w_M.astype(np.float32), (label_M, np.arange(len(member_M)))), shape)
            cross_CD = by_label @ z_MD
            self.cross_FDC[fold] += cross_CD.T
            self.sum_FD[fold] += cross_CD.sum(axis=0, dtype=np.float64)
            self.weight_FC[fold] += np.bincount(label_M, w_M, minlength=num_categories)

    def directions(self, num_dims: int) -> Floats | None:
        """Leading principal directions of all rows, float64 (D, num_dims); None where there are no more dims."""
        if len(self.all_DD) <= num_dims:
            return None
        _, vectors = np.linalg.eigh(self.all_DD)
        return np.ascontiguousarray(vectors[:, ::-1][:, :num_dims])


class _Rotated:
    """The sums in the leading directions, and the heads that follow from them."""

    def __init__(self, sums: FoldSums, directions_DK: Floats | None) -> None:
        self._directions_DK, self._weight_FC = directions_DK, sums.weight_FC
        self._gram, self._cross, self._sum = sums.gram_FDD, sums.cross_FDC, sums.sum_FD
        if directions_DK is not None:
            self._gram = np.stack([directions_DK.T @ gram @ directions_DK for gram in sums.gram_FDD])
            self._cross = np.stack([directions_DK.T @ cross for cross in sums.cross_FDC])
            self._sum = sums.sum_FD @ directions_DK

    def head(self, folds: Sequence[int], strength: float) -> tuple[NDArray[np.float32], Floats]:
        """beta (D, C) and prior (C,) of a head that was shown these folds; zeros where they hold no weight."""
        weight_C = self._weight_FC[list(folds)].sum(axis=0)
        total = weight_C.sum()
        dim = self._gram.shape[1] if self._directions_DK is None else len(self._directions_DK)
        if total == 0.0:
            return np.zeros((dim, len(weight_C)), dtype=np.float32), np.zeros(len(weight_C))
        prior_C = weight_C / total
        gram_KK = self._gram[list(folds)].sum(axis=0)
        gram_KK[np.diag_indices(len(gram_KK))] += strength
        target_KC = self._cross[list(folds)].sum(axis=0)
        target_KC -= np.outer(self._sum[list(folds)].sum(axis=0), prior_C)
        beta = np.linalg.solve(gram_KK, target_KC)
        if self._directions_DK is not None:
            beta = self._directions_DK @ beta
        return beta.astype(np.float32), prior_C


@dataclass(frozen=True)
class Sample:
    """Rows that strength and scale are chosen on: standardised, with label, fold and weight."""

    z_MD: NDArray[np.float32]
    label_M: Ints
    fold_M: Ints
    weight_M: Floats


def sample_rows(num: int, dim: int, num_categories: int) -> Ints:
    """Which rows of N make up a sample: all of a small crawl, evenly spaced ones of a large one."""
    most = min(_SAMPLE_LOGITS // max(num_categories, 1), _SAMPLE_VALUES // max(dim, 1))
    size = min(num, max(most, _LEAST_SAMPLE))
    return np.asarray(np.arange(size) * num // max(size, 1), dtype=np.int64)


@dataclass(frozen=True)
class FoldHeads:
    """A head for each fold, which never saw it: beta_FDC float32, prior_FC; scale makes outputs log-odds."""

    beta_FDC: NDArray[np.float32]
    prior_FC: Floats
    strength: float
    scale: float
    held_out_loss: float

    def log_probability(self, z_ND: NDArray[np.float32], fold_N: Ints) -> Floats:
        """Out-of-sample log-probabilities of standardised rows, float64 (N, C)."""
        return log_softmax(self.scale * _outputs(self.beta_FDC, self.prior_FC, z_ND, fold_N))


def fit_heads(sums: FoldSums, sample: Sample, strengths: Sequence[float], num_dims: int) -> FoldHeads:
    """Heads of all folds, their strength chosen as `heads.cross_fit` does, on the sample.

    Args:
        sums: of all rows.
        sample: rows for strength and scale.
        strengths: penalties to choose from; ties take the first.
        num_dims: leading principal directions that a head sees; no label has a part in them.

    Raises:
        ValueError: fewer than two folds.
    """
    num_folds = len(sums.weight_FC)
    if num_folds < 2:
        raise ValueError(f"need two folds, got {num_folds}")
    rotated = _Rotated(sums, sums.directions(num_dims))
    strength = strengths[0]
    if len(strengths) > 1:
        held = 1 % num_folds
        inner = [f for f in range(num_folds) if f != held and (f != 0 or num_folds == 2)]
        at = np.flatnonzero(sample.fold_M == held)
        losses = []
        for candidate in strengths:
            beta_DC, prior_C = rotated.head(inner, candidate)
            logits = (sample.z_MD[at] @ beta_DC).astype(np.float64) + prior_C
            losses.append(best_scale(logits, sample.label_M[at], sample.weight_M[at])[1])
        strength = strengths[int(np.argmin(losses))]
    heads = [
        rotated.head([other for other in range(num_folds) if other != fold], strength)
        for fold in range(num_folds)
    ]
    beta_FDC, prior_FC = np.stack([beta for beta, _ in heads]), np.stack([prior for _, prior in heads])
    logits_MC = _outputs(beta_FDC, prior_FC, sample.z_MD, sample.fold_M)
    scale, loss = best_scale(logits_MC, sample.label_M, sample.weight_M)
    return FoldHeads(beta_FDC, prior_FC, strength, scale, loss)


def _outputs(
    beta_FDC: NDArray[np.float32], prior_FC: Floats, z_ND: NDArray[np.float32], fold_N: Ints
) -> Floats:
    logits_NC = np.empty((len(z_ND), prior_FC.shape[1]))
    for fold in np.unique(fold_N):
        member_M = fold_N == fold
        logits_NC[member_M] = z_ND[member_M] @ beta_FDC[fold] + prior_FC[fold]
    return logits_NC
