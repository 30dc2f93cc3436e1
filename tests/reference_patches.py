"""Drawn textures, and features of patches by the formulas taken literally: loops over places and centroids, float64."""

from __future__ import annotations

import numpy as np

SIDE, STEP = 6, 2


def textures(num: int, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Stripes and checks of four kinds, anywhere, in any colours, under noise: no pixel tells the kind."""
    rng = np.random.default_rng(0)
    kind_N = np.arange(num) % 4
    down, across = np.mgrid[:side, :side]
    images = np.empty((num, side, side, 3), dtype=np.uint8)
    for image, kind in zip(images, kind_N, strict=True):
        a, b = down + rng.integers(8), across + rng.integers(8)
        wave = (a // 2 % 2, b // 2 % 2, (a // 2 + b // 2) % 2, (a // 4 + b // 4) % 2)[kind]
        dark, light = rng.integers(0, 100, 3), rng.integers(120, 220, 3)
        image[:] = np.clip(
            np.where(wave[..., None], dark, light) + rng.normal(0, 15, (side, side, 3)), 0, 255
        )
    return images, kind_N.astype(np.int64)


def patches(image: np.ndarray) -> np.ndarray:
    """All patches of an image, row by row: colour by colour, less their mean, by their spread + 10."""
    found = []
    for top in range(0, image.shape[0] - SIDE + 1, STEP):
        for left in range(0, image.shape[1] - SIDE + 1, STEP):
            cut = image[top : top + SIDE, left : left + SIDE].astype(float)
            x = np.concatenate([cut[:, :, colour].ravel() for colour in range(3)])
            found.append((x - x.mean()) / (x.std(ddof=1) + 10.0))
    return np.array(found)


def whitening(patch_PD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and (covariance + 0.1 I)^(-1/2)."""
    values, vectors = np.linalg.eigh(np.cov(patch_PD.T) + 0.1 * np.eye(patch_PD.shape[1]))
    return patch_PD.mean(axis=0), vectors @ np.diag(values**-0.5) @ vectors.T


def k_means_step(z_PD: np.ndarray, centroid_KD: np.ndarray) -> np.ndarray:
    nearest = [min(range(len(centroid_KD)), key=lambda k: np.sum((z - centroid_KD[k]) ** 2)) for z in z_PD]
    members = [z_PD[np.array(nearest) == k] for k in range(len(centroid_KD))]
    return np.array([m.mean(axis=0) if len(m) else old for m, old in zip(members, centroid_KD, strict=True)])


def features(
    image: np.ndarray, mean_D: np.ndarray, whitening_DD: np.ndarray, centroid_KD: np.ndarray
) -> np.ndarray:
    """The root of the triangles' means over a 3 x 3 grid, image and mirror image summed: part by part, K each."""
    total = np.zeros((9, len(centroid_KD)))
    for seen in (image, image[:, ::-1]):
        triangles = []
        for x in patches(seen):
            z = (x - mean_D) @ whitening_DD
            distance = np.array([np.sqrt(np.sum((z - centroid) ** 2)) for centroid in centroid_KD])
            triangles.append(np.maximum(0.0, distance.mean() - distance))
        across = round(len(triangles) ** 0.5)
        cells = np.array(triangles).reshape(across, across, -1)
        third = across // 3
        assert third * 3 == across, "parts that share no place"
        for part in range(9):
            down, right = divmod(part, 3)
            cut = cells[down * third : (down + 1) * third, right * third : (right + 1) * third]
            total[part] += cut.mean(axis=(0, 1))
    return np.sqrt(total).ravel()
