"""Whether this process may be ended where code outside of Python does not return: true of workers, which are replaced."""

from __future__ import annotations

import signal

_GRACE_S = 1.0  # of processor, after the clock of the wall has rung in vain

_is_replaceable = False


def this_process_is_replaceable() -> None:
    """Say that someone watches this process, blames its input when it dies, and goes on without it."""
    global _is_replaceable
    _is_replaceable = hasattr(signal, "ITIMER_PROF")
    if _is_replaceable:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def start(seconds: float) -> None:
    """From now on, end a replaceable process when it has computed for so long, whatever it is in.

    Python's own handlers wait until a decoder returns; the default action of a signal does not.
    """
    if _is_replaceable:
        signal.setitimer(signal.ITIMER_PROF, seconds + _GRACE_S)


def stop() -> None:
    """The code has returned."""
    if _is_replaceable:
        signal.setitimer(signal.ITIMER_PROF, 0)
