"""Features learnt from a crawl without a label: how near its patches come to those that are common in it.

Coates, Lee & Ng (2011), An analysis of single-layer networks in unsupervised feature learning:

    x   pixels of a patch less their mean, by their spread + 10
    z   = (C + 0.1 I)^(-1/2) (x - mean x), C the covariance of x: whitened
    d_k = |z - centroid k|, the centroids from k-means on z
    f_k = max(0, mean d - d_k), the triangle

f is averaged over the parts of a 3 x 3 grid and summed over image and mirror image; a square root tames what is common.
"""

# N images, B images of a batch, S side in pixels, P patches, D numbers of a patch, K centroids, G parts of the grid
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from webclean.nn.threads import default_device, repeatable

GRID = 3
_NUM_THREADS = 2  # part of the result, like the seed; two is what the smallest machines have
_LARGEST_SIDE = 48  # larger squares are averaged down to it: time grows with its square
_SIDE, _STEP = 6, 2  # of a patch, and from one to the next
_EVEN = 10.0  # spread, in shades, below which a patch counts as even
_FLOOR = 0.1  # added to the variances, lest whitening blows up noise
_IMAGES = 600  # whose patches make the dictionary
_PATCHES = 30_000
_LEAST_MEMBERS = 10  # patches for each centroid, at least
_STEPS = 12  # of k-means
_ROWS = 4096  # patches held against all centroids at once
_BATCH = 8  # images


@dataclass(frozen=True)
class Dictionary:
    """Common patches of a crawl, float32: what whitens a patch, and the centroids of whitened ones.

    Attributes:
        side: pixels of the squares that patches are cut from.
        mean_D: of normalised patches.
        whitening_DD: symmetric.
        centroid_KD: of whitened patches.
    """

    side: int
    mean_D: Tensor
    whitening_DD: Tensor
    centroid_KD: Tensor

    @property
    def dim(self) -> int:
        """Numbers of an image's features."""
        return len(self.centroid_KD) * GRID**2


