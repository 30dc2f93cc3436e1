"""The ancestors of the nodes of an is-a graph as sparse arrays, and reductions over common ancestors by blocks.

Legend: C nodes compared, B of them the rows of a block, A ancestors (the nodes themselves among them), E pairs of
a node and an ancestor.

Two nodes meet in each ancestor that they share, so an ancestor serves all pairs below it at once. Nodes stand in
the order of a walk through the graph: most of what is below an ancestor then lies side by side, and a block takes
it as a slice. A block of rows needs memory for itself alone; nothing here is C x C unless all rows are asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Parents: TypeAlias = Mapping[str, Sequence[str]]
Span: TypeAlias = slice | NDArray[np.int64]

_JOINED_AT_ONCE: Final = 4_000_000  # rows of a join in memory
_GAPS: Final = 4  # a slice with gaps costs less than picked pairs up to this many times their number


@dataclass(frozen=True, slots=True)
class Ancestry:
    """Who is above whom, and how far.

    Attributes:
        names: A names in rising order, closed upward.
        node_C: int64, the name of each node compared; two nodes may have one name.
        place_C: int64, position of each node in the walk.
        start_A: int64 (A + 1), the entries of each name in the two arrays below.
        above_E: int64, ancestors of each name, itself included, in rising order.
        steps_E: int64, edges of the shortest way up.
        low_A, high_A: int64, edges of the shortest and of the longest way to a root.
        below_start_A: int64 (A + 1), the entries of each ancestor in the two arrays below.
        below_E: int64, places of the nodes below each ancestor, in rising order.
        entry_E: int64, the entry of `steps_E` that belongs to it.
    """

    names: tuple[str, ...]
    node_C: NDArray[np.int64]
    place_C: NDArray[np.int64]
    start_A: NDArray[np.int64]
    above_E: NDArray[np.int64]
    steps_E: NDArray[np.int64]
    low_A: NDArray[np.int64]
    high_A: NDArray[np.int64]
    below_start_A: NDArray[np.int64]
    below_E: NDArray[np.int64]
    entry_E: NDArray[np.int64]

    @property
    def num_nodes(self) -> int:
        """C."""
        return len(self.node_C)


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


def depths(parents: Parents, names: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Edges of the shortest and of the longest way from each name up to a root; the graph has no cycle."""
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


def find_cycle(parents: Parents) -> list[str] | None:
    """Names that are above one another in a ring, the first one again at the end; None where there is none."""
    done: set[str] = set()
    for start in parents:
        if start in done:
            continue
        way, on_way = [start], {start: 0}
        pending = [iter(parents[start])]
        while pending:
            above = next(pending[-1], None)
            if above is None:
                pending.pop()
                done.add(way[-1])
                del on_way[way.pop()]
            elif above in on_way:
                return [*way[on_way[above] :], above]
            elif above not in done:
                on_way[above] = len(way)
                way.append(above)
                pending.append(iter(parents[above]))
    return None


def climb(parents: Parents, nodes: Sequence[str]) -> Ancestry:
    """List the ancestors of some nodes.

    Args:
        parents: the graph: name -> parents, closed upward from the nodes, without a cycle.
        nodes: C names.
    """
    up: dict[str, dict[str, int]] = {}
    for node in nodes:
        if node not in up:
            up[node] = ancestor_distances(parents, node)
    for name in sorted({name for found in up.values() for name in found} - up.keys()):
        up[name] = ancestor_distances(parents, name)
    names = tuple(sorted(up))
    code = {name: index for index, name in enumerate(names)}
    size_A = np.asarray([len(up[name]) for name in names], dtype=np.int64)
    start_A = np.concatenate(([0], np.cumsum(size_A)))
    above_E = np.asarray([code[above] for name in names for above in up[name]], dtype=np.int64)
    steps_E = np.asarray([steps for name in names for steps in up[name].values()], dtype=np.int64)
    owner_E = np.repeat(np.arange(len(names)), size_A)
    order_E = np.lexsort((above_E, owner_E))
    above_E, steps_E = above_E[order_E], steps_E[order_E]
    node_C = np.asarray([code[node] for node in nodes], dtype=np.int64)
    place_C = _walk(parents, nodes)
    node_at_C = np.empty_like(node_C)
    node_at_C[place_C] = node_C
    entry_E, row_E = _expand(start_A, node_at_C)
    order_E = np.lexsort((row_E, above_E[entry_E]))
    below_size_A = np.bincount(above_E[entry_E], minlength=len(names))
    low, high = depths(parents, names)
    return Ancestry(
        names=names,
        node_C=node_C,
        place_C=place_C,
        start_A=start_A,
        above_E=above_E,
        steps_E=steps_E,
        low_A=np.asarray([low[name] for name in names], dtype=np.int64),
        high_A=np.asarray([high[name] for name in names], dtype=np.int64),
        below_start_A=np.concatenate(([0], np.cumsum(below_size_A))),
        below_E=row_E[order_E],
        entry_E=entry_E[order_E],
    )


