"""Text lists of published data sets: one entry a line, read as bytes, since a path may be anything."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from webclean.errors import ArtifactInvalidError, ImagesNotFoundError
from webclean.io.readers import places, uris
from webclean.io.readers.records import Found

_MARK: Final = b"\xef\xbb\xbf"
_NUMBERED: Final = re.compile(rb"(.*\S)\s+([+-]?\d{1,18})", re.DOTALL)


def lines(path: str, found: Found) -> Iterator[bytes]:
    """The lines that are not blank, without blanks around them, one in memory at a time.

    Raises:
        ArtifactInvalidError: the list cannot be read.
    """
    return (line for line in _all_lines(path, found) if line)


def names(path: str, found: Found) -> list[str]:
    """The names of classes: the line of index k (0-based) names class k; a blank line keeps its place.

    Raises:
        ArtifactInvalidError: the list cannot be read, holds nothing, or has two classes of one name.
    """
    words = [line.decode("utf-8", "replace") for line in _all_lines(path, found)]
    while words and not words[-1]:
        words.pop()
    if not words:
        raise ArtifactInvalidError("the list of class names is empty", context=path)
    word, num = Counter(filter(None, words)).most_common(1)[0]
    if num > 1:
        raise ArtifactInvalidError(f"two classes have the name {word!r}", context=path)
    return words


def _all_lines(path: str, found: Found) -> Iterator[bytes]:
    found.tables.append(path)
    try:
        with places.fetch(path) as file:
            for number, line in enumerate(file):
                yield (line if number else line.removeprefix(_MARK)).strip()
    except OSError as error:
        raise ArtifactInvalidError(
            f"the list cannot be read: {error.strerror or error}",
            context=path,
            hint="the data set's own lists have to lie beside its images; unpack them again",
        ) from error


def entry(line: bytes) -> tuple[bytes, int | None]:
    """A path and the number behind its last blank; the whole line and None where there is no number."""
    match = _NUMBERED.fullmatch(line)
    return (match[1], int(match[2])) if match else (line, None)


def location(root: str, path: bytes) -> str:
    """The uri of a path that starts from the folder `root`."""
    if uris.is_remote(root):
        return places.join(root, uris.text_of_path(path))
    return uris.of_path(os.path.join(os.fsencode(root), path))


def key(path: bytes) -> str:
    """The source_key of a listed path."""
    return uris.text_of_path(posixpath.normpath(path))


def folder_with(root: str, folders: tuple[str, ...], *, list_name: str) -> None:
    """Make sure that at least one of the folders a list begins its paths with is there.

    Raises:
        ImagesNotFoundError: none is; every single image would be missing.
    """
    if not any(places.has_folder(root, name) for name in folders):
        raise ImagesNotFoundError(
            f"{root} holds none of the folders {', '.join(f'{name}/' for name in folders)}",
            context=f"the paths of {list_name} start there",
            hint="name the folder that these paths start from with --image-root",
        )


class Tally:
    """How often something odd was met in the lists, and where first."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str | bytes) -> None:
        """Count one more; `where` is kept for the first."""
        num, first = self._seen.get(what) or (0, uris.text_of_path(where))
        self._seen[what] = (num + 1, first)

    def sentences(self) -> list[str]:
        """One for each odd thing, in the order in which they were met."""
        return [f"{what}: {num}, the first {first}" for what, (num, first) in self._seen.items()]
