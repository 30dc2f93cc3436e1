"""Rows by key in a file: as many as there are, without holding them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

_AT_ONCE: Final = 500  # keys of one query
_CACHE_KIB: Final = 64 << 10  # of the file; with less, keys in no order are met on the disk


class RowStore:
    """Rows of cells by a key that is unique; which ones were taken is remembered.

    Attributes:
        num_rows: rows given.
        num_repeated: of them, those that are equal to an earlier one of their key.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.num_rows = 0
        self.num_repeated = 0

    def add(self, key: str, number: int, cells: list[Any]) -> bool:
        """Keep a row; False where another row of its key has other cells. Cells that are missing at the end are None."""
        while cells and cells[-1] is None:
            cells.pop()
        text = json.dumps(cells)
        self.num_rows += 1
        done = self._connection.execute(
            "insert into rows (key, number, cells) values (?, ?, ?) on conflict do nothing",
            (key, number, text),
        )
        if done.rowcount:
            return True
        (before,) = self._connection.execute("select cells from rows where key = ?", (key,)).fetchone()
        self.num_repeated += before == text
        return bool(before == text)

    def number_of(self, key: str) -> int:
        """The number that the row of a key was given with."""
        (number,) = self._connection.execute("select number from rows where key = ?", (key,)).fetchone()
        return int(number)

    def take(self, keys: Sequence[str]) -> dict[str, list[Any]]:
        """Cells of those of the keys that there are."""
        found: dict[str, list[Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"select key, cells from rows where key in ({marks})"
            found |= {key: json.loads(cells) for key, cells in self._connection.execute(query, some)}
            self._connection.execute(f"update rows set used = 1 where key in ({marks})", some)
        return found

    def num_unused(self) -> int:
        """Keys that were never taken."""
        (num,) = self._connection.execute("select count(*) from rows where used = 0").fetchone()
        return int(num)

    def some_unused(self, num: int) -> list[str]:
        """The first keys, in the order of their rows, that were never taken."""
        query = "select key from rows where used = 0 order by number limit ?"
        return [key for (key,) in self._connection.execute(query, (num,))]


@contextlib.contextmanager
def fresh(path: Path) -> Iterator[RowStore]:
    """An empty store in this file, which is removed at the end."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Made anew after a crash: nothing has to be safe on the disk.
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        connection.execute(
            "create table rows (key text primary key, number integer, cells text, used integer default 0) without rowid"
        )
        connection.execute("begin")
        yield RowStore(connection)
    finally:
        connection.close()
        path.unlink(missing_ok=True)
