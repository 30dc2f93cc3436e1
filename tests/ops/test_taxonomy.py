from __future__ import annotations

import numpy as np
import pytest
import reference_similarity as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import taxonomy

TREE = {
    "root": (),
    "animal": ("root",),
    "plant": ("root",),
    "dog": ("animal",),
    "cat": ("animal",),
    "oak": ("plant",),
}


def test_path_of_the_small_tree_by_hand() -> None:
    similarity_CC = taxonomy.path_similarity(TREE, ["dog", "cat", "oak"])
    np.testing.assert_allclose(
        similarity_CC, [[1, 1 / 3, 1 / 5], [1 / 3, 1, 1 / 5], [1 / 5, 1 / 5, 1]], rtol=1e-15
    )


def test_wu_palmer_and_leacock_chodorow_by_hand() -> None:
    # dog and cat meet in animal, at depth 2 counting nodes: 4 / (1 + 1 + 4); dog and oak in the root: 2 / (2 + 2 + 2).
    wup_CC = taxonomy.wu_palmer(TREE, ["dog", "cat", "oak"])
    np.testing.assert_allclose(wup_CC[0], [1, 4 / 6, 2 / 6], rtol=1e-15)
    lch_CC = taxonomy.leacock_chodorow(TREE, ["dog", "cat"], 2)
    np.testing.assert_allclose(lch_CC[0], [np.log(4), np.log(4 / 3)], rtol=1e-15)
    assert taxonomy.max_lch(2) == lch_CC[0, 0]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """A graph of several roots where a node may have several parents."""
    num = draw(st.integers(1, 12))
    above = [draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(num)]
    return {f"n{i:02d}": tuple(f"n{j:02d}" for j in sorted(js)) for i, js in enumerate(above)}


@given(graphs())
def test_matches_the_reference(parents: dict[str, tuple[str, ...]]) -> None:
    nodes = list(parents)
    path_CC = taxonomy.path_similarity(parents, nodes)
    wup_CC = taxonomy.wu_palmer(parents, nodes)
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes):
            assert path_CC[i, j] == 1 / (1 + reference.path_distance(parents, a, b))
            expected = 1.0 if a == b else max(reference.wup(parents, a, b), reference.wup(parents, b, a))
            assert wup_CC[i, j] == pytest.approx(expected, abs=1e-12)
    assert (path_CC == path_CC.T).all()
    assert (wup_CC == wup_CC.T).all()
    assert (0 <= wup_CC).all()


def test_nodes_without_a_common_ancestor_are_worth_nothing() -> None:
    forest = {"a": (), "b": ()}
    for matrix in (
        taxonomy.path_similarity(forest, ["a", "b"]),
        taxonomy.wu_palmer(forest, ["a", "b"]),
        taxonomy.leacock_chodorow(forest, ["a", "b"], 3),
    ):
        assert matrix[0, 1] == 0


def test_one_node_and_none() -> None:
    assert taxonomy.path_similarity(TREE, ["dog"]).tolist() == [[1]]
    assert taxonomy.wu_palmer(TREE, ["dog", "dog"]).tolist() == [[1, 1], [1, 1]]
    assert taxonomy.wu_palmer(TREE, []).shape == (0, 0)
