"""Files of a data set that none of its lists names: counted, so that nothing on the disk vanishes."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Literal

import numpy as np

from webclean.config import IngestConfig
from webclean.io.readers import places, tree
from webclean.io.readers.records import Found

_BATCH: Final = 8192
_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


class Listed:
    """What lists name, as eight bytes of a hash each: the largest sets name sixteen million files."""

    def __init__(self) -> None:
        self._marks = array("Q")

    def add(self, uri: str) -> None:
        """Remember a file that a list names."""
        self._marks.append(_mark(uri))

    def num_others(self, folders: Iterable[str], config: IngestConfig) -> int:
        """How many files below these folders were never added; sidecars and hidden files do not count."""
        known = np.unique(np.array(self._marks, dtype=np.uint64))
        there = (_mark(uri) for path in folders for uri in _files(path, config))
        others = 0
        while batch := list(islice(there, _BATCH)):
            marks = np.array(batch, dtype=np.uint64)
            # Not np.isin: it would sort what is known once more for each batch.
            first, behind = (np.searchsorted(known, marks, side=side) for side in _SIDES)
            others += int(np.count_nonzero(first == behind))
        return others


def _files(path: str, config: IngestConfig) -> Iterator[str]:
    if places.is_folder(path):
        for record in tree.read(path, config, Found()):
            yield record.uri


def _mark(uri: str) -> int:
    return int.from_bytes(hashlib.blake2b(uri.encode(), digest_size=8).digest(), "little")
