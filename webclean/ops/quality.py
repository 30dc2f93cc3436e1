"""Simple measures of one picture, and what they say against it: flags by stated thresholds.

All measures are computed on a small grey copy of the upright image (`io.decode.COPY_SIDE` pixels on the longer side, never enlarged), so
they say nothing about detail finer than that copy.

Letters: N images, S side of the small colour copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

_FLAT_CONTRAST: Final = 0.02  # below it there is no structure that could be sharp or blurred
_LINE_ENTROPY: Final = 4.5  # bits; letters and lines have few grey levels, photos about 7
_DRAWN_ENTROPY: Final = 3.0
_COLOR_BITS: Final = 5  # of each channel: JPEG's noise on a flat ground stays within one colour

# Chroma noise of JPEG moves a channel of a grey photo by a few levels once averaged over 1/16 of the side.
_GRAY_TOLERANCE: Final = 6


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of one image.

    Attributes:
        brightness: mean grey level in [0, 1]; 0 is black.
        contrast: standard deviation of the grey levels over the largest there can be, in [0, 1].
        sharpness: standard deviation of the 4-neighbour Laplacian in grey levels of 0 to 1; 0 is flat or
            fully blurred, ordinary photos lie near 0.05 to 0.4.
        entropy: Shannon entropy of the 256-level histogram in bits, in [0, 8].
    """

    brightness: float
    contrast: float
    sharpness: float
    entropy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Where each flag begins; meanings and units as in `config.QualityConfig`."""

    small_side: int
    aspect_limit: float
    blur_limit: float
    dark_limit: float
    light_limit: float
    information_limit: float
    line_sharpness: float
    drawn_colors: float
    placeholder_queries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is known of N images.

    Attributes:
        width_N, height_N: pixels, at least 1.
        brightness_N, contrast_N, sharpness_N, entropy_N: as in `Quality`.
        is_gray_N: whether the picture has no colour.
        tiny_NSSC: uint8, the small colour copies.
        num_queries_N: different queries under which the image and its copies stand, itself included.
    """

    width_N: Ints
    height_N: Ints
    brightness_N: Floats
    contrast_N: Floats
    sharpness_N: Floats
    entropy_N: Floats
    is_gray_N: Bools
    tiny_NSSC: NDArray[np.uint8]
    num_queries_N: Ints


def flag(found: Measured, limits: Thresholds) -> dict[str, Bools]:
    """Flag -> bool (N,), in the order of `schema.FLAGS`.

    `graphic` is a guess at pictures that no camera took: letters and lines are sharper than any photo of
    their contrast and have few grey levels; logos, charts and screenshots have flat areas, so that the
    small copy has few colours where a thing photographed on a plain ground has many shades.
    """
    shorter_N = np.minimum(found.width_N, found.height_N)
    longer_N = np.maximum(found.width_N, found.height_N)
    has_structure_N = found.contrast_N >= _FLAT_CONTRAST
    edge_N = found.sharpness_N / np.where(has_structure_N, found.contrast_N, 1.0)
    has_lines_N = has_structure_N & (edge_N > limits.line_sharpness) & (found.entropy_N < _LINE_ENTROPY)
    is_drawn_N = (color_share(found.tiny_NSSC) < limits.drawn_colors) & (found.entropy_N < _DRAWN_ENTROPY)
    return {
        schema.TOO_SMALL: shorter_N < limits.small_side,
        schema.ODD_ASPECT: longer_N > limits.aspect_limit * shorter_N,
        schema.BLURRY: has_structure_N & (edge_N < limits.blur_limit),
        schema.DARK: found.brightness_N + found.contrast_N < limits.dark_limit,
        schema.LIGHT: found.brightness_N - found.contrast_N > limits.light_limit,
        schema.LOW_INFORMATION: found.entropy_N < limits.information_limit,
        schema.GRAY: found.is_gray_N,
        schema.GRAPHIC: has_structure_N & (has_lines_N | is_drawn_N),
        schema.PLACEHOLDER: found.num_queries_N >= limits.placeholder_queries,
    }


