"""SOURCE and RUN in an object store: the S3 API, served by moto on loopback."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import fsspec
import numpy as np
import pytest
import remote
from PIL import Image

from webclean.cli import app

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    with remote.s3(monkeypatch) as store:
        _fill(store)
        yield store


def _fill(store: fsspec.AbstractFileSystem) -> None:
    store.mkdir("crawl")
    store.mkdir("runs")
    rng = np.random.default_rng(3)
    for category, shade in (("red fox", (200, 90, 40)), ("sea", (30, 90, 200))):
        for number in range(12):
            noise = rng.integers(0, 50, size=(64, 64, 3))
            picture = Image.fromarray((np.array(shade) * 0.8 + noise).astype(np.uint8))
            data = io.BytesIO()
            picture.save(data, "PNG")
            store.pipe_file(f"crawl/{category}/{number:03}.png", data.getvalue())
    store.pipe_file("crawl/sea/broken.png", b"<html>404</html>")
    store.pipe_file("crawl/sea/empty.png", b"")


def _call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = app.main(list(arguments))
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def _first(stages: list[dict]) -> dict:
    assert stages[0]["stage"] == "ingest"
    return stages[0]


def _objects(store: fsspec.AbstractFileSystem, top: str) -> dict[str, bytes]:
    store.invalidate_cache()
    return {name: store.cat_file(name) for name in store.find(top) if name.endswith(".parquet")}


def test_the_chain_runs_from_bucket_to_bucket(bucket, tmp_path, capsys):
    shown = json.loads(_call(capsys, "ingest", "s3://crawl", "s3://runs/one", "--workers", "2", "--json"))
    assert _first(shown)["result"]["statuses"] == {"empty": 1, "not_image": 1, "ok": 24}
    _call(capsys, "ingest", "s3://crawl", "s3://runs/two", "--workers", "0", "--quiet")
    first, second = _objects(bucket, "runs/one"), _objects(bucket, "runs/two")
    assert [data for _, data in sorted(first.items())] == [data for _, data in sorted(second.items())]
    assert len(first) >= 2

    _call(capsys, "weight", "s3://runs/one", "--encoder", "none", "--quiet")
    out = tmp_path / "out"
    _call(capsys, "export", "s3://runs/one", str(out), "--to", "imagefolder", "--threshold", "0", "--quiet")
    assert sum(1 for _ in out.rglob("*.png")) == 24
    again = json.loads(_call(capsys, "ingest", "s3://crawl", "s3://runs/one", "--json"))
    assert _first(again)["skipped"]
    bucket.pipe_file("crawl/sea/empty.png", bucket.cat_file("crawl/sea/001.png"))
    bucket.invalidate_cache()
    changed = json.loads(_call(capsys, "ingest", "s3://crawl", "s3://runs/one", "--json"))
    assert _first(changed)["result"]["statuses"] == {"not_image": 1, "ok": 25}


def test_a_store_that_refuses_is_an_error_with_its_address(bucket, tmp_path, capsys):
    assert app.main(["ingest", "s3://nobucket/crawl", str(tmp_path / "run")]) == 3
    assert "s3://nobucket/crawl" in capsys.readouterr().err
