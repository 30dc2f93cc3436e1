"""Every layout in a store and behind a web server: the same records and bytes as on this machine."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import fsspec
import pytest
import remote

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, DataError, ImagesNotFoundError
from webclean.io.readers import places, uris
from webclean.io.readers.listing import Listing, fingerprint, list_source

PLACE = ("uri",)  # what differs between a local crawl and the same one elsewhere


def _list(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def _rows(listing: Listing) -> list[dict[str, object]]:
    """The records, their images' bytes instead of their places."""
    return [
        {name: value for name, value in row.items() if name not in PLACE} | {"bytes": _bytes(row)}
        for row in listing.records.to_pylist()
    ]


def _bytes(row: dict) -> bytes | str | None:
    if row["status"] is not None:
        return None
    try:
        return uris.read_bytes(row["uri"])
    except FileNotFoundError:
        return "missing"


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def _upload(store: fsspec.AbstractFileSystem, folder: Path, top: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.pipe_file(f"/{top}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.mark.parametrize("name", remote.LAYOUTS)
def test_a_store_has_the_records_of_a_local_folder(tmp_path, memory, name):
    remote.LAYOUTS[name](tmp_path / "crawl")
    _upload(memory, tmp_path / "crawl", "crawl")
    here, there = _list(tmp_path / "crawl"), _list("memory://crawl")
    assert (there.format, here.format) == (name, name)
    assert _rows(there) == _rows(here)
    assert sum(isinstance(row["bytes"], bytes) for row in _rows(there)) == (6 if name == "clothing1m" else 8)
    assert there.found.skipped == here.found.skipped
    assert there.found.columns == here.found.columns
    assert all(uris.is_remote(row["uri"]) for row in there.records.to_pylist())


@pytest.mark.parametrize("name", remote.LAYOUTS)
def test_a_web_server_that_lists_has_them_too(tmp_path, name):
    remote.LAYOUTS[name](tmp_path / "crawl")
    with remote.serve(tmp_path) as address:
        here, there = _list(tmp_path / "crawl"), _list(f"{address}/crawl")
        assert there.format == name
        assert _rows(there) == _rows(here)


@pytest.mark.parametrize(
    ("name", "file"), [("webdataset", "00000.tar"), ("zip", "0.zip"), ("csv", "manifest.csv")]
)
def test_one_file_needs_no_listing(tmp_path, name, file):
    remote.LAYOUTS[name](tmp_path / "crawl")
    with remote.serve(tmp_path, lists=False) as address:
        here, there = _list(tmp_path / "crawl" / file), _list(f"{address}/crawl/{file}")
        assert there.format == name
        assert _rows(there) == _rows(here)
        with pytest.raises(DataError, match="403"):
            _list(f"{address}/crawl")


@pytest.mark.parametrize("file", ["00000.tar", "0.zip", "data/train-00000-of-00002.parquet"])
def test_a_server_without_parts_is_said(tmp_path, file):
    for name in ("webdataset", "zip", "huggingface"):
        remote.LAYOUTS[name](tmp_path / "crawl")
    with (
        remote.serve(tmp_path, gives_parts=False) as address,
        pytest.raises(DataError, match="sends a file only as a whole") as caught,
    ):
        _list(f"{address}/crawl/{file}")
    assert "download it" in caught.value.hint


def test_a_manifest_is_read_from_a_server_without_parts(tmp_path):
    remote.csv_manifest(tmp_path / "crawl")
    with remote.serve(tmp_path, gives_parts=False) as address:
        assert _rows(_list(f"{address}/crawl/manifest.csv")) == _rows(_list(tmp_path / "crawl"))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("csv", "manifest.csv"), ("huggingface", "data/train-00001-of-00002.parquet"), ("webdataset", "00001.tar"),
        ("zip", "1.zip"), ("img2dataset", "00000/000000003.png"), ("imagefolder", "test/sea/0.png"),
        ("downloads", "sea/000001.png"), ("webvision", "google/q0001.json"), ("food101n", "meta/imagelist.tsv"),
    ],
)  # fmt: skip
def test_what_changes_in_a_store_changes_the_fingerprint(tmp_path, memory, name, changed):
    remote.LAYOUTS[name](tmp_path / "crawl")
    _upload(memory, tmp_path / "crawl", "crawl")
    before = fingerprint(_list("memory://crawl"), None)
    assert fingerprint(_list("memory://crawl"), None) == before
    memory.pipe_file(
        f"/crawl/{changed}", memory.cat_file(f"/crawl/{changed}")
    )  # the same bytes, at a later time
    assert fingerprint(_list("memory://crawl"), None) != before


def test_a_list_of_a_published_set_as_source(tmp_path, memory):
    remote.clothing1m(tmp_path / "c")
    remote.webvision(tmp_path / "w")
    for top in "cw":
        _upload(memory, tmp_path / top, top)
    for file in ("c/clean_test_key_list.txt", "w/info/train_filelist_google.txt"):
        assert _rows(_list(f"memory://{file}")) == _rows(_list(tmp_path / file))


def test_a_manifest_elsewhere_may_speak_of_images_here(tmp_path, memory):
    remote.csv_manifest(tmp_path / "crawl")
    memory.pipe_file(
        "/tables/manifest.csv", (tmp_path / "crawl/manifest.csv").read_bytes() + b"../x.png,sea,1\n"
    )
    listing = _list("memory://tables/manifest.csv", image_root=str(tmp_path / "crawl"))
    assert listing.root == os.path.realpath(tmp_path / "crawl")
    assert [row["bytes"] for row in _rows(listing)].count("missing") == 2


