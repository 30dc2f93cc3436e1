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
from collections.abc import Iterator
from itertools import repeat
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError
from webclean.io.readers import columns, uris
from webclean.io.readers.records import RANK_FROM_MANIFEST, Found, Record, extra_text

ENDINGS: Final = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
KINDS: Final = ("csv", "jsonl", "parquet")
_STEM: Final = "manifest"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BAD_ROW: Final = object()
_ROWS_AT_ONCE: Final = 512  # with their bytes in memory, a few hundred megabytes of large photos
_HUGGINGFACE: Final = b"huggingface"
_TEXT_FIELDS: Final = (schema.TITLE, schema.DESCRIPTION, schema.ALT_TEXT, schema.SOURCE, schema.PAGE_URL)
_Row = dict[Any, Any]


def kind_of(path: str) -> str | None:
    """csv, jsonl or parquet, by the ending of a path or URL; None for any other."""
    return ENDINGS.get(os.path.splitext(path)[1].lower())


def in_folder(path: str) -> list[str]:
    """Names of the files `manifest.*` of a folder, sorted; none for a path that is no folder."""
    if not os.path.isdir(path):
        return []
    return among(sorted(os.listdir(path)))


def among(names: list[str]) -> list[str]:
    """Those of these names that are `manifest.*`, in their order."""
    return [name for name in names if os.path.splitext(name)[0].lower() == _STEM and kind_of(name)]


def find(path: str, kind: str) -> str | None:
    """The manifest of this kind that a local path is or holds.

    Raises:
        ConfigError: the folder holds more than one.
    """
    if os.path.isfile(path):
        return path if kind_of(path) == kind else None
    found = [name for name in in_folder(path) if kind_of(name) == kind]
    if len(found) > 1:
        raise ConfigError(
            f"{path} holds {len(found)} manifests: {', '.join(found)}", hint="give one of them as SOURCE"
        )
    return os.path.join(path, found[0]) if found else None


def read(path: str, config: IngestConfig, found: Found, *, kind: str) -> Iterator[Record]:
    """List the rows of a manifest in their order.

    Args:
        path: local path or fsspec URL of the manifest.
        config: column flags, `image_root`, `allow_outside`.
        found: gets the columns that were used.
        kind: csv, jsonl or parquet.

    Raises:
        ConfigError, ColumnMissingError: the columns do not fit (see `columns.match`).
        ArtifactInvalidError: the file is not what its ending says.
    """
    found.tables.append(path)
    with contextlib.ExitStack() as opened:
        bytes_column: str | None = None
        if kind == "parquet":
            names, bytes_column, rows = _parquet_rows(path, config, opened)
        else:
            names, rows = _csv_rows(path, opened) if kind == "csv" else _jsonl_rows(path, opened)
        chosen = columns.match(names, config, bytes_column=bytes_column, where=path)
        found.columns = dict(chosen)
        if bytes_column is not None:
            found.columns["bytes"] = bytes_column
        maker = _Maker(path, config, chosen, bytes_column, set(names))
        for number, row in rows:
            yield maker.record(number, row)


