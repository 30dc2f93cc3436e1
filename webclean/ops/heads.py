"""Cross-fitted linear heads: what a model that never saw an image's label says of it.

Shapes: N images, C categories, D dims, F folds. Heads are trained on noisy labels, so they are kept
simple, their regularisation is chosen on held-out noisy labels, and one temperature makes their
probabilities mean what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Solver = Callable[[Any, Ints, Floats, Any, int, float], Floats]
"""(x_train, label_train, weight_train, x_test, num_categories, strength) -> logits of x_test, (M, C)."""

_TINY = 1e-300  # keeps log finite; far below any probability that a head gives
_BLOCK_VALUES = 2**22  # 32 MiB of float64 at once
_TEMPERATURES = np.geomspace(0.05, 80.0, 81)  # scales tried for logits, refined between neighbours


@dataclass(frozen=True)
class CrossFit:
    """Out-of-sample log-probabilities and how they were made."""

    log_probability_NC: Floats
    strength: float
    scale: float
    held_out_loss: float
    seen_MC: Floats  # the same of `seen_M` by heads that were shown these images


def cross_fit(
    x: Any,
    label_N: Ints,
    fold_N: Ints,
    num_categories: int,
    solver: Solver,
    strengths: Sequence[float],
    weight_N: Floats | None = None,
    on_fold: Callable[[], None] | None = None,
    seen_M: Ints | None = None,
) -> CrossFit:
    """Judge each image by a head trained on the other folds only.

    The strength is chosen inside the first fold's training images: the next fold is held out and the
    strength with the lowest cross entropy on its noisy labels wins (ties: the first). The scale that
    turns outputs into probabilities is fitted on all out-of-sample outputs, one number for all.

    Args:
        x: (N, D) rows, dense float or scipy CSR.
        label_N: int64 noisy labels, 0..C-1.
        fold_N: int64 fold of each image, 0..F-1, F >= 2; duplicates share one.
        num_categories: C.
        solver: trains a head and applies it.
        strengths: regularisations to choose from, in the solver's own unit.
        weight_N: float64 >= 0 training weights, default 1.
        on_fold: called after each fold.
        seen_M: int64 rows that are also to be judged by a head that was shown them; default none.

    Returns:
        CrossFit; log_probability_NC is float64, rows sum to 1 in probability.

    Raises:
        ValueError: shapes differ, or fewer than two folds.
    """
    num_folds = int(fold_N.max(initial=-1)) + 1
    if num_folds < 2 or len(label_N) != x.shape[0] or len(fold_N) != len(label_N):
        raise ValueError(f"need rows, labels and folds of one length and two folds; got {num_folds} folds")
    weight_N = np.ones(len(label_N)) if weight_N is None else weight_N
    strength = strengths[0]
    if len(strengths) > 1:
        held = fold_N == (1 % num_folds)
        inner = ~held & (fold_N != 0) if num_folds > 2 else ~held
        losses = [
            best_scale(
                solver(x[inner], label_N[inner], weight_N[inner], x[held], num_categories, candidate),
                label_N[held],
                weight_N[held],
            )[1]
            for candidate in strengths
        ]
        strength = strengths[int(np.argmin(losses))]
    seen_M = np.zeros(0, dtype=np.int64) if seen_M is None else seen_M
    logits_NC, seen_MC = (np.zeros((num, num_categories)) for num in (len(label_N), len(seen_M)))
    for fold, shown in following_folds(fold_N).items():
        test = np.flatnonzero(fold_N == fold)
        inside = np.flatnonzero(fold_N[seen_M] == shown)
        train = fold_N != fold
        both = np.concatenate([test, seen_M[inside]])
        found = solver(x[train], label_N[train], weight_N[train], x[both], num_categories, strength)
        logits_NC[test], seen_MC[inside] = found[: len(test)], found[len(test) :]
        if on_fold is not None:
            on_fold()
    scale, loss = best_scale(logits_NC, label_N, weight_N)
    return CrossFit(log_softmax(scale * logits_NC), strength, scale, loss, log_softmax(scale * seen_MC))


def following_folds(fold_N: Ints) -> dict[int, int]:
    """Fold -> the next one that holds an image: the first one's head was shown all images of the second."""
    present = [int(fold) for fold in np.unique(fold_N)]
    return dict(zip(present, present[1:] + present[:1], strict=True))


