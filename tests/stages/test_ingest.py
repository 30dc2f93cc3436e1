from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from webclean import schema
from webclean.config import IngestConfig
from webclean.engines.base import Crash
from webclean.engines.local import InlineEngine, LocalEngine
from webclean.errors import ImagesNotFoundError, TooManyBadError
from webclean.io import scan, tables
from webclean.io.readers import listing
from webclean.io.run_dir import RunDir
from webclean.stages import ingest
from webclean.stages.base import Context, execute
from webclean.stages.chain import BY_NAME


def picture(seed: int, size: tuple[int, int] = (60, 45)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, size=(6, 6, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    folder = tmp_path / "crawl"
    for name, data in {
        "cat/a.png": picture(1),
        "cat/b.png": picture(2),
        "dog/a.png": picture(1),
        "dog/empty.jpg": b"",
        "dog/page.jpg": b"<html>gone</html>",
        "dog/cut.png": picture(3)[:900],
        "dog/meta.json": b"{}",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _context(tmp_path: Path, name: str = "run", engine: object = None) -> Context:
    run = RunDir(str(tmp_path / name))
    run.make()
    notes: list[str] = []
    context = Context(run=run, engine=engine or InlineEngine(), note=notes.append)  # type: ignore[arg-type]
    context.notes = notes  # type: ignore[attr-defined]
    return context


def _ingest(context: Context, source: Path, **options: object):
    return execute(BY_NAME["ingest"], IngestConfig(source=str(source), **options), context)


def _images(context: Context) -> list[dict[str, object]]:
    return tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()


def _bytes_of(context: Context) -> dict[str, str]:
    assert context.run.local_path() is not None
    return {
        str(path.relative_to(context.run.local_path())): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(context.run.local_path().rglob("*.parquet"))
    }


def test_every_file_is_a_row_with_a_status(tmp_path, crawl):
    context = _context(tmp_path)
    outcome = _ingest(context, crawl)
    rows = _images(context)
    assert [(r["source_key"], r["status"]) for r in rows] == [
        ("cat/a.png", "ok"), ("cat/b.png", "ok"), ("dog/a.png", "ok"), ("dog/cut.png", "truncated"),
        ("dog/empty.jpg", "empty"), ("dog/page.jpg", "not_image"),
    ]  # fmt: skip
    assert outcome.counts.total == 6
    assert outcome.counts.forwarded == 3
    assert outcome.counts.dropped == {"empty": 1, "not_image": 1, "truncated": 1}
    assert outcome.result["skipped"] == {"sidecars": 1}
    assert any("1 sidecars" in note for note in context.notes)
    categories = tables.read(context.run, schema.CATEGORIES, schema.CATEGORIES_TABLE).to_pylist()
    assert [(c["category_id"], c["name"], c["num_images"]) for c in categories] == [
        (0, "cat", 2),
        (1, "dog", 1),
    ]


def test_image_id_follows_content_and_key(tmp_path, crawl):
    context = _context(tmp_path)
    _ingest(context, crawl)
    by_key = {r["source_key"]: r["image_id"] for r in _images(context)}
    content = hashlib.sha256(picture(1)).hexdigest()[:16]
    assert by_key["cat/a.png"] == f"{content}-{hashlib.sha256(b'cat/a.png').hexdigest()[:16]}"
    assert by_key["dog/a.png"].startswith(content)
    assert by_key["dog/empty.jpg"].startswith("0" * 16 + "-")


def test_same_bytes_for_any_number_of_workers_and_after_a_kill(
    tmp_path, crawl, monkeypatch, killed_at_second_part
):
    monkeypatch.setattr(tables, "PART_ROWS", 2)
    monkeypatch.setattr(ingest, "_TASK_ROWS", 1)
    first = _context(tmp_path, "a")
    _ingest(first, crawl)
    engine = LocalEngine(2)
    second = _context(tmp_path, "b", engine)
    _ingest(second, crawl)
    engine.close()
    assert _bytes_of(first) == _bytes_of(second)

    third = _context(tmp_path, "c")
    with killed_at_second_part():
        _ingest(third, crawl)
    opened: list[str] = []
    real_read = scan.uris.read_bytes
    monkeypatch.setattr(scan.uris, "read_bytes", lambda uri, **k: opened.append(uri) or real_read(uri, **k))
    _ingest(third, crawl)
    assert len(opened) == 4  # the first part's two files were not read again
    assert _bytes_of(third) == _bytes_of(first)


def test_skips_when_nothing_changed_and_sees_a_change(tmp_path, crawl):
    context = _context(tmp_path)
    assert not _ingest(context, crawl).skipped
    assert _ingest(context, crawl).skipped
    (crawl / "cat/c.png").write_bytes(picture(9))
    again = _ingest(context, crawl)
    assert not again.skipped
    assert again.counts.total == 7


def test_manifest_statuses_and_outside_files(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(4))
    (folder / "1.png").write_bytes(picture(5))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "drop.png").write_bytes(picture(6))
    (folder / "manifest.csv").write_text(
        "path,query,rank\n1.png,fox,1\n1.png,fox,2\n../secret.png,fox,3\nlink.png,fox,4\ngone.png,fox,5\n"
        "http://x/y.png,fox,6\ndrop.png,junk,7\n"
    )
    (tmp_path / "map.csv").write_text("junk,\n")
    context = _context(tmp_path)
    _ingest(context, folder, category_map=str(tmp_path / "map.csv"))
    rows = {r["source_key"]: r for r in _images(context)}
    assert {key: r["status"] for key, r in rows.items()} == {
        "../secret.png": "unreadable", "1.png": "ok", "1.png?2": "ok", "drop.png": "excluded",
        "gone.png": "missing", "http://x/y.png": "not_downloaded", "link.png": "unreadable",
    }  # fmt: skip
    assert rows["1.png?2"]["rank"] == 2
    assert rows["drop.png"]["sha256"] is None
    assert any("category = query (guessed)" in note for note in context.notes)
    open_context = _context(tmp_path, "open")
    _ingest(open_context, folder, allow_outside=True)
    assert {r["source_key"] for r in _images(open_context) if r["status"] == "ok"} >= {
        "link.png",
        "../secret.png",
    }


def test_limits_of_size(tmp_path, crawl):
    (crawl / "cat/large.png").write_bytes(picture(7, (300, 300)))
    context = _context(tmp_path)
    _ingest(context, crawl, max_pixels=60 * 45)
    row = {r["source_key"]: r for r in _images(context)}["cat/large.png"]
    assert (row["status"], row["width"]) == ("too_large", 300)
    context = _context(tmp_path, "bytes")
    _ingest(context, crawl, max_bytes=len(picture(7, (300, 300))) - 1)
    row = {r["source_key"]: r for r in _images(context)}["cat/large.png"]
    assert (row["status"], row["sha256"]) == ("too_large", None)
    assert row["nbytes"] == len(picture(7, (300, 300)))


@pytest.mark.parametrize(("max_bad", "stops"), [(2, True), (3, False), (0.4, True), (0.5, False), (0, True)])
def test_max_bad(tmp_path, crawl, max_bad, stops):
    context = _context(tmp_path)
    if stops:
        with pytest.raises(TooManyBadError, match="3 of 6 files are bad"):
            _ingest(context, crawl, max_bad=max_bad)
        assert not context.run.exists("images/run.json")
    else:
        _ingest(context, crawl, max_bad=max_bad)


def test_nothing_usable(tmp_path):
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/x.jpg").write_bytes(b"words")
    with pytest.raises(ImagesNotFoundError, match="none of 1 files is a usable image"):
        _ingest(_context(tmp_path), tmp_path / "crawl")


def test_a_manifest_whose_images_lie_elsewhere_names_the_flag_that_reads_them(tmp_path):
    for name in ("crawl", "elsewhere"):
        (tmp_path / name).mkdir()
    rows = ["path,query"]
    for i in range(3):
        path = tmp_path / "elsewhere" / f"{i}.png"
        path.write_bytes(picture(i))
        rows.append(f"{path},cat")
    (tmp_path / "crawl/m.csv").write_text("\n".join([*rows, "gone.png,cat"]))
    with pytest.raises(ImagesNotFoundError) as caught:
        _ingest(_context(tmp_path), tmp_path / "crawl/m.csv")
    assert "3 of them: it lies outside SOURCE; --allow-outside reads it" in str(caught.value.context)


def test_a_file_that_kills_its_worker_is_blamed_alone(tmp_path, crawl):
    (crawl / "cat/killer.png").write_bytes(picture(8))

    class Crashing(InlineEngine):
        def map(self, function, items, *, yield_crashes=False):
            assert yield_crashes
            for index, item in enumerate(items):
                if any(uri is not None and uri.endswith("killer.png") for uri in item):
                    yield Crash(index, "died")
                else:
                    yield function(item)

    context = _context(tmp_path, "run", Crashing())
    outcome = _ingest(context, crawl)
    rows = {r["source_key"]: r["status"] for r in _images(context)}
    assert rows["cat/killer.png"] == "crashed"
    assert rows["cat/a.png"] == "ok"
    assert outcome.counts.dropped["crashed"] == 1


def test_parquet_bytes_end_to_end(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [picture(1), picture(2), None, b"junk"], "label": [3, 1, 1, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    context = _context(tmp_path)
    _ingest(context, tmp_path / "train.parquet")
    rows = _images(context)
    assert [(r["source_key"], r["category"], r["status"]) for r in rows] == [
        ("train.parquet#0", "3", "ok"), ("train.parquet#1", "1", "ok"), ("train.parquet#2", "1", "missing"),
        ("train.parquet#3", "1", "not_image"),
    ]  # fmt: skip
    assert rows[0]["rank"] is None


def test_what_is_read_is_what_was_fingerprinted(tmp_path, crawl, monkeypatch):
    """A file that comes while the crawl is listed is in neither; the next run sees it."""
    listed = listing.list_source

    def list_and_add(config):
        found = listed(config)
        (crawl / "cat/late.png").write_bytes(picture(9))
        return found

    context = _context(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(listing, "list_source", list_and_add)
        assert _ingest(context, crawl).counts.total == 6
    assert context.listing is None
    again = _ingest(context, crawl)
    assert not again.skipped
    assert again.counts.total == 7
