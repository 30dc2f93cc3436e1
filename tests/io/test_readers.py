import json
import os
import sys
from dataclasses import fields

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError, ImagesNotFoundError
from webclean.io.readers import columns, formats, uris
from webclean.io.readers.category_map import read_category_map
from webclean.io.readers.listing import Listing, fingerprint, list_source


def _list(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def _rows(source: object, **options: object) -> list[dict[str, object]]:
    return _list(source, **options).records.to_pylist()


def _csv(folder, text: str, name: str = "manifest.csv"):
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


# ---------------------------------------------------------------- formats
def test_the_flag_offers_every_format_of_the_table():
    choices = next(f for f in fields(IngestConfig) if f.name == "format").metadata["choices"]
    assert set(choices) == {formats.AUTO, *(form.name for form in formats.FORMATS)}


def test_finding_the_layout_scans_a_folder_a_few_times_and_remembers_nothing(tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.jpg").touch()
    real, scanned = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or real(path))
    assert formats.recognise(str(tmp_path), "auto")[0].name == "folder"
    # Its entries once for the layouts that ask for them, and three walks through the tree.
    assert scanned.count(str(tmp_path)) <= 4 < len(formats.FORMATS)
    (tmp_path / "manifest.csv").write_text("path\ncat/a.jpg\n")
    assert formats.recognise(str(tmp_path), "auto")[0].name == "csv"


def test_a_named_format_that_does_not_fit_says_what_it_is(tmp_path):
    with pytest.raises(ImagesNotFoundError, match="is not of the format jsonl") as raised:
        _list(tmp_path, format="jsonl")
    assert "manifest.jsonl" in str(raised.value.context)


# ---------------------------------------------------------------- folder trees
def test_folder_tree(tmp_path):
    for name in (
        "cat/2.jpg",
        "cat/1.JPG",
        "dog/big/3",
        "top.png",
        "cat/.hidden",
        "cat/notes.txt",
        ".git/x.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    listing = _list(tmp_path)
    rows = listing.records.to_pylist()
    assert [(r["source_key"], r["category"]) for r in rows] == [
        ("cat/1.JPG", "cat"), ("cat/2.jpg", "cat"), ("dog/big/3", "dog/big"), ("top.png", tmp_path.name),
    ]  # fmt: skip
    assert listing.found.skipped == {"hidden": 2, "sidecars": 1}
    assert rows[0]["file_name"] == "1.JPG"
    assert rows[0]["query"] == "cat"
    assert uris.local_path(rows[0]["uri"]) == tmp_path / "cat/1.JPG"


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_odd_names_survive(tmp_path):
    names = [b"new\nline.jpg", "ä,\"'.jpg".encode(), b"\xff\xfe.jpg", b"x.parquet#3", b"100%.jpg", b" .jpg"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    rows = _rows(tmp_path)
    assert {r["source_key"] for r in rows} == {
        "new\nline.jpg", "ä,\"'.jpg", "%FF%FE.jpg", "x.parquet#3", "100%.jpg", " .jpg",
    }  # fmt: skip
    assert {uris.read_bytes(r["uri"]) for r in rows} == set(names)


def test_links_loops_pipes_and_runs(tmp_path):
    crawl, outside = tmp_path / "crawl", tmp_path / "outside"
    (crawl / "cat").mkdir(parents=True)
    outside.mkdir()
    (outside / "o.jpg").write_bytes(b"o")
    (crawl / "cat/1.jpg").write_bytes(b"1")
    (crawl / "cat/loop").symlink_to(crawl)
    (crawl / "away").symlink_to(outside)
    (crawl / "cat/broken.jpg").symlink_to("nowhere")
    os.mkfifo(crawl / "cat/pipe.jpg")
    (crawl / "run").mkdir()
    (crawl / "run/webclean.log").write_text("")
    (crawl / "run/picture.png").write_text("")
    listing = _list(crawl)
    assert [r["source_key"] for r in listing.records.to_pylist()] == ["cat/1.jpg", "cat/broken.jpg"]
    assert listing.found.skipped == {
        "linked folders not followed": 2,
        "pipes and devices": 1,
        "run folders": 1,
    }
    (outside / "back").symlink_to(outside)
    keys = [r["source_key"] for r in _rows(crawl, allow_outside=True)]
    assert keys == ["away/o.jpg", "cat/1.jpg", "cat/broken.jpg"]


def test_folders_nested_deeper_than_functions_may_call_themselves(tmp_path):
    depth = 1200
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("1.jpg", os.O_CREAT, dir_fd=here))
    os.close(here)
    assert [r["source_key"] for r in _rows(tmp_path)] == ["d/" * depth + "1.jpg"]
    (tmp_path / ("d/" * depth) / "1.jpg").unlink()
    for level in range(depth, 0, -1):  # a test runner's own clean-up does not go so deep
        os.rmdir(tmp_path / ("d/" * level))


def test_nothing_there(tmp_path):
    with pytest.raises(ImagesNotFoundError, match="there is no"):
        _list(tmp_path / "absent")
    with pytest.raises(ImagesNotFoundError, match="no images in") as caught:
        _list(tmp_path)
    assert caught.value.context == "the folder is empty"
    assert caught.value.hint is not None
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ImagesNotFoundError, match="no images in") as caught:
        _list(tmp_path)
    assert caught.value.context == "seen besides: 1 sidecars"
    with pytest.raises(ImagesNotFoundError, match="no images in") as caught:
        _list(_csv(tmp_path, "path,query\n"))
    assert caught.value.context == "the manifest has no rows"
    with pytest.raises(ConfigError, match="no SOURCE"):
        list_source(IngestConfig())


# ---------------------------------------------------------------- manifests
HEAD = "path,query,rank,title,tags,source,page_url,colour\n"


def test_csv_manifest(tmp_path):
    _csv(tmp_path, HEAD + 'a/1.jpg,red fox,3,"A, fox",x;y,google,http://p,brown\n./b.jpg,cat,,,,,,\n')
    listing = _list(tmp_path)
    fox, cat = listing.records.to_pylist()
    assert (fox["source_key"], fox["category"], fox["query"], fox["rank"], fox["rank_source"]) == (
        "a/1.jpg", "red fox", "red fox", 3, "manifest",
    )  # fmt: skip
    assert (fox["title"], fox["tags"], fox["page_url"]) == ("A, fox", ["x", "y"], "http://p")
    assert json.loads(fox["extra"]) == {"colour": "brown"}
    assert (cat["source_key"], cat["rank"], cat["rank_source"], cat["title"]) == ("b.jpg", None, None, None)
    assert uris.local_path(cat["uri"]) == tmp_path / "b.jpg"
    assert listing.found.columns["category"] == "query"


def test_separators_bom_and_latin_names(tmp_path):
    path = _csv(tmp_path, "\ufeffPath;Label\nb\udce4r.jpg;bear\n", "crawl.csv")
    row = _rows(path)[0]
    assert (row["source_key"], row["category"]) == ("b%E4r.jpg", "bear")
    path = _csv(tmp_path, "File Name\tclass\n1.jpg\tx\n", "crawl.tsv")
    assert _rows(path)[0]["category"] == "x"


def test_jsonl_manifest_keeps_bad_lines_as_rows(tmp_path):
    lines = [
        {"path": "1.jpg", "query": "jeans", "rank": "7", "tags": ["Blue", " Casual "], "n": {"k": 1}},
        {"path": "2.jpg", "query": "jeans", "rank": 2.5, "late": "column"},
    ]
    text = "\n".join([json.dumps(lines[0]), "", '{"torn', json.dumps(lines[1]), "[1]"])
    path = _csv(tmp_path, text + "\n", "manifest.jsonl")
    rows = {r["source_key"]: r for r in _rows(path)}
    assert rows["1.jpg"]["tags"] == ["Blue", "Casual"]
    assert rows["1.jpg"]["rank"] == 7
    assert json.loads(rows["1.jpg"]["extra"]) == {"n": {"k": 1}}
    assert rows["2.jpg"]["rank"] is None
    assert json.loads(rows["2.jpg"]["extra"]) == {"late": "column"}
    bad = [r for r in rows.values() if r["status"] == "unreadable"]
    assert [r["source_key"] for r in bad] == ["manifest.jsonl#1", "manifest.jsonl#3"]


def test_parquet_with_paths_and_names_of_integer_labels(tmp_path):
    info = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"path": ["1.jpg", "2.jpg"], "label": [1, 0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "m.parquet")
    assert [r["category"] for r in _rows(tmp_path / "m.parquet")] == ["dog", "cat"]


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_with_bytes(tmp_path, struct):
    data: list[bytes | None] = [b"%d" % i for i in range(12)]
    data[5] = None
    values = [{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)] if struct else data
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": values, "label": ["x"] * 12}), path, row_group_size=5)
    rows = _rows(path)
    assert [r["source_key"] for r in rows][:3] == [
        "5.png" if struct else "train.parquet#0", *(["train.parquet#0", "train.parquet#1"] if struct else
                                                    ["train.parquet#1", "train.parquet#10"]),
    ]  # fmt: skip
    for row in rows:
        number = row["source_key"].rpartition("#")[2]
        if row["status"] is None and "#" in row["uri"]:
            assert uris.read_bytes(row["uri"]) == number.encode()
            assert row["uri"] == f"{path}#{number}"
            assert uris.local_path(row["uri"]) is None
    lost = [r for r in rows if "#" not in r["source_key"] or r["status"]]
    assert len(lost) == 1
    assert lost[0]["status"] == (None if struct else "missing")


def test_the_short_ending_of_parquet(tmp_path):
    path = tmp_path / "train.pq"
    pq.write_table(pa.table({"image": [b"0", b"1"], "label": ["x", "y"]}), path)
    assert [(r["category"], uris.read_bytes(r["uri"])) for r in _rows(path)] == [("x", b"0"), ("y", b"1")]


def test_a_bytes_column_can_be_chosen(tmp_path):
    path = tmp_path / "two.parquet"
    pq.write_table(pa.table({"small": [b"s"], "large": [b"l"], "label": ["x"]}), path)
    with pytest.raises(ColumnMissingError, match="more than one column holds bytes"):
        _list(path)
    row = _rows(path, bytes_column="large")[0]
    assert uris.read_bytes(row["uri"]) == b"l"
    with pytest.raises(ColumnMissingError, match="does not hold image bytes"):
        _list(path, bytes_column="label")


def test_two_labels_stop_and_a_flag_decides(tmp_path):
    path = _csv(tmp_path, "path,label,category\n1.jpg,a,b\n")
    with pytest.raises(ConfigError, match="2 columns could be the label: category, label"):
        _list(path)
    row = _rows(path, category_column="label")[0]
    assert (row["category"], json.loads(row["extra"])) == ("a", {"category": "b"})


def test_missing_columns(tmp_path):
    with pytest.raises(ColumnMissingError, match="no column could be the category"):
        _list(_csv(tmp_path, "path,words\n1.jpg,a\n", "a.csv"))
    with pytest.raises(ColumnMissingError, match="no column could be the path"):
        _list(_csv(tmp_path, "query,words\n1.jpg,a\n", "b.csv"))
    with pytest.raises(ColumnMissingError, match="there is no column 'nope'"):
        _list(_csv(tmp_path, "path,query\n1.jpg,a\n", "c.csv"), title_column="nope")
    with pytest.raises(ColumnMissingError, match="names a column twice: path"):
        _list(_csv(tmp_path, "path,path,query\n1,2,3\n", "d.csv"))


def test_a_flag_names_a_column_without_case(tmp_path):
    source = _csv(tmp_path, "path,query,Pos.,Title,TITLE\n1.jpg,a,7,x,y\n")
    row = _rows(source, rank_column="pos.", title_column="TITLE")[0]
    assert (row["rank"], row["title"]) == (7, "y")
    with pytest.raises(ColumnMissingError, match="there is no column 'title'") as caught:
        _list(source, title_column="title")
    assert caught.value.hint == "columns: Title, TITLE"


def test_not_what_the_ending_says(tmp_path):
    with pytest.raises(ArtifactInvalidError, match="not readable as Parquet"):
        _list(_csv(tmp_path, "path,query\n", "x.parquet"))
    with pytest.raises(ArtifactInvalidError, match="no line is a JSON object"):
        _list(_csv(tmp_path, "path,query\n", "x.jsonl"))
    with pytest.raises(ConfigError, match="names no format"):
        _list(_csv(tmp_path, "path,query\n", "x.dat"))
    assert len(_rows(_csv(tmp_path, "path,query\n1,2\n", "x.dat"), format="csv")) == 1


def test_two_manifests_in_a_folder(tmp_path):
    _csv(tmp_path, "path,query\n1.jpg,a\n")
    _csv(tmp_path, '{"path": "1.jpg", "query": "a"}\n', "manifest.jsonl")
    with pytest.raises(ConfigError, match="holds 2 manifests"):
        _list(tmp_path)
    assert len(_rows(tmp_path, format="jsonl")) == 1


def test_repeated_paths_are_numbered_by_query_and_rank_in_any_order(tmp_path):
    lines = ["1.jpg,b,1", "1.jpg,a,", "1.jpg,a,9", "1.jpg,a,2", "1.jpg?2,z,1"]
    expected = {"1.jpg": ("a", 2), "1.jpg?2": ("z", 1), "1.jpg?3": ("a", 9), "1.jpg?4": ("a", None),
                "1.jpg?5": ("b", 1)}  # fmt: skip
    for order in (lines, lines[::-1]):
        rows = _rows(_csv(tmp_path, "path,query,rank\n" + "\n".join(order) + "\n"))
        assert {r["source_key"]: (r["query"], r["rank"]) for r in rows} == expected
        assert all(r["uri"].endswith("1.jpg") for r in rows if r["query"] != "z")


def test_what_a_manifest_names_elsewhere(tmp_path):
    text = "path,query\n../up.jpg,a\n/etc/hostname,a\nhttp://x/y.jpg,a\n,a\n1.jpg,\n"
    rows = {r["source_key"]: r for r in _rows(_csv(tmp_path, text))}
    assert rows["http://x/y.jpg"]["status"] == "not_downloaded"
    assert rows["manifest.csv#3"]["status"] == "missing"
    assert (rows["1.jpg"]["status"], rows["1.jpg"]["category"]) == ("excluded", "")
    assert rows["../up.jpg"]["status"] is None  # the reader refuses it: links can lie
    assert _list(tmp_path).root == str(tmp_path)
    assert _list(tmp_path, allow_outside=True).root is None


def test_image_root(tmp_path):
    (tmp_path / "pictures").mkdir()
    row = _rows(_csv(tmp_path, "path,query\n1.jpg,a\n"), image_root=str(tmp_path / "pictures"))[0]
    assert uris.local_path(row["uri"]) == tmp_path / "pictures/1.jpg"


def test_category_map(tmp_path):
    source = _csv(tmp_path, "path,query\n1,hockey\n2,ice hockey\n3,misc\n4,golf\n")
    table = _csv(tmp_path, "from,to\nhockey,field hockey\nmisc,\nabsent,x\n", "map.csv")
    listing = _list(source, category_map=str(table))
    assert [(r["category"], r["query"], r["status"]) for r in listing.records.to_pylist()] == [
        ("field hockey", "hockey", None), ("ice hockey", "ice hockey", None), ("misc", "misc", "excluded"),
        ("golf", "golf", None),
    ]  # fmt: skip
    assert listing.unknown == ("absent",)
    table = _csv(tmp_path, '{"a": "b", "c": null}', "map.json")
    assert read_category_map(str(table)) == {"a": "b", "c": ""}
    assert read_category_map(str(_csv(tmp_path, "a\tb\n", "map.tsv"))) == {"a": "b"}
    for text, words in (("a,b,c\n", "must be `from,to`"), ("a,b\na,c\n", "maps 'a' twice")):
        with pytest.raises(ConfigError, match=words):
            read_category_map(str(_csv(tmp_path, text, "map.csv")))
    with pytest.raises(ConfigError, match="absent.csv cannot be read: No such file or directory") as caught:
        read_category_map(str(tmp_path / "absent.csv"))
    assert "from,to" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="map.csv is not UTF-8"):
        read_category_map(str(_csv(tmp_path, "\udcff,a\n", "map.csv")))


