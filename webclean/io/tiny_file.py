"""Tiny copies of images in one file of the run's scratch folder: for a crawl whose copies together fill the memory."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from webclean.io.decode import TINY_SIDE
from webclean.io.run_dir import RunDir

_SHAPE = (TINY_SIDE, TINY_SIDE, 3)
_NBYTES = TINY_SIDE * TINY_SIDE * 3


class TinyFile:
    """(N, 16, 16, 3) uint8 on a disk, written in order and then read by rows; gone when it is left.

    Args:
        run: the run folder.
        name: of the file; one left behind by a killed process is written over.
    """

    def __init__(self, run: RunDir, name: str) -> None:
        self._path = run.scratch("tiny") / name
        self._writer = self._path.open("w+b")
        self._num = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._path.unlink(missing_ok=True)

    def append(self, tiny_PSSC: NDArray[np.uint8]) -> None:
        """Write the next copies."""
        if tiny_PSSC.shape[1:] != _SHAPE or tiny_PSSC.dtype != np.uint8:
            raise ValueError(f"expected (P, 16, 16, 3) uint8, got {tiny_PSSC.shape} {tiny_PSSC.dtype}")
        self._writer.write(np.ascontiguousarray(tiny_PSSC).data)
        self._num += len(tiny_PSSC)

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, row_P: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The copies of some rows, in memory."""
        if not len(row_P):
            return np.empty((0, *_SHAPE), dtype=np.uint8)
        self._writer.flush()
        # Read and not mapped: around each page that is asked for the kernel maps fifteen others, and all of them would
        # count as this process's memory.
        file = self._writer.fileno()
        octets = b"".join([os.pread(file, _NBYTES, at) for at in (row_P * _NBYTES).tolist()])
        return np.frombuffer(octets, dtype=np.uint8).reshape(-1, *_SHAPE)
