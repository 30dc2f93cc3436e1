"""Crawls of every layout in a bucket and behind a web server, from ingest to export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
import remote

from webclean.cli import app

pytestmark = pytest.mark.xdist_group("s3")
NOT_COMPARED = ("uri", "error")  # the place, and how its store says that nothing is there


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    with remote.s3(monkeypatch) as store:
        store.mkdir("crawl")
        yield store


def _call(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = app.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def _images(run: Path) -> list[dict[str, object]]:
    rows = pq.read_table(sorted((run / "images").glob("part-*.parquet"))).to_pylist()
    return [{name: value for name, value in row.items() if name not in NOT_COMPARED} for row in rows]


@pytest.mark.parametrize("name", ["csv", "huggingface", "webdataset", "zip", "img2dataset"])
def test_a_bucket_gives_the_images_of_a_local_folder(bucket, tmp_path, capsys, name):
    remote.LAYOUTS[name](tmp_path / "crawl")
    bucket.put(str(tmp_path / "crawl"), "crawl/", recursive=True)
    _call(capsys, "ingest", tmp_path / "crawl", tmp_path / "here", "--workers", "0", "-q")
    shown = json.loads(
        _call(capsys, "ingest", "s3://crawl/crawl", tmp_path / "there", "--workers", "2", "--json")
    )
    assert shown[0]["result"]["format"] == name
    assert shown[0]["result"]["statuses"]["ok"] == 8
    assert _images(tmp_path / "there") == _images(tmp_path / "here")
    again = json.loads(_call(capsys, "ingest", "s3://crawl/crawl", tmp_path / "there", "--json"))
    assert again[0]["skipped"]


def test_members_of_tars_in_a_bucket_are_exported(bucket, tmp_path, capsys):
    remote.tars(tmp_path / "crawl")
    bucket.put(str(tmp_path / "crawl"), "crawl/", recursive=True)
    run, out = tmp_path / "run", tmp_path / "out"
    _call(capsys, "ingest", "s3://crawl/crawl", run, "--workers", "0", "-q")
    _call(capsys, "weight", run, "--encoder", "none", "-q")
    _call(capsys, "export", run, out, "--to", "imagefolder", "--threshold", "0", "-q")
    exported = sorted(path.read_bytes() for path in out.rglob("*.png"))
    assert exported == sorted(remote.picture(*row) for row in remote.ROWS)


def test_a_tar_behind_a_web_server_that_lists_nothing(tmp_path, capsys):
    remote.tars(tmp_path / "crawl")
    with remote.serve(tmp_path, lists=False) as address:
        _call(capsys, "ingest", tmp_path / "crawl/00000.tar", tmp_path / "here", "--workers", "0", "-q")
        _call(capsys, "ingest", f"{address}/crawl/00000.tar", tmp_path / "there", "--workers", "0", "-q")
        assert _images(tmp_path / "there") == _images(tmp_path / "here")
        assert app.main(["ingest", f"{address}/crawl/gone.tar", str(tmp_path / "gone")]) == 3
        assert f"there is no {address}/crawl/gone.tar" in capsys.readouterr().err
        assert app.main(["ingest", f"{address}/crawl", str(tmp_path / "gone")]) == 3
        assert "403" in capsys.readouterr().err
