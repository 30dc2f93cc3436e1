"""Losses on weighted labels.  # B images or bags, C categories"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def weighted_cross_entropy(
    logits_BC: Tensor, target_B: Tensor, weight_B: Tensor, *, normalised: bool = False
) -> Tensor:
    """Cross entropy of each row times its weight: L = s(x) * L_ce (two-stage slides), averaged.

    Args:
        logits_BC: float (B, C).
        target_B: int64 (B,).
        weight_B: float (B,), >= 0.
        normalised: False divides by B, the slides' form, whose step shrinks with the weights; True
            divides by the weights' sum, which does not change when all weights are scaled.

    Returns:
        A scalar; exactly 0, with zero gradients, for a batch without weight (or without rows).
    """
    loss_B = functional.cross_entropy(logits_BC, target_B, reduction="none") * weight_B
    total = weight_B.sum() if normalised else torch.as_tensor(float(len(target_B)), device=loss_B.device)
    return loss_B.sum() / torch.where(total > 0, total, torch.ones_like(total))


def neighbourhood_loss(cosine_BK: Tensor, eta_BK: Tensor) -> Tensor:
    """L_SOM-key: minus the cosines of a bag to the winner and its neighbours, times eta; mean over bags.

    With eta the winner's one-hot rows this is SOMNet's plain L_key.
    """
    return -(eta_BK * cosine_BK).sum(dim=1).mean()


def value_loss(distribution_BN: Tensor, target_B: Tensor) -> Tensor:
    """L_d-value and L_r-value: minus the cosine between a one-hot target and a distribution; mean over bags.

    cos(onehot(t), p) = p_t / ||p||_2 (supplement eq. 1 and 4).
    """
    hit_B = distribution_BN.gather(1, target_B[:, None])[:, 0]
    length_B = distribution_BN.square().sum(dim=1).sqrt()
    return -(hit_B / length_B).mean()
