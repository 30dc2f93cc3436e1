"""Drawing for people: tables to stdout, notes and progress to stderr, nothing of it where nobody looks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.progress import Progress

    from webclean.stages.base import Bar


_WATCHED_SECONDS: Final = 3.0  # of a loop before its speed is believed
_LONG_SECONDS: Final = 60.0  # left; a shorter loop needs no words


def note(text: str) -> None:
    """One line to the person, on stderr; text from the crawl cannot steer the terminal."""
    sys.stderr.write(_safe(text) + "\n")


def _safe(text: str) -> str:
    shown = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def quiet(text: str) -> None:
    """Says nothing."""


def print_json(value: Any) -> None:
    """A result for scripts, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def print_text(text: str) -> None:
    """A line of a result, on stdout."""
    sys.stdout.write(_safe(text) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people, on stdout; numbers stand right, floats with three digits."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_safe(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        table.add_column(
            Text(_safe(column)), justify="right" if numeric and rows else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return _safe(str(value))


class Estimate:
    """Says once how long a loop is likely to take, when its first units tell how fast it is."""

    def __init__(
        self, *, total: int, unit: str, label: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._unit, self._label, self._clock = total, unit, label, clock
        self._done, self._counted = 0, 0
        self._started: float | None = None
        self._is_said = False

    def after(self, steps: int) -> str | None:
        """The estimate as a sentence, at the first advance at which one can be given; not for a short loop.

        The first advance is not timed: workers start in it, and what was done already is counted by it.
        """
        self._done += steps
        now = self._clock()
        if self._started is None:
            self._started = now
            return None
        self._counted += steps
        elapsed = now - self._started
        if self._is_said or elapsed < _WATCHED_SECONDS or self._counted == 0:
            return None
        self._is_said = True
        rate = self._counted / elapsed
        left = (self._total - self._done) / rate
        if left < _LONG_SECONDS:
            return None
        return (
            f"{self._label}: {self._total - self._done:,} {self._unit} left at {rate:,.1f} a second,"
            f" about {_duration(left)}"
        )


def _duration(seconds: float) -> str:
    if seconds < 100 * 60:
        return f"{max(1, round(seconds / 60))} minutes" if seconds >= 90 else "a minute"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


class _RichBar:
    def __init__(self, progress: Progress, task: Any, estimate: Estimate) -> None:
        self._progress, self._task, self._estimate = progress, task, estimate

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)
        if (text := self._estimate.after(steps)) is not None and self._progress.console.is_terminal:
            self._progress.console.print(text, markup=False, highlight=False)

    def describe(self, text: str) -> None:
        self._progress.update(self._task, extra=text)


@contextmanager
def progress(*, total: int, unit: str, label: str) -> Iterator[Bar]:
    """A bar with count, rate and time left on stderr, and a line on how long it will take; silent without a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:,.1f} {unit}/s" if task.speed else f"- {unit}/s")

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}", markup=False),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        estimate = Estimate(total=total, unit=unit, label=label)
        yield _RichBar(bar, bar.add_task(label, total=total, extra=""), estimate)
