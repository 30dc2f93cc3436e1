"""Room on the disk, asked for before a long stage fills it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from webclean.errors import StorageFullError
from webclean.stages.base import Context

IMAGES_ROW: Final = 2_000  # bytes of a row of `images`: 1.3 to 1.5 KB measured, most of it the thumbnail
_MARGIN: Final = 1.1  # of what is needed
_LEAST: Final = 20_000_000  # bytes that are to stay free
_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB", "PB")


def require(context: Context, nbytes: int, what: str, *, in_scratch: bool = False) -> None:
    """Refuse to start what would fill the run's disk; a run in a store has no such limit, but its scratch folder has.

    With --force the person is told, and it starts.

    Args:
        context: of the stage.
        nbytes: what will be written, estimated.
        what: its name and numbers, before "needs about ...".
        in_scratch: whether it is written into the scratch folder.

    Raises:
        StorageFullError: less is free.
    """
    place = context.run.scratch("") if in_scratch else context.run.local_path("")
    if place is not None:
        require_at(place, nbytes, what, context, next_step="name a RUN on another disk")


def require_at(place: Path, nbytes: int, what: str, context: Context, *, next_step: str) -> None:
    """The same for any folder, which need not be there yet.

    Raises:
        StorageFullError: less is free.
    """
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if os.path.exists(folder))
    total, _, free = shutil.disk_usage(there)
    if total == 0 or nbytes * _MARGIN + _LEAST <= free:  # some file systems do not tell their size
        return
    told = f"{what} need about {_size(nbytes)}, and {_size(free)} are free"
    if context.force:
        context.note(f"{told} in {there}; it starts because of --force")
        return
    raise StorageFullError(
        told,
        context=f"{there}; a tenth more than the estimate and {_size(_LEAST)} are to be free",
        hint=f"free space, or {next_step}; finished parts are kept. --force starts all the same",
    )


def _size(nbytes: float) -> str:
    unit = 0
    while nbytes >= 1000 and unit < len(_UNITS) - 1:
        nbytes, unit = nbytes / 1000, unit + 1
    return f"{nbytes:.0f} {_UNITS[unit]}" if unit == 0 else f"{nbytes:.1f} {_UNITS[unit]}"
