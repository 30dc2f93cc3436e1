"""Slow, literal versions of the category relations and the text mass, in the words of the formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def up(parents: Mapping[str, Sequence[str]], node: str) -> dict[str, int]:
    """Shortest way up, by trying every way."""
    found = {node: 0}
    for above in parents[node]:
        for name, steps in up(parents, above).items():
            found[name] = min(found.get(name, 10**9), steps + 1)
    return found


def path_distance(parents: Mapping[str, Sequence[str]], a: str, b: str) -> float:
    """Edges through the best common ancestor."""
    return min(
        (s + up(parents, b)[n] for n, s in up(parents, a).items() if n in up(parents, b)), default=math.inf
    )


def min_depth(parents: Mapping[str, Sequence[str]], node: str) -> int:
    return 1 + min(min_depth(parents, above) for above in parents[node]) if parents[node] else 0


def max_depth(parents: Mapping[str, Sequence[str]], node: str) -> int:
    return 1 + max(max_depth(parents, above) for above in parents[node]) if parents[node] else 0


def wup(parents: Mapping[str, Sequence[str]], a: str, b: str) -> float:
    """One direction of Wu-Palmer: s is the deepest common ancestor by its shortest way, `a` itself before others."""
    common = sorted(set(up(parents, a)) & set(up(parents, b)))
    if not common:
        return 0.0
    deepest = max(min_depth(parents, name) for name in common)
    best = [name for name in common if min_depth(parents, name) == deepest]
    s = a if a in best else best[0]
    depth = max_depth(parents, s) + 1
    return 2 * depth / (path_distance(parents, a, s) + path_distance(parents, b, s) + 2 * depth)


def shared_information(
    parents: Mapping[str, Sequence[str]], information: Mapping[str, float], a: str, b: str
) -> float:
    """IC of the most informative common ancestor."""
    return max((information[name] for name in set(up(parents, a)) & set(up(parents, b))), default=0.0)


def lin(parents: Mapping[str, Sequence[str]], information: Mapping[str, float], a: str, b: str) -> float:
    both = information[a] + information[b]
    if a == b:
        return 1.0
    return 2 * shared_information(parents, information, a, b) / both if both else 0.0


def jiang_conrath(
    parents: Mapping[str, Sequence[str]], information: Mapping[str, float], a: str, b: str
) -> float:
    if a == b:
        return 1e300
    if not information[a] or not information[b]:
        return 0.0
    apart = information[a] + information[b] - 2 * shared_information(parents, information, a, b)
    return 1 / apart if apart else 1e300


def stretch(x: Sequence[Sequence[float]]) -> list[list[float]]:
    """hat: min-max of the off-diagonal, diagonal 1."""
    num = len(x)
    off = [(x[i][j] + x[j][i]) / 2 for i in range(num) for j in range(num) if i != j]
    low, high = min(off), max(off)
    return [
        [1.0 if i == j else ((x[i][j] + x[j][i]) / 2 - low) / (high - low) for j in range(num)]
        for i in range(num)
    ]


def blend(
    wordnet: Sequence[Sequence[float]], text: Sequence[Sequence[float]], share: float, theta: float
) -> tuple[list[list[float]], list[list[float]]]:
    """S_t and S-bar."""
    w, t, num = stretch(wordnet), stretch(text), len(wordnet)
    combined = [[(1 - share) * w[i][j] + share * t[i][j] for j in range(num)] for i in range(num)]
    match = [
        [1.0 if i == j else max(0.0, (combined[i][j] - theta) / (1 - theta)) for j in range(num)]
        for i in range(num)
    ]
    return combined, match


def kappa(
    text: Sequence[float],
    categories: Sequence[Sequence[float]],
    label: int,
    match: Sequence[Sequence[float]],
    near: Sequence[int],
    tau: float,
) -> float:
    """Text mass of one image."""
    raised = [math.exp(sum(a * b for a, b in zip(text, v, strict=True)) / tau) for v in categories]
    e = [value / sum(raised) for value in raised]
    return sum(match[label][c] * e[c] for c in [label, *near])
