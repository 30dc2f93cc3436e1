"""Data sets that `datasets` wrote, and folders of Parquet shards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ImagesNotFoundError
from webclean.io.readers import arrow_rows, features, splits, uris
from webclean.io.readers.listing import Listing, fingerprint, list_source

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def noted(**columns: dict[str, object]) -> dict[bytes, bytes]:
    """The metadata that `datasets` gives a schema."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


LABELLED = noted(image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["cat", "dog"]})


def table(images: list[object], labels: list[int], **columns: object) -> pa.Table:
    made = pa.table({"image": pa.array(images, IMAGE), "label": pa.array(labels, pa.int64()), **columns})
    return made.replace_schema_metadata(LABELLED)


def image(data: bytes | None, path: str | None = None) -> dict[str, object]:
    return {"bytes": data, "path": path}


def write_arrow(path: Path, rows: pa.Table, rows_at_once: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=rows_at_once)
    return path


def write_parquet(path: Path, rows: pa.Table, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, **options)
    return path


def write_saved(folder: Path, shards: list[pa.Table]) -> Path:
    """A folder as save_to_disk leaves it."""
    names = [f"data-{index:05d}-of-{len(shards):05d}.arrow" for index in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        write_arrow(folder / name, rows)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def listed(source: Path, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def rows_of(source: Path, **options: object) -> list[dict[str, object]]:
    return listed(source, **options).records.to_pylist()


def split_of(row: dict[str, object]) -> object:
    return json.loads(str(row["extra"]))["split"] if row["extra"] else None


# ---------------------------------------------------------------- save_to_disk
def test_a_saved_dict_of_splits(tmp_path):
    write_saved(
        tmp_path / "train",
        [
            table([image(b"a", "a.png"), image(b"b", "b.png")], [0, 1], title=["A", "B"]),
            table([image(b"c", "c.png")], [0], title=["C"]),
        ],
    )
    write_saved(tmp_path / "test", [table([image(b"d", None)], [1], title=[None])])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    listing = listed(tmp_path)
    rows = listing.records.to_pylist()
    assert listing.format == "huggingface"
    assert [(r["source_key"], r["category"], r["title"], r["file_name"], split_of(r)) for r in rows] == [
        ("test/data-00000-of-00001.arrow#0", "dog", None, "data-00000-of-00001.arrow#0", "test"),
        ("train/data-00000-of-00002.arrow#0", "cat", "A", "a.png", "train"),
        ("train/data-00000-of-00002.arrow#1", "dog", "B", "b.png", "train"),
        ("train/data-00001-of-00002.arrow#0", "cat", "C", "c.png", "train"),
    ]
    assert [uris.read_bytes(r["uri"]) for r in rows] == [b"d", b"a", b"b", b"c"]
    assert uris.local_path(rows[0]["uri"]) is None
    assert listing.found.columns == {"path": "path", "category": "label", "title": "title", "bytes": "image"}
    before = fingerprint(listing, None)
    os.utime(tmp_path / "train/data-00001-of-00002.arrow", (1, 1))
    assert fingerprint(listed(tmp_path), None) != before


def test_one_saved_split_and_one_arrow_file(tmp_path):
    write_saved(tmp_path, [table([image(b"a")], [0])])
    assert [(r["source_key"], r["extra"]) for r in rows_of(tmp_path)] == [
        ("data-00000-of-00001.arrow#0", None)
    ]
    (tmp_path / "state.json").write_text(
        '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}'
    )
    assert [split_of(r) for r in rows_of(tmp_path)] == ["train"]
    assert [r["source_key"] for r in rows_of(tmp_path / "data-00000-of-00001.arrow")] == [
        "data-00000-of-00001.arrow#0"
    ]


def test_a_cache_folder_without_state(tmp_path):
    write_arrow(tmp_path / "birds-train-00000-of-00001.arrow", table([image(b"a")], [0]))
    write_arrow(tmp_path / "birds-test.arrow", table([image(b"b")], [0]))
    write_arrow(tmp_path / "cache-0123.arrow", table([image(b"x")], [0]))
    (tmp_path / "dataset_info.json").write_text("{}")
    listing = listed(tmp_path)
    assert [(r["source_key"], split_of(r)) for r in listing.records.to_pylist()] == [
        ("birds-test.arrow#0", "test"),
        ("birds-train-00000-of-00001.arrow#0", "train"),
    ]
    assert listing.found.skipped == {"Arrow files that are no part of the data set": 1}


def test_what_is_lost_of_a_saved_set_is_said(tmp_path):
    whole = write_saved(tmp_path / "train", [table([image(b"a")], [0]), table([image(b"b")], [1])])
    (whole / "data-00001-of-00002.arrow").unlink()
    write_arrow(whole / "data-00007-of-00009.arrow", table([image(b"stale")], [0]))
    write_saved(tmp_path / "dev", [table([image(b"c")], [0])])
    (tmp_path / "dev/data-00000-of-00001.arrow").write_bytes(b"no arrow at all")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "dev", "gone", "../etc"]}')
    listing = listed(tmp_path)
    assert [(r["source_key"], r["status"]) for r in listing.records.to_pylist()] == [
        ("dev/data-00000-of-00001.arrow", "unreadable"),
        ("gone", "missing"),
        ("train/data-00000-of-00002.arrow#0", None),
        ("train/data-00001-of-00002.arrow", "missing"),
    ]
    assert "not readable as Arrow" in listing.records["error"][0].as_py()
    assert listing.found.skipped == {"Arrow files that are no part of the data set": 1}