def test_limit_is_a_fixed_sample(tmp_path):
    lines = [f"{i}.jpg,q{i % 3}" for i in range(60)]
    keys = []
    for order in (lines, lines[::-1]):
        _csv(tmp_path, "path,query\n" + "\n".join(order) + "\n")
        keys.append([r["source_key"] for r in _rows(tmp_path, limit=20)])
    assert keys[0] == keys[1]
    assert len(keys[0]) == 20
    assert set(keys[0]) < {r["source_key"] for r in _rows(tmp_path)}
    assert len(_rows(tmp_path, limit=100)) == 60


def test_fingerprint_sees_files_and_not_the_order(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "a" / name).write_bytes(b"x")
    first = fingerprint(_list(tmp_path), None)
    assert fingerprint(_list(tmp_path), None) == first
    (tmp_path / "a/2.jpg").write_bytes(b"xy")
    second = fingerprint(_list(tmp_path), None)
    (tmp_path / "a/3.jpg").write_bytes(b"")
    assert len({first, second, fingerprint(_list(tmp_path), None)}) == 3


# ---------------------------------------------------------------- cells
@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), ("3", 3), (" +4 ", 4), ("5.0", 5), (6.0, 6), (-1, -1), (True, None), ("x", None), (2.5, None),
     (None, None), ("", None), (float("nan"), None), ("1e3", None), (2**70, None)],
)  # fmt: skip
def test_rank_cells(value, expected):
    assert columns.whole_number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a, b,,c", ["a", "b", "c"]), ("a;b, c", ["a", "b, c"]), ("a|b", ["a", "b"]), ('["x", "y"]', ["x", "y"]),
     ("[x", ["[x"]), (["a", None, " "], ["a"]), ([], None), (None, None), ("", None), (7, ["7"])],
)  # fmt: skip
def test_tag_cells(value, expected):
    assert columns.tags(value) == expected


