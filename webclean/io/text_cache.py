"""Vectors of texts seen before, in a file that all runs of a person share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.errors import ConfigError, StorageFullError

ENVIRONMENT: Final = "WEBCLEAN_TEXT_CACHE"
NOT_KEPT: Final = "none"
_PATTERN: Final = "sentence-*.sqlite"
_LOOKUP: Final = 500  # texts in one query; SQLite allows 999 variables in old versions
_PATIENCE: Final = 60.0  # seconds for another program's transaction, each of which takes milliseconds


def cache_folder(setting: str | None, otherwise: Path) -> Path | None:
    """Where vectors are kept: what the person says, else the environment, else the person's cache folder.

    Args:
        setting: a folder, or `none` to keep them for this command only; None where the person says nothing.
        otherwise: taken where nobody says anything and the person's cache folder cannot be written.

    Raises:
        ConfigError: the folder that the person or the environment names cannot be made or written.
    """
    said = setting or os.environ.get(ENVIRONMENT)
    if said == NOT_KEPT:
        return None
    if said:
        folder = Path(said).expanduser()
        if not _is_writable(folder):
            whose = "--text-cache" if setting else f"the environment's {ENVIRONMENT}"
            raise ConfigError(
                f"{whose} {said} is no folder that can be written",
                hint=f"name another one, or `{NOT_KEPT}` to keep no vectors",
            )
        return folder
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "webclean"
    return folder if _is_writable(folder) else otherwise


def cache_files(folder: Path) -> list[Path]:
    """The files of the cache, one for each encoder and its versions; each may be deleted at any time."""
    return sorted(folder.glob(_PATTERN))


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


class VectorCache:
    """Float32 vectors by the digest of their text.

    What goes wrong with the file costs time and nothing else, and is told: a damaged file is begun anew; where there is no room, or somebody else holds it, vectors are kept for this process alone.

    Args:
        folder: where the file is; None keeps the vectors in a file of this process alone.
        key: of everything that a vector's bytes depend on besides the text.
        note: takes what was wrong with the file.
    """

    def __init__(
        self, folder: Path | None, key: str, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self._note = note
        self._path = None if folder is None else folder / f"sentence-{key}.sqlite"
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = _open(self._path)
        except (sqlite3.Error, OSError) as error:
            self._mend(error)

    def find(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those texts that are known."""
        by_digest = {_digest(text): text for text in texts}
        digests = list(by_digest)
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(digests), _LOOKUP):
            some = digests[start : start + _LOOKUP]
            query = f"SELECT text, vector FROM vectors WHERE text IN ({','.join('?' * len(some))})"
            try:
                rows = self._file.execute(query, some).fetchall()
            except sqlite3.Error as error:
                self._mend(error)
                rows = self._file.execute(query, some).fetchall()
            for digest, vector in rows:
                found[by_digest[digest]] = np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False)
        return found

    def keep(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Add vectors, all or, where the process is killed, none of them."""
        rows = [(_digest(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()]
        try:
            self._insert(rows)
        except sqlite3.Error as error:
            self._mend(error)
            self._insert(rows)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _insert(self, rows: list[tuple[bytes, bytes]]) -> None:
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def _mend(self, error: Exception) -> None:
        if hasattr(self, "_file"):
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        if self._path is None:
            raise StorageFullError(
                f"vectors of texts cannot be kept: {error}", hint="free space, or set TMPDIR"
            )
        # SQLite's own class, and none of those below it, is what a damaged file raises.
        if type(error) is sqlite3.DatabaseError:
            with contextlib.suppress(OSError, sqlite3.Error):
                self._path.unlink(missing_ok=True)
                self._file = _open(self._path)
                self._note(f"the text cache {self._path} was damaged ({error}) and is begun anew")
                return
        self._note(
            f"the text cache {self._path} cannot be used ({error}): vectors are kept for this command only"
        )
        self._path, self._file = None, _open(None)


def _open(path: Path | None) -> sqlite3.Connection:
    # The empty name is SQLite's for a file that nobody else sees and that goes with the connection.
    connection = sqlite3.connect("" if path is None else path, timeout=_PATIENCE)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB NOT NULL)")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
