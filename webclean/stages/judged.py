"""What all judges share: the labels of the usable images, their folds, their features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops.folds import grouped_folds
from webclean.stages.base import Context, Counts
from webclean.stages.copies import CopyTable
from webclean.stages.rows import Categories, count_statuses, floats, is_usable, left_out

if TYPE_CHECKING:
    import pyarrow as pa

FOLD_SALT = 0x0F01D  # folds have a random stream of their own
BLOCK_ROWS = 8192  # of features at once: products of fewer rows cost more


@dataclass(frozen=True)
class Usable:
    """The images of status ok, in image order. Per image: N; per part of `images`: how many are usable."""

    image_ids: pa.ChunkedArray
    label_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    part_sizes: list[int]
    left_out: dict[str, int]  # rows of `images` that are not usable, by reason
    num_categories: int

    @property
    def num_images(self) -> int:
        """How many rows `images` has."""
        return len(self.image_ids) + sum(self.left_out.values())

    @property
    def can_judge(self) -> bool:
        """Whether there are two labels to tell apart, and two images that are no copies of each other."""
        return len(np.unique(self.label_N)) > 1 and len(np.unique(self._clusters)) > 1

    @property
    def _clusters(self) -> NDArray[np.int64]:
        """A number for each image that its copies share."""
        alone = np.arange(len(self.group_N)) + self.group_N.max(initial=-1) + 1
        result: NDArray[np.int64] = np.where(self.group_N < 0, alone, self.group_N)
        return result

    def too_few(self, num_folds: int, among_N: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Images of categories with fewer different images (among some) than folds.

        A judge that was shown next to none of a category says no to all of it, which is no evidence.
        """
        pairs = np.unique(
            np.stack([self.label_N, self._clusters])[:, slice(None) if among_N is None else among_N], axis=1
        )
        count_C = np.bincount(pairs[0], minlength=self.num_categories)
        result: NDArray[np.bool_] = (count_C < num_folds)[self.label_N]
        return result

    def counts(self, few_N: NDArray[np.bool_]) -> Counts:
        """Counts of a judge that has no opinion of these usable images."""
        num, num_few = len(self.image_ids), int(few_N.sum())
        return Counts(
            total=self.num_images,
            forwarded=num - num_few,
            dropped=self.left_out | {"few_of_category": num_few},
        )

    def folds(self, num_folds: int, seed: int) -> NDArray[np.int64]:
        """int64 fold of each image; copies share one. Fewer folds where a crawl has fewer images."""
        rng = np.random.default_rng([seed, FOLD_SALT])
        return grouped_folds(self.label_N, self.group_N, max(2, min(num_folds, len(self.label_N))), rng)


def read_usable(run: RunDir) -> Usable:
    """Labels and duplicate groups of the usable images: a few numbers an image, all in memory."""
    categories = Categories(run)
    import pyarrow as pa

    ids: list[pa.Array] = []
    labels: list[NDArray[np.int64]] = []
    sizes: list[int] = []
    statuses: dict[str, int] = {}
    for part in tables.iter_parts(
        run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS)
    ):
        count_statuses(part.column(schema.STATUS), statuses)
        ok = part.filter(is_usable(part))
        ids.extend(ok.column(schema.IMAGE_ID).chunks)
        labels.append(categories.encode(ok.column(schema.CATEGORY)))
        sizes.append(ok.num_rows)
    image_ids = pa.chunked_array(ids, type=pa.string())
    group_N = CopyTable(run).of(image_ids).group_N
    label_N = np.concatenate(labels) if labels else np.zeros(0, dtype=np.int64)
    return Usable(image_ids, label_N, group_N, sizes, left_out(statuses), categories.num)


def fit_weights(context: Context, round_: int, usable: Usable) -> NDArray[np.float64]:
    """Weights of the usable images in this round's training: 1 in the first, then P(label right) by the round before.

    A weight tells how far to believe a label; the mean over a category is brought to 1, so that a
    category with many doubts does not vanish from the judge's view.
    """
    if round_ <= 1:
        return np.ones(len(usable.label_N))
    artefact = schema.beliefs_path(round_ - 1)
    pieces = [
        floats(part.column(schema.P_RIGHT))
        for part in tables.iter_parts(context.run, artefact, schema.BELIEFS_TABLE, (schema.P_RIGHT,))
    ]
    weight_N = np.concatenate([np.zeros(0), *pieces])
    total_C = np.bincount(usable.label_N, weight_N, minlength=usable.num_categories)
    count_C = np.bincount(usable.label_N, minlength=usable.num_categories)
    mean_C = np.divide(total_C, count_C, out=np.ones_like(total_C), where=count_C > 0)
    result: NDArray[np.float64] = weight_N / np.where(mean_C > 0, mean_C, 1.0)[usable.label_N]
    return result


def features_dim(run: RunDir, name: str) -> int:
    """How many numbers a feature vector of this set has."""
    width: int = tables.part_schema(run, schema.features_path(name)).field(schema.VECTOR).type.list_size
    return width


def feature_blocks(
    run: RunDir, name: str, usable: Usable, *, by_part: bool = False
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The feature vectors of the usable images block by block, with their places among these images.

    Args:
        run: the run folder.
        name: of the feature set.
        usable: the images.
        by_part: blocks as the parts of `images`; otherwise of some thousand rows.

    Raises:
        ArtifactInvalidError: a vector holds NaN or infinity.
    """
    artefact, width = schema.features_path(name), features_dim(run, name)
    sizes = usable.part_sizes if by_part else _sizes(len(usable.label_N))
    waiting = np.zeros((0, width), dtype=np.float32)
    parts = tables.iter_parts(run, artefact, schema.features_table(width), (schema.VECTOR,))
    start = 0
    for size in sizes:
        pieces, num = [waiting], len(waiting)
        while num < size:
            part = next(parts, None)
            if part is None:
                raise AssertionError(
                    f"{artefact} has {start + num} rows for {len(usable.label_N)} usable images"
                )
            vectors = part.column(schema.VECTOR).combine_chunks()
            pieces.append(vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width))
            num += part.num_rows
        block_MD = pieces[-1] if num == len(pieces[-1]) else np.concatenate(pieces)
        block_MD, waiting = block_MD[:size], block_MD[size:]
        broken = np.flatnonzero(~np.isfinite(block_MD).all(axis=1))
        if len(broken):
            raise ArtifactInvalidError(
                f"{run.url}/{artefact}: {len(broken)} vectors hold NaN or infinity among images {start} to"
                f" {start + size - 1}",
                context=f"the first is that of image {usable.image_ids[start + int(broken[0])]}",
                hint=f"make the features again with `webclean weight {run.url} --force`",
            )
        yield slice(start, start + size), block_MD
        start += size


def _sizes(num: int) -> list[int]:
    return [min(BLOCK_ROWS, num - start) for start in range(0, num, BLOCK_ROWS)]


def read_features(run: RunDir, name: str, usable: Usable) -> NDArray[np.float32]:
    """The feature vectors of the usable images, float32 (N, D), held whole.

    Raises:
        ArtifactInvalidError: a vector holds NaN or infinity.
    """
    features_ND = np.empty((len(usable.label_N), features_dim(run, name)), dtype=np.float32)
    for rows, block_MD in feature_blocks(run, name, usable):
        features_ND[rows] = block_MD
    return features_ND
