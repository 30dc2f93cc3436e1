"""An inverted file searched cell by cell: nothing is lost where all cells are looked into."""

from __future__ import annotations

import numpy as np
import pytest

from webclean.ops import cells
from webclean.ops.cells import Cells


def units(num: int, width: int = 6, seed: int = 0) -> np.ndarray:
    x_NK = np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)
    return x_NK / np.linalg.norm(x_NK, axis=1, keepdims=True)


@pytest.mark.parametrize("products", [cells._PRODUCTS, 50])
def test_with_all_cells_it_is_a_comparison_of_all_pairs(monkeypatch, products):
    monkeypatch.setattr(cells, "_LOOKED_INTO", 1000)
    monkeypatch.setattr(cells, "_PRODUCTS", products)
    x_NK = units(300)
    found = Cells(x_NK)
    cosine_NN = x_NK @ x_NK.T
    for rows in (slice(0, 100), slice(100, 300), slice(7, 9)):
        cosine_QT, near_QT = found.nearest(rows, 11)
        expected_QT = -np.sort(-cosine_NN[rows], axis=1)[:, :11]
        np.testing.assert_allclose(cosine_QT, expected_QT, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(cosine_NN[rows], near_QT, axis=1), cosine_QT, atol=1e-6)
        assert all(len(set(row)) == 11 for row in near_QT.tolist())


@pytest.mark.parametrize("at_once", [1, 37, 10_000])
def test_how_many_are_asked_about_together_changes_nothing(monkeypatch, at_once):
    x_NK = units(400, seed=1)
    whole_QT = Cells(x_NK).nearest(slice(0, 400), 5)[0]
    monkeypatch.setattr(cells, "_AT_ONCE", at_once)
    found = Cells(x_NK)
    parts = [found.nearest(slice(start, min(400, start + 90)), 5)[0] for start in range(0, 400, 90)]
    np.testing.assert_allclose(np.concatenate(parts), whole_QT, atol=1e-6)
    other_QT = found.nearest(slice(0, 90), 3)[0]  # fewer wanted of the same images
    np.testing.assert_allclose(other_QT, whole_QT[:90, :3], atol=1e-6)


def test_most_of_the_nearest_are_found_and_what_lacks_is_none():
    x_NK = units(5000, seed=2)
    _, near_QT = Cells(x_NK).nearest(slice(0, 200), 10)
    best_QT = np.argsort(-(x_NK[:200] @ x_NK.T), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(near_QT, best_QT, strict=True)]) > 8
    assert (near_QT == np.arange(200)[:, None]).any(axis=1).all()  # each finds itself
    cosine_QT, near_QT = Cells(x_NK[:4]).nearest(slice(0, 4), 9)
    assert ((near_QT < 0).sum(axis=1) == 5).all()
    assert (cosine_QT[near_QT < 0] == -np.inf).all()


def test_equal_vectors_and_zeros_are_no_trouble():
    x_NK = np.zeros((50, 4), dtype=np.float32)
    x_NK[:25, 0] = 1.0
    cosine_QT, near_QT = Cells(x_NK).nearest(slice(0, 25), 20)
    np.testing.assert_array_equal(cosine_QT, 1.0)
    assert (near_QT < 25).all()
