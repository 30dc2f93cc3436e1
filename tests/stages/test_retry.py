"""`--retry-failed`: only what failed is looked at again, and the bytes are those of a fresh run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from archived import write_zip
from exported_run import picture

from webclean import schema
from webclean.cli.app import main
from webclean.config import DedupConfig, IngestConfig, QualityConfig
from webclean.engines.base import Crash
from webclean.engines.local import InlineEngine
from webclean.errors import ImagesNotFoundError
from webclean.io import scan, tables
from webclean.io.run_dir import RunDir
from webclean.stages import ingest, plan
from webclean.stages.base import Context, committed


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Six listed images: 0 is missing, 1 kills its worker, 2 is a text, the others are good."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    lines = ["path,query,title"]
    for i in range(6):
        lines.append(f"{i}.jpg,{'cat' if i % 2 else 'dog'},title {i}")
        if i > 0:
            (folder / f"{i}.jpg").write_bytes(b"words" if i == 2 else picture(i))
    (folder / "manifest.csv").write_text("\n".join(lines))
    for path in folder.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return folder


class Looking(InlineEngine):
    """Writes down what is read; one image kills its worker."""

    def __init__(self, killer: str | None = None) -> None:
        self.read: list[str] = []
        self.killer = killer

    def map(self, function, items, *, yield_crashes=False):
        for index, item in enumerate(items):
            if self.killer and any(uri is not None and uri.endswith(self.killer) for uri in item):
                yield Crash(index, "died")
                continue
            self.read += [Path(uri).name for uri in item if isinstance(uri, str)]
            yield function(item)


def run(tmp_path: Path, source: Path, name: str = "run", *, killer: str | None = None, **options: object):
    """Ingest; gives the context and the files that were read."""
    folder = RunDir(str(tmp_path / name))
    folder.make()
    engine = Looking(killer)
    notes: list[str] = []
    context = Context(run=folder, engine=engine, note=notes.append)
    plan.ingest(IngestConfig(source=str(source), **options), DedupConfig(), QualityConfig(), context)
    return context, [name for name in engine.read if name.endswith(".jpg")], notes


def statuses(context: Context) -> dict[str, str]:
    rows = tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    return {row["source_key"]: row["status"] for row in rows}


def contents(context: Context) -> dict[str, bytes]:
    top = context.run.local_path()
    assert top is not None
    return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*.parquet"))}


@pytest.mark.parametrize("part_rows", [1024, 4])
def test_only_failed_rows_are_read_and_the_bytes_are_a_fresh_runs(tmp_path, crawl, monkeypatch, part_rows):
    monkeypatch.setattr(tables, "PART_ROWS", part_rows)
    first, read, notes = run(tmp_path, crawl, killer="1.jpg")
    assert statuses(first) == {
        "0.jpg": "missing", "1.jpg": "crashed", "2.jpg": "not_image", "3.jpg": "ok", "4.jpg": "ok", "5.jpg": "ok",
    }  # fmt: skip
    assert "--retry-failed looks again at 2 of these files, and at no others" in notes
    (crawl / "0.jpg").write_bytes(picture(0))
    again, read, notes = run(tmp_path, crawl, retry_failed=True)
    assert read == ["0.jpg", "1.jpg"]
    assert "4 of 6 rows are taken over as they were" in notes
    fresh, _, _ = run(tmp_path, crawl, "fresh")
    assert contents(again) == contents(fresh)
    assert statuses(again)["0.jpg"] == statuses(again)["1.jpg"] == "ok"
    assert (
        committed(again.run, schema.IMAGES)["fingerprint"]
        == committed(fresh.run, schema.IMAGES)["fingerprint"]
    )
    assert not list(again.run.scratch("").rglob("*.parquet"))
    assert run(tmp_path, crawl)[1] == []  # nothing is left to do
    assert run(tmp_path, crawl, retry_failed=True)[1] == []


def test_what_fails_again_stays_and_the_rest_is_not_touched(tmp_path, crawl):
    first, _, _ = run(tmp_path, crawl)
    before = contents(first)
    again, read, _ = run(tmp_path, crawl, retry_failed=True)
    assert read == ["0.jpg"]
    assert contents(again) == before


def test_files_that_changed_since_or_came_are_read_too(tmp_path, crawl):
    run(tmp_path, crawl)
    (crawl / "3.jpg").write_bytes(picture(33))  # later than the ingest
    (crawl / "4.jpg").write_bytes(picture(44, size=(30, 20)))
    os.utime(crawl / "4.jpg", (1_600_000_000, 1_600_000_000))  # of another size
    (crawl / "5.jpg").unlink()
    with (crawl / "manifest.csv").open("a") as file:
        file.write("\n10.jpg,cat,new\n2.jpg,cat,again\n")
    (crawl / "10.jpg").write_bytes(picture(10))
    again, read, _ = run(tmp_path, crawl, retry_failed=True)
    # 2.jpg has a second row now.
    assert sorted(set(read)) == ["0.jpg", "10.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert contents(again) == contents(run(tmp_path, crawl, "fresh")[0])


def test_a_killed_retry_goes_on(tmp_path, crawl, monkeypatch, killed_at_second_part):
    monkeypatch.setattr(tables, "PART_ROWS", 2)
    monkeypatch.setattr(ingest, "_TASK_ROWS", 1)
    run(tmp_path, crawl, killer="5.jpg")
    (crawl / "0.jpg").write_bytes(picture(0))
    with killed_at_second_part():
        run(tmp_path, crawl, retry_failed=True)
    again, read, _ = run(tmp_path, crawl, retry_failed=True)
    assert read == ["5.jpg"]  # the first part, with 0.jpg, stands
    assert contents(again) == contents(run(tmp_path, crawl, "fresh")[0])


def test_force_reads_everything(tmp_path, crawl):
    context, _, _ = run(tmp_path, crawl)
    engine = Looking()
    context = dataclasses.replace(context, engine=engine)
    plan.ingest(
        IngestConfig(source=str(crawl), retry_failed=True),
        DedupConfig(),
        QualityConfig(),
        context,
        force=True,
    )
    assert len([name for name in engine.read if name.endswith(".jpg")]) == 6


def test_a_retry_of_nothing_is_an_ingest(tmp_path, crawl):
    assert len(run(tmp_path, crawl, retry_failed=True)[1]) == 6


def test_a_source_that_is_gone_leaves_the_run_as_it_was(tmp_path, crawl):
    context, _, _ = run(tmp_path, crawl)
    before = contents(context)
    crawl.rename(tmp_path / "elsewhere")
    with pytest.raises(ImagesNotFoundError, match="there is no"):
        run(tmp_path, crawl, retry_failed=True)
    assert contents(context) == before
    assert committed(context.run, schema.IMAGES) is not None


def test_rows_of_a_table_of_bytes_are_taken_over_while_the_table_stands(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": [picture(1), None, picture(2)], "label": [0, 1, 1]}), path)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    run(tmp_path, path)
    opened: list[str] = []
    real = scan.inspect_all
    monkeypatch.setattr(
        scan, "inspect_all", lambda uris, **k: opened.extend(filter(None, uris)) or real(uris, **k)
    )
    run(tmp_path, path, retry_failed=True)
    assert [uri.rpartition("#")[2] for uri in opened] == []  # the table itself says that row 1 is missing
    os.utime(path)
    run(tmp_path, path, retry_failed=True)
    assert [uri.rpartition("#")[2] for uri in opened] == ["0", "2"]


def test_rows_of_a_zip_are_taken_over_while_the_zip_stands(tmp_path):
    source = write_zip(tmp_path / "crawl.zip", [("cat/a#1.jpg", picture(1)), ("cat/2.jpg", picture(2))])
    os.utime(source, (1_600_000_000, 1_600_000_000))
    run(tmp_path, source, killer="2.jpg")
    again, read, _ = run(tmp_path, source, retry_failed=True)
    assert (read, statuses(again)["crawl.zip#cat/a#1.jpg"]) == (["2.jpg"], "ok")
    run(tmp_path, source, name="other", killer="2.jpg")
    write_zip(source, [("cat/a#1.jpg", picture(3)), ("cat/2.jpg", picture(2))])
    os.utime(source, (4_000_000_000, 4_000_000_000))
    _, read, _ = run(tmp_path, source, name="other", retry_failed=True)
    assert read == ["2.jpg", "a#1.jpg"]


def test_from_the_command_line(tmp_path, crawl, capsys):
    args = ["ingest", str(crawl), str(tmp_path / "run"), "--workers", "0"]
    assert main(args) == 0
    assert "--retry-failed looks again at 1 of these files" in capsys.readouterr().err
    (crawl / "0.jpg").write_bytes(picture(0))
    assert main([*args, "--retry-failed"]) == 0
    shown = capsys.readouterr()
    assert "5 of 6 rows are taken over as they were" in shown.err
    assert "1 not_image" in shown.out
    assert "missing" not in shown.out