@given(st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.text()), st.none()))
def test_any_cell_becomes_text_that_can_be_stored(value):
    found = columns.text(value)
    assert found is None or found.encode("utf-8")
    assert found is None or found.strip()


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4), st.text(max_size=12)
)
@settings(max_examples=60, deadline=None)
def test_any_jsonl_row_is_a_record(tmp_path_factory, row, path):
    folder = tmp_path_factory.mktemp("jsonl")
    lines = [{**row, "path": path, "query": "q"}, {"path": "x", "query": "q"}]
    (folder / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    if not {"category", "label"} & {key.strip().lower() for key in row}:
        assert len(_rows(folder / "m.jsonl")) == 2


# ---------------------------------------------------------------- uris
def test_uri_forms(tmp_path):
    assert uris.of_row("/x/a.parquet", 3) == "/x/a.parquet#3"
    assert uris.of_row("/x/a.parquet", 3, "img") == "/x/a.parquet#3:img"
    assert uris.is_remote("s3://b/k")
    assert not uris.is_remote("file:///x")
    assert not uris.is_remote("/x/a:b")
    assert uris.local_path("s3://b/k") is None


def test_reading_bytes(tmp_path):
    file = tmp_path / "f.bin"
    file.write_bytes(b"12345")
    assert uris.read_bytes(uris.of_path(str(file))) == b"12345"
    with pytest.raises(uris.TooManyBytesError, match="5 bytes are more than 4"):
        uris.read_bytes(str(file), max_bytes=4)
    with pytest.raises(IsADirectoryError):
        uris.read_bytes(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        uris.read_bytes(str(tmp_path / "pipe"))


def test_remote_bytes_through_fsspec():
    import fsspec

    with fsspec.open("memory://crawl/1.jpg", "wb") as out:
        out.write(b"abc")
    assert uris.read_bytes("memory://crawl/1.jpg") == b"abc"
    with pytest.raises(uris.TooManyBytesError):
        uris.read_bytes("memory://crawl/1.jpg", max_bytes=2)
    with fsspec.open("memory://crawl/m.csv", "wb") as out:
        out.write(b"path,query\n1.jpg,a\n../2.jpg,a\n")
    rows = _rows("memory://crawl/m.csv")
    assert [(r["uri"], r["status"]) for r in rows] == [
        ("memory://crawl/../2.jpg", "unreadable"), ("memory://crawl/1.jpg", None),
    ]  # fmt: skip
    # Without a manifest.* the folder is a tree, whose tables are sidecars.
    assert [r["source_key"] for r in _rows("memory://crawl")] == ["1.jpg"]
