"""Output of img2dataset in its three forms: what it downloaded, and what it could not."""

from __future__ import annotations

import csv
import functools
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archived import listed, rows, write_tar
from exported_run import picture

from webclean.errors import ColumnMissingError
from webclean.io.readers import uris
from webclean.io.readers.listing import fingerprint

FORMS = ("files", "webdataset", "parquet")
PEER = Path(__file__).parents[2] / ".venv-peers" / "bin" / "img2dataset"
Row = dict[str, object]


def row(number: int, *, status: str = "success", message: str | None = None, **fields: object) -> Row:
    return {
        "label": "cat" if number < 2 else "dog", "rank": number, "caption": f"picture {number}",
        "url": f"http://crawl/{number}.jpg", "key": f"{number:09}", "status": status, "error_message": message,
        "width": 64 if status == "success" else None, **fields,
    }  # fmt: skip


ROWS = [
    row(1),
    row(0),
    row(2, status="failed_to_download", message="HTTP Error 404: Not Found"),
    row(3, status="failed_to_resize", message="Image decoding error"),
    row(4),
]


def write_shard(folder: Path, form: str, stem: str = "00000", table: list[Row] | None = None) -> Path:
    """What img2dataset leaves of one shard, laid out as its version 1.47 does."""
    table = ROWS if table is None else table
    folder.mkdir(parents=True, exist_ok=True)
    images = {r["key"]: b"image " + str(r["key"]).encode() for r in table if r["status"] == "success"}
    members = [
        (f"{r['key']}.{end}", data)
        for r in table
        if r["key"] in images
        for end, data in (("jpg", images[r["key"]]), ("txt", b"text"), ("json", json.dumps(r).encode()))
    ]
    if form == "files":
        (folder / stem).mkdir()
        for name, data in members:
            (folder / stem / name).write_bytes(data)
    elif form == "webdataset":
        write_tar(folder / f"{stem}.tar", members)
    else:
        table = [{**r, "jpg": images.get(r["key"])} for r in table]
    pq.write_table(pa.Table.from_pylist(table), folder / f"{stem}.parquet")
    (folder / f"{stem}_stats.json").write_text(json.dumps({"count": len(table)}))
    return folder


@pytest.fixture(params=FORMS)
def form(request) -> str:
    return request.param


PLACES = {
    "files": "00000/{}.jpg",
    "webdataset": "00000.tar#{}.jpg",
    "parquet": None,
}


def test_every_url_is_a_row(tmp_path, form):
    listing = listed(write_shard(tmp_path, form))
    found = {r["description"]: r for r in listing.records.to_pylist()}
    assert (listing.format, len(found), listing.found.notes) == ("img2dataset", 5, [])
    for number, source in enumerate(ROWS):
        one = found[source["caption"]]
        key = str(source["key"])
        assert (one["category"], one["rank"], one["page_url"]) == (
            source["label"],
            source["rank"],
            source["url"],
        )
        extra = json.loads(str(one["extra"]))
        assert extra["key"] == key
        assert "status" not in extra
        if source["status"] == "success":
            place = PLACES[form]
            assert one["source_key"] == (place.format(key) if place else f"00000.parquet#{number}")
            assert one["status"] is None
            assert uris.read_bytes(str(one["uri"])) == b"image " + key.encode()
        else:
            assert one["source_key"] == f"00000.parquet#{number}"
            assert (one["status"], one["error"]) == (
                "not_downloaded", f"img2dataset: {source['status']}: {source['error_message']}",
            )  # fmt: skip


def test_the_order_of_rows_changes_no_image(tmp_path, form):
    found = []
    for name, table in (("a", ROWS), ("b", ROWS[::-1])):
        images = [r for r in rows(write_shard(tmp_path / name, form, table=table)) if r["status"] is None]
        found.append({(r["description"], uris.read_bytes(r["uri"])) for r in images})
    assert found[0] == found[1]


