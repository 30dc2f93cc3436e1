"""Dedup: groups of equal and nearly equal images, and copies of the user's own test set.

Of each image a few dozen bytes are held; names and the rest are read again for those that have a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DedupConfig, IngestConfig
from webclean.io.tiny_file import TinyFile
from webclean.ops import duplicates
from webclean.ops.copy_groups import Fits, Groups, Membership, group
from webclean.ops.pairs import NO_PAIRS, Pairs, best_views
from webclean.ops.verdict import Bars, fits_by_tiny, verify
from webclean.stages import contents, second_pass, test_set
from webclean.stages.base import Context, Counts, Source
from webclean.stages.contents import Contents
from webclean.stages.rows import Codes, not_usable
from webclean.stages.second_pass import Pictures
from webclean.stages.test_set import Hit, TestSet

if TYPE_CHECKING:
    import pyarrow as pa

_DETAILS = (
    schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.RANK, schema.WIDTH, schema.HEIGHT, schema.NBYTES,
)  # fmt: skip


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

    with TinyFile(context.run, schema.DUPLICATES) as tiny:
        images = contents.read(context.run, tiny)
        bars = Bars(correlation=config.correlation, cutout_residual=config.cutout_residual)
        pairs = _near_pairs(images, config.radius, bars, context)
        test = None
        if config.against is not None:
            assert context.listing is not None, "execute hands over what source_fingerprint listed"
            test = test_set.read(context.listing, context)
        fits: Membership = partial(fits_by_tiny, hash_N=images.hash_N, looks=images.looks, bars=bars.lax())
        second = None
        if config.second_pass:
            second = _SecondPass.run(context, images, test, pairs)
            pairs = best_views([pairs, second.pairs], [np.ones(len(pairs)), np.zeros(len(second.pairs))])
            fits = partial(second.fits, first_look=fits)
        against: dict[int, Hit] = {}
        if test is not None:
            overlaps = NO_PAIRS if second is None else second.of_test
            against = test_set.hits(test, images, overlaps, config.radius, bars)
        linked = _linked(images.same_N, pairs, np.array(sorted(against), dtype=np.int64))
        known = contents.details(context.run, images.row_N[linked], _DETAILS)
        groups = _groups(images, linked, known, pairs, fits)
    if second is not None:
        context.result["second_pass_pairs"] = len(second.pairs)
        second_pass.forget(context, second.pictures)
    rows = _rows(images, linked, known, groups, against)
    bad_rows = _equal_bad_files(context, images, first_group=_num_groups(rows))
    _write(context, rows, bad_rows)
    context.result |= _summary(images, linked, known, rows, bad_rows)
    context.result["near_pairs"] = len(pairs)
    if config.against is not None:
        context.result["copies_of_test_images"] = len(against)
    return Counts(
        total=tables.num_rows(context.run, schema.IMAGES),
        forwarded=len(images.row_N),
        dropped=not_usable(context.run),
    )


def _near_pairs(images: Contents, radius: int, bars: Bars, context: Context) -> Pairs:
    """Verified pairs among images of different content, each under its best view."""
    looks = images.looks
    asked = _asked(images)
    found: list[Pairs] = []
    scores: list[NDArray[np.float64]] = []
    with context.progress(total=len(asked), unit="images", label="near duplicates") as bar:
        done = 0

        def told(share: float) -> None:
            nonlocal done
            bar.advance(int(share * len(asked)) - done)
            done = int(share * len(asked))

        stands_N, of_crowds = duplicates.in_crowds(images.hash_N, asked, looks, bars)
        asked = asked[stands_N]
        by_hash = (
            block.at(asked) for block in duplicates.candidates(images.hash_N[asked], None, radius, told)
        )
        bleached = duplicates.bleached_candidates(images.hash_N, asked, looks, radius)
        for block in chain(by_hash, bleached):
            # In the order of the rows, so that tiny copies are read side by side.
            pairs = block.where(np.lexsort((block.second_P, block.first_P)))
            verdict_P, correlation_P = verify(pairs, looks, looks, bars)
            found.append(pairs.where(verdict_P))
            scores.append(correlation_P[verdict_P])
    return best_views([of_crowds, *found], [np.ones(len(of_crowds)), *scores])


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
        images: Contents,
        test: TestSet | None,
        known: Pairs,
    ) -> _SecondPass:
        row_K = _asked(images)
        named = contents.details(context.run, images.row_N[row_K], (schema.IMAGE_ID, schema.URI))
        ids, uris = (named.column(name).to_pylist() for name in (schema.IMAGE_ID, schema.URI))
        cutout_K, hash_K = images.looks.cutout_N[row_K], images.hash_N[row_K]
        if test is not None:
            ids += [f"{sha}-{key}" for sha, key in zip(test.sha256, test.keys, strict=True)]
            uris += test.uris
            cutout_K = np.concatenate([cutout_K, test.looks.cutout_N])
            hash_K = np.concatenate([hash_K, test.hash_T])
        pictures = second_pass.read(context, ids, uris, cutout_K, hash_K)
        picture_of_row = np.full(len(images.row_N), -1, dtype=np.int64)
        picture_of_row[row_K] = np.arange(len(row_K))
        _, first_of_same, label_N = np.unique(images.same_N, return_index=True, return_inverse=True)
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


def _asked(images: Contents) -> NDArray[np.int64]:
    """Images that are searched: one of each content, and none without any structure."""
    _, first = np.unique(images.same_N, return_index=True)
    return np.sort(first[~images.looks.flat_N[first]])


def _linked(same_N: NDArray[np.int64], pairs: Pairs, more: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images that can be in a group, in order: of content that comes again, in a pair, or among `more`."""
    again_N = np.bincount(same_N)[same_N] > 1 if len(same_N) else np.zeros(0, dtype=np.bool_)
    return np.unique(np.concatenate([np.flatnonzero(again_N), pairs.first_P, pairs.second_P, more]))