def color_share(tiny_NSSC: NDArray[np.uint8]) -> Floats:
    """Different colours beside the commonest one, over the cells that have another than it; float64 in [0, 1].

    Args:
        tiny_NSSC: (N, S, S, 3) uint8. A picture of one colour has 0.

    Raises:
        ValueError: another shape or type.
    """
    if tiny_NSSC.ndim != 4 or tiny_NSSC.shape[3] != 3 or tiny_NSSC.dtype != np.uint8:
        raise ValueError(f"expected (N, S, S, 3) uint8, got {tiny_NSSC.shape} {tiny_NSSC.dtype}")
    num_images, num_cells = len(tiny_NSSC), tiny_NSSC.shape[1] * tiny_NSSC.shape[2]
    if num_images == 0:
        return np.zeros(0)
    # 15 bits a colour: whole numbers this short are sorted by their digits, many times as fast.
    level_NPC = (tiny_NSSC >> (8 - _COLOR_BITS)).reshape(num_images, num_cells, 3).astype(np.uint16)
    red, green, blue = (level_NPC[..., channel] for channel in range(3))
    color_NP = (red << (2 * _COLOR_BITS)) | (green << _COLOR_BITS) | blue
    color_NP.sort(axis=1)
    # Runs of equal colours in the sorted cells: their number, and the longest of each image.
    starts_NP = np.ones(color_NP.shape, dtype=np.bool_)
    starts_NP[:, 1:] = color_NP[:, 1:] != color_NP[:, :-1]
    start_R = np.flatnonzero(starts_NP)
    num_runs_N = starts_NP.sum(axis=1)
    length_R = np.diff(start_R, append=num_images * num_cells)
    longest_N = np.maximum.reduceat(length_R, np.cumsum(num_runs_N) - num_runs_N)
    return np.asarray((num_runs_N - 1) / np.maximum(num_cells - longest_N, 1), dtype=np.float64)


def measure(gray_HW: NDArray[np.uint8]) -> Quality:
    """Measure a grey picture.

    Args:
        gray_HW: (H, W) uint8, at least one pixel.

    Raises:
        ValueError: not a uint8 matrix, or empty.
    """
    if gray_HW.ndim != 2 or gray_HW.dtype != np.uint8 or gray_HW.size == 0:
        raise ValueError(f"expected a non-empty (H, W) uint8 image, got {gray_HW.shape} {gray_HW.dtype}")
    # Every measure but sharpness follows from the histogram, in whole numbers until the last step.
    count_L = np.bincount(gray_HW.reshape(-1), minlength=256)
    level_L = np.arange(256)
    num_pixels = gray_HW.size
    total = int(count_L @ level_L)
    squares = int(count_L @ (level_L * level_L))
    mean = total / num_pixels
    variance = max(0.0, squares / num_pixels - mean * mean)
    # H = log2 n - (1 / n) sum c log2 c over the levels' counts c
    surplus = float((count_L * np.log2(np.maximum(count_L, 1))).sum()) / num_pixels
    return Quality(
        brightness=mean / 255,
        contrast=min(1.0, variance**0.5 / 127.5),
        sharpness=_sharpness(gray_HW),
        entropy=max(0.0, float(np.log2(num_pixels)) - surplus),
    )


def is_gray(tiny_NSSC: NDArray[np.uint8]) -> Bools:
    """(N,) whether small RGB copies, (N, S, S, 3) uint8, have no colour anywhere."""
    # A largest of three planes is many times as fast as one along an axis of three.
    red, green, blue = (tiny_NSSC[..., channel].astype(np.int16) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray(spread.max(axis=(1, 2)) <= _GRAY_TOLERANCE)


def _sharpness(gray_HW: NDArray[np.uint8]) -> float:
    height, width = gray_HW.shape
    if height < 3 or width < 3:
        return 0.0
    # Of rows that lie one after the other in memory, which is faster than columns: what is added across the end of
    # a row is cut away afterwards.
    wide_P = gray_HW.reshape(-1).astype(np.int16)
    num = (height - 2) * width
    laplacian_P = wide_P[:num] + wide_P[2 * width :]
    laplacian_P += wide_P[width - 1 : width - 1 + num]
    laplacian_P += wide_P[width + 1 : width + 1 + num]
    laplacian_P -= 4 * wide_P[width : width + num]
    # Whole numbers below 2**53: their sums are exact in any order.
    x_P = laplacian_P.reshape(-1, width)[:, 1:-1].astype(np.float64, order="C").reshape(-1)
    mean = float(x_P.sum()) / len(x_P)
    squares = float(x_P @ x_P) / len(x_P)
    return float(max(0.0, squares - mean * mean) ** 0.5 / 255)
