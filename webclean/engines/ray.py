"""A Ray cluster: the same tasks as on local processes, on as many machines as there are."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from webclean.engines.base import Crash
from webclean.errors import ConfigError, DependencyMissingError, WorkerCrashedError
from webclean.io import hangs

T = TypeVar("T")
U = TypeVar("U")

_RETRIES: Final = 3  # of a task whose worker or machine died: a machine's death is not the item's fault
_UNDER_WAY: Final = 2  # tasks for each core of the cluster, so that none waits while results are taken


class RayEngine:
    """Tasks of one core each on a Ray cluster; the images and the code must be the same on every machine.

    A task that kills its worker is tried again elsewhere; after that it is the item's fault.

    Args:
        address: of a running cluster (`auto`, `ray://HOST:PORT`), None for one on this machine.
        num_workers: cores taken of this machine where the cluster is started here, None for all.

    Raises:
        DependencyMissingError: Ray is not installed.
        ConfigError: no cluster answers at the address.
    """

    def __init__(self, address: str | None = None, num_workers: int | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise DependencyMissingError(
                "--engine ray needs Ray, which is not installed", hint="pip install 'webclean[ray]'"
            ) from error
        self._ray: Any = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            try:
                ray.init(
                    address=address or "local",
                    num_cpus=num_workers if address is None else None,
                    include_dashboard=False if address is None else None,
                    configure_logging=True,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                raise ConfigError(
                    f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}",
                    hint="start one with `ray start --head`, or leave out --address to use this machine",
                ) from error

    @property
    def num_workers(self) -> int:
        """Cores of the cluster as it is now; machines may come and go."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def map(
        self, function: Callable[[T], U], items: Iterable[T], *, yield_crashes: bool = False
    ) -> Iterator[U | Crash]:
        """See `Engine.map`."""
        ray = self._ray
        # One compute thread, as in local workers: threads would change floating-point results.
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
        shared = ray.put(function)
        waiting: deque[tuple[int, Any]] = deque()
        source = enumerate(items)
        # What is under way when the caller stops is left to end by itself: a task that is cancelled in the moment in
        # which it ends brings down the driver (seen with Ray 2.60: "Tried to complete task that was not pending").
        while True:
            limit = _UNDER_WAY * self.num_workers
            while len(waiting) < limit and (entry := next(source, None)) is not None:
                index, item = entry
                waiting.append((index, task.remote(shared, item)))
            if not waiting:
                return
            index, reference = waiting[0]
            result = self._take(index, reference, yield_crashes)
            waiting.popleft()
            yield result

    def _take(self, index: int, reference: Any, yield_crashes: bool) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            message = f"a worker process died on item {index}, {_RETRIES + 1} times"
            if yield_crashes:
                return Crash(index, message)
            raise WorkerCrashedError(
                message, hint="free memory on the cluster's machines, or find the input with --engine local"
            ) from error

    def prepare(self, module: str) -> None:
        """See `Engine.prepare`; Ray starts workers when it has tasks."""

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()


def _call(function: Callable[[T], U], item: T) -> U:
    hangs.this_process_is_replaceable()
    return function(item)
