from __future__ import annotations

import numpy as np
import pytest
import reference_similarity as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from webclean.ops import similarity, taxonomy

WORDNET_CC = np.array([[1, 1 / 3, 1 / 5], [1 / 3, 1, 1 / 5], [1 / 5, 1 / 5, 1]])
TEXT_CC = np.array([[1, 0.2, 0.6], [0.2, 1, 0.4], [0.6, 0.4, 1]])


def test_blend_by_hand() -> None:
    # hat S_w: 1/3 -> 1, 1/5 -> 0; hat S_l: .2 -> 0, .6 -> 1, .4 -> .5; half of each.
    related = similarity.blend(WORDNET_CC, TEXT_CC, text_share=0.5, theta=0.3)
    np.testing.assert_allclose(
        related.combined_CC, [[1, 0.5, 0.5], [0.5, 1, 0.25], [0.5, 0.25, 1]], atol=1e-12
    )
    np.testing.assert_allclose(
        related.match_CC, [[1, 2 / 7, 2 / 7], [2 / 7, 1, 0], [2 / 7, 0, 1]], atol=1e-12
    )
    assert related.match_CC[1, 2] == 0


@st.composite
def sides(draw: st.DrawFn) -> np.ndarray:
    num = draw(st.integers(3, 7))
    values = draw(st.lists(st.floats(0, 1), min_size=num * num, max_size=num * num))
    raw = np.array(values).reshape(num, num)
    side = (raw + raw.T) / 2
    np.fill_diagonal(side, 1.0)
    return side


@given(sides(), st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 0.9))
def test_blend_matches_the_reference_and_keeps_its_promises(
    wordnet_CC: np.ndarray, seed: int, share: float, theta: float
) -> None:
    num = len(wordnet_CC)
    text_CC = np.random.default_rng(seed).uniform(size=(num, num))
    text_CC = (text_CC + text_CC.T) / 2
    related = similarity.blend(wordnet_CC, text_CC, text_share=share, theta=theta)
    off = wordnet_CC[~np.eye(num, dtype=bool)]
    if off.max() - off.min() > 1e-6:
        combined, match = reference.blend(wordnet_CC.tolist(), text_CC.tolist(), share, theta)
        np.testing.assert_allclose(related.combined_CC, combined, atol=1e-9)
        np.testing.assert_allclose(related.match_CC, match, atol=1e-8)
    for matrix in (related.combined_CC, related.match_CC):
        assert (matrix == matrix.T).all()
        assert ((matrix >= 0) & (matrix <= 1)).all()
        assert (np.diag(matrix) == 1).all()
    order = np.random.default_rng(seed).permutation(num)
    again = similarity.blend(
        wordnet_CC[order][:, order], text_CC[order][:, order], text_share=share, theta=theta
    )
    np.testing.assert_allclose(again.match_CC, related.match_CC[order][:, order], atol=1e-12)


def test_text_share_decides_the_order() -> None:
    by_wordnet = similarity.blend(WORDNET_CC, TEXT_CC, text_share=0.0)
    by_text = similarity.blend(WORDNET_CC, TEXT_CC, text_share=1.0)
    assert similarity.nearest(by_wordnet.combined_CC, 2)[0].tolist() == [1, 2]
    assert similarity.nearest(by_text.combined_CC, 2)[0].tolist() == [2, 1]


def test_small_tree_end_to_end() -> None:
    tree = {"root": (), "animal": ("root",), "plant": ("root",)}
    tree |= {"dog": ("animal",), "cat": ("animal",), "oak": ("plant",)}
    names = ["dog", "cat", "oak"]
    related = similarity.blend(taxonomy.path_similarity(tree, names), None)
    assert similarity.nearest(related.combined_CC, 1).tolist() == [[1], [0], [0]]
    assert related.match_CC[0, 2] == 0


def test_nearest_never_names_itself_and_breaks_ties_by_index() -> None:
    near_CK = similarity.nearest(np.ones((4, 4)), 2)
    assert near_CK.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert similarity.nearest(np.ones((3, 3)), 5).shape == (3, 2)
    assert similarity.nearest(np.ones((1, 1)), 5).shape == (1, 0)
    assert similarity.nearest(np.ones((3, 3)), 0).shape == (3, 0)


