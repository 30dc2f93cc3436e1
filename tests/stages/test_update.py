"""`ingest --update`: only what is new, changed or elsewhere is read, and the bytes are those of a fresh ingest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from archived import write_tar
from exported_run import picture

from webclean import schema
from webclean.cli.app import main
from webclean.config import DedupConfig, IngestConfig, QualityConfig
from webclean.engines.local import InlineEngine
from webclean.io import scan, tables
from webclean.io.decode import Inspection
from webclean.io.run_dir import RunDir
from webclean.io.scan import Known
from webclean.stages import ingest, plan
from webclean.stages.base import Context, committed, staleness

_OLD = 1_600_000_000


class Looking(InlineEngine):
    """Writes down which files are decoded and which are only hashed."""

    def __init__(self) -> None:
        self.decoded: list[str] = []
        self.hashed: list[str] = []

    def map(self, function, items, *, yield_crashes=False):
        for item in items:
            for one in item if isinstance(item, list) else ():
                if isinstance(one, Known):
                    self.hashed.append(one.uri.rpartition("/")[2])
                elif isinstance(one, str):
                    self.decoded.append(one.rpartition("/")[2])
            yield function(item)


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Two categories of three images, one of them no image."""
    folder = tmp_path / "crawl"
    for i in range(6):
        path = folder / ("cat" if i % 2 else "dog") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"words" if i == 2 else picture(i))
    age()
    return folder


def age() -> None:
    """Wait until what was written is older than the tick of a clock."""
    import time

    time.sleep(0.06)


def run(tmp_path: Path, source: Path, name: str = "run", **options: object):
    """Ingest; gives the context, the engine and the numbers of the update."""
    folder = RunDir(str(tmp_path / name))
    folder.make()
    engine = Looking()
    context = Context(run=folder, engine=engine)
    plan.ingest(IngestConfig(source=str(source), **options), DedupConfig(), QualityConfig(), context)
    record = committed(folder, schema.IMAGES)
    return context, engine, record["result"].get("update")


def contents(context: Context) -> dict[str, bytes]:
    top = context.run.local_path()
    assert top is not None
    return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*.parquet"))}


def numbers(**given: int) -> dict[str, int]:
    names = ("new", "changed", "described", "moved", "unchanged", "gone")
    return dict.fromkeys(names, 0) | given


@pytest.mark.parametrize("part_rows", [1024, 2])
def test_new_changed_and_gone_files(tmp_path, crawl, monkeypatch, part_rows):
    monkeypatch.setattr(tables, "PART_ROWS", part_rows)
    run(tmp_path, crawl)
    (crawl / "cat/1.jpg").unlink()
    (crawl / "cat/0new.jpg").write_bytes(picture(7))
    (crawl / "cat/3.jpg").write_bytes(picture(33, size=(20, 20)))  # of another size
    same_size = bytearray(picture(5))
    same_size[-10] ^= 1
    (crawl / "cat/5.jpg").write_bytes(bytes(same_size))
    os.utime(crawl / "cat/5.jpg", (_OLD, _OLD))  # and it claims to be old
    updated, engine, told = run(tmp_path, crawl, update=True)
    assert sorted(engine.decoded) == ["0new.jpg", "3.jpg"]
    assert engine.hashed == ["5.jpg"]
    assert told == numbers(new=1, changed=2, gone=1, unchanged=3)
    assert contents(updated) == contents(run(tmp_path, crawl, "fresh")[0])
    assert not list(updated.run.scratch("").rglob("*.parquet"))


def test_what_was_only_touched_is_hashed_and_makes_nothing_stale(tmp_path, crawl):
    first, _, _ = run(tmp_path, crawl)
    digest = committed(first.run, schema.IMAGES)["digest"]
    os.utime(crawl / "dog/0.jpg")
    os.link(crawl / "dog/4.jpg", tmp_path / "linked.jpg")
    updated, engine, told = run(tmp_path, crawl, update=True)
    assert (engine.decoded, sorted(engine.hashed)) == ([], ["0.jpg", "4.jpg"])
    assert told == numbers(unchanged=6)
    assert committed(updated.run, schema.IMAGES)["digest"] == digest


