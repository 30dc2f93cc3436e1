from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archived import write_tar, write_zip
from exported_run import Row, picture, write_run
from PIL import Image

from webclean import load_manifest, schema
from webclean.cli.app import main
from webclean.config import ExportConfig
from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ConfigError, DataError
from webclean.io import tables
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.stages import export, verify
from webclean.stages.base import Context


def crawl() -> list[Row]:
    return [
        Row("a/one.jpg", "cat", 0.9, title="A, \"cat\"\nsits", tags=["x", "y"], extra={"split": "train"}),
        Row("a/two.aspx", "cat", 0.8, format="PNG"),
        Row("a/low.jpg", "cat", 0.3, suggested=("dog", 0.95)),
        Row("a/gone.jpg", "cat", 0.9, status="missing", data=None),
        Row("b/copy1.jpg", "dog", 0.7, group=1, is_keeper=True),
        Row("b/copy2.jpg", "dog", 0.9, group=1),
        Row("b/both1.jpg", "dog", 0.8, group=2),
        Row("b/both2.jpg", "cat", 0.6, group=2),
        Row("b/test.jpg", "dog", 0.9, against="test/1.jpg"),
        Row("b/sure.jpg", "dog", 0.98),
        Row("c/one.jpg", "cat", 0.95, status="excluded"),
        Row("d/one.jpg", "cat", float("nan")),
    ]  # fmt: skip


@pytest.fixture
def context(tmp_path) -> Context:
    return write_run(tmp_path, crawl())


def table(out):
    with (out / "images.csv").open(newline="") as file:
        return {row["source_key"]: row for row in csv.DictReader(file)}


def dropped(out):
    with (out / "dropped.csv").open(newline="") as file:
        return {row["source_key"]: row["reason"] for row in csv.DictReader(file)}


KEPT = {"a/one.jpg", "a/two.aspx", "b/copy1.jpg", "b/both1.jpg", "b/sure.jpg", "d/one.jpg"}
LEFT = {
    "a/low.jpg": "low_score",
    "a/gone.jpg": "bad_file:missing",
    "b/copy2.jpg": "duplicate",
    "b/both2.jpg": "label_conflict",
    "b/test.jpg": "policy:against",
    "c/one.jpg": "excluded",
}


def test_every_image_is_exported_or_dropped_with_its_reason(context, tmp_path):
    done = export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == KEPT
    assert dropped(tmp_path / "out") == LEFT
    assert (done.counts.total, done.counts.forwarded, sum(done.counts.dropped.values())) == (12, 6, 6)
    assert done.by_category == {"cat": (3, 4), "dog": (3, 2)}
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert manifest["categories"] == ["cat", "dog"]
    assert manifest["counts"]["exported"] == 6
    assert manifest["policy"]["threshold"] == 0.5


