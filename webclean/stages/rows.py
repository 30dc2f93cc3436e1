"""Row helpers of the stages: artefacts read in step with `images`, and columns as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import policies
from webclean.stages.base import Context, Counts

if TYPE_CHECKING:
    import pyarrow as pa


class Follow:
    """Reads an artefact of one row per image, or per usable image, alongside `images`.

    Both stand in image order, so a merge needs one part of each in memory and no index.
    """

    def __init__(self, run: RunDir, artefact: str, table: schema.Table, columns: Sequence[str]) -> None:
        import pyarrow as pa

        names = (schema.IMAGE_ID, *columns)
        stored = tables.arrow_schema(table)
        self._where = f"{run.url}/{artefact}"
        self._parts: Iterator[pa.Table] = tables.iter_parts(run, artefact, table, names)
        self._none = pa.schema([stored.field(name) for name in names]).empty_table()
        self._rest = self._none

    def take(self, image_id: pa.ChunkedArray) -> pa.Table:
        """The next rows, which must be those of exactly these images.

        Raises:
            ArtifactInvalidError: other images, or fewer, come next.
        """
        import pyarrow as pa

        pieces, lacking = [self._none], len(image_id)
        while lacking:
            if self._rest.num_rows == 0:
                following = next(self._parts, None)
                if following is None:
                    raise self._broken()
                self._rest = following.select(self._none.column_names)
            piece = self._rest.slice(0, lacking)
            self._rest = self._rest.slice(piece.num_rows)
            pieces.append(piece)
            lacking -= piece.num_rows
        rows = pa.concat_tables(pieces)
        if not rows.column(schema.IMAGE_ID).equals(image_id):
            raise self._broken()
        return rows

    def _broken(self) -> ArtifactInvalidError:
        return ArtifactInvalidError(
            f"{self._where} does not hold the images of `{schema.IMAGES}` in their order",
            hint="run the stage that writes it again with --force",
        )


class Codes:
    """Numbers distinct strings in the order in which they are met; null is a value of its own."""

    def __init__(self) -> None:
        self._code_of: dict[str | None, int] = {}

    def __len__(self) -> int:
        return len(self._code_of)

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """int64 codes of one column of strings."""
        return _coded(column, lambda value: self._code_of.setdefault(value, len(self._code_of)))


NO_CATEGORY = -1
"""Code of a category that is not in the table: only rows bear it that are no usable images."""


class Categories:
    """The category table as numbers: code = category_id."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._in_use: frozenset[str | None] | None = None
        rows = tables.read(run, schema.CATEGORIES, schema.CATEGORIES_TABLE, (schema.CATEGORY_ID, schema.NAME))
        ids = rows.column(schema.CATEGORY_ID).to_pylist()
        self.name_of: dict[int, str] = dict(zip(ids, rows.column(schema.NAME).to_pylist(), strict=True))
        self._id_of = {name: code for code, name in self.name_of.items()}
        self.num = max(ids, default=-1) + 1

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """int64 category_id of each image's category name; `NO_CATEGORY` for a category of excluded rows.

        Raises:
            ArtifactInvalidError: a usable image's category is not in the category table.
        """
        return _coded(column, self._code)

    def _code(self, name: str | None) -> int:
        if name is not None and name in self._id_of:
            return self._id_of[name]
        if name in self._names_in_use():
            raise ArtifactInvalidError(
                f"category {name!r} of an image is not in `{schema.CATEGORIES}`",
                hint="run `webclean ingest` again with --force",
            )
        return NO_CATEGORY

    def _names_in_use(self) -> frozenset[str | None]:
        """Categories of the usable images, read when the first name is met that the table lacks."""
        if self._in_use is None:
            wanted = (schema.CATEGORY, schema.STATUS)
            parts = tables.iter_parts(self._run, schema.IMAGES, schema.IMAGES_TABLE, wanted)
            self._in_use = frozenset(
                name
                for part in parts
                for name in part.filter(is_usable(part)).column(schema.CATEGORY).unique().to_pylist()
            )
        return self._in_use

    def by_name(self, value_C: NDArray[np.float64], *, digits: int = 4) -> dict[str, float]:
        """Numbers of the categories under their names, rounded for people; NaN is left out."""
        return {
            name: round(float(value_C[code]), digits)
            for code, name in sorted(self.name_of.items())
            if np.isfinite(value_C[code])
        }


def _coded(column: pa.ChunkedArray, code: Callable[[str | None], int]) -> NDArray[np.int64]:
    # The dictionary holds each distinct string once: Python looks at those, NumPy at the rows.
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    code_of_U = np.array([code(value) for value in encoded.dictionary.to_pylist()], dtype=np.int64)
    return np.asarray(code_of_U[encoded.indices.to_numpy(zero_copy_only=False)], dtype=np.int64)


def floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers as float64, null as NaN."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """A column of booleans without nulls."""
    return np.asarray(column.to_numpy(), dtype=np.bool_)


def padded(column: pa.ChunkedArray, width: int, fill: float, dtype: Any) -> NDArray[Any]:
    """The first `width` entries of each list as an array (N, width), filled up where a list is shorter."""
    import pyarrow as pa

    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if not chunks:
        return np.full((0, width), fill, dtype=dtype)
    lists = pa.concat_arrays(chunks)
    length_N = np.diff(lists.offsets.to_numpy())
    values = lists.values.to_numpy(zero_copy_only=False)
    place_NK = lists.offsets.to_numpy()[:-1, None] + np.arange(width)
    there_NK = np.arange(width) < length_N[:, None]
    if len(values) == 0:
        return np.full(there_NK.shape, fill, dtype=dtype)
    found_NK = values[np.minimum(place_NK, len(values) - 1)]
    return np.where(there_NK, found_NK, fill).astype(dtype)


def is_usable(part: pa.Table) -> NDArray[np.bool_]:
    """Which images of a part of `images` can be read."""
    import pyarrow.compute as pc

    return flags(pc.equal(part.column(schema.STATUS), schema.STATUS_OK))


def count_statuses(status: pa.ChunkedArray, into: dict[str, int]) -> None:
    """Add one part's statuses to the counts."""
    for found in status.value_counts().to_pylist():
        into[found["values"]] = into.get(found["values"], 0) + found["counts"]


def not_usable(run: RunDir) -> dict[str, int]:
    """How many rows of `images` are no usable images: bad files, and those that the user excluded."""
    statuses: dict[str, int] = {}
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, (schema.STATUS,)):
        count_statuses(part.column(schema.STATUS), statuses)
    return left_out(statuses)


def left_out(statuses: Mapping[str, int]) -> dict[str, int]:
    """Counts of statuses as counts of the reasons for which rows are no usable images."""
    excluded = statuses.get(schema.STATUS_EXCLUDED, 0)
    bad = sum(statuses.values()) - statuses.get(schema.STATUS_OK, 0) - excluded
    found = {schema.REASON_BAD_FILE: bad, schema.REASON_EXCLUDED: excluded}
    return {reason: num for reason, num in found.items() if num}


def collect(
    ctx: Context,
    columns: Sequence[str],
    label: str,
    of_part: Callable[[pa.Table, NDArray[np.bool_]], Mapping[str, NDArray[Any]]],
) -> tuple[dict[str, NDArray[Any]], Counts]:
    """What `of_part` makes of each part of `images`, joined, and the counts of a stage that gives each a row.

    Args:
        ctx: of the stage.
        columns: those of `images` that `of_part` reads, besides image id and status.
        label: of the progress bar.
        of_part: arrays with one entry for each row, from a part and which of its images are usable.
    """
    joined: dict[str, list[NDArray[Any]]] = {}
    statuses: dict[str, int] = {}
    total = tables.num_rows(ctx.run, schema.IMAGES)
    wanted = (schema.IMAGE_ID, schema.STATUS, *columns)
    with ctx.progress(total=total, unit="images", label=label) as bar:
        for part in tables.iter_parts(ctx.run, schema.IMAGES, schema.IMAGES_TABLE, wanted):
            count_statuses(part.column(schema.STATUS), statuses)
            for name, values in of_part(part, is_usable(part)).items():
                joined.setdefault(name, []).append(values)
            bar.advance(part.num_rows)
    usable = statuses.pop(schema.STATUS_OK, 0)
    left = {policies.status_reason(status): num for status, num in sorted(statuses.items())}
    # One column after the other lets go of its pieces.
    return {name: np.concatenate(joined.pop(name)) for name in list(joined)}, Counts(total, usable, left)


def refuse_in_sample(judged: pa.Table) -> None:
    """A prediction on an image that its judge was trained on repeats the label, however wrong.

    Raises:
        ConfigError: a prediction is in sample.
    """
    if flags(judged.column(schema.IN_SAMPLE)).any():
        raise ConfigError(
            "in-sample predictions cannot weigh labels: the judge has seen these very labels",
            hint="use a judge whose predictions are out of sample",
        )


def write_columns(
    run: RunDir,
    artefact: str,
    table: schema.Table,
    columns: Mapping[str, NDArray[Any] | tuple[NDArray[Any], NDArray[np.bool_]]],
) -> None:
    """Write one row for every image, in the parts of `images`; parts that are there already stay.

    Args:
        run: the run folder.
        artefact: path of the artefact.
        table: its schema.
        columns: all but image_id: values, or (values, True where null).
    """
    import pyarrow as pa

    start = 0
    parts = tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID,))
    for index, part in enumerate(parts):
        rows = slice(start, start + part.num_rows)
        start += part.num_rows
        if tables.has_part(run, artefact, index):
            continue
        data: dict[str, Any] = {schema.IMAGE_ID: part.column(schema.IMAGE_ID)}
        for name, column in columns.items():
            values_N, null_N = column if isinstance(column, tuple) else (column, None)
            data[name] = pa.array(values_N[rows], mask=None if null_N is None else null_N[rows])
        tables.write_part(run, artefact, index, data, table)
