"""Read and inspect a few files: what a worker process does in ingest. Imports no more than it needs."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

from webclean.io.decode import Inspection, Limits, Remembered, inspect_each
from webclean.io.readers import uris

_READ_TOGETHER = 8  # a store answers many as soon as one; no more, since each may be as large as the limit
_REMEMBERED = 4096  # contents of which a worker process knows what it found: 6 MB
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Known:
    """An image whose bytes were inspected before, and are only decoded again if they are others now."""

    uri: str
    inspection: Inspection


def inspect_all(
    locations: Sequence[str | Known | None], *, root: str | None, limits: Limits
) -> list[Inspection | None]:
    """Inspect the images at these uris, in order; a content that this process met not long ago is not decoded again.

    Args:
        locations: uris, or what is known of them; None for a row that is not to be read, which gives None.
        root: real path of the folder that nothing may be read outside of, None for no such limit.
        limits: bytes, pixels and time of one image.
    """
    files = _contents([one for one in locations if one is not None], root, limits)
    found = iter(inspect_each(files, limits, _remembered(limits)))
    return [None if one is None else next(found) for one in locations]


@lru_cache(maxsize=1)
def _remembered(limits: Limits) -> Remembered:
    """What this process found under these limits: a crawl brings many a content more than once."""
    return Remembered(_REMEMBERED)


def _contents(
    locations: Sequence[str | Known], root: str | None, limits: Limits
) -> Iterator[bytes | Inspection]:
    for start in range(0, len(locations), _READ_TOGETHER):
        some = locations[start : start + _READ_TOGETHER]
        paths = [one.uri if isinstance(one, Known) else one for one in some]
        for one, uri, read in zip(some, paths, _reads(paths, limits.max_bytes), strict=True):
            yield _content(uri, read, root, one.inspection if isinstance(one, Known) else None)


def _reads(locations: Sequence[str], max_bytes: int) -> list[Callable[[], bytes]]:
    """How the bytes of each are got; what lies in a store is on its way already, all at once."""
    read = partial(uris.read_guarded, max_bytes=max_bytes)
    waiting: dict[str, Future[bytes]] = {}
    remote = {uri for uri in locations if uris.is_remote(uri)}
    if remote:
        with ThreadPoolExecutor(len(remote)) as pool:
            waiting = {uri: pool.submit(read, uri) for uri in remote}
    return [waiting[uri].result if uri in waiting else partial(read, uri) for uri in locations]


def _content(
    uri: str, read: Callable[[], bytes], root: str | None, known: Inspection | None
) -> bytes | Inspection:
    """The bytes at one uri, or what is known of them, or is to be said of a file that cannot be read."""
    path = uris.local_path(uri)
    if root is not None and path is not None and not is_inside(os.fspath(path), root):
        return Inspection(status="unreadable", error="it lies outside SOURCE; --allow-outside reads it")
    try:
        data = read()
    except uris.TooManyBytesError as error:
        return Inspection(status="too_large", error=str(error.strerror), nbytes=error.nbytes)
    except OSError as error:
        status = "missing" if error.errno in _ABSENT or isinstance(error, FileNotFoundError) else "unreadable"
        return Inspection(status=status, error=f"{type(error).__name__}: {error.strerror or error}")
    except ValueError as error:  # a null character in a path
        return Inspection(status="unreadable", error=f"{type(error).__name__}: {error}")
    if known is not None and hashlib.sha256(data).hexdigest() == known.sha256:
        return known
    return data


def is_inside(path: str, root: str) -> bool:
    """Whether a path, its links followed, lies in a folder that is given by its real path."""
    folder, name = os.path.split(path)
    try:
        is_plain = name not in ("", os.curdir, os.pardir) and not os.path.islink(path)
        real = os.path.join(_real_folder(folder), name) if is_plain else os.path.realpath(path)
    except (OSError, ValueError):
        return True  # reading it says what is wrong
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=1024)
def _real_folder(path: str) -> str:
    """A folder's path, links followed: asked once, since each of its parts has to be looked at."""
    return os.path.realpath(path)
