"""Stage-2 scores: does an image's prediction mean what its label means?

Legend: N images, C categories, K the best predictions of an image, P pairs of related categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.heads import log_softmax

NORMS: Final = ("softmax", "l2")

_TINY: Final = 1e-300  # keeps log finite at a probability of exactly 0; far below any float32


@dataclass(frozen=True, slots=True)
class MatchMatrix:
    """M(a, b) in [0, 1], how well category a matches category b, as its non-zero pairs.

    Held as sorted pairs because the thresholded relation is nearly empty: C = 5,000 categories with 20
    relatives each are 100,000 numbers in place of 25 million. M(a, a) = 1 whether it is listed or not;
    every other pair that is not listed is 0.

    Attributes:
        key_P: int64, a * num_categories + b, increasing.
        value_P: float64 in [0, 1].
        num_categories: C.
    """

    key_P: NDArray[np.int64]
    value_P: NDArray[np.float64]
    num_categories: int

    def lookup(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """M(a, b) of two broadcastable arrays of category codes."""
        key, same = np.asarray(a * self.num_categories + b), np.asarray(a == b)
        found = np.zeros(key.shape)
        if len(self.key_P):
            at = np.minimum(np.searchsorted(self.key_P, key), len(self.key_P) - 1)
            found = np.where(self.key_P[at] == key, self.value_P[at], 0.0)
        return np.where(same, 1.0, found)


def match_matrix(
    a_P: NDArray[np.int64], b_P: NDArray[np.int64], value_P: NDArray[np.float64], num_categories: int
) -> MatchMatrix:
    """Build a `MatchMatrix` from ordered pairs; zeros are left out.

    Raises:
        ValueError: a value outside [0, 1], a code outside 0..C-1, or a pair listed twice.
    """
    if len(value_P) and not (value_P.min() >= 0 and value_P.max() <= 1):
        raise ValueError("match values must be in [0, 1]")
    for code_P in (a_P, b_P):
        if len(code_P) and not (code_P.min() >= 0 and code_P.max() < num_categories):
            raise ValueError(f"category codes must be in 0..{num_categories - 1}")
    key_P = a_P.astype(np.int64) * num_categories + b_P
    order_P = np.argsort(key_P, kind="stable")
    order_P = order_P[value_P[order_P] > 0]
    key_P = key_P[order_P]
    if (key_P[1:] == key_P[:-1]).any():
        raise ValueError("a pair of categories is listed twice")
    return MatchMatrix(key_P, value_P[order_P].astype(np.float64), num_categories)


def only_itself(num_categories: int) -> MatchMatrix:
    """The M of categories that match nothing but themselves."""
    return MatchMatrix(np.zeros(0, dtype=np.int64), np.zeros(0), num_categories)


def keyword_matrix(texts: Sequence[str], *, top: int = 20) -> MatchMatrix:
    """M from the categories' own texts: cosine of their `top` TF-IDF keywords, cut at 0.

    Args:
        texts: one for each category: its lemmas and gloss. English function words are left out, as
            every gloss has them; a text without any other word matches itself and nothing else.
        top: keywords kept of each category, ties by the alphabet.

    Two-stage weighting, stage 2: M(c, y) of keywords (docs/papers.md).
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    num = len(texts)
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", lowercase=True, stop_words="english")
    words_of = vectorizer.build_analyzer()
    if not any(words_of(text) for text in texts):
        return only_itself(num)
    tfidf = csr_matrix(vectorizer.fit_transform(texts))
    tfidf.sort_indices()  # columns stand in alphabetical order
    row = np.repeat(np.arange(num), np.diff(tfidf.indptr))
    order = np.lexsort((tfidf.indices, -tfidf.data, row))
    place = np.arange(len(row)) - tfidf.indptr[row]  # the sorted rows keep their lengths
    keep = order[place < top]
    cut = csr_matrix((tfidf.data[keep], (row[keep], tfidf.indices[keep])), shape=tfidf.shape)
    unit = normalize(cut)
    cosine = (unit @ unit.T).tocoo()
    value = np.clip(cosine.data, 0.0, 1.0)
    return match_matrix(cosine.row.astype(np.int64), cosine.col.astype(np.int64), value, num)


