"""Dedup: groups of equal and nearly equal images, and copies of the user's own test set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DedupConfig, IngestConfig
from webclean.engines.base import Crash
from webclean.io.decode import TINY_SIDE, Limits
from webclean.ops import duplicates
from webclean.ops.duplicates import Bars, Looks, Pairs
from webclean.stages.base import Context, Counts, Source
from webclean.stages.rows import not_usable

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.io.readers.listing import Listing

_COLUMNS = (
    schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.RANK, schema.WIDTH, schema.HEIGHT, schema.NBYTES,
    schema.SHA256, schema.PHASH, schema.IS_GRAY, schema.TINY, schema.STATUS,
)  # fmt: skip
_TASK_ROWS = 64
_EMPTY = "empty"


@dataclass(frozen=True)
class _Against:
    """One image's copy in the test set."""

    key: str
    kind: str
    view: int
    distance: int


def source_fingerprint(config: DedupConfig) -> Source | None:
    """The test set's listing with SHA-256 over it, None without one.

    Raises:
        ImagesNotFoundError, ConfigError, DataError: the test set cannot be listed.
    """
    if config.against is None:
        return None
    from webclean.io.readers import listing

    found = listing.list_source(IngestConfig(source=config.against))
    return Source(listing.fingerprint(found, None), found)


def run(config: DedupConfig, context: Context) -> Counts:
    """Write `duplicates`: one row per image that is in a group or a copy of a test image."""
    from webclean.io import tables

    images = _usable(context)
    hash_N, looks = _described(images)
    bars = Bars(correlation=config.correlation, cutout_residual=config.cutout_residual)
    same_N = _same_content(images.column(schema.SHA256))
    pairs = _near_pairs(hash_N, looks, same_N, config.radius, bars, context)
    best_first = _best_first(images)
    groups = duplicates.group(hash_N, looks, same_N, pairs, best_first, bars)
    against: dict[int, _Against] = {}
    if config.against is not None:
        assert context.listing is not None, "execute hands over what source_fingerprint listed"
        against = _against(context.listing, images, hash_N, looks, config.radius, bars, context)
    rows = _rows(images, same_N, groups, against)
    rows += _equal_bad_files(context, first_group=len({row[schema.GROUP] for row in rows}))
    for index, start in enumerate(range(0, max(1, len(rows)), tables.PART_ROWS)):
        part = rows[start : start + tables.PART_ROWS]
        columns = {name: [row[name] for row in part] for name in schema.DUPLICATES_TABLE.column_names}
        tables.write_part(context.run, schema.DUPLICATES, index, columns, schema.DUPLICATES_TABLE)
    context.result |= _summary(images, same_N, rows, len(pairs), config.against is not None)
    return Counts(
        total=tables.num_rows(context.run, schema.IMAGES),
        forwarded=images.num_rows,
        dropped=not_usable(context.run),
    )


def _usable(context: Context) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    from webclean.io import tables

    parts = [
        part.filter(pc.equal(part.column(schema.STATUS), schema.STATUS_OK))
        for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS)
    ]
    return pa.concat_tables(parts).combine_chunks()


def _described(images: pa.Table) -> tuple[NDArray[np.uint64], Looks]:
    hash_N = images.column(schema.PHASH).to_numpy().astype(np.uint64)
    octets = b"".join(images.column(schema.TINY).to_pylist())
    tiny_NSSC = np.frombuffer(octets, dtype=np.uint8).reshape(-1, TINY_SIDE, TINY_SIDE, 3)
    gray_N = np.array(images.column(schema.IS_GRAY).to_pylist(), dtype=np.bool_)
    return hash_N, duplicates.look(tiny_NSSC, gray_N)


