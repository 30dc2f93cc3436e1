"""Tables that a person brings along to measure against: truth tables and lists of test images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ColumnMissingError, ConfigError

TRUE_CATEGORY: Final = ("true_category", "true_label", "category", "label")
KIND: Final = "kind"
UNCERTAIN: Final = "uncertain"

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_LONGEST_CELL: Final = 2**31 - 1


def read_columns(path: Path, *, skip_binary: bool = True) -> dict[str, list[Any]]:
    """Columns of a .csv, .tsv, .jsonl or .parquet table by name; an empty cell is None.

    Raises:
        ArtifactMissingError: the file is not there.
        ArtifactInvalidError: it cannot be read as a table.
        ConfigError: its ending is none of these.
    """
    try:
        if path.suffix in _DELIMITERS:
            return _read_delimited(path, _DELIMITERS[path.suffix])
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
            names = list(dict.fromkeys(name for row in rows for name in row))
            return {name: [row.get(name) for row in rows] for name in names}
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            wanted = [f.name for f in file.schema_arrow if not (skip_binary and pa.types.is_binary(f.type))]
            table = file.read(columns=wanted)
            return {name: table.column(name).to_pylist() for name in table.column_names}
    except FileNotFoundError as error:
        raise ArtifactMissingError(
            f"{path} does not exist",
            context="it is to say what each image truly shows",
            hint="give a .csv, .tsv, .jsonl or .parquet file: docs/formats.md has its columns",
        ) from error
    except OSError as error:
        raise ArtifactInvalidError(
            f"{path} cannot be read: {error.strerror}",
            hint="give a .csv, .tsv, .jsonl or .parquet file",
        ) from error
    except (ValueError, csv.Error, pa.ArrowException, AttributeError) as error:
        raise ArtifactInvalidError(f"{path} cannot be read as a table: {error}") from error
    raise ConfigError(
        f"{path} is no table that is read here", hint="give a .csv, .tsv, .jsonl or .parquet file"
    )


def _read_delimited(path: Path, delimiter: str) -> dict[str, list[Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        names = next(rows, [])
        cells: list[list[Any]] = [[] for _ in names]
        for row in rows:
            if not row:
                continue
            for i, column in enumerate(cells):
                column.append(row[i] if i < len(row) and row[i] != "" else None)
    return dict(zip(names, cells, strict=True))


def column(columns: dict[str, list[Any]], names: tuple[str, ...], path: Path) -> list[Any]:
    """The first of the named columns that is there.

    Raises:
        ColumnMissingError: none is.
    """
    for name in names:
        if name in columns:
            return columns[name]
    raise ColumnMissingError(
        f"{path} has no column {' or '.join(repr(name) for name in names)}",
        hint=f"it has: {', '.join(columns)}",
    )
