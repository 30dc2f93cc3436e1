"""A person's own vectors of categories: a table with a name and the numbers that stand for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean.errors import ColumnMissingError, ConfigError
from webclean.io import row_tables
from webclean.schema import NAME, VECTOR

_WHAT: Final = "the vectors of the categories"
_HINT: Final = "columns are name and vector, or name and one column for each number"


def read_category_vectors(path: str) -> dict[str, NDArray[np.float64]]:
    """Name -> vector, float64 (D,), all of one length.

    `vector` is a list of numbers (Parquet), or text with numbers between spaces, commas or semicolons, in brackets
    or not. Without it, every other column is one number.

    Raises:
        ColumnMissingError: the table has no column name, or none besides it.
        ConfigError: a row without a name, twice, of another length, or with what is no finite number.
        ArtifactMissingError, ArtifactInvalidError: it is not there, or cannot be read as a table.
    """
    where = f"--category-vectors {path}"
    found: dict[str, NDArray[np.float64]] = {}
    row_of: dict[str, int] = {}
    for number, row in row_tables.iter_rows(path, _WHAT):
        if NAME not in row or len(row) < 2:
            raise ColumnMissingError(
                f"{where} needs a column name and numbers beside it",
                context=f"its columns: {', '.join(map(str, row)) or 'none'}",
                hint=_HINT,
            )
        name = "" if row[NAME] is None else str(row[NAME]).strip()
        here = f"{where}, row {number}"
        if not name:
            raise ConfigError(
                f"{here}, has no name", hint="give each row a category's name, or remove the row"
            )
        if name in found:
            raise ConfigError(
                f"{here}: {name!r} stands in row {row_of[name]} already", hint=f"remove row {number}"
            )
        vector = _vector(row, here)
        first = next(iter(found.values()), vector)
        if len(vector) != len(first):
            raise ConfigError(f"{here}: {len(vector)} numbers, the rows before have {len(first)}", hint=_HINT)
        found[name], row_of[name] = vector, number
    if not found:
        raise ConfigError(f"{where} has no rows", hint=_HINT)
    return found


def _vector(row: Mapping[str, Any], here: str) -> NDArray[np.float64]:
    cells: Sequence[Any] = [value for name, value in row.items() if name != NAME]
    if VECTOR in row:
        text = str(row[VECTOR] if row[VECTOR] is not None else "")
        try:
            cells = (
                json.loads(text) if text.startswith("[") else text.replace(",", " ").replace(";", " ").split()
            )
        except ValueError:
            cells = text.strip("[]").split()
    numbers = []
    for cell in cells:
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError):
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise ConfigError(f"{here}: {cell!r} is no finite number", hint=_HINT)
    if not numbers:
        raise ConfigError(f"{here}: no numbers", hint=_HINT)
    return np.asarray(numbers)