def test_a_category_without_synset_is_compared_by_text_alone() -> None:
    wordnet_CC = WORDNET_CC.copy()
    wordnet_CC[2, :2] = wordnet_CC[:2, 2] = wordnet_CC[2, 2] = np.nan
    related = similarity.blend(wordnet_CC, TEXT_CC, text_share=0.5)
    assert related.combined_CC[0, 2] == pytest.approx(1.0)  # text alone: .6 is its largest
    assert related.combined_CC[1, 2] == pytest.approx(0.5)
    assert not np.isnan(related.match_CC).any()
    assert similarity.blend(wordnet_CC, None).combined_CC[0, 2] == 0


@pytest.mark.parametrize("num", [1, 2])
def test_one_and_two_categories(num: int) -> None:
    wordnet_CC = np.array([[1, 0.25], [0.25, 1]])[:num, :num]
    text_CC = np.array([[1, 0.65], [0.65, 1]])[:num, :num]
    related = similarity.blend(wordnet_CC, text_CC)
    expected = np.array([[1, 0.45], [0.45, 1]])[:num, :num]
    np.testing.assert_allclose(related.combined_CC, expected)


def test_quantile_threshold() -> None:
    related = similarity.blend(WORDNET_CC, TEXT_CC, theta_quantile=0.5)
    assert related.theta == pytest.approx(0.5)
    assert np.count_nonzero(related.match_CC) == 3
    top = similarity.blend(WORDNET_CC, None, theta_quantile=1.0)
    assert np.isfinite(top.match_CC).all()


