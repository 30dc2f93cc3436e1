"""The table of an export as CSV, JSON lines or Parquet: streamed, and the same rows give the same bytes."""

from __future__ import annotations

import bisect
import contextlib
import csv
import io
import itertools
import json
import os
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
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        return pa.Table.from_pylist([{k: v if v != "" else None for k, v in row.items()} for row in rows])
    raise ValueError(f"{path.name} is neither .csv, .jsonl nor .parquet")


class EmbeddedImages:
    """Images inside a Parquet file by row number; a few rows around the asked one are in memory.

    The file is opened anew in each process, so that a copy in a data loader's worker shares no handle.
    """

    def __init__(self, path: Path, column: str = EMBEDDED_COLUMN) -> None:
        self._path, self._column = path, column
        self._process: int | None = None
        self._file: Any = None
        self._starts: list[int] = []
        self._group = -1
        self._rows: Any = None

    def read(self, row: int) -> bytes:
        """The bytes of the image in this row.

        Raises:
            IndexError: there is no such row.
        """
        self._open()
        group = bisect.bisect_right(self._starts, row) - 1
        if row < 0 or row >= self._file.metadata.num_rows:
            raise IndexError(f"{self._path} has no row {row}")
        if group != self._group:
            self._rows = self._file.read_row_group(group, columns=[self._column]).column(0).combine_chunks()
            self._group = group
        return bytes(self._rows[row - self._starts[group]]["bytes"].as_py())

    def _open(self) -> None:
        if self._process == os.getpid():
            return
        self._file = pq.ParquetFile(self._path)
        metadata = self._file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._starts = [0, *itertools.accumulate(sizes)][:-1]
        self._process, self._group, self._rows = os.getpid(), -1, None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "column": self._column}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["column"])  # type: ignore[misc]
