"""Rows of numbers in a file without a name, which goes with the process: room on the disk, none in memory."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class ScratchRows(np.memmap):
    """An array in a file that gives back what it is asked for as a copy, and lets go of the pages it was in."""

    @classmethod
    def zeros(cls, folder: Path, shape: tuple[int, ...], dtype: Any) -> Self | NDArray[Any]:
        """Zeros in a file of this folder; in memory where there is nothing to hold."""
        if 0 in shape:
            return np.zeros(shape, dtype=dtype)
        with tempfile.TemporaryFile(dir=folder) as file:
            return cls(file, dtype=dtype, shape=shape)

    def __getitem__(self, key: Any) -> Any:
        """A copy of these numbers."""
        found = np.array(np.asarray(self)[key])
        self._let_go()
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write these numbers."""
        np.asarray(self)[key] = value
        self._let_go()

    def _let_go(self) -> None:
        pages = self._mmap  # type: ignore[attr-defined]
        if pages is not None:  # what arithmetic makes of the rows is in memory
            pages.madvise(mmap.MADV_DONTNEED)
