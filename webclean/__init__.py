"""webclean: turn a raw web crawl of images into a data set that is fit to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webclean.data import load_manifest

__all__ = ["__version__", "load_manifest"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_manifest":
        from webclean.data import load_manifest

        return load_manifest
    raise AttributeError(f"module 'webclean' has no attribute {name!r}")
