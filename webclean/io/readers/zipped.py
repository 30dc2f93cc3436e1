"""A zip of a tree of folders: every file is a record, its folder the category; nothing is unpacked."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from typing import Final

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError
from webclean.io import stores
from webclean.io.readers import names, uris
from webclean.io.readers.archives import Zip
from webclean.io.readers.records import Found, Record

ENDING: Final = ".zip"


def find(path: str) -> str | None:
    """The path, where it is a zip."""
    return path if path.lower().endswith(ENDING) and os.path.isfile(path) else None


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the files of a zip as `folder.read` lists those of a folder, in the zip's order.

    The one folder that holds all images is no part of their categories. Hidden files, tables and texts,
    links, and what macOS adds are counted in `found`. An encrypted member is listed; reading it says so.

    Raises:
        ArtifactInvalidError: it is no zip, or its list of members is broken or cut off.
        DataError: a store cannot be reached or refuses.
    """
    is_remote = uris.is_remote(path)
    if is_remote:
        found.stamp(stores.version_of(path))
    found.tables.append(path)
    base = posixpath.basename(path) if is_remote else uris.text_of_path(os.path.basename(path))
    images = {}
    with stores.said(path) if is_remote else contextlib.nullcontext(), _open(path) as opened:
        for name in opened.names(found.skip):
            path_in_zip = names.parts(opened.with_slashes(name))
            if (kind := names.left_out(path_in_zip)) is not None:
                found.skip(kind)
            else:
                images[name] = path_in_zip
    tree = names.Tree(images.values())
    stem = os.path.splitext(base)[0]
    for name, path_in_zip in images.items():
        category = tree.category(path_in_zip) or stem
        yield Record(
            source_key=f"{base}#{name}",
            uri=uris.of_member(uris.of_source(path), name),
            category=category,
            query=category,
            file_name=path_in_zip[-1],
        )


def _open(path: str) -> Zip:
    try:
        return Zip(uris.open_binary(uris.of_source(path)))
    except OSError as error:
        raise ArtifactInvalidError(
            f"{path} {error.strerror or error}",
            hint="fetch or pack it again; `zip -FF` mends one that was cut off",
        ) from error
