"""Hugging Face data sets: what `save_to_disk` wrote, or a folder of Parquet shards."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError
from webclean.io.readers import columns, folder, manifest, places, splits, uris
from webclean.io.readers.arrow_rows import ENDING as ARROW
from webclean.io.readers.records import SPLIT, Found, Record
from webclean.io.writers.names import format_of

_PARQUET: Final = ".parquet"
_DICT: Final = "dataset_dict.json"
_STATE: Final = "state.json"
_INFO: Final = "dataset_info.json"
_CACHES: Final = (
    "cache-",
    "tmp",
)  # what `datasets` leaves beside: results of map, and what it had not finished


@dataclass(slots=True)
class _Shard:
    """A table of the data set.

    Attributes:
        name: its path in SOURCE, with /.
        split: train, validation, test or another; None where nothing says one.
        status: set where it cannot be read, with the reason in `error`.
    """

    path: str
    name: str
    split: str | None
    status: str | None = None
    error: str | None = None

    @property
    def kind(self) -> str:
        return "arrow" if self.path.lower().endswith(ARROW) else "parquet"


def find(path: str) -> str | None:
    """The path itself where `datasets` wrote it, or where it holds Parquet files with images and no image files."""
    if os.path.isfile(path):
        return path if path.lower().endswith(ARROW) else None
    if not places.is_folder(path) or (not uris.is_remote(path) and folder.is_run(path)):
        return None
    return path if _is_saved(path) or _is_shards(path) else None


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the rows of all shards, each with its split in `extra`; a shard that cannot be read is one row.

    Args:
        path: what `find` gave.
        config: column flags, `allow_outside`.
        found: gets the columns that were used, and the shards.

    Raises:
        ConfigError, ColumnMissingError: the columns do not fit (see `columns.match`).
    """
    shards = list(_shards(path, found))
    _keep_inside(shards, path, config)
    chosen = _match(shards, path, config)
    for shard in shards:
        if shard.status is not None:
            found.tables.append(shard.path)
            yield Record(
                shard.name, uris.of_source(shard.path), "", "", os.path.basename(shard.name),
                status=shard.status, error=shard.error,
            )  # fmt: skip
            continue

        def complete(record: Record, extra: dict[str, Any], split: str | None = shard.split) -> None:
            if split is not None:
                extra.setdefault(SPLIT, split)

        yield from manifest.read(
            shard.path, config, found, kind=shard.kind, name=shard.name, chosen=chosen, complete=complete
        )


def _match(shards: list[_Shard], path: str, config: IngestConfig) -> dict[str, str]:
    """Field -> column for all shards together: a split may lack the label, say."""
    names: dict[str, None] = {}
    labels: dict[str, None] = {}
    bytes_column: str | None = None
    num = 0
    for shard in shards:
        if shard.status is not None:
            continue
        try:
            head = manifest.heading(shard.path, config, kind=shard.kind)
        except ArtifactInvalidError as error:
            shard.status, shard.error = "unreadable", error.message
            continue
        except OSError as error:
            shard.status, shard.error = "unreadable", error.strerror or str(error)
            continue
        num += 1
        names |= dict.fromkeys(head.names)
        labels |= dict.fromkeys(head.labels)
        bytes_column = bytes_column or head.bytes_column
    if not num:
        return {}
    return columns.match(list(names), config, bytes_column=bytes_column, labels=list(labels), where=path)


def _keep_inside(shards: list[_Shard], path: str, config: IngestConfig) -> None:
    if config.allow_outside or uris.is_remote(path) or os.path.isfile(path):
        return
    root = os.path.realpath(path)
    for shard in shards:
        if shard.status is None and not os.path.realpath(shard.path).startswith(root.rstrip(os.sep) + os.sep):
            shard.status, shard.error = "unreadable", "it lies outside SOURCE; --allow-outside reads it"


def _shards(path: str, found: Found) -> Iterator[_Shard]:
    if os.path.isfile(path) or (uris.is_remote(path) and path.lower().endswith(ARROW)):
        yield _Shard(path, uris.text_of_path(os.path.basename(path)), splits.of_path(os.path.basename(path)))
    elif _is_saved(path):
        yield from _saved_shards(path, found)
    else:
        yield from _parquet_shards(path, found)


