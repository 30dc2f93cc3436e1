"""Files and folders wherever SOURCE lies: on this machine, or on whatever fsspec lists.

A place is a local path or a URL. What is in a remote folder is asked once for each listing of SOURCE, what is in a folder
of this machine as often as it is needed, save while the layout of SOURCE is found out.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from webclean.errors import DataError
from webclean.io import stores
from webclean.io.readers import folder, uris

_WEB: Final = ("http", "https")
_AT_ONCE: Final = 4 << 20
_MOST_REMEMBERED: Final = 200_000  # entries: some 100 MiB


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies directly in a folder.

    Attributes:
        name: as a person reads it.
        path: the place.
        is_folder: what it is.
        version: what a store tells of its version, empty on this machine.
    """

    name: str
    path: str
    is_folder: bool
    version: str = ""


_remembered: dict[str, list[Entry]] = {}
_of_this_machine: dict[str, list[Entry]] | None = None


def forget() -> None:
    """Ask the stores again from now on."""
    _remembered.clear()


@contextlib.contextmanager
def asked_once() -> Iterator[None]:
    """Meanwhile what is in a folder of this machine is asked once: each layout looks at the same few folders."""
    global _of_this_machine
    _of_this_machine = {}
    try:
        yield
    finally:
        _of_this_machine = None


def entries(place: str) -> list[Entry]:
    """What lies directly in a folder, by name; nothing where it is no folder.

    Raises:
        DataError: a store cannot be reached or refuses.
        DependencyMissingError, ConfigError: as `stores.open_store`.
    """
    if uris.is_remote(place):
        return _remembering(_remembered, place.rstrip("/"), lambda: _listed(place))
    if _of_this_machine is None:
        return _by_name(_scanned(place))
    return _remembering(_of_this_machine, place, lambda: _scanned(place))


def _remembering(
    remembered: dict[str, list[Entry]], key: str, ask: Callable[[], Iterable[Entry]]
) -> list[Entry]:
    if key in remembered:
        return remembered[key]
    found = _by_name(ask())
    if sum(map(len, remembered.values())) + len(found) <= _MOST_REMEMBERED:
        remembered[key] = found
    return found


def _by_name(found: Iterable[Entry]) -> list[Entry]:
    return sorted(found, key=lambda entry: entry.name)


def _scanned(path: str) -> list[Entry]:
    try:
        with os.scandir(path) as scan:
            return [Entry(entry.name, entry.path, entry.is_dir()) for entry in scan]
    except OSError:
        return []


def _listed(url: str) -> Iterator[Entry]:
    filesystem, root = stores.open_store(url)
    is_web = _is_web(url)
    with stores.said(url):
        try:
            filesystem.invalidate_cache(root)
            listed = filesystem.ls(root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
    for entry in listed:
        path = str(entry["name"])
        plain = (path.split("?", 1)[0] if is_web else path).rstrip("/")
        name = posixpath.basename(plain)
        # Some stores keep an object for the folder itself, and some servers link to it in another order.
        if name and plain != root.rstrip("/"):
            name = urllib.parse.unquote(name) if is_web else name
            # The same place is spelled the same, whether a list of images or the listing of a folder names it.
            here = path if is_web and "?" in path else join(url, name)
            yield Entry(name, here, entry["type"] == "directory", stores.version(entry))


def _is_web(url: str) -> bool:
    return url.partition("://")[0].lower() in _WEB


def names(place: str) -> list[str]:
    """Names of what lies directly in a folder, sorted."""
    return [entry.name for entry in entries(place)]


def has_file(place: str, *parts: str) -> bool:
    """Whether a folder has a file of this name, or in this folder of it."""
    if not uris.is_remote(place):
        return os.path.isfile(os.path.join(place, *parts))
    *folders, name = "/".join(part for part in parts if part).split("/")
    for part in folders:  # not asked for at once: a web server may refuse where there is nothing
        if not has_folder(place, part):
            return False
        place = join(place, part)
    return any(entry.name == name and not entry.is_folder for entry in entries(place))


def has_folder(place: str, name: str) -> bool:
    """Whether a folder has a folder of this name."""
    if not uris.is_remote(place):
        return os.path.isdir(os.path.join(place, name))
    return not name or any(entry.name == name and entry.is_folder for entry in entries(place))


def is_file(place: str) -> bool:
    """Whether a place is a file; of a remote one its folder has to list it."""
    return has_file(parent(place), basename(place)) if uris.is_remote(place) else os.path.isfile(place)


def is_folder(place: str) -> bool:
    """Whether a place is a folder; a remote one has to hold something."""
    return bool(entries(place)) if uris.is_remote(place) else os.path.isdir(place)


def join(place: str, *parts: str) -> str:
    """The place of a path that starts from a folder; names are as a person reads them."""
    if not uris.is_remote(place):
        return os.path.join(place, *filter(None, parts))
    rest = posixpath.join("", *parts)
    return f"{place.rstrip('/')}/{urllib.parse.quote(rest) if _is_web(place) else rest}" if rest else place


def parent(place: str) -> str:
    """The folder that a place lies in."""
    return (
        posixpath.dirname(place.rstrip("/"))
        if uris.is_remote(place)
        else os.path.dirname(os.path.abspath(place))
    )


def basename(place: str) -> str:
    """The name of a place, as a person reads it."""
    if not uris.is_remote(place):
        return uris.text_of_path(os.path.basename(os.path.abspath(place)))
    if not _is_web(place):
        return posixpath.basename(place.partition("://")[2].rstrip("/"))
    return urllib.parse.unquote(posixpath.basename(urllib.parse.urlsplit(place).path.rstrip("/")))


def open_binary(place: str) -> BinaryIO:
    """A file, open for reading.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
    """
    return uris.open_binary(uris.of_source(place))


def fetch(place: str) -> BinaryIO:
    """A file that is read from its first byte to its last, open for reading; of a remote one a copy.

    Raises:
        DataError: a remote file is not there, or its store refuses.
        FileNotFoundError, OSError: a local one cannot be read.
    """
    if not uris.is_remote(place):
        return open_binary(place)
    filesystem, path = stores.open_store(place)
    with contextlib.ExitStack() as opened:
        copy = opened.enter_context(tempfile.TemporaryFile())
        try:
            # A web server is asked once for the whole: not all of them give parts.
            how = {"block_size": 0} if _is_web(place) else {}
            with stores.said(place), filesystem.open(path, "rb", **how) as file:
                shutil.copyfileobj(file, copy, _AT_ONCE)
        except FileNotFoundError as error:
            raise DataError(f"there is no {place}", hint="check the address") from error
        copy.seek(0)
        opened.pop_all()
        return cast(BinaryIO, copy)


def read(place: str, *, max_bytes: int | None = None) -> bytes:
    """A file's bytes.

    Raises:
        TooManyBytesError: more than `max_bytes`.
        FileNotFoundError, OSError: it cannot be read.
    """
    if uris.is_remote(place):
        return uris.read_guarded(place, max_bytes=max_bytes)
    return uris.read_file(place, max_bytes=max_bytes)


def walk(place: str) -> Iterator[tuple[str, str, list[str]]]:
    """A folder and those below it, as `folder.walk` gives those of this machine."""
    if not uris.is_remote(place):
        yield from folder.walk(place)
        return
    stack = [(place, "")]
    while stack:
        top, rel = stack.pop()
        found = entries(top)
        yield top, rel, [entry.name for entry in found if not entry.is_folder]
        inner = [entry for entry in found if entry.is_folder and not entry.name.startswith(".")]
        stack += [(entry.path, posixpath.join(rel, entry.name)) for entry in reversed(inner)]
