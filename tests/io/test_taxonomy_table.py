from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from webclean.errors import ArtifactMissingError, ColumnMissingError, ConfigError, WebcleanError
from webclean.io.taxonomy_table import read_taxonomy

ROWS = [("animal", "thing"), ("dog", "animal"), ("cat", "animal"), ("dog", "pet"), ("pet", "thing")]
GRAPH = {"animal": ("thing",), "dog": ("animal", "pet"), "cat": ("animal",), "pet": ("thing",), "thing": ()}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same_graph(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"tree.{kind}"
    if kind == "parquet":
        columns = {"parent": [p for _, p in ROWS], "child": [c for c, _ in ROWS], "note": [1] * len(ROWS)}
        pq.write_table(pa.table(columns), file)
    elif kind == "jsonl":
        file.write_text("".join(f'{{"child": "{c}", "parent": "{p}"}}\n' for c, p in ROWS))
    else:
        mark = "," if kind == "csv" else "\t"
        file.write_text(
            "".join(f"{c}{mark} {p}\n" for c, p in [("child", "parent"), *ROWS]).replace(" p", "p", 1)
        )
    assert read_taxonomy(str(file)) == GRAPH


def test_declared_roots_may_have_rows(tmp_path: Path) -> None:
    file = tmp_path / "tree.csv"
    file.write_text("child,parent\nthing,\ndog,thing\n")
    assert read_taxonomy(str(file)) == {"thing": (), "dog": ("thing",)}


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("a,b\nb,c\nc,a\n", ConfigError, "goes round in a ring: a under b under c under a", "row 3: c,a"),
        ("a,a\n", ConfigError, "goes round in a ring: a under a", "row 1: a,a"),
        ("a,b\nc,b\na,b\n", ConfigError, "row 3 repeats row 1: 'a' under 'b'", "remove row 3"),
        ("a,\nb,a\na,\n", ConfigError, "row 3 repeats row 1: 'a' as a root", "remove row 3"),
        ("thing,\ndog,thign\n", ConfigError, "row 2: the parent 'thign' of 'dog'", "did you mean 'thing'"),
        ("thing,\ndog,zebra\n", ConfigError, "the parent 'zebra' of 'dog'", "add a row `zebra,`"),
        ("a,b\n,c\n", ConfigError, "row 2, has no child", "remove the row"),
        ("", ConfigError, "has no rows", "lines of child,parent"),
    ],
)
def test_what_is_wrong_and_what_to_do(
    tmp_path: Path, text: str, kind: type[WebcleanError], message: str, hint: str
) -> None:
    file = tmp_path / "tree.csv"
    file.write_text("child,parent\n" + text)
    with pytest.raises(kind, match=message) as caught:
        read_taxonomy(str(file))
    assert str(file) in str(caught.value)
    assert hint in str(caught.value.hint)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_long_ring_is_told_in_short(tmp_path: Path) -> None:
    file = tmp_path / "tree.csv"
    file.write_text("child,parent\n" + "".join(f"n{i},n{(i + 1) % 2000}\n" for i in range(2000)))
    with pytest.raises(ConfigError, match=r"n9 under n10 under \.\.\. under n0"):
        read_taxonomy(str(file))


def test_columns_and_files_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "tree.csv"
    file.write_text("name,parent\na,b\n")
    with pytest.raises(ColumnMissingError, match="has no column child") as caught:
        read_taxonomy(str(file))
    assert "name, parent" in str(caught.value.context)
    with pytest.raises(ArtifactMissingError, match="does not exist"):
        read_taxonomy(str(tmp_path / "absent.csv"))
    with pytest.raises(ConfigError, match="is no table"):
        read_taxonomy(str(tmp_path))
