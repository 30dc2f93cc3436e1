"""An output folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from webclean.errors import ArtifactInvalidError, ConfigError, DataError, StorageFullError
from webclean.io import checksums

MANIFEST: Final = "manifest.json"
MADE_BY: Final = "made_by"
PROGRAM: Final = "webclean export"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def is_ours(folder: Path) -> bool:
    """Whether `webclean export` wrote this folder."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get(MADE_BY) == PROGRAM


@contextlib.contextmanager
def replacing(out: Path, *, overwrite: bool, beside: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Give a new folder to fill, which takes the place of `out` when the block ends well.

    The new folder stands beside `out`, so that the rename crosses no file system. A folder that an
    earlier export wrote is replaced, and an empty one; anything else, and one that somebody has put
    files into since, only with `overwrite`. What a killed export left behind is cleared by the next one.

    Args:
        out: the folder to make.
        overwrite: replace also what is not ours.
        beside: folders that must not be replaced, nor lie inside `out` (the run, the source).

    Raises:
        ConfigError: `out` is a file, holds other things, or would swallow one of `beside`.
        DataError: the folder cannot be written.
        StorageFullError: no space is left.
    """
    target = out.absolute()
    new, old = (target.with_name(f".{target.name}.webclean-{word}") for word in ("new", "old"))
    with _barred(out):
        _refuse(target, overwrite, beside)
        for leftover in (new, old):
            if leftover.exists():
                shutil.rmtree(leftover)
    try:
        with _barred(out):
            new.mkdir(parents=True)
        yield new
        with _barred(out):
            if target.exists():
                target.rename(old)
            new.rename(target)
            if old.exists():
                shutil.rmtree(old)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(
                f"no space left while writing {out}",
                hint="free space and export again; nothing was left behind",
            ) from error
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def _barred(out: Path) -> Iterator[None]:
    """What the system does not let us do with OUT is the user's to mend; a full disk is said elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise DataError(
            f"OUT {out} cannot be written: {error.strerror or error}",
            hint="name a folder that you may write",
        ) from error


def write_synced(path: Path, data: bytes) -> None:
    """Write a small file and push it to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _refuse(target: Path, overwrite: bool, beside: tuple[Path, ...]) -> None:
    real = target.resolve()
    for folder in beside:
        if folder.resolve().is_relative_to(real):
            raise ConfigError(
                f"OUT {target} holds {folder}, which the export reads", hint="choose another folder for OUT"
            )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"OUT {target} is not a folder", hint="choose another name for OUT")
    if overwrite or not target.exists():
        return
    foreign = next(_foreign_files(target) if is_ours(target) else target.iterdir(), None)
    if foreign is not None:
        raise ConfigError(
            f"OUT {target} holds files that webclean did not write",
            context=str(foreign),
            hint="choose another folder, or add --overwrite, which removes them",
        )


def _foreign_files(ours: Path) -> Iterator[Path]:
    """Files in an export that its checksum list does not name, in no order."""
    written = {MANIFEST, checksums.FILE_NAME}
    with contextlib.suppress(FileNotFoundError, ArtifactInvalidError):
        written |= {path for path, _ in checksums.parse((ours / checksums.FILE_NAME).read_bytes())}
    for folder, below, names in os.walk(ours):
        links = [name for name in below if os.path.islink(os.path.join(folder, name))]
        for name in (*names, *links):
            path = Path(folder, name)
            if path.relative_to(ours).as_posix() not in written:
                yield path
