"""SOURCE as records: found, mapped, made unique and put in order, whatever their number."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io import stores, tables
from webclean.io.readers import formats, manifest, sorting, uris, webvision
from webclean.io.readers.category_map import CategoryMap
from webclean.io.readers.records import RECORD_SCHEMA, Found, batches
from webclean.io.readers.sorting import Rows, Run

_KEY: Final = RECORD_SCHEMA.get_field_index(schema.SOURCE_KEY)
_NUMBERED: Final = r"\?[1-9][0-9]*$"


@dataclass(frozen=True, slots=True)
class Listing:
    """What SOURCE holds.

    Attributes:
        format: name of the layout.
        rows: the records, in the order of the bytes of source_key, which is unique.
        found: columns used, and everything counted that is not a record.
        root: real path of the folder outside of which nothing is opened, None for no such limit.
        unknown: names of the category map that no record has.
    """

    format: str
    rows: Rows
    found: Found
    root: str | None
    unknown: tuple[str, ...]

    @property
    def records(self) -> pa.Table:
        """All records at once, for a SOURCE that is small."""
        return pa.concat_tables(self.rows)


def list_source(config: IngestConfig) -> Listing:
    """List SOURCE without opening an image.

    Raises:
        ImagesNotFoundError: there is no SOURCE, or nothing in it.
        ConfigError: the layout is not clear, or two columns could be the label.
        DataError: a manifest cannot be read.
        StorageFullError: the temp folder, where long lists are sorted, is full.
    """
    form, path = formats.recognise(config.source, config.format)
    if config.meta_root is not None and form.name != webvision.NAME:
        raise ConfigError(
            f"--meta-root is for {webvision.NAME}, and {config.source} is read as {form.name}",
            hint=f"leave it out, or add --format {webvision.NAME}",
        )
    found = Found()
    runs = sorting.sorted_runs(batches(form.read(path, config, found)))
    if not runs:
        words = ", ".join(f"{num} {name}" for name, num in sorted(found.skipped.items()))
        empty = "the folder is empty"
        if form.name in manifest.KINDS:
            empty = "the manifest has no rows"
        elif form.archive and path.lower().endswith(form.archive):
            empty = "the archive has no members"
        elif found.tables:
            empty = "the lists name no image"
        elif uris.is_remote(path):
            empty = "the folder is empty, or not there: a store does not tell the one from the other"
        raise ImagesNotFoundError(
            f"no images in {config.source}",
            context=f"seen besides: {words}" if words else empty,
            hint="SOURCE is the folder above the categories' folders, or a manifest with one row per image",
        )
    renamed = None if config.category_map is None else CategoryMap(config.category_map)
    rows = _unique(runs, renamed)
    if config.limit is not None and config.limit < rows.num_rows:
        rows = _sample(rows, config.limit)
    # Arrow keeps what the sort took, and all stages after it would carry that along.
    pa.default_memory_pool().release_unused()
    return Listing(
        form.name, rows, found, _root(path, config, found), () if renamed is None else renamed.unknown()
    )


def _root(path: str, config: IngestConfig, found: Found) -> str | None:
    if config.allow_outside:
        return None
    if uris.is_remote(path):
        here = config.image_root if config.image_root and not uris.is_remote(config.image_root) else None
        return os.path.realpath(here) if here else None
    top = found.root or (path if os.path.isdir(path) else config.image_root or os.path.dirname(path))
    return os.path.realpath(top or ".")


def fingerprint(listing: Listing, category_map: str | None) -> str:
    """SHA-256 over the records, the sizes and times of their files, and the category map."""
    sha = hashlib.sha256()
    files = hashlib.sha256()
    tables = set(listing.found.tables)
    for part in listing.rows:
        for batch in part.to_batches():
            sha.update(batch.serialize())
        for uri in part.column(schema.URI).to_pylist():
            holder = uris.container(uri)
            is_remote = uris.is_remote(holder)
            if holder != uri:
                tables.add(holder if is_remote else uris.path_of(holder))
            elif not is_remote:  # of a remote one the listing of its folder has told the version
                files.update(_stat(uris.path_of(uri)))
    sha.update(files.digest())
    for name in sorted(tables):
        sha.update(stores.version_of(name).encode() if uris.is_remote(name) else _stat(name))
    sha.update(listing.found.stamps)
    sha.update(json.dumps(sorted(listing.found.skipped.items())).encode())
    return sha.hexdigest()


def _stat(path: str) -> bytes:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return b"-;"
    return f"{status.st_size},{status.st_mtime_ns};".encode()


def _unique(runs: list[Run], renamed: CategoryMap | None) -> Rows:
    """The records in order, their categories mapped; a path listed again gets `?2`, `?3`."""
    firsts, others = Rows(), Rows()
    for chunk in sorting.merge(runs):
        for rows, table in zip((firsts, others), _apart(chunk), strict=True):
            if table.num_rows:
                rows.add(table if renamed is None else renamed.apply(table))
    firsts.end()
    others.end()
    if not others.num_rows:
        return firsts
    return Rows.of(sorting.merge([firsts.run(), *sorting.sorted_runs(_numbered(firsts, others))]))


def _apart(chunk: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first record of each key, and the others, by query and rank, whatever the manifest's order."""
    keys = chunk.column(_KEY).combine_chunks()
    is_first = np.ones(len(keys), dtype=np.bool_)
    is_first[1:] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    if is_first.all():
        return chunk, chunk.slice(0, 0)
    order = np.arange(len(keys))
    starts = np.flatnonzero(is_first)
    lengths = np.diff(starts, append=len(keys))
    for start, length in zip(starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        group = chunk.slice(start, length).to_pylist()
        order[start : start + length] = start + np.array(
            sorted(range(length), key=lambda i: _order(group[i]))
        )
    return chunk.take(order[is_first]), chunk.take(order[~is_first])


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    rank = row[schema.RANK]
    return (row[schema.QUERY], rank is None, rank or 0, json.dumps(row, sort_keys=True, default=str))


def _numbered(firsts: Rows, others: Rows) -> Iterator[pa.RecordBatch]:
    """Records whose keys others have, under keys that none has; both in the order of their keys."""
    doubled = np.unique(np.concatenate([_marks(part.column(_KEY).to_pylist()) for part in others]))
    taken: set[str] = set()
    for part in firsts:
        keys = part.column(_KEY)
        numbered = keys.filter(pc.match_substring_regex(keys, _NUMBERED)).to_pylist()
        marks = _marks([key.rpartition("?")[0] for key in numbered])
        taken.update(key for key, is_near in zip(numbered, np.isin(marks, doubled), strict=True) if is_near)
    name, number = "", 1
    for part in others:
        names = []
        for key in part.column(_KEY).to_pylist():
            name, number = key, number + 1 if key == name else 2
            while f"{name}?{number}" in taken:
                number += 1
            names.append(f"{name}?{number}")
        field = RECORD_SCHEMA.field(_KEY)
        yield from part.set_column(_KEY, field, pa.array(names, pa.string())).to_batches()


def _sample(rows: Rows, limit: int) -> Rows:
    """The records whose keys hash lowest: the same ones for any listing order, spread over the crawl."""
    marks = np.concatenate([_marks(part.column(_KEY).to_pylist()) for part in rows])
    highest = np.partition(marks, limit - 1)[limit - 1]
    is_taken = marks < highest
    tied = np.flatnonzero(marks == highest).tolist()
    keys = [rows[i // tables.PART_ROWS].column(_KEY)[i % tables.PART_ROWS].as_py() for i in tied]
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    lowest = sorted(range(len(tied)), key=lambda i: (digests[i], keys[i]))
    for i in lowest[: limit - int(is_taken.sum())]:
        is_taken[tied[i]] = True
    starts = range(0, rows.num_rows, tables.PART_ROWS)
    return Rows.of(
        part.filter(pa.array(is_taken[start : start + tables.PART_ROWS]))
        for start, part in zip(starts, rows, strict=True)
    )


def _marks(keys: list[str]) -> NDArray[np.uint64]:
    """The first eight bytes of each key's SHA-256, in their order as numbers."""
    raw = b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys)
    return np.frombuffer(raw, dtype=">u8").astype(np.uint64)