def best_scale(logits_NC: Floats, label_N: Ints, weight_N: Floats) -> tuple[float, float]:
    """Scale (inverse temperature) of logits (N, C) of lowest weighted cross entropy, and that cross entropy.

    Cross entropy is convex in the scale, so that halving finds the best of a grid.
    """

    def best(scales: Floats) -> tuple[int, float]:
        @cache
        def loss(place: int) -> float:
            return cross_entropy(log_softmax(scales[place] * logits_NC), label_N, weight_N)

        low, high = 0, len(scales) - 1
        while low < high:
            middle = (low + high) // 2
            if loss(middle) <= loss(middle + 1):
                high = middle
            else:
                low = middle + 1
        return low, loss(low)

    near, _ = best(_TEMPERATURES)
    fine = np.geomspace(
        _TEMPERATURES[max(0, near - 1)], _TEMPERATURES[min(len(_TEMPERATURES) - 1, near + 1)], 9
    )
    chosen, lowest = best(fine)
    return float(fine[chosen]), lowest


def cross_entropy(log_probability_NC: Floats, label_N: Ints, weight_N: Floats) -> float:
    """Weighted mean of -log p(label); 0 without weight."""
    total = float(weight_N.sum())
    if total == 0.0:
        return 0.0
    picked_N = log_probability_NC[np.arange(len(label_N)), label_N]
    return float(-(weight_N * picked_N).sum() / total)


def log_softmax(logits_NC: Floats) -> Floats:
    """Row-wise log softmax, float64."""
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    result: Floats = shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
    return result


def log_margin(log_probability_NC: Floats, label_N: Ints) -> Floats:
    """log p(label) - log max of the others, float64 (N,); 0 where there is one category only."""
    if log_probability_NC.shape[1] < 2:
        return np.zeros(len(label_N))
    margin_N = np.empty(len(label_N))
    for rows in blocks(*log_probability_NC.shape):
        others_MC = np.array(log_probability_NC[rows], dtype=np.float64)
        at = (np.arange(len(others_MC)), label_N[rows])
        own_M = others_MC[at]
        others_MC[at] = -np.inf
        margin_N[rows] = own_M - others_MC.max(axis=1)
    return margin_N