def test_a_second_label_stops_and_no_label_says_what_to_keep(tmp_path, form):
    bare = [{k: v for k, v in r.items() if k != "label"} for r in ROWS]
    with pytest.raises(ColumnMissingError, match="no column could be the category") as caught:
        listed(write_shard(tmp_path / "bare", form, table=bare))
    assert "caption" in str(caught.value.context)
    kept = write_shard(tmp_path / "kept", form, table=[{**r, "kind": "fox"} for r in bare])
    assert {r["category"] for r in rows(kept, category_column="kind")} == {"fox"}


def test_a_label_that_is_missing_excludes_an_image_and_not_a_failed_download(tmp_path, form):
    found = rows(
        write_shard(tmp_path, form, table=[{**r, "label": "cat" if r is ROWS[0] else None} for r in ROWS])
    )
    assert sorted(str(r["status"]) for r in found) == [
        "None",
        "excluded",
        "excluded",
        "not_downloaded",
        "not_downloaded",
    ]


def test_shards_of_a_killed_download_are_read_as_far_as_they_go(tmp_path):
    write_shard(tmp_path, "webdataset")
    write_shard(tmp_path, "webdataset", "00001", [row(11), row(12), row(13)])
    (tmp_path / "00001_stats.json").unlink()
    (tmp_path / "00001.parquet").unlink()
    raw = (tmp_path / "00001.tar").read_bytes()
    (tmp_path / "00001.tar").write_bytes(raw[: raw.index(b"000000012.json")])
    (tmp_path / "_tmp").mkdir()
    listing = listed(tmp_path)
    found = {r["source_key"]: r for r in listing.records.to_pylist()}
    assert len(found) == 7
    one, cut = found["00001.tar#000000011.jpg"], found["00001.tar#000000012.jpg"]
    assert (one["category"], one["description"], one["rank"]) == ("dog", "picture 11", 11)
    assert (cut["category"], cut["status"]) == ("", "excluded")  # its metadata came behind it
    assert listing.found.notes == [
        "1 shards are unfinished (no *_stats.json) and read as far as they go: 00001",
        "1 tars end early, without an end mark: 00001.tar",
    ]
    assert listing.found.skipped == {"files and folders that are no shards": 1}


@pytest.mark.parametrize("form", ["files", "webdataset"])
def test_what_does_not_fit_together_is_told_row_by_row(tmp_path, form):
    # 1: in the table alone; 2: an image that the table does not name.
    write_shard(tmp_path, form, table=[row(1), row(2), row(3)])
    pq.write_table(pa.Table.from_pylist([row(1), row(3)]), tmp_path / "00000.parquet")
    if form == "files":
        (tmp_path / "00000/000000001.jpg").unlink()
        (tmp_path / "00000/000000002.json").write_text(json.dumps(row(2)))
    else:
        members = [
            (f"{r['key']}.{e}", d)
            for r in (row(2), row(3))
            for e, d in (("jpg", b"x"), ("json", json.dumps(r).encode()))
        ]
        write_tar(tmp_path / "00000.tar", members)
    found = {r["description"]: r for r in rows(tmp_path)}
    assert {name: r["status"] for name, r in found.items()} == {
        "picture 1": "missing",
        "picture 2": None,
        "picture 3": None,
    }
    assert found["picture 2"]["category"] == "dog"
    assert found["picture 1"]["source_key"] == "00000.parquet#0"


def test_a_broken_table_is_a_row_and_the_images_keep_their_json(tmp_path):
    write_shard(tmp_path, "webdataset")
    write_shard(tmp_path, "webdataset", "00001", [row(11)])
    (tmp_path / "00001.parquet").write_bytes(b"torn")
    found = {r["source_key"]: r for r in rows(tmp_path)}
    assert found["00001.parquet"]["status"] == "unreadable"
    assert "not readable as Parquet" in str(found["00001.parquet"]["error"])
    assert found["00001.tar#000000011.jpg"]["category"] == "dog"


def test_lost_tables_and_lost_shards_are_told(tmp_path):
    write_shard(tmp_path, "webdataset")
    write_shard(tmp_path, "webdataset", "00001", [row(11)])
    (tmp_path / "00001.parquet").unlink()
    (tmp_path / "00002_stats.json").write_text("{}")
    listing = listed(tmp_path)
    found = {r["source_key"]: r["status"] for r in listing.records.to_pylist()}
    assert found["00001.tar#000000011.jpg"] is None
    assert found["00002.parquet"] == "missing"
    assert listing.found.notes == [
        "1 shards have lost their table, and with it their failed downloads: 00001"
    ]


