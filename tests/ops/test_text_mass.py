from __future__ import annotations

import numpy as np
import pytest
import reference_similarity as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import text_mass

EYE = np.eye(3)


def test_mass_by_hand() -> None:
    # cos = (1, 0, 0), tau = 1: e = (e, 1, 1) / (e + 2); the label's neighbour 1 counts half.
    match_CK = np.array([[0.5], [0.5], [0]])
    near_CK = np.array([[1], [0], [0]])
    mass = text_mass.text_mass(EYE[:1], EYE, np.array([0]), match_CK, near_CK, tau=1.0)
    total = np.e + 2
    np.testing.assert_allclose(mass.mass_NC, [[np.e / total, 1 / total, 1 / total]])
    np.testing.assert_allclose(mass.label_N, np.e / total)
    np.testing.assert_allclose(mass.neighbor_N, 1 / total)
    np.testing.assert_allclose(mass.kappa_N, (np.e + 0.5) / total)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 2**31), st.floats(0.05, 2))
def test_mass_matches_the_reference(num: int, k: int, seed: int, tau: float) -> None:
    rng = np.random.default_rng(seed)
    category_CD, text_ND = rng.normal(size=(num, 4)), rng.normal(size=(5, 4))
    category_CD /= np.linalg.norm(category_CD, axis=1, keepdims=True)
    text_ND /= np.linalg.norm(text_ND, axis=1, keepdims=True)
    match_CC = rng.uniform(size=(num, num))
    np.fill_diagonal(match_CC, 1.0)
    near_CK = np.array([[c for c in range(num) if c != y][:k] for y in range(num)], dtype=np.int64).reshape(
        num, -1
    )
    label_N = rng.integers(num, size=5)
    match_CK = np.take_along_axis(match_CC, near_CK, axis=1)
    mass = text_mass.text_mass(text_ND, category_CD, label_N, match_CK, near_CK, tau=tau)
    for i, y in enumerate(label_N):
        expected = reference.kappa(text_ND[i], category_CD, y, match_CC, near_CK[y], tau)
        assert mass.kappa_N[i] == pytest.approx(expected, abs=1e-12)
    assert ((mass.kappa_N >= mass.label_N - 1e-15) & (mass.kappa_N <= 1)).all()
    np.testing.assert_allclose(mass.mass_NC.sum(axis=1), 1)


def test_no_text_is_unknown_not_bad() -> None:
    near_CK = np.zeros((3, 0), dtype=np.int64)
    mass = text_mass.text_mass(np.zeros((2, 3)), EYE, np.array([0, 2]), np.zeros((3, 0)), near_CK)
    assert np.isnan(mass.kappa_N).all()
    assert np.isnan(mass.label_N).all()
    assert np.isnan(mass.neighbor_N).all()


def test_one_category_takes_all() -> None:
    near_CK = np.zeros((1, 0), dtype=np.int64)
    mass = text_mass.text_mass(EYE[:1], EYE[1:2], np.array([0]), np.zeros((1, 0)), near_CK)
    assert mass.kappa_N.tolist() == [1.0]
    assert mass.neighbor_N.tolist() == [0.0]


def test_no_images() -> None:
    empty = np.zeros(0, dtype=np.int64)
    mass = text_mass.text_mass(
        np.zeros((0, 3)), EYE, empty, np.zeros((3, 0)), np.zeros((3, 0), dtype=np.int64)
    )
    assert mass.kappa_N.shape == (0,)


def test_vectors_are_weighted_means_of_unit_length() -> None:
    vectors_ND = text_mass.text_vectors(
        np.array([0, 1, 2]), np.array([0, 0, 2]), EYE, np.array([3.0, 4.0, 1.0]), 3
    )
    np.testing.assert_allclose(vectors_ND, [[0.6, 0.8, 0], [0, 0, 0], [0, 0, 1]])


def test_rare_keywords_and_relevant_ones_weigh_more() -> None:
    weight_W = text_mass.inverse_frequency(np.array([0, 1, 9, 9]), 9)
    np.testing.assert_allclose(weight_W, [np.log(10) + 1, np.log(5) + 1, 1, 1])
    relevance_W = text_mass.relevance(np.array([[1.0, 0], [0.6, 0.8], [-1, 0]]), np.array([[1.0, 0]]))
    np.testing.assert_allclose(relevance_W, [1, 0.6, text_mass.RELEVANCE_FLOOR])


def test_bad_arguments_are_named() -> None:
    near_CK = np.zeros((3, 0), dtype=np.int64)
    with pytest.raises(ValueError, match="tau"):
        text_mass.text_mass(EYE, EYE, np.zeros(3, dtype=np.int64), np.zeros((3, 0)), near_CK, tau=0)
    with pytest.raises(ValueError, match="labels must be"):
        text_mass.text_mass(EYE, EYE, np.array([0, 1, 3]), np.zeros((3, 0)), near_CK)


@given(st.integers(1, 9), st.integers(0, 5), st.integers(0, 2**31))
def test_the_largest_are_those_of_a_sort_also_where_equal(num: int, top: int, seed: int) -> None:
    value_NC = np.random.default_rng(seed).integers(0, 4, size=(5, num)) / 4
    expected = np.argsort(-value_NC, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(text_mass.largest(value_NC, top), expected)


def test_relevance_of_many_categories_is_that_of_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vector_WD, category_CD = rng.normal(size=(7, 3)), rng.normal(size=(10, 3))
    expected = np.maximum((vector_WD @ category_CD.T).max(axis=1), text_mass.RELEVANCE_FLOOR)
    monkeypatch.setattr(text_mass, "_CATEGORIES_AT_ONCE", 4)
    np.testing.assert_allclose(text_mass.relevance(vector_WD, category_CD), expected)


def test_another_sense_of_the_labels_name_takes_its_part() -> None:
    # Two categories and a rival of the first: under it, the rival's e joins the sum; under the other, it does not.
    text_ND = np.array([[1.0, 0, 0], [1.0, 0, 0]])
    none_CK = np.zeros((2, 0))
    near_CK = np.zeros((2, 0), dtype=np.int64)
    mass = text_mass.text_mass(
        text_ND, EYE[:2], np.array([0, 1]), none_CK, near_CK, tau=1.0,
        rival_RD=np.array([[1.0, 0, 0]]), owner_R=np.array([0]),
    )  # fmt: skip
    np.testing.assert_allclose(mass.label_N, [np.e / (2 * np.e + 1), 1 / (np.e + 1)])
    np.testing.assert_allclose(mass.mass_NC.sum(axis=1), [(np.e + 1) / (2 * np.e + 1), 1])
