"""WebVision 1.0 and 2.0 as they are unpacked, and with the faults that copies of them have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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
from webclean.io.readers import uris, webvision
from webclean.io.readers.listing import Listing, fingerprint, list_source
from webclean.io.run_dir import RunDir

TENCH, CRANE, LIFT = "n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane"
OTHER_QUERY = "images without texts and rank: the meta list speaks of another query there"
OTHER_LABEL = "images whose label is not the one of their query in queries_synsets_map.txt"
GOOGLE_TENCH = [
    {"id": "AbC:", "title": "Tench", "description": "caught today", "page_url": "http://a.b/c", "site": "a.b",
     "rank": 7},
    {"id": "-x_:", "title": "", "rank": "9"},
    {"id": "_y:"},
]  # fmt: skip
FLICKR_TENCH = [
    {"id": "11", "title": "A fish", "tags": ["fish", "lake"]},
    {"id": "12", "description": "nothing"},
    {"id": "13", "title": "third", "tags": []},
]


def write(folder: Path, files: dict[str, object]) -> Path:
    """Text as it is, a list as JSON, None as a picture of its own."""
    for number, (name, content) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.write_bytes(picture(number))
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Three classes, two of one name; query 2 is another word for the first class."""
    return write(
        tmp_path / "webvision",
        {
            "info/synsets.txt": f"{TENCH}\n{CRANE}\n{LIFT}\n",
            "info/queries_google.txt": "1 tench\n2 Tinca+tinca\n3 crane bird\n4 crane machine\n",
            "info/queries_flickr.txt": "1 tench\n2 Tinca tinca\n3 crane bird\n4 crane machine\n",
            "info/queries_synsets_map.txt": "1 1\n2 1\n3 2\n4 3\n",
            "info/train_filelist_google.txt": (
                "google/q0001/_AbC1.jpg 0\ngoogle/q0001/-x_2.jpg 0\ngoogle/q0001/gone.jpg 0\n"
                "google/q0002/w.jpg 0\ngoogle/q0004/lift.jpg 2\n"
            ),
            "info/train_meta_list_google.txt": (
                "google/q0001.json 1\ngoogle/q0001.json 3\ngoogle/q0001.json 2\n"
                "google/q0002.json 1\ngoogle/q0004.json 1\n"
            ),
            "info/train_filelist_flickr.txt": "flickr/q0001/12345.jpg 0\nflickr/q0003/678.jpg 1\n",
            "info/train_meta_list_flickr.txt": "flickr/q0001.json 3\nflickr/q0003.json 1\n",
            "info/val_filelist.txt": "val000001.jpg 1\n",
            "google/q0001/_AbC1.jpg": None,
            "google/q0001/-x_2.jpg": None,
            "google/q0001/extra.jpg": None,
            "google/q0002/w.jpg": None,
            "google/q0004/lift.jpg": None,
            "flickr/q0001/12345.jpg": None,
            "flickr/q0003/678.jpg": None,
            "val_images_256/val000001.jpg": None,
            "google/q0001.json": GOOGLE_TENCH,
            "google/q0002.json": [{"title": "two", "rank": 1}],
            "google/q0004.json": [{"title": "four", "rank": 2}],
            "flickr/q0001.json": FLICKR_TENCH,
            "flickr/q0003.json": [{"title": "bird", "url": "http://f/678"}],
        },
    )


