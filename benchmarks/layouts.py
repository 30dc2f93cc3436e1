"""One crawl written in many layouts: what the benchmarks of ingest read."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
SHARD_IMAGES: Final = 128


def rows_of(crawl: Path) -> list[Row]:
    """The rows of a crawl's manifest.csv, each with its image's bytes as `data`, None where there is no file."""
    with (crawl / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        path = crawl / row["path"]
        row["data"] = path.read_bytes() if path.is_file() else None
    return rows


def _texts(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "data"}


def folder(rows: list[Row], target: Path) -> Path:
    """A folder of images for each query."""
    for row in rows:
        if row["data"] is not None:
            path = target / row["query"] / Path(row["path"]).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["data"])
    return target


def _images(rows: list[Row], target: Path) -> None:
    for row in rows:
        if row["data"] is not None:
            path = target / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["data"])


def csv_manifest(rows: list[Row], target: Path) -> Path:
    """Images, and manifest.csv beside them."""
    _images(rows, target)
    with (target / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(_texts(rows[0])))
        writer.writeheader()
        writer.writerows(_texts(row) for row in rows)
    return target


def jsonl_manifest(rows: list[Row], target: Path) -> Path:
    """Images, and manifest.jsonl beside them."""
    _images(rows, target)
    lines = (json.dumps(_texts(row)) + "\n" for row in rows)
    (target / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    return target


def parquet_bytes(rows: list[Row], target: Path) -> Path:
    """One Parquet file with the images' bytes in it."""
    target.mkdir(parents=True)
    with_bytes = [_texts(row) | {"image": {"bytes": row["data"], "path": row["path"]}} for row in rows]
    pq.write_table(pa.Table.from_pylist(with_bytes), target / "crawl.parquet", row_group_size=SHARD_IMAGES)
    return target / "crawl.parquet"


def imagefolder(rows: list[Row], target: Path) -> Path:
    """A Hugging Face imagefolder with metadata.jsonl."""
    _images(rows, target)
    described = [row for row in rows if row["data"] is not None]
    lines = (
        json.dumps({"file_name": row["path"]} | {k: v for k, v in _texts(row).items() if k != "path"}) + "\n"
        for row in described
    )
    (target / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return target


def zip_archive(rows: list[Row], target: Path) -> Path:
    """One zip of folders, stored."""
    target.mkdir(parents=True)
    with zipfile.ZipFile(target / "crawl.zip", "w") as archive:
        for row in rows:
            if row["data"] is not None:
                name = zipfile.ZipInfo(f"{row['query']}/{Path(row['path']).name}")
                archive.writestr(name, row["data"])
    return target / "crawl.zip"


def webdataset(rows: list[Row], target: Path) -> Path:
    """WebDataset tars: an image and its JSON under one key."""
    target.mkdir(parents=True)
    usable = [row for row in rows if row["data"] is not None]
    for shard, start in enumerate(range(0, len(usable), SHARD_IMAGES)):
        with tarfile.open(target / f"{shard:05d}.tar", "w") as tar:
            for number, row in enumerate(usable[start : start + SHARD_IMAGES]):
                key = f"{shard:05d}{number:04d}"
                ending = Path(row["path"]).suffix or ".jpg"
                for name, data in (
                    (f"{key}{ending}", row["data"]),
                    (f"{key}.json", json.dumps(_texts(row)).encode()),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return target


LAYOUTS: Final[dict[str, Callable[[list[Row], Path], Path]]] = {
    "folder": folder,
    "csv": csv_manifest,
    "jsonl": jsonl_manifest,
    "parquet": parquet_bytes,
    "imagefolder": imagefolder,
    "zip": zip_archive,
    "webdataset": webdataset,
}


def write(crawl: Path, target: Path) -> dict[str, Path]:
    """Write the crawl in each layout below a folder; name -> what to ingest."""
    rows = rows_of(crawl)
    sources = {}
    for name, make in LAYOUTS.items():
        shutil.rmtree(target / name, ignore_errors=True)
        sources[name] = make(rows, target / name)
    return sources
