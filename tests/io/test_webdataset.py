"""WebDataset tars: samples by key, whatever order and whatever damage their members are in."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import random
import tarfile
from pathlib import Path

import fsspec
import pytest
from archived import add, listed, rows, write_tar
from exported_run import picture

from webclean import schema
from webclean.errors import ColumnMissingError, ConfigError, DataError, ImagesNotFoundError
from webclean.io import scan
from webclean.io.decode import Limits
from webclean.io.readers import names, uris
from webclean.io.readers.listing import fingerprint

PNG = b"\x89PNG\r\n\x1a\n"


def as_json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def keys(source: object, **options: object) -> dict[str, tuple[object, object]]:
    return {str(r["source_key"]): (r["category"], r["status"]) for r in rows(source, **options)}


# ---------------------------------------------------------------- samples
def test_a_sample_with_class_caption_and_metadata(tmp_path):
    path = write_tar(
        tmp_path / "00000.tar",
        [("a/000.jpg", b"one"), ("a/000.cls", b"fox\n"), ("a/000.txt", "A föx".encode()),
         ("a/000.json", as_json(rank=3, tags=["x"], label="wolf", url="http://p", colour="red", gone=None))],
    )  # fmt: skip
    listing = listed(path)
    (row,) = listing.records.to_pylist()
    assert (row["source_key"], row["file_name"]) == ("00000.tar#a/000.jpg", "000.jpg")
    assert row["uri"] == f"{path}#512+3"
    assert uris.read_bytes(row["uri"]) == b"one"
    assert (row["category"], row["query"], row["description"]) == ("fox", "fox", "A föx")
    assert (row["rank"], row["rank_source"], row["tags"], row["page_url"]) == (
        3,
        "manifest",
        ["x"],
        "http://p",
    )
    assert json.loads(row["extra"]) == {"colour": "red", "label": "wolf"}
    assert (listing.format, listing.found.skipped) == ("webdataset", {})
    assert listing.found.columns == {
        "category": "cls", "description": "txt", "page_url": "url", "rank": "rank", "tags": "tags",
    }  # fmt: skip
    assert rows(path, category_column="label")[0]["category"] == "wolf"


def test_the_category_is_the_class_then_a_field_then_the_folder(tmp_path):
    image = ("cats/1.jpg", b"x")
    tell = {"cls": ("cats/1.cls", b"7"), "json": ("cats/1.json", as_json(label="tom"))}
    assert keys(write_tar(tmp_path / "1.tar", [image, *tell.values()])) == {"1.tar#cats/1.jpg": ("7", None)}
    assert keys(write_tar(tmp_path / "2.tar", [image, tell["json"]])) == {"2.tar#cats/1.jpg": ("tom", None)}
    assert keys(write_tar(tmp_path / "3.tar", [image])) == {"3.tar#cats/1.jpg": ("cats", None)}


def test_two_fields_that_could_be_the_label_stop_unless_a_class_decides(tmp_path):
    members = [("1.jpg", b"x"), ("1.json", as_json(label="a", target="b"))]
    path = write_tar(tmp_path / "1.tar", members)
    with pytest.raises(ConfigError, match="2 columns could be the label: label, target"):
        listed(path)
    assert rows(path, category_column="target")[0]["category"] == "b"
    assert rows(write_tar(path, [*members, ("1.cls", b"c")]))[0]["category"] == "c"


def test_without_a_category_anywhere_it_says_what_to_name(tmp_path):
    path = write_tar(tmp_path / "1.tar", [("1.jpg", b"x"), ("1.json", as_json(kind="fox"))])
    with pytest.raises(ColumnMissingError, match="no column could be the category") as caught:
        listed(path)
    assert "kind" in str(caught.value.context)
    assert rows(path, category_column="kind")[0]["category"] == "fox"


def test_a_sample_that_nothing_names_is_excluded_beside_others(tmp_path):
    path = write_tar(tmp_path / "1.tar", [("1.jpg", b"x"), ("2.jpg", b"y"), ("2.cls", b"fox")])
    assert keys(path) == {"1.tar#1.jpg": ("", "excluded"), "1.tar#2.jpg": ("fox", None)}


def test_a_tar_of_a_folder_tree(tmp_path):
    path = write_tar(
        tmp_path / "crawl.tar",
        [("./crawl/dogs/husky/7", PNG), ("./crawl/cats/a.b.jpg", b"x"), ("./crawl/cats/a.c.jpg", b"y"),
         ("./crawl/loose.png", b"z"), ("./crawl/notes.md", b"n"), ("./crawl/manifest.csv", b"path,label\n"), ("./crawl/.git/x.jpg", b"h"),
         ("./crawl/__MACOSX/._y.jpg", b"m"), ("./crawl/page", b"<html>")],
    )  # fmt: skip
    assert keys(path) == {
        "crawl.tar#./crawl/cats/a.b.jpg": ("cats", None), "crawl.tar#./crawl/cats/a.c.jpg": ("cats", None),
        "crawl.tar#./crawl/dogs/husky/7": ("dogs/husky", None), "crawl.tar#./crawl/loose.png": ("crawl", None),
    }  # fmt: skip
    assert listed(path).found.skipped == {
        "__MACOSX": 1, "hidden": 1, "members that are neither images nor texts": 2, names.MANIFESTS: 1,
    }  # fmt: skip


def test_names_that_would_leave_the_archive_stay_in_their_place(tmp_path):
    path = write_tar(
        tmp_path / "1.tar", [("../../etc/1.jpg", b"up"), ("/abs/2.jpg", b"top"), ("ok/3.jpg", b"ok")]
    )
    found = rows(path)
    assert [(r["source_key"], r["category"], r["file_name"]) for r in found] == [
        ("1.tar#../../etc/1.jpg", "etc", "1.jpg"), ("1.tar#/abs/2.jpg", "abs", "2.jpg"),
        ("1.tar#ok/3.jpg", "ok", "3.jpg"),
    ]  # fmt: skip
    assert [uris.read_bytes(r["uri"]) for r in found] == [b"up", b"top", b"ok"]
    assert [file.name for file in tmp_path.rglob("*")] == ["1.tar"]


def test_several_images_of_a_sample(tmp_path):
    path = write_tar(
        tmp_path / "1.tar",
        [("1.left.jpg", b"l"), ("1.left.txt", b"the left"), ("1.right.jpg", b"r"), ("1.txt", b"a pair"),
         ("1.cls", b"shoe"), ("1.mask.npy", b"\x93NUMPY")],
    )  # fmt: skip
    found = {r["file_name"]: (r["description"], r["category"]) for r in rows(path)}
    assert found == {"1.left.jpg": ("the left", "shoe"), "1.right.jpg": ("a pair", "shoe")}
    listing = listed(path, bytes_column="right.jpg")
    assert [r["file_name"] for r in listing.records.to_pylist()] == ["1.right.jpg"]
    assert listing.found.skipped == {
        "images of samples that are not .right.jpg": 1, "members that are neither images nor texts": 1,
    }  # fmt: skip


def test_the_order_of_members_and_of_shards_changes_nothing(tmp_path):
    members = [
        (f"{i:03}.{end}", data)
        for i in range(12)
        for end, data in (
            ("jpg", b"%d" % i),
            ("cls", b"c%d" % (i % 3)),
            ("json", as_json(**{f"f{i}": i, "Rank": i})),
        )
    ]
    found = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(members, len(members))
        table = rows(write_tar(tmp_path / "1.tar", shuffled))
        found.append([{k: v for k, v in row.items() if k != "uri"} for row in table])
        assert [uris.read_bytes(row["uri"]) for row in table] == [b"%d" % i for i in range(12)]
    assert found[0] == found[1] == found[2]


def test_texts_that_cannot_be_used_are_counted(tmp_path):
    path = tmp_path / "1.tar"
    write_tar(
        path,
        [("a/1.jpg", b"x"), ("a/1.json", b'{"torn'), ("a/1.txt", b"one"), ("a/1.txt", b"two"),
         ("a/2.json", as_json(x=1)), ("a/3.jpg", b"y"), ("a/3.json", b"[1, 2]"), ("a/4.jpg", b"z"),
         ("a/4.json", b" " * (1 << 20) + b"{}"), ("__meta__", b"{}")],
    )  # fmt: skip
    listing = listed(path)
    assert [(r["description"], r["extra"]) for r in listing.records.to_pylist()] == [
        ("one", None), (None, '{"json": [1, 2]}'), (None, None),
    ]  # fmt: skip
    assert listing.found.skipped == {
        "metadata that is no JSON": 1, "samples without an image": 1, "texts of a sample that has one already": 1,
        "texts that are cut, sparse or longer than 1 MiB": 1, "hidden": 1,
    }  # fmt: skip


# ---------------------------------------------------------------- shards
def shard_folder(folder: Path) -> Path:
    for split, number in (("train", 0), ("train", 1), ("test", 0)):
        write_tar(folder / split / f"{number:05}.tar", [(f"{number}.jpg", b"x"), (f"{number}.cls", b"fox")])
    (folder / "train/00000.json").write_text("{}")
    (folder / "README").write_text("")
    return folder


def test_a_folder_of_shards(tmp_path):
    folder = shard_folder(tmp_path / "set")
    listing = listed(folder)
    assert (listing.format, listing.found.skipped) == ("webdataset", {"sidecars": 2})
    assert [r["source_key"] for r in listing.records.to_pylist()] == [
        "test/00000.tar#0.jpg", "train/00000.tar#0.jpg", "train/00001.tar#1.jpg",
    ]  # fmt: skip
    assert [Path(name).relative_to(folder).as_posix() for name in listing.found.tables] == [
        "test/00000.tar", "train/00000.tar", "train/00001.tar",
    ]  # fmt: skip


def test_an_ordinary_folder_is_not_mistaken(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/7").write_bytes(PNG)
    write_tar(tmp_path / "backup.tar", [("1.jpg", b"x")])
    assert listed(tmp_path).format == "folder"
    with pytest.raises(ImagesNotFoundError, match="is not of the format webdataset"):
        listed(tmp_path, format="webdataset")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImagesNotFoundError, match="the folder is empty"):
        listed(tmp_path / "empty")


def test_a_linked_shard_outside_is_left_out_unless_allowed(tmp_path):
    folder = shard_folder(tmp_path / "set")
    away = write_tar(tmp_path / "away.tar", [("9.jpg", b"x"), ("9.cls", b"fox")])
    (folder / "linked.tar").symlink_to(away)
    (folder / "test/inside.tar").symlink_to(folder / "train/00001.tar")
    listing = listed(folder)
    assert "linked.tar#9.jpg" not in listing.records.column(schema.SOURCE_KEY).to_pylist()
    assert "test/inside.tar#1.jpg" in listing.records.column(schema.SOURCE_KEY).to_pylist()
    assert listing.found.skipped["tars that a link leads to outside SOURCE (--allow-outside reads them)"] == 1
    assert "linked.tar#9.jpg" in keys(folder, allow_outside=True)


def test_fingerprints_see_a_changed_shard(tmp_path):
    folder = shard_folder(tmp_path / "set")
    first = fingerprint(listed(folder), None)
    assert fingerprint(listed(folder), None) == first
    write_tar(folder / "test/00000.tar", [("0.jpg", b"y"), ("0.cls", b"fox")])
    assert fingerprint(listed(folder), None) != first


# ---------------------------------------------------------------- damage
def test_a_truncated_shard_gives_what_lies_before_the_cut_and_says_so(tmp_path):
    folder = tmp_path / "set"
    write_tar(folder / "0.tar", [("a/1.jpg", b"1" * 600), ("a/2.jpg", b"2" * 600), ("a/3.jpg", b"3")])
    raw = (folder / "0.tar").read_bytes()
    (folder / "0.tar").write_bytes(raw[: 1536 + 512 + 100])
    write_tar(folder / "1.tar", [("b/1.jpg", b"1")])
    listing = listed(folder)
    by_key = {r["source_key"]: r for r in listing.records.to_pylist()}
    assert {key: r["status"] for key, r in by_key.items()} == {
        "0.tar#a/1.jpg": None, "0.tar#a/2.jpg": "truncated", "1.tar#b/1.jpg": None,
    }  # fmt: skip
    assert by_key["0.tar#a/2.jpg"]["error"] == "the tar ends after 100 of its 600 bytes"
    assert listing.found.notes == ["1 tars end early, without an end mark: 0.tar"]


def test_shards_that_cannot_be_read_are_rows(tmp_path):
    folder = tmp_path / "set"
    write_tar(folder / "0.tar", [("a/1.jpg", b"1")])
    (folder / "1.tar").write_bytes(b"<html>gone</html>")
    (folder / "2.tar").write_bytes(b"")
    (folder / "3.tar.gz").write_bytes(gzip.compress((folder / "0.tar").read_bytes()))
    found = {r["source_key"]: (r["status"], r["error"]) for r in rows(folder)}
    assert found == {
        "0.tar#a/1.jpg": (None, None),
        "1.tar": ("unreadable", "the tar is no tar"),
        "2.tar": ("unreadable", "the tar is empty"),
        "3.tar.gz": (
            "unreadable",
            "the tar is compressed with gzip, so that no member can be read alone; decompress it first",
        ),
    }


def test_links_devices_and_gaps_are_counted(tmp_path):
    path = tmp_path / "1.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "a/1.jpg", b"1")
        add(tar, "a/link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "a/null.jpg", type=tarfile.CHRTYPE)
        add(tar, "a/2.jpg", b"2")
        add(tar, "a/3.jpg", b"3")
    raw = bytearray(path.read_bytes())
    broken = raw.index(b"a/2.jpg")
    raw[broken : broken + 7] = b"a/X.jpg"
    path.write_bytes(raw)
    listing = listed(path)
    assert [r["source_key"] for r in listing.records.to_pylist()] == ["1.tar#a/1.jpg", "1.tar#a/3.jpg"]
    assert listing.found.skipped == {"links in archives": 1, "pipes and devices": 1}
    assert listing.found.notes == [
        "1 tars have stretches that cannot be read; what lies behind them is listed: 1.tar"
    ]


def test_an_image_of_a_tar_is_read_and_measured_as_a_file_is(tmp_path):
    data = picture(1)
    path = write_tar(tmp_path / "1.tar", [("a/1.jpg", data), ("a/2.jpg", b""), ("a/3.jpg", data)])
    one, two, three = (r["uri"] for r in rows(path))
    found = scan.inspect_all([one, two, None], root=str(tmp_path), limits=Limits())
    assert [None if f is None else f.status for f in found] == ["ok", "empty", None]
    (found,) = scan.inspect_all([three], root=str(tmp_path), limits=Limits(max_bytes=10))
    assert found is not None
    assert (found.status, found.nbytes) == ("too_large", len(data))


# ---------------------------------------------------------------- elsewhere
def test_a_remote_tar(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("a/1.jpg", b"1"), ("b/2.jpg", b"22")])
    with fsspec.open("memory://webdataset/0.tar", "wb") as out:
        out.write(path.read_bytes())
    listing = listed("memory://webdataset/0.tar")
    found = listing.records.to_pylist()
    assert [(r["source_key"], r["category"]) for r in found] == [
        ("0.tar#a/1.jpg", "a"),
        ("0.tar#b/2.jpg", "b"),
    ]
    assert uris.read_bytes(found[1]["uri"]) == b"22"
    assert listing.root is None
    inspected = scan.inspect_all([r["uri"] for r in found], root=None, limits=Limits())
    assert [i and (i.status, i.nbytes) for i in inspected] == [("not_image", 1), ("not_image", 2)]
    with fsspec.open("memory://webdataset/1.tar", "wb") as out:
        out.write(b"<html>gone</html>")
    assert [r["error"] for r in rows("memory://webdataset/1.tar")] == ["the tar is no tar"]
    with pytest.raises(DataError, match="there is no memory://webdataset/2.tar"):
        listed("memory://webdataset/2.tar")


LIBRARY = """
import base64, json, sys
import webdataset
folder, images = sys.argv[1], json.loads(sys.argv[2])
with webdataset.ShardWriter(folder + "/set-%03d.tar", maxcount=2, verbose=0) as sink:
    for i, (key, image) in enumerate(images.items()):
        sink.write({"__key__": key, "jpg": base64.b64decode(image), "cls": i, "json": {"rank": i}, "txt": f"number {i}"})
