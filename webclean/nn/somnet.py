"""SOMNet: a classifier trained on bags whose ROIs are weighted by a self-organizing memory.

Tu et al., Learning from Web Data with Self-Organizing Memory Module (arXiv 1906.12028), sections 3.2 to 3.5.
The plain baseline is the same network without memory on bags of one whole image.

# B bags, G images of a bag, R ROIs of an image, M = G * R, E feature dims, C categories, K slots
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from webclean.nn.losses import weighted_cross_entropy
from webclean.nn.memory import SelfOrganizingMemory
from webclean.ops import bags, memory_counts
from webclean.ops.roi_weights import Curriculum, initial_weights, select_rois, slot_scores


class SomNet(nn.Module):
    """Encoder of ROIs, linear classifier, and (not for the baseline) the memory."""

    def __init__(
        self, encoder: nn.Module, dim: int, num_categories: int, memory: SelfOrganizingMemory | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, num_categories)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.memory = memory

    def classify(self, inputs: Tensor) -> Tensor:
        """Logits (B, C) of whole images, as at test time: no proposals, no memory."""
        logits: Tensor = self.head(self.encoder(inputs, 1)[:, 0])
        return logits


class Rows(Protocol):
    """Where the encoder's input comes from: cached ROI features or pixels, by image index."""

    def take(self, images: NDArray[np.int64], rng: np.random.Generator | None = None) -> Tensor:
        """Inputs of these images in this order; with `rng` augmented for training."""
        ...


