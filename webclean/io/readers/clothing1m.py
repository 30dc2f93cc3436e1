"""Clothing1M: key lists of its four parts, and two files of labels, noisy and clean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.io.readers import lists, places
from webclean.io.readers.records import Found, Record, extra_text
from webclean.io.readers.unlisted import Listed

_NAMES: Final = "category_names_eng.txt"
_NOISY: Final = "noisy_label_kv.txt"
_CLEAN: Final = "clean_label_kv.txt"
_CLEAN_TRAIN: Final = "clean_train"
_HELD_OUT: Final = ("clean_val", "clean_test")
_PARTS: Final = ("noisy_train", _CLEAN_TRAIN, *_HELD_OUT)
_LISTS: Final = {f"{part}_key_list.txt": part for part in _PARTS}
_FOLDERS: Final = ("", "annotations")
_IMAGES: Final = "images"
_IMAGES_PREFIX: Final = b"images/"
_FLAT: Final = tuple(str(digit) for digit in range(10))


def find(path: str) -> str | None:
    """The folder above (or of) the lists, or one of the key lists, where a local path is that."""
    if places.basename(path) in _LISTS and places.is_file(path):
        return path if _is_there(places.parent(path)) else None
    return path if _lists_in(path) is not None else None


def _lists_in(path: str) -> str | None:
    return next((f for name in _FOLDERS if _is_there(f := places.join(path, name))), None)


def _is_there(folder: str) -> bool:
    """Whether a folder holds the names, some labels and some keys."""

    def has(name: str) -> bool:
        return places.has_file(folder, name)

    return has(_NAMES) and (has(_NOISY) or has(_CLEAN)) and any(map(has, _LISTS))


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the keys of the four parts, or of the one list that is named.

    The label is the noisy one where a key has two. A key of the validation or test set is `excluded`,
    whatever other list it is in, unless its own list is what is named.

    Args:
        path: the folder of the data set, or one key list.
        config: `image_root`.
        found: gets the lists read, the number of files that no list names, and what was odd.

    Raises:
        ArtifactInvalidError: a list cannot be read.
        ImagesNotFoundError: the folders of the images are not there.
    """
    named = None
    if places.basename(path) in _LISTS and places.is_file(path):
        folder = places.parent(path)
        named = _LISTS[places.basename(path)]
        home = places.parent(folder) if places.basename(folder) in _FOLDERS else folder
    else:
        home, folder = path, _lists_in(path) or path
    reader = _Reader(folder, config.image_root or home, named, found)
    found.root = reader.root
    listed = Listed()
    for part in _PARTS if named is None else (named,):
        for record in reader.records(part):
            listed.add(record.uri)
            yield record
    if named is None and (num := listed.num_others(reader.image_folders, config)):
        found.skip("files that no key list names", num)
    found.notes += reader.tally.sentences()


class _Reader:
    """Turns keys into records."""

    def __init__(self, folder: str, root: str, named: str | None, found: Found) -> None:
        self.root = root
        self.tally = lists.Tally()
        self._folder = folder
        self._named = named
        self._found = found
        lists.folder_with(root, (_IMAGES, *_FLAT), list_name="the key lists")
        # Some unpack the folders 0 to 9 without the `images/` that each key begins with.
        self._is_flat = not places.has_folder(root, _IMAGES)
        self.image_folders = [places.join(root, top) for top in (_FLAT if self._is_flat else (_IMAGES,))]
        self._names = lists.names(places.join(folder, _NAMES), found)
        self._noisy = self._labels(_NOISY)
        self._clean = self._labels(_CLEAN)
        self._held_out = {key: part for part in _HELD_OUT for key in self._keys(part)}
        self._clean_train = frozenset(self._keys(_CLEAN_TRAIN)) if named is None else frozenset()
        self._in_both: set[bytes] = set()  # keys of the small training list that the large one has named

    def records(self, part: str) -> Iterator[Record]:
        """The records of one part; beside the other parts each key is a record of one part only."""
        for key in self._keys(part):
            own = self._held_out.get(key, part)
            if self._named is None and own != part:
                self.tally.add(f"keys of {part} that {own} has too, held out", key)
            elif part != _CLEAN_TRAIN or key not in self._in_both:
                if key in self._clean_train and part != _CLEAN_TRAIN:
                    self._in_both.add(key)
                yield self._record(key, part if part in _HELD_OUT else own)

    def _record(self, key: bytes, part: str) -> Record:
        path = key.removeprefix(_IMAGES_PREFIX) if self._is_flat else key
        noisy, clean = self._noisy.get(key), self._clean.get(key)
        label = clean if noisy is None else noisy
        category = self._name(label)
        extra = {"split": part}
        if noisy is not None and clean is not None:
            if true_name := self._name(clean):
                extra["clean_category"] = true_name
            else:
                self.tally.add("keys whose clean label names no class, not taken", key)
        source_key = lists.key(key)
        record = Record(
            source_key=source_key,
            uri=lists.location(self.root, path),
            category=category,
            query=category,
            file_name=source_key.rpartition("/")[2],
            extra=extra_text(extra),
        )
        if part in _HELD_OUT and part != self._named:
            record.error = f"it is in {part}, which is held out; {part}_key_list.txt as SOURCE reads it"
        elif not category:
            record.error = (
                f"neither {_NOISY} nor {_CLEAN} has a label of it" if label is None
                else f"{_NAMES} names no class {label} (counted from 0)"
            )  # fmt: skip
        if record.error is not None:
            record.status = schema.STATUS_EXCLUDED
        return record

    def _name(self, label: int | None) -> str:
        return self._names[label] if label is not None and 0 <= label < len(self._names) else ""

    def _keys(self, part: str) -> Iterator[bytes]:
        name = f"{part}_key_list.txt"
        is_there = places.has_file(self._folder, name)
        return lists.lines(places.join(self._folder, name), self._found) if is_there else iter(())

    def _labels(self, name: str) -> dict[bytes, int]:
        """Key -> label (0-based) of one file of labels; of a key with two labels the first."""
        is_there = places.has_file(self._folder, name)
        labels: dict[bytes, int] = {}
        for line in lists.lines(places.join(self._folder, name), self._found) if is_there else ():
            key, label = lists.entry(line)
            if label is None:
                self.tally.add(f"lines of {name} without a label", key)
            elif labels.setdefault(key, label) != label:
                self.tally.add(f"keys with a second label in {name}, which is not taken", key)
        return labels
