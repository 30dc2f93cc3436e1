from __future__ import annotations

import csv
import os
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ConfigError
from webclean.io import checksums, truth
from webclean.io.readers import uris
from webclean.io.writers import folder, names
from webclean.io.writers.layout import Layout
from webclean.io.writers.table_files import EMBEDDED_COLUMN, EMBEDDED_TYPE, WRITERS, read_table

hostile = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["..", ".", "", "/etc/passwd", "../../x", "a/../b", "con", "NUL.txt", "-rf", "~", "a\0b", "\u202egpj"]
    ),
)


@given(hostile)
def test_safe_names_are_safe(text):
    name = names.safe_name(text)
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\\" not in name
    assert name.isprintable()
    assert name[0] not in ".-~"
    assert len(name.encode()) <= names.MAX_BYTES + 1
    assert names.safe_name(name) == name


def test_good_names_stay():
    assert names.safe_name("Ünïcode name (1), it's.ok") == "Ünïcode name (1), it's.ok"


@pytest.mark.parametrize(
    ("format_name", "file_name", "ending"),
    [("JPEG", "a.jpg", ".jpg"), ("JPEG", "a.JPEG", ".JPEG"), ("JPEG", "a.aspx", ".jpg"), ("PNG", "a.jpg", ".png"),
     ("PNG", "a", ".png"), ("XV thumb", "a", ".xvthumb"), (None, "a.dat", ".dat"), (None, "a", "")],
)  # fmt: skip
def test_the_ending_tells_what_the_bytes_are(format_name, file_name, ending):
    assert names.ending_for(format_name, file_name) == ending


def test_names_that_differ_only_in_case_get_a_mark():
    unique = names.UniqueNames(["manifest.json"])
    assert unique.take("a", ".jpg", "11") == "a.jpg"
    assert unique.take("A", ".jpg", "22") == "A-22.jpg"
    assert unique.take("a", ".jpg", "22") == "a-22-2.jpg"
    assert unique.take("Manifest", ".json", "33") == "Manifest-33.json"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(hostile, st.one_of(st.none(), hostile), hostile), max_size=12), st.booleans())
def test_layouts_never_leave_their_folder_and_never_repeat(tmp_path_factory, images, has_splits):
    layout = Layout(has_splits=has_splits, reserved=("manifest.json",))
    paths = [layout.path(c, s, f, "JPEG", "0a1b2c3d") for c, s, f in images]
    assert len({p.casefold() for p in paths}) == len(paths)
    for path in paths:
        assert os.path.normpath(path) == path
        assert not path.startswith(("/", ".."))
        assert path.count("/") == 1 + has_splits
        assert path.split("/")[0] != "manifest.json"


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        st.binary(max_size=3),
    )
)
def test_checksum_lists_read_back(files):
    import hashlib

    sums = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert dict(checksums.parse(checksums.dump(sums))) == sums


def test_sha256sum_agrees(tmp_path):
    listed = {}
    for name in ("plain.txt", "with space", "new\nline", "back\\slash", "ü"):
        (tmp_path / name).write_text(name)
        listed[name] = checksums.file_sha256(tmp_path / name)
    (tmp_path / checksums.FILE_NAME).write_bytes(checksums.dump(listed))
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", checksums.FILE_NAME], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert checksums.verify(tmp_path).is_ok
    (tmp_path / "new\nline").write_text("other")
    (tmp_path / "plain.txt").unlink()
    found = checksums.verify(tmp_path)
    assert (found.num_files, found.missing, found.differing) == (5, ("plain.txt",), ("new\nline",))


def test_the_checksum_of_a_file_longer_than_a_block(tmp_path):
    import hashlib

    data = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(data)
    assert checksums.file_sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_broken_checksum_lists_are_said():
    with pytest.raises(ArtifactInvalidError, match="line 1"):
        list(checksums.parse(b"hello\n"))


def test_no_checksum_list(tmp_path):
    with pytest.raises(ArtifactMissingError, match="SHA256SUMS"):
        checksums.verify(tmp_path)


