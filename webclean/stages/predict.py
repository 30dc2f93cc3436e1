"""Predict: what a trained model says of images that are no part of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import DataError
from webclean.io import checksums, truth
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.ops import evaluation
from webclean.stages.base import require

_LABEL: Final = ("category", "label", "true_category", "true_label")
_PATH: Final = ("path", "file_name", "file")
_AT_ONCE: Final = 64
_SHOWN: Final = 5  # category names that a message lists


def top1(
    run: RunDir, model: str, test_path: Path, *, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The trained model's top-1 on a table of clean images, in all and by category.

    Images of categories that the model does not know count as wrong; a note says how many they are.

    Args:
        run: the run folder.
        model: name of the model.
        note: told of categories that the model does not know.
        test_path: .csv, .tsv, .jsonl or .parquet with the category of each image, and its path from the
            table's folder; a parquet file without a column of paths holds the images themselves.

    Raises:
        ArtifactMissingError: the run has no such model.
        ArtifactStaleError: an image cannot be read.
        ColumnMissingError: the table lacks a column.
        DataError: the model knows none of the table's categories.
    """
    columns = truth.read_columns(test_path)
    true = truth.column(columns, _LABEL, test_path)
    if test_path.suffix == ".parquet" and _PATH[0] not in columns:
        locations = [uris.of_row(uris.of_path(str(test_path)), row) for row in range(len(true))]
    else:
        paths = truth.column(columns, _PATH, test_path)
        locations = [uris.of_path(str(test_path.parent / path)) for path in paths]
    names, batches = log_probabilities(run, model, locations)
    unknown = _unknown(true, names, model, test_path, note)
    predicted = [names[best] for batch_BC in batches for best in batch_BC.argmax(axis=1)]
    return {
        "model": model,
        "test_sha256": checksums.file_sha256(test_path),
        "unknown_categories": unknown,
        **evaluation.top1(true, predicted),
    }


def _unknown(
    true: Sequence[Any], names: Sequence[str], model: str, test_path: Path, note: Callable[[str], None]
) -> dict[str, int]:
    """Categories of the test images that the model does not know, with their number of images."""
    known = set(names)
    counts = Counter(str(name) for name in true if name not in known)
    shown = ", ".join(repr(name) for name in sorted(counts)[:_SHOWN])
    shown += ", ..." if len(counts) > _SHOWN else ""
    if counts and counts.total() == len(true):
        raise DataError(
            f"no category of {test_path} is one that the model {model} knows",
            context=f"the table says {shown}; the model knows"
            f" {', '.join(repr(name) for name in sorted(known)[:_SHOWN])}{', ...' if len(known) > _SHOWN else ''}",
            hint="name the categories as the run does; `categories` in the run folder lists them",
        )
    if counts:
        note(
            f"{counts.total()} of {len(true)} test images count as wrong: {model} does not know"
            f" their category: {shown}"
        )
    return dict(sorted(counts.items()))


def log_probabilities(
    run: RunDir, model: str, locations: Sequence[str]
) -> tuple[list[str], Iterator[NDArray[np.float64]]]:
    """Names of the categories, and the log-probabilities of the images batch by batch, float64 (B, C).

    Args:
        run: the run folder.
        model: name of the model.
        locations: uris of the images.

    Raises:
        ArtifactMissingError: the run has no such model.
        ArtifactStaleError: an image cannot be read, said where its batch is reached.
    """
    from webclean.io import pixels
    from webclean.nn import recipe

    require(run, schema.model_path(model), reader="evaluate --model", force=True)
    trained = recipe.load_model(run, schema.model_path(model))
    starts = range(0, len(locations), _AT_ONCE)
    return trained.names, (
        trained.log_probabilities(pixels.load_squares(locations[start : start + _AT_ONCE], side=trained.side))
        for start in starts
    )
