"""Local processes: the order of items, whose fault a crash is, and nothing left behind."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from webclean.config import GeneralConfig
from webclean.engines.base import Crash
from webclean.engines.local import InlineEngine, LocalEngine, available_cores
from webclean.engines.make import make_engine
from webclean.errors import ArtifactInvalidError, WorkerCrashedError
from webclean.io import decode


def square(x: int) -> int:
    return x * x


def late_first(x: int) -> int:
    time.sleep(0.2 if x == 0 else 0)
    return x


def stumble(x: int) -> int:
    if x == 3:
        raise ArtifactInvalidError(f"item {x}", context="in a worker", hint="mend it")
    return x


def die(x: int, *, on: tuple[int, ...] = (3,), by: str = "exit") -> int:
    if x in on:
        if by == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once(x: int, folder: str) -> int:
    marker = Path(folder, str(x))
    if x == 2 and not marker.exists():
        marker.touch()
        os._exit(1)
    return x


def is_loaded(module: str) -> bool:
    return module in sys.modules


def hang(x: int) -> str:
    """What `inspect` does where a decoder computes on and on without Python."""
    with decode._Clock(0.2) as clock, clock.running():
        if x == 2:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    return str(x)


def count_call(x: int, folder: str) -> int:
    with open(Path(folder, str(x)), "a") as file:
        file.write("called\n")
    time.sleep(0.3 if x == 1 else 0)
    if x == 1:
        os._exit(1)
    return x


def pid_and_threads(_: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(2)
    yield made
    made.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_inline_is_the_plain_map():
    engine = make_engine(GeneralConfig(workers=0))
    assert isinstance(engine, InlineEngine)
    assert list(engine.map(square, range(4))) == [0, 1, 4, 9]
    engine.close()


def test_the_number_of_workers():
    assert make_engine(GeneralConfig()).num_workers == available_cores()
    assert make_engine(GeneralConfig(workers=3)).num_workers == 3
    with pytest.raises(ValueError, match="at least 1; got 0"):
        LocalEngine(0)


def test_order_and_exceptions_and_reuse(engine):
    assert list(engine.map(late_first, range(12))) == list(range(12))
    assert list(engine.map(square, [])) == []
    found = engine.map(stumble, range(12))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ArtifactInvalidError, match="item 3") as caught:
        next(found)
    assert (caught.value.context, caught.value.hint) == ("in a worker", "mend it")
    assert list(engine.map(square, range(3))) == [0, 1, 4]  # the same engine goes on


def test_items_are_taken_as_they_are_needed(engine):
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    found = engine.map(square, items())
    assert next(found) == 0
    assert len(taken) <= 2 * engine.num_workers + 1
    found.close()


@pytest.mark.parametrize("by", ["exit", "kill"])
def test_a_crash_is_blamed_on_its_item_and_the_others_arrive(by, engine):
    function = functools.partial(die, on=(3, 6), by=by)
    found = list(engine.map(function, range(9), yield_crashes=True))
    assert [x for x in found if not isinstance(x, Crash)] == [0, 1, 2, 4, 5, 7, 8]
    assert [x.index for x in found if isinstance(x, Crash)] == [3, 6]
    assert [found.index(x) for x in found if isinstance(x, Crash)] == [3, 6]


def test_a_decoder_that_never_returns_costs_its_worker_and_nothing_else(engine):
    found = list(engine.map(hang, range(5), yield_crashes=True))
    assert [x for x in found if not isinstance(x, Crash)] == ["0", "1", "3", "4"]
    assert [x.index for x in found if isinstance(x, Crash)] == [2]


def test_a_crash_stops_where_none_is_asked_for(engine):
    found = engine.map(die, range(9))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WorkerCrashedError, match="a worker process died on item 3"):
        next(found)


def test_an_item_that_dies_once_is_tried_again(engine, tmp_path):
    assert list(engine.map(functools.partial(die_once, folder=str(tmp_path)), range(5))) == list(range(5))


def test_what_was_done_before_a_crash_is_not_done_again(engine, tmp_path):
    found = list(
        engine.map(functools.partial(count_call, folder=str(tmp_path)), range(3), yield_crashes=True)
    )
    assert [isinstance(x, Crash) for x in found] == [False, True, False]
    calls = [len((tmp_path / str(x)).read_text().splitlines()) for x in range(3)]
    assert calls == [1, 2, 1]


def test_a_prepared_worker_has_the_module_before_it_is_asked():
    engine = LocalEngine(1)
    try:
        assert list(engine.map(is_loaded, ["xml.dom.minidom"])) == [False]
        engine.prepare("xml.dom.minidom")
        engine.prepare("no_such_module")  # whoever needs it will say so
        assert list(engine.map(is_loaded, ["xml.dom.minidom"])) == [True]
    finally:
        engine.close()


def test_one_compute_thread_each_and_gone_after_close(engine):
    found = list(engine.map(pid_and_threads, range(4)))
    assert {threads for _, threads in found} == {"1"}
    pids = [pid for pid, _ in found]
    assert os.getpid() not in pids
    engine.close()
    assert gone_within(pids, 5)
    engine.close()  # twice does no harm


_PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from helper_items import report
from webclean.engines.local import LocalEngine

if __name__ == "__main__":
    engine = LocalEngine(2)
    for pid in engine.map(report, range(2)):
        print(pid, flush=True)
    print("ready", flush=True)
    list(engine.map(time.sleep, [60, 60]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told by Linux")
def test_workers_die_with_a_killed_parent(tmp_path):
    (tmp_path / "helper_items.py").write_text(
        "import os, time\ndef report(_):\n    time.sleep(0.2)\n    return os.getpid()\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    parent = subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    read: Callable[[], str] = parent.stdout.readline
    pids = []
    while (line := read().strip()) != "ready":
        pids.append(int(line))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert pids
    assert gone_within(pids, 10)
