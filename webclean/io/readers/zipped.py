"""A zip of a tree of folders, or a folder of such zips: every file is a record, its folder the category; nothing is unpacked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError
from webclean.io import scan, stores
from webclean.io.readers import names, places, uris
from webclean.io.readers.archives import Zip
from webclean.io.readers.folder import HIDDEN, SIDECARS
from webclean.io.readers.records import Found, Record

ENDING: Final = ".zip"


def find(path: str) -> str | None:
    """The path, where it is a zip or a folder of nothing but zips and the texts beside them."""
    if _is_zip(path):
        return path if uris.is_remote(path) or os.path.isfile(path) else None
    found = [entry for entry in places.entries(path) if not names.is_hidden(entry.name)]
    zips = [entry for entry in found if _is_zip(entry.name) and not entry.is_folder]
    others = [entry for entry in found if entry not in zips]
    are_texts = all(not entry.is_folder and names.is_sidecar(entry.name) for entry in others)
    return path if zips and are_texts else None


def _is_zip(name: str) -> bool:
    return name.lower().endswith(ENDING)


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the files of a zip, or of the zips of a folder, as `folder.read` lists those of a folder, in a zip's order.

    The one folder that holds all images of a zip is no part of their categories. Hidden files, tables and texts,
    links, and what macOS adds are counted in `found`. An encrypted member is listed; reading it says so. Of several
    zips one that cannot be read is a row.

    Raises:
        ArtifactInvalidError: the only zip is none, or its list of members is broken or cut off.
        DataError: a store cannot be reached or refuses.
    """
    if _is_zip(path):
        yield from _members(path, found)
        return
    top = os.path.realpath(path)
    for entry in places.entries(path):
        if not _is_zip(entry.name):
            found.skip(HIDDEN if names.is_hidden(entry.name) else SIDECARS)
        elif not (config.allow_outside or uris.is_remote(path) or scan.is_inside(entry.path, top)):
            found.skip("zips that a link leads to outside SOURCE (--allow-outside reads them)")
        else:
            try:
                yield from _members(entry.path, found)
            except ArtifactInvalidError as error:
                name = uris.text_of_path(entry.name)
                yield Record(
                    name, uris.of_source(entry.path), "", "", name, status="unreadable", error=error.message
                )


def _members(path: str, found: Found) -> Iterator[Record]:
    """The files of one zip."""
    found.tables.append(path)
    base = places.basename(path)
    images = {}
    with stores.said(path) if uris.is_remote(path) else contextlib.nullcontext(), _open(path) as opened:
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
