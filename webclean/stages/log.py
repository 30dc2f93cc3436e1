"""RUN/webclean.log: what was done to a run, when, with what outcome; one line each, for people."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import webclean
from webclean import schema
from webclean.errors import WebcleanError
from webclean.io.run_dir import RunDir

_SECRET: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # user:password@ of a URL
_SECRET_FIELD: Final = re.compile(
    r"([?&][^=&\s\"]*(?:token|sig|credential|secret|password|key)[^=&\s\"]*=)[^&\s\"]+", re.IGNORECASE
)
_ENDS: Final = str.maketrans(
    {"\n": "\\n", "\r": "\\r", "\x85": "\\x85", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def append(run: RunDir, text: str) -> None:
    """Add a line; a run in a store keeps no log.

    Raises:
        StorageFullError, DataError: the log cannot be written.
    """
    run.append_text(schema.LOG_FILE, _line(text))


def _line(text: str) -> str:
    safe = _SECRET_FIELD.sub(r"\1***", _SECRET.sub("***", text))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {safe.translate(_ENDS)}\n"


class CommandLog:
    """What one command did; a folder that no stage has worked in yet gets no log, for it may be no run at all."""

    def __init__(self, run: RunDir, name: str, note: Callable[[str], None]) -> None:
        self._run, self._note = run, note
        self._who = f"{name} [{os.getpid()}]"
        self._held: list[str] | None = None if run.exists(schema.LOG_FILE) else []

    def stage(self, text: str) -> None:
        """A line of a stage, from the first of which on there is a log."""
        if self._held is not None:
            self._run.append_text(schema.LOG_FILE, "".join(self._held))
            self._held = None
        append(self._run, text)

    def note(self, text: str) -> None:
        """Tell the person, and keep it."""
        self._note(text)
        self.add(f"note: {text}")

    def add(self, text: str) -> None:
        """A line of the command itself."""
        line = f"{self._who}: {text}"
        if self._held is None:
            append(self._run, line)
        else:
            self._held.append(_line(line))


@contextlib.contextmanager
def command(
    run: RunDir, name: str, *, given: Mapping[str, Any], note: Callable[[str], None]
) -> Iterator[CommandLog]:
    """Log a command: what was given to it, versions, each note that it gives the person, and how it ended.

    Args:
        run: the run folder.
        name: of the command.
        given: arguments, flags and settings file.
        note: where notes go besides.
    """
    log = CommandLog(run, name, note)
    told = json.dumps(given, sort_keys=True, ensure_ascii=False, default=str)
    where = f"{platform.node()}, python {platform.python_version()}, {sys.platform}"
    log.add(f"started, {told}, webclean {webclean.__version__} on {where}")
    clock = time.perf_counter()

    def end(words: str) -> None:
        log.add(f"{words} after {time.perf_counter() - clock:.1f} s")

    try:
        yield log
    except BaseException as error:
        with contextlib.suppress(WebcleanError):  # the disk may be full, and that is what is to be told
            end(_ended(error))
        raise
    end("done")


def _ended(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, WebcleanError):
        return f"failed: error[{error.reference}]: {error}"
    return f"failed: {type(error).__name__}: {error}"