# ---------------------------------------------------------------- save_to_disk
def _is_saved(path: str) -> bool:
    names = places.names(path)
    return _DICT in names or (
        (_STATE in names or _INFO in names) and any(name.lower().endswith(ARROW) for name in names)
    )


def _saved_shards(path: str, found: Found) -> Iterator[_Shard]:
    if not places.has_file(path, _DICT):
        yield from _saved_split(path, "", None, found)
        return
    named = _json(places.join(path, _DICT)).get("splits")
    there = {
        entry.name for entry in places.entries(path) if entry.is_folder and not entry.name.startswith(".")
    }
    for split in sorted({*there, *(name for name in _texts(named) if _is_name(name))}):
        if places.has_folder(path, split):
            yield from _saved_split(places.join(path, split), f"{uris.text_of_path(split)}/", split, found)
        else:
            yield _Shard(
                places.join(path, split),
                split,
                split,
                "missing",
                f"{_DICT} names this split, and it is not there",
            )


def _saved_split(path: str, prefix: str, split: str | None, found: Found) -> Iterator[_Shard]:
    """The shards that state.json names, or every Arrow file where there is none."""
    there = [name for name in places.names(path) if name.lower().endswith(ARROW)]
    state = _json(places.join(path, _STATE))
    files = state.get("_data_files")
    named = [
        name
        for file in (files if isinstance(files, list) else [])
        if isinstance(file, dict)
        for name in _texts([file.get("filename")])
        if _is_name(name)
    ]
    own = state.get("_split")
    for name in named or [name for name in there if not name.startswith(_CACHES)]:
        shard = _Shard(places.join(path, name), prefix + uris.text_of_path(name), split)
        shard.split = split or (own if isinstance(own, str) else splits.of_file(name))
        if not places.has_file(path, name):
            shard.status, shard.error = "missing", f"{_STATE} names this file, and it is not there"
        yield shard
    others = len(set(there) - set(named)) if named else sum(name.startswith(_CACHES) for name in there)
    if others:
        found.skip("Arrow files that are no part of the data set", others)


def _json(path: str) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or something else, since the tables say as much."""
    try:
        value = json.loads(places.read(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _is_name(name: str) -> bool:
    """Whether a name leads to something in its own folder."""
    return bool(name) and "\0" not in name and name == os.path.basename(name) and name not in (".", "..")


# ---------------------------------------------------------------- Parquet shards
def _is_shards(path: str) -> bool:
    """Whether there are Parquet files, one of them with bytes, and no file that is called an image."""
    tables = []
    for name, _, full in _files(path):
        if name.lower().endswith(_PARQUET):
            tables.append(full)
        elif format_of(name) is not None:
            return False
    return any(map(_has_bytes, tables))


def _has_bytes(path: str) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with places.open_binary(path) as file:
            return bool(uris.bytes_columns(pq.read_schema(file)))
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        return False


def _parquet_shards(path: str, found: Found) -> Iterator[_Shard]:
    numbers: dict[tuple[str, int], set[int]] = {}
    for name, key, full in _files(path):
        if not name.lower().endswith(_PARQUET):
            found.skip(folder.kind_of_other(name) or "other files")
            continue
        shard = splits.shard_of(name)
        if shard is not None:
            numbers.setdefault((f"{os.path.dirname(key)}/{shard[0]}".lstrip("/"), shard[2]), set()).add(
                shard[1]
            )
        yield _Shard(full, key, splits.of_path(key))
    for (start, total), there in sorted(numbers.items()):
        if len(there) < total:
            found.notes.append(f"{len(there)} of {total} shards of {start} are here")


def _files(path: str) -> Iterator[tuple[str, str, str]]:
    """Names of the regular files below a folder, their paths in it with /, and their places; hidden ones left out."""
    for top, rel, names in places.walk(path):
        for name in names:
            full = places.join(top, name)
            if not name.startswith(".") and (uris.is_remote(full) or os.path.isfile(full)):
                yield name, posixpath.join(rel, uris.text_of_path(name)), full
