"""From settings to networks: what learns from what, how, and how it is stored.

# N images, R ROIs of an image, C categories, E feature dims
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from webclean.config import TrainConfig, from_mapping
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.io import checkpoints
from webclean.io.run_dir import RunDir
from webclean.nn import backbones, small
from webclean.nn.backbones import Backbone, BackboneSpec
from webclean.nn.loop import LoopOptions
from webclean.nn.memory import MemoryOptions, SelfOrganizingMemory
from webclean.nn.plain import plain_net, plain_options
from webclean.nn.roi_features import CachedRois, LiveRois, Reducer
from webclean.nn.somnet import BagLearner, LabelledImages, Rows, SomNet, SomnetOptions
from webclean.nn.threads import default_device
from webclean.ops import boxes, proposals
from webclean.ops.roi_weights import Curriculum

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
_ROI_SCALE = 10 / 7  # 224 -> 320 pixels: a map of 10 x 10 cells, in which a window of 0.3 spans three
_SMALL_SIDE = 64


@dataclass(frozen=True)
class Recipe:
    """Settings with every default decided.

    Attributes:
        config: as the user gave it.
        spec: the backbone.
        is_frozen: whether only the head (and the memory) learns.
        side: of the square input, pixels.
        rois_R4: xyxy shares, row 0 the whole image (the baseline looks at that row only).
        epochs, learning_rate, num_folds, threads: decided.
    """

    config: TrainConfig
    spec: BackboneSpec
    is_frozen: bool
    side: int
    rois_R4: NDArray[np.float64]
    epochs: int
    learning_rate: float
    num_folds: int
    threads: int

    @property
    def has_memory(self) -> bool:
        """False for the baseline."""
        return self.config.method == "somnet"

    def summary(self) -> dict[str, Any]:
        """What is worth telling in the stage's result."""
        return {
            "method": self.config.method, "backbone": self.spec.name, "weights": self.spec.source,
            "weights_sha256": self.spec.sha256, "tune": "head" if self.is_frozen else "all",
            "image_side": self.side, "rois": len(self.rois_R4), "epochs": self.epochs,
            "learning_rate": self.learning_rate, "folds": self.num_folds,
        }  # fmt: skip


