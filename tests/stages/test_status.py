"""A survey of a run: states, the order of the chain, the lock, the next command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from webclean.cli.app import main
from webclean.errors import ArtifactMissingError
from webclean.io.lock import LOCK_FILE, hold
from webclean.io.run_dir import RunDir
from webclean.stages.base import PENDING
from webclean.stages.status import survey


def commit(run: RunDir, artefact: str, digest: str = "d", **inputs: str) -> None:
    """A record as `execute` leaves it; in the inputs' names __ stands for /."""
    run.write_json(
        f"{artefact}/run.json",
        {
            "fingerprint": "f",
            "inputs": {name.replace("__", "/"): digest for name, digest in inputs.items()},
            "digest": digest,
            "result": {},
            "counts": {"total": 5, "forwarded": 4, "dropped": {"x": 1}},
            "clock": {"started": 0.0, "seconds": 1.25},
        },
    )


def states(run: RunDir) -> dict[str, str]:
    return {row["artefact"]: row["state"] for row in survey(run)["artefacts"]}


def test_a_folder_that_is_not_there():
    with pytest.raises(ArtifactMissingError, match="does not exist") as caught:
        survey(RunDir("/nowhere/run"))
    assert caught.value.hint is not None
    assert "webclean ingest SOURCE /nowhere/run" in caught.value.hint


def test_step_by_step_the_next_command(run_dir):
    url = run_dir.url
    assert survey(run_dir)["next"] == f"webclean ingest SOURCE {url}"
    run_dir.write_json(f"images/{PENDING}", {"fingerprint": "f"})
    assert states(run_dir) == {"images": "unfinished"}
    assert survey(run_dir)["next"] == f"webclean ingest SOURCE {url}"
    run_dir.remove(f"images/{PENDING}")
    commit(run_dir, "images")
    commit(run_dir, "categories")
    assert survey(run_dir)["next"] == f"webclean ingest SOURCE {url}"
    commit(run_dir, "duplicates", images="d")
    assert survey(run_dir)["next"] == f"webclean weight {url}"
    commit(run_dir, "weights/r1/stage2", images="d")
    commit(run_dir, "decisions/v1.0", images="d")
    assert survey(run_dir)["next"] == f"webclean export {url} OUT --decisions v1.0"
    commit(run_dir, "decisions/default", images="d")
    assert survey(run_dir)["next"] == f"webclean export {url} OUT"
    assert set(states(run_dir).values()) == {"fresh"}


def test_rows_stand_in_the_order_of_the_chain(run_dir):
    for artefact in (
        "decisions/default",
        "models/somnet",
        "weights/r1/stage1",
        "images",
        "duplicates",
        "text",
    ):
        commit(run_dir, artefact)
    run_dir.write_bytes(".scratch/x/run.json", b"{}")
    run_dir.write_bytes("webclean.log", b"")
    assert list(states(run_dir)) == [
        "images", "duplicates", "text", "weights/r1/stage1", "models/somnet", "decisions/default",
    ]  # fmt: skip


def test_the_first_stale_link_comes_first(run_dir):
    commit(run_dir, "images", "new")
    commit(run_dir, "duplicates", images="old")
    commit(run_dir, "weights/r1/stage2", images="new", duplicates="d")
    commit(run_dir, "models/somnet", weights__r1__stage2="other")
    found = survey(run_dir)
    assert states(run_dir)["duplicates"] == "stale: duplicates was made from an older images"
    assert found["next"] == f"webclean ingest SOURCE {run_dir.url}"
    commit(run_dir, "duplicates", images="new")
    assert survey(run_dir)["next"] == f"webclean train {run_dir.url}"


def test_rows_hold_counts_and_seconds(run_dir):
    commit(run_dir, "images")
    assert survey(run_dir)["artefacts"] == [
        {
            "artefact": "images", "state": "fresh", "total": 5, "forwarded": 4, "seconds": 1.2,
            "finished": "1970-01-01T00:00:01+00:00",
        }
    ]  # fmt: skip


def test_a_remote_run_is_surveyed_the_same_way():
    run = RunDir("memory://status/run")
    commit(run, "images")
    commit(run, "weights/r1/stage2", images="d")
    assert states(run) == {"images": "fresh", "weights/r1/stage2": "fresh"}
    run.remove("")


def shown(capsys: pytest.CaptureFixture[str], run: RunDir, *flags: str) -> str:
    assert main(["status", run.url, *flags]) == 0
    return capsys.readouterr().out


def test_what_a_person_sees(run_dir, capsys):
    commit(run_dir, "images")
    text = shown(capsys, run_dir)
    assert "images" in text
    assert "fresh" in text
    assert f"next: webclean ingest SOURCE {run_dir.url}" in text
    assert "written" not in text


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(5, "< 1 min"), (200, "3 min"), (7_300, "2 h"), (5 * 86_400 + 9, "5 d"), (-60, "< 1 min")],
)
def test_the_age_of_an_artefact(run_dir, capsys, seconds, age):
    commit(run_dir, "images")
    record = run_dir.read_json("images/run.json")
    record["clock"]["started"] = time.time() - seconds - 1.25
    run_dir.write_json("images/run.json", record)
    run_dir.write_json(f"text/{PENDING}", {"fingerprint": "f"})
    rows = [line.split() for line in shown(capsys, run_dir).splitlines() if "fresh" in line or "unfi" in line]
    assert [" ".join(row[5:]) for row in rows] == [age, "-"]


def test_the_holder_is_shown_living_or_dead(run_dir, capsys):
    with hold(run_dir, "webclean train", print):
        assert "being written by `webclean train`" in shown(capsys, run_dir)
        found: dict[str, Any] = json.loads(shown(capsys, run_dir, "--json"))
        assert found["lock"]["alive"] is True
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = {"host": socket.gethostname(), "pid": process.pid, "command": "webclean weight", "time": 0}
    run_dir.write_json(LOCK_FILE, left)
    assert "left by `webclean weight`" in shown(capsys, run_dir)
    assert "which is gone" in shown(capsys, run_dir)
