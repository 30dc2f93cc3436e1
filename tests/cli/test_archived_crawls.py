"""Crawls in archives, from the command line to a data set: never unpacked, and no image lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archived import write_tar, write_zip
from exported_run import picture
from letters import Letters

from webclean import schema
from webclean.cli.app import main
from webclean.io import sentence, tables
from webclean.io.run_dir import RunDir

# Two copies among eight pictures of two categories, and two files that are none.
CRAWL = {
    **{f"{name}/{i}.jpg": picture(10 * i + len(name), size=(48, 40)) for name in ("cat", "horse") for i in range(4)},
    "cat/copy.jpg": picture(3, size=(48, 40)),
    "cat/page.jpg": b"<html>gone</html>",
    "horse/cut.jpg": picture(5, size=(48, 40))[:300],
}  # fmt: skip
KINDS = ("folder", "tar", "zip", "img2dataset")


def pack(folder: Path, kind: str) -> Path:
    """The crawl as SOURCE; beside img2dataset's images stands a download that failed."""
    folder.mkdir()
    if kind == "tar":
        return write_tar(folder / "crawl.tar", CRAWL.items())
    if kind == "zip":
        return write_zip(folder / "crawl.zip", CRAWL.items())
    if kind == "folder":
        for name, data in CRAWL.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        return folder
    rows = [
        {
            "label": name.split("/")[0],
            "url": f"http://x/{name}",
            "key": f"{i:09}",
            "status": "success",
            "error_message": None,
        }
        for i, name in enumerate(CRAWL)
    ]
    write_tar(
        folder / "00000.tar",
        [(f"{row['key']}.jpg", data) for row, data in zip(rows, CRAWL.values(), strict=True)],
    )
    rows.append(
        {
            **rows[0],
            "url": "http://x/9",
            "key": "9" * 9,
            "status": "failed_to_download",
            "error_message": "404",
        }
    )
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return folder


def ingest(source: Path, run: RunDir, *flags: str) -> list[dict[str, object]]:
    assert main(["ingest", str(source), run.url, "--workers", "0", "--quiet", *flags]) == 0
    return tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()


def said(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """What the content of the images says, whatever holds them."""
    return sorted(
        (str(r["sha256"]), r["category"], r["status"], r["width"], r["phash"], r["nbytes"]) for r in rows
    )


@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_archive_is_ingested_as_the_folder_it_holds(tmp_path, kind):
    by_folder = said(ingest(pack(tmp_path / "folder", "folder"), RunDir(str(tmp_path / "run-folder"))))
    run = RunDir(str(tmp_path / "run"))
    source = pack(tmp_path / kind, kind)
    rows = ingest(source, run)
    failed = [r for r in rows if r["status"] == "not_downloaded"]
    assert [r["error"] for r in failed] == (
        ["img2dataset: failed_to_download: 404"] if kind == "img2dataset" else []
    )
    assert said([r for r in rows if r not in failed]) == by_folder
    copies = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    assert sorted(c["kind"] for c in copies) == ["exact", "exact"]
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == sorted(Path(name).name for name in CRAWL)
    record = run.read_json("images/run.json")
    assert ingest(source, run) == rows
    assert run.read_json("images/run.json") == record  # nothing changed, so it was skipped
    assert ingest(source, run, "--retry-failed") == rows


def test_the_crawl_is_held_against_a_test_set_in_an_archive(tmp_path):
    run = RunDir(str(tmp_path / "run"))
    against = pack(tmp_path / "test", "img2dataset")  # with a row that has no bytes to compare
    ingest(pack(tmp_path / "crawl", "folder"), run, "--against", str(against))
    copies = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    assert sum(c["against"] is not None for c in copies) == 9
    assert {str(c["against"]).partition("#")[0] for c in copies} == {"00000.tar"}


@pytest.mark.slow
def test_from_an_archive_to_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: Letters())
    run, out = RunDir(str(tmp_path / "run")), tmp_path / "out"
    ingest(pack(tmp_path / "crawl", "tar"), run)
    small = ["--folds-images", "20", "--folds-width", "4", "--folds-side", "16"]
    assert (
        main(["weight", run.url, "--weights", "none", "--wordnet", "none", "--workers", "0", "-q", *small])
        == 0
    )
    assert main(["export", run.url, str(out), "--threshold", "0", "--quiet"]) == 0
    with (out / "images.csv").open(newline="") as file:
        exported = {row["source_key"].removeprefix("crawl.tar#"): row["path"] for row in csv.DictReader(file)}
    with (out / "dropped.csv").open(newline="") as file:
        dropped = {
            row["source_key"].removeprefix("crawl.tar#"): row["reason"] for row in csv.DictReader(file)
        }
    assert exported.keys() | dropped.keys() == CRAWL.keys()
    assert sorted(dropped.values()) == ["bad_file:not_image", "bad_file:truncated", "duplicate"]
    for name, path in exported.items():
        assert (out / path).read_bytes() == CRAWL[name]
    assert main(["verify", str(out), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["export", run.url, str(tmp_path / "linked"), "--images", "symlink", "--quiet"]) == 3
    assert "--images copy" in capsys.readouterr().err
    assert not (tmp_path / "linked").exists()


def test_what_was_odd_about_the_shards_is_told(tmp_path, capsys):
    source = write_tar(tmp_path / "crawl.tar", [*CRAWL.items(), ("cat/last.jpg", picture(99))])
    source.write_bytes(source.read_bytes()[: source.stat().st_size - 10_240])
    assert main(["ingest", str(source), str(tmp_path / "run"), "--workers", "0"]) == 0
    told = capsys.readouterr().err
    assert "format: webdataset (recognised)" in told
    assert "1 tars end early, without an end mark: crawl.tar" in told
    assert main(["ingest", str(tmp_path / "crawl.tar.gz"), str(tmp_path / "run"), "-q"]) == 3
    (tmp_path / "crawl.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    assert main(["ingest", str(tmp_path / "crawl.tar.gz"), str(tmp_path / "other"), "-q"]) == 3
    assert "decompress it first" in capsys.readouterr().err


def test_settings_for_an_archive_name_its_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_tar(
        tmp_path / "crawl.tar", [("1.jpg", picture(1)), ("1.cls", b"cat"), ("1.txt", b"A cat")]
    )
    assert main(["init", str(source)]) == 0
    text = (tmp_path / "webclean.toml").read_text()
    assert 'category_column = "cls"' in text
    assert 'description_column = "txt"' in text
    (row,) = ingest(source, RunDir(str(tmp_path / "run")), "--config", str(tmp_path / "webclean.toml"))
    assert (row["category"], row["description"]) == ("cat", "A cat")
    assert json.loads(str(row["extra"] or "{}")) == {}
