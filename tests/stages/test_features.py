"""The features stage: rows, parts, resume, the number of workers, and no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from webclean import schema
from webclean.config import FeaturesConfig
from webclean.engines.local import InlineEngine, LocalEngine
from webclean.errors import ArtifactStaleError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages import features
from webclean.stages.base import Context

NULL_IMAGE = {column.name: None for column in schema.IMAGES_TABLE.columns}
PART_ROWS = 5


@pytest.fixture
def run(tmp_path):
    """Twelve images in three parts; numbers 3 and 10 to 11 are not usable."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        path = tmp_path / f"{i:02d}.jpg"
        Image.fromarray(rng.integers(0, 256, size=(48, 64, 3), dtype=np.uint8)).save(path)
        rows.append(
            NULL_IMAGE
            | {"image_id": f"{i:033d}", "source_key": path.name, "uri": str(path), "category": "cat"}
            | {"query": "cat", "file_name": path.name}
            | {"status": "truncated" if i == 3 else "missing" if i >= 10 else "ok"}
        )
    run = RunDir(str(tmp_path / "run"))
    for index, start in enumerate(range(0, 12, PART_ROWS)):
        part = rows[start : start + PART_ROWS]
        columns = {name: [row[name] for row in part] for name in schema.IMAGES_TABLE.column_names}
        tables.write_part(run, schema.IMAGES, index, columns, schema.IMAGES_TABLE)
    return run


def _config(weights: str, **fields) -> FeaturesConfig:
    return FeaturesConfig(backbone="mobilenet_v3_small", weights=weights, **fields)


def _bytes(run: RunDir, name: str = "default") -> list[bytes]:
    artefact = schema.features_path(name)
    return [run.read_bytes(f"{artefact}/{part}") for part in tables.part_names(run, artefact)]


def test_one_vector_per_usable_image_in_the_parts_of_images(run, weights):
    context = Context(run, InlineEngine())
    counts = features.run(_config(weights), context)
    assert (counts.total, counts.forwarded, counts.dropped) == (12, 9, {"bad_file": 3})
    dim = context.result["dim"]
    assert dim == 576 + 2 * (48 + 96)
    table = schema.features_table(dim)
    parts = list(tables.iter_parts(run, "features/default", table))
    assert [part.num_rows for part in parts] == [4, 5, 0]
    assert [i for part in parts for i in part.column("image_id").to_pylist()] == [
        f"{i:033d}" for i in range(10) if i != 3
    ]
    assert context.result["label_free"] is True
    assert context.result["features"] == "default"
    assert context.result["weights"] == "file"


def test_same_bytes_inline_and_in_processes(run, weights, tmp_path):
    features.run(_config(weights), Context(run, InlineEngine()))
    inline = _bytes(run)
    run.remove("features/default")
    engine = LocalEngine(2)
    try:
        features.run(_config(weights), Context(run, engine))
    finally:
        engine.close()
    assert _bytes(run) == inline


def test_finished_parts_are_reused(run, weights):
    context = Context(run, InlineEngine())
    features.run(_config(weights), context)
    whole = _bytes(run)
    run.remove("features/default/part-00001.parquet")
    before = Path(run.local_path("features/default/part-00000.parquet")).stat().st_mtime_ns
    features.run(_config(weights), context)
    assert _bytes(run) == whole
    assert Path(run.local_path("features/default/part-00000.parquet")).stat().st_mtime_ns == before


def test_without_weights_nothing_is_written_and_it_is_said(run):
    notes: list[str] = []
    context = Context(run, InlineEngine(), note=notes.append)
    counts = features.run(FeaturesConfig(weights="none"), context)
    assert context.result["features"] == "none"
    assert counts.dropped == {"bad_file": 3, "no_weights": 9}
    assert counts.forwarded == 0
    assert tables.part_names(run, "features/default") == []
    assert any("without pretrained weights" in note for note in notes)


def test_an_image_that_went_away_is_named(run, weights, tmp_path):
    (tmp_path / "07.jpg").unlink()
    with pytest.raises(ArtifactStaleError, match=r"07\.jpg"):
        features.run(_config(weights), Context(run, InlineEngine()))


def test_bf16_stands_in_the_name():
    assert FeaturesConfig(precision="bf16").name == "default-bf16"
    assert FeaturesConfig(precision="bf16", name="x-bf16").name == "x-bf16"
    assert FeaturesConfig().name == "default"


def test_fingerprint_follows_the_weights(weights, tmp_path):
    before = features.source_fingerprint(_config(weights))
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    assert features.source_fingerprint(_config(str(other))) != before
    assert features.source_fingerprint(FeaturesConfig(weights="none")) == "small None"
