"""WebVision 1.0 and 2.0: lists of the images in `info/`, texts and ranks in one JSON file per query."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.io.readers import columns, lists, places, uris
from webclean.io.readers.records import RANK_FROM_JSON, RANK_FROM_PLACE, Found, Record, extra_text
from webclean.io.readers.unlisted import Listed

NAME: Final = "webvision"
_INFO: Final = "info"
_SYNSETS: Final = "synsets.txt"
_QUERY_MAP: Final = "queries_synsets_map.txt"
_ENGINES: Final = ("google", "flickr")
_ALL: Final = "all"
_TRAINING_LIST: Final = re.compile(r"train_filelist_(google|flickr|all)\.txt")
_HELD_OUT: Final = ("val_images", "test_images")
_META_FOLDERS: Final = ("", "meta", "metadata")
_QUERY_FOLDER: Final = re.compile(rb"q(\d{1,9})")
_QUERY_LINE: Final = re.compile(rb"(\d{1,9})\s+(.+)", re.DOTALL)
_TEXT_FIELDS: Final = (schema.TITLE, schema.DESCRIPTION, schema.PAGE_URL)
_FIELDS: Final = (*_TEXT_FIELDS, schema.TAGS, schema.RANK)


def find(path: str) -> str | None:
    """The folder above `info/`, or one of the training lists in there, where a local path is that."""
    if _TRAINING_LIST.fullmatch(places.basename(path)) and places.is_file(path):
        return path if places.has_file(places.parent(path), _SYNSETS) else None
    return path if places.has_file(path, _INFO, _SYNSETS) and _lists_in(places.join(path, _INFO)) else None


def _lists_in(info: str) -> tuple[str, ...]:
    """The training lists to read: the two engines' own, else the one that joins them."""
    there = [which for which in (*_ENGINES, _ALL) if places.has_file(info, _list(which))]
    return tuple(which for which in there if which != _ALL) or tuple(there)