def test_a_manifest_here_may_speak_of_images_elsewhere(tmp_path, memory):
    remote.csv_manifest(tmp_path / "crawl")
    _upload(memory, tmp_path / "crawl", "crawl")
    there = _list(tmp_path / "crawl", image_root="memory://crawl")
    assert _rows(there) == _rows(_list(tmp_path / "crawl"))
    assert all(uris.is_remote(row["uri"]) for row in there.records.to_pylist())


@pytest.mark.parametrize("where", ["store", "web"])
def test_what_save_to_disk_wrote_is_read_elsewhere_too(tmp_path, memory, where):
    remote.saved(tmp_path / "crawl")
    shard = "train/data-00000-of-00001.arrow"
    _upload(memory, tmp_path / "crawl", "crawl")
    with remote.serve(tmp_path) as address:
        there = "memory://crawl" if where == "store" else f"{address}/crawl"
        here = _list(tmp_path / "crawl")
        assert _rows(_list(there)) == _rows(here)
        assert [row["bytes"] for row in _rows(here)].count("missing") == 0
        assert _rows(_list(f"{there}/{shard}")) == _rows(_list(tmp_path / "crawl" / shard))


def test_a_torn_arrow_file_elsewhere_is_told_as_one_here(tmp_path, memory):
    remote.saved(tmp_path / "crawl")
    torn = tmp_path / "crawl/test/data-00000-of-00001.arrow"
    torn.write_bytes(torn.read_bytes()[:-400])
    (tmp_path / "crawl/train/data-00000-of-00001.arrow").write_bytes(b"")
    _upload(memory, tmp_path / "crawl", "crawl")
    assert _rows(_list("memory://crawl")) == _rows(_list(tmp_path / "crawl"))


def test_what_is_not_there_is_said(memory):
    memory.pipe_file("/saved/dataset_dict.json", b'{"splits": ["train"]}')
    with pytest.raises(ImagesNotFoundError, match="not of the format webvision"):
        _list("memory://saved", format="webvision")
    with pytest.raises(DataError, match=r"there is no memory://gone\.csv"):
        _list("memory://gone.csv")
    with pytest.raises(DataError, match=r"there is no memory://gone\.tar"):
        _list("memory://gone.tar")
    with pytest.raises(DataError, match=r"there is no memory://gone\.arrow"):
        _list("memory://gone.arrow")


def test_compressed_tars_say_how_to_decompress_them(tmp_path, memory):
    remote.tars(tmp_path / "crawl")
    one = tmp_path / "crawl/00000.tar"
    (tmp_path / "crawl/00000.tar.gz").write_bytes(gzip.compress(one.read_bytes()))
    beside = _list(tmp_path / "crawl")
    assert beside.rows.num_rows == 8
    assert beside.found.skipped["compressed tars beside the same tar decompressed"] == 1
    one.unlink()
    mixed = _list(tmp_path / "crawl")
    assert [r["source_key"] for r in mixed.records.to_pylist() if r["status"]] == ["00000.tar.gz"]
    assert any(f"`gunzip --keep {tmp_path}/crawl/00000.tar.gz`" in note for note in mixed.found.notes)
    (tmp_path / "crawl/00001.tar").unlink()
    for source in (tmp_path / "crawl", tmp_path / "crawl/00000.tar.gz"):
        with pytest.raises(ArtifactInvalidError, match="1 of 1 tars are compressed") as caught:
            _list(source)
        assert "gunzip --keep" in caught.value.hint
    _upload(memory, tmp_path / "crawl", "crawl")
    with pytest.raises(ArtifactInvalidError, match="decompress it first") as caught:
        _list("memory://crawl/00000.tar.gz")
    assert "upload" in caught.value.hint


def test_a_folder_of_zips(tmp_path):
    remote.zips(tmp_path / "crawl")
    (tmp_path / "crawl/2.zip").write_bytes(b"PK, but no more")
    (tmp_path / "crawl/readme.txt").write_text("x")
    found = _list(tmp_path / "crawl")
    rows = {r["source_key"]: r for r in found.records.to_pylist()}
    assert len(rows) == 9
    assert rows["1.zip#red fox/1.png"]["category"] == "red fox"
    assert rows["2.zip"]["status"] == "unreadable"
    assert found.found.skipped == {"sidecars": 1}
    (tmp_path / "crawl/loose.png").write_bytes(b"")
    assert _list(tmp_path / "crawl").format == "folder"


@pytest.mark.parametrize(
    ("place", "parts", "joined"),
    [
        ("s3://b/c/", ("a#b %20.png",), "s3://b/c/a#b %20.png"),
        ("http://h/c", ("a#b %20?.png",), "http://h/c/a%23b%20%2520%3F.png"),
        ("s3://b", ("x", "y/z"), "s3://b/x/y/z"),
        ("/c", ("", "x"), "/c/x"),
    ],
)
def test_places_are_joined_by_their_names(place, parts, joined):
    assert places.join(place, *parts) == joined
    assert places.basename(joined) == parts[-1].rsplit("/", 1)[-1]
