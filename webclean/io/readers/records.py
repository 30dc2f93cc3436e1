"""A record: what SOURCE says about one image before any of its bytes are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import pyarrow as pa

from webclean import schema
from webclean.io import tables

_BATCH = 4096
_NAMED = 5  # files that a note names
_NUMBER: Final = re.compile(r"\?\d+$")  # the mark of a path that is listed again
_DUMPER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=str)
_LISTED_COLUMNS = (
    schema.SOURCE_KEY, schema.URI, schema.CATEGORY, schema.QUERY, schema.RANK, schema.RANK_SOURCE, schema.TITLE,
    schema.DESCRIPTION, schema.TAGS, schema.ALT_TEXT, schema.SOURCE, schema.PAGE_URL, schema.FILE_NAME,
    schema.EXTRA,
)  # fmt: skip


@dataclass(slots=True)
class Record:
    """One row of SOURCE; names as in `schema.IMAGES_TABLE`.

    Attributes:
        status: a status that is already known (`excluded`, `unreadable`, `missing`, `not_downloaded`); the
            file is not opened then. None otherwise.
    """

    source_key: str
    uri: str
    category: str
    query: str
    file_name: str
    rank: int | None = None
    rank_source: str | None = None
    title: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    alt_text: str | None = None
    source: str | None = None
    page_url: str | None = None
    extra: str | None = None
    status: str | None = None
    error: str | None = None


RECORD_SCHEMA = pa.schema(
    [
        *(
            pa.field(column.name, tables.arrow_type(column.type), nullable=column.nullable)
            for column in schema.IMAGES_TABLE.columns
            if column.name in _LISTED_COLUMNS
        ),
        pa.field(schema.STATUS, pa.string()),
        pa.field(schema.ERROR, pa.string()),
    ]
)
RANK_FROM_MANIFEST: Final = "manifest"
RANK_FROM_JSON: Final = "json"
RANK_FROM_PLACE: Final = "json-place"
"""The record says no rank, and its place in the list of its query stands for it."""
RANK_FROM_FILE_NAME: Final = "file_name"
SPLIT: Final = "split"
"""Key of `extra` under which a reader keeps the split of an image; export looks for it there."""


@dataclass(slots=True)
class Found:
    """What a reader saw besides images.

    Attributes:
        columns: field -> the column it was read from.
        skipped: kind of what is not an image -> number, for the counts shown to the person.
        tables: paths of the files that the records were read from; a change of one makes them stale.
        stamps: SHA-256 over what a store tells of its objects' versions, which no local file says.
        notes: sentences on what was odd about the records that are listed.
        root: folder that the images lie in, None where that follows from SOURCE.
    """

    columns: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    stamps: bytes = b""
    notes: list[str] = field(default_factory=list)
    root: str | None = None

    def stamp(self, words: str) -> None:
        """Add an object's version; the order of the objects counts."""
        self.stamps = hashlib.sha256(self.stamps + words.encode("utf-8", "surrogatepass")).digest()

    def skip(self, kind: str, num: int = 1) -> None:
        """Count something that is not an image: a sidecar, a hidden file, a linked folder."""
        self.skipped[kind] = self.skipped.get(kind, 0) + num


class Named:
    """What is odd about which files, for a sentence of `Found.notes` on each kind."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        """Remember a file; `what` goes on from "3 "."""
        self._names.setdefault(what, []).append(name)

    def notes(self) -> list[str]:
        """The sentences, in the order in which their kinds were first met."""
        return [
            f"{len(names)} {what}: {', '.join(names[:_NAMED])}"
            + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            for what, names in self._names.items()
        ]


def extra_text(values: Mapping[str, Any]) -> str | None:
    """The `extra` of a record, None for nothing; what is not UTF-8 becomes U+FFFD."""
    if not values:
        return None
    dumped = _DUMPER.encode(values)
    return dumped if dumped.isascii() else dumped.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def batches(records: Iterable[Record]) -> Iterator[pa.RecordBatch]:
    """Records as batches of `RECORD_SCHEMA`, the Python objects of one in memory at a time."""
    source = iter(records)
    values = attrgetter(*RECORD_SCHEMA.names)
    while batch := list(islice(source, _BATCH)):
        columns = zip(*map(values, batch), strict=True)
        arrays = [
            pa.array(cells, type=field.type) for cells, field in zip(columns, RECORD_SCHEMA, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def path_of_repeat(source_key: str, file_name: str) -> str | None:
    """The path of a record that ingest numbered (`?2`) because it was listed again, None of any other record."""
    again = _NUMBER.search(source_key)
    return None if again is None or file_name.endswith(again[0]) else source_key[: again.start()]
