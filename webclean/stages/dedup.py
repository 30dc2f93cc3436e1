"""Dedup: groups of equal and nearly equal images, and copies of the user's own test set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DedupConfig, IngestConfig
from webclean.io.decode import TINY_SIDE
from webclean.ops import duplicates
from webclean.ops.duplicates import NO_PAIRS, Bars, Fits, Looks, Membership, Pairs
from webclean.stages import second_pass, test_set
from webclean.stages.base import Context, Counts, Source
from webclean.stages.rows import not_usable
from webclean.stages.second_pass import Pictures
from webclean.stages.test_set import Hit, TestSet

if TYPE_CHECKING:
    import pyarrow as pa


_COLUMNS = (
    schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.RANK, schema.WIDTH, schema.HEIGHT, schema.NBYTES,
    schema.URI, schema.SHA256, schema.PHASH, schema.IS_GRAY, schema.TINY, schema.STATUS,
)  # fmt: skip
_EMPTY = "empty"


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
    test = None
    if config.against is not None:
        assert context.listing is not None, "execute hands over what source_fingerprint listed"
        test = test_set.read(context.listing, context)
    fits: Membership = partial(duplicates.fits_by_tiny, hash_N=hash_N, looks=looks, bars=bars.lax())
    second = None
    if config.second_pass:
        second = _SecondPass.run(context, images, hash_N, looks, same_N, test, pairs)
        pairs = duplicates.best_views(
            [pairs, second.pairs], [np.ones(len(pairs)), np.zeros(len(second.pairs))]
        )
        fits = partial(second.fits, first_look=fits)
    groups = duplicates.group(same_N, pairs, _best_first(images), fits)
    against: dict[int, Hit] = {}
    if test is not None:
        sha256 = images.column(schema.SHA256).to_pylist()
        overlaps = NO_PAIRS if second is None else second.of_test
        against = test_set.hits(test, sha256, hash_N, looks, overlaps, config.radius, bars)
    rows = _rows(images, same_N, groups, against)
    rows += _equal_bad_files(context, first_group=len({row[schema.GROUP] for row in rows}))
    for index, start in enumerate(range(0, max(1, len(rows)), tables.PART_ROWS)):
        part = rows[start : start + tables.PART_ROWS]
        columns = {name: [row[name] for row in part] for name in schema.DUPLICATES_TABLE.column_names}
        tables.write_part(context.run, schema.DUPLICATES, index, columns, schema.DUPLICATES_TABLE)
    context.result |= _summary(images, same_N, rows, len(pairs), config.against is not None)
    if second is not None:
        context.result["second_pass_pairs"] = len(second.pairs)
        second_pass.forget(context, second.pictures)
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
    asked = _asked(same_N, looks)
    found: list[Pairs] = []
    scores: list[NDArray[np.float64]] = []
    with context.progress(total=len(asked), unit="images", label="near duplicates") as bar:
        for block in duplicates.candidates(hash_N[asked], None, radius):
            pairs = block.at(asked)
            verdict_P, correlation_P = duplicates.verify(pairs, looks, looks, bars)
            found.append(pairs.where(verdict_P))
            scores.append(correlation_P[verdict_P])
            bar.advance(min(duplicates.BLOCK, len(asked)))
    return duplicates.best_views(found, scores)


@dataclass(frozen=True)
class _SecondPass:
    """What the second pass found, and what it still has to be asked.

    One picture of each content is looked at, and after them those of the test set.

    Attributes:
        pictures: of the images at `row_K`, then of the test set.
        picture_N: which of the pictures shows the content of each image, -1 where there is none.
        pairs: copies among the images that the first pass did not see.
        of_test: copies of test images; `second_P` counts in the test set.
    """

    context: Context
    pictures: Pictures
    picture_N: NDArray[np.int64]
    pairs: Pairs
    of_test: Pairs

    @classmethod
    def run(
        cls,
        context: Context,
        images: pa.Table,
        hash_N: NDArray[np.uint64],
        looks: Looks,
        same_N: NDArray[np.int64],
        test: TestSet | None,
        known: Pairs,
    ) -> _SecondPass:
        row_K = _asked(same_N, looks)
        ids, uris = (
            [column[row] for row in row_K.tolist()]
            for column in (images.column(name).to_pylist() for name in (schema.IMAGE_ID, schema.URI))
        )
        cutout_K, hash_K = looks.cutout_N[row_K], hash_N[row_K]
        if test is not None:
            ids += [f"{sha}-{key}" for sha, key in zip(test.sha256, test.keys, strict=True)]
            uris += test.uris
            cutout_K = np.concatenate([cutout_K, test.looks.cutout_N])
            hash_K = np.concatenate([hash_K, test.hash_T])
        pictures = second_pass.read(context, ids, uris, cutout_K, hash_K)
        picture_of_row = np.full(len(hash_N), -1, dtype=np.int64)
        picture_of_row[row_K] = np.arange(len(row_K))
        _, first_of_same, label_N = np.unique(same_N, return_index=True, return_inverse=True)
        found = second_pass.copies(context, pictures, known.at(picture_of_row))
        is_crawl_P, is_test_P = found.second_P < len(row_K), found.first_P >= len(row_K)
        # A copy of a test image is one whichever of the equal files it is.
        of_test = found.where(~is_crawl_P & ~is_test_P)
        twin, pair = _rows_of(label_N, label_N[row_K[of_test.first_P]])
        of_test = of_test.where(pair)
        return cls(
            context,
            pictures,
            picture_of_row[first_of_same[label_N]],
            found.where(is_crawl_P).at(row_K),
            Pairs(twin, of_test.second_P - len(row_K), of_test.view_P, of_test.distance_P),
        )

    def fits(
        self, image_M: NDArray[np.int64], representative_M: NDArray[np.int64], *, first_look: Membership
    ) -> Fits:
        """By the first look, and where that says no, by the pixels of the second pass."""
        found = first_look(image_M, representative_M)
        open_M = np.flatnonzero(
            ~found.fits_M & (self.picture_N[image_M] >= 0) & (self.picture_N[representative_M] >= 0)
        )
        if len(open_M):
            more = second_pass.fits(
                self.context,
                self.pictures,
                self.picture_N[image_M[open_M]],
                self.picture_N[representative_M[open_M]],
            )
            better = open_M[more.fits_M]
            found.fits_M[better] = True
            found.view_M[better] = more.view_M[more.fits_M]
            found.distance_M[better] = more.distance_M[more.fits_M]
        return found


def _rows_of(
    label_N: NDArray[np.int64], label_P: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of each label, and for each of them its position in `label_P`."""
    order = np.argsort(label_N, kind="stable")
    begin = np.searchsorted(label_N[order], label_P)
    num_P = np.searchsorted(label_N[order], label_P, side="right") - begin
    pair = np.repeat(np.arange(len(label_P)), num_P)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(num_P) - num_P, num_P)
    return order[begin[pair] + within], pair


def _asked(same_N: NDArray[np.int64], looks: Looks) -> NDArray[np.int64]:
    """Rows that are searched: one image of each content, and none without any structure."""
    _, first = np.unique(same_N, return_index=True)
    return np.sort(first[~looks.flat_N[first]])


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


def _rows(
    images: pa.Table,
    same_N: NDArray[np.int64],
    groups: list[list[duplicates.Member]],
    against: dict[int, Hit],
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