def _list(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def _rows(listing: Listing) -> dict[str, dict[str, object]]:
    return {row["source_key"]: row for row in listing.records.to_pylist()}


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def test_every_line_of_the_lists_is_a_row_joined_by_its_index(crawl):
    listing = _list(crawl)
    rows = _rows(listing)
    assert listing.format == "webvision"
    assert {
        key: (r["category"], r["query"], r["source"], r["rank"], r["rank_source"], r["title"], r["tags"])
        for key, r in rows.items()
    } == {
        "google/q0001/_AbC1.jpg": (TENCH, "tench", "google", 7, "json", "Tench", None),
        "google/q0001/-x_2.jpg": (TENCH, "tench", "google", 3, "json-place", None, None),
        "google/q0001/gone.jpg": (TENCH, "tench", "google", 9, "json", None, None),
        "google/q0002/w.jpg": (TENCH, "Tinca tinca", "google", 1, "json", "two", None),
        "google/q0004/lift.jpg": (LIFT, "crane machine", "google", 2, "json", "four", None),
        "flickr/q0001/12345.jpg": (TENCH, "tench", "flickr", 3, "json-place", "third", None),
        "flickr/q0003/678.jpg": (CRANE, "crane bird", "flickr", 1, "json-place", "bird", None),
    }  # fmt: skip
    first = rows["google/q0001/_AbC1.jpg"]
    assert (first["description"], first["page_url"], first["file_name"]) == (
        "caught today", "http://a.b/c", "_AbC1.jpg",
    )  # fmt: skip
    assert json.loads(first["extra"]) == {"id": "AbC:", "label": 0, "site": "a.b"}
    assert json.loads(rows["flickr/q0003/678.jpg"]["extra"]) == {"label": 1, "url": "http://f/678"}
    assert uris.local_path(first["uri"]) == crawl / "google/q0001/_AbC1.jpg"
    assert all(row["status"] is None for row in rows.values())
    assert listing.found.skipped == {"files that no list names": 1}
    assert listing.found.notes == [
        f"val_images_256/ is no training data and left out; --against {crawl}/val_images_256 marks its copies"
    ]


def test_tags_of_flickr(crawl):
    _edit(
        crawl / "info/train_meta_list_flickr.txt", lambda text: text.replace("q0001.json 3", "q0001.json 1")
    )
    row = _rows(_list(crawl))["flickr/q0001/12345.jpg"]
    assert (row["title"], row["tags"], row["rank"]) == ("A fish", ["fish", "lake"], 1)


def test_one_list_alone_may_be_the_source(crawl):
    listing = _list(crawl / "info/train_filelist_flickr.txt")
    assert (listing.format, sorted(_rows(listing))) == (
        "webvision", ["flickr/q0001/12345.jpg", "flickr/q0003/678.jpg"],
    )  # fmt: skip
    assert listing.found.skipped == {}
    with pytest.raises(ConfigError, match="its ending names no format"):
        _list(crawl / "info/val_filelist.txt")


def test_the_joined_list_is_read_where_the_two_are_not(crawl):
    before = _rows(_list(crawl))
    for kind in ("filelist", "meta_list"):
        parts = [crawl / f"info/train_{kind}_{engine}.txt" for engine in ("flickr", "google")]
        (crawl / f"info/train_{kind}_all.txt").write_text("".join(p.read_text() for p in parts))
    assert _rows(_list(crawl)) == before
    for path in crawl.glob("info/train_*_[fg]*.txt"):
        path.unlink()
    assert _rows(_list(crawl)) == before


def test_version_two_has_one_list_of_queries_and_five_digits(tmp_path):
    crawl = write(
        tmp_path / "webvision2",
        {
            "info/synsets.txt": f"{CRANE}\n",
            "info/queries.txt": "12597 great+crane\n",
            "info/queries_synsets_map.txt": "12597 1\n",
            "info/train_filelist_google.txt": "google/q12597/a.jpg 0\n",
            "info/train_meta_list_google.txt": "google/q12597.json 2\n",
            "train_images_256/google/q12597/a.jpg": None,
            "meta/google/q12597.json": [{"rank": 1}, {"rank": 5, "title": "t"}],
        },
    )
    with pytest.raises(ImagesNotFoundError, match="holds none of the folders google/") as raised:
        _list(crawl)
    assert "--image-root" in str(raised.value.hint)
    listing = _list(crawl, image_root=str(crawl / "train_images_256"))
    row = _rows(listing)["google/q12597/a.jpg"]
    assert (row["query"], row["rank"], row["title"], row["category"]) == ("great crane", 5, "t", CRANE)
    assert uris.local_path(row["uri"]) == crawl / "train_images_256/google/q12597/a.jpg"
    assert listing.root == str(crawl / "train_images_256")


@pytest.mark.parametrize("place", ["metadata/{}", "{}_json", "elsewhere/{}", "elsewhere/{}_json"])
def test_json_files_may_be_unpacked_elsewhere(crawl, place):
    expected = _rows(_list(crawl))
    for engine in ("google", "flickr"):
        target = crawl / place.format(engine)
        target.mkdir(parents=True)
        for path in sorted((crawl / engine).glob("*.json")):
            shutil.move(path, target)
    options = {"meta_root": str(crawl / "elsewhere")} if place.startswith("elsewhere") else {}
    assert _rows(_list(crawl, **options)) == expected


def test_meta_root_is_not_ignored_where_it_says_nothing(crawl, tmp_path):
    with pytest.raises(ConfigError, match="holds no JSON files") as raised:
        _list(crawl, meta_root=str(tmp_path / "absent"))
    assert "google/q*.json and flickr/q*.json" in str(raised.value.context)
    with pytest.raises(ConfigError, match="--meta-root is for webvision"):
        _list(crawl, meta_root=str(crawl), format="folder")


def test_without_json_the_place_in_the_list_is_the_rank(crawl):
    for path in crawl.glob("*/*.json"):
        path.unlink()
    listing = _list(crawl)
    rows = _rows(listing)
    assert {r["rank_source"] for r in rows.values()} == {"json-place"}
    assert [rows[f"google/q0001/{n}"]["rank"] for n in ("_AbC1.jpg", "-x_2.jpg", "gone.jpg")] == [1, 3, 2]
    assert {r["title"] for r in rows.values()} == {None}
    assert [note.partition(" are there")[0] for note in listing.found.notes[:2]] == [
        "no JSON files of google", "no JSON files of flickr",
    ]  # fmt: skip


def test_without_a_meta_list_there_is_no_rank(crawl):
    (crawl / "info/train_meta_list_google.txt").unlink()
    listing = _list(crawl)
    rows = _rows(listing)
    assert rows["google/q0001/_AbC1.jpg"]["rank"] is None
    assert rows["google/q0001/_AbC1.jpg"]["rank_source"] is None
    assert rows["flickr/q0001/12345.jpg"]["title"] == "third"
    assert any(
        "train_meta_list_google.txt: its images have no texts and no ranks" in n for n in listing.found.notes
    )


def test_a_torn_or_absent_json_file_costs_the_texts_and_nothing_else(crawl):
    (crawl / "google/q0001.json").write_text('[{"title": "Tench"')
    (crawl / "google/q0002.json").unlink()
    (crawl / "google/q0004.json").write_text('{"title": "an object"}')
    listing = _list(crawl)
    rows = _rows(listing)
    assert len(rows) == 7
    assert [
        (r["title"], r["rank"], r["status"]) for k, r in rows.items() if k.startswith("google/q0001/_")
    ] == [(None, 1, None)]
    (note,) = [n for n in listing.found.notes if "JSON" in n]
    assert note.startswith(
        "images without texts: their JSON file is not there or no JSON list: 5, the first "
    )
    assert note.endswith("google/q0001.json")


def test_entries_that_do_not_fit_are_counted_and_never_guessed(crawl):
    (crawl / "google/q0004.json").write_text('["no object"]')
    _edit(
        crawl / "info/train_meta_list_google.txt",
        lambda text: (
            text.replace("q0001.json 1\n", "q0001.json 4\n")  # beyond the end
            .replace("q0001.json 3\n", "q0001.json 0\n")  # counted from 0
            .replace("google/q0001.json 2\n", "flickr/q0001.json 2\n")  # another engine's
            .replace("q0002.json 1\n", "q0002.json\n")
        ),
    )
    listing = _list(crawl)
    rows = _rows(listing)
    google = {key: (r["rank"], r["title"]) for key, r in rows.items() if key.startswith("google")}
    assert google == {
        "google/q0001/_AbC1.jpg": (None, None),
        "google/q0001/-x_2.jpg": (None, None),
        "google/q0001/gone.jpg": (None, None),
        "google/q0002/w.jpg": (None, None),
        "google/q0004/lift.jpg": (1, None),
    }
    assert listing.found.notes[:-1] == [
        "images without texts and rank: their JSON list has no such index: 2, the first google/q0001.json",
        f"{OTHER_QUERY}: 1, the first google/q0001/gone.jpg",
        "images without texts and rank: the meta list is torn there: 1, the first google/q0002/w.jpg",
        "images without texts: their entry is no JSON object: 1, the first google/q0004.json",
    ]


@pytest.mark.parametrize("kind", ["filelist", "meta_list"])
def test_lists_of_different_length_are_never_joined(crawl, kind):
    _edit(crawl / f"info/train_{kind}_google.txt", lambda text: text.rpartition("google/")[0])
    with pytest.raises(ArtifactInvalidError, match="ends before line 5") as raised:
        _list(crawl)
    assert f"train_{kind}_google.txt ends" in raised.value.message
    assert "unpack both again" in str(raised.value.hint)


def test_lines_that_do_not_fit_are_rows_that_say_so(crawl):
    _edit(
        crawl / "info/train_filelist_google.txt",
        lambda text: text.replace("_AbC1.jpg 0", "_AbC1.jpg").replace("-x_2.jpg 0", "-x_2.jpg 3")
        .replace("w.jpg 0", "w.jpg 1").replace("q0004/lift.jpg", "q0009/lift.jpg"),
    )  # fmt: skip
    listing = _list(crawl)
    rows = _rows(listing)
    errors = {key: (r["status"], r["error"]) for key, r in rows.items() if r["status"]}
    assert errors == {
        "google/q0001/_AbC1.jpg": ("excluded", "its line in the list ends without a label"),
        "google/q0001/-x_2.jpg": ("excluded", "synsets.txt names no class 3 (counted from 0)"),
    }
    assert (rows["google/q0002/w.jpg"]["category"], rows["google/q0009/lift.jpg"]["query"]) == (
        CRANE,
        "q0009",
    )
    assert listing.found.notes[:2] == [
        f"{OTHER_LABEL}: 1, the first google/q0002/w.jpg",
        "images of a query without words, shown as its folder: 1, the first q0009",
    ]


def test_odd_bytes_and_ends_of_lines(crawl):
    data = b"\xef\xbb\xbfgoogle/q0001/_AbC1.jpg 0\r\n\r\ngoogle/q0001/b\xe4r 2.jpg\t0 \r\n"
    (crawl / "info/train_filelist_google.txt").write_bytes(data)
    (crawl / "info/train_meta_list_google.txt").write_bytes(b"google/q0001.json 1\r\ngoogle/q0001.json 2\r\n")
    google = [key for key in _rows(_list(crawl)) if key.startswith("google")]
    assert google == ["google/q0001/_AbC1.jpg", "google/q0001/b%E4r 2.jpg"]


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), (f"{CRANE}\n{CRANE}\n", "two classes have the name")]
)
def test_class_names_that_cannot_be_told_apart(crawl, text, words):
    (crawl / "info/synsets.txt").write_text(text)
    with pytest.raises(ArtifactInvalidError, match=words):
        _list(crawl)


