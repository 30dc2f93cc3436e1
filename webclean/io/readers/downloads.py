"""Folders that image downloaders wrote: the number in a file's name is its rank, and lists beside it know more.

A folder follows a pattern where at least nine of ten of its files have such names, and its numbers start over:
the largest is at most 10 + 4 times the number of files. SOURCE is read as this where at least nine of ten of all
files, and no fewer than three, lie in folders that follow the same pattern.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from webclean.config import IngestConfig
from webclean.io.readers import columns, folder, places, tree, uris
from webclean.io.readers.records import RANK_FROM_FILE_NAME, Found, Record, extra_text
from webclean.io.writers.names import format_of

_SHARE: Final = 0.9
_LEAST_FILES: Final = 3
_SLACK: Final = 10
_PER_FILE: Final = 4  # failed downloads and deleted files leave gaps


@dataclass(frozen=True, slots=True)
class _Pattern:
    """How a downloader names its files.

    Attributes:
        name: of the downloader.
        number: matches a whole file name; its first group is the number.
        source: the search engine, where the downloader asks only one.
    """

    name: str
    number: re.Pattern[str]
    source: str | None = None


_FASTAI: Final = _Pattern("fastai", re.compile(r"(\d{8})\.\w+", re.ASCII))
_GOOGLE: Final = _Pattern(
    "google_images_download", re.compile(r"(\d{1,5})\. ?[^ ].*\.\w+", re.ASCII | re.DOTALL), "google"
)
_PATTERNS: Final = (
    _Pattern("icrawler", re.compile(r"(\d{6})\.\w+", re.ASCII)),
    _FASTAI,
    _Pattern("bing_image_downloader", re.compile(r"Image_(\d{1,6})\.\w+", re.ASCII), "bing"),
    _GOOGLE,
)
_MOST_BYTES: Final = 256 << 20  # of a list: more is something else
_LIST_ENDINGS: Final = (".txt", ".csv")
_LIST_NAMES: Final = ("urls", "url")


def find(path: str) -> str | None:
    """The folder itself where it follows one pattern as a whole (see above)."""
    if not places.is_folder(path) or (not uris.is_remote(path) and folder.is_run(path)):
        return None
    return None if _survey(path) is None else path


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the tree of folders, with ranks from the names and whatever the lists beside them know.

    Args:
        path: what `find` gave.
        config: `allow_outside`.
        found: gets the lists, notes on them, and what is not an image.
    """
    survey = _survey(path)
    assert survey is not None, "find has recognised it"
    pattern, following = survey
    found.notes.append(f"ranks: the numbers in the file names, as {pattern.name} writes them")
    sayings = _Sayings(path, pattern, found)
    for record in tree.read(path, config, found):
        place = posixpath.dirname(record.source_key)
        if place not in following:
            yield record
            continue
        match = pattern.number.fullmatch(record.file_name)
        record.source = pattern.source
        if match is not None:
            record.rank, record.rank_source = int(match[1]), RANK_FROM_FILE_NAME
        sayings.add_to(record, following[place])
        yield record
    sayings.tell()


def _survey(path: str) -> tuple[_Pattern, dict[str, str]] | None:
    """The pattern that SOURCE follows, and the folders that do: their path in SOURCE -> on this machine."""
    total = 0
    num_files: dict[str, int] = {}
    following: dict[str, dict[str, str]] = {pattern.name: {} for pattern in _PATTERNS}
    for top, key, names in places.walk(path):
        listed = [name for name in names if folder.kind_of_other(name) is None]
        total += len(listed)
        num_files[key] = len(listed)
        for pattern in _PATTERNS:
            if _follows(pattern, listed):
                following[pattern.name][key] = top
    for pattern in _PATTERNS:
        num = sum(num_files[key] for key in following[pattern.name])
        if num >= max(_LEAST_FILES, _SHARE * total):
            return pattern, following[pattern.name]
    return None


def _follows(pattern: _Pattern, names: list[str]) -> bool:
    numbers = [int(match[1]) for name in names if (match := pattern.number.fullmatch(name))]
    if not numbers or len(numbers) < _SHARE * len(names):
        return False
    return max(numbers) <= _SLACK + _PER_FILE * len(names)


