from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from deduped_run import dedup, rows_of
from PIL import Image

from webclean import schema
from webclean.config import DedupConfig
from webclean.engines.local import LocalEngine
from webclean.io import tables
from webclean.io.readers import listing
from webclean.stages.base import Outcome, execute
from webclean.stages.chain import BY_NAME

DATA = os.environ.get("WEBCLEAN_DATA")


def _image(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, size=(6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    return _write(
        tmp_path / "crawl",
        {
            "cat/a.jpg": _jpeg(_image(1)),
            "cat/b.jpg": _jpeg(_image(2)),
            "cat/a_small.jpg": _jpeg(_image(1).resize((80, 60)), 60),
            "cat/b_mirror.jpg": _jpeg(_image(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
            "cat/c.jpg": _jpeg(_image(3)),
            "dog/c.jpg": _jpeg(_image(3)),
            "dog/d.jpg": _jpeg(_image(4)),
            "dog/white1.png": _jpeg(Image.new("RGB", (50, 50), "white")),
            "dog/white2.png": _jpeg(Image.new("RGB", (60, 60), "white")),
            "dog/page.jpg": b"<html>",
            "cat/page.jpg": b"<html>",
        },
    )


def test_groups_keepers_views_and_kinds(tmp_path, crawl):
    context, outcome = dedup(tmp_path, crawl)
    rows = rows_of(context.run)
    assert {key: row["group"] for key, row in rows.items()} == {
        "cat/a.jpg": 0, "cat/a_small.jpg": 0, "cat/b.jpg": 1, "cat/b_mirror.jpg": 1, "cat/c.jpg": 2, "dog/c.jpg": 2,
        "cat/page.jpg": 3, "dog/page.jpg": 3,
    }  # fmt: skip
    assert {rows[f"cat/{n}.jpg"]["keeper"] for n in ("a", "a_small")} == {"cat/a.jpg"}
    assert rows["cat/a_small.jpg"]["kind"] == "near"
    assert rows["cat/a_small.jpg"]["view"] == 0
    assert (rows["cat/b.jpg"]["view"], rows["cat/b_mirror.jpg"]["view"]) in ((0, 1), (1, 0))
    for name in ("cat/c.jpg", "dog/c.jpg"):
        assert (rows[name]["kind"], rows[name]["crosses_category"], rows[name]["keeper_id"]) == (
            "exact",
            True,
            None,
        )
    assert outcome.counts.total == 11
    assert outcome.counts.dropped == {"bad_file": 2}
    assert outcome.result == {
        "groups": 4, "groups_across_categories": 2, "images_in_groups": 8, "exact_groups": 2,
        "exact_groups_across_categories": 2, "near_pairs": 2,
    }  # fmt: skip


def test_keeper_order_is_pixels_bytes_rank_key(tmp_path):
    same = _jpeg(_image(1))
    folder = _write(tmp_path / "crawl", {f"{n}.jpg": same for n in "abcd"} | {"z.jpg": _jpeg(_image(1), 97)})
    (folder / "manifest.csv").write_text("path,query,rank\na.jpg,q,\nb.jpg,q,7\nd.jpg,q,2\nc.jpg,q,2\n")
    assert {row["keeper"] for row in rows_of(dedup(tmp_path, folder)[0].run).values()} == {"c.jpg"}
    (folder / "manifest.csv").write_text("path,query,rank\na.jpg,q,1\nz.jpg,q,9\n")
    assert {row["keeper"] for row in rows_of(dedup(tmp_path, folder, "two")[0].run).values()} == {"z.jpg"}


def test_same_bytes_for_any_number_of_workers(tmp_path, crawl):
    engine = LocalEngine(2)
    parts = []
    for name, chosen in (("one", None), ("two", engine)):
        context, _ = dedup(tmp_path, crawl, name, chosen, against=str(crawl))
        parts.append(context.run.read_bytes("duplicates/part-00000.parquet"))
    engine.close()
    assert parts[0] == parts[1]


def test_against_marks_copies_of_the_test_set(tmp_path, crawl):
    test = _write(
        tmp_path / "test",
        {"x/d_dark.jpg": _jpeg(_image(4).point(lambda level: int(level * 0.8))), "x/c.jpg": _jpeg(_image(3)),
         "x/other.jpg": _jpeg(_image(99)), "x/bad.jpg": b"no"},
    )  # fmt: skip
    context, outcome = dedup(tmp_path, crawl, against=str(test))
    rows = rows_of(context.run)
    assert {key: row["against"] for key, row in rows.items() if row["against"]} == {
        "dog/d.jpg": "x/d_dark.jpg", "cat/c.jpg": "x/c.jpg", "dog/c.jpg": "x/c.jpg",
    }  # fmt: skip
    assert (rows["dog/d.jpg"]["kind"], rows["dog/d.jpg"]["keeper"]) == ("near", "dog/d.jpg")
    assert rows["dog/d.jpg"]["group"] == 3
    assert outcome.result["copies_of_test_images"] == 3
    assert outcome.result["against"] == {"images": 4, "unusable": 1}


def test_a_changed_test_set_is_seen(tmp_path, crawl):
    test = _write(tmp_path / "test", {"x/1.jpg": _jpeg(_image(99))})
    context, _ = dedup(tmp_path, crawl, against=str(test))

    def again() -> Outcome:
        return execute(BY_NAME["dedup"], DedupConfig(against=str(test)), context)

    assert again().skipped
    _write(tmp_path / "test", {"x/2.jpg": _jpeg(_image(98))})
    assert not again().skipped


def test_the_test_set_is_listed_once(tmp_path, crawl, monkeypatch):
    """What is compared is what was fingerprinted: a file that comes in between waits for the next run."""
    test = _write(tmp_path / "test", {"x/1.jpg": _jpeg(_image(99))})
    listed = listing.list_source

    def list_and_add(config):
        found = listed(config)
        if config.source == str(test):
            _write(test, {"x/late.jpg": _jpeg(_image(3))})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(listing, "list_source", list_and_add)
        context, outcome = dedup(tmp_path, crawl, against=str(test))
    assert outcome.result["against"] == {"images": 1, "unusable": 0}
    again = execute(BY_NAME["dedup"], DedupConfig(against=str(test)), context)
    assert again.result["against"] == {"images": 2, "unusable": 0}


def test_equal_broken_files_are_a_group_and_missing_ones_are_not(tmp_path):
    source = _write(
        tmp_path / "source",
        {
            "a/good.jpg": _jpeg(_image(1)), "a/e1.jpg": b"", "b/e2.jpg": b"", "a/h1.jpg": b"<html>no</html>",
            "a/h2.jpg": b"<html>no</html>", "b/other.jpg": b"<html>else</html>",
        },
    )  # fmt: skip
    context, outcome = dedup(tmp_path, source)
    rows = rows_of(context.run)
    assert set(rows) == {"a/e1.jpg", "b/e2.jpg", "a/h1.jpg", "a/h2.jpg"}
    assert rows["a/e1.jpg"]["group"] == rows["b/e2.jpg"]["group"] != rows["a/h1.jpg"]["group"]
    assert rows["a/e1.jpg"]["keeper_id"] is None
    assert rows["a/h1.jpg"]["keeper_id"] == rows["a/h2.jpg"]["keeper_id"] is not None
    assert outcome.result["exact_groups"] == 2
    assert outcome.result["exact_groups_across_categories"] == 1


def test_no_duplicates_and_one_image(tmp_path):
    folder = _write(tmp_path / "crawl", {"a/1.jpg": _jpeg(_image(1))})
    context, outcome = dedup(tmp_path, folder)
    assert rows_of(context.run) == {}
    assert outcome.result["groups"] == 0


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="WEBCLEAN_DATA is not set")
def test_sports_crawl(tmp_path):
    source = Path(str(DATA)) / "sports-crawl"
    context, outcome = dedup(tmp_path, source)
    assert outcome.counts.total == 1881
    assert outcome.counts.forwarded == 1868
    # 19 groups of equal bytes, 10 across categories; one of them is two files without any byte.
    assert (outcome.result["exact_groups"], outcome.result["exact_groups_across_categories"]) == (19, 10)
    group = {key: row["group"] for key, row in rows_of(context.run).items()}
    with (source / "truth.csv").open() as file:
        planted = [
            (r["path"], r["of"]) for r in csv.DictReader(file) if r["kind"].startswith("near-duplicate")
        ]
    assert len(planted) == 99
    assert sum(group.get(a, -1) == group.get(b, -2) for a, b in planted) >= 92
    images = tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    assert _strangers(images, group, planted, source) <= 3


def _strangers(images, group, planted, source: Path) -> int:
    """Groups that hold images which neither the truth nor equal bytes connect."""
    parent = {row["source_key"]: row["source_key"] for row in images}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    first_of: dict[str, str] = {}
    for row in images:
        if row["sha256"]:
            parent[root(row["source_key"])] = root(first_of.setdefault(row["sha256"], row["source_key"]))
    known = [("7a9c33be0a39", "43a0229c1550"), ("e7243e71225b", "391f0ee38f44")]
    true = [tuple(next(k for k in parent if name in k) for name in pair) for pair in known]
    for a, b in [*planted, *true]:
        parent[root(a)] = root(b)
    members = defaultdict(set)
    for key, number in group.items():
        members[number].add(root(key))
    return sum(len(roots) > 1 for roots in members.values())
