"""The table of predictions that all judges and models write, and its way back to dense probabilities."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.io.scratch_rows import ScratchRows
from webclean.ops.heads import log_margin
from webclean.ops.match_scores import dense_predictions
from webclean.stages.rows import floats, padded, refuse_in_sample

if TYPE_CHECKING:
    from webclean.stages.judged import Usable

_FLOOR = 1e-37  # float32 holds no smaller normal number; a category never has probability 0


def prediction_columns(
    log_probability_NC: NDArray[np.float64],
    label_N: NDArray[np.int64],
    top: int,
    unknown_N: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """The columns of a table of predictions that follow from the probabilities.

    Args:
        log_probability_NC: float64 (N, C); C may be 0 where nothing is known of any image.
        label_N: int64 (N,).
        top: most likely categories stored for each image.
        unknown_N: images about which the judge knows nothing: empty lists, nulls. Default none.
    """
    import pyarrow as pa

    num, num_categories = log_probability_NC.shape
    unknown_N = np.zeros(num, dtype=bool) if unknown_N is None else unknown_N
    kept = min(top, num_categories)
    order_NK = np.argsort(-log_probability_NC, axis=1, kind="stable")[:, :kept].astype(np.int32)
    probability_NK = np.maximum(np.exp(np.take_along_axis(log_probability_NC, order_NK, axis=1)), _FLOOR)
    offsets = np.concatenate([[0], np.cumsum(np.where(unknown_N, 0, kept))]).astype(np.int32)
    p_label_N, suggested_N = np.zeros(num), np.zeros(num, dtype=np.int32)
    margin_N = np.zeros(num)
    if num_categories:
        margin_N = log_margin(log_probability_NC, label_N)
        p_label_N = np.exp(log_probability_NC[np.arange(num), label_N])
        others_NC = log_probability_NC.copy()
        others_NC[np.arange(num), label_N] = -np.inf
        suggested_N = others_NC.argmax(axis=1).astype(np.int32)
    no_other_N = unknown_N | (num_categories < 2)
    return {
        schema.TOP_CATEGORIES: pa.ListArray.from_arrays(offsets, order_NK[~unknown_N].ravel()),
        schema.TOP_PROBABILITIES: pa.ListArray.from_arrays(
            offsets, probability_NK[~unknown_N].ravel().astype(np.float32)
        ),
        schema.LABEL_PROBABILITY: pa.array(p_label_N, mask=unknown_N),
        schema.LOG_MARGIN: pa.array(margin_N, mask=no_other_N),
        schema.SUGGESTED: pa.array(suggested_N, mask=no_other_N),
    }


def write_predictions(
    run: RunDir,
    artefact: str,
    usable: Usable,
    log_probability: Iterable[NDArray[np.float64]] | None,
    fold_N: NDArray[np.int64] | None,
    *,
    top: int,
    unknown_N: NDArray[np.bool_] | None = None,
    similarity_N: NDArray[np.float64] | None = None,
) -> None:
    """Write the predictions of a judge, one row per usable image, in the parts of `images`.

    Args:
        run: the run folder.
        artefact: where to.
        usable: the images.
        log_probability: out-of-sample log-probabilities of each part's images, part after part (`by_part`
            cuts an array); None where nothing could be judged.
        fold_N: fold in which each image was judged.
        top: most likely categories stored per image.
        unknown_N: images about which the judge knows nothing (no text, too few of their category): no
            margin, fold -1.
        similarity_N: mean cosine to the nearest images, for the neighbours' judge; looked at when the part's
            log-probabilities have been given.
    """
    import pyarrow as pa

    num = len(usable.label_N)
    unknown_N = np.zeros(num, dtype=bool) if unknown_N is None else unknown_N
    if log_probability is None:
        unknown_N = np.ones(num, dtype=bool)
        log_probability = (np.zeros((size, 0)) for size in usable.part_sizes)
    fold_N = np.where(unknown_N, -1, np.full(num, -1) if fold_N is None else fold_N)
    start = 0
    for index, (size, log_p) in enumerate(zip(usable.part_sizes, log_probability, strict=True)):
        rows = slice(start, start + size)
        start += size
        similarity = np.full(size, np.nan) if similarity_N is None else similarity_N[rows]
        data: dict[str, Any] = {
            schema.IMAGE_ID: usable.image_ids.slice(rows.start, size),
            schema.FOLD: fold_N[rows].astype(np.int32),
            **prediction_columns(log_p, usable.label_N[rows], top, unknown_N[rows]),
            schema.SIMILARITY: pa.array(similarity, mask=~np.isfinite(similarity)),
            schema.IN_SAMPLE: np.zeros(size, dtype=bool),
        }
        tables.write_part(run, artefact, index, data, schema.PREDICTIONS_TABLE)


def write_inside(
    run: RunDir,
    round_: int,
    usable: Usable,
    seen_M: NDArray[np.int64],
    log_probability_MC: NDArray[np.float64],
    fold_N: NDArray[np.int64],
    *,
    top: int,
) -> None:
    """Write what the image judge says of some images that it was trained on: one part, marked as in sample.

    Args:
        run: the run folder.
        round_: whose judge.
        usable: the images.
        seen_M: places of these images among the usable ones.
        log_probability_MC: of these.
        fold_N: fold of each usable image.
        top: most likely categories stored per image.
    """
    import pyarrow as pa

    data: dict[str, Any] = {
        schema.IMAGE_ID: usable.image_ids.take(pa.array(seen_M)),
        schema.FOLD: fold_N[seen_M].astype(np.int32),
        **prediction_columns(log_probability_MC, usable.label_N[seen_M], top),
        schema.SIMILARITY: pa.nulls(len(seen_M), pa.float64()),
        schema.IN_SAMPLE: np.ones(len(seen_M), dtype=bool),
    }
    artefact = schema.inside_path(schema.JUDGE_IMAGE, round_)
    tables.write_part(run, artefact, 0, data, schema.PREDICTIONS_TABLE)


def by_part(values_NC: NDArray[np.float64], usable: Usable) -> Iterator[NDArray[np.float64]]:
    """Rows of an array as the parts of `images` hold them."""
    start = 0
    for size in usable.part_sizes:
        yield values_NC[start : start + size]
        start += size


@dataclass(frozen=True)
class Judgement:
    """A judge's table read back: log_probability_NC float32, in a file; known_N bool; similarity_N, NaN where not there."""

    log_probability_NC: NDArray[Any]
    known_N: NDArray[np.bool_]
    similarity_N: NDArray[np.float64]


