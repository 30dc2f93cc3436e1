"""Vectors of the feature set before, for images whose content is the same.

Letters: N images asked for, M images before, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import FeaturesConfig
from webclean.stages.aside import Aside
from webclean.stages.base import versions

FOLDER: Final = "features-before"
NOT_KNOWN: Final = -1
_DIGITS: Final = 16  # of the content's SHA-256, which an image_id begins with
_CHECKED: Final = 19  # vectors computed once more before any is taken over: two batches and a part of one
_PARTS_AT_ONCE: Final = 8
_DECIDING: Final = ("webclean", "numpy", "pillow", "torch", "torchvision")


def is_same(config: FeaturesConfig, source: str | None, record: dict[str, Any] | None) -> bool:
    """Whether a feature set was made with these settings, this network and these packages."""
    if record is None or record["config"] != config.fingerprint_fields() or record["source"] != source:
        return False
    then, now = record["versions"], versions()
    return all(then.get(name) == now[name] for name in _DECIDING)


class KnownFeatures:
    """Where the vector of each content is, 16 bytes an image; vectors are read part by part."""

    def __init__(self, aside: Aside, dim: int) -> None:
        self._dim = dim
        self._table = schema.features_table(dim)
        self._aside = aside
        contents: list[NDArray[np.uint64]] = []
        for part in aside.parts(self._table, (schema.IMAGE_ID,)):
            contents.append(_contents(part.column(schema.IMAGE_ID).to_pylist()))
        content_M = np.concatenate(contents) if contents else np.empty(0, dtype=np.uint64)
        self._order_M = np.argsort(content_M, kind="stable")
        self._content_M = content_M[self._order_M]
        self._starts = np.cumsum([0, *(len(content) for content in contents)])
        self._part = lru_cache(maxsize=_PARTS_AT_ONCE)(self._read)

    def find(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """Place of a vector of each image's content, `NOT_KNOWN` for none; int64."""
        wanted_N = _contents(image_ids)
        if len(self._content_M) == 0:
            return np.full(len(wanted_N), NOT_KNOWN, dtype=np.int64)
        at_N = np.minimum(np.searchsorted(self._content_M, wanted_N), len(self._content_M) - 1)
        found_N = self._content_M[at_N] == wanted_N
        return np.where(found_N, self._order_M[at_N], NOT_KNOWN).astype(np.int64)

    def take(self, place_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors at these places, float32 (N, D)."""
        part_N = np.searchsorted(self._starts, place_N, side="right") - 1
        rows = [
            self._part(int(part))[place - self._starts[part]]
            for part, place in zip(part_N, place_N, strict=True)
        ]
        return np.stack(rows) if rows else np.empty((0, self._dim), dtype=np.float32)

    def _read(self, index: int) -> NDArray[np.float32]:
        vectors = self._aside.part(index, self._table, (schema.VECTOR,)).column(schema.VECTOR)
        flat = vectors.combine_chunks().flatten().to_numpy()
        return np.asarray(flat, dtype=np.float32).reshape(len(vectors), -1)


def _contents(image_ids: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(image_id[:_DIGITS], 16) for image_id in image_ids], dtype=np.uint64)


def sample(place_of: Sequence[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """Some (part, row) of all whose vector is known, spread over them, the last first.

    Args:
        place_of: what `KnownFeatures.find` gave for each part.
    """
    num = sum(int((place_N != NOT_KNOWN).sum()) for place_N in place_of)
    step, met, chosen = max(1, num // _CHECKED), 0, []
    for part, place_N in enumerate(place_of):
        rows = np.flatnonzero(place_N != NOT_KNOWN)
        chosen += [(part, int(row)) for row in rows[-met % step :: step]]
        met += len(rows)
    return chosen[:_CHECKED][::-1]
