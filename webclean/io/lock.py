"""One writer per run folder: a lock file with host, process and time.

On a local disk the lock is the kernel's (flock) and dies with its process, so that of two processes
that find a dead one's file only one goes on; the file's text only says who holds it. A remote run
has an object that is created once or not at all; its takeover is guarded by a kernel lock on this host.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from webclean.errors import DataError, RunLockedError
from webclean.io.run_dir import RunDir

LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_MOMENT_S = 0.05  # between a lock's creation and its text there is a moment without text


@contextlib.contextmanager
def hold(run: RunDir, command: str, note: Callable[[str], None], name: str = LOCK_FILE) -> Iterator[None]:
    """Hold the run folder's lock; the lock of a dead process on this host is taken over and said.

    Raises:
        RunLockedError: a living process, or one on another host, holds it.
        DataError: the file system knows no locks.
    """
    run.make()
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "command": command, "time": time.time()}
    path = run.local_path(name)
    guard = run.scratch("") / name.replace("/", "-") if path is None else path
    with _kernel_lock(guard, run, name) as (descriptor, left):
        if path is None:
            _create_object(run, name, mine, note)
        elif (holder := _parse(left)) is not None:
            if holder.get("host") != mine["host"]:
                raise _locked(run, name, holder)
            note(f"took over the lock of process {holder.get('pid')}, which is gone")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(mine).encode(), 0)
        try:
            yield
        finally:
            if path is None:
                run.remove(name)
            guard.unlink(missing_ok=True)


def holder_of(run: RunDir, name: str = LOCK_FILE) -> dict[str, Any] | None:
    """Who holds the lock: host, pid, command, time and `alive` (None where it is on another host)."""
    if not run.exists(name):
        return None
    holder = _parse(run.read_bytes(name))
    if holder is None:
        return None
    here = holder.get("host") == socket.gethostname()
    return holder | {"alive": _alive(int(holder.get("pid", -1))) if here else None}


@contextlib.contextmanager
def _kernel_lock(path: Path, run: RunDir, name: str) -> Iterator[tuple[int, bytes]]:
    """Lock a file for this process; gives its descriptor and the text that a dead holder left."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                raise _locked(run, name, _text_of_holder(descriptor))
            finally:
                os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise DataError(
                    f"the file system of {path} knows no locks",
                    context="a run folder has one writer",
                    hint="put the run folder on a file system with flock",
                ) from error
            raise
        # The holder before us may have removed the file between our open and our lock: then this is
        # the lock of a file that nobody else sees.
        if _is_file(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield descriptor, os.pread(descriptor, 1 << 16, 0)
    finally:
        os.close(descriptor)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _text_of_holder(descriptor: int) -> dict[str, Any]:
    for _ in range(10):
        holder = _parse(os.pread(descriptor, 1 << 16, 0))
        if holder is not None:
            return holder
        time.sleep(_MOMENT_S)
    return {}


def _create_object(run: RunDir, name: str, mine: dict[str, Any], note: Callable[[str], None]) -> None:
    data = json.dumps(mine).encode()
    if not run.create(name, data):
        holder = _parse(run.read_bytes(name)) if run.exists(name) else {}
        # With the guard in our hands, our own number is that of a process before a restart.
        pid = int(holder.get("pid", -1)) if holder else -1
        if holder is None or holder.get("host") != mine["host"] or (pid != os.getpid() and _alive(pid)):
            raise _locked(run, name, holder or {})
        note(f"took over the lock of process {pid}, which is gone")
        run.remove(name)
        if not run.create(name, data):
            raise _locked(run, name, _parse(run.read_bytes(name)) or {})
    # Stores without an exclusive create let the later of two win: read back who it was.
    if run.read_bytes(name) != data:
        raise _locked(run, name, _parse(run.read_bytes(name)) or {})


def _locked(run: RunDir, name: str, holder: dict[str, Any]) -> RunLockedError:
    if not holder:
        return RunLockedError(f"{run.url} is being written by another process", hint="wait for it")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder.get("time", 0))))
    return RunLockedError(
        f"{run.url} is being written by `{holder.get('command')}`",
        context=f"process {holder.get('pid')} on {holder.get('host')}, since {since}",
        hint=f"wait for it, or remove {run.url}/{name} if that process is gone",
    )


def _parse(text: bytes) -> dict[str, Any] | None:
    """The holder, or None where a process died before it wrote its name."""
    try:
        holder = json.loads(text)
    except ValueError:
        return None
    return holder if isinstance(holder, dict) else None


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
