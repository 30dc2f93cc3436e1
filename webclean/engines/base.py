"""What an engine promises a stage: a map that gives the same results for any number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Crash:
    """Stands in the place of a result whose item killed its worker."""

    index: int
    message: str


class Engine(Protocol):
    """Runs a function over items, in order, on one or many workers."""

    @property
    def num_workers(self) -> int:
        """Tasks that run at once, 0 where all run in this process."""
        ...

    def map(
        self, function: Callable[[T], U], items: Iterable[T], *, yield_crashes: bool = False
    ) -> Iterator[U | Crash]:
        """Yield function(item) in the order of items, with a bounded number under way.

        Args:
            function: a module-level function or a partial of one; it travels to other processes.
            items: consumed lazily.
            yield_crashes: give a `Crash` for an item that kills its worker, instead of raising.

        Raises:
            WorkerCrashedError: an item killed its worker, alone, twice.
            Exception: what the function raised, as it is.
        """
        ...

    def prepare(self, module: str) -> None:
        """Let local workers start and import a module while this process does something else; does not wait."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...
