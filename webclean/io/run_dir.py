"""The run folder: the only state of a run, a local path or any fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from webclean import schema
from webclean.errors import (
    ArtifactInvalidError,
    ArtifactMissingError,
    ConfigError,
    DataError,
    StorageFullError,
)
from webclean.io import stores

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
SCRATCH = ".scratch"
_Names = list[str]  # inside the class `list` is the method


class RunDir:
    """Files of one run, written atomically: a reader sees a whole file or none.

    Paths are relative to the run folder with forward slashes. On a local disk a file is written
    beside its target, synced and renamed; on an object store one PUT of the whole object does the same.

    Raises:
        ConfigError: the URL is empty or of a kind that fsspec does not know.
        DependencyMissingError: the URL's kind needs a package that is not installed.
    """

    def __init__(self, url: str) -> None:
        if not url:
            raise ConfigError("the run folder's name is empty")
        self.url = url.rstrip("/") or "/"
        self._local: Path | None = None
        self._fs: Any = None
        if "://" in url and not url.startswith(("file://", "local://")):
            self._fs, self._root = stores.open_store(self.url)
        else:
            self._local = Path(url.split("://", 1)[-1]).absolute()
            self._root = str(self._local)

    def __repr__(self) -> str:
        return f"RunDir({self.url!r})"

    def _target(self, rel: str) -> str:
        return f"{self._root}/{rel}" if rel else self._root

    def local_path(self, rel: str = "") -> Path | None:
        """The file's path on this machine's disk, None for a remote run."""
        return None if self._local is None else self._local / rel

    def exists(self, rel: str = "") -> bool:
        """Whether a file or folder is there."""
        if self._local is not None:
            return (self._local / rel).exists()
        return bool(self._fs.exists(self._target(rel)))

    def make(self) -> None:
        """Create the run folder.

        Raises:
            ConfigError: a file of that name is there.
        """
        if self._local is not None:
            if self._local.exists() and not self._local.is_dir():
                raise ConfigError(f"RUN {self.url} is not a folder", hint="choose another name for RUN")
            with self._storage_errors(""):
                self._local.mkdir(parents=True, exist_ok=True)

    def refuse_source(self, source: str) -> None:
        """Keep the crawl out of what the stages write: they replace their folders, whatever these hold.

        Raises:
            ConfigError: SOURCE is this run folder, or lies in one of the folders that stages write.
        """
        path = source.removeprefix("file://")
        if self._local is None or "://" in path:
            return
        run, crawl = self._local.resolve(), Path(path).expanduser().resolve()
        if crawl.is_file():
            crawl = crawl.parent  # a manifest: its images lie beside it
        if not crawl.is_relative_to(run):
            return
        inside = crawl.relative_to(run).parts
        if not inside or inside[0] in schema.FOLDERS:
            raise ConfigError(
                f"SOURCE {source} and RUN {self.url} are in each other's way",
                context=f"the stages write {run / (inside[0] if inside else schema.IMAGES)}",
                hint="choose a folder of its own for RUN",
            )

    def open(self, rel: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            ArtifactMissingError: the file is not there.
        """
        try:
            if self._local is not None:
                return (self._local / rel).open("rb")
            return cast(BinaryIO, self._fs.open(self._target(rel), "rb"))
        except FileNotFoundError as error:
            raise ArtifactMissingError(f"{self.url}/{rel} does not exist") from error

    def read_bytes(self, rel: str) -> bytes:
        """The whole content of a file."""
        with self.open(rel) as file:
            return file.read()

    def read_json(self, rel: str) -> Any:
        """The content of a JSON file.

        Raises:
            ArtifactInvalidError: the file is not JSON.
        """
        try:
            return json.loads(self.read_bytes(rel))
        except ValueError as error:  # not JSON, or not UTF-8
            raise ArtifactInvalidError(
                f"{rel} is not JSON: {error}", context=self.url, hint="remove it and run the stage again"
            ) from error

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Write a whole file atomically and durably.

        Raises:
            StorageFullError: no space is left; nothing is visible under the final name.
        """
        if self._local is None:
            self._fs.makedirs(os.path.dirname(self._target(rel)), exist_ok=True)
            self._fs.pipe_file(self._target(rel), data)
            return
        target = self._local / rel
        temporary = target.with_name(f".{target.name}.tmp")
        with self._storage_errors(rel):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
                _sync_folder(target.parent)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise

    def create(self, rel: str, data: bytes) -> bool:
        """Write a file of a remote run unless it is there; whether it was written."""
        assert self._local is None, "local files are created by the lock itself"
        self._fs.invalidate_cache()
        try:
            self._fs.pipe_file(self._target(rel), data, mode="create")
        except FileExistsError:
            return False
        return True

    @contextlib.contextmanager
    def _storage_errors(self, rel: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFullError(
                    f"no space left while writing {rel}",
                    context=self.url,
                    hint="free space and run the same command again; finished parts are kept",
                ) from error
            if error.errno in _BARRED:
                place = f"{self.url}/{rel}" if rel else self.url
                raise DataError(
                    f"{place} cannot be written: {error.strerror}",
                    hint="name a run folder that you may write",
                ) from error
            raise

    def write_json(self, rel: str, value: Any) -> None:
        """Write a JSON file: sorted keys, two spaces, a newline at the end."""
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self.write_bytes(rel, (text + "\n").encode())

    def append_text(self, rel: str, text: str) -> None:
        """Add to a log; a remote run keeps no log, since objects cannot grow."""
        if self._local is not None:
            path = self._local / rel
            with self._storage_errors(rel):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)

    def list(self, rel: str = "") -> _Names:
        """Names of the files and folders directly below, sorted; empty if there is no such folder."""
        if self._local is not None:
            folder = self._local / rel
            return sorted(os.listdir(folder)) if folder.is_dir() else []
        self._fs.invalidate_cache()
        if not self._fs.exists(self._target(rel)):
            return []
        names = self._fs.ls(self._target(rel), detail=False)
        return sorted({name.rstrip("/").rsplit("/", 1)[-1] for name in names})

    def folders(self, rel: str = "") -> _Names:
        """Names of the folders directly below, sorted."""
        if self._local is not None:
            return [name for name in self.list(rel) if (self._local / rel / name).is_dir()]
        return [name for name in self.list(rel) if self._fs.isdir(self._target(f"{rel}/{name}".lstrip("/")))]

    def remove(self, rel: str) -> None:
        """Remove a file or a folder with all below it; nothing happens where it is not."""
        if self._local is not None:
            path = self._local / rel
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elif self._fs.exists(self._target(rel)):
            self._fs.rm(self._target(rel), recursive=True)

    def scratch(self, rel: str) -> Path:
        """A local folder for caches that can be made again: in the run, or in the temp folder for a remote run."""
        if self._local is not None:
            folder = self._local / SCRATCH / rel
        else:
            import hashlib

            # Per user, and closed to others: the temp folder is everybody's.
            key = hashlib.sha256(self.url.encode()).hexdigest()[:16]
            top = Path(tempfile.gettempdir()) / f"webclean-{os.getuid()}-{key}"
            top.mkdir(mode=0o700, exist_ok=True)
            if top.stat().st_uid != os.getuid():
                raise DataError(f"{top} belongs to another user", hint="set TMPDIR to a folder of your own")
            folder = top / rel
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
