"""Stores and web servers on this machine, and crawls in every layout: what reading from elsewhere is tried on."""

from __future__ import annotations

import contextlib
import csv
import functools
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

CATEGORIES = ("red fox", "sea")


def picture(category: str, number: int) -> bytes:
    """A small PNG of noise, different for each number, the same each time."""
    rng = np.random.default_rng([number, CATEGORIES.index(category)])
    shade = ((200, 90, 40), (30, 90, 200))[CATEGORIES.index(category)]
    pixels = (np.array(shade) * 0.8 + rng.integers(0, 50, size=(48, 48, 3))).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


ROWS = [(category, number) for category in CATEGORIES for number in range(4)]


def csv_manifest(folder: Path) -> None:
    """A table in one folder, images in another one below, with blanks and a percent sign in their names."""
    with open(_made(folder) / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "rank"])
        for category, number in ROWS:
            name = f"images/{category} 5%20/{number}.png"
            writer.writerow([name, category, number])
            _write(folder / name, picture(category, number))
        writer.writerow(["images/gone.png", "sea", 9])


def parquet(folder: Path) -> None:
    """Shards as on the hub, the images in them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in range(2):
        rows = ROWS[shard::2]
        table = pa.table({
            "image": [{"bytes": picture(*row), "path": f"{row[1]}.png"} for row in rows],
            "label": [row[0] for row in rows],
        })  # fmt: skip
        _made(folder / "data")
        pq.write_table(table, folder / f"data/train-0000{shard}-of-00002.parquet", row_group_size=2)


def saved(folder: Path) -> None:
    """What `DatasetDict.save_to_disk` writes: Arrow streams, a folder for each split."""
    import pyarrow as pa

    _write(folder / "dataset_dict.json", b'{"splits": ["train", "test"]}')
    for split, rows in (("train", ROWS[::2]), ("test", ROWS[1::2])):
        table = pa.table({
            "image": [{"bytes": picture(*row), "path": f"{row[1]}.png"} for row in rows],
            "label": [row[0] for row in rows],
        })  # fmt: skip
        name = "data-00000-of-00001.arrow"
        with pa.ipc.new_stream(_made(folder / split) / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        state = {"_data_files": [{"filename": name}], "_split": split}
        _write(folder / split / "state.json", json.dumps(state).encode())


def tars(folder: Path) -> None:
    """WebDataset shards."""
    for shard in range(2):
        with tarfile.open(_made(folder) / f"0000{shard}.tar", "w") as tar:
            for category, number in ROWS[shard::2]:
                for ending, data in (("png", picture(category, number)), ("cls", category.encode())):
                    info = tarfile.TarInfo(f"{category}-{number}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def zips(folder: Path) -> None:
    """A folder of two zips of folder trees."""
    for shard in range(2):
        with zipfile.ZipFile(_made(folder) / f"{shard}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for category, number in ROWS[shard::2]:
                archive.writestr(f"{category}/{number}.png", picture(category, number))


def img2dataset(folder: Path) -> None:
    """A shard of files, as img2dataset writes it, with a failed download."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for index, (category, number) in enumerate(ROWS):
        key = f"{index:09d}"
        _write(folder / f"00000/{key}.png", picture(category, number))
        row = {"url": f"https://example.org/{key}", "key": key, "label": category, "status": "success"}
        _write(folder / f"00000/{key}.json", json.dumps(row).encode())
        rows.append(row | {"error_message": None})
    failed = {
        "url": "https://example.org/x",
        "key": "000000009",
        "label": "sea",
        "status": "failed_to_download",
    }
    rows.append(failed | {"error_message": "HTTP 404"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    _write(folder / "00000_stats.json", b"{}")


def imagefolder(folder: Path) -> None:
    """Images in the folders of splits, a table in one of them."""
    for category, number in ROWS:
        _write(folder / f"{'train' if number else 'test'}/{category}/{number}.png", picture(category, number))
    lines = [{"file_name": f"{category}/1.png", "text": f"a {category}"} for category in CATEGORIES]
    _write(folder / "train/metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())


def downloads(folder: Path) -> None:
    """Folders as icrawler numbers their files."""
    for category, number in ROWS:
        _write(folder / f"{category}/{number + 1:06d}.png", picture(category, number))


def webvision(folder: Path) -> None:
    """One engine, its lists and its JSON files."""
    _write(folder / "info/synsets.txt", b"n1 red fox\nn2 sea\n")
    _write(folder / "info/queries_google.txt", b"1 red+fox\n2 sea\n")
    images, meta = [], []
    for category, number in ROWS:
        label = CATEGORIES.index(category)
        _write(folder / f"google/q000{label + 1}/{number}.png", picture(category, number))
        images.append(f"google/q000{label + 1}/{number}.png {label}")
        meta.append(f"google/q000{label + 1}.json {number + 1}")
    for label, category in enumerate(CATEGORIES):
        entries = [{"title": f"{category} {number}"} for number in range(4)]
        _write(folder / f"google/q000{label + 1}.json", json.dumps(entries).encode())
    _write(folder / "info/train_filelist_google.txt", "\n".join(images).encode())
    _write(folder / "info/train_meta_list_google.txt", "\n".join(meta).encode())
    _write(folder / "val_images_256/val0.png", picture("sea", 99))


def clothing1m(folder: Path) -> None:
    """Two of the four lists."""
    _write(folder / "category_names_eng.txt", "\n".join(CATEGORIES).encode())
    keys = [(f"images/{number}/{category}.png", category, number) for category, number in ROWS]
    for key, category, number in keys:
        _write(folder / key, picture(category, number))
    _write(folder / "noisy_train_key_list.txt", "\n".join(key for key, _, n in keys if n).encode())
    _write(folder / "clean_test_key_list.txt", "\n".join(key for key, _, n in keys if not n).encode())
    labels = "\n".join(f"{key} {CATEGORIES.index(category)}" for key, category, _ in keys)
    _write(folder / "noisy_label_kv.txt", labels.encode())


def food101n(folder: Path) -> None:
    """The list of images, and what a person said of one."""
    _write(folder / "meta/classes.txt", "\n".join(CATEGORIES).encode())
    keys = [f"{category}/{number}.png" for category, number in ROWS]
    for key, row in zip(keys, ROWS, strict=True):
        _write(folder / "images" / key, picture(*row))
    _write(folder / "meta/imagelist.tsv", "\n".join(keys).encode())
    _write(folder / "meta/verified_train.tsv", f"{keys[0]}\t1\n".encode())


LAYOUTS = {
    "csv": csv_manifest, "huggingface": parquet, "webdataset": tars, "zip": zips, "img2dataset": img2dataset,
    "imagefolder": imagefolder, "downloads": downloads, "webvision": webvision, "clothing1m": clothing1m,
    "food101n": food101n,
}  # fmt: skip
"""Format -> what writes a crawl of it into a folder."""


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, data: bytes) -> None:
    _made(path.parent)
    path.write_bytes(data)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A web server that gives parts of files, or not, and lists folders, or not."""

    gives_parts = True
    lists = True

    def log_message(self, *arguments: object) -> None:
        pass

    def list_directory(self, path: object) -> io.BytesIO | None:
        if self.lists:
            return super().list_directory(path)  # type: ignore[arg-type]
        self.send_error(403, "no listing")
        return None

    def copyfile(self, source: object, outputfile: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asks may have seen enough
            shutil.copyfileobj(source, outputfile)  # type: ignore[call-overload]

    def send_head(self) -> object:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if not self.gives_parts or wanted is None or not os.path.isfile(path):
            return super().send_head()
        data = Path(path).read_bytes()
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        return io.BytesIO(data[start : end + 1])


@contextlib.contextmanager
def serve(folder: Path, *, gives_parts: bool = True, lists: bool = True) -> Iterator[str]:
    """The address of a web server that serves a folder."""
    kind = type("Handler", (_Handler,), {"gives_parts": gives_parts, "lists": lists})
    handler = functools.partial(kind, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """The S3 API, served by moto on loopback and empty; the environment leads to it. Skips without moto or s3fs."""
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed (extra dev)")
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra s3)")
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"))
    fsspec.filesystem("s3").clear_instance_cache()  # it would know the endpoint of the test before
    yield fsspec.filesystem("s3")
    server.stop()
    fsspec.filesystem("s3").clear_instance_cache()
