"""A tree of folders: every regular file is a record, its folder the category."""

from __future__ import annotations

import os
from collections.abc import Iterator

from webclean.config import IngestConfig
from webclean.io.readers import uris
from webclean.io.readers.records import Found, Record
from webclean.schema import LOG_FILE

SIDECAR_ENDINGS = (
    ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".md", ".xml", ".yaml", ".yml", ".toml",
)  # fmt: skip
HIDDEN = "hidden"
SIDECARS = "sidecars"
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


def kind_of_other(name: str) -> str | None:
    """What a file is by its name if it is no image: hidden or a sidecar; None where it may be one."""
    lower = name.lower()
    if name.startswith(".") or lower in _SYSTEM_FILES:
        return HIDDEN
    return SIDECARS if lower.endswith(SIDECAR_ENDINGS) else None


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List a local folder tree, files in the order of their names.

    Hidden files and folders, tables and texts beside the images, pipes and devices are counted in
    `found`, not listed. A linked folder is followed only where it leads outside the tree, with
    `allow_outside`, and never into one of its own parents. A webclean run folder is not entered.
    """
    top = os.path.abspath(os.fsencode(path))
    name = uris.text_of_path(os.path.basename(top)) or "images"
    yield from _walk(top, b"", name, (os.path.realpath(top),), found, config.allow_outside)


def _walk(
    top: bytes, rel: bytes, top_name: str, parents: tuple[bytes, ...], found: Found, allow_outside: bool
) -> Iterator[Record]:
    folder = os.path.join(top, rel) if rel else top
    category = uris.text_of_path(rel) if rel else top_name
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        found.skip("folders that cannot be read")
        return
    if any(entry.name == os.fsencode(LOG_FILE) for entry in entries) and rel:
        found.skip("run folders")
        return
    for entry in entries:
        child = os.path.join(rel, entry.name) if rel else entry.name
        kind = kind_of_other(entry.name.decode("utf-8", "replace"))
        if kind == HIDDEN:
            found.skip(kind)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(
                top, child, top_name, (*parents, os.path.realpath(entry.path)), found, allow_outside
            )
        elif entry.is_symlink() and entry.is_dir():
            real = os.path.realpath(entry.path)
            outside = not _is_below(real, parents[0])
            if outside and allow_outside and not any(_is_below(parent, real) for parent in parents):
                yield from _walk(top, child, top_name, (*parents, real), found, allow_outside)
            else:
                found.skip("linked folders not followed")
        elif not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
            found.skip("pipes and devices")
        elif kind is not None:
            found.skip(kind)
        else:
            yield Record(
                source_key=uris.text_of_path(child),
                uri=uris.of_path(os.path.join(top, child)),
                category=category,
                query=category,
                file_name=uris.text_of_path(entry.name),
            )


def is_run(path: str) -> bool:
    """Whether a folder is a run of webclean."""
    return os.path.lexists(os.path.join(path, LOG_FILE))


def walk(path: str) -> Iterator[tuple[str, str, list[str]]]:
    """A folder and those below it, in order: path, path in the first one as text, and the sorted names of its files.

    Hidden folders, run folders and links to folders are left out.
    """
    for top, folders, names in os.walk(path):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not is_run(os.path.join(top, n)))
        rel = os.path.relpath(top, path)
        yield top, "" if rel == os.curdir else uris.text_of_path(rel), sorted(names)


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
