"""Features of the ROIs of images from one pass of the backbone (SOMNet, section 3.2; Fast R-CNN's pooling).

# B images, R ROIs of an image (0 = the whole image), D dims of the backbone, E dims after reduction
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from webclean.errors import DataError
from webclean.nn.threads import repeatable

_SMALLEST_SCALE = 1e-12  # where nothing varies: one image, a network of zeros
POOLED_CELLS = 3  # an ROI is sampled on 3 x 3 points of the map (2 x 2 samples each), then averaged


def roi_features(module: nn.Module, images_B3HW: Tensor, rois_R4: Tensor) -> Tensor:
    """Mean of each ROI's part of the last map, all from one pass.

    The whole image is pooled from the same map in the same way, so that features of bags in training
    and of single images at test time have one distribution.

    Args:
        module: gives (map (B, D, h, w), pooled features) for normalised images.
        images_B3HW: normalised images of one size.
        rois_R4: xyxy shares of the edges, the same for each image; row 0 is the whole image.

    Returns:
        features_BRD, float.
    """
    from torchvision.ops import roi_align

    map_BDhw: Tensor = module(images_B3HW)[0]
    num_images, height, width = len(images_B3HW), map_BDhw.shape[2], map_BDhw.shape[3]
    whole_B1D = map_BDhw.mean(dim=(2, 3))[:, None, :]
    if len(rois_R4) == 1:
        return whole_B1D
    cells_R4 = rois_R4[1:].to(map_BDhw) * map_BDhw.new_tensor([width, height, width, height])
    windows_BRDcc = roi_align(
        map_BDhw.contiguous(),
        [cells_R4] * num_images,
        output_size=POOLED_CELLS,
        spatial_scale=1.0,
        sampling_ratio=2,
        aligned=True,
    )
    proposals_BRD = windows_BRDcc.mean(dim=(2, 3)).reshape(num_images, len(rois_R4) - 1, -1)
    return torch.cat([whole_B1D, proposals_BRD], dim=1)


class Reducer(nn.Module):
    """Fixed standardisation and projection of features: (x - mean) / scale, then onto a basis.

    Centring matters: features after a rectifier are all positive, so without it every cosine is high and
    winners follow the mean. State: `mean_D`, `scale_D`, `basis_DE` (buffers).
    """

    mean_D: Tensor
    scale_D: Tensor
    basis_DE: Tensor

    def __init__(self, dim: int, reduced: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("scale_D", torch.ones(dim))
        self.register_buffer("basis_DE", torch.eye(dim, reduced))

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., E)."""
        reduced: Tensor = ((features - self.mean_D) / self.scale_D) @ self.basis_DE
        return reduced

    @torch.no_grad()
    def fit(self, features_ND: NDArray[np.float32]) -> None:
        """Take mean and spread of each dimension and the directions of largest variance from whole images.

        Raises:
            DataError: no features, or a feature that is not finite.
        """
        x_ND = np.asarray(features_ND, dtype=np.float64)
        if not len(x_ND) or not np.isfinite(x_ND).all():
            raise DataError(f"features to standardise must be finite and not none; got shape {x_ND.shape}")
        mean_D = x_ND.mean(axis=0)
        spread_D = x_ND.std(axis=0)
        # A dimension that hardly varies would be blown up to noise: its spread counts as 1e-3 of the mean one.
        scale_D = spread_D + 1e-3 * spread_D.mean() + _SMALLEST_SCALE
        z_ND = (x_ND - mean_D) / scale_D
        with repeatable(num_threads=1, seed=0):
            covariance_DD = torch.from_numpy(z_ND.T @ z_ND / len(z_ND))
            vectors_DD = torch.linalg.eigh(covariance_DD)[1].numpy()
        basis_DE = vectors_DD[:, ::-1][:, : self.basis_DE.shape[1]]
        # An eigenvector's sign is arbitrary: its largest entry is made positive.
        peak_E = np.take_along_axis(basis_DE, np.abs(basis_DE).argmax(axis=0)[None, :], axis=0)[0]
        self.mean_D.copy_(torch.from_numpy(mean_D))
        self.scale_D.copy_(torch.from_numpy(scale_D))
        self.basis_DE.copy_(
            torch.from_numpy(np.ascontiguousarray(basis_DE * np.where(peak_E < 0, -1.0, 1.0)))
        )


class RunningScaler(nn.Module):
    """Centring and scaling of features that change while the backbone learns: running mean and spread.

    State: `mean_D`, `spread_D`, `started` (buffers). Statistics carry no gradient and are moved in
    training mode only, by the whole-image features.
    """

    mean_D: Tensor
    spread_D: Tensor
    started: Tensor

    def __init__(self, dim: int, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("spread_D", torch.ones(dim))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, features_BRD: Tensor) -> Tensor:
        """(B, R, D) -> (B, R, D)."""
        if self.training and len(features_BRD) > 1:
            self._move(features_BRD[:, 0].detach())
        return (features_BRD - self.mean_D) / (self.spread_D + 1e-3 * self.spread_D.mean() + _SMALLEST_SCALE)

    @torch.no_grad()
    def _move(self, images_BD: Tensor) -> None:
        step = torch.where(self.started, self.momentum, 1.0)
        self.mean_D.lerp_(images_BD.mean(dim=0), step)
        self.spread_D.lerp_(images_BD.std(dim=0), step)
        self.started.fill_(True)


class CachedRois(nn.Module):
    """Encoder of a frozen backbone: its input is the cached, reduced features already."""

    def forward(self, rows_BRE: Tensor, num_rois: int | None = None) -> Tensor:
        """(B, R, E) of any float type -> (B, R, E) float32, the first `num_rois` ROIs."""
        rows = rows_BRE if num_rois is None else rows_BRE[:, :num_rois]
        return rows.float()


class LiveRois(nn.Module):
    """Encoder of a backbone that learns: pixels -> ROI features, running standardised."""

    rois_R4: Tensor

    def __init__(self, backbone: nn.Module, dim: int, rois_R4: NDArray[np.float64]) -> None:
        super().__init__()
        self.backbone = backbone
        self.scaler = RunningScaler(dim)
        self.register_buffer("rois_R4", torch.from_numpy(rois_R4).float(), persistent=False)

    def forward(self, images_B3HW: Tensor, num_rois: int | None = None) -> Tensor:
        """(B, 3, H, W) normalised -> (B, R, D)."""
        rois_R4 = self.rois_R4 if num_rois is None else self.rois_R4[:num_rois]
        features: Tensor = self.scaler(roi_features(self.backbone, images_B3HW, rois_R4))
        return features
