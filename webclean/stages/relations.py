"""Category relations as a file that other programs read: GraphML, a picture, or a table with names."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ConfigError, DataError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import require

CATEGORY: Final = "category"
OTHER: Final = "other"
_LARGEST_PICTURE: Final = 4_000  # categories: above, a pixel a pair, and clustering takes minutes
_SCORES: Final = (schema.WORDNET, schema.TEXT_SIMILARITY, schema.COMBINED, schema.MATCH)
ENDINGS: Final = (".graphml", ".png", ".csv", ".parquet")


def write(run: RunDir, path: str) -> int:
    """Write the relations of a run as the file's ending says; gives the number of pairs in it.

    `.graphml` and the tables hold each pair once: those above the threshold, and those where one is among the
    nearest of the other. `.png` shows the blend of all pairs that were kept, alike beside alike.

    Raises:
        ConfigError: an ending that is none of these, or too many categories for a picture.
        ArtifactMissingError, ArtifactStaleError: the relations have not been made, or are old.
        DataError: the file cannot be written.
    """
    target = Path(path).expanduser()
    ending = target.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(
            f"--relations {path} is no file that is written here", hint=f"let it end in {', '.join(ENDINGS)}"
        )
    for artefact in (schema.SENSES, schema.CATEGORY_SIMILARITY, schema.CATEGORY_NEIGHBORS):
        require(run, artefact, reader="--relations")
    senses = tables.read(run, schema.SENSES, schema.SENSES_TABLE).to_pylist()
    senses.sort(key=lambda row: row[schema.CATEGORY_ID])
    part = target.with_name(f".{target.name}.part")
    try:
        if ending == ".png":
            count = _picture(run, senses, part)
        elif ending == ".graphml":
            count = _graph(run, senses, part)
        else:
            count = _table(run, senses, part, ending)
        os.replace(part, target)
    except OSError as error:
        raise DataError(
            f"--relations {path} cannot be written: {error.strerror}",
            hint="name a file in a folder that is there and may be written to",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return count


def _graph(run: RunDir, senses: list[dict[str, Any]], target: Path) -> int:
    from webclean.io.graphml import graphml

    count = 0

    def edges() -> Iterator[tuple[str, str, dict[str, float | None]]]:
        nonlocal count
        for a, b, scores in _pairs(run, senses):
            count += len(a)
            for i in range(len(a)):
                values = {name: float(column[i]) for name, column in scores.items()}
                yield (
                    f"c{senses[a[i]][schema.CATEGORY_ID]}",
                    f"c{senses[b[i]][schema.CATEGORY_ID]}",
                    {name: None if math.isnan(value) else value for name, value in values.items()},
                )

    kept = (schema.NAME, schema.SYNSET, schema.PARENT)
    lines = graphml(
        dict.fromkeys(kept, str),
        ((f"c{row[schema.CATEGORY_ID]}", {name: row[name] for name in kept}) for row in senses),
        dict.fromkeys(_SCORES, float),
        edges(),
    )
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    return count


def _table(run: RunDir, senses: list[dict[str, Any]], target: Path, ending: str) -> int:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    names = pa.array([row[schema.NAME] for row in senses], pa.string())
    layout = pa.schema(
        [(CATEGORY, pa.string()), (OTHER, pa.string()), *((name, pa.float64()) for name in _SCORES)]
    )
    writer: Any = (
        pa.csv.CSVWriter(str(target), layout)
        if ending == ".csv"
        else pa.parquet.ParquetWriter(str(target), layout, compression="zstd")
    )
    count = 0
    with writer:
        for a, b, scores in _pairs(run, senses):
            columns = [names.take(pa.array(a)), names.take(pa.array(b))]
            columns += [pa.array(column, mask=np.isnan(column)) for column in scores.values()]
            writer.write_table(pa.table(columns, schema=layout))
            count += len(a)
    return count


def _picture(run: RunDir, senses: list[dict[str, Any]], target: Path) -> int:
    from webclean.io.heat_map import heat_map
    from webclean.ops.leaf_order import leaf_order

    num = len(senses)
    if num > _LARGEST_PICTURE:
        raise ConfigError(
            f"{num:,} categories are too many for a picture, which shows {_LARGEST_PICTURE:,} at most",
            hint="write .graphml instead, and look at it with Gephi or Cytoscape",
        )
    ids_C = _ids(senses)
    combined_CC = np.eye(num)
    columns = (schema.A, schema.B, schema.COMBINED)
    for part in tables.iter_parts(run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, columns):
        a, b, combined = (part.column(name).to_numpy() for name in columns)
        combined_CC[np.searchsorted(ids_C, a), np.searchsorted(ids_C, b)] = combined
    combined_CC = np.maximum(combined_CC, combined_CC.T)  # a pair may have been kept from one side alone
    order_C = leaf_order(combined_CC)
    names = [senses[index][schema.NAME] for index in order_C]
    target.write_bytes(heat_map(combined_CC[np.ix_(order_C, order_C)], names))
    return num * (num - 1) // 2


def _ids(senses: list[dict[str, Any]]) -> NDArray[np.int64]:
    return np.asarray([row[schema.CATEGORY_ID] for row in senses], dtype=np.int64)


def _pairs(
    run: RunDir, senses: list[dict[str, Any]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64]]]]:
    """Both places and the scores (NaN where unknown) of each related pair, once, part by part."""
    ids_C = _ids(senses)
    num = len(ids_C)
    near = tables.read(run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE)
    near_a, near_b = (np.searchsorted(ids_C, near.column(name).to_numpy()) for name in (schema.A, schema.B))
    near_P = np.unique(near_a * num + near_b)
    for part in tables.iter_parts(run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE):
        a, b = (np.searchsorted(ids_C, part.column(name).to_numpy()) for name in (schema.A, schema.B))
        scores = {name: part.column(name).to_numpy(zero_copy_only=False) for name in _SCORES}
        related = scores[schema.MATCH] > 0
        is_near, is_near_back = np.isin(a * num + b, near_P), np.isin(b * num + a, near_P)
        # An unrelated pair may have been kept from one side alone: that of the category whose neighbour it is.
        once = np.where(a < b, related | is_near, ~related & is_near & ~is_near_back) & (a != b)
        if once.any():
            yield a[once], b[once], {name: column[once] for name, column in scores.items()}