def expected_match(
    top_NK: NDArray[np.int64],
    probability_NK: NDArray[np.float64],
    label_N: NDArray[np.int64],
    matrix: MatchMatrix,
    *,
    temperature: float = 1.0,
    minimum: float = 0.05,
) -> NDArray[np.float64]:
    """s(x_i) = sum over the K best predictions c of p_c M(c, y_i), p renormalised over the K.

    Args:
        top_NK: predicted categories, best first; -1 where there are fewer than K.
        probability_NK: their probabilities, >= 0; read only where `top_NK` >= 0.
        label_N: labels.
        matrix: M.
        temperature: T > 0: p is taken to the power 1 / T before it is renormalised, which is
            softmax(logits / T) on the K.
        minimum: scores below it become exactly 0.

    Returns:
        float64 (N,) in [0, 1]; NaN where an image has no prediction.

    Raises:
        ValueError: `temperature` is not above 0, or `minimum` is outside [0, 1].

    Two-stage weighting, stage 2: s(x_i) (docs/papers.md).
    """
    _check_score(temperature, minimum)
    listed_NK = top_NK >= 0
    p_NK = np.where(listed_NK, probability_NK, 0.0)
    best_N1 = p_NK.max(axis=1, keepdims=True, initial=0.0)
    has_N1 = best_N1 > 0
    p_NK = (p_NK / np.where(has_N1, best_N1, 1.0)) ** (1 / temperature)  # the best is 1: no underflow
    total_N = p_NK.sum(axis=1)
    match_NK = matrix.lookup(np.maximum(top_NK, 0), label_N[:, None])
    score_N = (p_NK * match_NK).sum(axis=1) / np.where(has_N1[:, 0], total_N, 1.0)
    score_N = np.clip(score_N, 0.0, 1.0)
    score_N = np.where(score_N < minimum, 0.0, score_N)
    return np.where(has_N1[:, 0], score_N, np.nan)