def test_cosine_clips_and_forgives_zero_rows() -> None:
    vectors_CD = np.array([[2.0, 0], [1, 1], [-1, 0], [0, 0]])
    cosine_CC = similarity.cosine_similarity(vectors_CD)
    expected = [[1, 0.5**0.5, 0, 0], [0.5**0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(cosine_CC, expected, atol=1e-15)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="square matrices"):
        similarity.blend(None, None)
    with pytest.raises(ValueError, match="square matrices"):
        similarity.blend(WORDNET_CC, TEXT_CC[:2, :2])
    with pytest.raises(ValueError, match="theta in"):
        similarity.blend(WORDNET_CC, None, theta=1.0)
    with pytest.raises(ValueError, match="finite matrix"):
        similarity.cosine_similarity(np.array([[np.nan]]))


@st.composite
def unknown_sides(draw: st.DrawFn) -> np.ndarray:
    """A symmetric side of which some categories know nothing, with many equal values."""
    num = draw(st.integers(1, 11))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    side = rng.integers(0, draw(st.sampled_from([1, 3, 1000])), size=(num, num)) / 1000
    side = np.maximum(side, side.T)
    np.fill_diagonal(side, 1.0)
    unknown = rng.random(num) < draw(st.sampled_from([0.0, 0.3]))
    side[unknown] = side[:, unknown] = np.nan
    return side


@settings(deadline=None)  # a million cells of ranks now and then
@given(
    unknown_sides(),
    st.integers(0, 2**31),
    st.sampled_from(similarity.NORMALIZATIONS),
    st.none() | st.floats(0, 1),
)
def test_blocks_are_the_rows_of_the_whole(
    graph_CC: np.ndarray, seed: int, normalize: str, quantile: float | None
) -> None:
    num = len(graph_CC)
    vector_CD = np.random.default_rng(seed).normal(size=(num, 3))
    text_CC = similarity.cosine_similarity(vector_CD)
    whole = similarity.blend(
        graph_CC, text_CC, theta=0.4, theta_quantile=quantile, normalize=normalize, text_share=0.3
    )
    if quantile is not None and num > 1:
        off = whole.combined_CC[~np.eye(num, dtype=bool)]
        assert whole.theta == pytest.approx(min(np.quantile(off, quantile), 1.0), abs=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", 3)
        related = similarity.relate(
            num, graph_CC.__getitem__, similarity.cosine_rows(vector_CD), theta=0.4, theta_quantile=quantile,
            normalize=normalize, text_share=0.3,
        )  # fmt: skip
        blocks = list(related.blocks())
        combined_CC = np.concatenate([block.combined_BC for block in blocks])
        near_CK = np.concatenate(
            [similarity.nearest_of(block.combined_BC, block.rows_B, 2) for block in blocks]
        )
    assert [len(block.rows_B) for block in blocks[:-1]] == [3] * (len(blocks) - 1)
    assert (combined_CC == combined_CC.T).all()
    np.testing.assert_allclose(combined_CC, whole.combined_CC, atol=1e-6)  # a rank's cell may tip over
    np.testing.assert_array_equal(near_CK, literal_nearest(combined_CC, 2))


def literal_nearest(combined_CC: np.ndarray, k: int) -> np.ndarray:
    num = len(combined_CC)
    near = [
        sorted((c for c in range(num) if c != y), key=lambda c: (-combined_CC[y, c], c)) for y in range(num)
    ]
    return np.array([row[:k] for row in near], dtype=np.int64).reshape(num, min(k, num - 1))


def test_ranks_by_hand() -> None:
    # Six ordered pairs: .2 twice, .2 twice, .9 twice; mid ranks 1.5 and 4.5, stretched to 0 and 1.
    side_CC = np.array([[1, 0.2, 0.2], [0.2, 1, 0.9], [0.2, 0.9, 1]])
    ranked = similarity.blend(side_CC, None, normalize="rank")
    np.testing.assert_allclose(ranked.combined_CC, [[1, 0, 0], [0, 1, 1], [0, 1, 1]], atol=1e-12)
    # Min-max leaves the outlier alone far above; ranks do not care how far.
    side_CC = np.array([[1, 0.01, 0.02], [0.01, 1, 0.9], [0.02, 0.9, 1]])
    assert similarity.blend(side_CC, None).combined_CC[0, 2] < 0.02
    assert similarity.blend(side_CC, None, normalize="rank").combined_CC[0, 2] == pytest.approx(0.5)


@settings(deadline=None)
@given(unknown_sides())
def test_ranks_match_scipys(side_CC: np.ndarray) -> None:
    known_CC = ~np.isnan(side_CC) & ~np.eye(len(side_CC), dtype=bool)
    value_P = side_CC[known_CC]
    found_P = similarity.blend(side_CC, None, normalize="rank").combined_CC[known_CC]
    if len(np.unique(value_P)) < 2:
        np.testing.assert_array_equal(found_P, value_P)
        return
    rank_P = rankdata(value_P)
    expected_P = (rank_P - rank_P.min()) / (rank_P.max() - rank_P.min())
    np.testing.assert_allclose(found_P, expected_P, atol=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 2**31))
def test_several_places_are_averaged(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    place_SS = rng.random((sum(sizes), sum(sizes)))
    place_SS = (place_SS + place_SS.T) / 2
    rows = similarity.grouped_rows(place_SS.__getitem__, sizes, 7.0)
    found_CC = rows(np.arange(len(sizes)))
    owner = [c for c, size in enumerate(sizes) for _ in range(size)]
    for a in range(len(sizes)):
        for b in range(len(sizes)):
            pairs = [
                place_SS[i, j] for i, x in enumerate(owner) if x == a for j, y in enumerate(owner) if y == b
            ]
            expected = np.nan if not pairs else 7.0 if a == b else np.mean(pairs)
            assert found_CC[a, b] == pytest.approx(expected, nan_ok=True)
    np.testing.assert_array_equal(found_CC, found_CC.T)
    picked = rng.permutation(len(sizes))[: rng.integers(1, len(sizes) + 1)]
    np.testing.assert_array_equal(rows(picked), found_CC[picked])


def test_a_category_without_a_vector_is_unknown() -> None:
    rows = similarity.cosine_rows(np.array([[1.0, 0], [0, 0], [1, 1]]), np.array([True, False, True]))
    found_CC = rows(np.arange(3))
    assert np.isnan(found_CC[1]).all()
    assert np.isnan(found_CC[:, 1]).all()
    assert found_CC[0, 2] == pytest.approx(0.5**0.5)


def test_an_unknown_normalization_is_named() -> None:
    with pytest.raises(ValueError, match="normalize must be one of"):
        similarity.blend(WORDNET_CC, None, normalize="zscore")
    with pytest.raises(ValueError, match="a graph, texts or both"):
        similarity.relate(3, None, None)
