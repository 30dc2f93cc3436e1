"""A tree of folders: every regular file is a record, its folder the category."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
    # A stack of its own: folders may be nested deeper than Python's functions may call themselves.
    stack = [_Folder(b"", (os.path.realpath(top),), _entries(top, b"", found), uris.Folder(top))]
    while stack:
        here = stack[-1]
        entry = next(here.entries, None)
        if entry is None:
            stack.pop()
            continue
        child = os.path.join(here.rel, entry.name) if here.rel else entry.name
        inner = _folder_to_enter(entry, here.parents, config.allow_outside)
        if inner is not None:
            below = uris.Folder(os.path.join(top, child))
            stack.append(_Folder(child, (*here.parents, inner), _entries(top, child, found), below))
        elif _is_image(entry, found):
            category = uris.text_of_path(here.rel) if here.rel else name
            yield Record(
                source_key=uris.text_of_path(child),
                uri=here.uris.of(entry.name),
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
    # Not os.walk: it calls itself for each level, and folders may be nested deeper than that goes.
    stack = [(path, "")]
    while stack:
        top, rel = stack.pop()
        try:
            with os.scandir(top) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            continue
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        inner = [entry.path for entry in folders if not entry.name.startswith(".") and not is_run(entry.path)]
        is_folder = {entry.name for entry in folders}
        yield top, rel, [e.name for e in entries if e.name not in is_folder and not _leads_to_folder(e)]
        stack += [(child, uris.text_of_path(os.path.relpath(child, path))) for child in reversed(inner)]


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that is being listed: its path below the top, the real paths down to it, what it holds yet, uris."""

    rel: bytes
    parents: tuple[bytes, ...]
    entries: Iterator[os.DirEntry[bytes]]
    uris: uris.Folder


def _entries(top: bytes, rel: bytes, found: Found) -> Iterator[os.DirEntry[bytes]]:
    """What a folder holds, by name; nothing of one that cannot be read or is a run folder."""
    try:
        with os.scandir(os.path.join(top, rel) if rel else top) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        found.skip("folders that cannot be read")
        return iter(())
    if rel and any(entry.name == os.fsencode(LOG_FILE) for entry in entries):
        found.skip("run folders")
        return iter(())
    return iter(entries)


def _folder_to_enter(
    entry: os.DirEntry[bytes], parents: tuple[bytes, ...], allow_outside: bool
) -> bytes | None:
    """The real path of an entry that is a folder to be listed, None for any other entry."""
    if _other_kind(entry) == HIDDEN or not _leads_to_folder(entry):
        return None
    if not entry.is_symlink():
        return os.path.join(parents[-1], entry.name)
    real = os.path.realpath(entry.path)
    outside = not _is_below(real, parents[0])
    if outside and allow_outside and not any(_is_below(parent, real) for parent in parents):
        return real
    return None


def _is_image(entry: os.DirEntry[bytes], found: Found) -> bool:
    """Whether an entry that is not entered is a record; counts it where it is none."""
    kind = _other_kind(entry)
    if kind != HIDDEN and _leads_to_folder(entry):
        kind = "linked folders not followed"
    elif kind != HIDDEN and not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
        kind = "pipes and devices"
    if kind is not None:
        found.skip(kind)
    return kind is None


def _other_kind(entry: os.DirEntry[bytes]) -> str | None:
    return kind_of_other(entry.name.decode("utf-8", "replace"))


def _leads_to_folder(entry: os.DirEntry[Any]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle: reading the row says so
        return False


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
