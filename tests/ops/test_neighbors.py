"""Votes of the nearest images."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import neighbors
from webclean.ops.heads import log_margin
from webclean.ops.neighbors import vote


def _alone(num):
    return np.full(num, -1)


def test_three_images_by_hand():
    """Image 0 sees one neighbour of label 1 at cosine 1 and one of label 0 at cosine 0."""
    x = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    votes = vote(x, np.array([0, 1, 0]), _alone(3), 2, k=2, temperature=1.0)
    floor = 0.01 * (1 + np.exp(-1)) / 2
    expected = np.array([np.exp(-1) + floor, 1.0 + floor])
    np.testing.assert_allclose(np.exp(votes.log_probability_NC[0]), expected / expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(votes.similarity_N, [0.5, 0.5, 0.0], atol=1e-7)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_votes_match_the_reference(seed, num, k):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 5))
    label, group = rng.integers(0, 3, num), rng.integers(-1, 4, num)
    weight = rng.random(num)
    found = vote(x, label, group, 3, k=k, temperature=0.5, weight_N=weight)
    log_p, likeness = reference.vote(x, label, group, 3, k, 0.5, weight)
    np.testing.assert_allclose(found.log_probability_NC, log_p, atol=2e-4)
    np.testing.assert_allclose(found.similarity_N, likeness, atol=1e-5)


def test_neither_an_image_nor_its_copies_vote_on_it():
    """Five copies under a wrong label see each other first, and are still told apart from their label."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 8)) * 0.1 + np.repeat(np.eye(8)[:3], 10, axis=0)
    label = np.repeat([0, 1, 2], 10)
    x[:5], label[:5] = x[0], 2
    group = np.where(np.arange(30) < 5, 0, -1)
    blind = vote(x, label, _alone(30), 3, k=4, temperature=0.07)
    found = vote(x, label, group, 3, k=4, temperature=0.07)
    assert (blind.log_probability_NC[:5].argmax(axis=1) == 2).all()
    assert (found.log_probability_NC[:5].argmax(axis=1) == 0).all()
    assert (found.similarity_N[:5] < 0.999).all()


def test_own_label_changes_nothing_for_oneself():
    rng = np.random.default_rng(1)
    x, label = rng.normal(size=(20, 4)), rng.integers(0, 2, 20)
    before = vote(x, label, _alone(20), 2, k=5, temperature=0.1).log_probability_NC[7]
    label[7] = 1 - label[7]
    np.testing.assert_array_equal(
        vote(x, label, _alone(20), 2, k=5, temperature=0.1).log_probability_NC[7], before
    )


def test_order_of_images_does_not_matter():
    rng = np.random.default_rng(2)
    x, label, group = rng.normal(size=(25, 6)), rng.integers(0, 3, 25), rng.integers(-1, 5, 25)
    order = rng.permutation(25)
    a = vote(x, label, group, 3, k=6, temperature=0.1)
    b = vote(x[order], label[order], group[order], 3, k=6, temperature=0.1)
    np.testing.assert_allclose(b.log_probability_NC, a.log_probability_NC[order], atol=1e-6)


def test_odd_crawls():
    one = vote(np.ones((1, 3)), np.array([0]), _alone(1), 2, k=5, temperature=0.1)
    np.testing.assert_allclose(one.log_probability_NC, np.log(0.5))
    assert np.isnan(one.similarity_N).all()
    copies = vote(np.ones((3, 3)), np.array([0, 1, 1]), np.zeros(3, dtype=int), 2, k=5, temperature=0.1)
    np.testing.assert_allclose(copies.log_probability_NC, np.log(0.5))
    assert np.isnan(copies.similarity_N).all()
    zeros = vote(np.zeros((4, 3)), np.array([0, 1, 0, 1]), _alone(4), 2, k=2, temperature=0.01)
    assert np.isfinite(zeros.log_probability_NC).all()


def test_unusable_inputs_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        vote(np.ones((3, 2)), np.zeros(2, dtype=int), _alone(3), 1, k=1, temperature=1.0)
    with pytest.raises(ValueError, match="NaN"):
        vote(np.array([[np.nan], [1.0]]), np.zeros(2, dtype=int), _alone(2), 1, k=1, temperature=1.0)


def test_beyond_the_exact_size_nearly_all_neighbours_are_found(monkeypatch):
    rng = np.random.default_rng(5)
    num, dim = 4_000, 192
    center_CD = rng.normal(0, 1, (40, dim))
    x_ND = np.maximum(center_CD[rng.integers(0, 40, num)] + 0.6 * rng.normal(0, 1, (num, dim)), 0)
    blocks = lambda: [(slice(i, i + 500), x_ND[i : i + 500]) for i in range(0, num, 500)]
    exact = neighbors.Index(blocks, num, dim)
    monkeypatch.setattr(neighbors, "EXACT", 1_000)
    found = neighbors.Index(blocks, num, dim)
    assert exact.is_exact
    assert not found.is_exact
    rows = slice(1_000, 1_200)
    cosine_MK, near_MK = exact.nearest(rows, 20)
    about_MK, place_MK = found.nearest(rows, 20)
    shared = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(near_MK, place_MK, strict=True)])
    assert shared > 0.6  # the others are hardly farther:
    unit_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    true_MK = np.einsum("md,mkd->mk", unit_ND[rows], unit_ND[place_MK])
    assert (np.sort(cosine_MK, axis=1) - np.sort(true_MK, axis=1)).mean() < 0.01
    assert np.abs(about_MK - true_MK).mean() < 0.1
    assert (place_MK[:, 0] == np.arange(1_000, 1_200)).all()


def test_votes_beyond_the_exact_size_find_the_same_wrong_labels(monkeypatch):
    w = reference.world(3_000, 4, 0.3)
    none = np.full(3_000, -1)
    votes = vote(w.x_ND, w.label_N, none, 4, k=20, temperature=0.07)
    monkeypatch.setattr(neighbors, "EXACT", 1_000)
    about = vote(w.x_ND, w.label_N, none, 4, k=20, temperature=0.07)
    scores = [
        reference.auroc(log_margin(found.log_probability_NC, w.label_N), ~w.wrong_N)
        for found in (votes, about)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.01)


def test_cells_with_too_few_images_leave_places_empty():
    """A search may find fewer than it asks for: what is not there does not vote."""
    ballot = neighbors.Ballot(
        label_N=np.array([0, 1, 1]), group_N=np.full(3, -1), weight_N=np.ones(3), num_categories=2, k=2,
        temperature=0.1,
    )  # fmt: skip

    class Short:
        def nearest(self, rows, k):
            return np.array([[1.0, 0.5, -3e38]], dtype=np.float32), np.array([[0, 1, -1]])

    log_p, similarity = ballot.count(Short(), slice(0, 1))
    np.testing.assert_allclose(np.exp(log_p), [[0.01 / 1.02, 1.01 / 1.02]])
    np.testing.assert_allclose(similarity, [0.5])