def test_recomputing_the_default_policy_gives_the_decisions(context, tmp_path):
    # A policy that differs only where nothing hangs on it takes the other way through the code.
    export.run(ExportConfig(to="csv", max_per_category=1000), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == KEPT
    assert dropped(tmp_path / "out") == LEFT


def test_the_weighted_export_keeps_what_still_teaches_something(context, tmp_path):
    export.run(ExportConfig(to="csv", mode="weighted", threshold=0.95), context, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert set(rows) == KEPT
    assert (rows["a/one.jpg"]["weight"], rows["a/one.jpg"]["keep"]) == ("0.9", "false")
    assert rows["d/one.jpg"]["weight"] == "1.0"
    assert "a/low.jpg" in dropped(tmp_path / "out")  # more likely wrong than right: on balance it misleads


def test_a_kept_image_of_no_weight_is_no_part_of_a_weighted_export(tmp_path):
    context = write_run(tmp_path, [Row("a.jpg", "cat", 0.9), Row("b.jpg", "cat", 0.9, weight=0.0)])
    export.run(ExportConfig(to="csv", mode="weighted"), context, tmp_path / "out")
    assert dropped(tmp_path / "out") == {"b.jpg": "policy:zero-weight"}
    export.run(ExportConfig(to="csv"), context, tmp_path / "out")
    assert table(tmp_path / "out")["b.jpg"]["weight"] == "0.0"


def test_the_threshold_of_the_decisions_holds_beside_other_flags(context, tmp_path):
    record = context.run.read_json("decisions/default/run.json")
    context.run.write_json("decisions/default/run.json", record | {"config": {"keep_threshold": 0.75}})
    export.run(ExportConfig(to="csv", max_per_category=1000), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == KEPT - {"b/copy1.jpg"}


def test_an_image_folder_is_byte_identical_and_checked_by_sha256sum(context, tmp_path):
    out = tmp_path / "out"
    export.run(ExportConfig(), context, out)
    # Splits stand above categories where the crawl has any; the ending is that of the bytes.
    rows = table(out)
    assert rows["a/one.jpg"]["path"] == "train/cat/one.jpg"
    assert rows["a/two.aspx"]["path"] == "no-split/cat/two.png"
    assert rows["d/one.jpg"]["path"] == "no-split/cat/one.jpg"
    for key, row in rows.items():
        assert (out / row["path"]).read_bytes() == (tmp_path / "source" / key).read_bytes()
        assert hashlib.sha256((out / row["path"]).read_bytes()).hexdigest() == row["sha256"]
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    found = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert listed == found
    assert verify.run(out).num_files == len(found)


@pytest.mark.parametrize("how", ["hardlink", "symlink"])
def test_links_cost_no_space_and_read_the_same(context, tmp_path, how):
    export.run(ExportConfig(to="jsonl", images=how), context, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/images.jsonl").read_bytes().splitlines()]
    assert rows[0]["tags"] == ["x", "y"]
    for row in rows:
        path = tmp_path / "out" / row["path"]
        assert row["path"].startswith("images/")
        assert path.is_symlink() == (how == "symlink")
        assert os.path.samefile(path, tmp_path / "source" / row["source_key"])
    assert verify.run(tmp_path / "out").is_ok


def test_a_table_refers_to_the_source_and_lists_its_sums(context, tmp_path):
    export.run(ExportConfig(to="parquet"), context, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/images.parquet").to_pylist()
    assert {row["path"] for row in rows} == {str(tmp_path / "source" / key) for key in KEPT}
    assert verify.run(tmp_path / "out").num_files == 6 + 3
    (tmp_path / "source/a/one.jpg").write_bytes(b"changed")
    with pytest.raises(ArtifactInvalidError, match=r"differs: .*a/one.jpg"):
        verify.run(tmp_path / "out")


def test_embedded_bytes_are_the_source_s(context, tmp_path):
    export.run(ExportConfig(to="parquet", embed=True), context, tmp_path / "out")
    for row in pq.read_table(tmp_path / "out/images.parquet").to_pylist():
        assert row["image"]["bytes"] == (tmp_path / "source" / row["source_key"]).read_bytes()
    assert pq.read_table(tmp_path / "out/images.parquet").to_pylist()[1]["image"]["path"] == "two.png"


@pytest.mark.parametrize(
    "config",
    [ExportConfig(), ExportConfig(to="parquet", embed=True), ExportConfig(to="jsonl", mode="weighted"), ExportConfig(to="csv")],
)  # fmt: skip
def test_the_same_export_gives_the_same_bytes(context, tmp_path, config):
    def digest(out):
        export.run(config, context, out)
        files = sorted(p for p in out.rglob("*") if p.is_file())
        return [(str(p.relative_to(out)), p.read_bytes()) for p in files]

    assert digest(tmp_path / "out1") == digest(tmp_path / "out2") == digest(tmp_path / "out1")


def test_relabelling_moves_what_is_clearly_something_else(context, tmp_path):
    done = export.run(ExportConfig(to="csv", relabel=True), context, tmp_path / "out")
    row = table(tmp_path / "out")["a/low.jpg"]
    assert (row["category"], row["crawled_category"]) == ("dog", "cat")
    assert float(row["weight"]) == pytest.approx(0.9)  # 2 x 0.95 - 1
    assert (row["keep"], row["reason"], done.num_relabelled) == ("true", "ok", 1)
    export.run(ExportConfig(to="csv", relabel=True, relabel_threshold=0.99), context, tmp_path / "out")
    assert "a/low.jpg" not in table(tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"threshold": 0.85}, {"a/two.aspx", "b/copy1.jpg", "b/both1.jpg"}),
        ({"target_purity": 0.85}, {"b/copy1.jpg"}),
        ({"keep_fraction": 0.5}, {"b/copy1.jpg", "d/one.jpg"}),
        ({"max_per_category": 1}, {"a/two.aspx", "d/one.jpg", "b/copy1.jpg", "b/both1.jpg"}),
    ],
)
def test_policies_by_flag(context, tmp_path, values, gone):
    export.run(ExportConfig(to="csv", **values), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == KEPT - gone


def test_the_highest_threshold_leaves_what_nobody_judged(context, tmp_path):
    export.run(ExportConfig(threshold=1.0, drop_duplicates=False), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == {"d/one.jpg"}


def test_categories_that_fall_short_of_their_least_are_named(context, tmp_path, capsys):
    command = ["export", context.run.url, str(tmp_path / "out"), "--overwrite", "--min-per-category"]
    assert main([*command, "4"]) == 0
    noted = capsys.readouterr().err
    assert "--min-per-category 4 is not reached by 1 categories: dog (3)" in noted
    assert main([*command, "3", "--json"]) == 0
    assert "min-per-category" not in capsys.readouterr().err


def test_copies_are_kept_on_demand(context, tmp_path):
    export.run(ExportConfig(to="csv", drop_duplicates=False, drop_against=False), context, tmp_path / "out")
    assert set(table(tmp_path / "out")) == KEPT | {"b/copy2.jpg", "b/test.jpg"}


def test_a_source_that_changed_stops_the_export_and_leaves_nothing(context, tmp_path):
    (tmp_path / "source/a/one.jpg").write_bytes(b"changed")
    (tmp_path / "source/a/two.aspx").unlink()
    for config in (
        ExportConfig(),
        ExportConfig(to="csv"),
        ExportConfig(to="csv", images="symlink"),
        ExportConfig(to="parquet", embed=True),
    ):
        with pytest.raises(ArtifactInvalidError, match=r"2 of 6 images could not be exported") as caught:
            export.run(config, context, tmp_path / "out")
        assert "a/one.jpg: its bytes have changed" in str(caught.value)
        assert "a/two.aspx: FileNotFoundError" in str(caught.value)
        assert {p.name for p in tmp_path.iterdir()} == {"run", "source"}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"images": "none"}, "an image folder holds images"),
        ({"to": "csv", "embed": True}, "--embed goes with"),
        ({"to": "parquet", "embed": True, "images": "copy"}, "leave out --images copy"),
        ({"min_per_category": 3, "max_per_category": 2}, "max_per_category"),
    ],
)
def test_flags_that_do_not_go_together(context, tmp_path, values, text):
    with pytest.raises(ConfigError, match=text):
        export.run(ExportConfig(**values), context, tmp_path / "out")


