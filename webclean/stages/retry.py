"""`ingest --retry-failed` and `--update`: rows of the ingest before that need not be made again."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import DataError
from webclean.io import stores
from webclean.io.decode import Inspection
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.io.scan import Known
from webclean.stages import aside
from webclean.stages.base import Context, committed, versions

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER: Final = "retry"
_READING: Final = ("max_pixels", "max_bytes")  # settings that decide what is found in the same bytes
_DECODERS: Final = ("webclean", "numpy", "pillow")
_PLACES: Final = (
    "source",
    "format",
    "image_root",
    "allow_outside",
)  # settings that decide what may be opened
_TICK: Final = 0.05  # seconds by which a file's time may lag behind the clock
_STORE_TICK: Final = 5.0  # stores tell whole seconds, by clocks of their own
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated")  # as filesystems call it

Before = Inspection | Known | None


def is_wanted(run: RunDir) -> bool:
    """Whether the last ingest has a row that may go better now."""
    record = committed(run, schema.IMAGES)
    return record is not None and any(status in schema.RETRIABLE for status in record["counts"]["dropped"])


def set_aside(run: RunDir) -> None:
    """Keep the rows of the last ingest where `RowsBefore` finds them; those of a killed retry stay."""
    aside.keep(run, schema.IMAGES, _FOLDER)


def forget(run: RunDir) -> None:
    """Remove what was set aside."""
    aside.forget(run, _FOLDER)


class RowsBefore:
    """The rows that were set aside, met in the order of their keys, one part in memory."""

    def __init__(self, config: IngestConfig, context: Context) -> None:
        """Open them; where they were made with other settings or decoders, none is used.

        Args:
            config: with `update`, whatever differs or lies elsewhere is compared by its bytes; without, only
                rows that may go better are looked at again, and what lies in a store is trusted.
            context: its run has the rows.
        """
        kept = aside.Aside(context.run, _FOLDER)
        self._is_update = config.update
        self._same_places = False
        self._since = 0.0
        self._rows: Iterator[dict[str, Any]] = iter(())
        if (record := kept.record) is not None:
            reason = _made_otherwise(record, config)
            columns = (schema.SOURCE_KEY, schema.URI, *Inspection._fields)
            if reason is None:
                self._rows = _dicts(kept.parts(schema.IMAGES_TABLE, columns))
                self._since = float(record["clock"]["started"])
                self._same_places = all(record["config"].get(p) == getattr(config, p) for p in _PLACES)
            else:
                context.note(f"every file is looked at again: the last ingest was made with {reason}")
        self._row = next(self._rows, None)

    def of(self, records: pa.Table) -> list[Before]:
        """What was found for each record, None where it is to be looked at; keys must not fall from call to call.

        A record whose status is known already, say an excluded one, has nothing that could be taken over.
        What is `Known` counts only if the file has the same bytes still.
        """
        columns = (schema.SOURCE_KEY, schema.URI, schema.STATUS)
        cells = (records.column(name).to_pylist() for name in columns)
        return [
            self._find(key, uri) if status is None else None for key, uri, status in zip(*cells, strict=True)
        ]

    def _find(self, key: str, uri: str) -> Before:
        while self._row is not None and self._row[schema.SOURCE_KEY].encode() < key.encode():
            self._row = next(self._rows, None)
        row = self._row
        if row is None or row[schema.SOURCE_KEY] != key:
            return None
        if row[schema.STATUS] in (*schema.RETRIABLE, schema.STATUS_EXCLUDED):
            return None
        found = Inspection(**{name: row[name] for name in Inspection._fields})
        is_there = row[schema.URI] == uri
        if not self._is_update:
            return found if is_there and _is_unchanged(uri, found.nbytes, self._since) else None
        state = _state(uri, found.nbytes, self._since) if is_there and self._same_places else None
        if state is True:
            return found
        return Known(uri, found) if state is None and found.sha256 is not None else None


def _dicts(parts: Iterator[pa.Table]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from part.to_pylist()


def _made_otherwise(record: dict[str, Any], config: IngestConfig) -> str | None:
    """What of the reading was other in the ingest before, in words; None where nothing was."""
    other = [
        f"{name} {record['config'].get(name)}"
        for name in _READING
        if record["config"].get(name) != getattr(config, name)
    ]
    now = versions()
    before = record.get("versions", {})
    other += [f"{name} {before.get(name)}" for name in _DECODERS if before.get(name) != now[name]]
    return ", ".join(other) or None


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


def _state(uri: str, nbytes: int | None, since: float) -> bool | None:
    """True: nothing has touched the image since; False: it is gone or of another size; None: its bytes must tell."""
    path = uris.container_path(uri)
    found = _in_store(uri) if path is None else _on_disk(os.fspath(path))
    if found is None:
        return False
    size, time = found
    is_own = uris.container(uri) == uri
    margin = _STORE_TICK if path is None else _TICK
    if is_own and nbytes is not None and size is not None and size != nbytes:
        return False
    return True if time is not None and time <= since - margin else None


def _on_disk(path: str) -> tuple[int | None, float | None] | None:
    """Size and latest time of a file; that of its inode tells of a file put in its place, however old that says it is."""
    try:
        own, link = os.stat(path), os.lstat(path)
    except (OSError, ValueError):
        return None
    return own.st_size, max(own.st_mtime, own.st_ctime, link.st_ctime)


def _in_store(uri: str) -> tuple[int | None, float | None] | None:
    """Size and time of an object where its store tells them."""
    try:
        filesystem, path = stores.open_store(uris.container(uri))
        with stores.said(uri):
            told = filesystem.info(path)
    except (FileNotFoundError, DataError):
        return None  # reading it says what is wrong
    time = next((told[name] for name in _TIMES if told.get(name) is not None), None)
    if isinstance(time, datetime.datetime):
        return told.get("size"), time.timestamp()
    return told.get("size"), float(time) if isinstance(time, int | float) else None


@dataclass(frozen=True, slots=True)
class Survey:
    """What an update found against the ingest before, in images.

    Attributes:
        new, gone: keys that came or went.
        changed: the file's bytes or its status are others.
        described: the picture is the same, and what SOURCE says of it is not.
        moved: nothing but the place differs.
        unchanged: nothing differs.
    """

    new: int = 0
    changed: int = 0
    described: int = 0
    moved: int = 0
    unchanged: int = 0
    gone: int = 0

    @property
    def is_same(self) -> bool:
        """Whether nothing but places differs, so that what was made from the images stands."""
        return self.new == self.changed == self.described == self.gone == 0

    def words(self) -> str:
        """The numbers as a sentence."""
        told = (
            (self.new, "new"),
            (self.changed, "changed"),
            (self.gone, "gone"),
            (self.described, "with other texts"),
            (self.moved, "moved"),
            (self.unchanged, "unchanged"),
        )
        return ", ".join(f"{num} {word}" for num, word in told if num)

    def numbers(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare(context: Context) -> tuple[Survey, str | None]:
    """What differs between the rows set aside and those of `images`, and the digest of the former.

    Both stand in the order of their keys: one part of each is in memory.
    """
    from webclean.io import tables

    kept = aside.Aside(context.run, _FOLDER)
    counts = dict.fromkeys(Survey.__slots__, 0)
    old = _dicts(kept.parts(schema.IMAGES_TABLE))
    before = next(old, None)
    for row in _dicts(tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE)):
        key = row[schema.SOURCE_KEY].encode()
        while before is not None and before[schema.SOURCE_KEY].encode() < key:
            counts["gone"] += 1
            before = next(old, None)
        if before is None or before[schema.SOURCE_KEY] != row[schema.SOURCE_KEY]:
            counts["new"] += 1
            continue
        counts[_difference(before, row)] += 1
        before = next(old, None)
    while before is not None:
        counts["gone"] += 1
        before = next(old, None)
    return Survey(**counts), None if kept.record is None else kept.record["digest"]


def _difference(before: dict[str, Any], row: dict[str, Any]) -> str:
    other = {name for name, value in row.items() if before[name] != value}
    if not other:
        return "unchanged"
    if other <= {schema.URI}:
        return "moved"
    return "changed" if other & {schema.SHA256, schema.STATUS, schema.NBYTES} else "described"