class _Sayings:
    """What the files beside the images say about them: URL lists, logs, a table of cleaned images."""

    def __init__(self, path: str, pattern: _Pattern, found: Found) -> None:
        self._pattern = pattern
        self._found = found
        self._cleaned = _cleaned(path, found) if pattern is _FASTAI else {}
        self._folder: str | None = None
        self._urls: list[str | None] = []
        self._log: dict[str, dict[str, Any]] = {}
        self._num = 0

    def add_to(self, record: Record, place: str) -> None:
        """Complete a record of the folder `place`."""
        if place != self._folder:  # the records of a folder come one after another but for its own folders
            self._folder = place
            self._urls = _url_list(place, self._found) if self._pattern is _FASTAI else []
            self._log = _log(place, self._found) if self._pattern is _GOOGLE else {}
        extra: dict[str, Any] = {}
        if record.rank is not None and record.rank < len(self._urls):
            record.page_url = self._urls[record.rank]
        entry = self._log.get(record.file_name)
        if entry is not None:
            record.title = columns.text(entry.get("image_description"))
            record.page_url = columns.text(entry.get("image_source"))
            extra = {
                name: value
                for name in ("image_link", "image_host")
                if (value := columns.text(entry.get(name))) is not None
            }
        if record.source_key in self._cleaned:
            extra["cleaned_label"] = self._cleaned[record.source_key]
        self._num += record.page_url is not None
        record.extra = extra_text(extra)

    def tell(self) -> None:
        """Note how much was known, once all records are listed."""
        if self._num:
            self._found.notes.append(f"page URLs from the lists beside the images: {self._num}")


def _url_list(place: str, found: Found) -> list[str | None]:
    """Line i of the list that fastai downloaded a folder from; empty where no list beside it fits.

    The list is called after the folder (`urls_cats.csv`, `cats.txt`, `cats_urls.txt`) and lies beside it, or
    lies in it, also as `urls.txt`. Nine of ten lines must be URLs, no number may lie beyond them, and nine of ten
    file endings must be those of their URLs.
    """
    own = _plain(places.basename(place))
    names = {own, *(f"{word}_{own}" for word in _LIST_NAMES), *(f"{own}_{word}" for word in _LIST_NAMES)}
    for where, wanted in (
        (places.parent(place), names),
        (place, names.union(_LIST_NAMES)),
    ):
        for name in places.names(where):
            stem, ending = os.path.splitext(name)
            if ending.lower() not in _LIST_ENDINGS or _plain(stem) not in wanted:
                continue
            urls = _urls(places.join(where, name))
            if _fits(urls, places.names(place)):
                _use(places.join(where, name), found)
                return urls
            _note(f"{name} does not fit the files of {own}, line by line: it is not used", found)
    return []


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _urls(path: str) -> list[str | None]:
    """The lines of a text as fastai counts them: blank ones before the first do not count. None for no URL."""
    text = _text(path)
    lines = (line.strip().strip('"') for line in text.strip().split("\n")) if text else ()
    return [line if _is_url(line) else None for line in lines]


def _is_url(line: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(line)
    except ValueError:  # brackets that enclose no address
        return False
    return parts.scheme in ("http", "https") and not any(map(str.isspace, line))


def _fits(urls: list[str | None], names: list[str]) -> bool:
    numbered = [(int(m[1]), name) for name in names if (m := _FASTAI.number.fullmatch(name))]
    good = sum(url is not None for url in urls)
    if not numbered or good < _SHARE * len(urls) or max(numbered)[0] >= len(urls):
        return False
    pairs = [
        (format_of(urllib.parse.urlsplit(url).path), format_of(name))
        for number, name in numbered
        if (url := urls[number])
    ]
    known = [(wanted, kind) for wanted, kind in pairs if wanted and kind]
    return sum(wanted == kind for wanted, kind in known) >= _SHARE * len(known)


def _log(place: str, found: Found) -> dict[str, dict[str, Any]]:
    """File name -> what google_images_download noted with --extract_metadata.

    It writes `logs/<query>.json` where it was started: beside the folder of all downloads, or in it.
    """
    above = places.parent(place)
    for where in (above, places.parent(above)):
        path = places.join(where, "logs", f"{places.basename(place)}.json")
        try:
            entries = json.loads(_text(path) or "null")
        except (ValueError, RecursionError):
            _note(f"{path} is not JSON: it is not used", found)
            continue
        if isinstance(entries, list):
            _use(path, found)
            return {
                entry["image_filename"]: entry
                for entry in entries
                if isinstance(entry, dict) and isinstance(entry.get("image_filename"), str)
            }
    return {}


def _cleaned(path: str, found: Found) -> dict[str, str]:
    """source_key -> label from the `cleaned.csv` (name, label) that fastai's ImageCleaner leaves."""
    table = places.join(path, "cleaned.csv")
    try:
        rows = list(csv.DictReader(io.StringIO(_text(table) or "")))
    except csv.Error as error:
        _note(f"{table} is not CSV: {error}: it is not used", found)
        return {}
    if not rows or not {"name", "label"}.issubset(rows[0]):
        return {}
    _use(table, found)
    return {posixpath.normpath(row["name"]): row["label"] for row in rows if row["name"] and row["label"]}


def _text(path: str) -> str | None:
    """A text file, None where there is none; what is not UTF-8 becomes U+FFFD."""
    try:
        return places.read(path, max_bytes=_MOST_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return None


def _use(path: str, found: Found) -> None:
    if path not in found.tables:
        found.tables.append(path)


def _note(sentence: str, found: Found) -> None:
    if sentence not in found.notes:
        found.notes.append(sentence)
