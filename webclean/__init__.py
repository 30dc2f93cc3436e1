"""webclean: turn a raw web crawl of images into a data set that is fit to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webclean.data import load_manifest, weighted_loss

__all__ = ["__version__", "load_manifest", "weighted_loss"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("load_manifest", "weighted_loss"):
        from webclean import data

        return getattr(data, name)
    raise AttributeError(f"module 'webclean' has no attribute {name!r}")
