"""Local processes: started fresh (spawn), replaced when one dies, stopped with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from webclean.engines.base import Crash
from webclean.errors import WorkerCrashedError
from webclean.io import hangs

T = TypeVar("T")
U = TypeVar("U")

_PR_SET_PDEATHSIG = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Entry(Generic[T, U]):
    """One item under way; `settled` once it has been tried alone."""

    index: int
    item: T
    future: Future[U]
    settled: bool = False


class InlineEngine:
    """Everything in this process: for tests and tiny runs."""

    num_workers = 0

    def map(
        self, function: Callable[[T], U], items: Iterable[T], *, yield_crashes: bool = False
    ) -> Iterator[U | Crash]:
        """See `Engine.map`; a crash here is a crash of the program."""
        return map(function, items)

    def prepare(self, module: str) -> None:
        """See `Engine.prepare`; it is imported when it is needed."""

    def close(self) -> None:
        """Nothing to stop."""


class LocalEngine:
    """A pool of processes with one compute thread each, so that results do not depend on their number."""

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1; got {num_workers}")
        self.num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None

    def _start(self, workers: int) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            max_workers=workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare_worker,
            initargs=(os.getpid(),),
        )
        # All workers start with the pool: one that it adds later is not watched until the next result
        # comes, and if it dies before that, and the others have nothing to do, nobody ever notices.
        pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
        return pool

    def map(
        self, function: Callable[[T], U], items: Iterable[T], *, yield_crashes: bool = False
    ) -> Iterator[U | Crash]:
        """See `Engine.map`."""
        waiting: deque[_Entry[T, U]] = deque()
        source = enumerate(items)
        try:
            while True:
                while len(waiting) < 2 * self.num_workers and (entry := next(source, None)) is not None:
                    waiting.append(_Entry(*entry, self._submit(function, entry[1])))
                if not waiting:
                    return
                first = waiting[0]
                try:
                    result: U | Crash = first.future.result()
                except BrokenProcessPool as error:
                    if not first.settled:
                        self._find_culprit(function, waiting)
                        continue
                    if not yield_crashes:
                        raise WorkerCrashedError(
                            f"a worker process died on item {first.index}",
                            hint="free memory, or run again with --workers 1 to see which input it is",
                        ) from error
                    result = Crash(first.index, f"a worker process died on item {first.index}")
                waiting.popleft()
                yield result
        finally:
            for entry_left in waiting:
                entry_left.future.cancel()

    def prepare(self, module: str) -> None:
        """See `Engine.prepare`."""
        for _ in range(self.num_workers):
            self._submit(_load, module)

    def _submit(self, function: Callable[[T], U], item: T) -> Future[U]:
        if self._pool is None:
            self._pool = self._start(self.num_workers)
        try:
            return self._pool.submit(function, item)
        except BrokenProcessPool as error:
            broken: Future[U] = Future()
            broken.set_exception(error)
            return broken

    def _find_culprit(self, function: Callable[[T], U], waiting: deque[_Entry[T, U]]) -> None:
        """Try the items that were under way alone, in order, until one kills its worker again.

        That one is settled as the culprit; those behind it go back to a fresh pool.
        """
        self._drop_pool()
        alone = self._start(1)
        found = False
        try:
            for entry in waiting:
                if entry.settled or not isinstance(entry.future.exception(), BrokenProcessPool):
                    continue  # it was done before the worker died
                if found:
                    entry.future = self._submit(function, entry.item)
                    continue
                entry.future = alone.submit(function, entry.item)
                entry.settled = True
                found = isinstance(entry.future.exception(), BrokenProcessPool)
        finally:
            alone.shutdown(wait=True, cancel_futures=True)

    def _drop_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def close(self) -> None:
        """Stop the workers without waiting for queued items."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            for process in list((pool._processes or {}).values()):
                with contextlib.suppress(OSError):
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def _load(module: str) -> None:
    importlib.import_module(module)


def _prepare_worker(parent: int) -> None:
    """Set up a fresh worker before anything heavy is imported in it."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = "1"
    hangs.this_process_is_replaceable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    if sys.platform == "linux":
        # A parent killed with SIGKILL must not leave workers behind that hold the run folder's files.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
