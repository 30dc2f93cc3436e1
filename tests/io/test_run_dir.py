"""The run folder: atomic files on a local disk and in fsspec's memory."""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path

import pytest

from webclean.cli.app import main
from webclean.errors import (
    ArtifactInvalidError,
    ArtifactMissingError,
    ConfigError,
    DataError,
    StorageFullError,
)
from webclean.io import run_dir as module
from webclean.io.run_dir import RunDir


@pytest.fixture(params=["local", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunDir:
    url = str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run"
    return RunDir(url)


def test_bytes_and_json_come_back(run):
    run.write_bytes("a/b/c.bin", b"\x00\x01")
    run.write_json("a/x.json", {"z": 1, "a": "ü"})
    assert run.read_bytes("a/b/c.bin") == b"\x00\x01"
    assert run.read_json("a/x.json") == {"z": 1, "a": "ü"}
    assert run.read_bytes("a/x.json") == '{\n  "a": "ü",\n  "z": 1\n}\n'.encode()
    with run.open("a/b/c.bin") as file:
        assert file.read(1) == b"\x00"


def test_replacing_gives_the_new_bytes(run):
    run.write_bytes("a/x", b"long first text")
    run.write_bytes("a/x", b"new")
    assert run.read_bytes("a/x") == b"new"
    assert run.list("a") == ["x"]


def test_listing_is_sorted_and_tells_folders(run):
    for name in ("b/2", "b/1", "a", "c/d/e"):
        run.write_bytes(name, b"x")
    assert run.list() == ["a", "b", "c"]
    assert run.list("b") == ["1", "2"]
    assert run.list("nowhere") == []
    assert run.folders() == ["b", "c"]
    assert run.folders("c") == ["d"]


def test_removing_files_trees_and_nothing(run):
    run.write_bytes("t/a/b", b"x")
    run.write_bytes("t/c", b"x")
    run.remove("t/c")
    run.remove("nothing")
    assert run.list("t") == ["a"]
    run.remove("t")
    assert not run.exists("t/a/b")


def test_what_is_missing_or_broken_is_named(run):
    with pytest.raises(ArtifactMissingError, match="a/b.json does not exist"):
        run.read_json("a/b.json")
    for broken in (b"{", b"\xff\xfe{}"):
        run.write_bytes("x.json", broken)
        with pytest.raises(ArtifactInvalidError, match=r"x.json is not JSON"):
            run.read_json("x.json")


def test_no_nan_reaches_a_json_file(run):
    with pytest.raises(ValueError, match="JSON"):
        run.write_json("x.json", {"a": float("nan")})
    assert not run.exists("x.json")


def test_scratch_is_a_local_folder(run):
    folder = run.scratch("cache/one")
    (folder / "x").write_bytes(b"x")
    assert run.scratch("cache/one") == folder
    if run.local_path() is None:
        top = folder.parent.parent
        assert top.stat().st_mode & 0o077 == 0, "the temp folder is everybody's"
        (folder / "x").unlink()
        folder.rmdir()
        folder.parent.rmdir()
        top.rmdir()


def test_local_paths_and_file_urls_are_the_same_place(tmp_path):
    plain, url = RunDir(f"{tmp_path}/run/"), RunDir(f"file://{tmp_path}/run")
    plain.write_bytes("x", b"1")
    assert url.read_bytes("x") == b"1"
    assert plain.local_path("x") == url.local_path("x") == tmp_path / "run" / "x"
    assert RunDir("memory://somewhere").local_path("x") is None


def test_a_remote_run_keeps_no_log_and_a_local_one_grows(tmp_path):
    local = RunDir(str(tmp_path))
    local.append_text("log", "one\n")
    local.append_text("log", "two\udcff\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\\udcff\n"
    remote = RunDir("memory://logs")
    remote.append_text("log", "one\n")
    assert not remote.exists("log")


@pytest.mark.parametrize(("url", "words"), [("", "empty"), ("nosuch://x/y", "cannot be opened")])
def test_names_that_are_no_run_folder(url, words):
    with pytest.raises(ConfigError, match=words):
        RunDir(url)


def test_a_file_in_the_way_is_the_users_trouble(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(DataError, match="cannot be written: Not a directory"):
        RunDir(str(tmp_path / "run")).write_bytes("images/x", b"1")


def test_a_file_is_no_run_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "source").mkdir()
    for command in (["ingest", str(tmp_path / "source")], ["weight"], ["export"]):
        rest = [str(tmp_path / "out")] if command == ["export"] else []
        assert main([*command, str(tmp_path / "file"), *rest]) == 2
        assert "is not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("source", "run"), [("crawl", "crawl"), ("crawl/images", "crawl"), ("crawl/models/a", "link")]
)
def test_the_run_folder_is_not_the_source(source, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / source).mkdir(parents=True)
    (tmp_path / "link").symlink_to("crawl")
    before = sorted(tmp_path.rglob("*"))
    for command in ("ingest", "run"):
        assert main([command, source, run]) == 2
        said = capsys.readouterr().err
        assert "each other's way" in said
        assert "next:" in said
    assert sorted(tmp_path.rglob("*")) == before
    for apart in ("crawl/photos", str(tmp_path / "elsewhere"), "s3://bucket/crawl/m.csv"):
        RunDir(run).refuse_source(apart)


def test_a_reader_never_sees_half_a_file(run_dir):
    contents = {bytes([i]) * 200_000 for i in range(4)}
    run_dir.write_bytes("x", min(contents))
    seen: list[bytes] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(run_dir.read_bytes("x"))

    reader = threading.Thread(target=look)
    reader.start()
    for content in sorted(contents) * 5:
        run_dir.write_bytes("x", content)
    done.set()
    reader.join()
    assert set(seen) <= contents


def test_bytes_are_synced_before_the_name_appears(run_dir, monkeypatch):
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def spy_sync(descriptor: int) -> None:
        events.append("sync")
        sync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(module.os, "fsync", spy_sync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    run_dir.write_bytes("x", b"1")
    assert events == ["sync", "rename", "sync"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(step, run_dir, monkeypatch):
    run_dir.write_bytes("x", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((module.os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(StorageFullError, match="no space left while writing x"):
        run_dir.write_bytes("x", b"new")
    assert run_dir.read_bytes("x") == b"old"
    assert run_dir.list() == ["x"]


_FULL = """
import json, resource, sys
from webclean.cli import app
from webclean.io.run_dir import RunDir
import webclean.stages.status as status

def survey(run):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    run.write_bytes("images/part-00000.parquet", b"x" * 100_000)

status.survey = survey
sys.exit(app.main(["status", sys.argv[1]]))
"""


def test_a_full_disk_ends_with_3_and_nothing_half_written(run_dir, fresh_python):
    run_dir.write_bytes("images/part-00000.parquet", b"before")
    done = fresh_python(_FULL, run_dir.url)
    assert done.returncode == 3, done.stderr
    assert "error[storage-full]: no space left while writing images/part-00000.parquet" in done.stderr
    assert run_dir.list("images") == ["part-00000.parquet"]
    assert run_dir.read_bytes("images/part-00000.parquet") == b"before"


def test_create_writes_once():
    run = RunDir(f"memory://{uuid.uuid4().hex}")
    assert run.create("x", b"1")
    assert not run.create("x", b"2")
    assert run.read_bytes("x") == b"1"


def test_json_is_the_same_whatever_the_order(run_dir):
    run_dir.write_json("a", {"b": 1, "a": [2]})
    run_dir.write_json("b", json.loads('{"a": [2], "b": 1}'))
    assert run_dir.read_bytes("a") == run_dir.read_bytes("b")