def _groups(
    images: Contents, linked: NDArray[np.int64], known: pa.Table, pairs: Pairs, fits: Membership
) -> Groups:
    """Groups of the linked images, K of them, by their places among all."""
    among_linked = Pairs(
        np.searchsorted(linked, pairs.first_P),
        np.searchsorted(linked, pairs.second_P),
        pairs.view_P,
        pairs.distance_P,
    )
    found = group(
        images.same_N[linked],
        among_linked,
        _best_first(known),
        lambda image_M, representative_M: fits(linked[image_M], linked[representative_M]),
    )
    return found.at(linked)


def _best_first(known: pa.Table) -> NDArray[np.int64]:
    """Images from the best to keep to the worst: most pixels, most bytes, best rank, smallest source_key."""
    import pyarrow as pa
    import pyarrow.compute as pc

    width, height = (known.column(name).cast(pa.int64()) for name in (schema.WIDTH, schema.HEIGHT))
    keys = pa.table(
        {
            "pixels": pc.multiply(width, height),
            "nbytes": known.column(schema.NBYTES),
            "rank": known.column(schema.RANK),
            "key": known.column(schema.SOURCE_KEY),
        }
    )
    order = [("pixels", "descending"), ("nbytes", "descending"), ("rank", "ascending"), ("key", "ascending")]
    return np.asarray(pc.sort_indices(keys, sort_keys=order).to_numpy(), dtype=np.int64)  # nulls last


def _rows(
    images: Contents,
    linked: NDArray[np.int64],
    known: pa.Table,
    groups: Groups,
    against: dict[int, Hit],
) -> pa.Table:
    """Rows of `duplicates` in image order; groups are numbered in the order of their smallest member."""
    import pyarrow as pa
    import pyarrow.compute as pc

    hit_rows = np.array(sorted(against), dtype=np.int64)
    groups = groups.with_alone(hit_rows[~np.isin(hit_rows, groups.image_M)])
    number_M, place_M = groups.number_M, np.searchsorted(linked, groups.image_M)
    size_G = np.bincount(number_M)
    category_K = Codes().encode(known.column(schema.CATEGORY))
    crosses_M = _num_distinct(number_M, category_K[place_M])[number_M] > 1
    # Equal bytes hang an image in its group; the representative itself where another has its bytes.
    same_M = images.same_N[groups.image_M] == images.same_N[groups.representative_M]
    num_same_G = np.bincount(number_M[same_M], minlength=len(size_G))
    is_exact_M = same_M & ((groups.image_M != groups.representative_M) | (num_same_G[number_M] > 1))
    view_M, distance_M = groups.view_M.copy(), groups.distance_M.copy()
    in_test: list[str | None] = [None] * len(number_M)
    for row, hit in against.items():
        place = int(np.searchsorted(groups.image_M, row))
        in_test[place] = hit.key
        if size_G[number_M[place]] == 1:
            is_exact_M[place] = hit.kind == schema.KIND_EXACT
            view_M[place], distance_M[place] = hit.view, hit.distance
    ids = known.column(schema.IMAGE_ID)
    keeper = ids.take(pa.array(np.searchsorted(linked, groups.representative_M)))
    return pa.table(
        {
            schema.IMAGE_ID: ids.take(pa.array(place_M)),
            schema.GROUP: number_M,
            schema.KEEPER_ID: pc.if_else(pa.array(crosses_M), pa.scalar(None, pa.string()), keeper),
            schema.KIND: pa.array([schema.KIND_NEAR, schema.KIND_EXACT]).take(
                pa.array(is_exact_M.astype(int))
            ),
            schema.VIEW: view_M,
            schema.DISTANCE: distance_M,
            schema.CROSSES_CATEGORY: crosses_M,
            schema.AGAINST: pa.array(in_test, type=pa.string()),
        }
    )


