"""Simple measures of one picture: how bright, contrasty, sharp and informative it is.

All are computed on a small grey copy of the upright image (`io.decode.COPY_SIDE` pixels on the longer
side, never enlarged), so they say nothing about detail finer than that copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    p = count_L[count_L > 0] / num_pixels
    return Quality(
        brightness=mean / 255,
        contrast=min(1.0, variance**0.5 / 127.5),
        sharpness=_sharpness(gray_HW),
        entropy=float(max(0.0, -(p * np.log2(p)).sum())),
    )


def is_gray(tiny_SSC: NDArray[np.uint8]) -> bool:
    """Whether a small RGB copy, (S, S, 3) uint8, has no colour anywhere."""
    wide = tiny_SSC.astype(np.int16)
    return bool((wide.max(axis=2) - wide.min(axis=2)).max() <= _GRAY_TOLERANCE)


def _sharpness(gray_HW: NDArray[np.uint8]) -> float:
    height, width = gray_HW.shape
    if height < 3 or width < 3:
        return 0.0
    wide = gray_HW.astype(np.int32)
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    num = laplacian.size
    mean = int(laplacian.sum()) / num
    squares = int((laplacian.astype(np.int64) ** 2).sum()) / num
    return float(max(0.0, squares - mean * mean) ** 0.5 / 255)
