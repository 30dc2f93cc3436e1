"""Object stores and web servers through fsspec: which one a URL means, and what went wrong with it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from webclean.errors import ConfigError, DataError, DependencyMissingError, WebcleanError

_VERSIONS: Final = ("ETag", "etag", "md5Hash", "LastModified", "updated", "mtime", "created")


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ConfigError: fsspec knows no such kind of URL.
        DependencyMissingError: the URL's kind needs a package that is not installed.
    """
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DependencyMissingError(
            f"{url} needs a package that is not installed: {error}",
            hint="pip install 'webclean[s3]' for s3://, 'webclean[gcs]' for gs://, 'webclean[http]' for http(s)://",
        ) from error
    except ValueError as error:
        raise ConfigError(f"{url} cannot be opened: {error}") from error
    return filesystem, str(path)


def version(entry: dict[str, Any]) -> str:
    """An object's name, its size, and what its store tells of its version, from the store's own entry for it."""
    versions = [str(entry.get(key)) for key in _VERSIONS if entry.get(key) is not None]
    return "\0".join([str(entry["name"]), str(entry.get("size")), *versions])


def version_of(url: str) -> str:
    """The `version` of the object that a URL names.

    Raises:
        DataError: there is none, or the store cannot be reached or refuses.
    """
    filesystem, path = open_store(url)
    try:
        with said(url):
            return version(filesystem.info(path))
    except FileNotFoundError as error:
        raise DataError(f"there is no {url}", hint="check the address") from error


def open_parts(url: str, *, ahead: int = 1 << 20) -> BinaryIO:
    """An object of which parts are to be read, in any order.

    Args:
        url: of the object.
        ahead: bytes that are fetched beyond what is asked for, which may be asked for next.

    Raises:
        DataError: there is no such object, it cannot be reached, or its server gives it only as a whole.
    """
    filesystem, path = open_store(url)
    try:
        with said(url):
            if filesystem.size(path) == 0:
                return io.BytesIO()
            file = cast(BinaryIO, filesystem.open(path, "rb", block_size=ahead, cache_type="readahead"))
            if url.startswith(("http://", "https://")) and not _gives_parts(file):
                raise DataError(
                    f"{url} cannot be read in parts: its server sends a file only as a whole",
                    hint="download it, and give the file on this machine as SOURCE",
                )
            return file
    except FileNotFoundError as error:
        raise DataError(f"there is no {url}", hint="check the address") from error


def _gives_parts(file: BinaryIO) -> bool:
    """Whether a web server answers when it is asked for what lies behind the first byte."""
    try:
        file.seek(1)
        file.read(1)
        file.seek(0)
    except ValueError:  # fsspec's, for a server that answers with the whole, or tells no size
        return False
    return True


@contextlib.contextmanager
def said(url: str) -> Iterator[None]:
    """Turn a store's own errors, each kind of store has its family, into one that names the URL.

    FileNotFoundError passes: what it means is the caller's to say.

    Raises:
        DataError: the store cannot be reached or refuses.
    """
    try:
        yield
    except (FileNotFoundError, WebcleanError):
        raise
    except Exception as error:
        raise DataError(
            f"{url} cannot be read: {type(error).__name__}: {error}",
            hint="check the address, the network and your credentials; for s3:// those of the AWS tools are used",
        ) from error
