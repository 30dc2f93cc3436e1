"""Similarity of nodes of an is-a graph by ancestor arithmetic.

Shortest path; Wu & Palmer 1994; Leacock & Chodorow 1998; Lin 1998; Jiang & Conrath 1997 (row "category relations"
of docs/papers.md). Each comes for all pairs, or for some rows of the matrix where all would not fit into memory.

Legend: C nodes compared, B of them rows, A ancestors, E pairs of a node and an ancestor.

A taxonomy is a mapping from node name to the names of its parents; it holds every ancestor of the nodes
compared, and may give a node several parents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops import ancestry as climbing
from webclean.ops.ancestry import Ancestry, Parents

UNSEEN: Final = 1e300  # information of what no text mentions, and the likeness of what differs in nothing

Rows = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Takes B node indices, gives their similarity to all C nodes: float64 (B, C)."""


def path_distances(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """Edges on the shortest way between two nodes through a common ancestor: float64 (C, C), inf without one."""
    return _distances(climbing.climb(parents, nodes), np.arange(len(nodes)))


def path_similarity(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """1 / (1 + d): float64 (C, C) in [0, 1], 1 only for the same node, 0 without a common ancestor."""
    return path_rows(climbing.climb(parents, nodes))(np.arange(len(nodes)))


def leacock_chodorow(parents: Parents, nodes: Sequence[str], depth: int) -> NDArray[np.float64]:
    """-log((d + 1) / (2 depth)): float64 (C, C), largest for the same node; 0 without a common ancestor.

    Args:
        parents: the taxonomy.
        nodes: C node names.
        depth: edges of the longest way from a leaf to the root in the whole taxonomy (19 for WordNet's nouns).
    """
    return leacock_chodorow_rows(climbing.climb(parents, nodes), depth)(np.arange(len(nodes)))


def wu_palmer(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """2 depth(s) / (len(a, s) + len(b, s) + 2 depth(s)): float64 (C, C) in [0, 1], symmetric, diagonal 1.

    s is the common ancestor whose shortest way to the root is longest, ties by name; depth(s) counts the nodes
    of its longest way to the root. Where one of the two nodes is itself such an ancestor it may also serve as
    s, and the larger value stands, since the textbook definition is not symmetric there.
    """
    return wu_palmer_rows(climbing.climb(parents, nodes))(np.arange(len(nodes)))


def lin(parents: Parents, nodes: Sequence[str], information: Mapping[str, float]) -> NDArray[np.float64]:
    """2 IC(s) / (IC(a) + IC(b)): float64 (C, C), symmetric, diagonal 1, 0 without a common ancestor.

    Args:
        parents: the taxonomy.
        nodes: C node names.
        information: IC of every name, -log of the share of all mentions that it and what is below it have.
    """
    return lin_rows(climbing.climb(parents, nodes), information)(np.arange(len(nodes)))


def jiang_conrath(
    parents: Parents, nodes: Sequence[str], information: Mapping[str, float]
) -> NDArray[np.float64]:
    """1 / (IC(a) + IC(b) - 2 IC(s)): float64 (C, C), symmetric; UNSEEN for the same node and where nothing differs.

    A root, and a node that no text mentions, is like nothing but itself. Arguments as `lin`.
    """
    return jiang_conrath_rows(climbing.climb(parents, nodes), information)(np.arange(len(nodes)))


def path_rows(ancestry: Ancestry) -> Rows:
    """Rows of `path_similarity`."""
    return lambda rows_B: 1.0 / (1.0 + _distances(ancestry, rows_B))


def leacock_chodorow_rows(ancestry: Ancestry, depth: int) -> Rows:
    """Rows of `leacock_chodorow`."""

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        distance_BC = _distances(ancestry, rows_B)
        return np.where(np.isinf(distance_BC), 0.0, -np.log((distance_BC + 1.0) / (2.0 * depth)))

    return rows


def wu_palmer_rows(ancestry: Ancestry) -> Rows:
    """Rows of `wu_palmer`."""
    way_E = climbing.ways(ancestry).astype(np.float64)
    depth_A: NDArray[np.float64] = ancestry.high_A.astype(np.float64) + 1.0
    # Written in rising order of preference, so that the preferred ancestor of a pair is the last to write.
    order_A = np.lexsort((-np.arange(len(depth_A)), ancestry.low_A))
    first_X, second_X, value_X = _own_ancestor(ancestry, way_E, depth_A)

    def meet(
        block: NDArray[np.float64], ancestor: int, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        depth = 2.0 * depth_A[ancestor]
        return np.asarray(depth / (way_E[row][:, None] + way_E[column][None, :] + depth))

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        nothing_BC = np.zeros((len(rows_B), ancestry.num_nodes))
        value_BC = climbing.common_ancestors(ancestry, rows_B, nothing_BC, meet, order_A)
        row_of_C = np.full(ancestry.num_nodes, -1, dtype=np.int64)
        row_of_C[rows_B] = np.arange(len(rows_B))
        for own_X, other_X in ((first_X, second_X), (second_X, first_X)):
            inside_X = row_of_C[own_X] >= 0
            pairs = row_of_C[own_X[inside_X]], other_X[inside_X]
            value_BC[pairs] = np.maximum(value_BC[pairs], value_X[inside_X])
        return _with_same(ancestry, rows_B, value_BC, 1.0)

    return rows


def lin_rows(ancestry: Ancestry, information: Mapping[str, float]) -> Rows:
    """Rows of `lin`."""
    information_A = _information(ancestry, information)
    own_C = information_A[ancestry.node_C]

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        shared_BC = _shared_information(ancestry, rows_B, information_A)
        both_BC = own_C[rows_B][:, None] + own_C[None, :]
        value_BC = np.divide(2.0 * shared_BC, both_BC, out=np.zeros_like(both_BC), where=both_BC > 0)
        return _with_same(ancestry, rows_B, value_BC, 1.0)

    return rows


def jiang_conrath_rows(ancestry: Ancestry, information: Mapping[str, float]) -> Rows:
    """Rows of `jiang_conrath`."""
    information_A = _information(ancestry, information)
    own_C = information_A[ancestry.node_C]

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        both_BC = own_C[rows_B][:, None] + own_C[None, :]
        apart_BC = both_BC - 2.0 * _shared_information(ancestry, rows_B, information_A)
        value_BC = np.divide(1.0, apart_BC, out=np.full_like(apart_BC, UNSEEN), where=apart_BC != 0)
        value_BC[own_C[rows_B] == 0] = 0.0
        value_BC[:, own_C == 0] = 0.0
        return _with_same(ancestry, rows_B, value_BC, UNSEEN)

    return rows


def max_lch(depth: int) -> float:
    """The Leacock-Chodorow value of a node with itself."""
    return math.log(2.0 * depth)


def _distances(ancestry: Ancestry, rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
    steps_E = ancestry.steps_E.astype(np.float64)

    def meet(
        block: NDArray[np.float64], ancestor: int, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.minimum(block, steps_E[row][:, None] + steps_E[column][None, :])

    nothing_BC = np.full((len(rows_B), ancestry.num_nodes), np.inf)
    distance_BC = climbing.common_ancestors(ancestry, rows_B, nothing_BC, meet)
    return _with_same(ancestry, rows_B, distance_BC, 0.0)


def _own_ancestor(
    ancestry: Ancestry, way_E: NDArray[np.float64], depth_A: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of nodes (above, below) where the upper one may serve as s itself, and what the pair is worth then."""
    lowest_A = np.maximum.reduceat(ancestry.low_A[ancestry.above_E], ancestry.start_A[:-1])
    serves_A = ancestry.low_A == lowest_A
    node_at_C = np.argsort(ancestry.place_C)
    upper_E = np.repeat(np.arange(len(depth_A)), np.diff(ancestry.below_start_A))
    is_node_A = np.zeros(len(depth_A), dtype=bool)
    is_node_A[ancestry.node_C] = True
    kept_E = serves_A[upper_E] & is_node_A[upper_E]
    upper_X, below_X = upper_E[kept_E], node_at_C[ancestry.below_E[kept_E]]
    depth_X = 2.0 * depth_A[upper_X]
    value_X = depth_X / (way_E[ancestry.entry_E[kept_E]] + depth_X)
    # Two nodes may have one name: each pair comes once for every node of the upper name.
    order_C = np.argsort(ancestry.node_C, kind="stable")
    begin_X = np.searchsorted(ancestry.node_C[order_C], upper_X, side="left")
    times_X = np.searchsorted(ancestry.node_C[order_C], upper_X, side="right") - begin_X
    offset_Y = np.arange(int(times_X.sum())) - np.repeat(np.cumsum(times_X) - times_X, times_X)
    above_Y = order_C[np.repeat(begin_X, times_X) + offset_Y]
    return above_Y, np.repeat(below_X, times_X), np.repeat(value_X, times_X)


def _information(ancestry: Ancestry, information: Mapping[str, float]) -> NDArray[np.float64]:
    return np.asarray([information[name] for name in ancestry.names], dtype=np.float64)


def _shared_information(
    ancestry: Ancestry, rows_B: NDArray[np.int64], information_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    """IC of the common ancestor that has most of it; 0 without one."""

    def meet(
        block: NDArray[np.float64], ancestor: int, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.asarray(np.maximum(block, information_A[ancestor]))

    nothing_BC = np.zeros((len(rows_B), ancestry.num_nodes))
    return climbing.common_ancestors(ancestry, rows_B, nothing_BC, meet)


def _with_same(
    ancestry: Ancestry, rows_B: NDArray[np.int64], value_BC: NDArray[np.float64], same: float
) -> NDArray[np.float64]:
    """Nodes of one name, each with itself among them, set to what the same node is worth."""
    value_BC[ancestry.node_C[rows_B][:, None] == ancestry.node_C[None, :]] = same
    return value_BC
