"""CSV, TSV, JSONL and Parquet manifests: one record per row."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError
from webclean.io import stores
from webclean.io.readers import columns, places, uris
from webclean.io.readers.columnar import KINDS as COLUMNAR_KINDS
from webclean.io.readers.columnar import BadRow, Columnar, Row
from webclean.io.readers.fields import Fields
from webclean.io.readers.records import Found, Record, extra_text

ENDINGS: Final = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
KINDS: Final = ("csv", "jsonl", "parquet")
_STEM: Final = "manifest"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BAD_ROW: Final = BadRow("the row of the manifest cannot be read")
_Rows = Iterator[tuple[int, Row | BadRow]]


def kind_of(path: str) -> str | None:
    """csv, jsonl or parquet, by the ending of a path or URL; None for any other."""
    return ENDINGS.get(os.path.splitext(path)[1].lower())


def in_folder(path: str) -> list[str]:
    """Names of the files `manifest.*` of a folder, local or remote, sorted; none for what is no folder."""
    return among(places.names(path))


def among(names: list[str]) -> list[str]:
    """Those of these names that are `manifest.*`, in their order."""
    likely = (name for name in names if name[: len(_STEM)].lower() == _STEM)
    return [name for name in likely if os.path.splitext(name)[0].lower() == _STEM and kind_of(name)]


def find(path: str, kind: str) -> str | None:
    """The manifest of this kind that a path or URL is or holds.

    Raises:
        ConfigError: the folder holds more than one.
    """
    if os.path.isfile(path) or (uris.is_remote(path) and kind_of(path)):
        return path if kind_of(path) == kind else None
    found = [name for name in in_folder(path) if kind_of(name) == kind]
    if len(found) > 1:
        raise ConfigError(
            f"{path} holds {len(found)} manifests: {', '.join(found)}", hint="give one of them as SOURCE"
        )
    return places.join(path, found[0]) if found else None


@dataclass(frozen=True, slots=True)
class Heading:
    """What is known of a table before its rows are read; names as in `columnar.Columnar`."""

    names: list[str]
    bytes_column: str | None = None
    named_column: str | None = None
    labels: tuple[str, ...] = ()


def heading(path: str, config: IngestConfig, *, kind: str) -> Heading:
    """The columns of a table.

    Raises:
        ColumnMissingError: the columns are not clear.
        ArtifactInvalidError: the file is not what its ending says.
    """
    with contextlib.ExitStack() as opened:
        return _open_table(path, config, opened, kind)[0]


def read(
    path: str,
    config: IngestConfig,
    found: Found,
    *,
    kind: str,
    name: str | None = None,
    chosen: dict[str, str] | None = None,
    complete: Callable[[Record, dict[str, Any]], None] | None = None,
) -> Iterator[Record]:
    """List the rows of a manifest in their order.

    Args:
        path: local path or fsspec URL of the manifest.
        config: column flags, `image_root`, `allow_outside`.
        found: gets the columns that were used.
        kind: csv, jsonl, parquet or arrow.
        name: the manifest's own path in a SOURCE of several tables, before the source_key of its rows.
        chosen: field -> column; not given: the columns are matched here.
        complete: gets each record and its `extra`, to add what SOURCE says besides the row.

    Raises:
        ConfigError, ColumnMissingError: the columns do not fit (see `columns.match`).
        ArtifactInvalidError: the file is not what its ending says.
    """
    found.tables.append(path)
    with contextlib.ExitStack() as opened:
        head, rows = _open_table(path, config, opened, kind)
        if chosen is None:
            chosen = columns.match(
                head.names, config, bytes_column=head.bytes_column, labels=head.labels, where=path
            )
        found.columns |= chosen
        if head.bytes_column is not None:
            found.columns["bytes"] = head.bytes_column
        maker = _Maker(path, config, chosen, head, name, complete)
        for number, row in rows:
            yield maker.record(number, row)


def _open_table(
    path: str, config: IngestConfig, opened: contextlib.ExitStack, kind: str
) -> tuple[Heading, _Rows]:
    if kind in COLUMNAR_KINDS:
        table = Columnar(path, path if kind == "arrow" else _open_parquet(path, opened), config, kind=kind)
        return Heading(table.names, table.bytes_column, table.named_column, table.labels), table.rows()
    names, rows = _csv_rows(path, opened) if kind == "csv" else _jsonl_rows(path, opened)
    return Heading(names), rows


class _Maker:
    """Turns rows into records."""

    def __init__(
        self,
        path: str,
        config: IngestConfig,
        chosen: dict[str, str],
        head: Heading,
        name: str | None,
        complete: Callable[[Record, dict[str, Any]], None] | None,
    ) -> None:
        self._fields = Fields(chosen, not_extra=(head.bytes_column,))
        self._bytes_column = head.bytes_column
        self._named_column = head.named_column
        self._complete = complete
        self._folder = posixpath.dirname(name or "")
        self._allow_outside = config.allow_outside
        self._manifest_uri = uris.of_source(path)
        self._manifest_name = name or places.basename(path)
        self._root = config.image_root or places.parent(path)
        self._is_remote = uris.is_remote(self._root)

        self._below = None if self._is_remote else uris.Folder(self._root)

    def record(self, number: int, row: Row | BadRow) -> Record:
        """The record of one row; `number` is 0-based among the rows."""
        key = f"{self._manifest_name}#{number}"
        if isinstance(row, BadRow):
            return Record(
                key, uris.of_row(self._manifest_uri, number), "", "", posixpath.basename(key),
                status="unreadable", error=row.error,
            )  # fmt: skip
        record = Record(key, "", "", "", posixpath.basename(key))
        self._fields.describe(record, row)
        extra = self._fields.extra(row)
        self._place(record, number, self._fields.value(columns.PATH, row), row)
        if self._complete is not None:
            self._complete(record, extra)
        record.extra = extra_text(extra)
        if not record.category and record.status is None:
            record.status, record.error = schema.STATUS_EXCLUDED, "the manifest names no category"
        return record

    def _place(self, record: Record, number: int, path: Any, row: Row) -> None:
        if self._bytes_column is not None and row[self._bytes_column]:
            record.uri = uris.of_row(self._manifest_uri, number, self._named_column)
            record.file_name = posixpath.basename(columns.text(path) or "") or record.file_name
            return
        record.uri = uris.of_row(self._manifest_uri, number)
        if not isinstance(path, str) or not path.strip():
            no_bytes = "" if self._bytes_column is None else "the row has no bytes, and "
            record.status, record.error = "missing", f"{no_bytes}the manifest names no file"
            return
        if _URL.match(path):
            record.source_key = record.uri = columns.text(path) or path
            record.file_name = posixpath.basename(record.source_key)
            if not self._allow_outside:
                record.status = "not_downloaded"
                record.error = "the manifest names a URL; --allow-outside reads it"
            return
        relative = posixpath.normpath(path)
        raw = _file_bytes(relative)
        key = uris.text_of_path(raw)
        if self._folder:
            key = posixpath.normpath(posixpath.join(self._folder, key))
        record.source_key = key
        record.file_name = posixpath.basename(record.source_key)
        if self._is_remote:
            record.uri = places.join(self._root, uris.text_of_path(raw))
            if relative.startswith(("../", "/")) and not self._allow_outside:
                record.status, record.error = "unreadable", "it lies outside SOURCE; --allow-outside reads it"
            return
        if self._below is None or relative.startswith(("/", "..")) or relative == ".":
            record.uri = uris.of_path(os.path.join(os.fsencode(self._root), raw))
        else:
            record.uri = self._below.of(raw)


def _file_bytes(path: str) -> bytes:
    """A path from a manifest as the file system's bytes; a lone surrogate of JSON stays a wrong name."""
    try:
        return path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape" if _only_escapes(path) else "surrogatepass")


