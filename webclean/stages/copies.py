"""What `duplicates` says of the images that a stage looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops.policies import NO_GROUP, Settled, settle_groups
from webclean.stages.rows import flags

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = (schema.IMAGE_ID, schema.GROUP, schema.KEEPER_ID, schema.AGAINST)


@dataclass(frozen=True, slots=True)
class Copies:
    """Of N images: group_N int64, `NO_GROUP` without a copy; is_keeper_N and is_against_N bool.

    A group that crosses categories has no keeper yet. `is_against_N`: a copy of an image of the user's own
    test set.
    """

    group_N: NDArray[np.int64]
    is_keeper_N: NDArray[np.bool_]
    is_against_N: NDArray[np.bool_]

    @property
    def is_drawn_N(self) -> NDArray[np.bool_]:
        """Whether training may draw the image: of copies, the keeper alone, and nothing of the test set.

        Of a group that crosses categories none is drawn: one picture under two labels teaches neither.
        """
        is_drawn_N: NDArray[np.bool_] = ((self.group_N == NO_GROUP) | self.is_keeper_N) & ~self.is_against_N
        return is_drawn_N

    def settle(
        self,
        is_usable_N: NDArray[np.bool_],
        category_N: NDArray[np.int64],
        clean_score_N: NDArray[np.float64],
    ) -> Settled:
        """Which copies go under these labels and scores; a file that is not usable holds no place for another."""
        group_N = np.where(is_usable_N, self.group_N, NO_GROUP)
        return settle_groups(group_N, self.is_keeper_N, category_N, clean_score_N)


class CopyTable:
    """The rows of `duplicates`, held whole: only images with a copy have one."""

    def __init__(self, run: RunDir) -> None:
        if tables.part_names(run, schema.DUPLICATES):
            self._rows = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE, _COLUMNS)
        else:
            self._rows = tables.arrow_schema(schema.DUPLICATES_TABLE).empty_table().select(_COLUMNS)
        # Sorted once: Arrow's index_in would hash all of them again for each part of a crawl.
        id_D = _bytes(self._rows.column(schema.IMAGE_ID).to_pylist())
        self._order_D = np.argsort(id_D, kind="stable")
        self._id_D = id_D[self._order_D]

    def of(self, image_id: pa.ChunkedArray | Sequence[str]) -> Copies:
        """What is known of these images, in their order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        chunks = (
            image_id.chunks if isinstance(image_id, pa.ChunkedArray) else [pa.array(image_id, pa.string())]
        )
        places = [pa.array([], pa.int64()), *(self._places(chunk.to_pylist()) for chunk in chunks)]
        rows = self._rows.take(pa.concat_arrays(places))  # all null where there is no row
        is_keeper = pc.equal(rows.column(schema.IMAGE_ID), rows.column(schema.KEEPER_ID))
        return Copies(
            np.asarray(pc.fill_null(rows.column(schema.GROUP), NO_GROUP).to_numpy(), dtype=np.int64),
            flags(pc.fill_null(is_keeper, False)),
            flags(pc.is_valid(rows.column(schema.AGAINST))),
        )

    def _places(self, image_id: list[str]) -> pa.Array:
        """Row of each image, null where it has none."""
        import pyarrow as pa

        if not len(self._id_D):
            return pa.nulls(len(image_id), pa.int64())
        id_N = _bytes(image_id)
        at_N = np.minimum(np.searchsorted(self._id_D, id_N), len(self._id_D) - 1)
        return pa.array(self._order_D[at_N], mask=self._id_D[at_N] != id_N)


def _bytes(image_id: list[str]) -> NDArray[np.bytes_]:
    return np.array([one.encode() for one in image_id], dtype=np.bytes_)
