"""Slow, literal versions of SOMNet's formulas, for comparison with the fast ones."""

from __future__ import annotations

import math

import numpy as np


def geo(side, a, b):
    """Shortest path on the torus graph, by walking it: breadth first over the four edges of each cell."""
    seen, frontier, steps = {a}, [a], 0
    while b not in seen:
        steps += 1
        following = []
        for slot in frontier:
            row, col = divmod(slot, side)
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                neighbour = ((row + down) % side) * side + (col + right) % side
                if neighbour not in seen:
                    seen.add(neighbour)
                    following.append(neighbour)
        frontier = following
    return steps


def cosine(a, b):
    """Cosine of two vectors, 0 where one is zero."""
    na, nb = math.sqrt(sum(v * v for v in a)), math.sqrt(sum(v * v for v in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / (na * nb) if na and nb else 0.0


def winner(keys, x):
    """argmax of the cosines, the first of equals."""
    values = [cosine(key, x) for key in keys]
    return values.index(max(values))


def som_key_loss(keys, bags, side, radius):
    """- sum over bags and neighbours of eta * cos, over the number of bags."""
    total = 0.0
    for x in bags:
        z = winner(keys, x)
        for slot in range(side * side):
            distance = geo(side, z, slot)
            if distance <= radius:
                total -= cosine(keys[slot], x) / (1 + distance)
    return total / len(bags)


def softmax(values):
    """Plain softmax of a list."""
    top = max(values)
    parts = [math.exp(v - top) for v in values]
    return [p / sum(parts) for p in parts]


def value_losses(d_logits, r_logits, categories, winners):
    """(L_d-value, L_r-value): minus the cosines to one-hot vectors, over the number of bags."""
    num_categories, num_slots = len(d_logits), len(d_logits[0])
    d_loss = r_loss = 0.0
    for y, z in zip(categories, winners, strict=True):
        column = softmax([d_logits[c][z] for c in range(num_categories)])
        row = softmax(list(r_logits[y]))
        d_loss -= cosine([float(c == y) for c in range(num_categories)], column)
        r_loss -= cosine([float(slot == z) for slot in range(num_slots)], row)
    return d_loss / len(categories), r_loss / len(categories)


def shares(counts):
    """(d, r) of eq. 7: counts over the slot's total, counts over the category's total."""
    rows, cols = len(counts), len(counts[0])
    d = [[1 / rows] * cols for _ in range(rows)]
    r = [[1 / cols] * cols for _ in range(rows)]
    for y in range(rows):
        for slot in range(cols):
            in_slot = sum(counts[c][slot] for c in range(rows))
            in_category = sum(counts[y])
            if in_slot:
                d[y][slot] = counts[y][slot] / in_slot
            if in_category:
                r[y][slot] = counts[y][slot] / in_category
    return np.array(d), np.array(r)


def roi_weights(scores, percent, fallback):
    """Top p % of one bag, scaled to sum 1; ties by index."""
    keep = max(1, math.ceil(round(percent * len(scores) / 100, 9)))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:keep]
    kept = [scores[i] if i in order else 0.0 for i in range(len(scores))]
    return np.array(fallback) if sum(kept) == 0 else np.array([k / sum(kept) for k in kept])


def weighted_cross_entropy(logits, targets, weights, normalised):
    """sum s * CE over B or over sum s; 0 without weight."""
    total = 0.0
    for row, y, s in zip(logits, targets, weights, strict=True):
        total -= s * math.log(softmax(list(row))[y])
    scale = sum(weights) if normalised else len(targets)
    return total / scale if scale else 0.0
