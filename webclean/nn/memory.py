"""The self-organizing memory of SOMNet (arXiv 1906.12028, section 3.3 and supplement).

Keys are centres of bag features on a torus; the values of a slot say how discriminative (d) and how
representative (r) it is for each category. Everything that training changes is a saved parameter or
buffer, so a resumed run goes on with the same memory.

# B bags, R rows of features, D dims, K slots, C categories
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from webclean.errors import ConfigError
from webclean.nn.losses import neighbourhood_loss, value_loss
from webclean.ops import grid

KEY_UPDATES = ("means", "gradient", "kmeans")
VALUE_UPDATES = ("counts", "gradient")

# A saturated softmax gets no gradient: logits stay inside +-6, so a slot can still change its mind.
LOGIT_LIMIT = 6.0

# (Running) visits below which a slot has d = 1 / C and a prototypical score of 0.
_MIN_VISITS = 1.0


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What a memory is made of.

    Attributes:
        side: m; the grid has m * m slots.
        radius: delta; neighbours of the winner that learn with it; 0 = none.
        key_update: `means` = running means; `gradient` = by L_SOM-key; `kmeans` = set from outside.
        value_update: `counts` = running counts, the losses' exact optimum; `gradient` = by the losses.
        decay: share of the running counts and of a winner's running mean that one update keeps.
    """

    side: int = 8
    radius: int = 1
    key_update: str = "means"
    value_update: str = "counts"
    decay: float = 0.99

    def __post_init__(self) -> None:
        if self.key_update not in KEY_UPDATES or self.value_update not in VALUE_UPDATES:
            raise ConfigError(
                f"a memory's keys are updated by {', '.join(KEY_UPDATES)} and its values by "
                f"{', '.join(VALUE_UPDATES)}; got {self.key_update!r}, {self.value_update!r}"
            )
        if not 0.0 <= self.decay < 1.0:
            raise ConfigError(f"a memory's decay lies in [0, 1); got {self.decay}")


