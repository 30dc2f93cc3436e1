"""Object stores and web servers through fsspec: which one a URL means, and what went wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from webclean.errors import ConfigError, DataError, DependencyMissingError, WebcleanError


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