def _list(which: str) -> str:
    return f"train_filelist_{which}.txt"


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the training images in the order of the lists; the validation and test sets are left out.

    Args:
        path: the folder above `info/`, or one training list.
        config: `image_root`, `meta_root`.
        found: gets the lists read, the number of files that no list names, and what was odd.

    Raises:
        ArtifactInvalidError: a list cannot be read, or list and meta list differ in length.
        ConfigError: `meta_root` holds no JSON files.
        ImagesNotFoundError: the folders of the images are not there.
    """
    match = _TRAINING_LIST.fullmatch(places.basename(path))
    if match is not None and places.is_file(path):
        info = places.parent(path)
        home = places.parent(info)
        chosen: tuple[str, ...] = (match[1],)
    else:
        home, info = path, places.join(path, _INFO)
        chosen = _lists_in(info)
    root = config.image_root or home
    found.root = root
    engines = tuple(e for which in chosen for e in (_ENGINES if which == _ALL else (which,)))
    lists.folder_with(root, engines, list_name=f"{_INFO}/{_list(chosen[0])}")
    tally, listed = lists.Tally(), Listed()
    folder_of = _json_folders(home, engines, config, found)
    reader = _Reader(root, _Labels(info, found), _Texts(folder_of, tally, found), tally)
    for which in chosen:
        for record in reader.records(info, which, found):
            listed.add(record.uri)
            yield record
    folders = [places.join(root, engine) for engine in engines]
    if num := listed.num_others(folders, config):
        found.skip("files that no list names", num)
    found.notes += tally.sentences()
    for entry in places.entries(home):
        if entry.name.startswith(_HELD_OUT) and entry.is_folder:
            found.notes.append(
                f"{entry.name}/ is no training data and left out;"
                f" --against {places.join(home, entry.name)} marks its copies"
            )


class _Labels:
    """What the lists of classes and queries say."""

    def __init__(self, info: str, found: Found) -> None:
        self.names = lists.names(places.join(info, _SYNSETS), found)
        self._queries = {engine: self._words(info, f"queries_{engine}.txt", found) for engine in _ENGINES}
        self._any_queries = self._words(info, "queries.txt", found)
        is_there = places.has_file(info, _QUERY_MAP)
        pairs = map(lists.entry, lists.lines(places.join(info, _QUERY_MAP), found) if is_there else ())
        self._number_of = {query: number for query, number in pairs if number is not None}

    @staticmethod
    def _words(info: str, name: str, found: Found) -> dict[int, str]:
        """Number of a query -> its words; nothing where there is no such list."""
        if not places.has_file(info, name):
            return {}
        matches = map(_QUERY_LINE.fullmatch, lists.lines(places.join(info, name), found))
        return {int(match[1]): match[2].decode("utf-8", "replace") for match in matches if match}

    def query(self, engine: str | None, number: int | None) -> str | None:
        """The words of a query; a search engine's plus between them is a blank."""
        if engine is None or number is None:
            return None
        words = self._queries[engine].get(number) or self._any_queries.get(number)
        return words.replace("+", " ") if words else None

    def label(self, number: int | None) -> int | None:
        """The class (0-based) that a query was made for, None where nothing says it; the map counts from 1."""
        found = self._number_of.get(b"%d" % number) if number is not None else None
        return None if found is None else found - 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image lies: `google/q0001/x.jpg`, whatever folders stand above."""

    engine: str | None
    folder: bytes
    number: int | None

    @classmethod
    def of(cls, path: bytes) -> _Place:
        parts = path.split(b"/")
        engine = parts[-3].decode("utf-8", "replace") if len(parts) > 2 else None
        folder = parts[-2] if len(parts) > 1 else b""
        match = _QUERY_FOLDER.fullmatch(folder)
        return cls(engine if engine in _ENGINES else None, folder, int(match[1]) if match else None)


class _Reader:
    """Turns lines of the lists into records."""

    def __init__(self, root: str, labels: _Labels, texts: _Texts, tally: lists.Tally) -> None:
        self._root = root
        self._labels = labels
        self._texts = texts
        self._tally = tally

    def records(self, info: str, which: str, found: Found) -> Iterator[Record]:
        """The records of one training list."""
        path = places.join(info, _list(which))
        meta_path = places.join(info, f"train_meta_list_{which}.txt")
        images = lists.lines(path, found)
        if not places.is_file(meta_path):
            found.notes.append(f"there is no {meta_path}: its images have no texts and no ranks")
            yield from (self._record(image, None) for image in images)
            return
        for number, (image, meta) in enumerate(zip_longest(images, lists.lines(meta_path, found)), 1):
            if image is None or meta is None:
                short, long = (path, meta_path) if image is None else (meta_path, path)
                raise ArtifactInvalidError(
                    f"{short} ends before line {number}, {long} goes on",
                    context="line n of the one speaks of line n of the other",
                    hint="unpack both again, or move the meta list away to go without texts and ranks",
                )
            yield self._record(image, meta)

    def _record(self, line: bytes, meta: bytes | None) -> Record:
        path, label = lists.entry(line)
        place = _Place.of(path)
        key = lists.key(path)
        names = self._labels.names
        category = names[label] if label is not None and 0 <= label < len(names) else ""
        expected = self._labels.label(place.number)
        if category and expected is not None and expected != label:
            self._tally.add(f"images whose label is not the one of their query in {_QUERY_MAP}", key)
        record = Record(
            source_key=key,
            uri=lists.location(self._root, path),
            category=category,
            query=self._query(place) or category,
            file_name=key.rpartition("/")[2],
            source=place.engine,
        )
        extra = {} if meta is None else self._texts.fill(record, place, meta)
        record.extra = extra_text(extra if label is None else extra | {"label": label})
        if not category:
            record.status = schema.STATUS_EXCLUDED
            record.error = (
                "its line in the list ends without a label" if label is None
                else f"{_SYNSETS} names no class {label} (counted from 0)"
            )  # fmt: skip
        return record

    def _query(self, place: _Place) -> str:
        words = self._labels.query(place.engine, place.number)
        if words is None and place.folder:
            self._tally.add("images of a query without words, shown as its folder", place.folder)
            return uris.text_of_path(place.folder)
        return words or ""


class _Texts:
    """Titles, texts and ranks: the JSON file of one query in memory at a time."""

    def __init__(self, folder_of: dict[str, str], tally: lists.Tally, found: Found) -> None:
        self._folder_of = folder_of
        self._tally = tally
        self._found = found
        self._path = ""
        self._entries: list[Any] | None = None

    def fill(self, record: Record, place: _Place, line: bytes) -> dict[str, Any]:
        """Give a record its texts and rank by its line of the meta list; returns what else is known of it.

        Joined by the index (1-based) into the JSON list alone: an engine's id may end in a colon or begin
        with a dash, and the file's name need not hold it.
        """
        path, index = lists.entry(line)
        *_, folder, name = (b"", b"", *path.split(b"/"))
        if index is None:
            self._tally.add("images without texts and rank: the meta list is torn there", record.source_key)
            return {}
        if place.engine is None or (folder, name) != (place.engine.encode(), place.folder + b".json"):
            self._tally.add(
                "images without texts and rank: the meta list speaks of another query there",
                record.source_key,
            )
            return {}
        entries = self._load(place.engine, name)
        if index < 1 or (entries is not None and index > len(entries)):
            self._tally.add("images without texts and rank: their JSON list has no such index", path)
            return {}
        record.rank, record.rank_source = index, RANK_FROM_PLACE
        if entries is None:
            return {}
        known = entries[index - 1]
        if not isinstance(known, dict):
            self._tally.add("images without texts: their entry is no JSON object", path)
            return {}
        if (rank := columns.whole_number(known.get(schema.RANK))) is not None:
            record.rank, record.rank_source = rank, RANK_FROM_JSON
        for field in _TEXT_FIELDS:
            setattr(record, field, columns.text(known.get(field)))
        record.tags = columns.tags(known.get(schema.TAGS))
        return {
            name: value for name, value in known.items() if name not in _FIELDS and value not in (None, "")
        }

    def _load(self, engine: str, name: bytes) -> list[Any] | None:
        """The list of one query's results, None where there is none."""
        if engine not in self._folder_of:
            return None
        path = places.join(self._folder_of[engine], os.fsdecode(name))
        if path != self._path:
            self._path = path
            self._entries = self._parse(path)
        if self._entries is None:
            self._tally.add("images without texts: their JSON file is not there or no JSON list", path)
        return self._entries

    def _parse(self, path: str) -> list[Any] | None:
        self._found.tables.append(path)
        try:
            value = json.loads(places.read(path))
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, list) else None