def blocks(num_rows: int, num_columns: int) -> list[slice]:
    """Cuts a table into rows of some million values."""
    size = max(1, _BLOCK_VALUES // max(num_columns, 1))
    return [slice(start, min(num_rows, start + size)) for start in range(0, num_rows, size)]


def ridge(x_train: Any, label_N: Ints, weight_N: Floats, x_test: Any, num: int, strength: float) -> Floats:
    """Weighted least squares on one-hot labels with an L2 penalty, by conjugate gradients.

    Squared loss cannot be pulled arbitrarily far by one wrong label, and the sparse rows of a text are
    never made dense: each step costs two products with the matrix.

    Args:
        strength: penalty on the weights, for rows of norm about 1.

    Returns:
        Estimates of the one-hot labels of x_test, float64 (M, C).
    """
    solved = solve_ridge(x_train, label_N, weight_N, range(num), strength)
    result: Floats = np.asarray(x_test @ solved.beta_DK) + solved.prior_K
    return result


@dataclass(frozen=True)
class Solved:
    """A ridge head of some categories: beta_DK of the dtype of its rows, prior_K float64."""

    beta_DK: NDArray[np.floating[Any]]
    prior_K: Floats


def solve_ridge(
    x: Any, label_N: Ints, weight_N: Floats, codes: range, strength: float, steps: int | None = None
) -> Solved:
    """The head of `ridge`, for some of the categories: each is a problem of its own.

    Args:
        x: (N, D) rows, dense or CSR; the arithmetic is of their dtype.
        label_N: int64 labels, of any category.
        weight_N: float64 >= 0.
        codes: the categories.
        strength: penalty on the weights, for rows of norm about 1.
        steps: of conjugate gradients; not given: until they are precise.
    """
    total = weight_N.sum()
    if total == 0.0:
        return Solved(np.zeros((x.shape[1], len(codes)), dtype=x.dtype), np.zeros(len(codes)))
    onehot_NK = np.zeros((len(label_N), len(codes)), dtype=x.dtype)
    within = np.flatnonzero((label_N >= codes.start) & (label_N < codes.stop))
    onehot_NK[within, label_N[within] - codes.start] = 1.0
    prior_K = np.bincount(label_N[within] - codes.start, weight_N[within], minlength=len(codes)) / total
    weight_N1 = weight_N[:, None].astype(x.dtype)
    residual_NK = weight_N1 * (onehot_NK - prior_K.astype(x.dtype))
    transposed = x.T

    def normal(beta_DK: NDArray[Any]) -> NDArray[Any]:
        product: NDArray[Any] = np.asarray(transposed @ (weight_N1 * (x @ beta_DK)))
        product += strength * beta_DK
        return product

    limit = {} if steps is None else {"steps": steps}
    return Solved(_conjugate_gradients(normal, np.asarray(transposed @ residual_NK), **limit), prior_K)


def _conjugate_gradients(
    normal: Callable[[NDArray[Any]], NDArray[Any]],
    target_DC: NDArray[Any],
    steps: int = 100,
    tolerance: float = 1e-4,
) -> NDArray[Any]:
    """Solve normal(beta) = target, each column on its own, to a relative residual of `tolerance`."""

    def products(a_DC: NDArray[Any], b_DC: NDArray[Any]) -> Floats:
        return np.asarray(np.einsum("dc,dc->c", a_DC, b_DC), dtype=np.float64)

    dtype = target_DC.dtype
    beta = np.zeros_like(target_DC)
    residual = target_DC.copy()
    direction = residual.copy()
    norm = products(residual, residual)
    goal = tolerance**2 * np.maximum(norm, _TINY)
    for _ in range(steps):
        active = norm > goal
        if not active.any():
            break
        image = normal(direction)
        step = np.where(active, norm / np.maximum(products(direction, image), _TINY), 0.0).astype(dtype)
        beta += step * direction
        image *= step
        residual -= image
        following = products(residual, residual)
        direction *= np.where(active, following / np.maximum(norm, _TINY), 0.0).astype(dtype)
        direction += residual
        norm = following
    return beta


def logistic(x_train: Any, label_N: Ints, weight_N: Floats, x_test: Any, num: int, strength: float) -> Floats:
    """Multinomial logistic regression (scikit-learn, L-BFGS); strength is its `C`.

    A category without a training image gets the logit of a probability of 1e-12.

    Returns:
        log-probabilities of x_test, float64 (M, C).
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(label_N[weight_N > 0])
    logits = np.full((x_test.shape[0], num), np.log(1e-12))
    if len(present) == 0:
        return np.zeros((x_test.shape[0], num))
    if len(present) == 1:
        logits[:, present[0]] = 0.0
        return logits
    used = weight_N > 0
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    model.fit(x_train[used], label_N[used], sample_weight=weight_N[used])
    logits[:, model.classes_] = np.log(np.maximum(model.predict_proba(x_test), 1e-12))
    return logits


def standardise(x_ND: NDArray[np.floating[Any]], num_dims: int) -> Floats:
    """Unit rows, standardised columns, rotated onto their leading principal directions.

    No label is used. The rotation keeps what a strongly regularised head can use and makes it many
    times cheaper to fit.

    Args:
        x_ND: features, any float dtype.
        num_dims: directions kept.

    Returns:
        float64 (N, min(D, num_dims)).

    Raises:
        ValueError: a feature is NaN or infinite.
    """
    rows: Floats = np.asarray(x_ND, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity")
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    rows /= np.maximum(rows.std(axis=0), 1e-9)
    if rows.shape[1] <= num_dims:
        return rows
    _, vectors = np.linalg.eigh(rows.T @ rows)
    leading = vectors[:, ::-1][:, :num_dims]
    # The sign of an eigenvector is free: fixed here so that the numbers do not depend on the solver.
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    result: Floats = rows @ (leading * np.where(signs == 0, 1.0, signs))
    return result
