"""`webclean ingest` over the layouts that other tools leave, from the command line to the rows of `images`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_run import picture

from webclean import schema
from webclean.cli.app import main
from webclean.io import tables
from webclean.io.run_dir import RunDir

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
METADATA = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}


def ingest(source: Path, *flags: str) -> list[dict[str, object]]:
    run = RunDir(str(source.parent / "run"))
    assert main(["ingest", str(source), run.url, "--workers", "0", *flags]) == 0
    return tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()


def table(*images: bytes | None) -> pa.Table:
    rows = [None if data is None else {"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)]
    columns = {
        "image": pa.array(rows, IMAGE),
        "label": [index % 2 for index in range(len(images))],
        "title": [f"title {index}" for index in range(len(images))],
    }
    return pa.table(columns).replace_schema_metadata(METADATA)


def write_saved(folder: Path, rows: pa.Table) -> None:
    folder.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(folder / name), rows.schema) as writer:
        writer.write_table(rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))


def test_a_saved_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "saved"
    write_saved(
        source / "train", table(picture(0), b"\0" * 500, None, picture(3)[:200], picture(4), picture(5))
    )
    write_saved(source / "test", table(picture(0)))
    (source / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    rows = ingest(source)
    assert "format: huggingface (recognised)" in capsys.readouterr().err
    assert [(r["source_key"].split("/")[0], r["status"], r["title"]) for r in rows] == [
        ("test", "ok", "title 0"),
        ("train", "ok", "title 0"),
        ("train", "not_image", "title 1"),
        ("train", "missing", "title 2"),
        ("train", "truncated", "title 3"),
        ("train", "ok", "title 4"),
        ("train", "ok", "title 5"),
    ]
    run = str(tmp_path / "run")
    pairs = tables.read(RunDir(run), schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    keys = {r["image_id"]: r["source_key"].split("/")[0] for r in rows}
    assert {keys[pair["image_id"]] for pair in pairs} == {"train", "test"}  # the same image in both splits
    assert main(["ingest", str(source), run, "--workers", "0"]) == 0
    assert "unchanged" in capsys.readouterr().out


def test_a_folder_of_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "hub"
    (source / "data").mkdir(parents=True)
    for index, split in enumerate(("train", "validation")):
        path = source / "data" / f"{split}-00000-of-0000{index + 1}.parquet"
        pq.write_table(table(picture(2 * index), picture(2 * index + 1)), path)
    rows = ingest(source, "--format", "huggingface")
    assert [(r["category"], r["status"], json.loads(r["extra"])) for r in rows] == [
        ("cat", "ok", {"split": "train"}),
        ("dog", "ok", {"split": "train"}),
        ("cat", "ok", {"split": "validation"}),
        ("dog", "ok", {"split": "validation"}),
    ]
    assert "1 of 2 shards of data/validation are here" in capsys.readouterr().err


def test_an_imagefolder(tmp_path: Path) -> None:
    source = tmp_path / "birds"
    for index, name in enumerate(("owl/a.png", "owl/b.png", "jay/a.png")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(picture(index))
    lines = [
        {"file_name": "owl/a.png", "text": "an owl"},
        {"file_name": "jay/gone.png"},
        {"file_name": "../secret.png"},
    ]
    (source / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "secret.png").write_bytes(picture(9))
    assert [(r["source_key"], r["category"], r["description"], r["status"]) for r in ingest(source)] == [
        ("../secret.png", "birds", None, "unreadable"),
        ("jay/a.png", "jay", None, "ok"),
        ("jay/gone.png", "jay", None, "missing"),
        ("owl/a.png", "owl", "an owl", "ok"),
        ("owl/b.png", "owl", None, "ok"),
    ]


def test_downloads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "downloads"
    for index, name in enumerate(("owl/1. a.png", "owl/2. b.png", "jay/1. a.png")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(picture(index))
    (tmp_path / "logs").mkdir()
    entry = {"image_filename": "1. a.png", "image_description": "An owl", "image_source": "https://o.org/owl"}
    (tmp_path / "logs/owl.json").write_text(json.dumps([entry]))
    rows = ingest(source)
    assert [(r["query"], r["rank"], r["title"], r["page_url"], r["status"]) for r in rows] == [
        ("jay", 1, None, None, "ok"),
        ("owl", 1, "An owl", "https://o.org/owl", "ok"),
        ("owl", 2, None, None, "ok"),
    ]
    assert "ranks: the numbers in the file names, as google_images_download" in capsys.readouterr().err
    assert main(["init", str(source), "--out", str(tmp_path / "webclean.toml")]) == 0
