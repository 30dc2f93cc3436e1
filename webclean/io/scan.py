"""Read and inspect a few files: what a worker process does in ingest. Imports no more than it needs."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from webclean.io.decode import Inspection, Limits, inspect
from webclean.io.readers import uris

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def inspect_all(
    locations: Sequence[str | None], *, root: str | None, limits: Limits
) -> list[Inspection | None]:
    """Inspect the images at these uris, in order.

    Args:
        locations: uris; None for a row that is not to be read, which gives None.
        root: real path of the folder that nothing may be read outside of, None for no such limit.
        limits: bytes, pixels and time of one image.
    """
    return [None if uri is None else inspect_at(uri, root=root, limits=limits) for uri in locations]


def inspect_at(uri: str, *, root: str | None, limits: Limits) -> Inspection:
    """Inspect the image at one uri; never raises for anything about the file."""
    path = uris.local_path(uri)
    if root is not None and path is not None and not is_inside(os.fspath(path), root):
        return Inspection(status="unreadable", error="it lies outside SOURCE; --allow-outside reads it")
    try:
        data = _read(uri, limits.max_bytes)
    except uris.TooManyBytesError as error:
        return Inspection(status="too_large", error=str(error.strerror), nbytes=error.nbytes)
    except OSError as error:
        status = "missing" if error.errno in _ABSENT or isinstance(error, FileNotFoundError) else "unreadable"
        return Inspection(status=status, error=f"{type(error).__name__}: {error.strerror or error}")
    except ValueError as error:  # a null character in a path
        return Inspection(status="unreadable", error=f"{type(error).__name__}: {error}")
    return inspect(data, limits)


def is_inside(path: str, root: str) -> bool:
    """Whether a path, its links followed, lies in a folder that is given by its real path."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return True  # reading it says what is wrong
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _read(uri: str, max_bytes: int) -> bytes:
    if not uris.is_remote(uri):
        return uris.read_bytes(uri, max_bytes=max_bytes)
    try:
        return uris.read_bytes(uri, max_bytes=max_bytes)
    except OSError:
        raise
    except Exception as error:  # each remote filesystem has its own family of errors
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error