@dataclass(frozen=True, slots=True)
class SomnetOptions:
    """How bags are made, weighted and learned from.

    Attributes:
        images_per_bag: n_g.
        batch_bags: bags of one step.
        roi_score: d, r or d*r.
        area_score: whether a proposal's score is scaled by its area.
        beta: weight of the memory's loss.
        image_loss: weight of the cross entropy of a bag's whole images, one by one; 0 = SOMNet's own loss.
        memory_to_encoder: whether, in the rounds, the memory's loss reaches the encoder.
        warmup_epochs: epochs on whole images only (initial weights), the memory's last.
        memory_epochs: of the warm-up, the last ones, in which the memory learns as well.
        epochs_per_round: epochs between two steps of the curriculum.
        head_l2: weight of half the squared norm of the classifier.
        normalised: whether a batch's loss is divided by its weights' sum or by its size.
        kmeans: refit the keys by K-means after each epoch instead of learning them.
    """

    images_per_bag: int = 4
    batch_bags: int = 32
    roi_score: str = "d"
    area_score: bool = True
    beta: float = 0.1
    image_loss: float = 0.0
    memory_to_encoder: bool = False
    warmup_epochs: int = 2
    memory_epochs: int = 2
    epochs_per_round: int = 1
    head_l2: float = 0.0
    normalised: bool = True
    kmeans: bool = False


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """What is learned from.

    Attributes:
        category_N: int64, the crawl's labels.
        sampling_N: float64 >= 0, how often an image is drawn in its category; 0 = never.
        loss_N: float64 in [0, 1], weight of an image's loss.
        held_out_N: bool, images kept for the validation accuracy that ends the curriculum.
    """

    category_N: NDArray[np.int64]
    sampling_N: NDArray[np.float64]
    loss_N: NDArray[np.float64]
    held_out_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BagBatch:
    """Bags of one step: images_BG, category_B, and a seed of its own for augmentation."""

    images_BG: NDArray[np.int64]
    category_B: NDArray[np.int64]
    draw: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Bags through the network.

    Attributes:
        bag_BE: x_bar = sum of w(x) x over the bag's ROIs.
        weight_BM: float64, these weights.
        whole_BGE: features of the whole images.
    """

    bag_BE: Tensor
    weight_BM: NDArray[np.float64]
    whole_BGE: Tensor


class BagLearner:
    """Learns a `SomNet` from bags: what `loop.fit` calls. All state that lasts stands in the network.

    With a network without memory, one ROI and one image a bag this is image-level cross entropy.
    """

    def __init__(
        self,
        net: SomNet,
        rows: Rows,
        labels: LabelledImages,
        area_score_R: NDArray[np.float64],
        options: SomnetOptions,
        curriculum: Curriculum,
        seed: tuple[int, ...],
    ) -> None:
        self.net, self.rows, self.labels = net, rows, labels
        self.options, self.curriculum, self.seed = options, curriculum, seed
        self.num_categories = net.head.out_features
        self.num_rois = len(area_score_R)
        sigma_R = area_score_R if options.area_score else np.ones_like(area_score_R)
        self._sigma_M = np.tile(sigma_R, options.images_per_bag)
        self._initial_M = initial_weights(options.images_per_bag, self.num_rois)
        self._drawn_N = np.where(labels.held_out_N, 0.0, labels.sampling_N)
        used = np.bincount(labels.category_N[self._drawn_N > 0], minlength=self.num_categories)
        present = max(1, int((used > 0).sum()))
        self.bags_per_category = max(1, -(-int(used.sum()) // (present * options.images_per_bag)))
        self.short_categories = np.flatnonzero((used > 0) & (used < options.images_per_bag))
        self.empty_categories = np.flatnonzero(used == 0)

    # ------------------------------------------------------------ what the loop asks
    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, the same for each."""
        present = self.num_categories - len(self.empty_categories)
        return -(-present * self.bags_per_category // self.options.batch_bags)

    def batches(self, epoch: int) -> list[BagBatch]:
        """The epoch's bags; drawn from (seed, epoch) alone, so a resumed run draws the same."""
        plan = bags.draw_bags(
            self.labels.category_N,
            self._drawn_N,
            num_categories=self.num_categories,
            images_per_bag=self.options.images_per_bag,
            bags_per_category=self.bags_per_category,
            rng=np.random.default_rng([*self.seed, epoch]),
        )
        size = self.options.batch_bags
        return [
            BagBatch(
                plan.images_BG[start : start + size], plan.category_B[start : start + size],
                (*self.seed, epoch, start),
            )
            for start in range(0, len(plan.category_B), size)
        ]  # fmt: skip

    def percent(self, epoch: int) -> float | None:
        """Share p of ROIs kept in an epoch; None in the warm-up."""
        if epoch < self.options.warmup_epochs:
            return None
        return self.curriculum.percent(self._round(epoch))

    def start_epoch(self, epoch: int, batches: list[BagBatch]) -> None:
        """Put the keys on distinct bag features when the memory begins to learn."""
        memory = self.net.memory
        if memory is None or epoch != self._memory_starts:
            return
        enough, features = 2 * memory.num_slots, []
        with torch.no_grad():
            for batch in batches:
                features.append(self._look(batch, None).bag_BE)
                enough -= len(features[-1])
                if enough <= 0:
                    break
        pool_BD = torch.cat(features)
        rng = np.random.default_rng([*self.seed, epoch, len(pool_BD), 1])
        chosen_K = rng.choice(len(pool_BD), memory.num_slots, replace=len(pool_BD) < memory.num_slots)
        memory.set_keys(pool_BD[torch.from_numpy(chosen_K)])

    def loss(self, batch: BagBatch, epoch: int) -> tuple[Tensor, dict[str, float]]:
        """L = L_cls + beta * L_memory (+ the images' own loss, the head's penalty) of a step, and its parts.

        The memory moves in closed form after the optimiser's step, on the features of this step.
        """
        percent = self.percent(epoch)
        seen = self._look(batch, percent)
        bag_BE = seen.bag_BE
        target_B = torch.from_numpy(batch.category_B).to(bag_BE.device)
        classification = weighted_cross_entropy(
            self.net.head(bag_BE), target_B, self._loss_weights(batch, seen.weight_BM, bag_BE),
            normalised=self.options.normalised,
        )  # fmt: skip
        total = classification
        parts = {"classification": float(classification.detach())}
        if self.options.image_loss:
            images = self._image_loss(batch, seen.whole_BGE, target_B)
            parts["images"] = float(images.detach())
            total = total + self.options.image_loss * images
        if self.options.head_l2:
            total = total + 0.5 * self.options.head_l2 * self.net.head.weight.square().sum()
        memory = self.net.memory
        if memory is not None and epoch >= self._memory_starts:
            joint = self.options.memory_to_encoder and percent is not None
            remembered = memory.loss(bag_BE if joint else bag_BE.detach(), target_B)
            parts["memory"] = float(remembered.detach())
            total = total + self.options.beta * remembered
            self._last = (bag_BE.detach(), target_B)
        return total, parts

    def after_step(self, epoch: int) -> None:
        """Closed-form updates of the memory."""
        memory = self.net.memory
        if memory is not None and epoch >= self._memory_starts and not self.options.kmeans:
            memory.update(*self._last)

    def end_epoch(self, epoch: int, batches: list[BagBatch]) -> dict[str, Any]:
        """K-means where it stands for the memory; then what the history says of this epoch."""
        row: dict[str, Any] = {"percent": self.percent(epoch)}
        memory = self.net.memory
        if memory is not None and epoch >= self._memory_starts:
            if self.options.kmeans:
                self._fit_kmeans(batches, epoch)
            row["used_slots"] = int(memory.is_used_K().sum())
            row["usefulness"] = memory_counts.usefulness(memory.counts_CK.cpu().numpy())
        if self.labels.held_out_N.any():
            row["accuracy"] = self._accuracy()
        return row

    def is_over(self, epoch: int, history: list[dict[str, Any]]) -> bool:
        """The curriculum's stop rule, looked at when a round ends."""
        if self.net.memory is None or epoch < self.options.warmup_epochs or not self.labels.held_out_N.any():
            return False
        per_round = self.options.epochs_per_round
        if (epoch - self.options.warmup_epochs + 1) % per_round:
            return False
        ends = range(self.options.warmup_epochs + per_round - 1, epoch + 1, per_round)
        return self.curriculum.is_over(self._round(epoch), [history[end]["accuracy"] for end in ends])

    # ------------------------------------------------------------ parts
    @property
    def _memory_starts(self) -> int:
        return max(0, self.options.warmup_epochs - self.options.memory_epochs)

    def _round(self, epoch: int) -> int:
        return (epoch - self.options.warmup_epochs) // self.options.epochs_per_round

    def _look(self, batch: BagBatch, percent: float | None) -> _Seen:
        """What the network sees of the bags: in a round (`percent`) weighted ROIs, before it whole images."""
        num_bags, per_bag = batch.images_BG.shape
        rng = np.random.default_rng(batch.draw) if self.net.training else None
        inputs = self.rows.take(batch.images_BG.reshape(-1), rng)
        if percent is None or self.net.memory is None:
            # Proposals weigh nothing yet: only the whole images are looked at.
            whole_BGE = self.net.encoder(inputs, 1).reshape(num_bags, per_bag, -1)
            return _Seen(
                whole_BGE.mean(dim=1), np.repeat(self._initial_M[None, :], num_bags, axis=0), whole_BGE
            )
        rois_BGRE = self.net.encoder(inputs).reshape(num_bags, per_bag, self.num_rois, -1)
        rois_BME = rois_BGRE.flatten(1, 2)
        weight_BM = self._roi_weights(rois_BME.detach(), batch.category_B, percent)
        weights = torch.from_numpy(weight_BM).to(rois_BME)
        return _Seen(torch.einsum("bm,bme->be", weights, rois_BME), weight_BM, rois_BGRE[:, :, 0])

    def _image_loss(self, batch: BagBatch, whole_BGE: Tensor, target_B: Tensor) -> Tensor:
        """Weighted cross entropy of the bags' whole images, one by one, as at test time."""
        weight_M = torch.from_numpy(self.labels.loss_N[batch.images_BG].reshape(-1)).to(whole_BGE)
        target_M = target_B.repeat_interleave(batch.images_BG.shape[1])
        logits_MC = self.net.head(whole_BGE.flatten(0, 1))
        return weighted_cross_entropy(logits_MC, target_M, weight_M, normalised=self.options.normalised)

    def _roi_weights(
        self, rois_BME: Tensor, category_B: NDArray[np.int64], percent: float
    ) -> NDArray[np.float64]:
        memory = self.net.memory
        assert memory is not None
        d_CK, r_CK = (scores.cpu().numpy() for scores in memory.scores())
        score_CK = slot_scores(d_CK, r_CK, self.options.roi_score)
        winner_BM = memory.winners(rois_BME.flatten(0, 1)).reshape(rois_BME.shape[:2]).cpu().numpy()
        score_BM = score_CK[category_B[:, None], winner_BM] * self._sigma_M
        return select_rois(score_BM, percent, self._initial_M)

    def _loss_weights(self, batch: BagBatch, weight_BM: NDArray[np.float64], like: Tensor) -> Tensor:
        """Weight of a bag: its images' weights, each by the share of the bag that its ROIs hold."""
        share_BG = weight_BM.reshape(*batch.images_BG.shape, self.num_rois).sum(axis=2)
        return torch.from_numpy((share_BG * self.labels.loss_N[batch.images_BG]).sum(axis=1)).to(like)

    @torch.no_grad()
    def _fit_kmeans(self, batches: list[BagBatch], epoch: int) -> None:
        from sklearn.cluster import KMeans

        memory = self.net.memory
        assert memory is not None
        percent = self.percent(epoch)
        self.net.eval()
        features = torch.cat([self._look(batch, percent).bag_BE for batch in batches])
        self.net.train()
        unit_BE = nn.functional.normalize(features, dim=1)
        slots = min(memory.num_slots, len(torch.unique(unit_BE, dim=0)))
        state = int(np.random.default_rng([*self.seed, epoch, 2]).integers(2**31))
        means = KMeans(slots, n_init=1, random_state=state).fit(unit_BE.cpu().double().numpy())
        centres_KE = torch.from_numpy(means.cluster_centers_)
        memory.set_keys(centres_KE[torch.arange(memory.num_slots) % slots])
        category_B = torch.from_numpy(np.concatenate([batch.category_B for batch in batches]))
        memory.recount(memory.winners(unit_BE), category_B.to(unit_BE.device))

    @torch.no_grad()
    def _accuracy(self) -> float:
        """Share of held-out whole images whose most likely category is their label."""
        images = np.flatnonzero(self.labels.held_out_N)
        self.net.eval()
        hits = 0
        for start in range(0, len(images), EVALUATION_IMAGES):
            chunk = images[start : start + EVALUATION_IMAGES]
            found = self.net.classify(self.rows.take(chunk)).argmax(dim=1).cpu().numpy()
            hits += int((found == self.labels.category_N[chunk]).sum())
        self.net.train()
        return hits / len(images)


EVALUATION_IMAGES = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """What a trained network says of some images.

    Attributes:
        log_probability_NC: float64, natural log.
        slot_NR: int64, winner of each ROI; (N, 0) without memory.
        d_NR, r_NR: float64, the winner's scores under the image's label.
    """

    log_probability_NC: NDArray[np.float64]
    slot_NR: NDArray[np.int64]
    d_NR: NDArray[np.float64]
    r_NR: NDArray[np.float64]


@torch.no_grad()
def judge(net: SomNet, rows: Rows, images: NDArray[np.int64], category_N: NDArray[np.int64]) -> Judged:
    """Classify whole images and read the memory at all their ROIs, in chunks of fixed size.

    Args:
        images: indices into rows.
        category_N: their labels, in the same order.
    """
    net.eval()
    d_CK, r_CK = net.memory.scores() if net.memory is not None else (torch.zeros(0), torch.zeros(0))
    logs, slots, ds, rs = [], [], [], []
    for start in range(0, len(images), EVALUATION_IMAGES):
        chunk = images[start : start + EVALUATION_IMAGES]
        inputs = rows.take(chunk)
        if net.memory is None:
            logits = net.classify(inputs)
        else:
            rois_BRE = net.encoder(inputs)
            logits = net.head(rois_BRE[:, 0])
            slot_BR = net.memory.winners(rois_BRE.flatten(0, 1)).reshape(rois_BRE.shape[:2])
            label_B1 = torch.from_numpy(category_N[start : start + len(chunk)]).to(slot_BR.device)[:, None]
            slots.append(slot_BR.cpu().numpy())
            ds.append(d_CK[label_B1, slot_BR].cpu().numpy())
            rs.append(r_CK[label_B1, slot_BR].cpu().numpy())
        logs.append(torch.log_softmax(logits.double(), dim=1).cpu().numpy())
    none = np.zeros((len(images), 0))
    return Judged(
        np.concatenate(logs) if logs else np.zeros((0, net.head.out_features)),
        np.concatenate(slots) if slots else none.astype(np.int64),
        np.concatenate(ds) if ds else none,
        np.concatenate(rs) if rs else none,
    )