@pytest.mark.parametrize("keep", ["all but the end mark", "half of the second batch"])
def test_a_torn_arrow_file_gives_its_whole_rows_and_says_so(tmp_path, keep):
    rows = table([image(bytes([65 + i]) * 1000) for i in range(4)], [0, 0, 1, 1])
    folder = write_saved(tmp_path, [rows])
    path = write_arrow(folder / "data-00000-of-00001.arrow", rows, rows_at_once=2)
    data = path.read_bytes()
    path.write_bytes(data[:-8] if keep == "all but the end mark" else data[:-1200])
    found = rows_of(tmp_path)
    whole = 4 if keep == "all but the end mark" else 2
    assert [r["status"] for r in found] == [None] * whole + ["unreadable"]
    assert found[-1]["source_key"] == f"data-00000-of-00001.arrow#{whole}"
    assert "the file is torn" in found[-1]["error"]
    assert uris.read_bytes(found[whole - 1]["uri"]) == bytes([65 + whole - 1]) * 1000


def test_odd_rows_do_not_end_the_reading(tmp_path):
    images = pa.array([image(b"\0" * 40), image(b"", "b.png"), image(None, "c.png"), image(b"d")], IMAGE)
    dates = pa.array([0, 2**62, 0, 0], pa.timestamp("s"))
    made = pa.table({"image": images, "label": pa.array([0, 1, 1, -1]), "seen": dates})
    write_saved(tmp_path, [made.replace_schema_metadata(LABELLED)])
    rows = {r["source_key"].removeprefix("data-00000-of-00001.arrow"): r for r in rows_of(tmp_path)}
    assert {key: r["status"] for key, r in rows.items()} == {
        "#0": None, "#1": "unreadable", "c.png": None, "#3": "excluded",
    }  # fmt: skip
    assert uris.read_bytes(rows["#0"]["uri"]) == b"\0" * 40
    assert "a value cannot be read" in rows["#1"]["error"]


def test_text_that_is_not_utf8_is_shown_and_its_image_read(tmp_path):
    names = pa.array([b"\xff.png", b"b.png"], pa.binary()).view(pa.string())
    images = pa.StructArray.from_arrays([pa.array([b"a", b"b"]), names], names=["bytes", "path"])
    titles = pa.array([b"good", b"\xe4"], pa.binary()).view(pa.string())
    made = pa.table({"image": images, "label": [0, 1], "title": titles})
    write_saved(tmp_path, [made.replace_schema_metadata(LABELLED)])
    rows = rows_of(tmp_path)
    assert [(r["title"], r["file_name"], r["status"]) for r in rows] == [
        ("good", "\ufffd.png", None),
        ("\ufffd", "b.png", None),
    ]
    assert [uris.read_bytes(r["uri"]) for r in rows] == [b"a", b"b"]


def test_a_null_image_is_missing_and_minus_one_is_no_label(tmp_path):
    write_saved(tmp_path, [table([None, image(None, "there.png"), image(b"x")], [0, 1, -1])])
    (tmp_path / "there.png").write_bytes(b"there")
    rows = {r["source_key"]: r for r in rows_of(tmp_path)}
    null = rows["data-00000-of-00001.arrow#0"]
    assert (null["status"], null["error"]) == (
        "missing",
        "the row has no bytes, and the manifest names no file",
    )
    assert uris.read_bytes(rows["there.png"]["uri"]) == b"there"
    assert (rows["there.png"]["status"], rows["there.png"]["category"]) == (None, "dog")
    assert rows["data-00000-of-00001.arrow#2"]["status"] == "excluded"
    with pytest.raises(FileNotFoundError, match="no bytes"):
        uris.read_bytes(null["uri"])


