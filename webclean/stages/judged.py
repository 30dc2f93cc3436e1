"""What all judges share: the labels of the usable images, their folds, their features."""

from __future__ import annotations

from dataclasses import dataclass

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

FOLD_SALT = 0x0F01D  # folds have a random stream of their own


@dataclass(frozen=True)
class Usable:
    """The images of status ok, in image order. Per image: N; per part of `images`: how many are usable."""

    image_ids: list[str]
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
    ids: list[str] = []
    labels: list[NDArray[np.int64]] = []
    sizes: list[int] = []
    statuses: dict[str, int] = {}
    for part in tables.iter_parts(
        run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS)
    ):
        count_statuses(part.column(schema.STATUS), statuses)
        ok = part.filter(is_usable(part))
        ids.extend(ok.column(schema.IMAGE_ID).to_pylist())
        labels.append(categories.encode(ok.column(schema.CATEGORY)))
        sizes.append(ok.num_rows)
    group_N = CopyTable(run).of(ids).group_N
    label_N = np.concatenate(labels) if labels else np.zeros(0, dtype=np.int64)
    return Usable(ids, label_N, group_N, sizes, left_out(statuses), categories.num)


def fit_weights(context: Context, round_: int, usable: Usable) -> NDArray[np.float64]:
    """Weights of the usable images in this round's training: 1 in the first, stage 2 of the round before.

    A weight tells how far to believe a label; the mean over a category is brought to 1, so that a
    category with many doubts does not vanish from the judge's view.
    """
    if round_ <= 1:
        return np.ones(len(usable.label_N))
    rows = tables.read(context.run, schema.stage2_path(round_ - 1), schema.STAGE2_TABLE)
    weight_of = dict(
        zip(rows.column(schema.IMAGE_ID).to_pylist(), floats(rows.column(schema.WEIGHT)), strict=True)
    )
    weight_N = np.array([weight_of[image_id] for image_id in usable.image_ids])
    total_C = np.bincount(usable.label_N, weight_N, minlength=usable.num_categories)
    count_C = np.bincount(usable.label_N, minlength=usable.num_categories)
    mean_C = np.divide(total_C, count_C, out=np.ones_like(total_C), where=count_C > 0)
    result: NDArray[np.float64] = weight_N / np.where(mean_C > 0, mean_C, 1.0)[usable.label_N]
    return result


def read_features(run: RunDir, name: str, usable: Usable) -> NDArray[np.float32]:
    """The feature vectors of the usable images, float32 (N, D).

    Held whole: a linear head needs all rows; a million images of 1,280 numbers take 5 GB.
    """
    artefact = schema.features_path(name)
    width = tables.part_schema(run, artefact).field(schema.VECTOR).type.list_size
    table = schema.features_table(width)
    features_ND = np.empty((len(usable.image_ids), width), dtype=np.float32)
    start = 0
    for part in tables.iter_parts(run, artefact, table, (schema.VECTOR,)):
        vectors = part.column(schema.VECTOR).combine_chunks()
        rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        features_ND[start : start + len(rows)] = rows
        start += len(rows)
    if start != len(features_ND):
        raise AssertionError(f"{artefact} has {start} rows for {len(features_ND)} usable images")
    broken = np.flatnonzero(~np.isfinite(features_ND).all(axis=1))
    if len(broken):
        raise ArtifactInvalidError(
            f"{run.url}/{artefact}: {len(broken)} vectors hold NaN or infinity",
            context=f"the first is that of image {usable.image_ids[broken[0]]}",
            hint=f"make the features again with `webclean weight {run.url} --force`",
        )
    return features_ND
