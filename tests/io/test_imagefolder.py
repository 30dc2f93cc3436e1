"""Folders of images with a `metadata.*` of Hugging Face's imagefolder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from named_files import files

from webclean.config import IngestConfig
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io.readers import uris
from webclean.io.readers.listing import Listing, fingerprint, list_source


def jsonl(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def listed(source: Path, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def rows_of(source: Path, **options: object) -> list[dict[str, object]]:
    return listed(source, **options).records.to_pylist()


def test_captions_and_ranks_beside_folders_of_categories(tmp_path):
    files(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "top.jpg", "notes.txt")
    jsonl(
        tmp_path / "metadata.jsonl",
        {"file_name": "cat/1.jpg", "text": "a cat", "rank": 4, "objects": {"bbox": [[1, 2, 3, 4]]}},
        {"file_name": "dog/1.jpg", "text": "a dog"},
        {"file_name": "dog/gone.jpg", "text": "not here"},
        "{torn",
    )
    listing = listed(tmp_path)
    rows = {r["source_key"]: r for r in listing.records.to_pylist()}
    assert listing.format == "imagefolder"
    assert {key: (r["category"], r["description"], r["status"]) for key, r in rows.items()} == {
        "cat/1.jpg": ("cat", "a cat", None),
        "cat/2.jpg": ("cat", None, None),
        "dog/1.jpg": ("dog", "a dog", None),
        "dog/gone.jpg": ("dog", "not here", None),  # missing, once it is opened
        "metadata.jsonl#3": ("", None, "unreadable"),
        "top.jpg": (tmp_path.name, None, None),
    }
    assert (rows["cat/1.jpg"]["rank"], rows["cat/1.jpg"]["rank_source"]) == (4, "manifest")
    assert json.loads(rows["cat/1.jpg"]["extra"]) == {"objects": {"bbox": [[1, 2, 3, 4]]}}
    assert uris.read_bytes(rows["dog/1.jpg"]["uri"]) == b"dog/1.jpg"
    assert listing.found.columns == {"path": "file_name", "description": "text", "rank": "rank"}
    assert listing.found.skipped == {"sidecars": 1}
    before = fingerprint(listing, None)
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "cat/1.jpg", "text": "another cat"})
    assert fingerprint(listed(tmp_path), None) != before


def test_labels_of_the_table_go_before_folders(tmp_path):
    files(tmp_path, "images/1.jpg", "images/2.jpg")
    (tmp_path / "images/metadata.csv").write_text("file_name,label\n1.jpg,fox\n")
    assert [(r["source_key"], r["category"], r["status"], r["error"]) for r in rows_of(tmp_path)] == [
        ("images/1.jpg", "fox", None, None),
        ("images/2.jpg", "", "excluded", "no metadata file names it"),
    ]


def test_splits_at_the_top_with_a_table_each(tmp_path):
    files(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "Test/cat/1.jpg", "docs/readme.md")
    (tmp_path / "train/metadata.csv").write_text('file_name,text\ncat/1.jpg,"A, cat"\n')
    pq.write_table(
        pa.table({"file_name": ["cat/1.jpg"], "text": ["test cat"], "split": ["mine"]}),
        tmp_path / "Test/metadata.parquet",
    )
    assert [(r["source_key"], r["category"], r["description"], r["extra"]) for r in rows_of(tmp_path)] == [
        ("Test/cat/1.jpg", "cat", "test cat", '{"split": "mine"}'),
        ("train/cat/1.jpg", "cat", "A, cat", '{"split": "train"}'),
        ("train/dog/2.jpg", "dog", None, '{"split": "train"}'),
    ]


def test_one_table_above_the_splits(tmp_path):
    files(tmp_path, "train/1.jpg", "val/2.jpg")
    jsonl(
        tmp_path / "metadata.jsonl",
        {"file_name": "train/1.jpg", "label": "cat"},
        {"file_name": "val/2.jpg", "label": "dog"},
    )
    assert [(r["category"], r["extra"]) for r in rows_of(tmp_path)] == [
        ("cat", '{"split": "train"}'),
        ("dog", '{"split": "validation"}'),
    ]


def test_a_train_among_vehicles_is_no_split(tmp_path):
    files(tmp_path, "train/1.jpg", "bus/1.jpg")
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "train/1.jpg", "text": "a locomotive"})
    assert [(r["category"], r["extra"]) for r in rows_of(tmp_path)] == [("bus", None), ("train", None)]


def test_a_column_that_ends_in_file_name(tmp_path):
    files(tmp_path, "1.jpg")
    jsonl(tmp_path / "metadata.jsonl", {"image_file_name": "1.jpg", "label": "cat"})
    assert [(r["source_key"], r["category"]) for r in rows_of(tmp_path)] == [("1.jpg", "cat")]


def test_paths_out_of_source_are_told(tmp_path):
    source = files(tmp_path / "source", "a/1.jpg")
    files(tmp_path, "secret.jpg")
    jsonl(
        source / "a/metadata.jsonl",
        {"file_name": "1.jpg"},
        {"file_name": "../../secret.jpg"},
        {"file_name": "/etc/hostname"},
        {"file_name": "https://example.org/x.jpg"},
        {"file_name": None},
    )
    listing = listed(source)
    assert listing.root == str(source)
    assert {(r["source_key"], r["category"], r["status"]) for r in listing.records.to_pylist()} == {
        ("a/1.jpg", "a", None),
        ("../secret.jpg", "source", None),  # the worker opens nothing outside of `root`
        ("/etc/hostname", "source", None),
        ("https://example.org/x.jpg", "source", "not_downloaded"),
        ("a/metadata.jsonl#4", "a", "missing"),
    }


def test_an_image_that_is_named_twice_is_two_rows(tmp_path):
    files(tmp_path, "a/1.jpg")
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "a/1.jpg", "text": "outer"})
    jsonl(tmp_path / "a/metadata.jsonl", {"file_name": "1.jpg", "text": "inner"})
    assert {(r["source_key"], r["description"]) for r in rows_of(tmp_path)} == {
        ("a/1.jpg", "inner"),
        ("a/1.jpg?2", "outer"),
    }


def test_two_tables_in_one_folder_stop(tmp_path):
    files(tmp_path, "1.jpg")
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "1.jpg"})
    (tmp_path / "metadata.csv").write_text("file_name\n1.jpg\n")
    with pytest.raises(ConfigError, match=r"metadata\.csv, metadata\.jsonl"):
        rows_of(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"caption": "x"}', "[1]"])
def test_other_tables_called_metadata_are_sidecars(tmp_path, text):
    files(tmp_path, "cat/1.jpg")
    (tmp_path / "metadata.jsonl").write_text(text)
    assert listed(tmp_path).format == "folder"
    with pytest.raises(ImagesNotFoundError, match="is not of the format imagefolder"):
        rows_of(tmp_path, format="imagefolder")
