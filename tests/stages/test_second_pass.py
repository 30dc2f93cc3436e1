"""The second pass of dedup on drawn pictures: crops, boxes, mirrors, what it costs and what it must not join."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from deduped_run import dedup, groups_of, rows_of
from PIL import Image, ImageDraw

from webclean.cli.app import main
from webclean.config import DedupConfig
from webclean.engines.local import LocalEngine
from webclean.errors import ArtifactStaleError
from webclean.io.run_dir import RunDir
from webclean.stages.base import execute
from webclean.stages.chain import BY_NAME

MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def _scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Blobs of colour with finer ones over them."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size[1], size[0], 3))
    for cells, strength in ((4, 70), (12, 45), (32, 30)):
        coarse = Image.fromarray(rng.integers(0, 255, (cells, cells, 3)).astype(np.uint8))
        picture += (
            (np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=float) - 128) / 128 * strength
        )
    return Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8))


def _part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))


def _boxed(image: Image.Image) -> Image.Image:
    covered = image.copy()
    width, height = image.size
    ImageDraw.Draw(covered).rectangle(
        (width // 10, height * 7 // 10, width * 6 // 10, height * 9 // 10), "white"
    )
    return covered


def _save(folder: Path, images: dict[str, Image.Image]) -> Path:
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        image.save(data, "JPEG", quality=88)
        path.write_bytes(data.getvalue())
    return folder


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    return _save(
        tmp_path / "crawl",
        {
            "a/1.jpg": _scene(1),
            "a/1_crop.jpg": _part(_scene(1), 0.1, 0.08, 0.94, 1),
            "a/2.jpg": _scene(2),
            "b/2_boxed.jpg": _boxed(_scene(2)),
            "a/3.jpg": _scene(3),
            "a/3_crop_mirror.jpg": _part(_scene(3), 0.07, 0.07, 0.93, 0.93).transpose(MIRROR),
            "a/3_equal.jpg": _scene(3),
            "a/4.jpg": _scene(4),
            "b/5.jpg": _scene(5),
        },
    )


def test_crops_and_boxes_are_found_by_the_second_pass_alone(tmp_path, crawl):
    context, _ = dedup(tmp_path, crawl)
    assert groups_of(rows_of(context.run)) == {frozenset({"a/3.jpg", "a/3_equal.jpg"})}
    outcome = execute(BY_NAME["dedup"], DedupConfig(second_pass=True), context)
    rows = rows_of(context.run)
    assert groups_of(rows) == {
        frozenset({"a/1.jpg", "a/1_crop.jpg"}),
        frozenset({"a/2.jpg", "b/2_boxed.jpg"}),
        frozenset({"a/3.jpg", "a/3_equal.jpg", "a/3_crop_mirror.jpg"}),
    }
    assert (rows["a/1_crop.jpg"]["kind"], rows["a/1_crop.jpg"]["keeper"]) == ("near", "a/1.jpg")
    assert (rows["b/2_boxed.jpg"]["crosses_category"], rows["b/2_boxed.jpg"]["keeper"]) == (True, None)
    assert rows["a/3_crop_mirror.jpg"]["view"] == 1
    assert rows["a/3_equal.jpg"]["kind"] == "exact"
    assert outcome.result["second_pass_pairs"] == 3
    assert outcome.result["near_pairs"] == 3


def test_same_bytes_for_any_number_of_workers_and_nothing_is_left_behind(tmp_path, crawl):
    engine = LocalEngine(2)
    parts = []
    for name, chosen in (("one", None), ("two", engine)):
        context, _ = dedup(tmp_path, crawl, name, chosen, second_pass=True)
        parts.append(context.run.read_bytes("duplicates/part-00000.parquet"))
        assert list(context.run.scratch("squares").iterdir()) == []
    engine.close()
    assert parts[0] == parts[1]


def test_parts_of_one_wide_scene_are_no_chain(tmp_path):
    """Neighbours have a crop in common; the first and the last share two fifths."""
    wide = _scene(7, (480, 240))
    parts = {f"a/{i}.jpg": wide.crop((60 * i, 0, 60 * i + 300, 240)) for i in range(4)}
    crops = {f"a/{i}_{i + 1}.jpg": wide.crop((60 * i + 60, 0, 60 * i + 300, 240)) for i in range(3)}
    context, outcome = dedup(tmp_path, _save(tmp_path / "crawl", parts | crops), second_pass=True)
    assert outcome.result["second_pass_pairs"] >= 6
    groups = groups_of(rows_of(context.run))
    assert any(key in crops for group in groups for key in group)
    assert not any({"a/0.jpg", "a/3.jpg"} <= group for group in groups)


def test_crops_of_test_images_are_marked(tmp_path, crawl):
    test = _save(tmp_path / "test", {"x/1.jpg": _part(_scene(1), 0.05, 0.05, 0.95, 0.95), "x/3.jpg": _boxed(_scene(3)),
                                     "x/9.jpg": _scene(9)})  # fmt: skip
    context, _ = dedup(tmp_path, crawl, against=str(test), second_pass=True)
    assert {key: row["against"] for key, row in rows_of(context.run).items() if row["against"]} == {
        "a/1.jpg": "x/1.jpg", "a/3.jpg": "x/3.jpg", "a/3_equal.jpg": "x/3.jpg",
    }  # fmt: skip


def test_a_file_that_is_gone_is_said(tmp_path, crawl):
    context, _ = dedup(tmp_path, crawl)
    (crawl / "a/4.jpg").unlink()
    with pytest.raises(ArtifactStaleError, match=r"a/4\.jpg could be decoded by ingest and cannot any more"):
        execute(BY_NAME["dedup"], DedupConfig(second_pass=True), context)


def test_one_image_and_blank_ones(tmp_path):
    images = {"a/1.jpg": _scene(1), "a/white.jpg": Image.new("RGB", (90, 90), "white"),
              "a/white2.jpg": Image.new("RGB", (80, 90), "white")}  # fmt: skip
    context, outcome = dedup(tmp_path, _save(tmp_path / "crawl", images), second_pass=True)
    assert rows_of(context.run) == {}
    assert outcome.result["second_pass_pairs"] == 0


def test_the_flag(tmp_path, crawl, capsys):
    run = tmp_path / "run"
    assert main(["ingest", str(crawl), str(run), "--second-pass", "--workers", "0"]) == 0
    assert frozenset({"a/1.jpg", "a/1_crop.jpg"}) in groups_of(rows_of(RunDir(str(run))))
    assert "dedup" in capsys.readouterr().out
