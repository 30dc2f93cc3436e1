"""Boxes: xyxy, half-open, in pixels or as shares of the image's edges.  # R boxes"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_boxes(boxes_R4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes as float64 (R, 4).

    Raises:
        ValueError: wrong shape, a number that is not finite, or a box without area.
    """
    boxes = np.asarray(boxes_R4, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (R, 4); got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("a box holds a number that is not finite")
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError("a box has no area; boxes are x0, y0, x1, y1")
    return boxes


def areas(boxes_R4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of each box in squared units of its coordinates, float64 (R,)."""
    boxes = check_boxes(boxes_R4)
    edges: NDArray[np.float64] = boxes[:, 2:] - boxes[:, :2]
    return edges[:, 0] * edges[:, 1]


def to_pixels(shares_R4: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Turn shares of the edges (0 to 1) into pixels of an image of that size, float64 (R, 4)."""
    return check_boxes(shares_R4) * np.array([width, height, width, height], dtype=np.float64)


def area_scores(boxes_R4: NDArray[np.float64]) -> NDArray[np.float64]:
    """SOMNet's area score: area by the largest proposal's area; row 0, the whole image, gets 1.

    Returns:
        sigma_R, float64 in (0, 1].

    Raises:
        ValueError: no box at all, or boxes that are not usable.
    """
    area = areas(boxes_R4)
    if not len(area):
        raise ValueError("an image has at least one ROI: itself")
    scores = np.ones_like(area)
    if len(area) > 1:
        scores[1:] = area[1:] / area[1:].max()
    return scores
