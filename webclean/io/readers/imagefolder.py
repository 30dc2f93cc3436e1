"""Hugging Face's imagefolder: images in folders, and tables `metadata.*` beside or above them that describe them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError
from webclean.io.readers import columns, folder, manifest, places, splits, tree, uris
from webclean.io.readers.records import SPLIT, Found, Record, extra_text

_TABLES: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME: Final = "file_name"


@dataclass(frozen=True, slots=True)
class _Table:
    """One `metadata.*`; its path in SOURCE is `name`, with /."""

    path: str
    name: str
    kind: str


def find(path: str) -> str | None:
    """A folder with a table `metadata.*`, in itself or below, that names files."""
    if not places.is_folder(path) or (not uris.is_remote(path) and folder.is_run(path)):
        return None
    return path if any(_names_files(table) for table in _survey(path)[0]) else None


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the rows of the tables, then the files that no table names.

    Without a column for the label the folders are the categories. Where every folder at the top that holds
    images is called after a split, these are the splits, kept in `extra`, and no part of the category.

    Args:
        path: what `find` gave.
        config: column flags, `allow_outside`.
        found: gets the columns that were used, the tables, and what was left out.

    Raises:
        ConfigError, ColumnMissingError: the columns do not fit, or two tables lie in one folder.
        ArtifactInvalidError: a table cannot be read.
    """
    tables, has_splits = _survey(path)
    config, chosen = _match(tables, path, config)
    places = _Places(path, has_splits)
    has_label = schema.CATEGORY in chosen

    def complete(record: Record, extra: dict[str, Any]) -> None:
        category, split = places.of(record.source_key)
        if not has_label:
            record.category = record.query = category
        if split is not None:
            extra.setdefault(SPLIT, split)

    named: set[str] = set()
    for table in tables:
        for record in manifest.read(
            table.path, config, found, kind=table.kind, name=table.name, chosen=chosen, complete=complete
        ):
            named.add(record.source_key)
            yield record
    yield from _others(path, config, found, named, places, has_label=has_label, num_tables=len(tables))


class _Places:
    """What the folders of a file say."""

    def __init__(self, path: str, has_splits: bool) -> None:
        self._top = places.basename(path) or "images"
        self._has_splits = has_splits

    def of(self, source_key: str) -> tuple[str, str | None]:
        """Category and split of a file."""
        if source_key.startswith(("/", "../")) or uris.is_remote(source_key):
            return self._top, None
        category, split = posixpath.dirname(source_key), None
        if self._has_splits:
            first, _, rest = category.partition("/")
            split = splits.of_folder(first)
            category = category if split is None else rest
        return category or self._top, split


def _others(
    path: str,
    config: IngestConfig,
    found: Found,
    named: set[str],
    places: _Places,
    *,
    has_label: bool,
    num_tables: int,
) -> Iterator[Record]:
    """Files that no table names: of the category of their folder, or excluded where the tables hold the labels."""
    walked = Found()
    for record in tree.read(path, config, walked):
        if record.source_key in named:
            continue
        category, split = places.of(record.source_key)
        record.category = record.query = "" if has_label else category
        if split is not None:
            record.extra = extra_text({SPLIT: split})
        if has_label:
            record.status, record.error = schema.STATUS_EXCLUDED, "no metadata file names it"
        yield record
    found.stamp(walked.stamps.hex())
    for kind, num in walked.skipped.items():
        num -= num_tables if kind == folder.SIDECARS else 0
        if num:
            found.skip(kind, num)


def _match(tables: list[_Table], path: str, config: IngestConfig) -> tuple[IngestConfig, dict[str, str]]:
    """The settings with the column of file names, and field -> column for all tables together."""
    by_folder: dict[str, str] = {}
    names: dict[str, None] = {}
    labels: dict[str, None] = {}
    for table in tables:
        other = by_folder.setdefault(posixpath.dirname(table.name), table.name)
        if other != table.name:
            raise ConfigError(
                f"two tables describe the same images: {other}, {table.name}",
                context=path,
                hint="leave one of them there",
            )
        head = manifest.heading(table.path, config, kind=table.kind)
        names |= dict.fromkeys(head.names)
        labels |= dict.fromkeys(head.labels)
    if config.path_column is None:
        config = replace(config, path_column=_file_name(names))
    chosen = columns.match(
        list(names), config, bytes_column=None, labels=list(labels), category_needed=False, where=path
    )
    return config, chosen


def _file_name(names: dict[str, None] | list[str]) -> str | None:
    """The column that `datasets` takes for the image: file_name, or the one that ends so; None without one."""
    if _FILE_NAME in names:
        return _FILE_NAME
    ending = [name for name in names if name.endswith(f"_{_FILE_NAME}")]
    return ending[0] if len(ending) == 1 else None


def _names_files(table: _Table) -> bool:
    try:
        return _file_name(manifest.heading(table.path, IngestConfig(), kind=table.kind).names) is not None
    except (ArtifactInvalidError, ColumnMissingError, OSError):
        return False


def _survey(path: str) -> tuple[list[_Table], bool]:
    """The tables below a folder, and whether the folders at its top are splits."""
    tables: list[_Table] = []
    tops: set[str] = set()
    for top, rel, names in places.walk(path):
        if any(folder.kind_of_other(name) is None for name in names):
            tops.add(rel.split("/")[0])
        for name in names:
            full = places.join(top, name)
            if name in _TABLES and (uris.is_remote(full) or os.path.isfile(full)):
                kind = os.path.splitext(name)[1][1:]
                tables.append(_Table(full, posixpath.join(rel, name), kind))
    return tables, bool(tops) and all(splits.of_folder(name) for name in tops)
