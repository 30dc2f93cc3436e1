"""Artefact tables: every schema comes back as written, and nothing else gets in."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean import schema
from webclean.errors import ArtifactInvalidError, ArtifactMissingError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.schema import Column, Table

TABLES = [value for value in vars(schema).values() if isinstance(value, Table)] + [schema.features_table(3)]
SMALL = Table("small", (Column("id", "int32"), Column("text", "string", nullable=True)), key=("id",))
_FLOAT32 = st.floats(width=32, allow_nan=False)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=("Cs",)), max_size=8), "binary": st.binary(max_size=8),
    "bool": st.booleans(), "int32": st.integers(-(2**31), 2**31 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1), "float32": _FLOAT32, "float64": st.floats(allow_nan=False),
}  # fmt: skip


def values(column: Column) -> st.SearchStrategy[Any]:
    if column.type.startswith("list<"):
        found = st.lists(_SCALARS[column.type[5:-1]], max_size=3)
    elif column.type.startswith("fixed_list<"):
        scalar, size = column.type[11:-1].split(",")
        found = st.lists(_SCALARS[scalar], min_size=int(size), max_size=int(size))
    else:
        found = _SCALARS[column.type]
    return st.none() | found if column.nullable else found


@st.composite
def rows(draw: st.DrawFn, table: Table) -> dict[str, list[Any]]:
    drawn = draw(
        st.lists(
            st.fixed_dictionaries({c.name: values(c) for c in table.columns}),
            max_size=4,
            unique_by=lambda row: tuple(row[k] for k in table.key),
        )
    )
    return {name: [row[name] for row in drawn] for name in table.column_names}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_table_comes_back_as_written(table):
    @settings(max_examples=8, deadline=None)
    @given(rows(table))
    def check(columns: dict[str, list[Any]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run = RunDir(folder)
            tables.write_part(run, "a", 0, columns, table)
            back = tables.read(run, "a", table)
            assert back.schema.equals(tables.arrow_schema(table))
            assert back.to_pydict() == columns

    check()


def write(run: RunDir, columns: Any, index: int = 0) -> None:
    tables.write_part(run, "small", index, columns, SMALL)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": [1]}, r"missing columns \['text'\], unknown columns \[\]"),
        ({"id": [1], "text": ["a"], "more": [1]}, r"unknown columns \['more'\]"),
        ({"id": ["a"], "text": ["a"]}, "small.id: not int32"),
        ({"id": [1.5], "text": ["a"]}, "small.id: not int32"),
        ({"id": [2**40], "text": ["a"]}, "small.id: not int32"),
        ({"id": [2**70], "text": ["a"]}, "small.id: not int32"),
        ({"id": pa.array([2**40]), "text": ["a"]}, "small.id: not int32"),
        ({"id": [1], "text": [3]}, "small.text: not string"),
        ({"id": [1], "text": ["\udcff"]}, "small.text: not string"),
        ({"id": [1, None], "text": ["a", "b"]}, "small.id: 1 nulls"),
        ({"id": [1, 2], "text": ["a"]}, "small.text: 1 values, the columns before have 2"),
        ({"id": [1, 1], "text": ["a", "b"]}, "small: id is not unique"),
    ],
)
def test_rows_that_break_the_schema_are_refused(columns, words, run_dir):
    with pytest.raises(ArtifactInvalidError, match=words):
        write(run_dir, columns)
    assert run_dir.list("small") == []


def test_the_same_rows_give_the_same_bytes_however_they_are_held(run_dir):
    ids, texts = list(range(50)), ["a", None] * 25
    write(run_dir, {"id": ids, "text": texts}, 0)
    write(run_dir, {"text": pa.array(texts), "id": np.arange(50)}, 1)
    write(run_dir, pa.table({"id": pa.chunked_array([ids[:7], ids[7:]]), "text": texts}), 2)
    write(run_dir, pa.table({"id": [-1, *ids], "text": ["x", *texts]}).slice(1), 3)
    first, *others = [run_dir.read_bytes(f"small/{tables.part_name(i)}") for i in range(4)]
    assert all(other == first for other in others)


def test_parts_are_in_the_order_of_their_numbers(run_dir):
    for index in (100_000, 2, 10):
        write(run_dir, {"id": [index], "text": ["a"]}, index)
    run_dir.write_bytes("small/run.json", b"{}")
    run_dir.write_bytes("small/.part-00003.parquet.tmp", b"half")
    assert tables.part_names(run_dir, "small") == [
        "part-00002.parquet",
        "part-00010.parquet",
        "part-100000.parquet",
    ]
    assert tables.read(run_dir, "small", SMALL).column("id").to_pylist() == [2, 10, 100_000]
    assert [len(part) for part in tables.iter_parts(run_dir, "small", SMALL)] == [1, 1, 1]
    assert tables.num_rows(run_dir, "small") == 3
    assert tables.has_part(run_dir, "small", 2)
    assert not tables.has_part(run_dir, "small", 3)


def test_columns_can_be_picked(run_dir):
    write(run_dir, {"id": [1], "text": ["a"]})
    assert tables.read(run_dir, "small", SMALL, ["text"]).column_names == ["text"]


def test_no_rows_are_rows_too(run_dir):
    write(run_dir, {"id": [], "text": []})
    assert tables.read(run_dir, "small", SMALL).num_rows == 0


def test_parts_that_cannot_be_read_are_named(run_dir):
    with pytest.raises(ArtifactMissingError, match="small has no parts"):
        tables.read(run_dir, "small", SMALL)
    with pytest.raises(ArtifactMissingError, match="small has no parts"):
        tables.part_schema(run_dir, "small")
    assert tables.num_rows(run_dir, "small") == 0
    run_dir.write_bytes("small/part-00000.parquet", b"not parquet")
    for look in (
        lambda: tables.read(run_dir, "small", SMALL),
        lambda: tables.num_rows(run_dir, "small"),
        lambda: tables.part_schema(run_dir, "small"),
    ):
        with pytest.raises(ArtifactInvalidError, match="part-00000.parquet cannot be read"):
            look()


def test_a_part_of_another_version_is_refused(run_dir):
    other = Table("small", (Column("id", "int64"), Column("text", "string", nullable=True)), key=("id",))
    tables.write_part(run_dir, "small", 0, {"id": [1], "text": ["a"]}, other)
    with pytest.raises(ArtifactInvalidError, match="does not have the columns of small"):
        tables.read(run_dir, "small", SMALL)


def test_a_type_that_the_schema_cannot_mean_is_an_error():
    with pytest.raises(ValueError, match="no Arrow type 'complex'"):
        tables.arrow_type("complex")
