"""Room on the disk is asked for before a long stage starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from exported_run import Row, picture, write_run

from webclean.cli.app import main
from webclean.engines.local import InlineEngine
from webclean.errors import StorageFullError
from webclean.io.run_dir import RunDir
from webclean.stages import space
from webclean.stages.base import Context, committed


def has_free(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    """The disk cannot be filled here: what it says of itself is set."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: (10**12, 0, nbytes))


@pytest.mark.parametrize(("free", "is_enough"), [(20_000_000 + 1_100, True), (20_000_000 + 1_099, False)])
def test_a_tenth_more_and_twenty_megabytes(tmp_path, monkeypatch, free, is_enough):
    has_free(monkeypatch, free)
    context = Context(RunDir(str(tmp_path / "run")), InlineEngine())
    if is_enough:
        space.require(context, 1_000, "things")
    else:
        with pytest.raises(StorageFullError, match=r"things need about 1\.0 KB, and 20\.0 MB are free"):
            space.require(context, 1_000, "things")


def test_force_starts_all_the_same_and_says_so(tmp_path, monkeypatch):
    has_free(monkeypatch, 5)
    notes: list[str] = []
    context = Context(RunDir(str(tmp_path)), InlineEngine(), note=notes.append, force=True)
    space.require(context, 5 * 10**12, "things", in_scratch=True)
    (note,) = notes
    assert note.startswith("things need about 5.0 TB, and 5 bytes are free in")


def test_a_run_in_a_store_has_room_for_all_but_its_scratch(tmp_path, monkeypatch):
    has_free(monkeypatch, 5)
    context = Context(RunDir("memory://space/run"), InlineEngine())
    space.require(context, 10**9, "things")
    with pytest.raises(StorageFullError):
        space.require(context, 10**9, "things", in_scratch=True)


def crawl(tmp_path: Path, num: int = 3) -> Path:
    for i in range(num):
        path = tmp_path / "crawl" / "cat" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(i))
    return tmp_path / "crawl"


def test_ingest_refuses_before_it_touches_what_stands(tmp_path, monkeypatch, capsys):
    run = RunDir(str(tmp_path / "run"))
    args = ["ingest", str(crawl(tmp_path)), run.url, "--workers", "0"]
    assert main(args) == 0
    crawl(tmp_path, 4)
    before = committed(run, "images")
    has_free(monkeypatch, 20_000_000)
    capsys.readouterr()
    assert main(args) == 3
    told = capsys.readouterr().err
    assert "error[storage-full]: the rows of 4 images need about 8.0 KB, and 20.0 MB are free" in told
    assert "name a RUN on another disk" in told
    assert committed(run, "images") == before
    assert main([*args, "--force"]) == 0


def test_export_asks_for_room_for_copies_only(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path, [Row("a.jpg", "cat"), Row("b.jpg", "dog")]).run
    has_free(monkeypatch, 7)
    args = ["export", run.url, str(tmp_path / "out" / "deep")]
    assert main(args) == 3
    assert "copies of 2 images need about" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*args, "--images", "hardlink"]) == 0


def test_a_file_system_that_does_not_tell_its_size_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: (0, 0, 0))
    space.require(Context(RunDir(str(tmp_path)), InlineEngine()), 10**9, "things")
