"""Images into an export, byte for byte: copied, linked, or handed over for embedding."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from webclean.io.checksums import file_sha256
from webclean.io.readers import uris

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_HARD_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)
_CHANGED: Final = "its bytes have changed since ingest"
NO_FILE: Final = "it lies in an archive, a table or a remote store: only a file of its own can be linked"


@dataclass(frozen=True, slots=True)
class Placement:
    """One image: where its bytes are, what they hash to, where they go."""

    uri: str
    sha256: str
    target: str
    how: str  # copy, hardlink, symlink; none: it stays where it is and is only checked


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image's bytes, or why there are none."""

    data: bytes | None
    problem: str | None


def place_all(tasks: Sequence[Placement]) -> list[str | None]:
    """Put images in their places, or see that they are in theirs; for each None, or why it could not be.

    The bytes are hashed on the way: a file that is no longer the one that was ingested must not get
    into a data set under the old verdict.

    Raises:
        OSError: no space is left.
    """
    return [_place(task) for task in tasks]


def load_all(tasks: Sequence[tuple[str, str]]) -> list[Loaded]:
    """The bytes of images given as (uri, sha256)."""
    return [_load(uri, sha256) for uri, sha256 in tasks]


def _load(uri: str, sha256: str) -> Loaded:
    try:
        data = uris.read_bytes(uri)
    except OSError as error:
        return Loaded(None, _words(error))
    if hashlib.sha256(data).hexdigest() != sha256:
        return Loaded(None, _CHANGED)
    return Loaded(data, None)


def _place(task: Placement) -> str | None:
    if task.how == "copy":
        loaded = _load(task.uri, task.sha256)
        if loaded.data is not None:
            Path(task.target).write_bytes(loaded.data)
        return loaded.problem
    source = uris.local_path(task.uri)
    if source is None:
        return None if task.how == "none" else NO_FILE
    real = os.path.realpath(source)
    try:
        if file_sha256(real) != task.sha256:
            return _CHANGED
        if task.how == "hardlink":
            os.link(real, task.target)
        elif task.how == "symlink":
            os.symlink(real, task.target)
    except OSError as error:
        if error.errno in _FULL:
            raise
        if task.how == "hardlink" and error.errno in _NO_HARD_LINK:
            return "no hard link is possible between its file system and that of OUT"
        return _words(error)
    return None


def _words(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror or error}"
