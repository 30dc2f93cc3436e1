"""One writer per run folder: a lock file with host, process and time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from webclean.errors import RunLockedError
from webclean.io.run_dir import RunDir

LOCK_FILE = ".lock"


@contextlib.contextmanager
def hold(run: RunDir, command: str, note: Callable[[str], None], name: str = LOCK_FILE) -> Iterator[None]:
    """Hold the run folder's lock; the lock of a dead process on this host is taken over and said.

    Raises:
        RunLockedError: a living process, or one on another host, holds it.
    """
    run.make()
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "command": command, "time": time.time()}
    while not _create(run, name, mine):
        holder = _holder(run, name)
        if holder is None:
            continue  # released between our two looks
        if holder.get("host") != mine["host"] or _alive(int(holder.get("pid", -1))):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder.get("time", 0))))
            raise RunLockedError(
                f"{run.url} is being written by `{holder.get('command')}`",
                context=f"process {holder.get('pid')} on {holder.get('host')}, since {since}",
                hint=f"wait for it, or remove {run.url}/{name} if that process is gone",
            )
        note(f"took over the lock of process {holder.get('pid')}, which is gone")
        run.remove(name)
    try:
        yield
    finally:
        run.remove(name)


def _create(run: RunDir, name: str, mine: dict[str, Any]) -> bool:
    path = run.local_path(name)
    data = json.dumps(mine).encode()
    if path is None:
        # Object stores have no exclusive create everywhere: look, write, then read back who won.
        if run.exists(name):
            return False
        run.write_bytes(name, data)
        return run.read_bytes(name) == data
    # The content must stand before the name does, else a reader may meet an empty lock.
    temporary = path.with_name(f"{name}.{os.getpid()}")
    temporary.write_bytes(data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _holder(run: RunDir, name: str) -> dict[str, Any] | None:
    try:
        holder = json.loads(run.read_bytes(name))
    except Exception as error:  # noqa: BLE001 - vanished or unreadable: told apart below
        if not run.exists(name):
            return None
        raise RunLockedError(
            f"{run.url}/{name} cannot be read: {error}", hint="remove it if no other process writes this run"
        ) from error
    return dict(holder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A process that was killed and not yet reaped by its parent writes nothing any more.
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