def test_nothing_to_do_is_skipped(tmp_path, crawl):
    run(tmp_path, crawl)
    assert run(tmp_path, crawl, update=True)[1].decoded == []


def test_an_update_of_nothing_is_an_ingest(tmp_path, crawl):
    _updated, engine, told = run(tmp_path, crawl, update=True)
    assert len(engine.decoded) == 6
    assert told == numbers(new=6)


def test_failures_are_looked_at_again(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    (folder / "manifest.csv").write_text("path,label,title\na.jpg,cat,one\nb.jpg,cat,two\n")
    (folder / "a.jpg").write_bytes(picture(1))
    age()
    run(tmp_path, folder)
    (folder / "b.jpg").write_bytes(picture(2))
    (folder / "manifest.csv").write_text("path,label,title\na.jpg,cat,three\nb.jpg,cat,two\n")
    updated, engine, told = run(tmp_path, folder, update=True)
    assert engine.decoded == ["b.jpg"]
    assert told == numbers(changed=1, described=1)
    assert contents(updated) == contents(run(tmp_path, folder, "fresh")[0])


def test_a_link_that_points_elsewhere_is_seen(tmp_path, crawl):
    store = tmp_path / "store"
    store.mkdir()
    for number in (8, 9):
        (store / f"{number}.jpg").write_bytes(picture(number, "PNG"))  # of one size
    (crawl / "cat/link.jpg").symlink_to(store / "8.jpg")
    age()
    run(tmp_path, crawl, allow_outside=True)
    (crawl / "cat/link.jpg").unlink()
    (crawl / "cat/link.jpg").symlink_to(store / "9.jpg")
    updated, engine, _ = run(tmp_path, crawl, update=True, allow_outside=True)
    assert [*engine.decoded, *engine.hashed] == ["link.jpg"]
    assert contents(updated) == contents(run(tmp_path, crawl, "fresh", allow_outside=True)[0])


def test_a_killed_update_goes_on(tmp_path, crawl, monkeypatch, killed_at_second_part):
    monkeypatch.setattr(tables, "PART_ROWS", 2)
    run(tmp_path, crawl)
    (crawl / "cat/0.jpg").write_bytes(picture(7))
    (crawl / "dog/4.jpg").unlink()
    with killed_at_second_part():
        run(tmp_path, crawl, update=True)
    updated, engine, told = run(tmp_path, crawl, update=True)
    assert engine.decoded == []  # the first part, with 0.jpg, stands
    assert told == numbers(new=1, gone=1, unchanged=5)
    assert contents(updated) == contents(run(tmp_path, crawl, "fresh")[0])


@pytest.mark.parametrize("option", [{"max_pixels": 500}, {"max_bytes": 1500}])
def test_rows_made_with_other_settings_are_not_taken_over(tmp_path, crawl, option):
    (crawl / "cat/3.jpg").write_bytes(picture(3, size=(40, 40)))
    run(tmp_path, crawl, **option)
    updated, engine, _ = run(tmp_path, crawl, update=True)
    assert len(engine.decoded) == 6
    assert contents(updated) == contents(run(tmp_path, crawl, "fresh")[0])


def test_a_file_outside_is_not_taken_over_where_that_is_forbidden_now(tmp_path, crawl):
    (tmp_path / "outside.jpg").write_bytes(picture(9))
    (crawl / "cat/link.jpg").symlink_to(tmp_path / "outside.jpg")
    age()
    run(tmp_path, crawl, allow_outside=True)
    updated, _, _ = run(tmp_path, crawl, update=True)
    assert contents(updated) == contents(run(tmp_path, crawl, "fresh")[0])


def test_members_of_a_changed_archive_are_hashed(tmp_path):
    source = write_tar(tmp_path / "crawl.tar", [("cat/1.jpg", picture(1)), ("cat/2.jpg", picture(2))])
    age()
    run(tmp_path, source)
    write_tar(tmp_path / "crawl.tar", [("cat/1.jpg", picture(1)), ("cat/2.jpg", picture(3))])
    updated, engine, told = run(tmp_path, source, update=True)
    assert len(engine.hashed) == 2
    assert (told["changed"], told["unchanged"]) == (1, 1)
    assert contents(updated) == contents(run(tmp_path, source, "fresh")[0])


def test_images_that_moved_are_hashed_and_what_was_made_of_them_stays(tmp_path, crawl):
    first, _, _ = run(tmp_path, crawl)
    digest = committed(first.run, schema.IMAGES)["digest"]
    crawl.rename(tmp_path / "elsewhere")
    moved, engine, told = run(tmp_path, tmp_path / "elsewhere", update=True)
    assert (engine.decoded, len(engine.hashed)) == ([], 6)
    assert told == numbers(moved=6)
    assert contents(moved) == contents(run(tmp_path, tmp_path / "elsewhere", "fresh")[0])
    assert committed(moved.run, schema.IMAGES)["digest"] == digest
    assert staleness(moved.run, schema.QUALITY) is None
    assert run(tmp_path, tmp_path / "elsewhere")[1].decoded == []  # it is where it is now
    os.utime(tmp_path / "elsewhere/dog/0.jpg")
    touched, engine, told = run(tmp_path, tmp_path / "elsewhere", update=True)
    assert (engine.hashed, told) == (["0.jpg"], numbers(unchanged=6))
    assert committed(touched.run, schema.IMAGES)["digest"] == digest  # still


def test_a_move_with_one_other_file_is_no_move(tmp_path, crawl):
    first, _, _ = run(tmp_path, crawl)
    digest = committed(first.run, schema.IMAGES)["digest"]
    crawl.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/cat/1.jpg").write_bytes(picture(11))
    moved, _, told = run(tmp_path, tmp_path / "elsewhere", update=True)
    assert told == numbers(moved=5, changed=1)
    assert committed(moved.run, schema.IMAGES)["digest"] != digest
    assert contents(moved) == contents(run(tmp_path, tmp_path / "elsewhere", "fresh")[0])


def test_force_reads_everything(tmp_path, crawl):
    context, _, _ = run(tmp_path, crawl)
    engine = Looking()
    config = IngestConfig(source=str(crawl), update=True)
    context.engine = engine
    plan.ingest(config, DedupConfig(), QualityConfig(), context, force=True)
    assert len(engine.decoded) == 6


def test_a_known_image_is_decoded_only_if_its_bytes_are_others(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    known = Inspection(status="ok", sha256=ingest.hashlib.sha256(picture(1)).hexdigest(), width=99)
    uri = str(tmp_path / "a.jpg")
    (found,) = scan.inspect_all([Known(uri, known)], root=None, limits=scan.Limits())
    assert found is known
    (tmp_path / "a.jpg").write_bytes(picture(2))
    (found,) = scan.inspect_all([Known(uri, known)], root=None, limits=scan.Limits())
    assert (found.status, found.width) == ("ok", 12)
    (found,) = scan.inspect_all([Known(uri, known)], root=str(tmp_path / "x"), limits=scan.Limits())
    assert found.status == "unreadable"


def test_in_a_store(tmp_path):
    """What a store tells of size and time is asked for; an object of another time is hashed."""
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/crawl/cat/1.jpg": picture(1), "/crawl/cat/2.jpg": picture(2)})
    run(tmp_path, "memory://crawl")
    store.pipe({"/crawl/cat/2.jpg": picture(22), "/crawl/cat/3.jpg": picture(3)})
    updated, engine, told = run(tmp_path, "memory://crawl", update=True)
    assert told == numbers(new=1, changed=1, unchanged=1)
    assert "3.jpg" in engine.decoded
    assert contents(updated) == contents(run(tmp_path, "memory://crawl", "fresh")[0])
    store.rm("/crawl", recursive=True)


def test_from_the_command_line(tmp_path, crawl, capsys):
    folder = str(tmp_path / "run")
    assert main(["ingest", str(crawl), folder, "--workers", "0"]) == 0
    crawl.rename(tmp_path / "elsewhere")
    crawl = tmp_path / "elsewhere"
    capsys.readouterr()
    assert main(["ingest", str(crawl), folder, "--workers", "0", "--update", "--json"]) == 0
    shown = capsys.readouterr()
    assert "update: 6 moved" in shown.err
    assert "what was made from them stays valid" in shown.err
    found = json.loads(shown.out)
    assert found[0]["result"]["update"]["moved"] == 6
    assert [stage["skipped"] for stage in found] == [False, True, True]
