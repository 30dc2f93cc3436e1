"""Rows of Parquet and Arrow files, image bytes left where they are; what cannot be read is a row that says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError
from webclean.io.readers import arrow_rows, features, uris

if TYPE_CHECKING:
    import pyarrow as pa

KINDS: Final = ("parquet", "arrow")
_ROWS_AT_ONCE: Final = 512  # with their bytes in memory, a few hundred megabytes of large photos
_MOST_BAD_ROWS: Final = 1 << 20
_PATH: Final = "path"
_BYTES: Final = "bytes"
Row = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    error: str


class Columnar:
    """A table of one of `KINDS`.

    Attributes:
        names: columns that a row has: those that hold no bytes, the column of images, and `path` where that
            column has one for each image.
        bytes_column: the column of images, None without one.
        named_column: the same where a uri has to name it, since others hold bytes too.
        labels: columns of integer labels, which the rows give by name.
    """

    def __init__(self, path: str, source: Any, config: IngestConfig, *, kind: str) -> None:
        """Read the schema.

        Args:
            path: of the file, for messages.
            source: the path again, or for Parquet an open file.
            config: `bytes_column` and `path_column`.
            kind: parquet or arrow.

        Raises:
            ArtifactInvalidError: the file is not of this kind.
            ColumnMissingError: the column of images is not clear, or a name stands twice.
        """
        self._file: _Parquet | _Arrow = _Parquet(path, source) if kind == "parquet" else _Arrow(path)
        try:
            self._read_schema(self._file.schema, path, config)
        except UnicodeDecodeError as error:
            raise ArtifactInvalidError(f"a column's name is not UTF-8: {error}", context=path) from error

    def _read_schema(self, schema: pa.Schema, path: str, config: IngestConfig) -> None:
        doubled = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if doubled:
            raise ColumnMissingError(f"the table names a column twice: {', '.join(doubled)}", context=path)
        self._features = features.of_metadata(schema.metadata)
        self.labels = tuple(name for name in self._features.labels if name in schema.names)
        of_bytes = uris.bytes_columns(schema)
        wanted = config.bytes_column
        if wanted is None and len(of_bytes) > 1 and len(self._features.images) == 1:
            wanted = self._features.images[0]
        self.bytes_column = uris.bytes_column(schema, wanted, path)
        self.named_column = wanted
        self._wanted = [field.name for field in schema if not _holds_binary(field.type)]
        self._own_path = config.path_column or _PATH
        self._has_path = self.bytes_column is not None and _has_path(schema.field(self.bytes_column).type)
        self.names = [name for name in schema.names if name in self._wanted or name == self.bytes_column]
        if self._has_path and _PATH not in self.names:
            self.names.append(_PATH)

    def rows(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Every row and its number (0-based); of image bytes only whether they are there."""
        number = 0
        for num_rows, batches in self._file.groups(self._wanted, self.bytes_column, self._has_path):
            end = number + num_rows
            error = "rows of this part of the file are missing"
            try:
                for batch in batches:
                    for row in self._rows_of(batch):
                        yield number, row
                        number += 1
            except _broken() as reason:
                error = f"this part of the file cannot be read: {reason}"
            if end - number > _MOST_BAD_ROWS:  # as damaged metadata may claim
                yield number, BadRow(f"{error} ({end - number} rows)")
                number = end
            while number < end:
                yield number, BadRow(error)
                number += 1
        if self._file.problem is not None:
            yield number, BadRow(self._file.problem)

    def _rows_of(self, batch: _Batch) -> Iterator[Row | BadRow]:
        cells = [_cells(column) for column in batch.columns]
        paths = repeat(None) if batch.paths is None else _cells(batch.paths)
        for values, has_bytes, path in zip(
            zip(*cells, strict=True) if cells else repeat(()), batch.has_bytes, paths, strict=False
        ):
            bad = next((value for value in (*values, path) if isinstance(value, BadRow)), None)
            yield bad or self._row(values, has_bytes, path)

    def _row(self, values: Sequence[Any], has_bytes: bool, path: Any) -> Row:
        row: Row = dict(zip(self._wanted, values, strict=True))
        if self.bytes_column is not None:
            row[self.bytes_column] = has_bytes
        if path and not row.get(self._own_path):
            row.setdefault(_PATH, path)
        for column in self.labels:
            row[column] = self._features.label(column, row.get(column))
        return row


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows as columns: the plain ones, whether each row has bytes, and the path beside the bytes."""

    columns: list[pa.Array]
    has_bytes: list[bool]
    paths: pa.Array | None


class _Parquet:
    """The row groups of a Parquet file."""

    problem = None  # a torn file has no footer, and is not read at all

    def __init__(self, path: str, source: Any) -> None:
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(source)
        except _broken() as error:
            raise ArtifactInvalidError(
                f"the table is not readable as Parquet: {error}", context=path
            ) from error
        self.schema: pa.Schema = self._file.schema_arrow

    def groups(
        self, wanted: list[str], bytes_column: str | None, has_path: bool
    ) -> Iterator[tuple[int, Iterator[_Batch]]]:
        for group in range(self._file.metadata.num_row_groups):
            num_rows = self._file.metadata.row_group(group).num_rows
            yield num_rows, self._batches(group, num_rows, wanted, bytes_column, has_path)

    def _batches(
        self, group: int, num_rows: int, wanted: list[str], bytes_column: str | None, has_path: bool
    ) -> Iterator[_Batch]:
        import pyarrow.compute as pc

        has_bytes = None if bytes_column is None else self._has_bytes(group, num_rows, bytes_column)
        leaves = [*wanted, *([f"{bytes_column}.{_PATH}"] if has_path else [])]
        start = 0
        for batch in self._file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=leaves):
            yield _Batch(
                [batch.column(name) for name in wanted],
                has_bytes[start : start + batch.num_rows] if has_bytes else [False] * batch.num_rows,
                pc.struct_field(batch.column(bytes_column), _PATH) if has_path else None,
            )
            start += batch.num_rows

    def _has_bytes(self, group: int, num_rows: int, bytes_column: str) -> list[bool]:
        leaf = f"{bytes_column}.{_BYTES}" if self._is_struct(bytes_column) else bytes_column
        found: list[bool] = []
        # The statistics would tell without reading, but asking pyarrow for damaged ones aborts the process.
        for batch in self._file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[leaf]):
            found += arrow_rows.bytes_of(batch.column(bytes_column)).is_valid().to_pylist()
        if len(found) != num_rows:
            raise OSError(f"{len(found)} of {num_rows} rows are there")
        return found

    def _is_struct(self, column: str) -> bool:
        import pyarrow as pa

        return bool(pa.types.is_struct(self.schema.field(column).type))


class _Arrow:
    """The batches of an Arrow file."""

    def __init__(self, path: str) -> None:
        self._file = arrow_rows.ArrowFile(path)
        self.schema = self._file.schema
        self.problem = self._file.problem

    def groups(
        self, wanted: list[str], bytes_column: str | None, has_path: bool
    ) -> Iterator[tuple[int, Iterator[_Batch]]]:
        for batch in self._file.batches:
            yield batch.num_rows, self._parts(batch, wanted, bytes_column, has_path)

    def _parts(
        self, whole: pa.RecordBatch, wanted: list[str], bytes_column: str | None, has_path: bool
    ) -> Iterator[_Batch]:
        import pyarrow.compute as pc

        for start in range(0, whole.num_rows, _ROWS_AT_ONCE):
            batch = whole.slice(start, _ROWS_AT_ONCE)
            column = None if bytes_column is None else batch.column(bytes_column)
            yield _Batch(
                [batch.column(name) for name in wanted],
                [False] * batch.num_rows
                if column is None
                else arrow_rows.bytes_of(column).is_valid().to_pylist(),
                pc.struct_field(column, _PATH) if has_path else None,
            )


def _has_path(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and any(field.name == _PATH for field in kind)


def _holds_binary(kind: pa.DataType) -> bool:
    """Whether values of this type hold bytes at any depth: masks, thumbnails, lists of images."""
    import pyarrow as pa

    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or any(map(_holds_binary, inner))


def _cells(column: pa.Array) -> list[Any]:
    """The values of a column; text that is not UTF-8 gets U+FFFD, a value that has no meaning is a `BadRow`.

    Raises:
        pa.ArrowException: offsets lead out of the column.
    """
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.view(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())
        raw.validate(full=True)
        return [None if value is None else value.decode("utf-8", "replace") for value in raw.to_pylist()]
    column.validate(full=True)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):  # one value spoils the whole; the others are fine
        values = [_cell(value) for value in column]
    return values


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:  # a date beyond Python's, say
        return BadRow(f"a value cannot be read: {error}")


def _broken() -> tuple[type[Exception], ...]:
    """What reading a broken file raises."""
    import pyarrow as pa

    return (OSError, UnicodeDecodeError, pa.ArrowException)
