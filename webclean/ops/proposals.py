"""Region proposals that need no model: windows of several scales on a grid, or random windows.

SOMNet uses EdgeBoxes; windows cover the image evenly and need nothing but NumPy. All boxes are xyxy
shares of the image's edges, and row 0 is always the whole image.  # R ROIs of an image
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)

# (windows along one edge, their edge as a share of the image's): overlapping halves, thirds and details.
SCALES = ((2, 0.6), (3, 0.45), (3, 0.3))


def grid_rois(scales: tuple[tuple[int, float], ...] = SCALES) -> NDArray[np.float64]:
    """The whole image, then n x n evenly spread windows for each scale, coarse to fine.

    Args:
        scales: (n, edge) pairs; n >= 1 windows along an edge, 0 < edge <= 1.

    Returns:
        rois_R4, float64 (1 + sum n * n, 4), row-major inside a scale.

    Raises:
        ValueError: a scale out of range.
    """
    rois = [WHOLE_IMAGE]
    for num, edge in scales:
        if num < 1 or not 0.0 < edge <= 1.0:
            raise ValueError(f"a scale needs n >= 1 and 0 < edge <= 1; got {(num, edge)}")
        starts = np.linspace(0.0, 1.0 - edge, num) if num > 1 else np.array([(1.0 - edge) / 2])
        rois += [(float(x), float(y), float(x) + edge, float(y) + edge) for y in starts for x in starts]
    return np.minimum(np.array(rois, dtype=np.float64), 1.0)


def random_rois(num: int, rng: np.random.Generator, smallest: float = 0.25) -> NDArray[np.float64]:
    """The whole image, then `num` windows of random place and edges between `smallest` and 0.8.

    Returns:
        rois_R4, float64 (1 + num, 4).

    Raises:
        ValueError: num is negative or smallest outside (0, 0.8).
    """
    if num < 0 or not 0.0 < smallest < 0.8:
        raise ValueError(f"random windows need num >= 0 and 0 < smallest < 0.8; got {num}, {smallest}")
    edges_R2 = rng.uniform(smallest, 0.8, size=(num, 2))
    corners_R2 = rng.uniform(0.0, 1.0, size=(num, 2)) * (1.0 - edges_R2)
    windows = np.concatenate([corners_R2, np.minimum(corners_R2 + edges_R2, 1.0)], axis=1)
    return np.concatenate([np.array([WHOLE_IMAGE]), windows])


def whole_image() -> NDArray[np.float64]:
    """Only the image itself: the ablation without proposals, float64 (1, 4)."""
    return np.array([WHOLE_IMAGE])
