"""Trees of folders in a store: memory for the rules, a web server and S3 (moto, on loopback) for the real thing."""

from __future__ import annotations

import functools
import http.server
import threading

import fsspec
import pytest

from webclean.config import IngestConfig
from webclean.errors import ConfigError, DataError, ImagesNotFoundError
from webclean.io.readers import uris
from webclean.io.readers.listing import Listing, fingerprint, list_source

TREE = {
    "cats/2.jpg": b"two",
    "cats/1.JPG": b"one",
    "dogs/big ones/a%20b.png": b"dog",
    "top.png": b"top",
    "cats/.hidden": b"",
    "cats/notes.txt": b"",
}


def _list(source: str, **options: object) -> Listing:
    return list_source(IngestConfig(source=source, **options))


@pytest.fixture
def store():
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    for name, data in TREE.items():
        filesystem.pipe_file(f"/crawl/{name}", data)
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture
def web(tmp_path):
    """A web server that lists its folders, as most do."""
    for name, data in TREE.items():
        path = tmp_path / "served" / "crawl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/crawl"
        server.shutdown()


def _expected(top: str) -> list[tuple[str, str, bytes]]:
    return [
        ("cats/1.JPG", "cats", b"one"),
        ("cats/2.jpg", "cats", b"two"),
        ("dogs/big ones/a%20b.png", "dogs/big ones", b"dog"),
        ("top.png", top, b"top"),
    ]


def _found(listing: Listing) -> list[tuple[str, str, bytes]]:
    return [
        (row["source_key"], row["category"], uris.read_bytes(row["uri"]))
        for row in listing.records.to_pylist()
    ]


def test_a_tree_in_a_store_has_the_rows_of_a_local_one(store):
    listing = _list("memory://crawl")
    assert listing.format == "folder"
    assert _found(listing) == _expected("crawl")
    assert listing.found.skipped == {"hidden": 1, "sidecars": 1}


def test_a_tree_behind_a_web_server(web):
    assert _found(_list(web)) == _expected("crawl")
    assert _found(_list(web + "/")) == _expected("crawl")


def test_a_changed_object_changes_the_fingerprint(store):
    before = fingerprint(_list("memory://crawl"), None)
    assert fingerprint(_list("memory://crawl"), None) == before
    store.pipe_file("/crawl/cats/2.jpg", b"other")
    assert fingerprint(_list("memory://crawl"), None) != before


def test_a_manifest_in_the_store_goes_before_the_tree(store):
    store.pipe_file("/crawl/manifest.csv", b"path,label\ncats/2.jpg,cat\n")
    listing = _list("memory://crawl")
    assert listing.format == "csv"
    assert [(r["source_key"], r["category"]) for r in listing.records.to_pylist()] == [("cats/2.jpg", "cat")]
    assert _list("memory://crawl", format="folder").records.num_rows == 4
    store.pipe_file("/crawl/manifest.jsonl", b'{"path": "top.png", "label": "x"}\n')
    with pytest.raises(ConfigError, match="holds 2 manifests"):
        _list("memory://crawl")
    assert _list("memory://crawl", format="jsonl").records.num_rows == 1


def test_what_is_not_there_or_refuses_is_said(store):
    with pytest.raises(ImagesNotFoundError, match="no images in memory://nothing"):
        _list("memory://nothing")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/x cannot be read"):
        _list("http://127.0.0.1:9/x")
    with pytest.raises(ConfigError, match="nosuch://x cannot be opened"):
        _list("nosuch://x")
