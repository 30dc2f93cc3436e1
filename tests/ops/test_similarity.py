from __future__ import annotations

import numpy as np
import pytest
import reference_similarity as reference
from hypothesis import given
from hypothesis import strategies as st

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
