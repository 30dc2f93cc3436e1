"""`attach`: a table's columns, joined to the images; what policies, explain and export make of them."""

from __future__ import annotations

import csv
import hashlib
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_run import Row, picture, write_run

from webclean import load_manifest, schema
from webclean.cli.app import main
from webclean.config import AttachConfig, DecideConfig
from webclean.engines.local import InlineEngine
from webclean.errors import ColumnMissingError, DataError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.io.writers.table_files import read_table
from webclean.stages import attach
from webclean.stages.base import Context, command_for, execute, staleness
from webclean.stages.chain import BY_NAME


@pytest.fixture
def run(tmp_path) -> RunDir:
    """Five images in two parts; c.jpg is missing, `b.jpg?2` is b.jpg listed again."""
    context = write_run(
        tmp_path,
        [
            Row("a.jpg", "cat", extra={"url": "https://x/a", "number": 7}),
            Row("b.jpg", "cat", extra={"url": "https://x/b"}),
            Row("c.jpg", "cat", status="missing", data=None),
            Row("d/e.jpg", "dog", title="a title", extra={"number": 8}),
            Row("d/f.jpg", "dog"),
        ],
    )
    return context.run


def bring(run: RunDir, table: Path, **options) -> tuple[dict[str, dict], dict, list[str]]:
    """Attach; gives the rows by key of the image, the result and the notes."""
    notes: list[str] = []
    context = Context(run, InlineEngine(), note=notes.append)
    config = AttachConfig(table=str(table), **({"name": "x"} | options))
    done = execute(BY_NAME["attach"], config, context)
    rows = tables.read(run, "attached/x", schema.attached_table(done.result["columns"])).to_pylist()
    keys = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, ("source_key",)).column(0).to_pylist()
    assert [row.pop("image_id") for row in rows] == tables.read(
        run, schema.IMAGES, schema.IMAGES_TABLE, ("image_id",)
    ).column(0).to_pylist()
    return dict(zip(keys, rows, strict=True)), done.result | {"dropped": done.counts.dropped}, notes


def test_a_csv_gets_the_types_that_hold_all_its_cells(tmp_path, run):
    table = tmp_path / "x.csv"
    table.write_text(
        "path,score,count,safe,licence,code,empty,mixed\n"
        "./a.jpg,0.25,3,true,cc0,007,,0.50\n"
        'd/e.jpg,1,-4,FALSE,"by, nc",12,,nan\n'
        "b.jpg,nan,,,,1,,x\n"
        "z.jpg,2e-1,0,true,cc0,2,,1\n"
    )
    rows, result, notes = bring(run, table)
    assert result["columns"] == {
        "score": "float64", "count": "int64", "safe": "bool", "licence": "string", "code": "string",
        "empty": "string", "mixed": "string",
    }  # fmt: skip
    assert rows["a.jpg"] == {
        "score": 0.25, "count": 3, "safe": True, "licence": "cc0", "code": "007", "empty": None, "mixed": "0.50",
    }  # fmt: skip
    assert rows["d/e.jpg"] == {
        "score": 1.0, "count": -4, "safe": False, "licence": "by, nc", "code": "12", "empty": None, "mixed": "nan",
    }  # fmt: skip
    assert rows["b.jpg"]["score"] is None
    assert set(rows["d/f.jpg"].values()) == {None}
    assert (result["rows"], result["unmatched_rows"], result["dropped"]) == (4, 1, {"no_row": 2})
    assert "1 of 4 rows name no image of the run: z.jpg" in notes
    assert "1 cells are no finite numbers and count as empty" in notes


@pytest.mark.parametrize(
    ("on", "key"),
    [
        ("path", "d/e.jpg"),
        ("source_key", "d/e.jpg"),
        ("image_id", None),
        ("sha256", None),
        ("title", "a title"),
        ("number", 8),
        ("number", 8.0),
        ("number", "8"),
    ],
)  # fmt: skip
def test_what_a_table_may_name_images_by(tmp_path, run, on, key):
    if key is None:
        row = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()[3]
        key = row[on]
    (tmp_path / "x.jsonl").write_text(json.dumps({on: key, "score": 0.5}))
    rows, _, _ = bring(run, tmp_path / "x.jsonl", on=on)
    assert {key for key, row in rows.items() if row["score"] is not None} == {"d/e.jpg"}


