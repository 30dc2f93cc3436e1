"""Predict: what a trained model says of images that are no part of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io import checksums, truth
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.ops import evaluation
from webclean.stages.base import require

_LABEL: Final = ("category", "label", "true_category", "true_label")
_PATH: Final = ("path", "file_name", "file")
_AT_ONCE: Final = 64


def top1(run: RunDir, model: str, test_path: Path) -> dict[str, Any]:
    """The trained model's top-1 on a table of clean images, in all and by category.

    Args:
        run: the run folder.
        model: name of the model.
        test_path: .csv, .tsv, .jsonl or .parquet with the category of each image, and its path from the
            table's folder; a parquet file without a column of paths holds the images themselves.

    Raises:
        ArtifactMissingError: the run has no such model.
        ArtifactStaleError: an image cannot be read.
        ColumnMissingError: the table lacks a column.
    """
    columns = truth.read_columns(test_path)
    true = truth.column(columns, _LABEL, test_path)
    if test_path.suffix == ".parquet" and _PATH[0] not in columns:
        locations = [uris.of_row(uris.of_path(str(test_path)), row) for row in range(len(true))]
    else:
        paths = truth.column(columns, _PATH, test_path)
        locations = [uris.of_path(str(test_path.parent / path)) for path in paths]
    predicted = predict_model(run, model, locations)
    return {
        "model": model,
        "test_sha256": checksums.file_sha256(test_path),
        **evaluation.top1(true, predicted),
    }


def predict_model(run: RunDir, model: str, locations: Sequence[str]) -> list[str]:
    """The trained model's most likely category of each image, by name.

    Args, Raises: as `log_probabilities`.
    """
    names, batches = log_probabilities(run, model, locations)
    return [names[best] for batch_BC in batches for best in batch_BC.argmax(axis=1)]


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
