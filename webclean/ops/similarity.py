"""Category relations: is-a graph and text blended, thresholded, and each category's nearest ones.

Legend: C categories, B of them the rows of a block, D dims, K neighbours of a category, S places in the graph of
all categories one after the other.

The blend of the two-stage method (SINet, ECCV 2020, hybrid similarity S_t; row "category relations" of
docs/papers.md): S_w from the is-a graph, S_l = max(0, cos) of the category texts, each brought to [0, 1] off the
diagonal, mixed by lambda, cut at theta so that unrelated pairs are worth exactly nothing.

A side is a function that gives rows of its matrix, so that 20,000 categories need no matrix of 400 million pairs:
what has to be known of all pairs (least, greatest, ranks, a quantile) is gathered block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.taxonomy import Rows

BLOCK: Final = 128  # rows at once: 21 MB in each matrix of 21,000 categories, which memory is used again for
_WHOLE: Final = 2_000  # categories up to which a side is computed once and held: 32 MB
NORMALIZATIONS: Final = ("minmax", "rank")
_CELLS: Final = 1 << 20  # pairs closer than a millionth of the range share a rank


@dataclass(frozen=True, slots=True)
class CategorySimilarity:
    """How alike categories are.

    Attributes:
        combined_CC: float64, S_t in [0, 1], symmetric, diagonal 1.
        match_CC: float64, S-bar in [0, 1]: S_t above theta, exact zeros below, diagonal 1.
        theta: the threshold, as given or as the quantile found.
    """

    combined_CC: NDArray[np.float64]
    match_CC: NDArray[np.float64]
    theta: float


@dataclass(frozen=True, slots=True)
class RelationBlock:
    """Some rows of the relations.

    Attributes:
        rows_B: int64, the categories that are the rows.
        graph_BC, text_BC: float64, the sides as they were given, NaN where unknown; None without that side.
        combined_BC, match_BC: as in `CategorySimilarity`.
    """

    rows_B: NDArray[np.int64]
    graph_BC: NDArray[np.float64] | None
    text_BC: NDArray[np.float64] | None
    combined_BC: NDArray[np.float64]
    match_BC: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Scale:
    """A side's values -> [0, 1], learnt off the diagonal.

    Attributes:
        low, high: the least and the greatest value; equal where there is nothing to stretch.
        rank_M: float64, what a value of each of the cells of [0, 1] is worth; None for min-max.
    """

    low: float
    high: float
    rank_M: NDArray[np.float64] | None = None

    def apply(self, value_BC: NDArray[np.float64]) -> NDArray[np.float64]:
        """NaN (unknown) stays NaN."""
        if not self.high > self.low:
            return np.clip(value_BC, 0.0, 1.0)
        if self.rank_M is None:
            return np.clip((value_BC - self.low) / (self.high - self.low), 0.0, 1.0)
        known_BC = ~np.isnan(value_BC)
        hat_BC = np.full(value_BC.shape, np.nan)
        hat_BC[known_BC] = self.rank_M[_cell(value_BC[known_BC])]
        return hat_BC


@dataclass(frozen=True, slots=True)
class Relations:
    """The blend, ready to give any rows of itself.

    Attributes:
        theta: the threshold, as given or as the quantile found.
        num_categories: C.
    """

    theta: float
    num_categories: int
    _graph: Rows | None
    _text: Rows | None
    _graph_scale: _Scale
    _text_scale: _Scale
    _text_share: float

    def rows(self, rows_B: NDArray[np.int64]) -> RelationBlock:
        """Rows of the relations."""
        graph_BC = None if self._graph is None else self._graph(rows_B)
        text_BC = None if self._text is None else self._text(rows_B)
        if graph_BC is None and text_BC is not None:
            combined_BC = self._text_scale.apply(text_BC)
        elif graph_BC is not None and text_BC is None:
            combined_BC = self._graph_scale.apply(graph_BC)
        else:
            assert graph_BC is not None
            assert text_BC is not None
            combined_BC = self._mix(self._graph_scale.apply(graph_BC), self._text_scale.apply(text_BC))
        combined_BC = np.nan_to_num(combined_BC, nan=0.0)
        combined_BC[np.arange(len(rows_B)), rows_B] = 1.0
        match_BC = np.maximum(0.0, (combined_BC - self.theta) / (1.0 - self.theta))
        match_BC[np.arange(len(rows_B)), rows_B] = 1.0
        return RelationBlock(rows_B, graph_BC, text_BC, combined_BC, match_BC)

    def blocks(self) -> Iterator[RelationBlock]:
        """All rows in order, `BLOCK` at once."""
        return map(self.rows, _spans(self.num_categories))

    def _mix(self, graph_BC: NDArray[np.float64], text_BC: NDArray[np.float64]) -> NDArray[np.float64]:
        mixed_BC = (1.0 - self._text_share) * graph_BC + self._text_share * text_BC
        mixed_BC = np.where(np.isnan(graph_BC), text_BC, mixed_BC)
        return np.where(np.isnan(text_BC), graph_BC, mixed_BC)


def relate(
    num_categories: int,
    graph: Rows | None,
    text: Rows | None,
    *,
    text_share: float = 0.5,
    theta: float = 0.3,
    theta_quantile: float | None = None,
    normalize: str = "minmax",
) -> Relations:
    """S_t = (1 - lambda) hat S_w + lambda hat S_l, and S-bar = max(0, (S_t - theta) / (1 - theta)).

    A pair that one side does not know (NaN: a category without a synset) takes the other side alone; a pair
    that neither knows is worth 0. Where the pairs of a side do not differ (two categories have one pair) there
    is nothing to stretch: its values stay as they are.

    Args:
        num_categories: C.
        graph: rows of S_w in [0, 1], symmetric, NaN where unknown; None for text alone.
        text: rows of S_l in [0, 1], likewise; None for the graph alone.
        text_share: lambda in [0, 1].
        theta: threshold in [0, 1).
        theta_quantile: where given, theta is this quantile of the off-diagonal of S_t instead.
        normalize: `minmax`, or `rank`: the share of known pairs that are less alike, ties half.

    Raises:
        ValueError: no side at all, or a number or word out of range.
    """
    if graph is None and text is None:
        raise ValueError("need a graph, texts or both")
    if not (0 <= text_share <= 1 and 0 <= theta < 1):
        raise ValueError(f"text_share must be in [0, 1] and theta in [0, 1), got {text_share} and {theta}")
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize must be one of {NORMALIZATIONS}, not {normalize!r}")
    if num_categories <= _WHOLE:
        graph, text = _kept(num_categories, graph), _kept(num_categories, text)
    found = Relations(
        theta=theta,
        num_categories=num_categories,
        _graph=graph,
        _text=text,
        _graph_scale=_fit(num_categories, graph, normalize),
        _text_scale=_fit(num_categories, text, normalize),
        _text_share=text_share,
    )
    if theta_quantile is None or num_categories < 2:
        return found
    # A quantile of 1 would be the largest pair itself, where S_t may be 1 and the slope infinite.
    quantile = min(_quantile(found, theta_quantile), float(np.nextafter(1.0, 0.0)))
    return replace(found, theta=quantile)


def blend(
    wordnet_CC: NDArray[np.float64] | None,
    text_CC: NDArray[np.float64] | None,
    *,
    text_share: float = 0.5,
    theta: float = 0.3,
    theta_quantile: float | None = None,
    normalize: str = "minmax",
) -> CategorySimilarity:
    """`relate` of whole matrices, which are symmetrised.

    Raises:
        ValueError: no side at all, not square, sizes that differ, or a number out of range.
    """
    given = [side for side in (wordnet_CC, text_CC) if side is not None]
    if not given or any(side.shape != (len(given[0]), len(given[0])) for side in given):
        raise ValueError("need square matrices of one size, from WordNet, text or both")
    related = relate(
        len(given[0]),
        None if wordnet_CC is None else _rows_of((wordnet_CC + wordnet_CC.T) / 2),
        None if text_CC is None else _rows_of((text_CC + text_CC.T) / 2),
        text_share=text_share,
        theta=theta,
        theta_quantile=theta_quantile,
        normalize=normalize,
    )
    whole = related.rows(np.arange(len(given[0])))
    return CategorySimilarity(whole.combined_BC, whole.match_BC, related.theta)


def cosine_similarity(vector_CD: NDArray[np.floating]) -> NDArray[np.float64]:
    """S_l = max(0, cos) between rows: float64 (C, C), symmetric, diagonal 1.

    A zero row is like nothing, itself excepted.

    Raises:
        ValueError: not a matrix of finite numbers.
    """
    return cosine_rows(vector_CD)(np.arange(len(np.atleast_1d(vector_CD))))


def cosine_rows(vector_CD: NDArray[np.floating], known_C: NDArray[np.bool_] | None = None) -> Rows:
    """Rows of `cosine_similarity`; exactly symmetric whichever rows are asked for.

    Args:
        vector_CD: a vector for each category.
        known_C: False where a category has no vector: its row and column are NaN.

    Raises:
        ValueError: not a matrix of finite numbers.
    """
    x_CD = np.asarray(vector_CD, dtype=np.float64)
    if x_CD.ndim != 2 or not np.isfinite(x_CD).all():
        raise ValueError(f"vectors must be a finite matrix, got shape {x_CD.shape}")
    norm_C = np.linalg.norm(x_CD, axis=1)
    unit_CD = x_CD / np.where(norm_C > 0, norm_C, 1.0)[:, None]
    spans = list(_spans(len(unit_CD)))

    def tile(row: int) -> NDArray[np.float64]:
        # A product of matrices may round (a, b) and (b, a) apart: both are taken from the same one.
        own_TD = unit_CD[spans[row]]
        parts = []
        for column, span in enumerate(spans):
            if column < row:
                parts.append((unit_CD[span] @ own_TD.T).T)
            else:
                product = own_TD @ unit_CD[span].T
                parts.append((product + product.T) / 2 if column == row else product)
        return np.clip(np.concatenate(parts, axis=1), 0.0, 1.0)

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        similarity_BC = np.empty((len(rows_B), len(unit_CD)))
        for index in np.unique(rows_B // BLOCK):
            at = np.flatnonzero(rows_B // BLOCK == index)
            similarity_BC[at] = tile(int(index))[rows_B[at] - index * BLOCK]
        similarity_BC[np.arange(len(rows_B)), rows_B] = 1.0
        if known_C is not None:
            similarity_BC[:, ~known_C] = np.nan
            similarity_BC[~known_C[rows_B]] = np.nan
        return similarity_BC

    return rows


def grouped_rows(places: Rows, sizes_C: Sequence[int], identity: float) -> Rows:
    """Rows of categories that have no place, one or several in the graph: the mean over the pairs of places.

    Args:
        places: rows of the similarity of S places, those of one category side by side.
        sizes_C: places of each category; a category without one is NaN.
        identity: what a category is worth with itself.
    """
    size_C = np.asarray(sizes_C, dtype=np.int64)
    start_C = np.cumsum(size_C) - size_C
    has_C = size_C > 0
    several = bool((size_C > 1).any())

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        full_BC = np.full((len(rows_B), len(size_C)), np.nan)
        own_B = rows_B[has_C[rows_B]]
        if not len(own_B):
            return full_BC
        row_S = np.concatenate([np.arange(start_C[c], start_C[c] + size_C[c]) for c in own_B])
        value_SS = places(row_S)
        if several:
            row_start = np.cumsum(size_C[own_B]) - size_C[own_B]
            one = np.add.reduceat(np.add.reduceat(value_SS, start_C[has_C], axis=1), row_start, axis=0)
            other = np.add.reduceat(np.add.reduceat(value_SS, row_start, axis=0), start_C[has_C], axis=1)
            # Both orders of summing, so that (a, b) and (b, a) are rounded alike.
            value_SS = (one + other) / 2 / (size_C[own_B][:, None] * size_C[has_C][None, :])
        full_BC[np.ix_(has_C[rows_B], has_C)] = value_SS
        same = np.flatnonzero(has_C[rows_B])
        full_BC[same, rows_B[same]] = identity
        return full_BC

    return rows


def nearest(combined_CC: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """N_K(y): the K most similar other categories of each, ties by index: int64 (C, min(K, C - 1))."""
    return nearest_of(combined_CC, np.arange(len(combined_CC)), k)


def nearest_of(combined_BC: NDArray[np.float64], rows_B: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """`nearest` of some rows: int64 (B, min(K, C - 1))."""
    num = combined_BC.shape[1]
    width = max(0, min(k, num - 1))
    if not (width and len(rows_B)):
        return np.zeros((len(rows_B), width), dtype=np.int64)
    ranked_BC = combined_BC.copy()
    ranked_BC[np.arange(len(rows_B)), rows_B] = -np.inf
    last_B = np.partition(ranked_BC, num - width, axis=1)[:, num - width]
    row_P, column_P = np.nonzero(ranked_BC >= last_B[:, None])
    order_P = np.lexsort((column_P, -ranked_BC[row_P, column_P], row_P))
    first_B = np.searchsorted(row_P, np.arange(len(rows_B)))
    return np.asarray(column_P[order_P[first_B[:, None] + np.arange(width)[None, :]]], dtype=np.int64)


def _spans(num: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, num, BLOCK):
        yield np.arange(start, min(num, start + BLOCK))


def _kept(num: int, side: Rows | None) -> Rows | None:
    return None if side is None else _rows_of(side(np.arange(num)))


def _rows_of(matrix_CC: NDArray[np.float64]) -> Rows:
    return lambda rows_B: np.asarray(matrix_CC[rows_B])


def _off_diagonal(num: int, side: Rows) -> Iterator[NDArray[np.float64]]:
    """The known values of a side, block by block, without the diagonal."""
    for rows_B in _spans(num):
        value_BC = side(rows_B)
        off_BC = ~np.isnan(value_BC)
        off_BC[np.arange(len(rows_B)), rows_B] = False
        yield value_BC[off_BC]


def _cell(value: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip(value * _CELLS, 0, _CELLS - 1).astype(np.int64)


def _fit(num: int, side: Rows | None, normalize: str) -> _Scale:
    low, high = np.inf, -np.inf
    if side is None:
        return _Scale(low, high)
    count_M = np.zeros(_CELLS, dtype=np.int64)
    for value_P in _off_diagonal(num, side):
        if len(value_P):
            low, high = min(low, float(value_P.min())), max(high, float(value_P.max()))
            if normalize == "rank":
                count_M += np.bincount(_cell(value_P), minlength=_CELLS)
    if normalize != "rank" or not high > low:
        return _Scale(low, high)
    middle_M = np.cumsum(count_M) - (count_M + 1) / 2
    least, most = (middle_M[_cell(np.asarray([value]))[0]] for value in (low, high))
    if not most > least:
        return _Scale(low, low)
    return _Scale(low, high, np.clip((middle_M - least) / (most - least), 0.0, 1.0))


def _quantile(related: Relations, share: float) -> float:
    """The quantile of the off-diagonal of S_t, between two values as numpy's."""
    num = related.num_categories
    at = share * (num * (num - 1) - 1)
    count_M = np.zeros(_CELLS, dtype=np.int64)
    for value_P in _off_diagonal(num, lambda rows_B: related.rows(rows_B).combined_BC):
        count_M += np.bincount(_cell(value_P), minlength=_CELLS)
    up_to_M = np.cumsum(count_M)
    wanted = [int(np.floor(at)), int(np.ceil(at))]
    cells = np.searchsorted(up_to_M, wanted, side="right")
    seen: dict[float, int] = {}
    for value_P in _off_diagonal(num, lambda rows_B: related.rows(rows_B).combined_BC):
        cell_P = _cell(value_P)
        for value, times in zip(*np.unique(value_P[np.isin(cell_P, cells)], return_counts=True), strict=True):
            seen[float(value)] = seen.get(float(value), 0) + int(times)
    value_V = np.asarray(sorted(seen))
    up_to_V = np.cumsum([seen[value] for value in sorted(seen)])
    found = []
    for rank, cell in zip(wanted, cells, strict=True):
        # Values of the two cells stand one after the other; what lies between them is not in the list.
        before = 0 if cell == cells[0] else int(up_to_M[cell - 1] - up_to_M[cells[0]])
        base = int(up_to_M[cells[0] - 1]) if cells[0] else 0
        found.append(float(value_V[np.searchsorted(up_to_V, rank - base - before, side="right")]))
    return found[0] + (found[1] - found[0]) * (at - wanted[0])
