"""The table of an export as CSV, JSON lines or Parquet: streamed, and the same rows give the same bytes."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP: Final = 8192
EMBEDDED_ROW_GROUP: Final = 64
"""Rows read at once to get at one embedded image: few, since a trainer asks for them in any order."""

EMBEDDED_TYPE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How Hugging Face's `datasets` lays out an image column."""

EMBEDDED_COLUMN: Final = "image"

_LONGEST_CELL: Final = 2**31 - 1  # the csv module's own limit is 128 KiB, and crawled titles have none

Write = Callable[[pa.Table], None]


@contextlib.contextmanager
def open_csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """CSV in UTF-8 with a header; null is empty, booleans are true and false, lists are JSON."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(_csv_cell, schema.names)) + "\n")

        def write(rows: pa.Table) -> None:
            columns = [map(_csv_cell, rows.column(name).to_pylist()) for name in schema.names]
            file.writelines(",".join(cells) + "\n" for cells in zip(*columns, strict=True))

        yield write


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    # The csv module leaves a lone carriage return unquoted, and readers take it for the end of a row.
    if any(c in text for c in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


@contextlib.contextmanager
def open_jsonl(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """One JSON object a line, UTF-8, keys in the order of the columns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def write(rows: pa.Table) -> None:
            for row in rows.select(schema.names).to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

        yield write


@contextlib.contextmanager
def open_parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """One Parquet file, zstd; small row groups where it carries images."""
    size = EMBEDDED_ROW_GROUP if any(field.type == EMBEDDED_TYPE for field in schema) else ROW_GROUP
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: pa.Table) -> None:
            writer.write_table(rows.select(schema.names).cast(schema), row_group_size=size)

        yield write


WRITERS: Final[dict[str, Callable[[Path, pa.Schema], contextlib.AbstractContextManager[Write]]]] = {
    "csv": open_csv,
    "jsonl": open_jsonl,
    "parquet": open_parquet,
}


def read_table(path: Path) -> pa.Table:
    """Read back what a writer wrote (by its ending), without embedded images; CSV cells keep their types.

    Raises:
        ValueError: the ending is none of ours.
    """
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        names = [field.name for field in file.schema_arrow if field.type != EMBEDDED_TYPE]
        return file.read(columns=names)
    if path.suffix == ".jsonl":
        lines = path.read_bytes().splitlines()
        return pa.Table.from_pylist([json.loads(line) for line in lines])
    if path.suffix == ".csv":
        csv.field_size_limit(_LONGEST_CELL)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return pa.Table.from_pylist([{k: v if v != "" else None for k, v in row.items()} for row in rows])
    raise ValueError(f"{path.name} is neither .csv, .jsonl nor .parquet")
