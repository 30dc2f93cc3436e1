"""A tree of folders on s3://, gs://, http(s):// or whatever else fsspec lists; the rules are those of local trees."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from webclean.config import IngestConfig
from webclean.io.readers import folder, places
from webclean.io.readers.records import Found, Record


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List a remote folder tree, objects in the order of their names; one listing a folder.

    What is hidden or a sidecar is counted in `found`, which also gets a stamp of every object: its size and
    what the store tells of its version.
    """
    top = places.basename(path) or "images"
    stack = [("", iter(places.entries(path)))]
    while stack:
        rel, rest = stack[-1]
        entry = next(rest, None)
        if entry is None:
            stack.pop()
            continue
        child = posixpath.join(rel, entry.name)
        if (kind := folder.kind_of_other(entry.name)) == folder.HIDDEN:
            found.skip(kind)
        elif entry.is_folder:
            stack.append((child, iter(places.entries(entry.path))))
        elif kind is not None:
            found.skip(kind)
        else:
            found.stamp(entry.version)
            category = rel or top
            yield Record(
                source_key=child, uri=entry.path, category=category, query=category, file_name=entry.name
            )
