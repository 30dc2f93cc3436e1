"""Ingest: every file or record of SOURCE becomes one row of `images`, read once and decoded once."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import IngestConfig
from webclean.engines.base import Crash, Engine
from webclean.errors import ArtifactInvalidError, ImagesNotFoundError, TooManyBadError
from webclean.io import exclusions, scan
from webclean.io.decode import Inspection, Limits
from webclean.io.scan import Known
from webclean.stages import removal, retry, space
from webclean.stages.base import Context, Counts, Source

if TYPE_CHECKING:  # heavy: only the parent process needs them
    import pyarrow as pa

    from webclean.io.exclusions import Exclusions
    from webclean.io.readers.listing import Listing

_TASK_ROWS = 64  # images of one task: few enough that two workers end together, and that a crash costs little
_NO_CONTENT = "0" * 16
_SHORT_HASH = 16
_WORTH_ANOTHER_LOOK = tuple(status for status in schema.RETRIABLE if status != "not_downloaded")


def source_fingerprint(config: IngestConfig) -> Source:
    """SOURCE's listing, and SHA-256 over it, its manifest, and the sizes and times of the files.

    Raises:
        ImagesNotFoundError, ConfigError, DataError: as `list_source`.
    """
    from webclean.io.readers import listing

    found = listing.list_source(config)
    digest = listing.fingerprint(found, config.category_map)
    if config.exclude is not None:
        digest = hashlib.sha256(f"{digest} {exclusions.read(config.exclude).sha256}".encode()).hexdigest()
    return Source(digest, found)


def check(config: IngestConfig, context: Context) -> None:
    """Ask for room, and set the rows aside that a retry or an update takes over, before the stage replaces them.

    Raises:
        StorageFullError: the disk has no room for `images`.
    """
    assert context.listing is not None, "execute hands over what source_fingerprint listed"
    num = context.listing.rows.num_rows
    space.require(context, num * space.IMAGES_ROW, f"the rows of {num:,} images")
    if config.retry_failed or config.update:
        retry.set_aside(context.run)


def run(config: IngestConfig, context: Context) -> Counts:
    """Write `images`, one row per record in the order of source_key, and `categories`.

    Raises:
        ImagesNotFoundError: SOURCE holds nothing usable.
        TooManyBadError: more files are bad than `max_bad` allows.
    """
    listing = context.listing
    assert listing is not None, "execute hands over what source_fingerprint listed"
    _tell(listing, config, context)
    excluded = None if config.exclude is None else exclusions.read(config.exclude)
    _write_images(listing, config, context, excluded)
    statuses, categories = _summary(context)
    context.result |= {
        "format": listing.format,
        "statuses": dict(sorted(statuses.items())),
        "columns": dict(sorted(listing.found.columns.items())),
        "skipped": dict(sorted(listing.found.skipped.items())),
        "categories": categories,
    }
    if config.update or config.retry_failed:
        _compare(config, context)
    if excluded is not None:
        context.result["exclude"] = removal.tell(excluded, context)
    total = listing.rows.num_rows
    usable = statuses[schema.STATUS_OK]
    dropped = {status: num for status, num in sorted(statuses.items()) if status != schema.STATUS_OK}
    _check_bad(config, context, total, usable, dropped)
    if (num := sum(dropped.get(status, 0) for status in _WORTH_ANOTHER_LOOK)) and not config.retry_failed:
        context.note(f"--retry-failed looks again at {num} of these files, and at no others")
    return Counts(total=total, forwarded=usable, dropped=dropped)


def _tell(listing: Listing, config: IngestConfig, context: Context) -> None:
    context.note(f"format: {listing.format}" + ("" if config.format == listing.format else " (recognised)"))
    if listing.found.columns:
        pairs = ", ".join(
            f"{field} = {column}" + ("" if getattr(config, f"{field}_column", None) else " (guessed)")
            for field, column in listing.found.columns.items()
        )
        context.note(f"columns: {pairs}")
    if listing.found.skipped:
        words = ", ".join(f"{num} {kind}" for kind, num in sorted(listing.found.skipped.items()))
        context.note(f"not images, left out: {words}")
    for text in listing.found.notes:
        context.note(text)
    if listing.unknown:
        context.note(f"the category map names what the crawl does not have: {', '.join(listing.unknown)}")


def _compare(config: IngestConfig, context: Context) -> None:
    """Say what differs from the ingest before; where nothing but places does, all that was made of it stands."""
    found, digest = retry.compare(context)
    if config.update:
        context.note(f"update: {found.words()}")
        context.result["update"] = found.numbers()
    if found.is_same and digest is not None:
        context.digests[schema.IMAGES] = digest
        if found.moved:
            context.note("all images are the same ones in another place: what was made from them stays valid")


def _write_images(
    listing: Listing, config: IngestConfig, context: Context, excluded: Exclusions | None
) -> None:
    from webclean.io import tables

    records = listing.rows
    todo = [index for index in range(len(records)) if not tables.has_part(context.run, schema.IMAGES, index)]
    limits = Limits(max_pixels=config.max_pixels, max_bytes=config.max_bytes, seconds=config.decode_seconds)
    inspect = partial(scan.inspect_all, root=listing.root, limits=limits)
    before = retry.RowsBefore(config, context) if config.retry_failed or config.update else None
    # Of the parts that are under way:
    rows_of: dict[int, pa.Table] = {}
    known: dict[int, list[retry.Before]] = {}
    num_known = 0

    def tasks() -> Iterator[list[str | Known | None]]:
        nonlocal num_known
        for index in todo:
            rows = rows_of[index] = removal.mark(records[index], excluded)
            known[index] = [None] * rows.num_rows if before is None else before.of(rows)
            num_known += sum(isinstance(one, Inspection) for one in known[index])
            yield from _tasks(rows, known[index])

    with context.progress(total=records.num_rows, unit="images", label="decode") as bar:
        bar.advance(records.num_rows - sum(records.size(index) for index in todo))
        inspected = _inspect(context.engine, inspect, tasks())
        for index in todo:
            found: list[Inspection | None] = []
            while len(found) < records.size(index):
                batch = next(inspected)
                found += batch
                bar.advance(len(batch))
            whole = [
                old if isinstance(old, Inspection) else new
                for new, old in zip(found, known.pop(index), strict=True)
            ]
            columns = removal.mark_content(_image_columns(rows_of.pop(index), whole), excluded)
            tables.write_part(context.run, schema.IMAGES, index, columns, schema.IMAGES_TABLE)
    if num_known:
        context.note(f"{num_known} of {records.num_rows} rows are taken over as they were")


def _tasks(rows: pa.Table, known: list[retry.Before]) -> Iterator[list[str | Known | None]]:
    uris, statuses = (rows.column(name).to_pylist() for name in (schema.URI, schema.STATUS))
    locations: list[str | Known | None] = []
    for uri, status, before in zip(uris, statuses, known, strict=True):
        if isinstance(before, Known):
            locations.append(before)
        else:
            locations.append(uri if status is None and before is None else None)
    for start in range(0, len(locations), _TASK_ROWS):
        yield locations[start : start + _TASK_ROWS]


def _inspect(
    engine: Engine, inspect: Any, tasks: Iterable[list[str | Known | None]]
) -> Iterator[list[Inspection | None]]:
    """Inspections of each task in order; a task that kills its worker is tried image by image."""
    sent, asked = itertools.tee(tasks)  # holds no more than what is under way
    for task, result in zip(asked, engine.map(inspect, sent, yield_crashes=True), strict=True):
        if not isinstance(result, Crash):
            yield result
            continue
        singles: list[Inspection | None] = []
        for single in engine.map(inspect, [[uri] for uri in task], yield_crashes=True):
            if isinstance(single, Crash):
                singles.append(
                    Inspection(
                        status="crashed",
                        error="it killed the worker process that decoded it, or kept it for ever",
                    )
                )
            else:
                singles += single
        yield singles


def _image_columns(rows: pa.Table, found: list[Inspection | None]) -> dict[str, Any]:
    status = rows.column(schema.STATUS).to_pylist()
    error = rows.column(schema.ERROR).to_pylist()
    whole = [
        inspection if inspection is not None else Inspection(status=s, error=e)
        for inspection, s, e in zip(found, status, error, strict=True)
    ]
    keys = rows.column(schema.SOURCE_KEY).to_pylist()
    columns: dict[str, Any] = {
        schema.IMAGE_ID: [image_id(i.sha256, key) for i, key in zip(whole, keys, strict=True)]
    }
    for name in schema.IMAGES_TABLE.column_names:
        if name == schema.IMAGE_ID:
            continue
        if name in Inspection._fields:
            columns[name] = [getattr(inspection, name) for inspection in whole]
        else:
            columns[name] = rows.column(name)
    return columns


def image_id(sha256: str | None, source_key: str) -> str:
    """16 hex digits of the content's SHA-256 (zeros without content), a dash, 16 of the key's."""
    content = _NO_CONTENT if sha256 is None else sha256[:_SHORT_HASH]
    return f"{content}-{hashlib.sha256(source_key.encode()).hexdigest()[:_SHORT_HASH]}"


def _summary(context: Context) -> tuple[Counter[str], int]:
    """Counts of each status; writes `categories` on the way."""
    from webclean.io import tables

    statuses: Counter[str] = Counter()
    usable: Counter[str] = Counter()
    queries: dict[str, set[str]] = {}
    keys = array("Q")  # of each image_id the half that stands for its source_key
    columns = (schema.IMAGE_ID, schema.STATUS, schema.CATEGORY, schema.QUERY)
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        keys.extend(int(value[-_SHORT_HASH:], 16) for value in part.column(schema.IMAGE_ID).to_pylist())
        for status, category, query in zip(
            *(part.column(name).to_pylist() for name in columns[1:]), strict=True
        ):
            statuses[status] += 1
            if category and status != schema.STATUS_EXCLUDED:
                usable[category] += status == schema.STATUS_OK
                queries.setdefault(category, set()).add(query)
    _check_unique(context, np.frombuffer(keys, dtype=np.uint64))
    names = sorted(queries, key=str.encode)
    tables.write_part(
        context.run,
        schema.CATEGORIES,
        0,
        {
            schema.CATEGORY_ID: list(range(len(names))),
            schema.NAME: names,
            schema.QUERIES: [sorted(queries[name], key=str.encode) for name in names],
            schema.NUM_IMAGES: [usable[name] for name in names],
        },
        schema.CATEGORIES_TABLE,
    )
    return statuses, len(names)


def _check_unique(context: Context, key_N: NDArray[np.uint64]) -> None:
    """Make sure that no two images have one id; eight bytes a row, and no ids but those of equal halves.

    Raises:
        ArtifactInvalidError: two images have one id.
    """
    from webclean.io import tables

    ordered_N = np.sort(key_N)
    again = set(ordered_N[1:][ordered_N[1:] == ordered_N[:-1]].tolist())
    if not again:
        return
    ids: Counter[str] = Counter()
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID,)):
        ids.update(i for i in part.column(schema.IMAGE_ID).to_pylist() if int(i[-_SHORT_HASH:], 16) in again)
    if num := ids.total() - len(ids):
        raise ArtifactInvalidError(f"images: {schema.IMAGE_ID} is not unique: {num} rows too many")


def _commonest_error(context: Context) -> tuple[str | None, int]:
    """What most of the rows that cannot be used say, and how many say it."""
    from webclean.io import tables

    errors: Counter[str] = Counter()
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.ERROR,)):
        errors.update(error for error in part.column(schema.ERROR).to_pylist() if error)
    return errors.most_common(1)[0] if errors else (None, 0)


def _check_bad(
    config: IngestConfig, context: Context, total: int, usable: int, dropped: dict[str, int]
) -> None:
    words = ", ".join(f"{num} {status}" for status, num in dropped.items())
    if usable == 0:
        error, num = _commonest_error(context)
        raise ImagesNotFoundError(
            f"none of {total} files is a usable image",
            context=words if error is None else f"{words}; {num} of them: {error}",
            hint="mend what the error says, or name another SOURCE",
        )
    if config.max_bad is None:
        return
    bad = sum(num for status, num in dropped.items() if status != schema.STATUS_EXCLUDED)
    allowed = config.max_bad * total if config.max_bad < 1 else config.max_bad
    if bad > allowed:
        raise TooManyBadError(
            f"{bad} of {total} files are bad, more than --max-bad {config.max_bad:g} allows",
            context=words,
            hint="look at the status and error columns of images, or allow more",
        )