def test_out_is_never_the_source(context, tmp_path):
    with pytest.raises(ConfigError, match="which the export reads"):
        export.run(ExportConfig(overwrite=True), context, tmp_path)
    with pytest.raises(ConfigError, match="which the export reads"):
        export.run(ExportConfig(overwrite=True), context, tmp_path / "source")
    assert (tmp_path / "source/a/one.jpg").exists()


def test_what_somebody_put_into_an_export_is_not_lost(context, tmp_path):
    out = tmp_path / "out"
    for config in (ExportConfig(), ExportConfig(to="csv", images="symlink"), ExportConfig(to="csv")):
        export.run(config, context, out)
        export.run(config, context, out)  # all that is there is ours
        for mine in (out / "notes.txt", out / "cat" / "link", out / "own" / "deep" / "a\nb.txt"):
            mine.parent.mkdir(parents=True, exist_ok=True)
            mine.symlink_to(tmp_path) if mine.name == "link" else mine.write_text("mine")
            with pytest.raises(ConfigError, match="did not write") as caught:
                export.run(config, context, out)
            assert caught.value.context == str(mine)
            assert "--overwrite" in str(caught.value.hint)
            mine.unlink()
        (out / "notes.txt").write_text("mine")
        export.run(ExportConfig(overwrite=True), context, out)
        assert not (out / "notes.txt").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_out_where_nothing_can_be_written(context, tmp_path, capsys):
    for out in ("/proc/nope", "/proc/self/nope/deeper", str(tmp_path / ("x" * 300))):
        with pytest.raises(DataError, match="cannot be written"):
            export.run(ExportConfig(), context, Path(out))
    assert main(["ingest", str(tmp_path / "source"), "/proc/nope"]) == 3
    assert "cannot be written" in capsys.readouterr().err


