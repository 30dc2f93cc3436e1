"""Batches of records, however many: the first ones in memory, the others in a file without a name."""

from __future__ import annotations

import errno
import tempfile
from array import array
from io import FileIO
from typing import Final

import pyarrow as pa

from webclean.errors import StorageFullError
from webclean.io.readers.records import RECORD_SCHEMA

IN_MEMORY: Final = 16 << 20  # bytes: some ten thousand records with their texts
_CODEC: Final = "lz4"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spill:
    """Batches of `RECORD_SCHEMA`, appended one after another and read in any order."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._nbytes = 0
        self._file: FileIO | None = None
        self._places = array("Q", [0])  # where each batch of the file begins, and where the last one ends
        self._sizes = array("Q")  # of the batches in the file before they were compressed

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._batches) + len(self._sizes)

    def __getitem__(self, index: int) -> pa.RecordBatch:
        if index < len(self._batches):
            return self._batches[index]
        index -= len(self._batches)
        assert self._file is not None, "what is not in memory is in the file"
        self._file.seek(self._places[index])
        packed = self._file.read(self._places[index + 1] - self._places[index])
        raw = pa.decompress(packed, decompressed_size=self._sizes[index], codec=_CODEC)
        return pa.ipc.read_record_batch(raw, RECORD_SCHEMA)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch behind the others.

        Raises:
            StorageFullError: the temp folder is full.
        """
        self._nbytes += batch.nbytes
        if self._file is None and self._nbytes <= IN_MEMORY:
            self._batches.append(batch)
            return
        raw = batch.serialize()
        packed = pa.compress(raw, codec=_CODEC, asbytes=True)
        try:
            if self._file is None:
                # Without a name it is gone with the process, however that ends; and without a buffer,
                # which would be written once more when the file is closed on a full disk.
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            self._file.seek(self._places[-1])
            left = memoryview(packed)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise StorageFullError(
                f"no space left for the list of records ({self._places[-1] >> 20} MiB so far)",
                context=f"it is sorted in the temp folder {tempfile.gettempdir()}",
                hint="free space there, or set TMPDIR to a folder on a disk with 1 GB for each million records",
            ) from error
        self._places.append(self._places[-1] + len(packed))
        self._sizes.append(raw.size)