def test_a_split_without_labels_is_excluded_and_stops_nothing(tmp_path):
    write_saved(tmp_path / "train", [table([image(b"a")], [1])])
    write_saved(tmp_path / "test", [table([image(b"b")], [1]).drop_columns(["label"])])
    (tmp_path / "dataset_dict.json").write_text("{}")
    test, train = rows_of(tmp_path)
    assert (test["status"], test["category"], train["status"], train["category"]) == (
        "excluded", "", None, "dog",
    )  # fmt: skip


def test_columns_that_datasets_calls_image_and_label_are_taken(tmp_path):
    meta = noted(
        photo={"_type": "Image"}, breed={"_type": "ClassLabel", "names": ["husky"]}, score={"dtype": "int64"}
    )
    made = pa.table(
        {
            "photo": pa.array([image(b"photo", "p.png")], IMAGE),
            "mask": [b"mask"],
            "crops": pa.array([[image(b"crop")]], pa.list_(IMAGE)),
            "breed": [0],
            "score": [7],
        }
    )
    write_saved(tmp_path, [made.replace_schema_metadata(meta)])
    (row,) = rows_of(tmp_path)
    assert row["category"] == "husky"
    assert row["uri"].endswith(".arrow#0:photo")
    assert uris.read_bytes(row["uri"]) == b"photo"
    assert json.loads(row["extra"]) == {"score": 7}  # bytes of other columns are no metadata
    (row,) = rows_of(tmp_path, bytes_column="mask")
    assert uris.read_bytes(row["uri"]) == b"mask"
    write_saved(tmp_path, [made])
    with pytest.raises(ColumnMissingError, match="more than one column holds bytes"):
        rows_of(tmp_path)


def test_a_linked_shard_is_not_followed_out_of_source(tmp_path):
    source = write_saved(tmp_path / "source", [table([image(b"a")], [0])])
    away = write_arrow(tmp_path / "away.arrow", table([image(b"secret")], [0]))
    (source / "data-00000-of-00001.arrow").unlink()
    (source / "data-00000-of-00001.arrow").symlink_to(away)
    (row,) = rows_of(source)
    assert (row["status"], row["error"]) == (
        "unreadable",
        "it lies outside SOURCE; --allow-outside reads it",
    )
    (row,) = rows_of(source, allow_outside=True)
    assert uris.read_bytes(row["uri"]) == b"secret"


# ---------------------------------------------------------------- rows of Arrow files
def test_rows_of_an_arrow_file_over_batches(tmp_path):
    path = write_arrow(
        tmp_path / "x.arrow", table([image(bytes([i])) for i in range(7)], [0] * 7), rows_at_once=3
    )
    assert [arrow_rows.read_row(str(path), row, None) for row in (6, 0, 3, 2)] == [b"\6", b"\0", b"\3", b"\2"]
    for row in (7, -1):
        with pytest.raises(FileNotFoundError, match="the table has 7 rows"):
            arrow_rows.read_row(str(path), row, None)
    with pytest.raises(uris.TooManyBytesError):
        uris.read_bytes(uris.of_row(str(path), 1), max_bytes=0)
    with pytest.raises(ColumnMissingError, match="does not hold image bytes"):
        arrow_rows.read_row(str(path), 0, "label")


def test_the_file_form_of_arrow_is_read_too(tmp_path):
    rows = table([image(b"a"), image(b"b")], [0, 1])
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    assert [uris.read_bytes(r["uri"]) for r in rows_of(tmp_path / "x.arrow")] == [b"a", b"b"]


def test_a_file_whose_name_looks_like_a_row_stays_a_file(tmp_path):
    path = tmp_path / "x.arrow#3"
    path.write_bytes(b"file")
    assert uris.of_path(path).startswith("file://")
    assert uris.read_bytes(uris.of_path(path)) == b"file"


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"ARROW1", os.urandom(512)])
def test_what_is_no_arrow_file_says_so(tmp_path, data):
    path = tmp_path / "x.arrow"
    path.write_bytes(data)
    with pytest.raises(ArtifactInvalidError):
        arrow_rows.ArrowFile(str(path))
    with pytest.raises(OSError, match="."):
        uris.read_bytes(f"{path}#0")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 255), st.data())
