"""File names for an export: words of a crawl become names that no file system and no shell trips over."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_BYTES: Final = 120
"""Longest name in UTF-8 bytes; file systems allow 255, so a number and an ending still fit."""

_FORBIDDEN: Final = re.compile(r'[/\\:*?"<>|]')
_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,5}")
_WINDOWS: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

# Endings by Pillow's format name, the usual one first. A Multi-Picture file is a JPEG to every reader.
_ENDINGS: Final[dict[str, tuple[str, ...]]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "ICO": (".ico",),
    "TGA": (".tga",),
}


def safe_name(text: str) -> str:
    """A name for one file or folder: printable, without path separators, at most `MAX_BYTES` long.

    Never empty, never `.` or `..`, never hidden, never an option to a command, and no device name of
    Windows; names that need none of this stay as they are.
    """
    name = unicodedata.normalize("NFC", text)
    name = "".join(c if c.isprintable() else "_" for c in name)
    name = _FORBIDDEN.sub("_", name).strip(" ").rstrip(".")
    if name[:1] in (".", "-", "~"):
        name = "_" + name[1:]
    if _WINDOWS.fullmatch(name):
        name = "_" + name
    name = name.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return name or "_"


def split_ending(file_name: str) -> tuple[str, str]:
    """Stem and ending; an ending is a dot and one to five letters or digits."""
    stem, dot, last = file_name.rpartition(".")
    if stem and _ENDING.fullmatch(dot + last):
        return stem, dot + last
    return file_name, ""


def ending_for(format_name: str | None, file_name: str) -> str:
    """The ending that tells what the bytes are: the file's own where it is right, else the format's usual one."""
    own = split_ending(file_name)[1]
    if format_name is None:
        return own
    usual = _ENDINGS.get(format_name, ("." + re.sub(r"[^a-z0-9]", "", format_name.lower()),))
    return own if own.lower() in usual else usual[0]


def format_of(file_name: str) -> str | None:
    """Pillow's name of the format that a file's ending says, None for other endings."""
    own = split_ending(file_name)[1].lower()
    return next((name for name, endings in _ENDINGS.items() if own in endings), None)


class UniqueNames:
    """Gives each request in one folder its own name; names that differ only in case count as equal."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_key(name) for name in taken}

    def take(self, stem: str, ending: str, mark: str) -> str:
        """`stem` + `ending`, or `stem-mark` + `ending`, then `stem-mark-2`, ..., whichever is free first."""
        candidate, number = stem + ending, 1
        while _key(candidate) in self._taken:
            candidate = f"{stem}-{mark}{'' if number == 1 else f'-{number}'}{ending}"
            number += 1
        self._taken.add(_key(candidate))
        return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