def _json_folders(home: str, engines: tuple[str, ...], config: IngestConfig, found: Found) -> dict[str, str]:
    """The folder of each engine's JSON files, where there is one.

    `google/` is the images' folder, so many unpack the files beside it.

    Raises:
        ConfigError: `meta_root` is given and holds none.
    """
    tops = (
        [config.meta_root]
        if config.meta_root
        else [places.join(home, name) for name in _META_FOLDERS if places.has_folder(home, name)]
    )
    folder_of = {}
    for engine in engines:
        folders = [(top, name) for top in tops for name in (engine, f"{engine}_json")]
        holding = next((pair for pair in folders if _holds_json(*pair)), None)
        if holding is not None:
            folder_of[engine] = places.join(*holding)
            continue
        found.notes.append(
            f"no JSON files of {engine} are there: its images have no texts, and their place in the meta list"
            f" for a rank; --meta-root names the folder above {engine}/q*.json"
        )
    if config.meta_root is not None and not folder_of:
        raise ConfigError(
            f"--meta-root {config.meta_root} holds no JSON files",
            context=" and ".join(f"{engine}/q*.json" for engine in engines) + " are looked for there",
            hint="name the folder above the engines' folders",
        )
    return folder_of


def _holds_json(top: str, name: str) -> bool:
    return places.has_folder(top, name) and any(
        n.endswith(".json") for n in places.names(places.join(top, name))
    )
