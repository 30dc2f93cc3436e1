"""Names of files and folders that say train, validation or test, by the rules of Hugging Face's `datasets`."""

from __future__ import annotations

import os
import re
from typing import Final

_WORDS: Final = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF: Final = {word: split for split, words in _WORDS.items() for word in words}
_FOLDER: Final = re.compile(r"([a-z]+)(?:[-._ 0-9].*)?", re.DOTALL)
_BETWEEN_WORDS: Final = re.compile(r"[-._ 0-9]+")
_SHARD: Final = re.compile(r"(?P<split>\w+(?:\.\w+)*)-(?P<number>\d{5})-of-(?P<total>\d{5})(?![0-9])")
_NO_SPLITS: Final = ("data", "part", "shard")


def of_folder(name: str) -> str | None:
    """The split that a folder is called after, as in `train`, `val` or `test-2`; None for any other name."""
    match = _FOLDER.fullmatch(name.lower())
    return _SPLIT_OF.get(match[1]) if match else None


def of_file(name: str) -> str | None:
    """The split that a table is called after, as in `train-00000-of-00004.parquet` or `birds_test.parquet`."""
    shard = _SHARD.match(name)
    if shard and shard["split"].lower() not in _NO_SPLITS:
        return _SPLIT_OF.get(shard["split"].lower(), shard["split"])
    words = _BETWEEN_WORDS.split(os.path.splitext(name)[0].lower())
    found = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def of_path(path: str) -> str | None:
    """The split of a table, by its own name, else by the nearest of its folders that says one."""
    *folders, name = path.split("/")
    found = (of_folder(folder) for folder in reversed(folders))
    return of_file(name) or next((split for split in found if split is not None), None)


def shard_of(name: str) -> tuple[str, int, int] | None:
    """What stands before the number of a shard, the number (0-based), and of how many; None for other names."""
    match = _SHARD.match(name)
    return (match["split"], int(match["number"]), int(match["total"])) if match else None
