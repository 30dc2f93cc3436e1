"""Food-101N: one list of images by class, and which of them a person has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.io.readers import lists, places
from webclean.io.readers.records import Found, Record, extra_text
from webclean.io.readers.unlisted import Listed

_RELEASE: Final = "Food-101N_release"
_META: Final = "meta"
_LIST: Final = "imagelist.tsv"
_CLASSES: Final = "classes.txt"
_VERIFIED: Final = {"train": "verified_train.tsv", "val": "verified_val.tsv"}
_IMAGES: Final = "images"
_HEADERS: Final = frozenset({"class_name", "class_name/key"})
_NUM_CLASSES: Final = 101


def find(path: str) -> str | None:
    """The folder above `meta/` where a local path is that, or the folder it was unpacked into."""
    for folder in (path, places.join(path, _RELEASE)):
        if all(places.has_file(folder, _META, name) for name in (_LIST, _CLASSES)):
            return folder
    return None


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the images in the order of imagelist.tsv.

    What a person said about an image goes to `extra`: it is no class, only whether the class is right.

    Args:
        path: the folder above `meta/`.
        config: `image_root`.
        found: gets the lists read, the number of files that no list names, and what was odd.

    Raises:
        ArtifactInvalidError: a list cannot be read.
        ImagesNotFoundError: the folder of the images is not there.
    """
    meta = places.join(path, _META)
    root = config.image_root or places.join(path, _IMAGES)
    found.root = root
    tally, listed = lists.Tally(), Listed()
    names = lists.names(places.join(meta, _CLASSES), found)
    classes = frozenset(names) - _HEADERS
    if len(classes) != _NUM_CLASSES:
        found.notes.append(f"{_CLASSES} names {len(classes)} classes, the release {_NUM_CLASSES}")
    if config.image_root is None:
        lists.folder_with(path, (_IMAGES,), list_name=_LIST)
    verified = _verified(meta, tally, found)
    matched: set[bytes] = set()
    for line in _lines(places.join(meta, _LIST), found):
        key = line.partition(b"\t")[0].rstrip()
        if key in verified:
            matched.add(key)
        record = _record(key, root, classes, verified.get(key, {}))
        listed.add(record.uri)
        yield record
    for key in verified:
        if key not in matched:
            tally.add(f"verified keys that {_LIST} does not name, not taken", key)
    if num := listed.num_others([root], config):
        found.skip("files that no list names", num)
    found.notes += tally.sentences()


def _record(key: bytes, root: str, classes: frozenset[str], verified: dict[str, Any]) -> Record:
    name, slash, _ = key.partition(b"/")
    category = name.decode("utf-8", "replace") if slash else ""
    source_key = lists.key(key)
    record = Record(
        source_key=source_key,
        uri=lists.location(root, key),
        category=category,
        query=category,
        file_name=source_key.rpartition("/")[2],
        extra=extra_text(verified),
    )
    if category not in classes:
        record.status = schema.STATUS_EXCLUDED
        record.error = (
            f"{_CLASSES} names no class {category!r}" if category else f"its line in {_LIST} names no class"
        )
    return record


def _verified(meta: str, tally: lists.Tally, found: Found) -> dict[bytes, dict[str, Any]]:
    """Key (class and file: the file alone is listed under two classes) -> what a person said, and where."""
    said: dict[bytes, dict[str, Any]] = {}
    for part, name in _VERIFIED.items():
        path = places.join(meta, name)
        for line in _lines(path, found) if places.has_file(meta, name) else ():
            key, label = lists.entry(line)
            if label not in (0, 1):
                tally.add(f"lines of {name} whose label is neither 0 nor 1, not taken", key)
                continue
            first = said.setdefault(key, {"verification_label": label, "verified_in": part})
            if first["verification_label"] != label:
                tally.add("keys verified twice, once as right and once as wrong; the first is taken", key)
    return said


def _lines(path: str, found: Found) -> Iterator[bytes]:
    """The lines of a list without its header, which some copies lack."""
    for number, line in enumerate(lists.lines(path, found)):
        if number or line.partition(b"\t")[0].rstrip().decode("utf-8", "replace") not in _HEADERS:
            yield line
