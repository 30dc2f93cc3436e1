"""How much the image judge learns by heart: match scores of the same images inside and outside of its folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError
from webclean.io import tables
from webclean.stages.base import Context, committed

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MUCH: Final = (
    0.15  # mean match score gained by having been seen, from which on the judge is told to learn less
)


class Inside:
    """What the judge says of some images that it was trained on, and where these stand among all rows."""

    def __init__(self, ctx: Context, round_: int) -> None:
        self._artefact = schema.inside_path(schema.JUDGE_IMAGE, round_)
        self._judged = tables.read(ctx.run, self._artefact, schema.PREDICTIONS_TABLE)
        self._row_M = np.full(self._judged.num_rows, -1, dtype=np.int64)
        self._num_met = 0

    def meet(self, image_id: pa.ChunkedArray) -> None:
        """Take note of which of the next rows of `images` are among these."""
        import pyarrow.compute as pc

        place = pc.index_in(image_id, value_set=self._judged.column(schema.IMAGE_ID))
        place_N = place.fill_null(-1).to_numpy()
        here = np.flatnonzero(place_N >= 0)
        self._row_M[place_N[here]] = self._num_met + here
        self._num_met += len(image_id)

    def compare(
        self,
        ctx: Context,
        score: Callable[[Any, Ints], Floats],
        category_N: Ints,
        raw_N: Floats,
        known_N: Floats,
    ) -> dict[str, Any] | None:
        """Means inside and outside over the same images, as a result of the stage; None where there are none.

        Args:
            ctx: of the stage, for the artefact's name.
            score: match score of rows of predictions under labels.
            category_N: label of each row of `images`.
            raw_N: match score of each out of sample, NaN where it was not judged.
            known_N: the same on the scale of the weights.

        Raises:
            ArtifactInvalidError: `images` lacks one of these images.
        """
        if len(self._row_M) and self._row_M.min() < 0:
            raise ArtifactInvalidError(
                f"{ctx.run.url}/{self._artefact} holds images that `{schema.IMAGES}` does not",
                hint=f"make it again with `webclean weight {ctx.run.url} --force`",
            )
        raw_M, known_M = raw_N[self._row_M], known_N[self._row_M]
        inside_M = score(self._judged, category_N[self._row_M])
        both_M = ~np.isnan(raw_M) & ~np.isnan(inside_M)
        if not both_M.any():
            return None
        # Scores that are shares of the largest of their category are brought to the same scale.
        scale_M = np.divide(known_M, raw_M, out=np.ones_like(raw_M), where=raw_M > 0)
        return {
            "images": int(np.count_nonzero(both_M)),
            "inside": round(float((inside_M * scale_M)[both_M].mean()), 4),
            "outside": round(float(known_M[both_M].mean()), 4),
        }


def warn(ctx: Context, found: dict[str, Any], round_: int) -> None:
    """Say what it means that a judge knows the images of its training much better, and what to type."""
    gained = found["inside"] - found["outside"]
    if gained <= MUCH:
        return
    ctx.note(
        f"stage 2: the image judge learns by heart: the mean match score is {found['inside']:.2f} for images that it was"
        f" trained on and {found['outside']:.2f} for the same images out of sample. The weights use the latter, so that no"
        " label confirms itself; but a judge that learns wrong labels by heart knows right ones less well. To let it learn"
        f" less: webclean weight {ctx.run.url} {_remedy(ctx, round_)}"
    )


def _remedy(ctx: Context, round_: int) -> str:
    """The flag that lets the judge learn less, from the settings that it worked with."""
    record = committed(ctx.run, schema.predictions_path(schema.JUDGE_IMAGE, round_))
    config = {} if record is None else record["config"]
    if config.get("features") is None:
        return f"--folds-images {max(1, config.get('folds_images', 2) // 2)}"
    strengths = sorted(config["judge_strengths"])
    if config["head"] == "ridge":  # a penalty; C of logistic is the inverse of one
        return f"--judge-strengths {strengths[-1]:g},{strengths[-1] * 3:g},{strengths[-1] * 10:g}"
    return f"--judge-strengths {strengths[0] / 10:g},{strengths[0] / 3:g},{strengths[0]:g}"
