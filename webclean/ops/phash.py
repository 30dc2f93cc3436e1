"""Perceptual hash: 64 signs of low-frequency DCT coefficients, and its eight flips and quarter turns.

The hash of a turned image is a permutation of the bits of the stored hash under a mask, because
transposing an image swaps the two frequencies of a coefficient and flipping an axis negates the odd
frequencies of that axis. No image is turned to find a turned copy.

Letters: N images, B = 64 bits, V = 8 views.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

SIDE: Final = 32
"""Side of the square grey image that is hashed, in pixels."""

NUM_BITS: Final = 64
NUM_VIEWS: Final = 8

# The 8 x 8 block of lowest frequencies without the mean, and (8, 8) to make it 64: a set that is closed
# under transposition, so that a quarter turn needs no coefficient that is not stored.
_FREQUENCIES_B2: Final[NDArray[np.int64]] = np.array(
    [(u, v) for u in range(8) for v in range(8) if (u, v) != (0, 0)] + [(8, 8)], dtype=np.int64
)
_NUM_FREQUENCIES: Final = int(_FREQUENCIES_B2.max()) + 1

# A coefficient this small is the rounding error of a flat image; without the dead zone the hash of a flat
# image would depend on the machine's order of summation.
_DEAD_ZONE: Final = 1e-6


_BLOCK: Final = 1 << 16  # hashes whose bits are spread out at once


def _dct_rows() -> NDArray[np.float64]:
    frequency = np.arange(_NUM_FREQUENCIES)[:, None]
    position = np.arange(SIDE)[None, :]
    return np.cos(np.pi * (2 * position + 1) * frequency / (2 * SIDE))


_DCT: Final = _dct_rows()


def phash(gray_N: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Hash square grey images: bit b is 1 where the b-th low-frequency DCT-II coefficient is positive.

    Args:
        gray_N: (N, 32, 32) any real dtype; the upright image, grey, resized without keeping its aspect.

    Returns:
        (N,) uint64. A constant image hashes to 0.

    Raises:
        ValueError: another shape.
    """
    if gray_N.ndim != 3 or gray_N.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"expected (N, {SIDE}, {SIDE}) grey images, got {gray_N.shape}")
    pixels = gray_N.astype(np.float64)
    # Two small matrix products per image; einsum would not use the fast path.
    return from_coefficients(_DCT @ pixels @ _DCT.T)


def from_coefficients(coefficients_N: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Hash pictures by their DCT-II coefficients of the 9 x 9 lowest frequencies, (N, 9, 9)."""
    return _pack(coefficients_N[:, _FREQUENCIES_B2[:, 0], _FREQUENCIES_B2[:, 1]] > _DEAD_ZONE)


def transform_of_span(low: float, high: float, side: int) -> NDArray[np.float64]:
    """Resample a part of a line of pixels to `SIDE` and transform it: one matrix for both.

    Args:
        low, high: the part, as shares of the line, 0 <= low < high <= 1.
        side: pixels of the line; the part holds at least `SIDE` of them, or what lies between is interpolated.

    Returns:
        (9, side) float64; such a matrix for the rows and one for the columns give the coefficients that
        `from_coefficients` takes.
    """
    edges = (low + (high - low) * np.arange(SIDE + 1) / SIDE) * side
    middle = (edges[1:] + edges[:-1]) / 2
    reach = max(1.0, (high - low) * side / SIDE) / 2
    pixel = np.arange(side)
    covered = np.minimum(middle[:, None] + reach, pixel + 1) - np.maximum(middle[:, None] - reach, pixel)
    weights = np.maximum(covered, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(_DCT @ weights)


def views(hash_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes that the images would have after each of the eight views.

    View v of an image: transposed if v & 4, then its rows reversed if v & 2, then its columns reversed
    if v & 1 (see `turn`). View 0 is the image itself.

    Args:
        hash_N: (N,) uint64 from `phash`.

    Returns:
        (8, N) uint64.
    """
    return np.stack([view(hash_N, v) for v in range(NUM_VIEWS)])


def view(hash_N: NDArray[np.uint64], view: int) -> NDArray[np.uint64]:
    """Hashes that the images would have after one of the eight views, (N,) uint64."""
    turned_N = np.empty(len(hash_N), dtype=np.uint64)
    for start in range(0, len(hash_N), _BLOCK):
        bits_NB = _unpack(hash_N[start : start + _BLOCK])
        turned_N[start : start + _BLOCK] = _pack(bits_NB[:, _PERMUTATION_VB[view]] ^ _MASK_VB[view])
    return turned_N


def turn(images_N: NDArray[Scalar], view: int) -> NDArray[Scalar]:
    """Apply a view to images.

    Args:
        images_N: (N, H, W) or (N, H, W, C).
        view: 0 to 7.

    Returns:
        The same images turned, (N, H', W') or (N, H', W', C); a view on the input's memory.

    Raises:
        ValueError: `view` is out of range.
    """
    if not 0 <= view < NUM_VIEWS:
        raise ValueError(f"a view is a number from 0 to {NUM_VIEWS - 1}, got {view}")
    if view & 4:
        images_N = images_N.swapaxes(1, 2)
    if view & 2:
        images_N = images_N[:, ::-1]
    if view & 1:
        images_N = images_N[:, :, ::-1]
    return images_N


def inverse(view_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """The views that undo views: each but the two quarter turns undoes itself."""
    return _INVERSE_V[view_N]


def hamming(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of bits in which two hashes differ, elementwise with broadcasting, 0 to 64."""
    return np.bitwise_count(np.bitwise_xor(a, b)).astype(np.int64)


def _pack(bits_NB: NDArray[np.bool_]) -> NDArray[np.uint64]:
    packed = np.packbits(bits_NB, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8")[:, 0].astype(np.uint64)


def _unpack(hash_N: NDArray[np.uint64]) -> NDArray[np.bool_]:
    octets = np.ascontiguousarray(hash_N, dtype="<u8").view(np.uint8).reshape(-1, NUM_BITS // 8)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(np.bool_)


def _view_tables() -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    position = {(int(u), int(v)): b for b, (u, v) in enumerate(_FREQUENCIES_B2)}
    permutation_VB = np.empty((NUM_VIEWS, NUM_BITS), dtype=np.int64)
    mask_VB = np.empty((NUM_VIEWS, NUM_BITS), dtype=np.bool_)
    for view in range(NUM_VIEWS):
        for b, (u, v) in enumerate(_FREQUENCIES_B2.tolist()):
            permutation_VB[view, b] = position[(v, u) if view & 4 else (u, v)]
            negated = (u if view & 2 else 0) + (v if view & 1 else 0)
            mask_VB[view, b] = negated % 2 == 1
    return permutation_VB, mask_VB


_PERMUTATION_VB, _MASK_VB = _view_tables()
_INVERSE_V: Final[NDArray[np.int64]] = np.array([0, 1, 2, 3, 4, 6, 5, 7])
