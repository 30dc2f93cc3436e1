"""A zip of a folder tree is listed as the tree would be."""

from __future__ import annotations

import os
import random
import zipfile

import fsspec
import pytest
from archived import listed, rows, write_zip

from webclean.errors import ArtifactInvalidError, DataError, ImagesNotFoundError
from webclean.io import scan
from webclean.io.decode import Limits
from webclean.io.readers import names, uris
from webclean.io.readers.listing import fingerprint

TREE = [
    ("crawl/cats/1.jpg", b"one"), ("crawl/cats/notes.txt", b"n"), ("crawl/dogs/husky/7", b"seven"),
    ("crawl/loose.png", b"l"), ("crawl/.DS_Store", b"h"), ("__MACOSX/crawl/._1.jpg", b"m"),
    ("crawl/cats/thumbs.db", b"t"), ("crawl/manifest.csv", b"path,label\n"),
]  # fmt: skip


def test_a_tree_in_one_folder(tmp_path):
    path = write_zip(tmp_path / "images.zip", TREE, method=zipfile.ZIP_DEFLATED)
    listing = listed(path)
    found = listing.records.to_pylist()
    assert [(r["source_key"], r["category"], r["query"], r["file_name"]) for r in found] == [
        ("images.zip#crawl/cats/1.jpg", "cats", "cats", "1.jpg"),
        ("images.zip#crawl/dogs/husky/7", "dogs/husky", "dogs/husky", "7"),
        ("images.zip#crawl/loose.png", "crawl", "crawl", "loose.png"),
    ]  # fmt: skip
    assert [uris.read_bytes(r["uri"]) for r in found] == [b"one", b"seven", b"l"]
    assert found[0]["uri"] == f"{path}#crawl/cats/1.jpg"
    assert (listing.format, listing.found.skipped) == (
        "zip", {"hidden": 2, "sidecars": 1, "__MACOSX": 1, names.MANIFESTS: 1},
    )  # fmt: skip
    assert listing.found.tables == [str(path)]


@pytest.mark.parametrize(
    ("members", "categories"),
    [
        (["cats/1.jpg", "dogs/1.jpg"], ["cats", "dogs"]),
        (["cats/1.jpg", "2.jpg"], ["crawl", "cats"]),
        (["cats/1.jpg", "cats/2.jpg"], ["cats", "cats"]),
        (["1.jpg"], ["crawl"]),
        (["../../etc/1.jpg", "/abs/2.jpg"], ["etc", "abs"]),
    ],
)
def test_categories(tmp_path, members, categories):
    path = write_zip(tmp_path / "crawl.zip", [(name, name.encode()) for name in members])
    found = rows(path)
    assert [r["category"] for r in found] == categories
    assert {uris.read_bytes(r["uri"]).decode() for r in found} == set(members)
    assert os.listdir(tmp_path) == ["crawl.zip"]


def test_the_order_of_members_changes_nothing(tmp_path):
    path = tmp_path / "crawl.zip"
    found = [rows(write_zip(path, random.Random(seed).sample(TREE, len(TREE)))) for seed in range(3)]
    assert found[0] == found[1] == found[2]


def test_encrypted_and_broken_members_are_rows_with_a_status(tmp_path):
    path = write_zip(
        tmp_path / "crawl.zip", [("a/1.jpg", b"1" * 40), ("a/2.jpg", b"2" * 40), ("a/3.jpg", b"3" * 40)]
    )
    raw = bytearray(path.read_bytes())
    for mark, behind in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + behind] |= 1  # the flag that says encrypted, of the first member
    raw[raw.index(b"2" * 40)] ^= 1
    path.write_bytes(raw)
    found = scan.inspect_all([r["uri"] for r in rows(path)], root=str(tmp_path), limits=Limits(max_bytes=100))
    assert [None if f is None else f.status for f in found] == ["unreadable", "unreadable", "not_image"]
    assert "it is encrypted" in str(found[0] and found[0].error)
    assert "Bad CRC-32" in str(found[1] and found[1].error)
    (large,) = scan.inspect_all([rows(path)[2]["uri"]], root=None, limits=Limits(max_bytes=39))
    assert large is not None
    assert (large.status, large.nbytes) == ("too_large", 40)


def test_a_zip_that_was_cut_off_says_how_to_mend_it(tmp_path):
    path = write_zip(tmp_path / "crawl.zip", TREE)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        ArtifactInvalidError, match="is not readable as zip: File is not a zip file"
    ) as caught:
        listed(path)
    assert "zip -FF" in str(caught.value.hint)


def test_a_zip_without_images_says_what_is_in_it(tmp_path):
    with pytest.raises(ImagesNotFoundError, match="no images in") as caught:
        listed(write_zip(tmp_path / "crawl.zip", []))
    assert caught.value.context == "the archive has no members"
    with pytest.raises(ImagesNotFoundError, match="no images in") as caught:
        listed(write_zip(tmp_path / "crawl.zip", [("notes.txt", b"n")]))
    assert caught.value.context == "seen besides: 1 sidecars"


def test_fingerprints_see_a_changed_zip(tmp_path):
    path = write_zip(tmp_path / "crawl.zip", TREE)
    first = fingerprint(listed(path), None)
    assert fingerprint(listed(path), None) == first
    write_zip(path, [(name, data * 2) for name, data in TREE])
    assert fingerprint(listed(path), None) != first


def test_a_remote_zip(tmp_path):
    path = write_zip(tmp_path / "crawl.zip", TREE)
    with fsspec.open("memory://zipped/crawl.zip", "wb") as out:
        out.write(path.read_bytes())
    found = rows("memory://zipped/crawl.zip")
    assert [r["category"] for r in found] == ["cats", "dogs/husky", "crawl"]
    assert uris.read_bytes(found[1]["uri"]) == b"seven"
    first = fingerprint(listed("memory://zipped/crawl.zip"), None)
    with fsspec.open("memory://zipped/crawl.zip", "wb") as out:
        out.write(path.read_bytes())
    assert fingerprint(listed("memory://zipped/crawl.zip"), None) != first
    with pytest.raises(DataError, match="there is no memory://zipped/gone.zip"):
        listed("memory://zipped/gone.zip")