def packed(folder: Path, holder: str, images: list[bytes]) -> list[str]:
    """Put the images into one file, and say where each is."""
    folder.mkdir()
    named = [(f"{i}#.jpg", data) for i, data in enumerate(images)]
    if holder == "table":
        table = pa.Table.from_pylist([{"bytes": data, "label": "cat"} for data in images])
        pq.write_table(table, folder / "t.parquet")
        return [uris.of_row(uris.of_path(folder / "t.parquet"), i, "bytes") for i in range(len(images))]
    if holder == "zip":
        where = uris.of_path(write_zip(folder / "t.zip", named))
        return [uris.of_member(where, name) for name, _ in named]
    where = uris.of_path(write_tar(folder / "t.tar", named))
    with tarfile.open(folder / "t.tar") as tar:
        return [uris.of_span(where, member.offset_data, member.size) for member in tar]


@pytest.mark.parametrize("holder", ["table", "tar", "zip"])
def test_images_in_another_file_can_be_copied_not_linked(tmp_path, holder):
    images = [picture(i) for i in range(7)]
    context = write_run(tmp_path, [Row(f"{i}.jpg", "cat", 0.9, data=data) for i, data in enumerate(images)])
    locations = packed(tmp_path / "crawl", holder, images)
    rows = tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE).to_pydict() | {schema.URI: locations}
    context.run.remove(schema.IMAGES)
    tables.write_part(context.run, schema.IMAGES, 0, rows, schema.IMAGES_TABLE)
    (tmp_path / "run/images/run.json").write_text(json.dumps({}))
    for link in ("symlink", "hardlink"):
        with pytest.raises(ArtifactInvalidError, match="7 of 7 images") as caught:
            export.run(ExportConfig(images=link), context, tmp_path / "out", force=True)
        assert str(caught.value).count("only a file of its own can be linked") == 1
        assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more: it lies in" in str(caught.value)
        assert caught.value.hint == "add --images copy"
    with pytest.raises(ConfigError, match="which the export reads"):
        export.run(ExportConfig(overwrite=True), context, tmp_path / "crawl", force=True)
    export.run(ExportConfig(), context, tmp_path / "out", force=True)
    assert [(tmp_path / f"out/cat/{i}.jpg").read_bytes() for i in range(7)] == images
    for config in (ExportConfig(to="csv"), ExportConfig(to="parquet", embed=True)):
        export.run(config, context, tmp_path / "out", force=True)
        data = load_manifest(tmp_path / "out")
        for i, original in enumerate(images):
            shown = np.asarray(Image.open(io.BytesIO(original)))
            assert np.array_equal(np.asarray(data[i][0]), shown)


def test_nothing_to_export_is_said(tmp_path):
    context = write_run(tmp_path, [Row("a.jpg", "cat", 0.1)])
    with pytest.raises(ConfigError, match=r"no image is left") as caught:
        export.run(ExportConfig(), context, tmp_path / "out")
    assert "1 low_score" in str(caught.value)


def test_no_decisions_yet(tmp_path):
    context = Context(run=RunDir(str(tmp_path / "run")), engine=None)
    with pytest.raises(ArtifactMissingError, match="decisions/default has not been made"):
        export.run(ExportConfig(), context, tmp_path / "out")


def test_hostile_names_stay_inside(tmp_path):
    rows = [
        Row("x/1.jpg", "../../up", data=picture(1)),
        Row("x/2.jpg", "..", data=picture(2)),
        Row("x/3.jpg", "manifest.json", data=picture(3)),
        Row("x/4.jpg", "MANIFEST.json", data=picture(4)),
        Row("x/-rf.jpg", "a\nb", data=picture(5)),
        Row("y/-rf.jpg", "a\nb", data=picture(6)),
    ]
    out = tmp_path / "deep/out"
    export.run(ExportConfig(), write_run(tmp_path, rows), out)
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.jpg"))
    marks = hashlib.sha256(b"y/-rf.jpg").hexdigest()[:8]
    assert found == sorted([
        "_._.._up/1.jpg", "_/2.jpg", "manifest.json-x/3.jpg", "MANIFEST.json-x-2/4.jpg", "a_b/_rf.jpg",
        f"a_b/_rf-{marks}.jpg",
    ])  # fmt: skip
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"out"}