class _Maker:
    """Turns rows into records."""

    def __init__(
        self,
        path: str,
        config: IngestConfig,
        chosen: dict[str, str],
        bytes_column: str | None,
        names: set[str],
    ) -> None:
        self._chosen = chosen
        self._extra = sorted(names - set(chosen.values()) - {bytes_column})
        self._bytes_column = bytes_column
        self._flagged_bytes = config.bytes_column
        self._allow_outside = config.allow_outside
        self._is_remote = uris.is_remote(path)
        self._manifest_uri = path if self._is_remote else uris.of_path(path)
        self._manifest_name = uris.text_of_path(
            posixpath.basename(path) if self._is_remote else os.path.basename(path)
        )
        self._root = config.image_root or (
            posixpath.dirname(path) if self._is_remote else os.path.dirname(path)
        )

    def record(self, number: int, row: _Row | object) -> Record:
        """The record of one row; `number` is 0-based among the rows."""
        key = f"{self._manifest_name}#{number}"
        if not isinstance(row, dict):
            return Record(
                key, uris.of_row(self._manifest_uri, number), "", "", key,
                status="unreadable", error="the row of the manifest cannot be read",
            )  # fmt: skip
        get = {field: row.get(column) for field, column in self._chosen.items()}
        category = (columns.text(get[schema.CATEGORY]) or "").strip()
        query = (columns.text(get.get(schema.QUERY)) or category).strip()
        rank = columns.whole_number(get.get(schema.RANK))
        extra = {name: row[name] for name in self._extra if row.get(name) not in (None, "")}
        if row.get(None):
            extra[""] = row[None]  # cells beyond the header
        record = Record(
            key, "", category, query, key,
            rank=rank,
            rank_source=None if rank is None else RANK_FROM_MANIFEST,
            tags=columns.tags(get.get(schema.TAGS)),
            extra=extra_text(extra),
        )  # fmt: skip
        for field in _TEXT_FIELDS:
            setattr(record, field, columns.text(get.get(field)))
        self._place(record, number, get.get(columns.PATH), row)
        if not category and record.status is None:
            record.status, record.error = schema.STATUS_EXCLUDED, "the manifest names no category"
        return record

    def _place(self, record: Record, number: int, path: Any, row: _Row) -> None:
        if self._bytes_column is not None and row[self._bytes_column]:
            record.uri = uris.of_row(self._manifest_uri, number, self._flagged_bytes)
            record.file_name = posixpath.basename(columns.text(path) or "") or record.source_key
            return
        record.uri = uris.of_row(self._manifest_uri, number)
        if not isinstance(path, str) or not path.strip():
            record.status, record.error = "missing", "the manifest names no file"
            return
        if _URL.match(path):
            record.source_key = record.uri = columns.text(path) or path
            record.file_name = posixpath.basename(record.source_key)
            if not self._allow_outside:
                record.status = "not_downloaded"
                record.error = "the manifest names a URL; --allow-outside reads it"
            return
        relative = posixpath.normpath(path)
        record.source_key = uris.text_of_path(_file_bytes(relative))
        record.file_name = posixpath.basename(record.source_key)
        if self._is_remote:
            record.uri = f"{self._root}/{record.source_key}"
            if relative.startswith(("../", "/")) and not self._allow_outside:
                record.status, record.error = "unreadable", "it lies outside SOURCE; --allow-outside reads it"
            return
        record.uri = uris.of_path(os.path.join(os.fsencode(self._root), _file_bytes(relative)))


def _file_bytes(path: str) -> bytes:
    """A path from a manifest as the file system's bytes; a lone surrogate of JSON stays a wrong name."""
    return path.encode("utf-8", "surrogateescape" if _only_escapes(path) else "surrogatepass")


def _only_escapes(path: str) -> bool:
    return all(not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF for c in path)


def _open(path: str, opened: contextlib.ExitStack) -> Any:
    """The manifest's bytes; the stack closes the file."""
    if uris.is_remote(path):
        import fsspec

        return opened.enter_context(fsspec.open(path, "rb"))
    return opened.enter_context(open(path, "rb"))


