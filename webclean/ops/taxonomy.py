"""Similarity of nodes of an is-a graph by ancestor arithmetic (Wu & Palmer 1994, Leacock & Chodorow 1998).

Legend: C nodes compared, A ancestors.

A taxonomy is a mapping from node name to the names of its parents; it holds every ancestor of the nodes
compared, and may give a node several parents. Instead of walking the graph for each of the C x C pairs, each
node's ancestors are listed once with their distances, and every ancestor then serves all pairs below it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Parents = Mapping[str, Sequence[str]]


def ancestor_distances(parents: Parents, node: str) -> dict[str, int]:
    """Edges on the shortest way up from a node to each of its ancestors, itself included at 0."""
    distances = {node: 0}
    queue = deque([node])
    while queue:
        below = queue.popleft()
        for above in parents[below]:
            if above not in distances:
                distances[above] = distances[below] + 1
                queue.append(above)
    return distances


def path_distances(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """Edges on the shortest way between two nodes through a common ancestor: float64 (C, C), inf without one."""
    up_C = [ancestor_distances(parents, node) for node in nodes]
    distance_CC = np.full((len(nodes), len(nodes)), np.inf)
    for below, steps in _below(up_C).values():
        block = np.ix_(below, below)
        distance_CC[block] = np.minimum(distance_CC[block], steps[:, None] + steps[None, :])
    return distance_CC


def path_similarity(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """1 / (1 + d): float64 (C, C) in [0, 1], 1 only for the same node, 0 without a common ancestor."""
    return 1.0 / (1.0 + path_distances(parents, nodes))


def leacock_chodorow(parents: Parents, nodes: Sequence[str], depth: int) -> NDArray[np.float64]:
    """-log((d + 1) / (2 depth)): float64 (C, C), largest for the same node; 0 without a common ancestor.

    Args:
        parents: the taxonomy.
        nodes: C node names.
        depth: edges of the longest way from a leaf to the root in the whole taxonomy (19 for WordNet's nouns).
    """
    distance_CC = path_distances(parents, nodes)
    return np.where(np.isinf(distance_CC), 0.0, -np.log((distance_CC + 1.0) / (2.0 * depth)))


def wu_palmer(parents: Parents, nodes: Sequence[str]) -> NDArray[np.float64]:
    """2 depth(s) / (len(a, s) + len(b, s) + 2 depth(s)): float64 (C, C) in [0, 1], symmetric, diagonal 1.

    s is the common ancestor whose shortest way to the root is longest, ties by name; depth(s) counts the nodes
    of its longest way to the root. Where one of the two nodes is itself such an ancestor it may also serve as
    s, and the larger value stands, since the textbook definition is not symmetric there.
    """
    up_C = [ancestor_distances(parents, node) for node in nodes]
    names = sorted({name for up in up_C for name in up})
    low, high = depths(parents, names)
    below = _below(up_C)
    best_CC = np.full((len(nodes), len(nodes)), -1, dtype=np.int64)
    # Written in rising order of preference, so that the preferred ancestor of a pair is the last to write.
    order = sorted(names, key=lambda name: -low[name])
    code = {name: index for index, name in enumerate(order)}
    for name in reversed(order):
        best_CC[np.ix_(below[name][0], below[name][0])] = code[name]
    ways: dict[tuple[str, str], float] = {}

    def way(node: int, name: str) -> float:
        key = (nodes[node], name)
        if key not in ways:
            other = ancestor_distances(parents, name)
            ways[key] = min(up_C[node][common] + steps for common, steps in other.items())
        return ways[key]

    def value(a: int, b: int, name: str) -> float:
        depth = high[name] + 1
        return 2.0 * depth / (way(a, name) + way(b, name) + 2.0 * depth)

    similarity_CC = np.eye(len(nodes))
    for a in range(len(nodes)):
        for b in range(a + 1, len(nodes)):
            if best_CC[a, b] < 0:
                continue
            if nodes[a] == nodes[b]:
                found = 1.0
            else:
                first = order[best_CC[a, b]]
                found = value(a, b, first)
                for own, other in ((a, b), (b, a)):
                    if nodes[own] in up_C[other] and low[nodes[own]] == low[first]:
                        found = max(found, value(a, b, nodes[own]))
            similarity_CC[a, b] = similarity_CC[b, a] = found
    return similarity_CC


def depths(parents: Parents, names: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Edges of the shortest and of the longest way from each name up to a root."""
    low: dict[str, int] = {}
    high: dict[str, int] = {}
    for name in names:
        pending = [name]
        while pending:
            node = pending[-1]
            unknown = [above for above in parents[node] if above not in low]
            if unknown:
                pending.extend(unknown)
                continue
            pending.pop()
            low[node] = 1 + min((low[above] for above in parents[node]), default=-1)
            high[node] = 1 + max((high[above] for above in parents[node]), default=-1)
    return low, high


def _below(up_C: Sequence[Mapping[str, int]]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Ancestor -> indices of the nodes below it and their distances to it."""
    lists: dict[str, tuple[list[int], list[int]]] = {}
    for index, up in enumerate(up_C):
        for name, steps in up.items():
            below, distances = lists.setdefault(name, ([], []))
            below.append(index)
            distances.append(steps)
    return {
        name: (np.asarray(below, dtype=np.int64), np.asarray(steps, dtype=np.float64))
        for name, (below, steps) in lists.items()
    }


def max_lch(depth: int) -> float:
    """The Leacock-Chodorow value of a node with itself."""
    return math.log(2.0 * depth)
