"""Rows of Arrow files, as Hugging Face's `datasets` saves them: opened by memory map, each row within reach.

A file in a store is copied to the temp folder and mapped there; the copy goes with the map.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from webclean.errors import ArtifactInvalidError, ColumnMissingError, DataError

if TYPE_CHECKING:  # a worker that reads plain files starts without it
    import pyarrow as pa

ENDING: Final = ".arrow"
_FILE_MAGIC: Final = b"ARROW1"
_CONTINUATION: Final = b"\xff\xff\xff\xff"  # before each message, but in streams of before Arrow 0.15
_NO_MORE: Final = b"\0\0\0\0"


class ArrowFile:
    """An Arrow stream or file; its batches lie in the map, so that only what is looked at is read.

    Attributes:
        schema: of all batches.
        batches: in their order.
        starts: row (0-based) at which each batch begins, and the number of all rows behind them.
        problem: why there are fewer rows than were written, None where the file is whole.
    """

    def __init__(self, path: str) -> None:
        """Find the batches of a file: a path, or a URL.

        Raises:
            ArtifactInvalidError: it is no Arrow file, or ends before its schema does.
            DataError: a store does not have it, or refuses.
            OSError: it cannot be opened.
        """
        import pyarrow as pa

        self.batches: list[pa.RecordBatch] = []
        self.starts = [0]
        self.problem: str | None = None
        with _here(path) as local:
            if os.path.getsize(local) == 0:  # an empty file cannot be mapped
                raise ArtifactInvalidError("the file is empty", context=path)
            source = pa.memory_map(local)
        try:
            if source.read_at(len(_FILE_MAGIC), 0) == _FILE_MAGIC:
                self._read_file(source)
            else:
                self._read_stream(source)
        except (pa.ArrowException, OSError) as error:
            raise ArtifactInvalidError(f"the file is not readable as Arrow: {error}", context=path) from error

    def _read_file(self, source: pa.MemoryMappedFile) -> None:
        import pyarrow as pa

        reader = pa.ipc.open_file(source)
        self.schema = reader.schema
        for index in range(reader.num_record_batches):
            self._add(reader.get_batch(index))

    def _read_stream(self, source: pa.MemoryMappedFile) -> None:
        import pyarrow as pa

        reader = pa.ipc.open_stream(source)
        self.schema = reader.schema
        try:
            for batch in reader:
                self._add(batch)
        except (pa.ArrowException, OSError) as error:
            self.problem = f"the file is torn: {error}"
            return
        # A stream that was cut between two batches reads as if it ended there.
        is_new = source.read_at(len(_CONTINUATION), 0) == _CONTINUATION
        end = _CONTINUATION + _NO_MORE if is_new else _NO_MORE
        if source.read_at(len(end), source.size() - len(end)) != end:
            self.problem = "the file is torn: it has no end mark"

    def _add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.starts.append(self.starts[-1] + batch.num_rows)


@contextlib.contextmanager
def _here(place: str) -> Iterator[str]:
    """The path of a file; of a remote one of a copy, whose name is gone afterwards and which lives as long as it is mapped."""
    from webclean.io.readers import places, uris

    if not uris.is_remote(place):
        yield place
        return
    with tempfile.NamedTemporaryFile(suffix=ENDING) as copy:
        with places.fetch(place) as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.name


def bytes_of(column: pa.Array) -> pa.Array:
    """The bytes of a column of images: itself, or the field `bytes` of its structs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


class _Images:
    """The column of image bytes of one Arrow file."""

    def __init__(self, path: str, column: str | None) -> None:
        from webclean.io.readers import uris

        self._file = ArrowFile(path)
        chosen = uris.bytes_column(self._file.schema, column, path)
        if chosen is None:
            raise ColumnMissingError("no column holds image bytes", context=path)
        self._index = self._file.schema.get_field_index(chosen)
        self._columns: dict[int, pa.Array] = {}

    def read(self, row: int) -> bytes:
        starts = self._file.starts
        if not 0 <= row < starts[-1]:
            raise FileNotFoundError(errno.ENOENT, f"the table has {starts[-1]} rows")
        batch = bisect.bisect_right(starts, row) - 1
        if batch not in self._columns:
            column = bytes_of(self._file.batches[batch].column(self._index))
            column.validate(full=True)  # offsets of a broken file may lead anywhere
            self._columns[batch] = column
        value = self._columns[batch][row - starts[batch]]
        if not value.is_valid:
            raise FileNotFoundError(errno.ENOENT, "the row has no bytes")
        return bytes(value.as_py())


@lru_cache(maxsize=4)
def _images(path: str, column: str | None) -> _Images:
    return _Images(path, column)


def read_row(path: str, row: int, column: str | None) -> bytes:
    """The image bytes of a row (0-based) of an Arrow file, a path or URL; `column` where several hold bytes.

    Raises:
        FileNotFoundError: there is no such row, or it has no bytes.
        OSError: the file cannot be read.
        ColumnMissingError: no column of image bytes, or more than one.
    """
    try:
        return _images(path, column).read(row)
    except ColumnMissingError:
        raise
    except DataError as error:  # the file is no Arrow file, or its store does not have it
        raise OSError(errno.EIO, error.message) from error
