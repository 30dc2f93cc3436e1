"""Slow literal versions of the hash, its views and the candidate search: loops, no tables."""

from __future__ import annotations

import math

import numpy as np

SIDE = 32


def frequencies() -> list[tuple[int, int]]:
    """The 64 (row, column) frequencies in the order of the bits."""
    block = [(u, v) for u in range(8) for v in range(8) if (u, v) != (0, 0)]
    return [*block, (8, 8)]


def coefficient(gray: np.ndarray, u: int, v: int) -> float:
    """One unnormalised DCT-II coefficient of a 32 x 32 image, term by term."""
    total = 0.0
    for y in range(SIDE):
        for x in range(SIDE):
            total += (
                float(gray[y, x])
                * math.cos(math.pi * (2 * y + 1) * u / (2 * SIDE))
                * math.cos(math.pi * (2 * x + 1) * v / (2 * SIDE))
            )
    return total


def phash(gray: np.ndarray) -> int:
    """The hash of one image, bit by bit."""
    value = 0
    for bit, (u, v) in enumerate(frequencies()):
        if coefficient(gray, u, v) > 1e-6:
            value |= 1 << bit
    return value


def turned(image: np.ndarray, view: int) -> np.ndarray:
    """An image under a view, pixel by pixel: transpose, then reverse rows, then reverse columns."""
    rows = [[image[y][x] for x in range(image.shape[1])] for y in range(image.shape[0])]
    if view & 4:
        rows = [[rows[y][x] for y in range(len(rows))] for x in range(len(rows[0]))]
    if view & 2:
        rows = rows[::-1]
    if view & 1:
        rows = [row[::-1] for row in rows]
    return np.array(rows)


def distance(a: int, b: int) -> int:
    """Bits in which two hashes differ."""
    return (a ^ b).bit_count()


def candidate_pairs(views: list[list[int]], base: list[int], radius: int) -> set[tuple[int, int, int, int]]:
    """(first, second, view, distance) of all pairs first < second within the radius; views[v][i]."""
    return {
        (a, b, view, distance(hashes[a], base[b]))
        for view, hashes in enumerate(views)
        for a in range(len(base))
        for b in range(a + 1, len(base))
        if distance(hashes[a], base[b]) <= radius
    }


def components(num: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Smallest node that each node can reach, by flooding."""
    label = list(range(num))
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            low = min(label[a], label[b])
            if label[a] != low or label[b] != low:
                label[a] = label[b] = low
                changed = True
    return label