def test_a_path_that_leads_outside_is_not_opened(crawl, tmp_path, capsys):
    (tmp_path / "secret.jpg").write_bytes(picture(99))
    _edit(
        crawl / "info/train_filelist_google.txt", lambda text: text.replace("google/q0001/gone", "../secret")
    )
    assert main(["ingest", str(crawl), str(tmp_path / "run"), "--workers", "0", "--quiet"]) == 0
    rows = tables.read(RunDir(str(tmp_path / "run")), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    assert {r["source_key"]: r["status"] for r in rows}["../secret.jpg"] == "unreadable"


def test_an_ordinary_tree_is_not_taken_for_it(tmp_path, crawl):
    write(
        tmp_path / "tree", {"google/q0001/a.jpg": None, "flickr/q0001/b.jpg": None, "info/synsets.txt": "x"}
    )
    assert webvision.find(str(tmp_path / "tree")) is None
    assert _list(tmp_path / "tree").format == "folder"
    assert webvision.find(str(crawl / "val_images_256")) is None
    with pytest.raises(ImagesNotFoundError, match="is not of the format webvision"):
        _list(tmp_path / "tree", format="webvision")


def test_a_changed_json_file_is_seen(crawl):
    first = fingerprint(_list(crawl), None)
    assert fingerprint(_list(crawl), None) == first
    (crawl / "google/q0002.json").write_text('[{"title": "three", "rank": 1}]')
    assert fingerprint(_list(crawl), None) != first


def test_each_json_file_is_read_once_and_alone(crawl, monkeypatch):
    opened: list[str] = []
    real = webvision._Texts._parse
    monkeypatch.setattr(
        webvision._Texts, "_parse", lambda self, path: opened.append(Path(path).name) or real(self, path)
    )
    _list(crawl)
    assert opened == ["q0001.json", "q0002.json", "q0004.json", "q0001.json", "q0003.json"]


@given(st.lists(st.one_of(st.none(), st.dictionaries(
    st.sampled_from(["id", "title", "description", "page_url", "site", "tags", "rank", "url"]),
    st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.lists(st.text(max_size=3), max_size=2)),
)), min_size=1, max_size=4))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_json_entry_leaves_a_row(tmp_path_factory, entries):
    folder = write(
        tmp_path_factory.mktemp("w"),
        {
            "info/synsets.txt": f"{CRANE}\n",
            "info/train_filelist_google.txt": "".join(
                f"google/q0001/{i}.jpg 0\n" for i in range(len(entries))
            ),
            "info/train_meta_list_google.txt": "".join(
                f"google/q0001.json {i + 1}\n" for i in range(len(entries))
            ),
            "google/q0001.json": entries,
        },
    )
    rows = _list(folder).records.to_pylist()
    assert [row["source_key"] for row in rows] == [f"google/q0001/{i}.jpg" for i in range(len(entries))]
    for place, row in enumerate(rows, 1):
        assert row["rank_source"] == "json" or row["rank"] == place