class SelfOrganizingMemory(nn.Module):
    """Key slots on a torus with d- and r-values for each category.

    State: `keys_KD`, `d_logits_CK`, `r_logits_CK` (parameters), `counts_CK`, `visits_K` (buffers, float64).
    """

    counts_CK: Tensor
    visits_K: Tensor
    eta_KK: Tensor

    def __init__(self, num_categories: int, dim: int, options: MemoryOptions) -> None:
        super().__init__()
        if num_categories < 1 or dim < 1:
            raise ConfigError(f"a memory needs categories and dimensions; got {num_categories}, {dim}")
        self.options = options
        num_slots = options.side * options.side
        by_gradient = options.value_update == "gradient"
        keys_KD = functional.normalize(torch.randn(num_slots, dim), dim=1)
        self.keys_KD = nn.Parameter(keys_KD, requires_grad=options.key_update == "gradient")
        self.d_logits_CK = nn.Parameter(torch.zeros(num_categories, num_slots), requires_grad=by_gradient)
        self.r_logits_CK = nn.Parameter(torch.zeros(num_categories, num_slots), requires_grad=by_gradient)
        self.register_buffer("counts_CK", torch.zeros(num_categories, num_slots, dtype=torch.float64))
        self.register_buffer("visits_K", torch.zeros(num_slots, dtype=torch.float64))
        # Follows from the options, so it is not saved.
        eta_KK = torch.from_numpy(grid.neighbour_weights(options.side, options.radius)).float()
        self.register_buffer("eta_KK", eta_KK, persistent=False)

    @property
    def num_slots(self) -> int:
        """K, slots of the grid."""
        return int(self.keys_KD.shape[0])

    @torch.no_grad()
    def set_keys(self, keys_KD: Tensor) -> None:
        """Put the keys at the given places (bag features, K-means centres); their length is set to 1."""
        self.keys_KD.copy_(functional.normalize(keys_KD.to(self.keys_KD), dim=1))

    def cosines(self, features_RD: Tensor) -> Tensor:
        """cos(key, feature), float (R, K); a zero vector has cosine 0 to every key."""
        return functional.normalize(features_RD, dim=1) @ functional.normalize(self.keys_KD, dim=1).T

    @torch.no_grad()
    def winners(self, features_RD: Tensor) -> Tensor:
        """win(x): slot of the largest cosine, the first of equals, int64 (R,)."""
        return self.cosines(features_RD).argmax(dim=1)

    def d_CK(self) -> Tensor:
        """Discriminative scores; columns (slots) sum to 1. eq. 8 or, by counts, eq. 7."""
        if self.options.value_update == "gradient":
            return torch.softmax(self.d_logits_CK, dim=0)
        return _shares(self.counts_CK, dim=0)

    def r_CK(self) -> Tensor:
        """Representative scores; rows (categories) sum to 1."""
        if self.options.value_update == "gradient":
            return torch.softmax(self.r_logits_CK, dim=1)
        return _shares(self.counts_CK, dim=1)

    def is_used_K(self) -> Tensor:
        """Slots that had enough visits for their values to mean something, bool (K,)."""
        return self.visits_K >= _MIN_VISITS

    @torch.no_grad()
    def scores(self) -> tuple[Tensor, Tensor]:
        """d and r for reading, float64 (C, K) each; an unused slot has d = 1 / C and r = 0."""
        used_K = self.is_used_K()
        d_CK = self.d_CK().double()
        d_CK = torch.where(used_K, d_CK, torch.full_like(d_CK, 1.0 / len(d_CK)))
        r_CK = self.r_CK().double()
        return d_CK, torch.where(used_K, r_CK, torch.zeros_like(r_CK))

    def loss(self, bag_BD: Tensor, category_B: Tensor) -> Tensor:
        """L_memory = L_SOM-key + L_d-value + L_r-value over those parts that learn by gradient.

        The winner is a constant for the gradient. Parts that learn in closed form add nothing here:
        `update` moves them.
        """
        cosine_BK = self.cosines(bag_BD)
        winner_B = cosine_BK.detach().argmax(dim=1)
        loss = bag_BD.new_zeros(())
        if self.options.key_update == "gradient":
            loss = loss + neighbourhood_loss(cosine_BK, self.eta_KK[winner_B])
        if self.options.value_update == "gradient":
            loss = loss + value_loss(self.d_CK().T[winner_B], category_B)
            loss = loss + value_loss(self.r_CK()[category_B], winner_B)
        return loss

    @torch.no_grad()
    def update(self, bag_BD: Tensor, category_B: Tensor) -> None:
        """What follows an optimiser step: running counts, running means of the keys, renormalised keys."""
        if not len(bag_BD):
            return
        winner_B = self.winners(bag_BD)
        self._count(winner_B, category_B)
        if self.options.key_update == "means":
            self._move_keys(functional.normalize(bag_BD.detach(), dim=1), winner_B)
        if self.options.key_update != "kmeans":
            # The cosine's gradient stands at right angles to the key, so its length only grows and
            # would shrink the effective step.
            self.keys_KD.copy_(functional.normalize(self.keys_KD, dim=1))
        self.d_logits_CK.clamp_(-LOGIT_LIMIT, LOGIT_LIMIT)
        self.r_logits_CK.clamp_(-LOGIT_LIMIT, LOGIT_LIMIT)

    def _count(self, winner_B: Tensor, category_B: Tensor) -> None:
        flat = category_B * self.num_slots + winner_B
        added = torch.bincount(flat, minlength=self.counts_CK.numel()).to(torch.float64)
        self.counts_CK.mul_(self.options.decay).add_(added.reshape(self.counts_CK.shape))
        self.visits_K.copy_(self.counts_CK.sum(dim=0))

    def _move_keys(self, unit_BD: Tensor, winner_B: Tensor) -> None:
        """Running means: key_i keeps decay^(sum of eta) of itself and takes the rest from its bags.

        For fixed winners this walks to the unit maximiser of sum_b eta(z_b, i) cos(k_i, x_b).
        """
        eta_BK = self.eta_KK[winner_B].to(unit_BD)
        mass_K = eta_BK.sum(dim=0)
        mean_KD = (eta_BK.T @ unit_BD) / mass_K.clamp_min(torch.finfo(mass_K.dtype).tiny)[:, None]
        keep_K1 = (self.options.decay**mass_K)[:, None]
        moved = keep_K1 * self.keys_KD + (1.0 - keep_K1) * mean_KD
        self.keys_KD.copy_(torch.where(mass_K[:, None] > 0, moved, self.keys_KD))

    @torch.no_grad()
    def recount(self, winner_B: Tensor, category_B: Tensor) -> None:
        """Set the counts to those of one exact pass over all bags (after K-means, or at the end)."""
        self.counts_CK.zero_()
        self._count(winner_B, category_B)


def _shares(counts_CK: Tensor, dim: int) -> Tensor:
    total = counts_CK.sum(dim=dim, keepdim=True)
    even = torch.full_like(counts_CK, 1.0 / counts_CK.shape[dim])
    return torch.where(total > 0, counts_CK / torch.where(total > 0, total, torch.ones_like(total)), even)
