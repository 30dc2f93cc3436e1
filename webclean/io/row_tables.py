"""Tables that a person brings along, row by row: CSV, TSV, JSONL and Parquet, none of them held whole."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ColumnMissingError, ConfigError
from webclean.io.readers import uris

ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq")
_ROWS_AT_ONCE: Final = 1024
_MARKS: Final = "\t;,|"
_HINT: Final = f"give a table that ends in {', '.join(ENDINGS)}"
Cells = dict[str, Any]


def is_table(path: str) -> bool:
    """Whether the ending is that of a table."""
    return _ending(path) in ENDINGS


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def open_file(path: str, what: str) -> BinaryIO:
    """A file that the person named, local or by URL.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: it is not there, or cannot be opened.
    """
    try:
        return uris.open_binary(uris.of_source(path))
    except FileNotFoundError as error:
        raise ArtifactMissingError(f"{path} does not exist", context=f"it is to be {what}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactInvalidError(
            f"{path} cannot be read: {reason}", context=f"it is to be {what}"
        ) from error


def iter_rows(path: str, what: str, wanted: Sequence[str] | None = None) -> Iterator[tuple[int, Cells]]:
    """Rows with their number (from 1) and cells by column; a cell that is empty or no number is None.

    Cells are None, bool, int, float or text; a column of bytes is left out, lists and objects are JSON.

    Args:
        path: local path or URL.
        what: what the table is to be, for messages.
        wanted: columns to read; the others are left out. Not given: all.

    Raises:
        ArtifactMissingError: the file is not there.
        ArtifactInvalidError: it cannot be read as its ending says.
        ColumnMissingError: a CSV has no header, or names a column twice.
        ConfigError: its ending is that of no table.
    """
    ending = _ending(path)
    if ending not in ENDINGS:
        raise ConfigError(f"{path} is no table that is read here", hint=_HINT)
    with open_file(path, what) as file:
        read = _csv_rows if ending in (".csv", ".tsv") else _json_rows if "json" in ending else _parquet_rows
        try:
            for number, row in enumerate(read(file, path, wanted), 1):
                yield number, {name: cell(value) for name, value in row.items()}
        except (csv.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ArtifactInvalidError(f"{path} cannot be read as a table: {error}", hint=_HINT) from error


def cell(value: Any) -> Any:
    """A value as None, bool, int, float or text without lone surrogates."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        return str(value)
    return text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def text(value: str) -> str:
    """Text as UTF-8; bytes of a file that are none are percent-encoded, as in `source_key`."""
    try:
        value.encode()
    except UnicodeEncodeError:
        try:
            return uris.text_of_path(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return value.encode("utf-8", "replace").decode()
    return value


def _csv_rows(file: BinaryIO, path: str, wanted: Sequence[str] | None) -> Iterator[Cells]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may be longer than the default 128 kB
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        head = stream.readline()
        stream.seek(0)
        reader = csv.reader(stream, delimiter=max(_MARKS, key=lambda mark: (head.count(mark), mark == ",")))
        names = next(reader, [])
        if not names:
            raise ColumnMissingError(f"{path} has no header line", hint="its first line names the columns")
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ColumnMissingError(f"{path} names a column twice: {', '.join(doubled)}")
        for row in reader:
            if len(row) > len(names):
                raise ArtifactInvalidError(
                    f"{path}, line {reader.line_num}: {len(row)} cells under {len(names)} columns",
                    hint="put cells that hold the separator in double quotes",
                )
            cells = dict(zip(names, row, strict=False))
            if row:
                yield cells if wanted is None else {name: cells.get(name) for name in wanted if name in names}


def _json_rows(file: BinaryIO, path: str, wanted: Sequence[str] | None) -> Iterator[Cells]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except (ValueError, RecursionError) as error:
            raise ArtifactInvalidError(f"{path}, line {number}, is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ArtifactInvalidError(f"{path}, line {number}, is not a JSON object")
        yield row if wanted is None else {name: row[name] for name in wanted if name in row}


def _parquet_rows(file: BinaryIO, path: str, wanted: Sequence[str] | None) -> Iterator[Cells]:
    table = pq.ParquetFile(file)
    kinds = {field.name: field.type for field in table.schema_arrow}
    names = [name for name in kinds if not _is_bytes(kinds[name]) and (wanted is None or name in wanted)]
    for batch in table.iter_batches(_ROWS_AT_ONCE, columns=names):
        yield from batch.to_pylist()


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