def test_a_damaged_arrow_file_gives_rows_or_errors_and_nothing_worse(tmp_path_factory, place, change, data):
    folder = tmp_path_factory.mktemp("damaged")
    rows = table([image(bytes([i]) * 9, f"{i}.png") for i in range(6)], [0] * 6, title=list("abcdef"))
    path = write_arrow(folder / "x.arrow", rows, rows_at_once=2)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= change
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)))])
    try:
        found = rows_of(path)
    except (ColumnMissingError, ImagesNotFoundError):
        return  # the change hit the names of the columns, or nothing is left
    for row in found:
        if row["status"] is None and "#" in row["uri"]:
            try:
                uris.read_bytes(row["uri"])
            except (OSError, ValueError, ColumnMissingError):
                pass  # the worker makes a status of these


# ---------------------------------------------------------------- Parquet shards
def test_parquet_shards_of_two_splits(tmp_path):
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", table([image(b"a", "a.png")], [0]))
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", table([image(b"b", "b.png")], [1]))
    write_parquet(tmp_path / "data/validation-00000-of-00003-9f.parquet", table([image(b"c")], [1]))
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".gitattributes").write_text("x")
    (tmp_path / "LICENSE").write_text("x")
    listing = listed(tmp_path)
    rows = listing.records.to_pylist()
    assert listing.format == "huggingface"
    assert [(r["source_key"], r["category"], split_of(r)) for r in rows] == [
        ("data/train-00000-of-00002.parquet#0", "cat", "train"),
        ("data/train-00001-of-00002.parquet#0", "dog", "train"),
        ("data/validation-00000-of-00003-9f.parquet#0", "dog", "validation"),
    ]
    assert [uris.read_bytes(r["uri"]) for r in rows] == [b"a", b"b", b"c"]
    assert listing.found.skipped == {"sidecars": 1, "other files": 1}
    assert listing.found.notes == ["1 of 3 shards of data/validation are here"]


def test_a_broken_shard_and_a_broken_row_group_are_rows(tmp_path):
    good = table([image(bytes([65 + i]) * 3000, f"{i}.png") for i in range(4)], [0, 0, 1, 1])
    write_parquet(tmp_path / "train-00000-of-00003.parquet", good)
    path = write_parquet(
        tmp_path / "train-00001-of-00003.parquet",
        good.append_column("title", pa.array([f"{i}" * 500 for i in range(4)])),
        row_group_size=2,
        compression="snappy",
        use_dictionary=False,
    )
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    assert column.path_in_schema == "title"
    raw = bytearray(path.read_bytes())
    start = column.data_page_offset
    raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(raw)
    (tmp_path / "train-00002-of-00003.parquet").write_bytes(b"PAR1 torn")
    found = rows_of(tmp_path)
    assert [(r["source_key"][:15], r["source_key"][-2:], r["status"]) for r in found] == [
        *(("train-00000-of-", f"#{i}", None) for i in range(4)),
        ("train-00001-of-", "#0", "unreadable"),
        ("train-00001-of-", "#1", "unreadable"),
        ("train-00001-of-", "#2", None),
        ("train-00001-of-", "#3", None),
        ("train-00002-of-", "et", "unreadable"),
    ]
    assert "this part of the file cannot be read" in found[4]["error"]
    assert uris.read_bytes(found[7]["uri"]) == b"D" * 3000


def test_null_images_of_shards_are_missing(tmp_path):
    rows = table([image(b"a"), None, image(None, "x.png")], [0, 0, 0])
    write_parquet(tmp_path / "train.parquet", rows, row_group_size=2)
    found = {r["source_key"]: r["status"] for r in rows_of(tmp_path)}
    assert found == {"train.parquet#0": None, "train.parquet#1": "missing", "x.png": None}


def test_a_folder_with_other_files_is_no_folder_of_shards(tmp_path):
    write_parquet(tmp_path / "shard.parquet", table([image(b"a")], [0]))
    assert listed(tmp_path).format == "huggingface"
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").write_bytes(b"x")
    assert listed(tmp_path).format == "folder"
    with pytest.raises(ImagesNotFoundError, match="is not of the format huggingface"):
        rows_of(tmp_path, format="huggingface")


def test_tables_without_bytes_and_run_folders_are_not_taken(tmp_path):
    write_parquet(tmp_path / "tables/x.parquet", pa.table({"path": ["a.jpg"], "label": ["cat"]}))
    write_parquet(tmp_path / "run/images/part-00000.parquet", pa.table({"tiny": [b"x"], "category": ["c"]}))
    (tmp_path / "run/webclean.log").write_text("")
    for folder in ("tables", "run"):
        with pytest.raises(ImagesNotFoundError, match="is not of the format huggingface"):
            rows_of(tmp_path / folder, format="huggingface")


