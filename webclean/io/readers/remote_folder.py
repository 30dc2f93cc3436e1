"""A tree of folders on s3://, gs://, http(s):// or whatever else fsspec lists; the rules are those of local trees."""

from __future__ import annotations

import posixpath
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

from webclean.config import IngestConfig
from webclean.io import stores
from webclean.io.readers import folder
from webclean.io.readers.records import Found, Record

_WEB: Final = ("http", "https")


def names(url: str) -> list[str]:
    """Names of what lies directly in a remote folder, sorted; none where the store says there is no such folder.

    Raises:
        DataError: the store cannot be reached or refuses.
        DependencyMissingError, ConfigError: as `stores.open_store`.
    """
    filesystem, root = stores.open_store(url)
    return sorted(_name(entry) for entry in _children(filesystem, root))


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List a remote folder tree, objects in the order of their names; one listing a folder.

    What is hidden or a sidecar is counted in `found`, which also gets a stamp of every object: its size and
    what the store tells of its version.
    """
    filesystem, root = stores.open_store(path)
    top = _plain(filesystem, posixpath.basename(root.rstrip("/"))) or "images"
    yield from _walk(filesystem, root, "", top, found)


def _walk(filesystem: Any, folder_path: str, rel: str, top: str, found: Found) -> Iterator[Record]:
    for entry in sorted(_children(filesystem, folder_path), key=_name):
        name = _plain(filesystem, _name(entry))
        child = f"{rel}/{name}" if rel else name
        if (kind := folder.kind_of_other(name)) == folder.HIDDEN:
            found.skip(kind)
        elif entry["type"] == "directory":
            yield from _walk(filesystem, entry["name"], child, top, found)
        elif kind is not None:
            found.skip(kind)
        else:
            found.stamp(stores.version(entry))
            category = rel or top
            yield Record(
                source_key=child,
                uri=filesystem.unstrip_protocol(entry["name"]),
                category=category,
                query=category,
                file_name=name,
            )


def _children(filesystem: Any, path: str) -> list[dict[str, Any]]:
    """What lies directly below; without the object that some stores keep for the folder itself."""
    with stores.said(filesystem.unstrip_protocol(path)):
        try:
            listed = filesystem.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return [entry for entry in listed if entry["name"].rstrip("/") != path.rstrip("/") and _name(entry)]


def _name(entry: dict[str, Any]) -> str:
    return posixpath.basename(str(entry["name"]).split("?", 1)[0].rstrip("/"))


def _plain(filesystem: Any, name: str) -> str:
    """A name as a person reads it: a web server lists it percent-encoded."""
    protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol
    return urllib.parse.unquote(name) if set(protocols) & set(_WEB) else name