def _walk(parents: Parents, nodes: Sequence[str]) -> NDArray[np.int64]:
    """Place of each node when they are walked through from the roots down, by first parents."""
    way_of: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        way, above = [node], parents[node]
        while above and way[-1] not in way_of:
            way.append(above[0])
            above = parents[above[0]]
        for name in reversed(way):
            if name not in way_of:
                way_of[name] = (*way_of[parents[name][0]], name) if parents[name] else (name,)
    order = sorted(range(len(nodes)), key=lambda index: way_of[nodes[index]])
    place_C = np.empty(len(nodes), dtype=np.int64)
    place_C[order] = np.arange(len(nodes))
    return place_C


def _expand(
    start_A: NDArray[np.int64], name_X: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The entries of some names one after the other, and the index of the name that each belongs to."""
    size_X = start_A[name_X + 1] - start_A[name_X]
    row_E = np.repeat(np.arange(len(name_X)), size_X)
    offset_E = np.arange(len(row_E)) - np.repeat(np.cumsum(size_X) - size_X, size_X)
    return np.repeat(start_A[name_X], size_X) + offset_E, row_E


def ways(ancestry: Ancestry) -> NDArray[np.int64]:
    """Edges of the shortest way between each name and each of its ancestors, by any ancestor of both: int64 (E,).

    Where a name has several parents the way over a higher ancestor may be shorter than the way straight up.
    """
    num = len(ancestry.names)
    size_A = np.diff(ancestry.start_A)
    owner_E = np.repeat(np.arange(num), size_A)
    key_E = owner_E * num + ancestry.above_E
    way_E = np.empty_like(ancestry.steps_E)
    joined_E = np.cumsum(size_A[ancestry.above_E])
    start = 0
    while start < len(way_E):
        before = joined_E[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(joined_E, before + _JOINED_AT_ONCE, side="right")))
        entry_J, row_J = _expand(ancestry.start_A, ancestry.above_E[start:stop])
        at_J = np.searchsorted(key_E, owner_E[start:stop][row_J] * num + ancestry.above_E[entry_J])
        total_J = ancestry.steps_E[at_J] + ancestry.steps_E[entry_J]
        first = np.flatnonzero(np.diff(row_J, prepend=-1))
        way_E[start:stop] = np.minimum.reduceat(total_J, first)
        start = stop
    return way_E


def common_ancestors(
    ancestry: Ancestry,
    rows_B: NDArray[np.int64],
    block_BC: NDArray[np.float64],
    write: Callable[[NDArray[np.float64], int, NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    order_A: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Let every ancestor write into the pairs below it; the block in the order of the nodes.

    Args:
        ancestry: the graph.
        rows_B: nodes that are the rows, each at most once.
        block_BC: what a pair without a common ancestor holds; written to.
        write: takes the pairs as they are (b, c), the ancestor, the entries of the b rows and of the c columns
            in `ancestry.steps_E`, and returns the pairs as they shall be.
        order_A: ancestors in the order in which they write; by name where the order does not matter. An ancestor
            of one node alone is left out: it concerns no pair.
    """
    place_B = ancestry.place_C[rows_B]
    inner_B = np.argsort(place_B)
    sorted_B = place_B[inner_B]
    for ancestor in _concerned(ancestry, rows_B, order_A):
        begin, end = ancestry.below_start_A[ancestor], ancestry.below_start_A[ancestor + 1]
        below = ancestry.below_E[begin:end]
        entries = ancestry.entry_E[begin:end]
        first, last = int(below[0]), int(below[-1]) + 1
        low, high = np.searchsorted(sorted_B, (first, last))
        if last - first == len(below):
            block = block_BC[low:high, first:last]
            block[...] = write(block, ancestor, entries[sorted_B[low:high] - first], entries)
            continue
        at_B = np.minimum(np.searchsorted(below, sorted_B[low:high]), len(below) - 1)
        inside_B = below[at_B] == sorted_B[low:high]
        num_inside = int(np.count_nonzero(inside_B))
        if (high - low) * (last - first) <= _GAPS * num_inside * len(below):
            hull = np.full(last - first, entries[0])  # places in between hold any entry and are not kept
            hull[below - first] = entries
            inside_C = np.zeros(last - first, dtype=bool)
            inside_C[below - first] = True
            block = block_BC[low:high, first:last]
            found = write(block, ancestor, hull[sorted_B[low:high] - first], hull)
            np.copyto(block, found, where=inside_B[:, None] & inside_C[None, :])
        else:
            pairs = np.ix_(low + np.flatnonzero(inside_B), below)
            block_BC[pairs] = write(block_BC[pairs], ancestor, entries[at_B[inside_B]], entries)
    back_B = np.empty_like(inner_B)
    back_B[inner_B] = np.arange(len(inner_B))
    return block_BC[back_B][:, ancestry.place_C]


def _concerned(
    ancestry: Ancestry, rows_B: NDArray[np.int64], order_A: NDArray[np.int64] | None
) -> Iterator[int]:
    entry_E, _ = _expand(ancestry.start_A, ancestry.node_C[rows_B])
    concerned_A = np.zeros(len(ancestry.names), dtype=bool)
    concerned_A[ancestry.above_E[entry_E]] = True
    concerned_A &= np.diff(ancestry.below_start_A) > 1
    order_A = np.arange(len(ancestry.names)) if order_A is None else order_A
    yield from order_A[concerned_A[order_A]].tolist()