def image_text(
    image_ND: NDArray[np.floating[Any]], text_CD: NDArray[np.floating[Any]], scale: float
) -> NDArray[np.float64]:
    """log softmax over the categories of scale * cosine(image, text): float64 (N, C).

    Args:
        image_ND: image embeddings of any length; a row of zeros is as near to every text.
        text_CD: text embeddings in the same space.
        scale: > 0, what makes cosines logits.

    Raises:
        ValueError: the two are not of one space, or `scale` is not above 0.

    CLIP's zero-shot probabilities, Radford et al. 2021 (docs/papers.md).
    """
    if image_ND.shape[1] != text_CD.shape[1] or not scale > 0:
        raise ValueError(
            f"need embeddings of one length and a scale above 0; got {image_ND.shape}, {text_CD.shape}, {scale}"
        )

    def unit(x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        length = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        return np.asarray(x / np.where(length > 0, length, 1.0))

    return log_softmax(scale * (unit(image_ND) @ unit(text_CD).T))


def label_match(
    log_probability_NC: NDArray[np.float64],
    label_N: NDArray[np.int64],
    *,
    temperature: float = 1.0,
    minimum: float = 0.05,
) -> NDArray[np.float64]:
    """s = softmax(log p / T) of the label, exactly 0 below `minimum`: float64 (N,).

    Raises:
        ValueError: `temperature` is not above 0, or `minimum` is outside [0, 1].
    """
    _check_score(temperature, minimum)
    score_N = np.exp(log_softmax(log_probability_NC / temperature)[np.arange(len(label_N)), label_N])
    return np.where(score_N < minimum, 0.0, score_N)


def _check_score(temperature: float, minimum: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    if not 0 <= minimum <= 1:
        raise ValueError(f"minimum must be in [0, 1]; got {minimum}")


def consistency(
    semantic_NC: NDArray[np.float64],
    visual_NC: NDArray[np.float64],
    *,
    norm: str = "softmax",
    temperature: float = 0.1,
    epsilon: float = 1.0,
    gamma: float = 1.0,
) -> NDArray[np.float64]:
    """SINet's score 1 / (KL(psi(semantic) || psi(visual)) + epsilon)^gamma.

    Args:
        semantic_NC: row y_i of the category similarity, >= 0.
        visual_NC: how much each image looks like each category, >= 0.
        norm: psi: `softmax` of x / temperature, or `l2`: x / |x|, whose divergence is the general one,
            sum of a log(a / b) - a + b, as rows do not sum to 1.
        temperature: > 0, for `softmax`.
        epsilon: > 0; the score of two equal rows is epsilon^-gamma.
        gamma: > 0.

    Returns:
        float64 (N,) in (0, epsilon^-gamma]: divide by the class maximum before it is used as a weight.

    Raises:
        ValueError: unknown norm, or a number out of range.

    SINet's consistency score (docs/papers.md).
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
    for name, value in (("temperature", temperature), ("epsilon", epsilon), ("gamma", gamma)):
        if not value > 0:
            raise ValueError(f"{name} must be above 0; got {value}")
    a_NC, b_NC = (_psi(x_NC, norm, temperature) for x_NC in (semantic_NC, visual_NC))
    ratio_NC = np.log(np.maximum(a_NC, _TINY)) - np.log(np.maximum(b_NC, _TINY))
    kl_N = np.maximum(0.0, (a_NC * ratio_NC - a_NC + b_NC).sum(axis=1))
    return np.asarray((kl_N + epsilon) ** -gamma)


def _psi(x_NC: NDArray[np.float64], norm: str, temperature: float) -> NDArray[np.float64]:
    if norm == "softmax":
        shifted_NC = np.exp((x_NC - x_NC.max(axis=1, keepdims=True)) / temperature)
        return np.asarray(shifted_NC / shifted_NC.sum(axis=1, keepdims=True))
    length_N1 = np.linalg.norm(x_NC, axis=1, keepdims=True)
    return np.asarray(x_NC / np.where(length_N1 > 0, length_N1, 1.0))


def dense_predictions(
    top_NK: NDArray[np.int64],
    probability_NK: NDArray[np.float64],
    num_categories: int,
    label_N: NDArray[np.int64] | None = None,
    label_probability_N: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Rows of C probabilities from the K best; what is left over is spread evenly over the others.

    Args:
        top_NK: int64 categories, -1 where a list is shorter.
        probability_NK: float64, of these.
        num_categories: C.
        label_N: a further category whose probability is known, whether or not it is among the best.
        label_probability_N: float64 of that; NaN where nothing is known.
    """
    num = len(top_NK)
    listed_NK = top_NK >= 0
    p_NC = np.zeros((num, num_categories))
    row, column = np.nonzero(listed_NK)
    p_NC[row, top_NK[row, column]] = probability_NK[row, column]
    other_NC = np.ones((num, num_categories), dtype=bool)
    other_NC[row, top_NK[row, column]] = False
    if label_N is not None and label_probability_N is not None:
        unlisted = np.flatnonzero(other_NC[np.arange(num), label_N] & np.isfinite(label_probability_N))
        p_NC[unlisted, label_N[unlisted]] = label_probability_N[unlisted]
        other_NC[unlisted, label_N[unlisted]] = False
    rest_N = np.maximum(0.0, 1 - p_NC.sum(axis=1))
    num_other_N = other_NC.sum(axis=1)
    share_N = np.where(num_other_N > 0, rest_N / np.maximum(num_other_N, 1), 0.0)
    return np.where(other_NC, share_N[:, None], p_NC)
