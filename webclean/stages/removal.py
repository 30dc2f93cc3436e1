"""`--exclude`: ingest keeps a row of an image that has to go, and nothing of its picture; export leaves it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io.decode import Inspection
from webclean.stages.base import Context

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.io.exclusions import Exclusions

_NAMED: Final = 5  # lines that a note names
# What is left of an excluded image that was read: its digest, by which it is known again.
_LEFT: Final = frozenset({schema.NBYTES, schema.SHA256})
_OF_PICTURE: Final = frozenset(Inspection._fields) - _LEFT - {schema.STATUS, schema.ERROR}


_COLUMNS: Final = (
    schema.IMAGE_ID, schema.SOURCE_KEY, schema.URI, schema.FILE_NAME, schema.PAGE_URL, schema.EXTRA, schema.SHA256,
)  # fmt: skip
_Entries = list[int | None]


@dataclass(frozen=True, slots=True)
class Removals:
    """is_excluded_N: bool (N,), the images that a list names and their copies; told: for the record."""

    is_excluded_N: NDArray[np.bool_]
    told: dict[str, Any]


def mark(rows: pa.Table, excluded: Exclusions | None) -> pa.Table:
    """Records with the status of those that the list names by key or URL: their files are not opened."""
    import pyarrow as pa

    if excluded is None:
        return rows
    status, error = (rows.column(name).to_pylist() for name in (schema.STATUS, schema.ERROR))
    for index, entry in enumerate(excluded.named(rows)):
        if entry is not None and status[index] != schema.STATUS_EXCLUDED:
            status[index], error[index] = schema.STATUS_EXCLUDED, excluded.told(entry)
    for name, values in ((schema.STATUS, status), (schema.ERROR, error)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return rows


def mark_content(columns: Mapping[str, Any], excluded: Exclusions | None) -> dict[str, Any]:
    """Columns of `images` after reading, with the rows excluded whose bytes the list names, or whose id."""
    marked = dict(columns)
    if excluded is None:
        return marked
    hits: dict[int, int] = {}
    for index, (sha256, image_id) in enumerate(
        zip(columns[schema.SHA256], columns[schema.IMAGE_ID], strict=True)
    ):
        entry = excluded.of_content(sha256, image_id)
        if entry is not None and columns[schema.STATUS][index] != schema.STATUS_EXCLUDED:
            hits[index] = entry
    for name in (*_OF_PICTURE, schema.STATUS, schema.ERROR) if hits else ():
        values = list(columns[name])
        for index, entry in hits.items():
            values[index] = None
            if name == schema.STATUS:
                values[index] = schema.STATUS_EXCLUDED
            elif name == schema.ERROR:
                values[index] = excluded.told(entry)
        marked[name] = values
    return marked


def tell(excluded: Exclusions, context: Context) -> dict[str, Any]:
    """How many images ingest excluded by a list, for the person and the record."""
    unopened = read = 0
    told = _Told(excluded)
    for _, named, by_content in told.watch(_entries(excluded, context)):
        unopened += sum(entry is not None for entry in named)
        read += sum(a is None and b is not None for a, b in zip(named, by_content, strict=True))
    context.note(
        f"{excluded.name} excludes {unopened + read} images, {unopened} of them without opening a file"
    )
    if unopened:
        context.note(
            "what was not opened has no digest: copies of it under other names are only found where the list"
            " has its sha256 or image_id too"
        )
    return told.finish(context) | {"not_opened": unopened, "by_content": read}


def find(path: str, context: Context) -> Removals:
    """The images of a run that a list names, and the images of equal bytes.

    Raises:
        ArtifactMissingError, ArtifactInvalidError, ColumnMissingError: as `exclusions.read`.
    """
    from webclean.io import exclusions

    excluded = exclusions.read(path)
    told = _Told(excluded)
    digests: set[str] = set()  # of what is named
    for part, named, by_content in told.watch(_entries(excluded, context)):
        for sha256, *entries in zip(part.column(schema.SHA256).to_pylist(), named, by_content, strict=True):
            if sha256 is not None and entries != [None, None]:
                digests.add(sha256)
    pieces = [
        [
            sha256 in digests or entries != [None, None]
            for sha256, *entries in zip(
                part.column(schema.SHA256).to_pylist(), named, by_content, strict=True
            )
        ]
        for part, named, by_content in _entries(excluded, context)
    ]
    is_excluded_N = np.array([value for piece in pieces for value in piece], dtype=bool)
    num = int(is_excluded_N.sum())
    context.note(f"{excluded.name} excludes {num} images, copies of equal bytes among them")
    return Removals(is_excluded_N, told.finish(context) | {"images": num})


def _entries(excluded: Exclusions, context: Context) -> Iterator[tuple[pa.Table, _Entries, _Entries]]:
    """Each part of `images`, and which entry of the list names each row by key or URL, and by content."""
    from webclean.io import tables

    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS):
        ids, digests = (part.column(name).to_pylist() for name in (schema.IMAGE_ID, schema.SHA256))
        by_content = [excluded.of_content(sha256, id_) for sha256, id_ in zip(digests, ids, strict=True)]
        yield part, excluded.named(part), by_content


class _Told:
    """Which lines of a list named an image."""

    def __init__(self, excluded: Exclusions) -> None:
        self._excluded = excluded
        self._is_seen = [False] * len(excluded.entries)

    def watch(
        self, parts: Iterator[tuple[pa.Table, _Entries, _Entries]]
    ) -> Iterator[tuple[pa.Table, _Entries, _Entries]]:
        for part, named, by_content in parts:
            for entry in (*named, *by_content):
                if entry is not None:
                    self._is_seen[entry] = True
            yield part, named, by_content

    def finish(self, context: Context) -> dict[str, Any]:
        """Name the lines that named nothing: silence would pass for a removal."""
        excluded = self._excluded
        idle = [name for (name, _), seen in zip(excluded.entries, self._is_seen, strict=True) if not seen]
        if idle:
            more = f" and {len(idle) - _NAMED} more" if len(idle) > _NAMED else ""
            context.note(
                f"{len(idle)} of {len(excluded.entries)} lines of {excluded.name} name no image of the crawl:"
                f" {', '.join(idle[:_NAMED])}{more}"
            )
        return {
            "list": excluded.name,
            "sha256": excluded.sha256,
            "named": len(excluded.entries),
            "unmatched": len(idle),
        }
