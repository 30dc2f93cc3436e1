"""Records beyond memory: the same order, keys and bytes as a plain sort of all of them, and nothing left behind."""

from __future__ import annotations

import os
import random
import resource
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean import schema
from webclean.cli import app
from webclean.config import IngestConfig
from webclean.errors import StorageFullError
from webclean.io import tables
from webclean.io.readers import listing, sorting, spill
from webclean.io.readers.listing import fingerprint, list_source
from webclean.io.readers.records import RECORD_SCHEMA, Record, batches


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few records, and next to nothing in memory."""
    monkeypatch.setattr(sorting, "_RUN_BYTES", 400)
    monkeypatch.setattr(spill, "IN_MEMORY", 300)
    monkeypatch.setattr(tables, "PART_ROWS", 3)


def _few(records: list[Record], size: int) -> list:
    return [b for start in range(0, len(records), size) for b in batches(records[start : start + size])]


def _unique(records: list[Record], size: int) -> list[tuple[str, str, int | None]]:
    rows = listing._unique(sorting.sorted_runs(_few(records, size)), None)
    assert [part.num_rows for part in rows] == [rows.size(i) for i in range(len(rows))]
    return [
        (r[schema.SOURCE_KEY], r[schema.QUERY], r[schema.RANK]) for part in rows for r in part.to_pylist()
    ]


def _by_hand(records: list[Record]) -> list[tuple[str, str, int | None]]:
    """The rule in plain words: keys in order, each one's records by query and rank, numbers that are free."""
    taken = {r.source_key for r in records}
    found = []
    for key in sorted(taken):
        group = [r for r in records if r.source_key == key]
        group.sort(key=lambda r: (r.query, r.rank is None, r.rank or 0))
        number = 1
        for place, record in enumerate(group):
            name = key
            while place and name in taken:
                number += 1
                name = f"{key}?{number}"
            taken.add(name)
            found.append((name, record.query, record.rank))
    return sorted(found, key=lambda row: row[0].encode())


KEYS = st.sampled_from(["a", "a!", "a?2", "a?3", "a?10", "a?2?2", "a?02", "b", "é", "\U0001f98a", ""])
RANKS = st.none() | st.integers(0, 3)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(KEYS, st.sampled_from("xy"), RANKS), min_size=1, max_size=40), st.integers(1, 5))
def test_merged_runs_are_the_sorted_list(drawn, size):
    records = [Record(key, "/u", "c", query, "f", rank=rank) for key, query, rank in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_RUN_BYTES", 400)
        patch.setattr(spill, "IN_MEMORY", 300)
        patch.setattr(tables, "PART_ROWS", 3)
        assert _unique(records, size) == _by_hand(records)


def test_a_made_key_is_never_one_that_is_listed(small):
    """Ten copies of `a` beside listed `a?2` (twice) and `a?4`; `a?10` sorts before `a?2`."""
    keys = ["a"] * 10 + ["a?2", "a?2", "a?4", "a."]
    rows = _unique([Record(key, "/u", "c", "q", "f", rank=i) for i, key in enumerate(keys)], 2)
    assert [key for key, _, _ in rows] == [
        "a", "a.", "a?10", "a?11", "a?12", "a?2", "a?2?2", "a?3", "a?4", "a?5", "a?6", "a?7", "a?8", "a?9",
    ]  # fmt: skip
    assert {key: rank for key, _, rank in rows}["a?12"] == 9


def test_every_value_comes_back_from_the_file(small):
    words = ["", "é\U0001f98a", "x" * 500, None]
    records = [
        Record(
            f"{i:03}", f"/u{i}", "c", "q", "f", rank=None if i % 3 else i, tags=[["a", "b"], [], None][i % 3],
            title=words[i % 4], status="excluded" if i % 5 else None,
        )
        for i in range(50)
    ]  # fmt: skip
    random.Random(1).shuffle(records)
    runs = sorting.sorted_runs(_few(records, 4))
    assert len(runs) > 5
    rows = sorting.Rows.of(sorting.merge(runs))
    expected = [
        {name: getattr(r, name) for name in RECORD_SCHEMA.names}
        for r in sorted(records, key=lambda r: r.source_key)
    ]
    assert [row for part in rows for row in part.to_pylist()] == expected
    assert rows[7].to_pylist() == expected[21:24]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = [f"{i % 70}.jpg,c{i % 4},{i}" for i in range(100)]
    random.Random(0).shuffle(lines)
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/manifest.csv").write_text("path,label,rank\n" + "\n".join(lines))
    (tmp_path / "map.csv").write_text("c1,one\nc2,\nnowhere,x\n")
    return tmp_path / "crawl"


@pytest.mark.parametrize("limit", [None, 1, 37, 99, 100])
def test_the_listing_does_not_depend_on_what_is_held_in_memory(manifest, monkeypatch, limit):
    config = IngestConfig(source=str(manifest), limit=limit, category_map=str(manifest.parent / "map.csv"))
    expected = list_source(config).records.to_pylist()
    monkeypatch.setattr(sorting, "_RUN_BYTES", 400)
    monkeypatch.setattr(spill, "IN_MEMORY", 300)
    monkeypatch.setattr(tables, "PART_ROWS", 7)
    found = list_source(config)
    assert found.records.to_pylist() == expected
    assert len(expected) == (limit or 100)
    assert found.unknown == ("nowhere",)
    assert fingerprint(found, None) == fingerprint(list_source(config), None)


def test_ties_of_the_short_hash_are_broken_by_the_whole(manifest, monkeypatch):
    import numpy as np

    config = IngestConfig(source=str(manifest), limit=10)
    expected = list_source(config).records.to_pylist()
    monkeypatch.setattr(listing, "_marks", lambda keys: np.zeros(len(keys), dtype=np.uint64))
    assert list_source(config).records.to_pylist() == expected


def test_the_temp_folder_is_left_as_it_was(small, manifest, tmp_path, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    found = list_source(IngestConfig(source=str(manifest)))
    assert found.rows.num_rows == 100
    assert os.listdir(tmp_path / "temp") == []  # also while it is used: a kill leaves nothing


def test_a_full_temp_folder_is_said(small, manifest, tmp_path, capsys):
    """A limit on the size of files stands in for a full disk: the system refuses the same write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(StorageFullError, match=r"no space left for the list of records \(0 MiB so far\)"):
            list_source(IngestConfig(source=str(manifest)))
        assert app.main(["ingest", str(manifest), str(tmp_path / "run")]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "set TMPDIR" in capsys.readouterr().err


def test_ingest_writes_the_same_bytes(manifest, tmp_path, capsys, monkeypatch):
    from PIL import Image

    for i in range(70):
        Image.new("RGB", (32, 32), (i, 2 * i, 100)).save(manifest / f"{i}.jpg")
    for run in ("whole", "spilt"):
        assert app.main(["ingest", str(manifest), str(tmp_path / run), "--workers", "0", "--quiet"]) == 0
        monkeypatch.setattr(sorting, "_RUN_BYTES", 400)
        monkeypatch.setattr(spill, "IN_MEMORY", 300)
    whole, spilt = ((tmp_path / run / "images/part-00000.parquet").read_bytes() for run in ("whole", "spilt"))
    assert whole == spilt