def test_a_digest_names_every_copy(tmp_path):
    run = write_run(tmp_path, [Row(f"{i}.jpg", "cat", data=picture(i // 2)) for i in range(4)]).run
    digest = hashlib.sha256(picture(0)).hexdigest()
    (tmp_path / "x.csv").write_text(f"sha256,score\n{digest},1\n")
    rows, result, _ = bring(run, tmp_path / "x.csv", on="sha256")
    assert [row["score"] for row in rows.values()] == [1, 1, None, None]
    assert result["unmatched_rows"] == 0


def test_a_path_that_is_listed_again_has_the_row_of_its_file(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "manifest.csv").write_text("path,label\na.jpg,cat\na.jpg,dog\n")
    assert main(["ingest", str(folder), str(tmp_path / "run"), "--workers", "0", "-q"]) == 0
    (tmp_path / "x.csv").write_text("path,score\na.jpg,1\n")
    rows, _, _ = bring(RunDir(str(tmp_path / "run")), tmp_path / "x.csv")
    assert {key: row["score"] for key, row in rows.items()} == {"a.jpg": 1, "a.jpg?2": 1}


def test_parquet_and_jsonl_keep_their_types(tmp_path, run):
    pq.write_table(
        pa.table(
            {
                "path": ["a.jpg", "b.jpg"],
                "clip": pa.array([0.5, float("nan")], pa.float32()),
                "text": ["1", "2"],
                "image": [b"x", b"y"],
                "tags": [["q"], None],
            }
        ),
        tmp_path / "x.parquet",
    )
    rows, result, _ = bring(run, tmp_path / "x.parquet")
    assert result["columns"] == {"clip": "float64", "text": "string", "tags": "string"}
    assert rows["a.jpg"] == {"clip": 0.5, "text": "1", "tags": '["q"]'}
    assert rows["b.jpg"] == {"clip": None, "text": "2", "tags": None}
    (tmp_path / "x.jsonl").write_text(
        '{"path": "a.jpg", "a": 1}\n\n{"path": "b.jpg", "b": true, "a": "one"}\n'
    )
    rows, result, _ = bring(run, tmp_path / "x.jsonl")
    assert result["columns"] == {"a": "string", "b": "bool"}
    assert (rows["a.jpg"], rows["b.jpg"]) == ({"a": "1", "b": None}, {"a": "one", "b": True})


def test_only_the_columns_that_are_asked_for(tmp_path, run):
    (tmp_path / "x.csv").write_text("path,a,b,c\na.jpg,1,2,3\na.jpg,1,9,3\n")
    rows, result, notes = bring(run, tmp_path / "x.csv", columns=("c", "a"))
    assert rows["a.jpg"] == {"c": 3, "a": 1}
    assert result["repeated_rows"] == 1  # what they differ in was not asked for
    assert "1 rows say again what another row says" in notes


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        ("path,a\na.jpg,1\nb.jpg,1\na.jpg,2\n", {}, DataError, "different things of the same image: a.jpg in rows 1 and 3"),
        ("path,a\n", {}, ColumnMissingError, "has no rows"),
        ("path\na.jpg\n", {}, ColumnMissingError, "no column to attach besides 'path'"),
        ("file,a\na.jpg,1\n", {}, ColumnMissingError, "no column 'path'"),
        ("path,a\na.jpg,1\n", {"columns": ("b",)}, ColumnMissingError, "no column 'b'"),
        ("path,image_id\na.jpg,1\n", {}, ColumnMissingError, "may not be called image_id"),
        ("path,a\nnowhere.jpg,1\n", {}, DataError, "no row of .* names an image .* by 'path'"),
        ("path,a\n,1\n", {}, DataError, "no row of .* names an image"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_attached(tmp_path, run, content, options, error, message):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(error, match=message):
        bring(run, tmp_path / "x.csv", **options)
    assert not list(run.scratch("").rglob("*.sqlite"))


def test_a_table_that_changes_is_attached_anew_and_one_that_stands_is_not(tmp_path, run):
    table = tmp_path / "x.csv"
    table.write_text("path,a\na.jpg,1\n")
    config = AttachConfig(table=str(table), name="x", columns=("a",))
    context = Context(run, InlineEngine())
    assert not execute(BY_NAME["attach"], config, context).skipped
    assert execute(BY_NAME["attach"], config, context).skipped
    table.write_text("path,a\na.jpg,2\n")
    assert not execute(BY_NAME["attach"], config, context).skipped
    record = run.read_json("images/run.json")
    run.write_json("images/run.json", record | {"digest": "other"})
    assert staleness(run, "attached/x") == "attached/x was made from an older images"
    assert command_for("attached/x", run) == (
        f"webclean attach {run.url} {table} --on path --name x --columns a"
    )


def test_memory_stays_flat(tmp_path, run):
    """Ten times the rows in less than twice the memory."""
    peaks = []
    for num in (2_000, 20_000):
        with (tmp_path / "x.csv").open("w") as file:
            file.write("path,score,text\na.jpg,1,\n")
            file.writelines(f"{i}/nowhere.jpg,{i / 7},{'words ' * 20}\n" for i in range(num))
        tracemalloc.start()
        bring(run, tmp_path / "x.csv")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0], peaks


# ---------------------------------------------------------------- through the commands


@pytest.fixture
def scored(tmp_path, run, capsys) -> RunDir:
    (tmp_path / "clip.csv").write_text(
        "path,clip_score,licence\na.jpg,0.3,cc0\nb.jpg,0.1,cc-by\nd/e.jpg,,cc0\n"
    )
    assert main(["attach", run.url, str(tmp_path / "clip.csv"), "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert "Attached as clip: clip_score (float64), licence (string). 3 of 5 images have a row" in " ".join(
        shown.split()
    )
    return run


def exported(run: RunDir, out: Path, *flags: str) -> tuple[dict[str, dict], dict[str, str]]:
    assert main(["export", run.url, str(out), "--to", "csv", "--workers", "0", *flags]) == 0
    with (out / "images.csv").open(newline="") as kept, (out / "dropped.csv").open(newline="") as left:
        reasons = {row["source_key"]: row["reason"] for row in csv.DictReader(left)}
        return {row["source_key"]: row for row in csv.DictReader(kept)}, reasons


def test_policies_by_attached_columns(tmp_path, scored):
    kept, left = exported(scored, tmp_path / "out", "--require", "clip_score>=0.25")
    assert set(kept) == {"a.jpg"}
    assert left == dict.fromkeys(("b.jpg", "d/e.jpg", "d/f.jpg"), "policy:require_clip_score") | {
        "c.jpg": "bad_file:missing"
    }
    flags = ("--require", "clip_score >= 0.25 or null", "--require", "clip.licence in cc0, cc-nd")
    kept, left = exported(scored, tmp_path / "both", *flags)
    assert set(kept) == {"a.jpg", "d/e.jpg"}
    assert (left["b.jpg"], left["d/f.jpg"]) == ("policy:require_clip_score", "policy:require_licence")
    policy = json.loads((tmp_path / "both/manifest.json").read_text())["policy"]
    assert policy["require"] == ["clip_score >= 0.25 or null", "clip.licence in cc0, cc-nd"]


def test_requirements_from_a_settings_file(tmp_path, scored):
    (tmp_path / "w.toml").write_text('[export]\nrequire = "licence in cc0, cc-by"\n')
    kept, _ = exported(scored, tmp_path / "out", "--config", str(tmp_path / "w.toml"))
    assert set(kept) == {"a.jpg", "b.jpg", "d/e.jpg"}


@pytest.mark.parametrize(
    ("requirement", "code", "message"),
    [
        ("clip_score", 2, "is no requirement: COLUMN OPERATOR VALUE"),
        ("clip_score >= high", 2, "'high' is none"),
        ("licence > a", 2, "it goes with =, !=, in and not in"),
        ("clop_score >= 1", 3, "no attached column 'clop_score'"),
    ],
)
def test_requirements_that_cannot_be_met(tmp_path, scored, capsys, requirement, code, message):
    assert (
        main(["export", scored.url, str(tmp_path / "out"), "--to", "csv", "--require", requirement]) == code
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_column_of_two_tables_is_named_in_full(tmp_path, scored, capsys):
    (tmp_path / "other.csv").write_text("path,clip_score\na.jpg,0.1\nb.jpg,0.9\n")
    assert main(["attach", scored.url, str(tmp_path / "other.csv"), "-q"]) == 0
    assert (
        main(["export", scored.url, str(tmp_path / "out"), "--to", "csv", "--require", "clip_score>0.2"]) == 3
    )
    assert "attached: clip.clip_score, other.clip_score" in capsys.readouterr().err
    assert set(exported(scored, tmp_path / "out", "--require", "other.clip_score > 0.2")[0]) == {"b.jpg"}


def test_columns_that_are_older_than_the_images_are_refused(tmp_path, scored, capsys):
    record = scored.read_json("images/run.json")
    scored.write_json("images/run.json", record | {"digest": "other"})
    args = ["export", scored.url, str(tmp_path / "out"), "--to", "csv", "--require", "clip_score>0.2"]
    assert main(args) == 3
    assert f"webclean attach {scored.url}" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
def test_the_table_of_an_export_carries_them(tmp_path, scored, to):
    (tmp_path / "other.csv").write_text("path,clip_score,title\na.jpg,9,t\n")
    assert main(["attach", scored.url, str(tmp_path / "other.csv"), "-q"]) == 0
    args = ["export", scored.url, str(tmp_path / "out"), "--to", to, "--with-attached", "clip,other", "-q"]
    assert main(args) == 0
    assert main(["verify", str(tmp_path / "out")]) == 0
    row = (
        load_manifest(tmp_path / "out").rows[0] if hasattr(load_manifest(tmp_path / "out"), "rows") else None
    )
    assert row is None or row["source_key"] == "a.jpg"

    first = read_table(tmp_path / "out" / f"images.{to}").to_pylist()[0]
    assert {name: str(first[name]) for name in ("clip_score", "licence", "other.clip_score", "other.title")} == {
        "clip_score": "0.3", "licence": "cc0", "other.clip_score": "9", "other.title": "t",
    }  # fmt: skip


def test_a_name_under_which_nothing_is_attached(tmp_path, scored, capsys):
    args = ["export", scored.url, str(tmp_path / "out"), "--to", "csv", "--with-attached", "clop"]
    assert main(args) == 2
    assert "attached: clip" in capsys.readouterr().err


def test_explain_shows_them(scored, capsys):
    assert main(["explain", scored.url, "a.jpg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attached"] == {"clip": {"clip_score": 0.3, "licence": "cc0"}}
    assert main(["explain", scored.url, "a.jpg"]) == 0
    assert "clip_score" in capsys.readouterr().out


def test_default_names():
    assert attach.default_name("s3://bucket/scores/clip.v2.parquet") == "clip.v2"


@pytest.mark.parametrize(
    ("evidence", "code", "message"),
    [
        ("image,attached:clip.licence", 2, "its cells are text"),
        ("attached:clip.clop", 3, "no attached column 'clip.clop'"),
        ("attached:clip", 2, "or attached:NAME.COLUMN; got 'attached:clip'"),
        ("attached:.x", 2, "got 'attached:.x'"),
    ],
)
def test_evidence_that_is_none_is_refused_before_anything_runs(scored, capsys, evidence, code, message):
    assert main(["weight", scored.url, "--evidence", evidence, "--workers", "0"]) == code
    assert message in capsys.readouterr().err
    assert not scored.exists("features")


def test_what_decisions_read_and_are_called():
    config = DecideConfig(evidence=("image", "attached:clip.v2.score", "attached:clip.v2.other"))
    assert config.name == "image-attached-clip.v2.score-attached-clip.v2.other"
    assert BY_NAME["decide"].inputs(config)["attached/clip.v2"] is True
    assert config.attached_evidence == (("clip.v2", "score"), ("clip.v2", "other"))
    assert not [name for name in BY_NAME["decide"].inputs(DecideConfig()) if name.startswith("attached")]
