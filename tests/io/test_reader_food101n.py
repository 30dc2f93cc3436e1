"""Food-101N as it is unpacked, and with the faults that copies of it have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exported_run import picture

from webclean import schema
from webclean.cli.app import main
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ImagesNotFoundError
from webclean.io import tables
from webclean.io.readers import food101n, uris
from webclean.io.readers.listing import Listing, list_source
from webclean.io.run_dir import RunDir

PIE, PIE2, STEAK = "apple_pie/0a.jpg", "apple_pie/0b.jpg", "filet_mignon/a4.jpg"
SOUP = "hot_and_sour_soup/a4.jpg"  # verified under another class than the image is listed under
FEW = "classes.txt names 3 classes, the release 101"


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    folder = tmp_path / "Food-101N_release"
    (folder / "meta").mkdir(parents=True)
    for name, text in {
        "classes.txt": "class_name\napple_pie\nfilet_mignon\nhot_and_sour_soup\n",
        "imagelist.tsv": f"class_name/key\n{PIE}\n{PIE2}\n{STEAK}\n",
        "verified_train.tsv": f"class_name/key\tverification_label\n{PIE}\t1\n{SOUP}\t1\n",
        "verified_val.tsv": f"class_name/key\tverification_label\n{STEAK}\t0\n",
    }.items():
        (folder / "meta" / name).write_text(text)
    for number, key in enumerate((PIE, STEAK, "apple_pie/unlisted.jpg")):
        (folder / "images" / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / key).write_bytes(picture(number))
    return folder


def _list(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def _rows(listing: Listing) -> dict[str, dict[str, object]]:
    return {row["source_key"]: row for row in listing.records.to_pylist()}


def test_every_line_of_the_list_is_a_row(crawl):
    listing = _list(crawl)
    rows = _rows(listing)
    assert listing.format == "food101n"
    assert {key: (r["category"], r["query"], r["status"]) for key, r in rows.items()} == {
        PIE: ("apple_pie", "apple_pie", None), PIE2: ("apple_pie", "apple_pie", None),
        STEAK: ("filet_mignon", "filet_mignon", None),
    }  # fmt: skip
    assert json.loads(rows[PIE]["extra"]) == {"verification_label": 1, "verified_in": "train"}
    assert json.loads(rows[STEAK]["extra"]) == {"verification_label": 0, "verified_in": "val"}
    assert rows[PIE2]["extra"] is None
    assert uris.local_path(rows[PIE]["uri"]) == crawl / "images" / PIE
    assert listing.found.skipped == {"files that no list names": 1}
    assert listing.found.notes == [
        FEW, f"verified keys that imagelist.tsv does not name, not taken: 1, the first {SOUP}",
    ]  # fmt: skip


def test_the_folder_above_and_other_places_of_the_images(crawl):
    expected = _rows(_list(crawl))
    assert _rows(_list(crawl.parent)) == expected
    (crawl / "images").rename(crawl.parent / "moved")
    with pytest.raises(ImagesNotFoundError, match="holds none of the folders images/"):
        _list(crawl)
    listing = _list(crawl, image_root=str(crawl.parent / "moved"))
    assert uris.read_bytes(_rows(listing)[PIE]["uri"]) == picture(0)
    assert listing.root == str(crawl.parent / "moved")


@pytest.mark.parametrize("name", ["classes.txt", "imagelist.tsv", "verified_train.tsv", "verified_val.tsv"])
def test_header_lines_may_be_absent(crawl, name):
    expected = _list(crawl)
    path = crawl / "meta" / name
    path.write_bytes(path.read_bytes().partition(b"\n")[2].replace(b"\n", b"\r\n"))
    listing = _list(crawl)
    assert _rows(listing) == _rows(expected)
    assert listing.found.notes == expected.found.notes


def test_the_release_has_as_many_classes_as_it_should(crawl):
    (crawl / "meta/classes.txt").write_text(
        "class_name\n"
        + "".join(f"class_{i}\n" for i in range(98))
        + "apple_pie\nfilet_mignon\nhot_and_sour_soup"
    )
    assert not any("classes" in note for note in _list(crawl).found.notes)


def test_nothing_needs_to_be_verified(crawl):
    for name in ("verified_train.tsv", "verified_val.tsv"):
        (crawl / "meta" / name).unlink()
    listing = _list(crawl)
    assert {row["extra"] for row in _rows(listing).values()} == {None}
    assert listing.found.notes == [FEW]


def test_verifications_that_do_not_fit_are_counted_and_not_taken(crawl):
    (crawl / "meta/verified_train.tsv").write_text(f"{PIE}\t1\n{PIE}\t0\n{PIE2}\t2\n{STEAK}\n")
    listing = _list(crawl)
    rows = _rows(listing)
    assert json.loads(rows[PIE]["extra"])["verification_label"] == 1
    assert rows[PIE2]["extra"] is None
    assert json.loads(rows[STEAK]["extra"]) == {"verification_label": 0, "verified_in": "val"}
    assert listing.found.notes[1:] == [
        f"keys verified twice, once as right and once as wrong; the first is taken: 1, the first {PIE}",
        f"lines of verified_train.tsv whose label is neither 0 nor 1, not taken: 2, the first {PIE2}",
    ]


def test_lines_that_do_not_fit_are_rows_that_say_so(crawl):
    (crawl / "meta/imagelist.tsv").write_text(f"class_name/key\n{PIE}\ntorn.jpg\nspam/1.jpg\n{STEAK}\tmore\n")
    rows = _rows(_list(crawl))
    assert {key: (r["status"], r["error"]) for key, r in rows.items()} == {
        PIE: (None, None),
        "torn.jpg": ("excluded", "its line in imagelist.tsv names no class"),
        "spam/1.jpg": ("excluded", "classes.txt names no class 'spam'"),
        STEAK: (None, None),
    }
    (crawl / "meta/classes.txt").write_text("\n")
    with pytest.raises(ArtifactInvalidError, match="list of class names is empty"):
        _list(crawl)


def test_an_ordinary_tree_is_not_taken_for_it(tmp_path):
    for name in ("images/apple_pie/1.jpg", "meta/classes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert food101n.find(str(tmp_path)) is None
    assert _list(tmp_path).format == "folder"


def test_from_the_command_line(crawl, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["ingest", str(crawl), str(run), "--workers", "0"]) == 0
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).split())
    assert "format: food101n (recognised)" in text
    assert f"verified keys that imagelist.tsv does not name, not taken: 1, the first {SOUP}" in text
    assert "1 files that no list names" in text
    images = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    assert [(r["source_key"], r["category"], r["status"]) for r in images] == [
        (PIE, "apple_pie", "ok"), (PIE2, "apple_pie", "missing"), (STEAK, "filet_mignon", "ok"),
    ]  # fmt: skip


def test_a_list_of_nothing(crawl):
    (crawl / "meta/imagelist.tsv").write_text("class_name/key\n")
    with pytest.raises(ImagesNotFoundError, match="no images in") as raised:
        _list(crawl)
    assert raised.value.context == "seen besides: 3 files that no list names"
    for path in list(crawl.glob("images/*/*")):
        path.unlink()
    with pytest.raises(ImagesNotFoundError, match="no images in") as raised:
        _list(crawl)
    assert raised.value.context == "the lists name no image"