def _num_distinct(number_M: NDArray[np.int64], code_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each number, with how many different codes it comes."""
    pairs = np.unique(np.stack([number_M, code_M], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=1)


def _num_groups(rows: pa.Table) -> int:
    return len(rows.column(schema.GROUP).unique())


def _equal_bad_files(context: Context, images: Contents, first_group: int) -> pa.Table:
    """Rows of files that are no usable images and hold equal bytes, in groups after those of the images.

    They say how often one broken file came back. Files without bytes of their own (missing, unread) have
    no hash and are no copies of each other. The policy drops them as bad files, whatever their group.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    num_C = np.bincount(images.bad_same_B, minlength=1)
    again = np.flatnonzero(num_C[images.bad_same_B] > 1)
    columns = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.RANK)
    known = contents.details(context.run, images.bad_row_B[again], columns)
    # Numbered in the order in which the contents are met, and written group by group.
    _, first, content_M = np.unique(images.bad_same_B[again], return_index=True, return_inverse=True)
    number_M = np.argsort(np.argsort(first))[content_M]
    group_by_group = np.argsort(number_M, kind="stable")
    crosses_M = _num_distinct(number_M, Codes().encode(known.column(schema.CATEGORY)))[number_M] > 1
    keys = pa.table(
        {
            "group": number_M,
            "rank": known.column(schema.RANK),
            "key": known.column(schema.SOURCE_KEY),
        }
    )
    best_first = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in ("group", "rank", "key")])
    _, best_G = np.unique(number_M[best_first.to_numpy()], return_index=True)
    keeper_M = best_first.to_numpy()[best_G][number_M]
    ids, none = known.column(schema.IMAGE_ID), np.zeros(len(number_M), dtype=np.int64)
    rows = pa.table(
        {
            schema.IMAGE_ID: ids,
            schema.GROUP: number_M + first_group,
            schema.KEEPER_ID: pc.if_else(
                pa.array(crosses_M), pa.scalar(None, pa.string()), ids.take(pa.array(keeper_M))
            ),
            schema.KIND: pa.array([schema.KIND_EXACT]).take(pa.array(none)),
            schema.VIEW: none,
            schema.DISTANCE: none,
            schema.CROSSES_CATEGORY: crosses_M,
            schema.AGAINST: pa.nulls(len(number_M), pa.string()),
        }
    )
    return rows.take(pa.array(group_by_group))


def _write(context: Context, rows: pa.Table, bad_rows: pa.Table) -> None:
    import pyarrow as pa

    from webclean.io import tables

    joined = pa.concat_tables([rows, bad_rows])
    for index, start in enumerate(range(0, max(1, joined.num_rows), tables.PART_ROWS)):
        part = joined.slice(start, tables.PART_ROWS)
        tables.write_part(context.run, schema.DUPLICATES, index, part, schema.DUPLICATES_TABLE)


def _summary(
    images: Contents, linked: NDArray[np.int64], known: pa.Table, rows: pa.Table, bad_rows: pa.Table
) -> dict[str, Any]:
    import pyarrow.compute as pc

    number_M, bad_number_M = (table.column(schema.GROUP).to_numpy() for table in (rows, bad_rows))
    num_bad = _num_groups(bad_rows)
    crossing, bad_crossing = (
        _num_groups(table.filter(pc.field(schema.CROSSES_CATEGORY))) for table in (rows, bad_rows)
    )
    num_of_content = np.bincount(images.same_N, minlength=1)
    again_K = num_of_content[images.same_N[linked]] > 1
    category_K = Codes().encode(known.column(schema.CATEGORY))
    categories_of_content = _num_distinct(images.same_N[linked][again_K], category_K[again_K])
    return {
        "groups": int((np.bincount(number_M, minlength=1) > 1).sum()) + num_bad,
        "groups_across_categories": crossing + bad_crossing,
        "images_in_groups": len(number_M) + len(bad_number_M),
        "exact_groups": int((num_of_content > 1).sum()) + num_bad,
        "exact_groups_across_categories": int((categories_of_content > 1).sum()) + bad_crossing,
    }