shards = [f"{folder}/set-00{i}.tar" for i in range(2)]
samples = webdataset.WebDataset(shards, shardshuffle=False)
print(json.dumps({s["__key__"]: {k: base64.b64encode(s[k]).decode() for k in ("jpg", "cls", "json", "txt")} for s in samples}))
"""


def test_what_the_webdataset_library_writes_and_reads(tmp_path, fresh_python):
    if importlib.util.find_spec("webdataset") is None:
        pytest.skip("webdataset is not installed (it is in the extra `dev`)")
    sample_keys = ["000", "a.b/001", "folder/" + "k" * 200]
    images = {key: base64.b64encode(picture(i)).decode() for i, key in enumerate(sample_keys)}
    (tmp_path / "set").mkdir()
    done = fresh_python(LIBRARY, str(tmp_path / "set"), json.dumps(images))
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    ours = {str(r["source_key"]).partition("#")[2].removesuffix(".jpg"): r for r in rows(tmp_path / "set")}
    assert set(ours) == set(theirs)
    assert len(ours) == 3
    for name, sample in theirs.items():
        texts = {kind: base64.b64decode(data) for kind, data in sample.items()}
        assert uris.read_bytes(ours[name]["uri"]) == texts["jpg"] == picture(sample_keys.index(name))
        assert ours[name]["category"] == texts["cls"].decode() == str(sample_keys.index(name))
        assert ours[name]["description"] == texts["txt"].decode()
        assert ours[name]["rank"] == json.loads(texts["json"])["rank"]
