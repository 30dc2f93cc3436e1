"""What a file's name says before a byte of it is read: whether it is an image, and which category."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from webclean.io.readers import manifest
from webclean.io.readers.folder import HIDDEN, SIDECARS, kind_of_other
from webclean.io.writers.names import format_of

_ENDINGS_NOT_DECODED: Final = (".heic", ".heif", ".jxl", ".svg", ".psd")
_MAC_FOLDER: Final = "__MACOSX"
MANIFESTS: Final = "manifests inside an archive, which are read only where it is unpacked"


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's own, or hidden."""
    return kind_of_other(name) == HIDDEN


def is_sidecar(name: str) -> bool:
    """Whether a file of this name is a table or text beside the images."""
    return kind_of_other(name) == SIDECARS


def is_image(name: str) -> bool:
    """Whether a file of this name calls itself an image."""
    return format_of(name) is not None or name.lower().endswith(_ENDINGS_NOT_DECODED)


def parts(member: str) -> tuple[str, ...]:
    """Folders and name of an archive's member, without what would lead out of the archive (`/`, `..`)."""
    return tuple(part for part in member.split("/") if part not in ("", ".", ".."))


def left_out(path: Sequence[str]) -> str | None:
    """Why a member of these `parts` is no image: the kind to count it under, None where it may be one."""
    if _MAC_FOLDER in path[:-1]:
        return _MAC_FOLDER
    if not path or any(is_hidden(part) for part in path):
        return HIDDEN
    return MANIFESTS if manifest.among([path[-1]]) else kind_of_other(path[-1])


class Tree:
    """The categories of an archive's images: their folders, below the one folder that holds all of them."""

    def __init__(self, images: Iterable[Sequence[str]]) -> None:
        """Look at the `parts` of all images."""
        firsts: set[str | None] = set()
        self.is_flat = True
        for path in images:
            firsts.add(path[0] if len(path) > 1 else None)
            self.is_flat = self.is_flat and len(path) < 2
        self._top = next(iter(firsts)) if len(firsts) == 1 else None

    def category(self, path: Sequence[str]) -> str | None:
        """The category of the image of these `parts`; None where it lies in no folder."""
        folders = path[:-1]
        if not folders:
            return None
        below = folders[1:] if self._top is not None else folders
        return "/".join(below or folders)