def test_what_a_link_leads_to_outside_is_left_out_unless_allowed(tmp_path):
    write_shard(tmp_path / "set", "webdataset")
    write_shard(tmp_path / "away", "webdataset", "00001", [row(11)])
    for name in ("00001.tar", "00001.parquet", "00001_stats.json"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "away" / name)
    listing = listed(tmp_path / "set")
    assert listing.records.num_rows == 5
    assert listing.found.skipped == {
        "parts of shards that a link leads to outside SOURCE (--allow-outside reads them)": 3
    }
    assert listed(tmp_path / "set", allow_outside=True).records.num_rows == 6


def test_an_ordinary_folder_is_not_mistaken(tmp_path):
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000/1.jpg").write_bytes(b"x")
    assert listed(tmp_path).format == "folder"
    (tmp_path / "00000_stats.json").write_text("{}")  # somebody's own
    assert listed(tmp_path).format == "folder"


def test_fingerprints_see_a_changed_table(tmp_path, form):
    folder = write_shard(tmp_path, form)
    first = fingerprint(listed(folder), None)
    assert fingerprint(listed(folder), None) == first
    table = pq.read_table(folder / "00000.parquet")
    pq.write_table(table.append_column("more", pa.array([None] * 5, pa.string())), folder / "00000.parquet")
    assert fingerprint(listed(folder), None) != first


# ---------------------------------------------------------------- the real thing
class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def crawl_table(tmp_path_factory) -> Iterator[Path]:
    """A table of URLs of a local server: three pictures, a page, and a file that is not there."""
    folder = tmp_path_factory.mktemp("server")
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(picture(number, size=(40, 30)))
    (folder / "page.jpg").write_text("<html>gone</html>")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        table = folder / "urls.csv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["url", "caption", "label", "rank"])
            for rank, name in enumerate(["0.jpg", "gone.jpg", "1.jpg", "page.jpg", "2.jpg"], 1):
                writer.writerow(
                    [f"http://127.0.0.1:{server.server_port}/{name}", f"a {name}", f"class {rank % 2}", rank]
                )
        yield table
        server.shutdown()


@pytest.mark.skipif(not PEER.exists(), reason="img2dataset is not installed; `make peers` does")
@pytest.mark.slow
def test_what_img2dataset_itself_writes(tmp_path, crawl_table, form):
    out = tmp_path / "out"
    arguments = {
        "url_list": crawl_table, "input_format": "csv", "url_col": "url", "caption_col": "caption",
        "save_additional_columns": '["label","rank"]', "output_format": form, "output_folder": out,
        "processes_count": 1, "thread_count": 2, "number_sample_per_shard": 3, "image_size": 32,
    }  # fmt: skip
    done = subprocess.run(
        [str(PEER), *(f"--{name}={value}" for name, value in arguments.items())],
        env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listing = listed(out)
    found = {r["description"]: r for r in listing.records.to_pylist()}
    assert (listing.format, listing.found.notes) == ("img2dataset", [])
    assert {name: r["status"] for name, r in found.items()} == {
        "a 0.jpg": None, "a gone.jpg": "not_downloaded", "a 1.jpg": None, "a page.jpg": "not_downloaded",
        "a 2.jpg": None,
    }  # fmt: skip
    assert "404" in str(found["a gone.jpg"]["error"])
    for rank, name in enumerate(["a 0.jpg", "a gone.jpg", "a 1.jpg", "a page.jpg", "a 2.jpg"], 1):
        assert (found[name]["rank"], found[name]["category"]) == (rank, f"class {rank % 2}")
        assert str(found[name]["page_url"]).endswith(name.removeprefix("a "))
        if found[name]["status"] is None:
            assert uris.read_bytes(str(found[name]["uri"])).startswith(b"\xff\xd8\xff")