def _same_content(sha256: pa.ChunkedArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = (
        sha256.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return codes


def _near_pairs(
    hash_N: NDArray[np.uint64],
    looks: Looks,
    same_N: NDArray[np.int64],
    radius: int,
    bars: Bars,
    context: Context,
) -> Pairs:
    """Verified pairs among images of different content, each under its best view."""
    # One image of each content is enough, and an image without any structure is not looked for.
    _, first = np.unique(same_N, return_index=True)
    asked = np.sort(first[~looks.flat_N[first]])
    found: list[Pairs] = []
    with context.progress(total=len(asked), unit="images", label="near duplicates") as bar:
        for block in duplicates.candidates(hash_N[asked], None, radius):
            pairs = Pairs(asked[block.first_P], asked[block.second_P], block.view_P, block.distance_P)
            verdict_P, correlation_P = duplicates.verify(pairs, looks, looks, bars)
            found.append(_best_views(pairs.where(verdict_P), correlation_P[verdict_P]))
            bar.advance(min(duplicates.BLOCK, len(asked)))
    if not found:
        empty = np.empty(0, dtype=np.int64)
        return Pairs(empty, empty, empty, empty)
    return Pairs(
        *(
            np.concatenate([getattr(p, name) for p in found])
            for name in ("first_P", "second_P", "view_P", "distance_P")
        )
    )


def _best_views(pairs: Pairs, correlation_P: NDArray[np.float64]) -> Pairs:
    """Of a pair that matches under several views, the view of the highest correlation."""
    order = np.lexsort((pairs.view_P, -correlation_P, pairs.second_P, pairs.first_P))
    first, second = pairs.first_P[order], pairs.second_P[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    keep = np.zeros(len(order), dtype=np.bool_)
    keep[order[is_new]] = True
    return pairs.where(keep)


def _best_first(images: pa.Table) -> list[int]:
    """Images from the best to keep to the worst: most pixels, most bytes, best rank, smallest source_key."""
    columns = [
        images.column(name).to_pylist()
        for name in (schema.WIDTH, schema.HEIGHT, schema.NBYTES, schema.RANK, schema.SOURCE_KEY)
    ]
    keys = [
        (-width * height, -nbytes, rank is None, rank or 0, key.encode())
        for width, height, nbytes, rank, key in zip(*columns, strict=True)
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _against(
    test: Listing,
    images: pa.Table,
    hash_N: NDArray[np.uint64],
    looks: Looks,
    radius: int,
    bars: Bars,
    context: Context,
) -> dict[int, _Against]:
    """Row -> the nearest copy in the test set: equal bytes first, then correlation, then its key."""
    from webclean.io import scan

    columns = (test.records.column(name).to_pylist() for name in (schema.URI, schema.STATUS))
    uris = [uri if status is None else None for uri, status in zip(*columns, strict=True)]
    keys = test.records.column(schema.SOURCE_KEY).to_pylist()
    inspect = partial(scan.inspect_all, root=test.root, limits=Limits())
    tasks = [uris[start : start + _TASK_ROWS] for start in range(0, len(uris), _TASK_ROWS)]
    known: list[tuple[str, Any]] = []
    unusable = 0
    with context.progress(total=len(uris), unit="images", label="test set") as bar:
        for task_number, result in enumerate(context.engine.map(inspect, tasks, yield_crashes=True)):
            size = len(tasks[task_number])
            offset = task_number * _TASK_ROWS
            good = (
                [] if isinstance(result, Crash)
                else [(keys[offset + i], found) for i, found in enumerate(result)
                      if found is not None and found.status == schema.STATUS_OK]
            )  # fmt: skip
            unusable += size - len(good)
            known += good
            bar.advance(size)
    context.result["against"] = {"images": len(uris), "unusable": unusable}
    if unusable:
        context.note(f"test set: {unusable} of {len(uris)} files are no usable images and were not compared")
    if not known:
        return {}
    hits: dict[int, tuple[tuple[Any, ...], _Against]] = {}

    def offer(row: int, hit: _Against, score: float) -> None:
        order = (hit.kind != schema.KIND_EXACT, -score, hit.key.encode(), hit.view)
        if row not in hits or order < hits[row][0]:
            hits[row] = (order, hit)

    by_sha: dict[str, str] = {}
    for key, found in known:
        by_sha.setdefault(found.sha256, key)
    for row, sha256 in enumerate(images.column(schema.SHA256).to_pylist()):
        if sha256 in by_sha:
            offer(row, _Against(by_sha[sha256], schema.KIND_EXACT, 0, 0), 1.0)
    test_hash = np.array([found.phash for _, found in known], dtype=np.uint64)
    octets = b"".join(found.tiny for _, found in known)
    test_looks = duplicates.look(
        np.frombuffer(octets, dtype=np.uint8).reshape(-1, TINY_SIDE, TINY_SIDE, 3),
        np.array([found.is_gray for _, found in known], dtype=np.bool_),
    )
    for pairs in duplicates.candidates(hash_N, test_hash, radius):
        verdict_P, correlation_P = duplicates.verify(pairs, looks, test_looks, bars)
        for p in np.flatnonzero(verdict_P).tolist():
            hit = _Against(
                known[pairs.second_P[p]][0], schema.KIND_NEAR, int(pairs.view_P[p]), int(pairs.distance_P[p])
            )
            offer(int(pairs.first_P[p]), hit, float(correlation_P[p]))
    return {row: hit for row, (_, hit) in hits.items()}


def _rows(
    images: pa.Table,
    same_N: NDArray[np.int64],
    groups: list[list[duplicates.Member]],
    against: dict[int, _Against],
) -> list[dict[str, Any]]:
    """Rows of `duplicates` in image order; groups are numbered in the order of their smallest member."""
    ids = images.column(schema.IMAGE_ID).to_pylist()
    category = images.column(schema.CATEGORY).to_pylist()
    grouped = {member.image for group in groups for member in group}
    alone = [[duplicates.Member(row, row, 0, 0)] for row in against if row not in grouped]
    rows: dict[int, dict[str, Any]] = {}
    for number, group in enumerate(sorted([*groups, *alone], key=lambda members: members[0].image)):
        crosses = len({category[member.image] for member in group}) > 1
        contents = np.bincount(np.unique(same_N[[m.image for m in group]], return_inverse=True)[1])
        codes = {int(code): int(num) for code, num in
                 zip(np.unique(same_N[[m.image for m in group]]), contents, strict=True)}  # fmt: skip
        for member in group:
            hit = against.get(member.image)
            is_representative = member.image == member.representative
            same = same_N[member.image] == same_N[member.representative]
            exact = same and (not is_representative or codes[int(same_N[member.image])] > 1)
            kind, view, distance = (
                (schema.KIND_EXACT if exact else schema.KIND_NEAR),
                member.view,
                member.distance,
            )
            if len(group) == 1 and hit is not None:
                kind, view, distance = hit.kind, hit.view, hit.distance
            rows[member.image] = {
                schema.IMAGE_ID: ids[member.image],
                schema.GROUP: number,
                schema.KEEPER_ID: None if crosses else ids[member.representative],
                schema.KIND: kind,
                schema.VIEW: view,
                schema.DISTANCE: distance,
                schema.CROSSES_CATEGORY: crosses,
                schema.AGAINST: None if hit is None else hit.key,
            }
    return [rows[image] for image in sorted(rows)]


def _equal_bad_files(context: Context, first_group: int) -> list[dict[str, Any]]:
    """Rows of files that are no usable images and hold equal bytes, in groups after those of the images.

    They say how often one broken file came back. Files without bytes of their own (missing, unread) have
    no hash and are no copies of each other. The policy drops them as bad files, whatever their group.
    """
    from webclean.io import tables

    columns = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.RANK, schema.SHA256, schema.STATUS)
    by_content: dict[str, list[dict[str, Any]]] = {}
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        for row in part.to_pylist():
            # A file of no bytes has no hash of its own, yet all such files are equal.
            content = _EMPTY if row[schema.STATUS] == _EMPTY else row[schema.SHA256]
            if row[schema.STATUS] != schema.STATUS_OK and content is not None:
                by_content.setdefault(content, []).append(row)
    found = []
    groups = [members for members in by_content.values() if len(members) > 1]
    for number, members in enumerate(groups, start=first_group):
        crosses = len({member[schema.CATEGORY] for member in members}) > 1
        best = min(
            members,
            key=lambda m: (m[schema.RANK] is None, m[schema.RANK] or 0, m[schema.SOURCE_KEY].encode()),
        )
        for member in members:
            found.append(
                {
                    schema.IMAGE_ID: member[schema.IMAGE_ID],
                    schema.GROUP: number,
                    schema.KEEPER_ID: None if crosses else best[schema.IMAGE_ID],
                    schema.KIND: schema.KIND_EXACT,
                    schema.VIEW: 0,
                    schema.DISTANCE: 0,
                    schema.CROSSES_CATEGORY: crosses,
                    schema.AGAINST: None,
                }
            )
    return found


def _summary(
    images: pa.Table,
    same_N: NDArray[np.int64],
    rows: list[dict[str, Any]],
    num_pairs: int,
    has_against: bool,
) -> dict[str, Any]:
    category_of = dict(
        zip(
            images.column(schema.IMAGE_ID).to_pylist(),
            images.column(schema.CATEGORY).to_pylist(),
            strict=True,
        )
    )
    category = np.array(list(category_of.values()), dtype=object)
    members_of: dict[int, int] = {}
    for row in rows:
        members_of[row[schema.GROUP]] = members_of.get(row[schema.GROUP], 0) + 1
    bad = {row[schema.GROUP]: row for row in rows if row[schema.IMAGE_ID] not in category_of}
    _, size_G = np.unique(same_N, return_counts=True)
    crossing = 0
    order = np.argsort(same_N, kind="stable")
    for members in np.split(order, np.cumsum(size_G)[:-1]):
        crossing += len(members) > 1 and len(set(category[members])) > 1
    bad_crossing = sum(row[schema.CROSSES_CATEGORY] for row in bad.values())
    summary: dict[str, Any] = {
        "groups": sum(num > 1 for num in members_of.values()),
        "groups_across_categories": len({r[schema.GROUP] for r in rows if r[schema.CROSSES_CATEGORY]}),
        "images_in_groups": len(rows),
        "exact_groups": int((size_G > 1).sum()) + len(bad),
        "exact_groups_across_categories": int(crossing) + bad_crossing,
        "near_pairs": num_pairs,
    }
    if has_against:
        summary["copies_of_test_images"] = sum(row[schema.AGAINST] is not None for row in rows)
    return summary
