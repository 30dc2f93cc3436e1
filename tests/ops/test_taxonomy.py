from __future__ import annotations

from random import Random

import numpy as np
import pytest
import reference_similarity as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import ancestry, taxonomy

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


INFORMATION = {
    "root": 0.0, "animal": np.log(2), "plant": np.log(2), "dog": np.log(8), "cat": np.log(4), "oak": np.log(2),
}  # fmt: skip


def test_lin_and_jiang_conrath_by_hand() -> None:
    # In units of log 2: dog 3, cat 2, animal 1; dog and oak meet in the root, which says nothing.
    lin_CC = taxonomy.lin(TREE, ["dog", "cat", "oak"], INFORMATION)
    np.testing.assert_allclose(lin_CC[0], [1, 2 / 5, 0], rtol=1e-15)
    jcn_CC = taxonomy.jiang_conrath(TREE, ["dog", "cat", "oak", "plant", "root"], INFORMATION)
    np.testing.assert_allclose(jcn_CC[0, 1:3] * np.log(2), [1 / 3, 1 / 4], rtol=1e-14)
    assert jcn_CC[0, 0] == jcn_CC[2, 3] == taxonomy.UNSEEN  # all mentions of plants are of oaks
    assert jcn_CC[0, 4] == 0


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """A graph of several roots where a node may have several parents."""
    num = draw(st.integers(1, 12))
    above = [draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(num)]
    return {f"n{i:02d}": tuple(f"n{j:02d}" for j in sorted(js)) for i, js in enumerate(above)}


@given(graphs(), st.randoms(use_true_random=False))
def test_matches_the_reference(parents: dict[str, tuple[str, ...]], random: Random) -> None:
    nodes = [*parents, random.choice(list(parents))]
    random.shuffle(nodes)
    information = {name: random.choice([0.0, 0.5, 1.25, 3.0, taxonomy.UNSEEN]) for name in parents}
    path_CC = taxonomy.path_similarity(parents, nodes)
    wup_CC = taxonomy.wu_palmer(parents, nodes)
    lin_CC = taxonomy.lin(parents, nodes, information)
    jcn_CC = taxonomy.jiang_conrath(parents, nodes, information)
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes):
            assert path_CC[i, j] == 1 / (1 + reference.path_distance(parents, a, b))
            expected = 1.0 if a == b else max(reference.wup(parents, a, b), reference.wup(parents, b, a))
            assert wup_CC[i, j] == pytest.approx(expected, abs=1e-12)
            assert lin_CC[i, j] == reference.lin(parents, information, a, b)
            assert jcn_CC[i, j] == reference.jiang_conrath(parents, information, a, b)
    assert (path_CC == path_CC.T).all()
    assert (wup_CC == wup_CC.T).all()
    assert (0 <= wup_CC).all()


@given(graphs(), st.randoms(use_true_random=False))
def test_rows_are_the_rows_of_the_whole(parents: dict[str, tuple[str, ...]], random: Random) -> None:
    nodes = [*parents, random.choice(list(parents))]
    random.shuffle(nodes)
    information = {name: random.choice([0.0, 0.5, 1.25, 3.0]) for name in parents}
    picked_B = np.array(random.sample(range(len(nodes)), random.randint(1, len(nodes))))
    climbed = ancestry.climb(parents, nodes)
    for rows, whole_CC in (
        (taxonomy.path_rows(climbed), taxonomy.path_similarity(parents, nodes)),
        (taxonomy.wu_palmer_rows(climbed), taxonomy.wu_palmer(parents, nodes)),
        (taxonomy.leacock_chodorow_rows(climbed, 12), taxonomy.leacock_chodorow(parents, nodes, 12)),
        (taxonomy.lin_rows(climbed, information), taxonomy.lin(parents, nodes, information)),
        (
            taxonomy.jiang_conrath_rows(climbed, information),
            taxonomy.jiang_conrath(parents, nodes, information),
        ),
    ):
        np.testing.assert_array_equal(rows(picked_B), whole_CC[picked_B])


def test_what_lies_between_the_nodes_below_an_ancestor_is_left_alone() -> None:
    # In the walk, b stands between a and c, which alone are below `both`: the slice has a gap.
    forest = {"r": (), "a": ("r", "both"), "b": ("r",), "c": ("r", "both"), "both": ()}
    forest |= {f"d{i}": ("r",) for i in range(20)} | {"e": ("r", "both")}  # and e is too far for a slice
    distance_CC = taxonomy.path_distances(forest, ["a", "b", "c", "d3", "e"])
    np.testing.assert_array_equal(distance_CC, np.full((5, 5), 2) - 2 * np.eye(5))
    wup_CC = taxonomy.wu_palmer({**forest, "r": ("top",), "top": ()}, ["a", "b", "c", "d3", "e"])
    np.testing.assert_allclose(wup_CC[0], [1, 4 / 6, 4 / 6, 4 / 6, 4 / 6])


def test_ways_may_lead_over_a_higher_ancestor() -> None:
    # From x straight up to s: five edges; over the top: one up, one down.
    chain = {"top": (), "s": ("top",), "p": ("s",), "q": ("p",), "t": ("q",), "u": ("t",), "x": ("u", "top")}
    climbed = ancestry.climb(chain, ["x"])
    names = [climbed.names[above] for above in climbed.above_E]
    begin = climbed.start_A[climbed.names.index("x")]
    assert climbed.steps_E[begin:][names[begin:].index("s")] == 5
    assert ancestry.ways(climbed)[begin:][names[begin:].index("s")] == 2


def test_a_ring_is_found_and_told() -> None:
    assert ancestry.find_cycle(TREE) is None
    assert ancestry.find_cycle({"a": ("b",), "b": ("c",), "c": ("d", "b"), "d": ()}) == ["b", "c", "b"]
    assert ancestry.find_cycle({"a": ("a",)}) == ["a", "a"]
    assert ancestry.find_cycle({f"n{i}": (f"n{i + 1}",) for i in range(5000)} | {"n5000": ()}) is None


def test_nodes_without_a_common_ancestor_are_worth_nothing() -> None:
    forest = {"a": (), "b": ()}
    for matrix in (
        taxonomy.path_similarity(forest, ["a", "b"]),
        taxonomy.wu_palmer(forest, ["a", "b"]),
        taxonomy.leacock_chodorow(forest, ["a", "b"], 3),
        taxonomy.lin(forest, ["a", "b"], {"a": 1.0, "b": 1.0}),
    ):
        assert matrix[0, 1] == 0


def test_one_node_and_none() -> None:
    assert taxonomy.path_similarity(TREE, ["dog"]).tolist() == [[1]]
    assert taxonomy.wu_palmer(TREE, ["dog", "dog"]).tolist() == [[1, 1], [1, 1]]
    for measure in (taxonomy.path_similarity, taxonomy.wu_palmer):
        assert measure(TREE, []).shape == (0, 0)
    assert taxonomy.lin(TREE, [], INFORMATION).shape == (0, 0)
