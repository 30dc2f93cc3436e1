"""RUN/webclean.log: a line for each thing that was done, said and gone wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exported_run import picture

from webclean.cli.app import main
from webclean.errors import ConfigError
from webclean.io.run_dir import RunDir
from webclean.stages import log
from webclean.stages.base import committed


def crawl(tmp_path: Path) -> Path:
    for i in range(2):
        path = tmp_path / "crawl" / "cat" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"words" if i else picture(i))
    return tmp_path / "crawl"


def lines(run: RunDir) -> list[str]:
    found = run.read_bytes("webclean.log").decode().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ", line) for line in found)
    return [line[20:] for line in found]


def test_a_command_its_settings_notes_stages_and_end(tmp_path):
    run = RunDir(str(tmp_path / "run"))
    assert main(["ingest", str(crawl(tmp_path)), run.url, "--workers", "0", "--radius", "9", "-q"]) == 0
    found = lines(run)
    assert re.match(r"ingest \[\d+\]: started, .*\"source\": .*crawl.*\"radius\": 9.*webclean \d", found[0])
    assert any(
        re.search(r"note: format: folder", line) for line in found
    )  # though --quiet kept it from the screen
    assert any(line.startswith("dedup: done in") for line in found)
    assert re.fullmatch(r"ingest \[\d+\]: done after \d+\.\d s", found[-1])


def test_what_failed_and_why(tmp_path, capsys):
    run = RunDir(str(tmp_path / "run"))
    assert main(["ingest", str(crawl(tmp_path)), run.url, "--workers", "0"]) == 0
    assert main(["export", run.url, str(tmp_path / "out")]) == 3
    last = lines(run)[-1]
    assert re.match(r"export \[\d+\]: failed: error\[artifact-missing\]: .*has not been made.*\\n", last)
    assert last.endswith(" s")


def test_it_is_part_of_no_fingerprint(tmp_path):
    run = RunDir(str(tmp_path / "run"))
    args = ["ingest", str(crawl(tmp_path)), run.url, "--workers", "0"]
    assert main(args) == 0
    before = committed(run, "images")
    (tmp_path / "run/webclean.log").unlink()
    assert main(args) == 0
    assert committed(run, "images") == before


def test_an_interrupt_and_a_bug_are_told_and_passed_on(tmp_path):
    run = RunDir(str(tmp_path))
    log.append(run, "a stage: started")
    for error in (KeyboardInterrupt(), ValueError("odd\nthing"), ConfigError("no", hint="yes")):
        with pytest.raises(type(error)), log.command(run, "x", given={}, note=lambda text: None):
            raise error
    ends = [line.partition(": ")[2] for line in lines(run)[2::2]]
    assert [re.sub(r" after .*", "", end) for end in ends] == [
        "interrupted", "failed: ValueError: odd\\nthing", "failed: error[config]: no\\n  next:  yes",
    ]  # fmt: skip


def test_one_line_each_and_no_passwords(tmp_path):
    run = RunDir(str(tmp_path))
    with log.command(
        run,
        "x",
        given={"source": "https://me:secret@host/a@b?X-Amz-Signature=secret&x=1"},
        note=lambda text: None,
    ) as told:
        told.note("a\r\nb\u2028c")
        assert not run.exists("webclean.log")
        told.stage("y: started")
    text = "\n".join(lines(run))
    assert len(lines(run)) == 4
    assert "secret" not in text
    assert "https://***@host/a@b?X-Amz-Signature=***&x=1" in text


def test_a_run_that_is_not_there_gets_no_folder(tmp_path):
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 3
    assert not (tmp_path / "run").exists()


def test_a_crawl_that_is_given_for_a_run_gets_no_log(tmp_path, capsys):
    """It would be taken for a run folder, and left out, from then on."""
    source = crawl(tmp_path)
    assert main(["ingest", str(tmp_path / "no-crawl"), str(source)]) == 3
    assert not (source / "webclean.log").exists()
    assert main(["ingest", str(source), str(tmp_path / "run"), "--workers", "0"]) == 0
