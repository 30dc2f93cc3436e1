"""Clothing1M as it is unpacked, and with the faults that copies of it have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from exported_run import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean import schema
from webclean.cli.app import main
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ConfigError, ImagesNotFoundError
from webclean.io import tables
from webclean.io.readers import clothing1m, uris
from webclean.io.readers.listing import Listing, list_source
from webclean.io.run_dir import RunDir

NOISY, BOTH, CLEAN = "images/3/41/123,456.jpg", "images/3/41/2 2,3.jpg", "images/0/07/22,33.jpg"
GONE, VAL, TEST = "images/9/99/7,7.jpg", "images/1/01/8,8.jpg", "images/2/02/9,9.jpg"
LISTS = {
    "category_names_eng.txt": "T-Shirt\nShirt\nDown Coat\n",
    "noisy_train_key_list.txt": f"{NOISY}\n{BOTH}\n{GONE}\n",
    "clean_train_key_list.txt": f"{BOTH}\n{CLEAN}\n",
    "clean_val_key_list.txt": f"{VAL}\n",
    "clean_test_key_list.txt": f"{TEST}\n",
    "noisy_label_kv.txt": f"{NOISY} 2\n{BOTH} 0\n{GONE} 1\n{TEST} 1\n",
    "clean_label_kv.txt": f"{BOTH} 1\n{CLEAN} 1\n{VAL} 0\n{TEST} 2\n",
}


def write(folder: Path, images: str = "", lists: str = "") -> Path:
    """The data set with its images in the folder `images` in place of `images/`, its lists in `lists`."""
    (folder / lists).mkdir(parents=True, exist_ok=True)
    for name, text in LISTS.items():
        (folder / lists / name).write_text(text)
    for number, key in enumerate((NOISY, BOTH, CLEAN, VAL, TEST)):
        path = folder / (key if not images else key.replace("images/", images, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return folder


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    return write(tmp_path / "clothing1m")


def _list(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def _rows(listing: Listing) -> dict[str, dict[str, object]]:
    return {row["source_key"]: row for row in listing.records.to_pylist()}


def _told(row: dict[str, object]) -> tuple[object, ...]:
    return (row["category"], json.loads(str(row["extra"])), row["status"])


def test_every_key_is_a_row_of_one_part(crawl):
    (crawl / "images/3/41/other.jpg").write_bytes(b"x")
    listing = _list(crawl)
    rows = _rows(listing)
    assert listing.format == "clothing1m"
    assert {key: _told(row) for key, row in rows.items()} == {
        NOISY: ("Down Coat", {"split": "noisy_train"}, None),
        BOTH: ("T-Shirt", {"split": "noisy_train", "clean_category": "Shirt"}, None),
        GONE: ("Shirt", {"split": "noisy_train"}, None),
        CLEAN: ("Shirt", {"split": "clean_train"}, None),
        VAL: ("T-Shirt", {"split": "clean_val"}, "excluded"),
        TEST: ("Shirt", {"split": "clean_test", "clean_category": "Down Coat"}, "excluded"),
    }
    assert rows[TEST]["error"] == (
        "it is in clean_test, which is held out; clean_test_key_list.txt as SOURCE reads it"
    )
    assert {row["rank"] for row in rows.values()} == {None}
    assert (rows[NOISY]["file_name"], rows[NOISY]["query"]) == ("123,456.jpg", "Down Coat")
    assert uris.local_path(rows[BOTH]["uri"]) == crawl / BOTH
    assert listing.found.skipped == {"files that no key list names": 1}
    assert listing.found.notes == []


@pytest.mark.parametrize(
    ("images", "lists", "root"),
    [("", "", None), ("", "annotations", None), ("./", "", None), ("flat/", "", "flat")],
)  # fmt: skip
def test_the_ways_it_is_unpacked(tmp_path, crawl, images, lists, root):
    folder = write(tmp_path / "other", images, lists)
    listing = _list(folder, image_root=None if root is None else str(folder / root))
    rows = _rows(listing)
    assert {key: _told(row) for key, row in rows.items()} == {
        key: _told(row) for key, row in _rows(_list(crawl)).items()
    }
    place = folder / (NOISY if not images else NOISY.replace("images/", images, 1))
    assert uris.local_path(rows[NOISY]["uri"]) == place
    assert place.read_bytes() == picture(0)
    assert listing.found.skipped == {}
    named = _list(folder / lists / "clean_test_key_list.txt", image_root=listing.root)
    assert uris.read_bytes(_rows(named)[TEST]["uri"]) == picture(4)


def test_a_named_list_is_read_alone_and_asks_for_its_images(crawl):
    test = _rows(_list(crawl / "clean_test_key_list.txt"))
    assert {key: _told(row) for key, row in test.items()} == {
        TEST: ("Shirt", {"split": "clean_test", "clean_category": "Down Coat"}, None)
    }
    noisy = _rows(_list(crawl / "noisy_train_key_list.txt"))
    assert set(noisy) == {NOISY, BOTH, GONE}
    clean = _rows(_list(crawl / "clean_train_key_list.txt"))
    assert {key: json.loads(row["extra"])["split"] for key, row in clean.items()} == {
        BOTH: "clean_train", CLEAN: "clean_train",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="its ending names no format"):
        _list(crawl / "noisy_label_kv.txt")


def test_a_held_out_key_never_trains_whatever_list_names_it(crawl):
    (crawl / "noisy_train_key_list.txt").write_text(f"{NOISY}\n{TEST}\n{VAL}\n")
    (crawl / "clean_train_key_list.txt").write_text(f"{TEST}\n")
    listing = _list(crawl)
    rows = _rows(listing)
    assert sorted(rows) == sorted([NOISY, TEST, VAL])
    assert rows[TEST]["status"] == rows[VAL]["status"] == "excluded"
    assert listing.found.notes == [
        f"keys of noisy_train that clean_test has too, held out: 1, the first {TEST}",
        f"keys of noisy_train that clean_val has too, held out: 1, the first {VAL}",
        f"keys of clean_train that clean_test has too, held out: 1, the first {TEST}",
    ]
    named = _rows(_list(crawl / "noisy_train_key_list.txt"))
    assert {key: row["status"] for key, row in named.items()} == {
        NOISY: None,
        TEST: "excluded",
        VAL: "excluded",
    }
    assert json.loads(named[VAL]["extra"])["split"] == "clean_val"


def test_labels_that_do_not_fit_are_rows_that_say_so(crawl):
    (crawl / "noisy_label_kv.txt").write_text(f"{NOISY}\n{GONE} 3\n{BOTH} -1\n{BOTH} 0\n{VAL} 0\n")
    (crawl / "clean_label_kv.txt").write_text(f"{VAL} 14\n")
    listing = _list(crawl)
    rows = _rows(listing)
    assert [(rows[key]["status"], rows[key]["error"]) for key in (NOISY, GONE, BOTH)] == [
        ("excluded", "neither noisy_label_kv.txt nor clean_label_kv.txt has a label of it"),
        ("excluded", "category_names_eng.txt names no class 3 (counted from 0)"),
        ("excluded", "category_names_eng.txt names no class -1 (counted from 0)"),
    ]
    assert listing.found.notes == [
        f"lines of noisy_label_kv.txt without a label: 1, the first {NOISY}",
        f"keys with a second label in noisy_label_kv.txt, which is not taken: 1, the first {BOTH}",
        f"keys whose clean label names no class, not taken: 1, the first {VAL}",
    ]


def test_a_key_listed_twice_is_two_rows(crawl):
    (crawl / "noisy_train_key_list.txt").write_text(f"{NOISY}\r\n\r\n{NOISY}\r\n")
    (crawl / "clean_train_key_list.txt").write_text(f"{CLEAN}\n{BOTH}\n{CLEAN}\n")
    assert set(_rows(_list(crawl))) == {NOISY, f"{NOISY}?2", BOTH, CLEAN, f"{CLEAN}?2", VAL, TEST}


def test_some_lists_may_be_absent(crawl):
    for name in ("clean_label_kv.txt", "clean_train_key_list.txt", "clean_val_key_list.txt"):
        (crawl / name).unlink()
    rows = _rows(_list(crawl))
    assert sorted(rows) == sorted([NOISY, BOTH, GONE, TEST])
    assert _told(rows[BOTH]) == ("T-Shirt", {"split": "noisy_train"}, None)


def test_without_images_or_names(crawl):
    (crawl / "category_names_eng.txt").write_text("Shirt\nShirt\n")
    with pytest.raises(ArtifactInvalidError, match="two classes have the name 'Shirt'"):
        _list(crawl)
    shutil.rmtree(crawl / "images")
    with pytest.raises(ImagesNotFoundError, match="holds none of the folders images/, 0/") as raised:
        _list(crawl)
    assert "--image-root" in str(raised.value.hint)


def test_an_ordinary_tree_is_not_taken_for_it(tmp_path):
    for name in ("images/3/41/1.jpg", "category_names_eng.txt", "noisy_label_kv.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert clothing1m.find(str(tmp_path)) is None
    assert _list(tmp_path).format == "folder"


@given(
    parts=st.lists(st.sets(st.integers(0, 7), max_size=6), min_size=4, max_size=4),
    noisy=st.dictionaries(st.integers(0, 7), st.integers(-1, 4)),
    clean=st.dictionaries(st.integers(0, 7), st.integers(-1, 4)),
)
@settings(max_examples=80, deadline=None)
def test_each_listed_key_is_one_row_and_held_out_keys_are_excluded(tmp_path_factory, parts, noisy, clean):
    folder = tmp_path_factory.mktemp("c")
    (folder / "images").mkdir()
    names = ("noisy_train", "clean_train", "clean_val", "clean_test")
    for name, part in zip(names, parts, strict=True):
        (folder / f"{name}_key_list.txt").write_text("".join(f"images/{i}.jpg\n" for i in sorted(part)))
    for name, labels in (("noisy", noisy), ("clean", clean)):
        (folder / f"{name}_label_kv.txt").write_text(
            "".join(f"images/{i}.jpg {v}\n" for i, v in labels.items())
        )
    (folder / "category_names_eng.txt").write_text("a\nb\nc\nd\n")
    if not set().union(*parts):
        return
    rows = _rows(_list(folder))
    assert set(rows) == {f"images/{i}.jpg" for i in set().union(*parts)}
    for i in set().union(*parts):
        row = rows[f"images/{i}.jpg"]
        label = noisy.get(i, clean.get(i))
        is_named = label is not None and 0 <= label < 4
        assert row["category"] == ("abcd"[label] if is_named else "")
        assert (row["status"] == "excluded") == (i in parts[2] | parts[3] or not is_named)


def test_from_the_command_line(crawl, tmp_path, capsys):
    shutil.copy(crawl / TEST, crawl / NOISY)
    run = tmp_path / "run"
    flags = ["--against", str(crawl / "clean_test_key_list.txt"), "--workers", "0"]
    assert main(["ingest", str(crawl), str(run), *flags]) == 0
    shown = capsys.readouterr()
    assert "format: clothing1m (recognised)" in " ".join((shown.out + shown.err).split())
    images = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    assert {r["source_key"]: (r["category"], r["status"]) for r in images} == {
        NOISY: ("Down Coat", "ok"), BOTH: ("T-Shirt", "ok"), CLEAN: ("Shirt", "ok"), GONE: ("Shirt", "missing"),
        VAL: ("T-Shirt", "excluded"), TEST: ("Shirt", "excluded"),
    }  # fmt: skip
    assert all(r["sha256"] is None for r in images if r["status"] == "excluded")
    copies = tables.read(RunDir(str(run)), schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    keys = {r["image_id"]: r["source_key"] for r in images}
    assert {keys[r["image_id"]]: r["against"] for r in copies} == {NOISY: TEST}
    counts = RunDir(str(run)).read_json("images/run.json")["counts"]
    assert counts == {"total": 6, "forwarded": 3, "dropped": {"excluded": 2, "missing": 1}}