cells = st.one_of(st.none(), st.text(max_size=20).filter(lambda t: t != ""))
rows_of_text = st.lists(st.tuples(cells, st.floats(0, 1), st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=3))), min_size=1, max_size=8)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows_of_text)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_read_back_as_written(tmp_path_factory, kind, rows):
    schema = pa.schema([("title", pa.string()), ("weight", pa.float64()), ("tags", pa.list_(pa.string()))])
    table = pa.table(
        [pa.array(c, type=t) for c, t in zip(zip(*rows, strict=True), schema.types, strict=True)],
        schema=schema,
    )
    path = tmp_path_factory.mktemp("t") / f"images.{kind}"
    for _ in range(2):
        with WRITERS[kind](path, schema) as write:
            write(table.slice(0, 1))
            write(table.slice(1))
        first = path.read_bytes() if _ == 0 else first  # noqa: F821
    assert path.read_bytes() == first
    back = read_table(path)
    assert back.column("title").to_pylist() == table.column("title").to_pylist()
    assert [float(w) for w in back.column("weight").to_pylist()] == table.column("weight").to_pylist()


def test_a_csv_row_never_breaks_on_a_carriage_return(tmp_path):
    schema = pa.schema([("a", pa.string()), ("b", pa.bool_())])
    with WRITERS["csv"](tmp_path / "t.csv", schema) as write:
        write(pa.table([["x\ry", 'q"z', "c,d"], [True, False, None]], schema=schema))
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["x\ry", "true"], ['q"z', "false"], ["c,d", ""]]


def test_embedded_images_lie_in_small_row_groups(tmp_path):
    schema = pa.schema([("image", EMBEDDED_TYPE)])
    with WRITERS["parquet"](tmp_path / "t.parquet", schema) as write:
        for start in (0, 100):
            rows = [{"bytes": str(i).encode(), "path": "p"} for i in range(start, start + 100)]
            write(pa.table([pa.array(rows, EMBEDDED_TYPE)], schema=schema))
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_row_groups == 4
    for row in (0, 199, 63, 64, 100, 5):
        uri = uris.of_row(uris.of_path(tmp_path / "t.parquet"), row, EMBEDDED_COLUMN)
        assert uris.read_bytes(uri) == str(row).encode()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="stop"), folder.replacing(out, overwrite=False) as new:  # noqa: PT012
        (new / "x").write_text("1")
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".out.webclean-new").mkdir()  # what a kill leaves behind
    with folder.replacing(out, overwrite=False) as new:
        (new / folder.MANIFEST).write_text('{"made_by": "webclean export"}')
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with folder.replacing(out, overwrite=False) as new:  # ours is replaced
        (new / "y").write_text("2")
    assert [p.name for p in out.iterdir()] == ["y"]
    with pytest.raises(ConfigError, match="did not write"), folder.replacing(out, overwrite=False):
        pass
    with folder.replacing(out, overwrite=True):
        pass
    assert list(out.iterdir()) == []


def test_out_never_swallows_what_is_read(tmp_path):
    (tmp_path / "out" / "run").mkdir(parents=True)
    with (
        pytest.raises(ConfigError, match="which the export reads"),
        folder.replacing(tmp_path / "out", overwrite=True, beside=(tmp_path / "out" / "run",)),
    ):
        pass
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ConfigError, match="is not a folder"),
        folder.replacing(tmp_path / "file", overwrite=True),
    ):
        pass
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_truth_tables_of_every_shape(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"path": ["a", "b"], "kind": ["x", None], "image": [b"1", b"2"]}), path)
    elif ending == "jsonl":
        path.write_text('{"path": "a", "kind": "x"}\n\n{"path": "b"}\n')
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text(f"\ufeffpath{mark}kind\na{mark}x\nb\n")
    assert truth.read_columns(path) == {"path": ["a", "b"], "kind": ["x", None]}


def test_truth_tables_that_are_none(tmp_path):
    with pytest.raises(ArtifactMissingError, match="does not exist"):
        truth.read_columns(tmp_path / "t.csv")
    with pytest.raises(ConfigError, match="no table"):
        truth.read_columns(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(ArtifactInvalidError, match="cannot be read"):
        truth.read_columns(tmp_path / "t.parquet")
