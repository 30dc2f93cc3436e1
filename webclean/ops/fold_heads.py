"""Ridge heads of all folds from sums over the rows: as many rows as there are, none of them held.

    head of fold f:  (G + strength I) beta = b - s prior'        G, b, s, prior: sums over the other folds

G = sum w z z', b = sum w z y', s = sum w z, with one-hot labels y. Each fold's sums are gathered once; what a fold's head may
see is the total less its own sums, and every strength comes from the same sums. That is what `heads.cross_fit` with `heads.ridge`
comes to by conjugate gradients, to their tolerance.

Shapes: N rows, M rows of a sample, D dims, C categories, F folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean.ops.heads import Floats, Ints, best_scale, log_softmax

_LEAST_NORM = 1e-12
_LEAST_SPREAD = 1e-9
_LEAST_SQUARE = 1e-6  # share of the largest square along a direction; float32 products hold no smaller one
_SAMPLE_LOGITS = (
    2**23
)  # outputs and features of the sample on which strength and scale are chosen: 64 MiB and
_SAMPLE_VALUES = 2**27  # 512 MiB. One number out of tens of thousands of images is not better for more.
_LEAST_SAMPLE = 4096
_MOMENT_ROWS = 2**16  # rows that principal directions are found on


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
    """Standardises unit rows: (row - mean_D) / scale_D, so that rows have norm about 1; then turns them, where asked to."""

    mean_D: Floats
    scale_D: Floats
    directions_DK: NDArray[np.float32] | None = None

    @property
    def dim(self) -> int:
        """Numbers of a row that comes out."""
        return len(self.mean_D) if self.directions_DK is None else self.directions_DK.shape[1]

    def apply(self, x_ND: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """float32 (N, dim); the arithmetic of standardising is float64, since a column may hardly vary."""
        rows_ND = unit_rows(x_ND)
        rows_ND -= self.mean_D
        rows_ND /= self.scale_D
        z_ND = rows_ND.astype(np.float32)
        return z_ND if self.directions_DK is None else z_ND @ self.directions_DK

    def turned(
        self, blocks: Iterable[tuple[slice, NDArray[np.floating[Any]]]], num: int, num_dims: int
    ) -> Scaling:
        """The same, and then the leading principal directions of what comes out; no label has a part in them.

        Directions of evenly spaced rows are those of all, from some ten thousand rows on.

        Args:
            blocks: all rows, with their places.
            num: how many rows there are.
            num_dims: directions kept; all where there are no more dims.
        """
        if self.dim <= num_dims:
            return self
        moment_DD = np.zeros((self.dim, self.dim))
        step = max(1, num // _MOMENT_ROWS)
        for rows, x_MD in blocks:
            z_MD = self.apply(x_MD[-rows.start % step :: step])
            moment_DD += z_MD.T @ z_MD
        _, vectors = np.linalg.eigh(moment_DD)
        leading_DK = np.ascontiguousarray(vectors[:, ::-1][:, :num_dims].astype(np.float32))
        return replace(self, directions_DK=leading_DK)

    def turned_by(self, x_MD: NDArray[np.floating[Any]], num_dims: int) -> Scaling:
        """The same as `turned` of a few rows with many dims, from the products of rows with each other.

        Args:
            x_MD: rows, held.
            num_dims: directions kept at most; those along which the rows do not differ are left out.
        """
        z_MD = self.apply(x_MD)
        square_M, side_MM = np.linalg.eigh((z_MD @ z_MD.T).astype(np.float64))
        kept = np.flatnonzero(square_M > _LEAST_SQUARE * max(square_M[-1], _LEAST_SQUARE))[::-1][:num_dims]
        directions_DK = z_MD.T @ (side_MM[:, kept] / np.sqrt(square_M[kept])).astype(np.float32)
        return replace(self, directions_DK=np.ascontiguousarray(directions_DK))


def unit_rows(x_ND: NDArray[np.floating[Any]]) -> Floats:
    """Rows of norm 1, float64; a row of zeros stays."""
    rows_ND = np.array(x_ND, dtype=np.float64)
    norm_N = np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND))
    rows_ND /= np.maximum(norm_N, _LEAST_NORM)[:, None]
    return rows_ND


class FoldSums:
    """Per fold: gram_FDD, cross_FDC, sum_FD, weight_FC."""

    def __init__(self, num_folds: int, dim: int, num_categories: int) -> None:
        self.gram_FDD = np.zeros((num_folds, dim, dim))
        self.cross_FDC = np.zeros((num_folds, dim, num_categories))
        self.sum_FD = np.zeros((num_folds, dim))
        self.weight_FC = np.zeros((num_folds, num_categories))

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
            w_M = np.ones(len(member_M)) if weight_N is None else weight_N[member_M]
            root_MD = z_MD if weight_N is None else z_MD * np.sqrt(w_M).astype(np.float32)[:, None]
            self.gram_FDD[fold] += root_MD.T @ root_MD
            shape = (num_categories, len(member_M))
            by_label = sparse.csr_matrix((w_M.astype(np.float32), (label_M, np.arange(len(member_M)))), shape)
            cross_CD = by_label @ z_MD
            self.cross_FDC[fold] += cross_CD.T
            self.sum_FD[fold] += cross_CD.sum(axis=0, dtype=np.float64)
            self.weight_FC[fold] += np.bincount(label_M, w_M, minlength=num_categories)

    def head(self, folds: Sequence[int], strength: float) -> tuple[NDArray[np.float32], Floats]:
        """beta (D, C) and prior (C,) of a head that was shown these folds; zeros where they hold no weight."""
        weight_C = self.weight_FC[list(folds)].sum(axis=0)
        total = weight_C.sum()
        dim = self.gram_FDD.shape[1]
        if total == 0.0:
            return np.zeros((dim, len(weight_C)), dtype=np.float32), np.zeros(len(weight_C))
        prior_C = weight_C / total
        gram_DD = self.gram_FDD[list(folds)].sum(axis=0)
        gram_DD[np.diag_indices(dim)] += strength
        target_DC = self.cross_FDC[list(folds)].sum(axis=0)
        target_DC -= np.outer(self.sum_FD[list(folds)].sum(axis=0), prior_C)
        return np.linalg.solve(gram_DD, target_DC).astype(np.float32), prior_C


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

    def in_sample(self, z_ND: NDArray[np.float32], fold_N: Ints) -> Floats:
        """Log-probabilities of these rows by the head of the next fold, which was shown them: float64 (N, C)."""
        return self.log_probability(z_ND, (fold_N + 1) % len(self.prior_FC))


def fit_heads(sums: FoldSums, sample: Sample, strengths: Sequence[float]) -> FoldHeads:
    """Heads of all folds, of the strength whose out-of-sample outputs tell the sample's labels best.

    One held-out fold would tell it too, but not as surely: on fashion-crawl it chose ten times the penalty.

    Args:
        sums: of all rows.
        sample: rows for strength and scale.
        strengths: penalties to choose from; ties take the first.

    Raises:
        ValueError: fewer than two folds, or no strength.
    """
    num_folds = len(sums.weight_FC)
    if num_folds < 2 or not strengths:
        raise ValueError(f"need two folds and a strength, got {num_folds} and {len(strengths)}")
    best: FoldHeads | None = None
    for strength in strengths:
        heads = [
            sums.head([other for other in range(num_folds) if other != fold], strength)
            for fold in range(num_folds)
        ]
        beta_FDC, prior_FC = np.stack([beta for beta, _ in heads]), np.stack([prior for _, prior in heads])
        logits_MC = _outputs(beta_FDC, prior_FC, sample.z_MD, sample.fold_M)
        scale, loss = best_scale(logits_MC, sample.label_M, sample.weight_M)
        if best is None or loss < best.held_out_loss:
            best = FoldHeads(beta_FDC, prior_FC, strength, scale, loss)
    assert best is not None
    return best


def _outputs(
    beta_FDC: NDArray[np.float32], prior_FC: Floats, z_ND: NDArray[np.float32], fold_N: Ints
) -> Floats:
    logits_NC = np.empty((len(z_ND), prior_FC.shape[1]))
    for fold in np.unique(fold_N):
        member_M = fold_N == fold
        logits_NC[member_M] = z_ND[member_M] @ beta_FDC[fold] + prior_FC[fold]
    return logits_NC
