"""The nearest of very many unit vectors, sought in the cells of an inverted file.

A vector lies in the cell of its nearest centre, and is looked for in the cells of the few nearest centres. Many are asked
about at once, so that a cell is compared with all who look into it in one product of matrices.

Shapes: N vectors, Q of them asked about, K numbers of a vector, T wanted, P cells looked into, M vectors of a cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Vectors = NDArray[np.float32]

# Cells per square root of the vectors, cells that a search looks into, vectors per cell and rounds of their k-means.
_CELLS = 2.0
_LOOKED_INTO = 12
_TRAINED_ON = 64
_ROUNDS = 6
_AT_ONCE = 2**17  # vectors asked about together
_PRODUCTS = 2**22  # cosines in memory at once
_ASSIGNED = 2**16  # vectors whose cells are looked up at once


class Cells:
    """Vectors by cell, and who is near whom; held once, 4 K bytes a vector."""

    def __init__(self, unit_NK: Vectors) -> None:
        import faiss

        num, width = unit_NK.shape
        cells = int(_CELLS * np.sqrt(num))
        self._centres = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFFlat(self._centres, width, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_ON
        index.cp.min_points_per_centroid = 1  # else faiss writes a warning of its own
        size = min(num, cells * _TRAINED_ON)
        index.train(unit_NK[np.arange(size) * num // size])
        cell_N = np.concatenate(
            [self._near(unit_NK[start : start + _ASSIGNED], 1)[:, 0] for start in range(0, num, _ASSIGNED)]
        )
        self._image_N = np.argsort(cell_N, kind="stable")  # of each place, cell after cell
        self._place_N = np.empty(num, dtype=np.int64)
        self._place_N[self._image_N] = np.arange(num)
        self._start_C = np.concatenate([[0], np.cumsum(np.bincount(cell_N, minlength=cells))])
        self._unit_NK = unit_NK[self._image_N]
        self._found: tuple[int, Vectors, NDArray[np.int32]] | None = None  # from an image on

    def nearest(self, rows: slice, wanted: int) -> tuple[Vectors, Ints]:
        """Cosines and places (Q, T), the nearest first, these images themselves among them; -1 where fewer were found.

        Fastest where they are asked about in their order: the next ones are found at the same time.
        """
        start, cosine_QT, near_QT = self._found or (
            0,
            np.empty((0, 0), np.float32),
            np.empty((0, 0), np.int32),
        )
        if cosine_QT.shape[1] != wanted or not start <= rows.start <= rows.stop <= start + len(cosine_QT):
            start = rows.start
            stop = min(len(self._place_N), max(rows.stop, start + _AT_ONCE))
            cosine_QT, near_QT = self._search(self._place_N[start:stop], wanted)
            self._found = start, cosine_QT, near_QT
        some = slice(rows.start - start, rows.stop - start)
        order_QT = np.argsort(-cosine_QT[some], axis=1, kind="stable")
        near_QT = np.take_along_axis(near_QT[some], order_QT, axis=1)
        return np.take_along_axis(cosine_QT[some], order_QT, axis=1), near_QT.astype(np.int64)

    def _near(self, unit_QK: Vectors, cells: int) -> Ints:
        _, cell_QP = self._centres.search(unit_QK, cells)
        return np.asarray(cell_QP, dtype=np.int64)

    def _search(self, place_Q: Ints, wanted: int) -> tuple[Vectors, NDArray[np.int32]]:
        unit_QK = self._unit_NK[place_Q]
        looked_into = min(_LOOKED_INTO, len(self._start_C) - 1)
        cell_V = self._near(unit_QK, looked_into).ravel()  # of each visit
        order_V = np.argsort(cell_V, kind="stable")
        visitor_V = order_V // looked_into
        first_C = np.searchsorted(cell_V[order_V], np.arange(len(self._start_C)))
        best_QT = np.full((len(place_Q), wanted), -np.inf, dtype=np.float32)
        near_QT = np.full((len(place_Q), wanted), -1, dtype=np.int32)
        for cell in np.flatnonzero(np.diff(first_C) * np.diff(self._start_C)):
            members = slice(int(self._start_C[cell]), int(self._start_C[cell + 1]))
            step = max(1, _PRODUCTS // (members.stop - members.start + wanted))
            for begin in range(int(first_C[cell]), int(first_C[cell + 1]), step):
                visitor_B = visitor_V[begin : min(begin + step, int(first_C[cell + 1]))]
                self._merge(members, unit_QK, visitor_B, best_QT, near_QT)
        return best_QT, near_QT

    def _merge(
        self, members: slice, unit_QK: Vectors, visitor_B: Ints, best_QT: Vectors, near_QT: NDArray[np.int32]
    ) -> None:
        """Let those of a cell that are nearer take the places of the farthest so far."""
        wanted = best_QT.shape[1]
        cosine_BM = unit_QK[visitor_B] @ self._unit_NK[members].T
        both_BX = np.concatenate([best_QT[visitor_B], cosine_BM], axis=1)
        image_M = self._image_N[members].astype(np.int32)
        kept_BT = np.argpartition(both_BX, both_BX.shape[1] - wanted, axis=1)[:, -wanted:]
        best_QT[visitor_B] = np.take_along_axis(both_BX, kept_BT, axis=1)
        known_BT = np.take_along_axis(near_QT[visitor_B], np.minimum(kept_BT, wanted - 1), axis=1)
        fresh_BT = image_M[np.maximum(kept_BT - wanted, 0)]
        near_QT[visitor_B] = np.where(kept_BT < wanted, known_BT, fresh_BT)