def _csv_rows(
    path: str, opened: contextlib.ExitStack
) -> tuple[list[str], Iterator[tuple[int, _Row | object]]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a description may be longer than the default 128 kB
    stream = opened.enter_context(
        io.TextIOWrapper(_open(path, opened), encoding="utf-8-sig", errors="surrogateescape", newline="")
    )
    head = stream.readline()
    stream.seek(0)
    delimiter = max("\t;,|", key=lambda mark: (head.count(mark), mark == ","))
    reader = csv.DictReader(stream, delimiter=delimiter if head.count(delimiter) else ",")
    try:
        names = list(reader.fieldnames or [])
    except csv.Error as error:
        raise _not_readable(path, "CSV", error) from error
    if not names:
        raise ColumnMissingError("the manifest has no header line", context=path)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ColumnMissingError(f"the header names a column twice: {', '.join(doubled)}", context=path)

    def rows() -> Iterator[tuple[int, _Row | object]]:
        try:
            yield from enumerate(reader)
        except csv.Error as error:
            raise _not_readable(f"{path}, line {reader.line_num}", "CSV", error) from error

    return names, rows()


def _jsonl_rows(
    path: str, opened: contextlib.ExitStack
) -> tuple[list[str], Iterator[tuple[int, _Row | object]]]:
    names: dict[str, None] = {}
    file = _open(path, opened)
    for line in file:  # JSONL has no header: the columns are those of any row
        value = _parse(line)
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
    if not names:
        raise ArtifactInvalidError("no line is a JSON object", context=path)

    def rows() -> Iterator[tuple[int, _Row | object]]:
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


def _parquet_rows(
    path: str, config: IngestConfig, opened: contextlib.ExitStack
) -> tuple[list[str], str | None, Iterator[tuple[int, _Row | object]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(_open(path, opened))
    except pa.ArrowInvalid as error:
        raise _not_readable(path, "Parquet", error) from error
    bytes_column = uris.bytes_column(file.schema_arrow, config.bytes_column, path)
    names = list(file.schema_arrow.names)
    words = _class_names(file.schema_arrow.metadata)
    # Of the bytes only whether they are there is asked now; a worker reads them, row by row.
    wanted = [name for name in names if name != bytes_column]
    struct = bytes_column is not None and pa.types.is_struct(file.schema_arrow.field(bytes_column).type)
    has_path = struct and any(f.name == "path" for f in file.schema_arrow.field(bytes_column).type)
    leaves = [*wanted, *([f"{bytes_column}.path"] if has_path else [])]

    def rows() -> Iterator[tuple[int, _Row | object]]:
        number = 0
        presence = _presence(path, bytes_column, struct, opened)
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=leaves):
            for row in batch.to_pylist():
                is_there = next(presence)
                inner = row.pop(bytes_column, None) if bytes_column is not None else None
                if bytes_column is not None:
                    row[bytes_column] = is_there
                if (
                    isinstance(inner, dict)
                    and inner.get("path")
                    and not row.get(config.path_column or "path")
                ):
                    row.setdefault("path", inner["path"])
                for column, labels in words.items():
                    value = row.get(column)
                    if isinstance(value, int) and 0 <= value < len(labels):
                        row[column] = labels[value]
                yield number, row
                number += 1

    listed = names if not has_path or "path" in names else [*names, "path"]
    return listed, bytes_column, rows()


def _presence(
    path: str, bytes_column: str | None, struct: bool, opened: contextlib.ExitStack
) -> Iterator[bool]:
    """Whether each row has bytes; the bytes themselves are forgotten at once."""
    import pyarrow.parquet as pq

    if bytes_column is None:
        yield from repeat(False)
        return
    leaf = f"{bytes_column}.bytes" if struct else bytes_column
    for batch in pq.ParquetFile(_open(path, opened)).iter_batches(_ROWS_AT_ONCE, columns=[leaf]):
        column = batch.column(0)
        yield from (column.field("bytes") if struct else column).is_valid().to_pylist()


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of integer labels that Hugging Face's `datasets` leaves in a file's metadata."""
    if not metadata or _HUGGINGFACE not in metadata:
        return {}
    try:
        features = json.loads(metadata[_HUGGINGFACE])["info"]["features"]
        return {
            name: [str(word) for word in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # another program's metadata under the same key


def _not_readable(path: str, kind: str, error: Exception) -> ArtifactInvalidError:
    return ArtifactInvalidError(f"the manifest is not readable as {kind}: {error}", context=path)
