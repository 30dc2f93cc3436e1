"""`ingest --retry-failed`: the rows of the ingest before, but for those that may go better now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from webclean import schema
from webclean.io.decode import Inspection
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.stages.base import committed

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER: Final = "retry"
_ROWS: Final = "rows"
_RECORD: Final = f"{_ROWS}/{schema.RUN_JSON}"


def is_wanted(run: RunDir) -> bool:
    """Whether the last ingest has a row that may go better now."""
    record = committed(run, schema.IMAGES)
    return record is not None and any(status in schema.RETRIABLE for status in record["counts"]["dropped"])


def set_aside(run: RunDir) -> None:
    """Copy the rows of the last ingest to where `RowsBefore` finds them; those of a killed retry stay."""
    from webclean.io import tables

    if committed(run, schema.IMAGES) is None:
        return
    folder = run.scratch(_FOLDER)
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for name in (*tables.part_names(run, schema.IMAGES), schema.RUN_JSON):
        (new / name).write_bytes(run.read_bytes(f"{schema.IMAGES}/{name}"))
    shutil.rmtree(folder / _ROWS, ignore_errors=True)
    new.rename(folder / _ROWS)


def forget(run: RunDir) -> None:
    """Remove what was set aside."""
    shutil.rmtree(run.scratch(_FOLDER))


class RowsBefore:
    """The rows that were set aside, met in the order of their keys, one part in memory."""

    def __init__(self, run: RunDir) -> None:
        self._aside = RunDir(str(run.scratch(_FOLDER)))
        self._rows = self._read()
        self._row = next(self._rows, None)
        self._started = (
            float(self._aside.read_json(_RECORD)["clock"]["started"]) if self._row is not None else 0.0
        )

    def _read(self) -> Iterator[dict[str, Any]]:
        from webclean.io import tables

        if not self._aside.exists(_RECORD):
            return
        columns = (schema.SOURCE_KEY, schema.URI, *Inspection._fields)
        for part in tables.iter_parts(self._aside, _ROWS, schema.IMAGES_TABLE, columns):
            yield from part.to_pylist()

    def of(self, records: pa.Table) -> list[Inspection | None]:
        """What was found for each record, None where it is to be looked at; keys must not fall from call to call.

        A record whose status is known already, say an excluded one, has nothing that could be taken over.
        """
        columns = (schema.SOURCE_KEY, schema.URI, schema.STATUS)
        cells = (records.column(name).to_pylist() for name in columns)
        return [
            self._find(key, uri) if status is None else None for key, uri, status in zip(*cells, strict=True)
        ]

    def _find(self, key: str, uri: str) -> Inspection | None:
        while self._row is not None and self._row[schema.SOURCE_KEY].encode() < key.encode():
            self._row = next(self._rows, None)
        row = self._row
        if row is None or row[schema.SOURCE_KEY] != key or row[schema.URI] != uri:
            return None
        if row[schema.STATUS] in (*schema.RETRIABLE, schema.STATUS_EXCLUDED):
            return None
        if not _is_unchanged(uri, row[schema.NBYTES], self._started):
            return None
        return Inspection(**{name: row[name] for name in Inspection._fields})


def _is_unchanged(uri: str, nbytes: int | None, since: float) -> bool:
    """Whether a file on this machine has its size still, and no later time; what is elsewhere is trusted."""
    path = uris.container_path(uri)
    if path is None:
        return True
    try:
        status = os.stat(path)
    except OSError:
        return False
    is_own = uris.local_path(uri) is not None
    return status.st_mtime <= since and (not is_own or status.st_size == nbytes)
