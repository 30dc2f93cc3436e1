"""Rows by their code: one sort in place of a scan of all rows for each code.

N rows, U distinct codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rows_by_code(
    code_N: ArrayLike, among_N: NDArray[np.bool_] | None = None
) -> list[tuple[int, NDArray[np.int64]]]:
    """Each code that occurs, rising, with the rows that bear it, rising.

    Args:
        code_N: int (N,).
        among_N: bool (N,), the rows to look at; none given: all.
    """
    code_N = np.asarray(code_N, dtype=np.int64)
    row_M = np.arange(len(code_N)) if among_N is None else np.flatnonzero(among_N)
    row_M = row_M[np.argsort(code_N[row_M], kind="stable")]
    code_U, start_U = np.unique(code_N[row_M], return_index=True)
    # What stands before the first start is nothing; it is there even where no row is.
    return list(zip(code_U.tolist(), np.split(row_M, start_U)[1:], strict=True))
