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
from webclean.stages.base import Context, execute
from webclean.stages.chain import BY_NAME

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


def _images(run: RunDir, folder: Path, numbers: list[int], status: str = "ok") -> None:
    """Images with ids of their content, by number, in the order of their keys."""
    import hashlib

    rows = []
    for i in sorted(numbers):
        path = folder / f"{i:02d}.jpg"
        pixels = np.random.default_rng(100 + i).integers(0, 256, size=(48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(
            NULL_IMAGE
            | {"image_id": f"{digest[:16]}-{i:016x}", "source_key": path.name, "uri": str(path)}
            | {"category": "cat", "query": "cat", "file_name": path.name, "status": status}
        )
    run.remove(schema.IMAGES)
    for index, start in enumerate(range(0, len(rows), PART_ROWS)):
        part = rows[start : start + PART_ROWS]
        columns = {name: [row[name] for row in part] for name in schema.IMAGES_TABLE.column_names}
        tables.write_part(run, schema.IMAGES, index, columns, schema.IMAGES_TABLE)
    record = {"fingerprint": "f", "inputs": {}, "counts": {}, "result": {}, "digest": str(numbers)}
    run.write_json(f"{schema.IMAGES}/run.json", record)


class _Counting(InlineEngine):
    def __init__(self) -> None:
        self.tasks: list[list[str]] = []

    def map(self, function, items, *, yield_crashes=False):
        for item in items:
            self.tasks.append([Path(uri).name for uri in item])
            yield function(item)


def _weigh(run: RunDir, weights: str, *, force: bool = False) -> tuple[_Counting, list[str]]:
    engine, notes = _Counting(), []
    context = Context(run, engine, note=notes.append)
    execute(BY_NAME["features"], _config(weights), context, force=force)
    return engine, notes


def test_vectors_of_the_same_content_are_taken_over_and_the_bytes_are_a_fresh_runs(tmp_path, weights):
    run = RunDir(str(tmp_path / "run"))
    _images(run, tmp_path, [1, 2, 3, 4, 5, 6, 8])
    _weigh(run, weights)
    _images(run, tmp_path, [0, 2, 3, 4, 5, 6, 7, 8, 9])
    engine, notes = _weigh(run, weights)
    seen = {name for task in engine.tasks[1:] for name in task}  # the first task is the sample
    assert seen == {"00.jpg", "07.jpg", "09.jpg"}
    assert "features: 6 vectors are taken over, their images have the same content still" in notes
    updated = _bytes(run)
    assert not list(run.scratch("").rglob("*.parquet"))
    engine, notes = _weigh(run, weights, force=True)
    assert sum(map(len, engine.tasks)) == 9
    assert _bytes(run) == updated


def test_vectors_that_differ_in_the_last_bit_are_all_computed(tmp_path, weights):
    run = RunDir(str(tmp_path / "run"))
    _images(run, tmp_path, [1, 2, 3])
    _weigh(run, weights)
    fresh = _bytes(run)
    table = features.schema.features_table(864)
    part = tables.read(run, "features/default", table)
    vectors = np.array(part.column("vector").to_pylist(), dtype=np.float32)
    vectors[1, 7] = np.nextafter(vectors[1, 7], np.float32(9))
    columns = {"image_id": part.column("image_id"), "vector": features._fixed_lists(vectors)}
    tables.write_part(run, "features/default", 0, columns, table)
    _images(run, tmp_path, [1, 2, 3, 4])
    _, notes = _weigh(run, weights)
    assert "features: vectors differ from those of before to the last bit; all are computed anew" in notes
    first = tables.read(run, "features/default", table).slice(0, 3)
    tables.write_part(run, "features/default", 0, first, table)
    assert _bytes(run) == fresh


def test_other_settings_take_nothing_over(tmp_path, weights):
    run = RunDir(str(tmp_path / "run"))
    _images(run, tmp_path, [1, 2])
    _weigh(run, weights)
    engine = _Counting()
    execute(BY_NAME["features"], _config(weights, layers="last"), Context(run, engine))
    assert engine.tasks == [["01.jpg", "02.jpg"]]
