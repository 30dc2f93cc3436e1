"""Reading and writing artefacts: folders of part-*.parquet, checked against the schema both ways."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from webclean.errors import ArtifactInvalidError, ArtifactMissingError
from webclean.io.run_dir import RunDir
from webclean.schema import Table

PART_ROWS = 1024  # rows per part of every per-image artefact: one task, one unit of resume

_PART = re.compile(r"part-(\d{5,})\.parquet")
_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(), "binary": pa.binary(), "bool": pa.bool_(), "int32": pa.int32(),
    "int64": pa.int64(), "uint64": pa.uint64(), "float32": pa.float32(), "float64": pa.float64(),
}  # fmt: skip


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type that a schema's type name stands for."""
    if text in _SCALARS:
        return _SCALARS[text]
    if match := re.fullmatch(r"list<(\w+)>", text):
        return pa.list_(_SCALARS[match[1]])
    if match := re.fullmatch(r"fixed_list<(\w+),(\d+)>", text):
        return pa.list_(_SCALARS[match[1]], int(match[2]))
    raise ValueError(f"no Arrow type {text!r}")


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.nullable) for c in table.columns])


def part_name(index: int) -> str:
    """File name of part number `index`."""
    return f"part-{index:05d}.parquet"


def to_arrow(data: pa.Table | Mapping[str, Any], table: Table) -> pa.Table:
    """Columns as an Arrow table of exactly the schema's names, order and types.

    Raises:
        ArtifactInvalidError: a column is missing or unknown, has the wrong type, or a null where
            none may be.
    """
    columns: Mapping[str, Any] = (
        {name: data.column(name) for name in data.column_names} if isinstance(data, pa.Table) else data
    )
    if set(columns) != set(table.column_names):
        missing = sorted(set(table.column_names) - set(columns))
        unknown = sorted(set(columns) - set(table.column_names))
        raise ArtifactInvalidError(f"{table.name}: missing columns {missing}, unknown columns {unknown}")
    schema = arrow_schema(table)
    arrays: list[pa.Array] = []
    for field in schema:
        try:
            values = columns[field.name]
            if isinstance(values, pa.Array | pa.ChunkedArray):
                array = values.cast(field.type)
            else:
                array = _from_python(values, field.type)
        except (
            ValueError,
            TypeError,
            OverflowError,
            NotImplementedError,
        ) as error:  # Arrow's are kinds of these
            raise ArtifactInvalidError(f"{table.name}.{field.name}: not {field.type}: {error}") from error
        if not field.nullable and array.null_count:
            raise ArtifactInvalidError(f"{table.name}.{field.name}: {array.null_count} nulls")
        if arrays and len(array) != len(arrays[0]):
            raise ArtifactInvalidError(
                f"{table.name}.{field.name}: {len(array)} values, the columns before have {len(arrays[0])}"
            )
        arrays.append(array)
    return pa.table(arrays, schema=schema)


def _from_python(values: Any, kind: pa.DataType) -> pa.Array:
    # Arrow cuts the fractions of Python's floats without a word where integers are wanted.
    if pa.types.is_integer(kind) and any(isinstance(value, float) for value in values):
        return pa.array(values, type=pa.float64()).cast(kind)
    return pa.array(values, type=kind)


def write_part(
    run: RunDir, artefact: str, index: int, data: pa.Table | Mapping[str, Any], table: Table
) -> None:
    """Write one part atomically; the same rows give the same bytes.

    Raises:
        ArtifactInvalidError: the rows break the schema or its key.
        StorageFullError: no space is left.
    """
    rows = to_arrow(data, table)
    _check_key(rows, table)
    buffer = io.BytesIO()
    pq.write_table(rows.combine_chunks(), buffer, compression="zstd", store_schema=True)
    run.write_bytes(f"{artefact}/{part_name(index)}", buffer.getvalue())


def _check_key(rows: pa.Table, table: Table) -> None:
    if rows.num_rows and rows.group_by(list(table.key)).aggregate([]).num_rows != rows.num_rows:
        raise ArtifactInvalidError(f"{table.name}: {', '.join(table.key)} is not unique")


def has_part(run: RunDir, artefact: str, index: int) -> bool:
    """Whether part number `index` has been written."""
    return run.exists(f"{artefact}/{part_name(index)}")


def part_names(run: RunDir, artefact: str) -> list[str]:
    """File names of the parts, in order."""
    return sorted(
        (name for name in run.list(artefact) if _PART.fullmatch(name)),
        key=lambda n: int(_PART.fullmatch(n)[1]),  # type: ignore[index]
    )


def iter_parts(
    run: RunDir, artefact: str, table: Table, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the parts in order, one in memory at a time.

    Raises:
        ArtifactMissingError: the artefact has no part.
        ArtifactInvalidError: a part does not have the schema.
    """
    names = part_names(run, artefact)
    if not names:
        raise ArtifactMissingError(f"{run.url}/{artefact} has no parts")
    for name in names:
        yield read_part(run, artefact, name, table, columns)


def read_part(
    run: RunDir, artefact: str, name: str, table: Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """One part by file name, checked against the schema.

    Raises:
        ArtifactInvalidError: the part cannot be read or does not have the schema.
    """
    schema = arrow_schema(table)
    with _parquet(run, artefact, name) as stored:
        if not stored.schema_arrow.equals(schema):
            raise ArtifactInvalidError(
                f"{run.url}/{artefact}/{name} does not have the columns of {table.name}",
                hint="it was written by another version: run its stage again with --force",
            )
        return stored.read(columns=None if columns is None else list(columns))


@contextlib.contextmanager
def _parquet(run: RunDir, artefact: str, name: str) -> Iterator[pq.ParquetFile]:
    with run.open(f"{artefact}/{name}") as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise ArtifactInvalidError(
                f"{run.url}/{artefact}/{name} cannot be read: {error}",
                hint="remove it and run its stage again with --force",
            ) from error


def read(run: RunDir, artefact: str, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """All parts as one table: for tables of numbers per image and for small tables.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: as `iter_parts`.
    """
    parts = list(iter_parts(run, artefact, table, columns))
    return pa.concat_tables(parts).combine_chunks()


def num_rows(run: RunDir, artefact: str) -> int:
    """Rows of all parts, from their footers."""
    total = 0
    for name in part_names(run, artefact):
        with _parquet(run, artefact, name) as stored:
            total += stored.metadata.num_rows
    return total


def part_schema(run: RunDir, artefact: str) -> pa.Schema:
    """Arrow schema of the first part, for tables whose width is not fixed (features).

    Raises:
        ArtifactMissingError: the artefact has no part.
    """
    names = part_names(run, artefact)
    if not names:
        raise ArtifactMissingError(f"{run.url}/{artefact} has no parts")
    with _parquet(run, artefact, names[0]) as stored:
        return stored.schema_arrow
