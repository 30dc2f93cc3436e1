"""SOURCE as one table of records: found, mapped, made unique and put in order."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io.readers import category_map, formats, manifest, uris, webvision
from webclean.io.readers.records import RECORD_SCHEMA, Found, to_table


@dataclass(frozen=True, slots=True)
class Listing:
    """What SOURCE holds.

    Attributes:
        format: name of the layout.
        records: `RECORD_SCHEMA`, in the order of the bytes of source_key, which is unique.
        found: columns used, and everything counted that is not a record.
        root: real path of the folder outside of which nothing is opened, None for no such limit.
        unknown: names of the category map that no record has.
    """

    format: str
    records: pa.Table
    found: Found
    root: str | None
    unknown: tuple[str, ...]


def list_source(config: IngestConfig) -> Listing:
    """List SOURCE without opening an image.

    Raises:
        ImagesNotFoundError: there is no SOURCE, or nothing in it.
        ConfigError: the layout is not clear, or two columns could be the label.
        DataError: a manifest cannot be read.
    """
    form, path = formats.recognise(config.source, config.format)
    if config.meta_root is not None and form.name != webvision.NAME:
        raise ConfigError(
            f"--meta-root is for {webvision.NAME}, and {config.source} is read as {form.name}",
            hint=f"leave it out, or add --format {webvision.NAME}",
        )
    found = Found()
    table = to_table(form.read(path, config, found))
    if table.num_rows == 0:
        words = ", ".join(f"{num} {name}" for name, num in sorted(found.skipped.items()))
        empty = "the folder is empty"
        if form.name in manifest.KINDS:
            empty = "the manifest has no rows"
        elif form.archive is not None and path.lower().endswith(form.archive):
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
    table = _unique(table)
    unknown: tuple[str, ...] = ()
    if config.category_map is not None:
        table, unknown = category_map.apply(table, config.category_map)
    if config.limit is not None and config.limit < table.num_rows:
        table = _sample(table, config.limit)
    table = table.take(pc.sort_indices(table, sort_keys=[(schema.SOURCE_KEY, "ascending")])).combine_chunks()
    return Listing(form.name, table, found, _root(path, config, found), unknown)


def _root(path: str, config: IngestConfig, found: Found) -> str | None:
    if uris.is_remote(path) or config.allow_outside:
        return None
    top = found.root or (path if os.path.isdir(path) else config.image_root or os.path.dirname(path))
    return os.path.realpath(top or ".")


def fingerprint(listing: Listing, category_map: str | None) -> str:
    """SHA-256 over the records, the sizes and times of their files, and the category map."""
    sha = hashlib.sha256()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RECORD_SCHEMA) as writer:
        writer.write_table(listing.records)
    sha.update(sink.getvalue())
    tables = {name for name in listing.found.tables if not uris.is_remote(name)}
    for uri in listing.records.column(schema.URI).to_pylist():
        path = uris.local_path(uri)
        if path is not None:
            sha.update(_stat(os.fspath(path)))
        elif (holder := uris.container_path(uri)) is not None:
            tables.add(os.fspath(holder))
    for name in sorted(tables):
        sha.update(_stat(name))
    sha.update(listing.found.stamps)
    sha.update(json.dumps(sorted(listing.found.skipped.items())).encode())
    return sha.hexdigest()


def _stat(path: str) -> bytes:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return b"-;"
    return f"{status.st_size},{status.st_mtime_ns};".encode()


def _unique(table: pa.Table) -> pa.Table:
    """A path listed again gets `?2`, `?3`, in the order of query and rank, whatever the manifest's order."""
    keys = table.column(schema.SOURCE_KEY).combine_chunks()
    counts = keys.value_counts()
    if len(counts) == len(keys):
        return table
    doubled = {v["values"] for v in counts.to_pylist() if v["counts"] > 1}
    names = keys.to_pylist()
    taken = set(names)
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if name in doubled:
            rows.setdefault(name, []).append(index)
    for name in sorted(rows):
        group = table.take(rows[name]).to_pylist()
        ordered = sorted(range(len(group)), key=lambda i: _order(group[i]))
        number = 2
        for i in ordered[1:]:
            while f"{name}?{number}" in taken:
                number += 1
            names[rows[name][i]] = f"{name}?{number}"
            taken.add(f"{name}?{number}")
    column = table.schema.get_field_index(schema.SOURCE_KEY)
    return table.set_column(column, RECORD_SCHEMA.field(column), pa.array(names, pa.string()))


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    rank = row[schema.RANK]
    return (row[schema.QUERY], rank is None, rank or 0, json.dumps(row, sort_keys=True, default=str))


def _sample(table: pa.Table, limit: int) -> pa.Table:
    """The records whose keys hash lowest: the same ones for any listing order, spread over the crawl."""
    keys = table.column(schema.SOURCE_KEY).to_pylist()
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    lowest = sorted(range(len(keys)), key=lambda i: (digests[i], keys[i]))[:limit]
    return table.take(sorted(lowest))
