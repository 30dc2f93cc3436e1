"""One writer per run folder, also when many find a dead one's lock at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from webclean.errors import RunLockedError
from webclean.io import lock
from webclean.io.run_dir import RunDir

_HOLD = """
import sys, time
from webclean.io.lock import hold
from webclean.io.run_dir import RunDir
with hold(RunDir(sys.argv[1]), "webclean train", lambda text: None):
    print("held", flush=True)
    time.sleep(60)
"""
# Each racer starts as soon as the flag is there, and writes what it saw between two looks at a counter.
_RACE = """
import os, sys, time
from webclean.errors import RunLockedError
from webclean.io.lock import hold
from webclean.io.run_dir import RunDir
run, flag, inside = sys.argv[1:]
print("ready", flush=True)
while not os.path.exists(flag):
    pass
wins = 0
for _ in range(60):
    try:
        with hold(RunDir(run), "race", lambda text: None):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another is inside
            wins += 1
            os.unlink(inside)
    except RunLockedError:
        pass
print(wins)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() in ("held", "ready")
    return process


def end(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    return output


def left_by(host: str, pid: int) -> bytes:
    return json.dumps({"host": host, "pid": pid, "command": "webclean ingest", "time": 0.0}).encode()


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(params=["local", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run"
    made = RunDir(url)
    made.make()
    return made


def said(run: RunDir) -> list[str]:
    notes: list[str] = []
    with lock.hold(run, "webclean weight", notes.append):
        holder: dict[str, Any] | None = lock.holder_of(run)
        assert holder is not None
        assert (holder["command"], holder["pid"]) == ("webclean weight", os.getpid())
    assert lock.holder_of(run) is None
    assert run.list() == []
    return notes


def test_held_then_gone_without_litter(run):
    assert said(run) == []
    assert said(run) == []


def test_a_second_writer_learns_the_holders_name(run):
    with lock.hold(run, "webclean train", print):
        with pytest.raises(RunLockedError, match="being written by `webclean train`") as caught:
            said(run)
        assert caught.value.exit_code == 3
        assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    assert said(run) == []


def test_released_when_the_body_fails(run):
    with pytest.raises(ZeroDivisionError, match="division"), lock.hold(run, "webclean train", print):
        _ = 1 / 0
    assert said(run) == []


def test_a_dead_process_on_this_host_is_taken_over_and_said(run, dead_pid):
    run.write_bytes(lock.LOCK_FILE, left_by(socket.gethostname(), dead_pid))
    holder = lock.holder_of(run)
    assert holder is not None
    assert holder["alive"] is False
    assert said(run) == [f"took over the lock of process {dead_pid}, which is gone"]


def test_another_host_s_lock_is_respected(run):
    run.write_bytes(lock.LOCK_FILE, left_by("another-host", 1))
    for _ in range(2):  # and the refusal changes nothing
        with pytest.raises(RunLockedError, match="webclean ingest") as caught:
            said(run)
        assert "process 1 on another-host" in str(caught.value)
        assert "remove" in str(caught.value.hint)
    holder = lock.holder_of(run)
    assert holder is not None
    assert holder["alive"] is None


def test_a_lock_that_died_before_it_had_a_name_is_taken(run_dir):
    run_dir.write_bytes(lock.LOCK_FILE, b"")
    assert lock.holder_of(run_dir) is None
    assert said(run_dir) == []


def test_a_living_process_holds_and_a_killed_one_does_not(run_dir):
    process = start(_HOLD, run_dir.url)
    with pytest.raises(RunLockedError, match="webclean train") as caught:
        said(run_dir)
    assert str(process.pid) in str(caught.value)
    holder = lock.holder_of(run_dir)
    assert holder is not None
    assert holder["alive"] is True
    process.send_signal(signal.SIGKILL)
    end(process)
    assert run_dir.list() == [lock.LOCK_FILE]
    assert said(run_dir) == [f"took over the lock of process {process.pid}, which is gone"]


def test_a_pid_that_lives_again_does_not_keep_a_dead_lock(run_dir):
    run_dir.write_bytes(lock.LOCK_FILE, left_by(socket.gethostname(), os.getppid()))
    assert len(said(run_dir)) == 1


def test_racers_for_a_dead_lock_are_never_inside_together(run_dir, tmp_path, dead_pid):
    run_dir.write_bytes(lock.LOCK_FILE, left_by(socket.gethostname(), dead_pid))
    flag, inside = tmp_path / "go", tmp_path / "inside"
    racers = [start(_RACE, run_dir.url, str(flag), str(inside)) for _ in range(3)]
    flag.touch()
    wins = [end(racer) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert sum(int(w) for w in wins) > 0
    assert run_dir.list() == []