def _only_escapes(path: str) -> bool:
    return all(not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF for c in path)


def _open(path: str, opened: contextlib.ExitStack) -> Any:
    """The manifest's bytes; the stack closes the file."""
    return opened.enter_context(open(path, "rb") if not uris.is_remote(path) else places.fetch(path))


def _open_parquet(path: str, opened: contextlib.ExitStack) -> Any:
    """A Parquet file, of which parts are read: a remote one is left where it is."""
    if not uris.is_remote(path):
        return opened.enter_context(open(path, "rb"))
    opened.enter_context(stores.said(path))
    return opened.enter_context(stores.open_parts(path))


def _csv_rows(path: str, opened: contextlib.ExitStack) -> tuple[list[str], _Rows]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a description may be longer than the default 128 kB
    stream = opened.enter_context(
        io.TextIOWrapper(_open(path, opened), encoding="utf-8-sig", errors="surrogateescape", newline="")
    )
    head = stream.readline()
    stream.seek(0)
    delimiter = max("\t;,|", key=lambda mark: (head.count(mark), mark == ","))
    reader = csv.reader(stream, delimiter=delimiter if head.count(delimiter) else ",")
    try:
        names = next(reader, [])
    except csv.Error as error:
        raise _not_readable(path, "CSV", error) from error
    if not names:
        raise ColumnMissingError("the manifest has no header line", context=path)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ColumnMissingError(f"the header names a column twice: {', '.join(doubled)}", context=path)

    def rows() -> _Rows:
        try:
            # As csv.DictReader does it, in half the time.
            yield from enumerate(_cells(names, cells) for cells in reader if cells)
        except csv.Error as error:
            raise _not_readable(f"{path}, line {reader.line_num}", "CSV", error) from error

    return names, rows()


def _cells(names: list[str], cells: list[str]) -> Row:
    """Cells by column: None where the line ends early, those beyond the header as a list under None."""
    if len(cells) == len(names):
        return dict(zip(names, cells, strict=True))
    row: Row = dict(zip_longest(names, cells[: len(names)]))
    if len(cells) > len(names):
        row[None] = cells[len(names) :]
    return row


def _jsonl_rows(path: str, opened: contextlib.ExitStack) -> tuple[list[str], _Rows]:
    names: dict[str, None] = {}
    file = _open(path, opened)
    for line in file:  # JSONL has no header: the columns are those of any row
        value = _parse(line)
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
    if not names:
        raise ArtifactInvalidError("no line is a JSON object", context=path)

    def rows() -> _Rows:
        file.seek(0)
        filled = (line for line in file if line.strip())
        for number, line in enumerate(filled):
            value = _parse(line)
            yield number, value if isinstance(value, dict) else _BAD_ROW

    return list(names), rows()


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return _BAD_ROW


def _not_readable(path: str, kind: str, error: Exception) -> ArtifactInvalidError:
    return ArtifactInvalidError(f"the manifest is not readable as {kind}: {error}", context=path)
