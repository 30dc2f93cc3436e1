"""Slow literal versions of the two-stage weighting's formulas: loops, one line of the paper each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def positions(
    rank: Sequence[int | None], list_: Sequence[object], key: Sequence[object]
) -> list[tuple[int, int] | None]:
    """(position, size) inside each list, ties by key."""
    found: list[tuple[int, int] | None] = []
    for i in range(len(rank)):
        if rank[i] is None:
            found.append(None)
            continue
        mates = [j for j in range(len(rank)) if rank[j] is not None and list_[j] == list_[i]]
        before = sum((rank[j], key[j]) < (rank[i], key[i]) for j in mates)
        found.append((before + 1, len(mates)))
    return found


def rho(position: int, size: int, floor: float, power: float) -> float:
    """rho = rho_min + (1 - rho_min) (1 - u)^a with u = (r - 1) / max(1, R - 1)."""
    u = (position - 1) / max(1, size - 1)
    return floor + (1 - floor) * (1 - u) ** power


def stage1(rho: Sequence[float], kappa: Sequence[float], label: Sequence[int]) -> list[float]:
    """w1_i = rho_i kappa_i / max over the category."""
    out = []
    for i in range(len(rho)):
        best = max(rho[j] * kappa[j] for j in range(len(rho)) if label[j] == label[i])
        out.append(rho[i] * kappa[i] / best)
    return out


def sampling(weight: Sequence[float], label: Sequence[int]) -> list[float]:
    """P(i) = (1 / C) w_i / sum over the category."""
    num = len(set(label))
    return [
        w / num / sum(weight[j] for j in range(len(weight)) if label[j] == label[i])
        for i, w in enumerate(weight)
    ]


def median(values: Sequence[float]) -> float:
    """Middle value, mean of the two where there are two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def expected_match(
    p: Sequence[float], label: int, match: Sequence[Sequence[float]], k: int, minimum: float
) -> float:
    """s = sum over the top k of p renormalised times M(c, y), 0 below the minimum."""
    top = sorted(range(len(p)), key=lambda c: (-p[c], c))[:k]
    total = sum(p[c] for c in top)
    s = sum(p[c] / total * match[c][label] for c in top)
    return s if s >= minimum else 0.0


def softmax(x: Sequence[float], temperature: float) -> list[float]:
    """exp(x / T) over its sum."""
    e = [math.exp(v / temperature) for v in x]
    return [v / sum(e) for v in e]


def consistency(
    a: Sequence[float], b: Sequence[float], temperature: float, epsilon: float, gamma: float
) -> float:
    """1 / (KL(softmax a || softmax b) + epsilon)^gamma."""
    pa, pb = softmax(a, temperature), softmax(b, temperature)
    kl = sum(x * math.log(x / y) for x, y in zip(pa, pb, strict=True))
    return 1 / (kl + epsilon) ** gamma


def prototype_weight(
    g: Sequence[float],
    label: int,
    mu: Mapping[int, Sequence[float]],
    neighbors: Sequence[int],
    temperature: float,
) -> float:
    """exp(cos(g, mu_y) / tau) over the sum of the label and its neighbours."""

    def cosine(x: Sequence[float], y: Sequence[float]) -> float:
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        return dot / (math.hypot(*x) * math.hypot(*y))

    term = {c: math.exp(cosine(g, mu[c]) / temperature) for c in (label, *neighbors)}
    return term[label] / sum(term.values())