def test_one_manifest_of_parquet_is_read_as_before(tmp_path):
    write_parquet(tmp_path / "manifest.parquet", table([image(b"a")], [0]))
    assert listed(tmp_path).format == "parquet"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_parquet_file_gives_rows_or_errors_and_nothing_worse(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("damaged")
    rows = table([image(bytes([i]) * 9, f"{i}.png") for i in range(6)], [0] * 6, title=list("abcdef"))
    path = write_parquet(folder / "x.parquet", rows, row_group_size=2)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= change
    path.write_bytes(raw)
    try:
        found = rows_of(path)
    except (ColumnMissingError, ImagesNotFoundError, ArtifactInvalidError):
        return  # nothing is left, or no column fits
    for row in found:
        if row["status"] is None and "#" in row["uri"]:
            try:
                uris.read_bytes(row["uri"])
            except (OSError, ValueError, ColumnMissingError):
                pass  # the worker makes a status of these


# ---------------------------------------------------------------- names
@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00004.parquet", "train"),
        ("data/training-00000-of-00004.parquet", "train"),
        ("data/test.fold_2-00000-of-00004-0a1b.parquet", "test.fold_2"),
        ("default/val/0000.parquet", "validation"),
        ("birds_test.parquet", "test"),
        ("birds-train-00000-of-00008.arrow", "train"),
        ("train/test.parquet", "test"),
        ("train-and-test.parquet", None),
        ("data-00000-of-00002.arrow", None),
        ("trainers/0000.parquet", None),
    ],
)
def test_the_split_of_a_name(path, split):
    assert splits.of_path(path) == split


@pytest.mark.parametrize("name", ["train", "Train", "train-2", "train 1", "training_set"])
def test_folders_called_after_train(name):
    assert splits.of_folder(name) == "train"


@pytest.mark.parametrize("name", ["trains", "cat", "", "a train", "1"])
def test_folders_called_otherwise(name):
    assert splits.of_folder(name) is None


def test_labels_without_a_name_stay():
    read = features.of_metadata(LABELLED)
    assert [read.label("label", value) for value in (0, 1, 2, -1, -2, None, "x", True)] == [
        "cat", "dog", 2, None, -2, None, "x", True,
    ]  # fmt: skip
    no_names = features.of_metadata(noted(label={"_type": "ClassLabel"}))
    assert no_names.label("label", 3) == 3


@pytest.mark.parametrize(
    "metadata",
    [
        None, {}, {b"pandas": b"{}"}, {b"huggingface": b"\xff"}, {b"huggingface": b"[]"}, {b"huggingface": b"[[["},
        {b"huggingface": b'{"info": {"features": [1]}}'}, {b"huggingface": b'{"info": {"features": {"a": 1}}}'},
    ],
)  # fmt: skip
def test_other_metadata_says_nothing(metadata):
    assert features.of_metadata(metadata) == features.Features()


# ---------------------------------------------------------------- the library itself
def test_what_datasets_writes_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    kinds = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["cat", "dog"]),
        title=datasets.Value("string"),
    )
    images = [image(bytes([i]) * 50, f"{i}.png") for i in range(5)] + [None]
    made = datasets.Dataset.from_dict(
        {"image": images, "label": [0, 1, 0, 1, 0, -1], "title": list("abcdef")}, features=kinds
    )
    both = datasets.DatasetDict(train=made, test=made.select([1, 0]))
    both.save_to_disk(str(tmp_path / "saved"), num_shards={"train": 2, "test": 1})
    (tmp_path / "shards/data").mkdir(parents=True)
    for index in range(2):
        shard = made.shard(2, index, contiguous=True)
        shard.to_parquet(str(tmp_path / f"shards/data/train-{index:05d}-of-00002.parquet"))
    for source in ("saved", "shards"):
        rows = [r for r in rows_of(tmp_path / source) if split_of(r) == "train"]
        assert [(r["category"], r["title"], r["status"]) for r in rows] == [
            ("cat", "a", None), ("dog", "b", None), ("cat", "c", None), ("dog", "d", None),
            ("cat", "e", None), ("", "f", "missing"),
        ]  # fmt: skip
        assert [uris.read_bytes(r["uri"]) for r in rows[:5]] == [bytes([i]) * 50 for i in range(5)]
    test = [r for r in rows_of(tmp_path / "saved") if split_of(r) == "test"]
    assert [uris.read_bytes(r["uri"])[0] for r in test] == [1, 0]
