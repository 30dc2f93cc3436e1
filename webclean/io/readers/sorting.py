"""Records in the order of their keys' bytes, sorted in runs and merged: memory does not grow with their number."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from webclean import schema
from webclean.io import tables
from webclean.io.readers.records import RECORD_SCHEMA
from webclean.io.readers.spill import Spill

_RUN_BYTES: Final = 32 << 20  # three times as much is held while they are sorted
_ORDER: Final = [(schema.SOURCE_KEY, "ascending")]
_KEY: Final = RECORD_SCHEMA.get_field_index(schema.SOURCE_KEY)


@dataclass(frozen=True, slots=True)
class Run:
    """Batches `start` to `stop` of a spill: records in the order of their keys."""

    spill: Spill
    start: int
    stop: int


class Rows:
    """Records in parts of `PART_ROWS`, the last one of fewer.

    Attributes:
        num_rows: of all parts.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._spill = Spill()
        self._left = RECORD_SCHEMA.empty_table()

    @classmethod
    def of(cls, chunks: Iterable[pa.Table]) -> Self:
        """Chunks of any sizes one behind another, one in memory at a time.

        Raises:
            StorageFullError: the temp folder is full.
        """
        rows = cls()
        for chunk in chunks:
            rows.add(chunk)
        rows.end()
        return rows

    def add(self, chunk: pa.Table) -> None:
        """Put records behind the others; `end` follows the last ones.

        Raises:
            StorageFullError: the temp folder is full.
        """
        self.num_rows += chunk.num_rows
        self._left = pa.concat_tables([self._left, chunk])
        while self._left.num_rows >= tables.PART_ROWS:
            self._spill.append(_own(self._left.slice(0, tables.PART_ROWS)))
            self._left = self._left.slice(tables.PART_ROWS)

    def end(self) -> None:
        """Make a part of what is left.

        Raises:
            StorageFullError: the temp folder is full.
        """
        if self._left.num_rows:
            self._spill.append(_own(self._left))
        self._left = RECORD_SCHEMA.empty_table()

    def __len__(self) -> int:
        """The number of parts."""
        return len(self._spill)

    def __getitem__(self, index: int) -> pa.Table:
        """A part by its number."""
        return pa.Table.from_batches([self._spill[index]])

    def size(self, index: int) -> int:
        """The rows of a part, by its number."""
        return min(tables.PART_ROWS, self.num_rows - index * tables.PART_ROWS)

    def __iter__(self) -> Iterator[pa.Table]:
        """The parts in order, one in memory at a time."""
        return map(self.__getitem__, range(len(self._spill)))

    def run(self) -> Run:
        """All parts as a run, where their rows are in the order of their keys."""
        return Run(self._spill, 0, len(self._spill))


def _own(rows: pa.Table) -> pa.RecordBatch:
    """Rows as a batch that does not hold on to the table that they are a slice of."""
    return pa.concat_batches(rows.to_batches())


def sorted_runs(batches: Iterable[pa.RecordBatch]) -> list[Run]:
    """The records as runs of some 32 MiB each.

    Raises:
        StorageFullError: the temp folder is full.
    """
    spill, runs = Spill(), []
    waiting: list[pa.RecordBatch] = []
    nbytes = 0

    def end_run() -> None:
        start, rows = len(spill), _sorted(waiting)
        for batch in rows.to_batches(max_chunksize=tables.PART_ROWS):
            spill.append(batch)
        runs.append(Run(spill, start, len(spill)))

    for batch in batches:
        waiting.append(batch)
        nbytes += batch.nbytes
        if nbytes >= _RUN_BYTES:
            end_run()
            waiting, nbytes = [], 0
    if waiting:
        end_run()
    return runs


def merge(runs: Iterable[Run]) -> Iterator[pa.Table]:
    """The records of all runs in the order of their keys; those of one key are in one table, in no order.

    Holds one batch of each run in memory.
    """
    cursors = [_Cursor(run) for run in runs]
    while cursors:
        # Beyond the least of the keys that the batches end with, records are yet to be read.
        bound = min((cursor.last for cursor in cursors if cursor.has_more), default=None)
        ready = [batch for cursor in cursors for batch in cursor.take(bound)]
        if ready:
            yield _sorted(ready)
        for cursor in cursors:
            if cursor.has_more and cursor.last == bound:
                cursor.load()
        cursors = [cursor for cursor in cursors if not cursor.is_done]


class _Cursor:
    """What has been read of a run and not been taken yet."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next = run.start
        self._batches: list[pa.RecordBatch] = []
        self.last = ""
        self.load()

    @property
    def has_more(self) -> bool:
        """Whether there are batches that have not been read."""
        return self._next < self._run.stop

    @property
    def is_done(self) -> bool:
        """Whether all has been taken."""
        return not self.has_more and not self._batches

    def load(self) -> None:
        """Read the next batch."""
        batch = self._run.spill[self._next]
        self._next += 1
        self._batches.append(batch)
        self.last = batch.column(_KEY)[-1].as_py()

    def take(self, bound: str | None) -> list[pa.RecordBatch]:
        """The records whose keys lie below `bound`, all for None."""
        if bound is None or self.last < bound:
            taken, self._batches = self._batches, []
            return taken
        taken = []
        while self._batches:
            keys = self._batches[0].column(_KEY)
            num = bisect.bisect_left(range(len(keys)), bound, key=lambda i: keys[i].as_py())
            if num:
                taken.append(self._batches[0].slice(0, num))
            if num < len(keys):
                self._batches[0] = self._batches[0].slice(num)
                break
            del self._batches[0]
        return taken


def _sorted(batches: list[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches, schema=RECORD_SCHEMA).combine_chunks()
    keys = table.column(_KEY)
    if len(table) < 2 or pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py():
        return table
    return table.take(pc.sort_indices(table, sort_keys=_ORDER))
