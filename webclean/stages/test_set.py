"""The user's own test set: which images of the crawl are copies of its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.engines.base import Crash
from webclean.io.decode import TINY_SIDE, Inspection, Limits
from webclean.ops import duplicates
from webclean.ops.pairs import Pairs
from webclean.ops.verdict import Bars, Looks, look, verify
from webclean.stages import contents
from webclean.stages.base import Context
from webclean.stages.contents import Contents

if TYPE_CHECKING:
    from webclean.io.readers.listing import Listing

_TASK_ROWS = 64


@dataclass(frozen=True)
class Hit:
    """One image's copy in the test set."""

    key: str
    kind: str
    view: int
    distance: int


@dataclass(frozen=True)
class TestSet:
    """The usable images of a test set, T of them.

    Attributes:
        keys, uris: of each.
        sha256: of their bytes.
        hash_T: uint64.
        looks: of the T.
    """

    keys: list[str]
    uris: list[str]
    sha256: list[str]
    hash_T: NDArray[np.uint64]
    looks: Looks


def read(test: Listing, context: Context) -> TestSet:
    """Inspect the images of a test set; those that cannot be used are counted and said."""
    from webclean.io import scan

    uris, statuses = (test.records.column(name).to_pylist() for name in (schema.URI, schema.STATUS))
    readable = [uri if status is None else None for uri, status in zip(uris, statuses, strict=True)]
    keys = test.records.column(schema.SOURCE_KEY).to_pylist()
    inspect = partial(scan.inspect_all, root=test.root, limits=Limits())
    tasks = [readable[start : start + _TASK_ROWS] for start in range(0, len(uris), _TASK_ROWS)]
    known: list[tuple[int, Inspection]] = []
    with context.progress(total=len(uris), unit="images", label="test set") as bar:
        for task_number, result in enumerate(context.engine.map(inspect, tasks, yield_crashes=True)):
            if not isinstance(result, Crash):
                known += [
                    (task_number * _TASK_ROWS + i, found)
                    for i, found in enumerate(result)
                    if found is not None and found.status == schema.STATUS_OK
                ]
            bar.advance(len(tasks[task_number]))
    unusable = len(uris) - len(known)
    context.result["against"] = {"images": len(uris), "unusable": unusable}
    if unusable:
        context.note(f"test set: {unusable} of {len(uris)} files are no usable images and were not compared")
    octets = b"".join(found.tiny for _, found in known if found.tiny is not None)
    looks = look(
        np.frombuffer(octets, dtype=np.uint8).reshape(-1, TINY_SIDE, TINY_SIDE, 3),
        np.array([found.is_gray for _, found in known], dtype=np.bool_),
    )
    return TestSet(
        keys=[keys[i] for i, _ in known],
        uris=[uris[i] for i, _ in known],
        sha256=[found.sha256 or "" for _, found in known],
        hash_T=np.array([found.phash for _, found in known], dtype=np.uint64),
        looks=looks,
    )


def hits(
    test: TestSet,
    images: Contents,
    overlaps: Pairs,
    radius: int,
    bars: Bars,
) -> dict[int, Hit]:
    """Row -> the nearest copy in the test set: equal bytes first, then correlation, then its key.

    Args:
        images: of the crawl.
        overlaps: copies of test images that only the second pass sees; `second_P` counts in the test set.
        radius, bars: as between images of the crawl.
    """
    best: dict[int, tuple[tuple[Any, ...], Hit]] = {}

    def offer(row: int, hit: Hit, score: float) -> None:
        order = (hit.kind != schema.KIND_EXACT, -score, hit.key.encode(), hit.view)
        if row not in best or order < best[row][0]:
            best[row] = (order, hit)

    by_sha: dict[tuple[int, int], str] = {}
    for key, sha in zip(test.keys, contents.first_bits(test.sha256).tolist(), strict=True):
        by_sha.setdefault((sha[0], sha[1]), key)
    alike_N = np.isin(images.sha_N2[:, 0], np.array([sha[0] for sha in by_sha], dtype=np.uint64))
    for row in np.flatnonzero(alike_N).tolist():
        sha = images.sha_N2[row].tolist()
        if (sha[0], sha[1]) in by_sha:
            offer(row, Hit(by_sha[sha[0], sha[1]], schema.KIND_EXACT, 0, 0), 1.0)
    for pairs in duplicates.candidates(images.hash_N, test.hash_T, radius):
        verdict_P, correlation_P = verify(pairs, images.looks, test.looks, bars)
        _offer_all(offer, test, pairs.where(verdict_P), correlation_P[verdict_P])
    # What only the second pass sees stands behind what the first one found.
    _offer_all(offer, test, overlaps, np.full(len(overlaps), -1.0))
    return {row: hit for row, (_, hit) in best.items()}


def _offer_all(offer: Any, test: TestSet, pairs: Pairs, score_P: NDArray[np.float64]) -> None:
    for first, second, view, distance, score in zip(
        pairs.first_P.tolist(),
        pairs.second_P.tolist(),
        pairs.view_P.tolist(),
        pairs.distance_P.tolist(),
        score_P.tolist(),
        strict=True,
    ):
        offer(first, Hit(test.keys[second], schema.KIND_NEAR, view, distance), score)
