"""A list of images that have to go: one name a line, or one a row of a table; any kind of name will do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from webclean import schema
from webclean.errors import ColumnMissingError
from webclean.io import row_tables
from webclean.io.checksums import stream_sha256
from webclean.io.readers.records import path_of_repeat

WHAT: Final = "the list of --exclude"
_COLUMNS: Final = (
    schema.SOURCE_KEY, "path", "key", schema.IMAGE_ID, schema.SHA256, "url", "image_url", schema.PAGE_URL,
    schema.URI,
)  # fmt: skip
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_IMAGE_ID: Final = re.compile(r"([0-9a-f]{16})-[0-9a-f]{16}")
_NO_CONTENT: Final = "0" * 16


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Names that a list gives, held whole: some 200 bytes a line.

    Attributes:
        name: the list's file name.
        sha256: of its content.
        entries: first name, and place in the list, of each line or row that names something new.
        by_name: every name, lower case where it is a digest -> its entry.
        by_content: first 16 digits of a listed image_id's content -> its entry.
        has_urls: whether a name is a URL, so that the texts of a crawl have to be looked through for it.
    """

    name: str
    sha256: str
    entries: tuple[tuple[str, str], ...]
    by_name: dict[str, int]
    by_content: dict[str, int]
    has_urls: bool

    def named(self, rows: pa.Table) -> list[int | None]:
        """Which entry names each row by its key or a URL, all of which are known before its file is opened.

        Args:
            rows: source_key, uri, file_name, page_url and extra, as in `images`.
        """
        columns = (schema.SOURCE_KEY, schema.URI, schema.FILE_NAME, schema.PAGE_URL, schema.EXTRA)
        cells = (rows.column(name).to_pylist() for name in columns)
        return [self._named(*row) for row in zip(*cells, strict=True)]

    def _named(
        self, key: str, uri: str, file_name: str, page_url: str | None, extra: str | None
    ) -> int | None:
        known = self.by_name.get(key, self.by_name.get(uri))
        if known is None and (path := path_of_repeat(key, file_name)) is not None:
            known = self.by_name.get(path)
        if known is not None or not self.has_urls:
            return known
        return next((self.by_name[url] for url in _urls(page_url, extra) if url in self.by_name), None)

    def of_content(self, sha256: str | None, image_id: str) -> int | None:
        """Which entry names an image by what is in its file, or by its id."""
        known = None if sha256 is None else self.by_name.get(sha256)
        if known is None and sha256 is not None:
            known = self.by_content.get(sha256[: len(_NO_CONTENT)])
        return self.by_name.get(image_id) if known is None else known

    def told(self, entry: int) -> str:
        """Why a row is excluded, for its error."""
        return f"{self.name}, {self.entries[entry][1]}, excludes it"


def _urls(page_url: str | None, extra: str | None) -> Iterator[str]:
    if page_url is not None:
        yield page_url
    if extra is not None and "://" in extra:
        yield from (value for value in json.loads(extra).values() if isinstance(value, str))


def read(path: str) -> Exclusions:
    """The names of a text file (one a line; # begins a comment line), or of a table's known columns.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: the list cannot be read.
        ColumnMissingError: a table has no column that names images.
    """
    with row_tables.open_file(path, WHAT) as file:
        sha256 = stream_sha256(file)
    entries: list[tuple[str, str]] = []
    by_name: dict[str, int] = {}
    for place, names in _table_names(path) if row_tables.is_table(path) else _lines(path):
        known = next((by_name[name] for name in names if name in by_name), None)
        if known is None:
            known = len(entries)
            entries.append((names[0], place))
        for name in names:
            by_name.setdefault(name, known)
    contents: dict[str, int] = {}
    for name, entry in by_name.items():
        if (found := _IMAGE_ID.fullmatch(name)) and found[1] != _NO_CONTENT:
            contents.setdefault(found[1], entry)
    has_urls = any("://" in name for name in by_name)
    return Exclusions(os.path.basename(path), sha256, tuple(entries), by_name, contents, has_urls)


def _plain(name: str) -> str:
    return name.lower() if _SHA256.fullmatch(name) else name.removeprefix("./")


def _lines(path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    with row_tables.open_file(path, WHAT) as file:
        for number, raw in enumerate(file, 1):
            line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
            if line and not line.startswith(b"#"):
                yield f"line {number}", (_plain(row_tables.text(line.decode("utf-8", "surrogateescape"))),)


def _table_names(path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of each row; a table of one column that has no known name is a list without a header."""
    for number, row in row_tables.iter_rows(path, WHAT):
        found = [name for name in row if name.strip().lower() in _COLUMNS]
        if not found and len(row) == 1:
            found = list(row)
            if number == 1 and path.lower().endswith((".csv", ".tsv")):
                yield "row 0", (_plain(row_tables.text(found[0].strip())),)
        if not found:
            raise ColumnMissingError(
                f"{path}, row {number}, has no column that names images",
                context=f"it has: {', '.join(row)}",
                hint=f"call the column one of {', '.join(_COLUMNS)}",
            )
        names = [_plain(str(value).strip()) for value in map(row.get, found) if _is_name(value)]
        if names:
            yield f"row {number}", tuple(names)


def _is_name(value: Any) -> bool:
    return value is not None and str(value).strip() != ""
