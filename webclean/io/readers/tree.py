"""A tree of folders, here or in a store."""

from __future__ import annotations

from collections.abc import Iterator

from webclean.config import IngestConfig
from webclean.io.readers import folder, remote_folder, uris
from webclean.io.readers.records import Found, Record


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List a tree as `folder.read` or `remote_folder.read` does."""
    return (
        remote_folder.read(path, config, found) if uris.is_remote(path) else folder.read(path, config, found)
    )