def decide(config: TrainConfig, spec: BackboneSpec, median_side: float, seed: int) -> Recipe:
    """Fill in what the settings leave open.

    Args:
        config: the settings.
        spec: the resolved backbone.
        median_side: median of the images' shorter sides, pixels.
        seed: of random proposals.

    Raises:
        ConfigError: only a head shall learn, on a network without weights; or a side that the small network
            cannot halve.
    """
    if config.tune == "head" and not spec.has_weights:
        raise ConfigError(
            f"[train] tune head needs pretrained weights, and {spec}",
            hint="name weights with --weights, or --tune all to learn the backbone from scratch",
        )
    if spec.name == backbones.SMALL and config.image_side is not None and config.image_side % small.STRIDE:
        below = config.image_side // small.STRIDE * small.STRIDE
        raise ConfigError(
            f"[train] image_side must be a multiple of {small.STRIDE} for the backbone {backbones.SMALL};"
            f" got {config.image_side}",
            hint=f"for example --image-side {below} or {below + small.STRIDE}, or another --backbone",
        )
    automatic = spec.has_weights and default_device().type == "cpu"
    frozen = {"head": True, "all": False, "auto": automatic}[config.tune]
    side = config.image_side
    if side is None:
        own = _SMALL_SIDE if spec.name == backbones.SMALL else backbones.build(spec, pretrained=False).size
        # 32 is the stride of nearly all networks.
        larger = int(own * _ROI_SCALE // 32 * 32)
        side = larger if frozen and median_side >= larger / 2 and config.proposals != "none" else own
    if config.proposals == "none":
        rois_R4 = proposals.whole_image()
    elif config.proposals == "random":
        rois_R4 = proposals.random_rois(config.num_proposals, np.random.default_rng(seed))
    else:
        rois_R4 = proposals.grid_rois()
    scratch = not spec.has_weights
    return Recipe(
        config, spec, frozen, side, rois_R4,
        epochs=config.epochs or (8 if frozen else 15),
        learning_rate=config.learning_rate or (5e-3 if frozen else 2e-3 if scratch else 2e-4),
        num_folds=(5 if frozen else 0) if config.folds is None else config.folds,
        threads=config.threads or (1 if frozen else 2),
    )  # fmt: skip


def build_net(recipe: Recipe, num_categories: int, dim: int, backbone: Backbone | None) -> SomNet:
    """A network of the recipe.

    Args:
        dim: feature dims that reach the head.
        backbone: what learns; None where it is frozen and its features are cached.
    """
    config = recipe.config
    encoder = CachedRois() if backbone is None else LiveRois(backbone.module, dim, recipe.rois_R4)
    if not recipe.has_memory:
        return plain_net(encoder, dim, num_categories)
    options = MemoryOptions(
        side=config.memory_side,
        radius=config.memory_radius,
        key_update="kmeans" if config.cluster == "kmeans" else config.key_update,
        value_update="counts" if config.cluster == "kmeans" else config.value_update,
        decay=config.memory_decay,
    )
    return SomNet(encoder, dim, num_categories, SelfOrganizingMemory(num_categories, dim, options))


def build_learner(
    recipe: Recipe, net: SomNet, rows: Rows, labels: LabelledImages, seed: tuple[int, ...]
) -> BagLearner:
    """The learner of the recipe's method."""
    config = recipe.config
    options = SomnetOptions(
        images_per_bag=config.images_per_bag,
        batch_bags=max(1, config.batch_images // config.images_per_bag),
        roi_score=config.roi_score,
        area_score=config.area_score,
        beta=config.memory_weight,
        image_loss=config.image_loss,
        memory_to_encoder=config.memory_to_backbone and not recipe.is_frozen,
        warmup_epochs=config.warmup_epochs
        if recipe.is_frozen
        else max(config.warmup_epochs, recipe.epochs // 3),
        # A frozen encoder's features stand from the start; one that learns must have learnt something first.
        memory_epochs=config.warmup_epochs if recipe.is_frozen else 1,
        epochs_per_round=config.epochs_per_round,
        head_l2=config.head_penalty if recipe.is_frozen else 0.0,
        normalised=config.normalised_loss,
        kmeans=config.cluster == "kmeans",
    )
    curriculum = Curriculum(config.keep_start, config.keep_step, config.keep_last, config.stop_above)
    area_R = boxes.area_scores(recipe.rois_R4)
    if not recipe.has_memory:
        options, area_R = plain_options(options), area_R[:1]
    return BagLearner(net, rows, labels, area_R, options, curriculum, seed)


def loop_options(recipe: Recipe) -> LoopOptions:
    """How the loop makes its steps."""
    return LoopOptions(
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        memory_rate=recipe.config.memory_rate,
        weight_decay=0.0 if recipe.is_frozen else recipe.config.weight_decay,
        schedule=recipe.config.schedule,
        checkpoint_epochs=recipe.config.checkpoint_epochs,
    )


# ---------------------------------------------------------------- stored models
class TrainedModel:
    """A trained model that classifies squares of pixels: what `predict` and `evaluate` use.

    Attributes:
        names: categories, index = column of the probabilities.
        side: of the square that an image must become (`io.pixels`, squashed), pixels.
    """

    def __init__(
        self, backbone: Backbone, net: SomNet, reducer: Reducer | None, names: list[str], side: int
    ) -> None:
        self._backbone, self._net, self._reducer = backbone, net, reducer
        self.names, self.side = names, side

    @torch.inference_mode()
    def log_probabilities(self, squares_NSSC: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Natural log of the category probabilities, float64 (N, C), of uint8 squares (N, S, S, 3)."""
        device = next(self._net.head.parameters()).device
        inputs = self._backbone.normalize(torch.from_numpy(squares_NSSC).to(device))
        if self._reducer is None:
            logits = self._net.classify(inputs)
        else:
            # As in training: half floats before and after the projection.
            whole_ND = self._backbone.module(inputs)[0].mean(dim=(2, 3)).half().float()
            logits = self._net.head(self._reducer(whole_ND).half().float())
        found: NDArray[np.float64] = torch.log_softmax(logits.double(), dim=1).cpu().numpy()
        return found


def save_model(
    run: RunDir, folder: str, recipe: Recipe, net: SomNet, reducer: Reducer | None, names: list[str]
) -> None:
    """Write model.safetensors and config.json: all that `load_model` needs but a frozen backbone's own weights."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    if reducer is not None:
        tensors |= {f"reducer.{name}": value for name, value in reducer.state_dict().items()}
    checkpoints.save_weights(run, f"{folder}/{MODEL_FILE}", tensors)
    run.write_json(
        f"{folder}/{CONFIG_FILE}",
        {
            "categories": names, "dim": net.head.in_features, "rois": recipe.rois_R4.tolist(),
            "settings": recipe.config.fingerprint_fields(), "side": recipe.side, "is_frozen": recipe.is_frozen,
            "epochs": recipe.epochs, "learning_rate": recipe.learning_rate, "folds": recipe.num_folds,
            "spec": {key: value for key, value in asdict(recipe.spec).items() if key != "file"},
        },
    )  # fmt: skip


def load_model(run: RunDir, folder: str) -> TrainedModel:
    """Read a model back, on the device that is there.

    Raises:
        ArtifactMissingError: no such model.
        ArtifactInvalidError: the frozen backbone's weights on this machine are others than in training.
        DependencyMissingError: the backbone cannot be had.
    """
    stored = run.read_json(f"{folder}/{CONFIG_FILE}")
    tensors = checkpoints.load_weights(run, f"{folder}/{MODEL_FILE}")
    config = cast(TrainConfig, from_mapping(TrainConfig, stored["settings"]))
    frozen = bool(stored["is_frozen"])
    if frozen:
        spec = backbones.resolve(stored["spec"]["name"], config.weights)
        if spec.sha256 != stored["spec"]["sha256"]:
            raise ArtifactInvalidError(
                f"{folder} was trained on other weights of {spec.name}",
                context=f"SHA-256 {spec.sha256} here, {stored['spec']['sha256']} there",
            )
    else:
        spec = BackboneSpec(**stored["spec"])
    backbone = backbones.build(spec, fused=frozen, pretrained=frozen)
    recipe = Recipe(
        config, spec, frozen, stored["side"], np.array(stored["rois"]), stored["epochs"],
        stored["learning_rate"], stored["folds"], threads=1,
    )  # fmt: skip
    names = [str(name) for name in stored["categories"]]
    net = build_net(recipe, len(names), stored["dim"], None if frozen else backbone)
    net.load_state_dict(_under("net.", tensors))
    reducer: Reducer | None = None
    if frozen:
        values = _under("reducer.", tensors)
        reducer = Reducer(*values["basis_DE"].shape)
        reducer.load_state_dict(values)
    device = default_device()
    for module in (backbone.module, net, reducer):
        if isinstance(module, nn.Module):
            module.eval().to(device)
    return TrainedModel(backbone, net, reducer, names, recipe.side)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
