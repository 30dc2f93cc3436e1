"""SOURCE as one table of records: found, mapped, made unique and put in order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io.readers import folder, manifest, uris
from webclean.io.readers.records import RECORD_SCHEMA, Found, Record, to_table

_MANIFEST_STEM = "manifest"


@dataclass(frozen=True, slots=True)
class Listing:
    """What SOURCE holds.

    Attributes:
        records: `RECORD_SCHEMA`, in the order of the bytes of source_key, which is unique.
        found: columns used, and everything counted that is not a record.
        root: real path of the folder outside of which nothing is opened, None for no such limit.
        manifest: path of the manifest, None for a folder tree.
        unknown: names of the category map that no record has.
    """

    records: pa.Table
    found: Found
    root: str | None
    manifest: str | None
    unknown: tuple[str, ...]


def list_source(config: IngestConfig) -> Listing:
    """List SOURCE without opening an image.

    Raises:
        ImagesNotFoundError: there is no SOURCE, or nothing in it.
        ConfigError: the layout is not clear, or two columns could be the label.
        DataError: a manifest cannot be read.
    """
    kind, path = _layout(config)
    found = Found()
    if kind == "folder":
        top = path
        records: Iterator[Record] = folder.read(path, found, allow_outside=config.allow_outside)
    else:
        top = config.image_root or os.path.dirname(path)
        records = manifest.read(path, kind, config, found)
    table = to_table(records)
    if table.num_rows == 0:
        words = ", ".join(f"{num} {name}" for name, num in sorted(found.skipped.items()))
        empty = "the folder is empty" if kind == "folder" else "the manifest has no rows"
        raise ImagesNotFoundError(
            f"no images in {config.source}",
            context=f"seen besides: {words}" if words else empty,
            hint="SOURCE is the folder above the categories' folders, or a manifest with one row per image",
        )
    table = _unique(table)
    table, unknown = _mapped(table, config.category_map)
    if config.limit is not None and config.limit < table.num_rows:
        table = _sample(table, config.limit)
    table = table.take(pc.sort_indices(table, sort_keys=[(schema.SOURCE_KEY, "ascending")])).combine_chunks()
    is_local = not uris.is_remote(path)
    root = os.path.realpath(top or ".") if is_local and not config.allow_outside else None
    return Listing(table, found, root, None if kind == "folder" else path, unknown)


def fingerprint(listing: Listing, category_map: str | None) -> str:
    """SHA-256 over the records, the sizes and times of their files, and the category map."""
    sha = hashlib.sha256()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RECORD_SCHEMA) as writer:
        writer.write_table(listing.records)
    sha.update(sink.getvalue())
    seen_tables: set[str] = set()
    for uri in listing.records.column(schema.URI).to_pylist():
        path = uris.local_path(uri)
        if path is not None:
            sha.update(_stat(os.fspath(path)))
        elif "#" in uri:
            seen_tables.add(uri.rsplit("#", 1)[0])
    for name in sorted(seen_tables):
        if not uris.is_remote(name):
            sha.update(_stat(name))
    if listing.manifest is not None and not uris.is_remote(listing.manifest):
        sha.update(_stat(listing.manifest))
    sha.update(json.dumps(sorted(listing.found.skipped.items())).encode())
    return sha.hexdigest()


def _stat(path: str) -> bytes:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return b"-;"
    return f"{status.st_size},{status.st_mtime_ns};".encode()


def _layout(config: IngestConfig) -> tuple[str, str]:
    """Kind of SOURCE and the path to list."""
    source, kind = config.source, config.format
    if not source:
        raise ConfigError("no SOURCE is given")
    if uris.is_remote(source):
        return _remote_layout(source, kind)
    source = source.removeprefix("file://")
    source = os.path.expanduser(source)
    if not os.path.exists(source):
        raise ImagesNotFoundError(f"there is no {source}", hint="SOURCE is a folder or a manifest")
    if os.path.isfile(source):
        guessed = manifest.ENDINGS.get(os.path.splitext(source)[1].lower())
        if kind in ("auto", "folder") and (guessed is None or kind == "folder"):
            raise ConfigError(
                f"{source} is a file, and its ending names no kind of manifest",
                hint="--format csv, jsonl or parquet; or give the folder of the images",
            )
        return (guessed if kind == "auto" and guessed else kind), source
    if kind == "folder":
        return kind, source
    found = [
        name
        for name in sorted(os.listdir(source))
        if os.path.splitext(name)[0].lower() == _MANIFEST_STEM
        and manifest.ENDINGS.get(os.path.splitext(name)[1].lower()) in ((kind,) if kind != "auto" else _KINDS)
    ]
    if len(found) > 1:
        raise ConfigError(
            f"{source} holds {len(found)} manifests: {', '.join(found)}", hint="give one of them as SOURCE"
        )
    if not found:
        if kind == "auto":
            return "folder", source
        raise ImagesNotFoundError(f"{source} holds no manifest.* of the kind {kind}")
    path = os.path.join(source, found[0])
    return manifest.ENDINGS[os.path.splitext(path)[1].lower()], path


_KINDS = ("csv", "jsonl", "parquet")


def _remote_layout(source: str, kind: str) -> tuple[str, str]:
    guessed = manifest.ENDINGS.get(os.path.splitext(source)[1].lower())
    if kind == "auto" and guessed:
        return guessed, source
    if kind in _KINDS:
        return kind, source
    raise ConfigError(
        f"{source} is not a manifest: a remote SOURCE is a CSV, JSONL or Parquet file",
        hint="write a manifest of the paths, or mount the folder",
    )


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


def _mapped(table: pa.Table, map_file: str | None) -> tuple[pa.Table, tuple[str, ...]]:
    if map_file is None:
        return table, ()
    names = read_category_map(map_file)
    old = table.column(schema.CATEGORY).to_pylist()
    new = [names.get(name, name) for name in old]
    status = table.column(schema.STATUS).to_pylist()
    error = table.column(schema.ERROR).to_pylist()
    for index, name in enumerate(new):
        if not name and old[index]:
            new[index] = old[index]
            status[index], error[index] = schema.STATUS_EXCLUDED, "the category map excludes this category"
    for column, values in ((schema.CATEGORY, new), (schema.STATUS, status), (schema.ERROR, error)):
        index = table.schema.get_field_index(column)
        table = table.set_column(index, RECORD_SCHEMA.field(index), pa.array(values, pa.string()))
    return table, tuple(sorted(set(names) - set(old)))


def read_category_map(path: str) -> dict[str, str]:
    """`from` -> `to` from a CSV or TSV of two columns (a header `from,to` may stand above) or a JSON object.

    Raises:
        ConfigError: the file is missing, has other columns, or maps one name twice.
    """
    try:
        raw = uris.read_bytes(path if uris.is_remote(path) else uris.of_path(path)).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"the category map {path} cannot be read: {error.strerror or error}",
            context="--category-map names it",
            hint="give a CSV with lines of from,to, or a JSON object",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the category map {path} is not UTF-8 text",
            context=f"byte {error.start} cannot be decoded",
            hint="save it as UTF-8: a CSV with lines of from,to, or a JSON object",
        ) from error
    if path.lower().endswith(".json"):
        try:
            value = json.loads(raw)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the category map {path} is not JSON: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(v, str | None) for v in value.values()):
            raise ConfigError(f"the category map {path} must be an object of texts")
        return {str(k).strip(): (v or "").strip() for k, v in value.items()}
    rows = list(csv.reader(io.StringIO(raw), delimiter="\t" if path.lower().endswith(".tsv") else ","))
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [cell.lower() for cell in cells] == ["from", "to"]):
            continue
        if len(cells) != 2 or not cells[0]:
            raise ConfigError(f"the category map {path}, line {number}, must be `from,to`; got {row}")
        if found.get(cells[0], cells[1]) != cells[1]:
            raise ConfigError(f"the category map {path} maps {cells[0]!r} twice")
        found[cells[0]] = cells[1]
    return found


def _sample(table: pa.Table, limit: int) -> pa.Table:
    """The records whose keys hash lowest: the same ones for any listing order, spread over the crawl."""
    keys = table.column(schema.SOURCE_KEY).to_pylist()
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    lowest = sorted(range(len(keys)), key=lambda i: (digests[i], keys[i]))[:limit]
    return table.take(sorted(lowest))