def learn(images_NSSC: NDArray[np.uint8], num_centroids: int, *, seed: int = 0) -> Dictionary:
    """A dictionary from patches of evenly spaced images; the same images and seed give the same bytes.

    Args:
        images_NSSC: uint8 (N, S, S, 3), may be a memory map; S is even and at least 10.
        num_centroids: K at most; fewer where there are few patches.
        seed: of the patches drawn and of where k-means starts.

    Raises:
        ValueError: no images, of another shape, or no centroid asked for.
    """
    shape = images_NSSC.shape
    if len(shape) != 4 or not shape[0] or shape[1] != shape[2] or shape[3] != 3 or num_centroids < 1:
        raise ValueError(
            f"need square images (N, S, S, 3) and a centroid; got shape {shape} and {num_centroids} centroids"
        )
    if shape[1] % 2 or shape[1] < _SIDE + 2 * _STEP:
        raise ValueError(f"sides must be even and at least {_SIDE + 2 * _STEP} pixels; got {shape[1]}")
    side = min(shape[1], _LARGEST_SIDE)
    chosen = np.arange(min(_IMAGES, len(images_NSSC))) * len(images_NSSC) // min(_IMAGES, len(images_NSSC))
    each = -(-_PATCHES // len(chosen))
    with repeatable(num_threads=_NUM_THREADS, seed=seed):
        drawn: list[Tensor] = []
        for row in chosen:
            patch_PD = _patches(images_NSSC[row : row + 1], side)[0]
            drawn.append(patch_PD[torch.randperm(len(patch_PD))[:each]])
        patch_PD = torch.cat(drawn)
        mean_D = patch_PD.mean(dim=0)
        patch_PD -= mean_D
        covariance_DD = (patch_PD.T @ patch_PD / max(1, len(patch_PD) - 1)).double()
        variance_D, direction_DD = torch.linalg.eigh(covariance_DD)
        scaled_DD = direction_DD * (variance_D.clamp(min=0.0) + _FLOOR).rsqrt()
        whitening_DD = (scaled_DD @ direction_DD.T).float()
        num = min(num_centroids, max(1, len(patch_PD) // _LEAST_MEMBERS))
        centroid_KD = _k_means(patch_PD @ whitening_DD, num)
    return Dictionary(side, mean_D, whitening_DD, centroid_KD)


def features(images_NSSC: NDArray[np.uint8], dictionary: Dictionary) -> NDArray[np.float32]:
    """How near the patches of these images come to those of the dictionary, part of the grid by part: float32 (N, G K).

    An image and its mirror image have the same features, up to rounding.

    Args:
        images_NSSC: uint8, of the side that the dictionary was learnt from.
        dictionary: from `learn`.
    """
    found_ND = np.empty((len(images_NSSC), dictionary.dim), dtype=np.float32)
    with repeatable(num_threads=_NUM_THREADS, seed=0), torch.inference_mode():
        encoder = _Encoder(dictionary)
        for start in range(0, len(images_NSSC), _BATCH):
            batch = images_NSSC[start : start + _BATCH]
            found_BGK = encoder.pooled(batch) + encoder.pooled(batch[:, :, ::-1])
            found_ND[start : start + len(batch)] = found_BGK.sqrt_().flatten(1).cpu().numpy()
    return found_ND


def _patches(images_BSSC: NDArray[np.uint8], side: int, device: torch.device | None = None) -> Tensor:
    """All patches of images, each less its mean and by its spread: float32 (B, P, D)."""
    pixels = torch.from_numpy(np.array(images_BSSC)).to(device).permute(0, 3, 1, 2).float()
    if pixels.shape[2] > side:
        pixels = F.interpolate(pixels, size=(side, side), mode="area")
    patch_BPD = F.unfold(pixels, _SIDE, stride=_STEP).transpose(1, 2).contiguous()
    patch_BPD -= patch_BPD.mean(dim=2, keepdim=True)
    patch_BPD /= patch_BPD.std(dim=2, keepdim=True) + _EVEN
    return patch_BPD


def _k_means(z_PD: Tensor, num: int) -> Tensor:
    """Centroids (K, D) after some steps from patches drawn; one that no patch is near stays where it is."""
    centroid_KD = z_PD[torch.randperm(len(z_PD))[:num]].clone()
    for _ in range(_STEPS):
        half_K = 0.5 * (centroid_KD * centroid_KD).sum(dim=1)
        sum_KD, count_K = torch.zeros_like(centroid_KD), torch.zeros(num)
        for rows_MD in torch.split(z_PD, _ROWS):
            nearest_M = torch.addmm(half_K, rows_MD, centroid_KD.T, alpha=-1.0).argmin(dim=1)
            sum_KD.index_add_(0, nearest_M, rows_MD)
            count_K += torch.bincount(nearest_M, minlength=num)
        mean_KD = sum_KD / count_K.clamp(min=1.0)[:, None]
        centroid_KD = torch.where(count_K[:, None] > 0, mean_KD, centroid_KD)
    return centroid_KD


class _Encoder:
    """A dictionary where the arithmetic is done, and the room for it."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.device, self.side = default_device(), dictionary.side
        self.mean_D = dictionary.mean_D.to(self.device)
        self.whitening_DD = dictionary.whitening_DD.to(self.device)
        centroid_KD = dictionary.centroid_KD.to(self.device)
        self.square_K = (centroid_KD * centroid_KD).sum(dim=1)
        self.centroid_DK = centroid_KD.T.contiguous()
        across = (self.side - _SIDE) // _STEP + 1
        # What averages over the parts of the grid, as a matrix: of P places, those of a part have equal shares.
        places = torch.eye(across**2).reshape(across**2, across, across)
        self.share_GP = F.adaptive_avg_pool2d(places, GRID).flatten(1).T.contiguous().to(self.device)
        self.room = torch.empty((_BATCH * across**2, len(centroid_KD)), device=self.device)

    def pooled(self, images_BSSC: NDArray[np.uint8]) -> Tensor:
        """Triangles averaged over the parts of the grid, float32 (B, G, K)."""
        patch_BPD = _patches(images_BSSC, self.side, self.device)
        num, num_patches, dim = patch_BPD.shape
        z_MD = (patch_BPD.reshape(-1, dim) - self.mean_D) @ self.whitening_DD
        near_MK = self.room[: len(z_MD)]
        torch.addmm(self.square_K, z_MD, self.centroid_DK, alpha=-2.0, out=near_MK)
        near_MK.add_((z_MD * z_MD).sum(dim=1, keepdim=True)).clamp_(min=0.0).sqrt_()
        near_MK.neg_().sub_(near_MK.mean(dim=1, keepdim=True)).clamp_(min=0.0)
        return self.share_GP @ near_MK.reshape(num, num_patches, -1)