def read_predictions(run: RunDir, artefact: str, usable: Usable) -> Judgement:
    """Dense log-probabilities of a judge: the label's own, the most likely ones; the rest is shared evenly.

    They lie in a file of the scratch folder, 4 bytes an image and category, and take no memory.

    Raises:
        ArtifactInvalidError: the table does not hold the usable images in their order.
        ConfigError: a prediction is in sample.
    """
    num = len(usable.label_N)
    log_p_NC = rows_in_scratch(run, (num, usable.num_categories), np.float32)
    known_N, similarity_N = np.zeros(num, dtype=bool), np.full(num, np.nan)
    start = 0
    for part in tables.iter_parts(run, artefact, schema.PREDICTIONS_TABLE):
        refuse_in_sample(part)
        rows = slice(start, start + part.num_rows)
        if not part.column(schema.IMAGE_ID).equals(usable.image_ids.slice(start, part.num_rows)):
            break
        probability_MC = dense(part, usable.label_N[rows], usable.num_categories)
        log_p_NC[rows] = np.log(np.maximum(probability_MC, _FLOOR))
        known_N[rows] = np.isfinite(floats(part.column(schema.LOG_MARGIN)))
        similarity_N[rows] = floats(part.column(schema.SIMILARITY))
        start = rows.stop
    if start != num:
        raise ArtifactInvalidError(
            f"{run.url}/{artefact} does not hold the usable images of `{schema.IMAGES}` in their order",
            hint=f"make it again with `webclean weight {run.url} --force`",
        )
    return Judgement(log_p_NC, known_N, similarity_N)


def in_scratch(run: RunDir, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros in a file without a name, which goes with the process: pages that memory can do without."""
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile(dir=run.scratch("judgements")) as file:
        return np.memmap(file, dtype=dtype, shape=shape)


def rows_in_scratch(run: RunDir, shape: tuple[int, int], dtype: Any) -> NDArray[Any]:
    """Zeros in such a file, read by blocks of rows none of which stays in memory."""
    return ScratchRows.zeros(run.scratch("judgements"), shape, dtype)


def dense(part: Any, label_N: NDArray[np.int64], num_categories: int) -> NDArray[np.float64]:
    """Probabilities float64 (N, C) of rows of predictions; 0 everywhere or even where nothing is known."""
    lists = part.column(schema.TOP_CATEGORIES)
    width = max((len(value) for value in lists.to_pylist()), default=0)
    return dense_predictions(
        padded(lists, width, -1, np.int64),
        padded(part.column(schema.TOP_PROBABILITIES), width, 0.0, np.float64),
        num_categories,
        label_N,
        floats(part.column(schema.LABEL_PROBABILITY)),
    )
