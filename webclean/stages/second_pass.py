"""The second pass of dedup: crops, and copies with something laid over, on small copies of every image.

Candidates come from hashes of windows, the verdict from pixels that are laid over each other. The pixels are compared
by the engine's workers, in tasks whose bounds do not depend on their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webclean.engines.base import Crash
from webclean.ops import overlap, phash, windows
from webclean.ops.copy_groups import Fits
from webclean.ops.overlap import Task
from webclean.ops.pairs import Pairs, best_views
from webclean.ops.verdict import LUMA
from webclean.ops.windows import Starts, Windows
from webclean.stages.base import Context

_BLOCK = 256  # images whose windows are hashed at once
_LABEL = "second pass"


@dataclass(frozen=True)
class Pictures:
    """Small copies of some images and the hashes of their windows.

    Attributes:
        ids: names of their content and place, in order.
        squares_KSSC: (K, 64, 64, 3) uint8, a memory map in the run's scratch folder.
        windows: of the K.
        cutout_K: which show one thing on a plain ground.
        hash_K: uint64, hashes of the whole images.
    """

    ids: Sequence[str]
    squares_KSSC: NDArray[np.uint8]
    windows: Windows
    cutout_K: NDArray[np.bool_]
    hash_K: NDArray[np.uint64]


def read(
    context: Context,
    ids: Sequence[str],
    uris: Sequence[str],
    cutout_K: NDArray[np.bool_],
    hash_K: NDArray[np.uint64],
) -> Pictures:
    """Read images once more, small.

    Raises:
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    from webclean.io import pixels

    with context.progress(total=len(ids), unit="images", label="small copies") as bar:
        squares_KSSC = pixels.square_cache(
            context.run, ids, uris, side=overlap.SIDE, map_items=context.engine.map, advance=bar.advance
        )
    described = [
        windows.describe(squares_KSSC[start : start + _BLOCK] @ LUMA)
        for start in range(0, max(1, len(ids)), _BLOCK)
    ]
    return Pictures(ids, squares_KSSC, windows.join(described), cutout_K, hash_K)


def forget(context: Context, pictures: Pictures) -> None:
    """Remove the small copies from the scratch folder."""
    from webclean.io import pixels

    pixels.drop_square_cache(context.run, pictures.ids, side=overlap.SIDE)


def copies(context: Context, pictures: Pictures, known: Pairs) -> Pairs:
    """Pairs of pictures that show the same in the part that both have; each once, first < second.

    Args:
        known: copies that need not be looked at again, first < second.
    """
    num = len(pictures.ids)
    known_P = known.first_P * num + known.second_P
    found: list[tuple[Pairs, NDArray[np.float64]]] = []
    with context.progress(total=num, unit="images", label=_LABEL) as bar:
        for block, starts in enumerate(windows.candidates(pictures.windows, pictures.cutout_K)):
            low_P = np.minimum(starts.first_P, starts.second_P)
            high_P = np.maximum(starts.first_P, starts.second_P)
            starts = starts.where(~np.isin(low_P * num + high_P, known_P))
            verdict_P, detail_P = _judged(context, pictures, starts, lax=False)
            found.append((_in_order(pictures, starts.where(verdict_P)), detail_P[verdict_P]))
            bar.advance(min(windows.BLOCK, num - block * windows.BLOCK))
    return best_views([pairs for pairs, _ in found], [detail_P for _, detail_P in found])


def fits(
    context: Context, pictures: Pictures, first_M: NDArray[np.int64], second_M: NDArray[np.int64]
) -> Fits:
    """Whether each second picture shows what the first one shows, by lax bars, and under which view."""
    num = len(first_M)
    starts = windows.best_starts(pictures.windows, first_M, second_M)
    verdict_P, detail_P = _judged(context, pictures, starts, lax=True)
    # Of the ways that were tried, one that fits, then the one with the most detail.
    best_M = (detail_P + 2.0 * verdict_P).reshape(-1, num).argmax(axis=0) * num + np.arange(num)
    best = starts.where(best_M)
    swapped_M = best.first_P != first_M
    view_M = np.where(swapped_M, phash.inverse(best.view_P), best.view_P)
    return Fits(verdict_P[best_M], view_M, _distances(pictures, first_M, second_M, view_M))


def _judged(
    context: Context, pictures: Pictures, starts: Starts, *, lax: bool
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Verdict and share of agreeing detail of each start, from the engine's workers."""
    verdict_P = np.zeros(len(starts), dtype=np.bool_)
    detail_P = np.zeros(len(starts))
    under_way: deque[NDArray[np.int64]] = deque()

    def handed_out() -> Iterator[Task]:
        for chosen, task in overlap.tasks(pictures.squares_KSSC, pictures.cutout_K, starts, lax=lax):
            under_way.append(chosen)
            yield task

    for result in context.engine.map(overlap.judge, handed_out()):
        assert not isinstance(result, Crash), "a crash is raised unless it is asked for"
        chosen = under_way.popleft()
        verdict_P[chosen], detail_P[chosen] = result
    return verdict_P, detail_P


def _in_order(pictures: Pictures, starts: Starts) -> Pairs:
    """The same as pairs with first < second."""
    swapped_P = starts.first_P > starts.second_P
    first_P = np.where(swapped_P, starts.second_P, starts.first_P)
    second_P = np.where(swapped_P, starts.first_P, starts.second_P)
    view_P = np.where(swapped_P, phash.inverse(starts.view_P), starts.view_P)
    return Pairs(first_P, second_P, view_P, _distances(pictures, first_P, second_P, view_P))


def _distances(
    pictures: Pictures, first_P: NDArray[np.int64], second_P: NDArray[np.int64], view_P: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Bits between the hashes of whole images under a view."""
    turned_VP = phash.views(pictures.hash_K[first_P])
    return phash.hamming(turned_VP[view_P, np.arange(len(view_P))], pictures.hash_K[second_P])
