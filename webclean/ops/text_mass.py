"""How much of an image's text speaks of its category (two-stage method, stage 1; docs/papers.md row "text mass").

Legend: N images, C categories, D dims, W distinct keywords, K neighbours of a category, R rivals: other senses of the
name of a category.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CATEGORIES_AT_ONCE: Final = 1024
RELEVANCE_FLOOR: Final = 0.01  # an image whose keywords are all beside the point still has text


@dataclass(frozen=True, slots=True)
class TextMass:
    """Where an image's text mass lies; NaN in rows without text.

    Attributes:
        mass_NC: float64, e = softmax_c(cos(t, v_c) / tau); rows sum to 1, less what rivals of the label take.
        label_N: float64, e at the label.
        neighbor_N: float64, sum of e over the K nearest categories, unweighted.
        kappa_N: float64, sum over the label and its K nearest of S-bar(label, c) e_c, in [0, 1].
    """

    mass_NC: NDArray[np.float64]
    label_N: NDArray[np.float64]
    neighbor_N: NDArray[np.float64]
    kappa_N: NDArray[np.float64]


def inverse_frequency(count_W: NDArray[np.int64], num_images: int) -> NDArray[np.float64]:
    """Smoothed idf of keywords: log((1 + N) / (1 + count)) + 1, float64 (W,), at least 1."""
    return np.asarray(np.log((1.0 + num_images) / (1.0 + count_W.astype(np.float64))) + 1.0)


def relevance(vector_WD: NDArray[np.floating], category_CD: NDArray[np.floating]) -> NDArray[np.float64]:
    """How near each keyword comes to any category: max over c of cos, at least RELEVANCE_FLOOR, float64 (W,).

    A keyword that is near no category (a host, a photographer) says nothing about which one the image shows;
    in a plain mean such words drown the ones that do. No label is looked at.
    """
    best_W = np.full(len(vector_WD), RELEVANCE_FLOOR)
    for start in range(0, len(category_CD), _CATEGORIES_AT_ONCE):
        some_CD = category_CD[start : start + _CATEGORIES_AT_ONCE].astype(np.float64)
        best_W = np.maximum(best_W, (vector_WD.astype(np.float64) @ some_CD.T).max(axis=1, initial=0.0))
    return best_W


def text_vectors(
    row_of_keyword: NDArray[np.int64],
    image_of_keyword: NDArray[np.int64],
    vector_WD: NDArray[np.floating],
    weight_W: NDArray[np.float64],
    num_images: int,
) -> NDArray[np.float64]:
    """t: weighted mean of each image's keyword vectors at unit length, float64 (N, D); zero without keywords.

    Args:
        row_of_keyword: row in `vector_WD` of each (image, keyword) pair.
        image_of_keyword: image of each pair, 0 <= image < num_images.
        vector_WD: unit vectors of the distinct keywords.
        weight_W: weight of each distinct keyword.
        num_images: N.
    """
    from scipy import sparse

    shape = (num_images, len(vector_WD))
    weight_NW = sparse.csr_array((weight_W[row_of_keyword], (image_of_keyword, row_of_keyword)), shape=shape)
    sum_ND = weight_NW @ vector_WD.astype(np.float64)
    norm_N = np.linalg.norm(sum_ND, axis=1)
    return np.asarray(sum_ND / np.where(norm_N > 0, norm_N, 1.0)[:, None])


def largest(value_NC: NDArray[np.float64], num: int) -> NDArray[np.int64]:
    """Columns of the `num` largest values of each row, the largest first, the first of equal ones: int64 (N, min(num, C)).

    A few passes over the columns instead of a sort of them.
    """
    left_NC = np.where(np.isnan(value_NC), -np.inf, value_NC)
    found_NT = np.empty((len(left_NC), min(num, left_NC.shape[1])), dtype=np.int64)
    rows_N = np.arange(len(left_NC))
    for place in range(found_NT.shape[1]):
        found_NT[:, place] = left_NC.argmax(axis=1)
        left_NC[rows_N, found_NT[:, place]] = -np.inf
    return found_NT


def text_mass(
    text_ND: NDArray[np.floating],
    category_CD: NDArray[np.floating],
    label_N: NDArray[np.int64],
    match_CK: NDArray[np.float64],
    neighbors_CK: NDArray[np.int64],
    *,
    tau: float = 0.05,
    rival_RD: NDArray[np.floating] | None = None,
    owner_R: NDArray[np.int64] | None = None,
) -> TextMass:
    """kappa_i = sum over c in {y_i} and N_K(y_i) of S-bar(y_i, c) softmax_c(cos(t_i, v_c) / tau).

    Args:
        text_ND: unit vectors of the images' texts; a zero row is an image without text.
        category_CD: unit vectors of the category texts.
        label_N: category code of each image.
        match_CK: S-bar in [0, 1] of each category and its neighbours; with itself it is 1.
        neighbors_CK: the K nearest categories of each, K may be 0.
        tau: temperature, above 0.
        rival_RD: unit vectors of meanings that the names of categories have besides the one that is meant; they take
            part in the softmax of the images under that name.
        owner_R: category of each rival.

    Raises:
        ValueError: a temperature that is not above 0, or a label out of range.
    """
    if not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    if len(label_N) and not (0 <= label_N.min() and label_N.max() < len(category_CD)):
        raise ValueError(f"labels must be in [0, {len(category_CD)})")
    logit_NC = text_ND.astype(np.float64) @ category_CD.astype(np.float64).T / tau
    highest_N = logit_NC.max(axis=1, initial=-np.inf)
    total_N = np.zeros(len(text_ND))
    if rival_RD is not None and owner_R is not None and len(rival_RD):
        rival_NR = text_ND.astype(np.float64) @ rival_RD.astype(np.float64).T / tau
        rival_NR[owner_R[None, :] != label_N[:, None]] = -np.inf
        highest_N = np.maximum(highest_N, rival_NR.max(axis=1, initial=-np.inf))
        total_N = np.exp(rival_NR - highest_N[:, None]).sum(axis=1)
    mass_NC = np.exp(logit_NC - highest_N[:, None])
    mass_NC /= (mass_NC.sum(axis=1) + total_N)[:, None]
    mass_NC[~text_ND.any(axis=1)] = np.nan
    own_N = mass_NC[np.arange(len(label_N)), label_N]
    near_NK = np.take_along_axis(mass_NC, neighbors_CK[label_N], axis=1)
    return TextMass(
        mass_NC=mass_NC,
        label_N=own_N,
        neighbor_N=near_NK.sum(axis=1) + 0.0 * own_N,
        kappa_N=np.minimum(own_N + (match_CK[label_N] * near_NK).sum(axis=1), 1.0),
    )