def test_from_the_command_line(crawl, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copy(crawl / "flickr/q0003/678.jpg", crawl / "val_images_256/val000002.jpg")
    flags = ["--against", str(crawl / "val_images_256"), "--workers", "0"]
    assert main(["ingest", str(crawl), str(run), *flags]) == 0
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).split())
    assert "format: webvision (recognised)" in text
    assert "1 files that no list names" in text
    assert "val_images_256/ is no training data" in text
    images = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    assert [(r["source_key"], r["status"], r["rank"]) for r in images] == [
        ("flickr/q0001/12345.jpg", "ok", 3), ("flickr/q0003/678.jpg", "ok", 1),
        ("google/q0001/-x_2.jpg", "ok", 3), ("google/q0001/_AbC1.jpg", "ok", 7),
        ("google/q0001/gone.jpg", "missing", 9), ("google/q0002/w.jpg", "ok", 1),
        ("google/q0004/lift.jpg", "ok", 2),
    ]  # fmt: skip
    copies = tables.read(RunDir(str(run)), schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    ids = {r["image_id"]: r["source_key"] for r in images}
    assert {ids[r["image_id"]]: r["against"] for r in copies} == {"flickr/q0003/678.jpg": "val000002.jpg"}
    categories = tables.read(RunDir(str(run)), schema.CATEGORIES, schema.CATEGORIES_TABLE).to_pylist()
    assert [(c["name"], c["queries"]) for c in categories] == [
        (TENCH, ["Tinca tinca", "tench"]), (CRANE, ["crane bird"]), (LIFT, ["crane machine"]),
    ]  # fmt: skip
    assert main(["ingest", str(crawl), str(run), *flags]) == 0
    assert "unchanged" in " ".join(capsys.readouterr().out.split())
