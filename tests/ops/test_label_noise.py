"""The share of wrong labels, and P(label right), on crawls whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import label_noise
from webclean.ops.heads import cross_fit, log_softmax, ridge
from webclean.ops.label_noise import MARGIN_LIMIT, calibrate, margins_under_every_label
from webclean.ops.neighbors import vote


def _calibrated(num, categories, share, *, kind="uniform", sure=6.0, spread=1.5, seed=0):
    w = reference.world(num, categories, share, kind=kind, seed=seed)
    return w, calibrate(reference.judged(w, categories, sure=sure, spread=spread), w.label_N)


def test_margins_by_hand():
    log_p = np.log([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2]])
    expected = np.log([[2.0, 0.5, 1 / 6], [1.0, 1.0, 0.5]])
    np.testing.assert_allclose(margins_under_every_label(log_p), expected)


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_margins_match_the_reference(seed, categories):
    log_p = log_softmax(np.random.default_rng(seed).normal(size=(5, categories)) * 30)
    found = margins_under_every_label(log_p)
    for row, margins in zip(log_p, found, strict=True):
        expected = [reference.log_margin(row.tolist(), c) for c in range(categories)]
        np.testing.assert_allclose(margins, np.clip(expected, -MARGIN_LIMIT, MARGIN_LIMIT))


@pytest.mark.parametrize("kind", ["uniform", "sibling"])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.10, 0.30, 0.45])
def test_share_and_what_is_kept(kind, share):
    w, found = _calibrated(3000, 6, share, kind=kind)
    assert found.wrong_share == pytest.approx(share, abs=0.04)
    kept_N = found.p_right_N >= 0.5
    assert kept_N[~w.wrong_N].mean() >= 0.97
    if share:
        assert reference.auroc(found.p_right_N, ~w.wrong_N) > 0.97
        if (
            share >= 0.1
        ):  # below, the estimate may lean so low that wrong labels end just above an even chance
            assert kept_N[w.wrong_N].mean() <= 0.35
        # Where it says p, p of the labels are right.
        for low, high in ((0.0, 0.1), (0.9, 1.0)):
            among = (found.p_right_N >= low) & (found.p_right_N <= high)
            if among.any():
                assert (~w.wrong_N[among]).mean() == pytest.approx(found.p_right_N[among].mean(), abs=0.08)


def test_confusions_are_learnt():
    """Siblings are mistaken for each other: category 0's wrong labels say 1."""
    _, found = _calibrated(3000, 6, 0.3, kind="sibling")
    assert found.confusion_CC.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]
    np.testing.assert_allclose(found.confusion_CC.sum(axis=1), 1.0)
    assert (np.diag(found.confusion_CC) == 0).all()


@pytest.mark.parametrize("num", [100, 500])
@pytest.mark.parametrize("categories", [2, 4, 8])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_small_crawls_lose_no_right_images(num, categories, share):
    for seed in range(2):
        w, found = _calibrated(num, categories, share, seed=seed)
        assert (found.p_right_N[~w.wrong_N] >= 0.5).mean() >= 0.97
        assert found.wrong_share <= share + 0.05


@pytest.mark.parametrize("num", [100, 300])
@pytest.mark.parametrize("categories", [2, 4, 8])
def test_a_judge_that_knows_nothing_condemns_nobody(num, categories):
    """f/f0 is 1 everywhere then, which a careless estimate reads as all labels being wrong."""
    for seed in range(2):
        w = reference.world(num, categories, 0.1, apart=0.0, seed=seed)
        fold_N = np.arange(num) // categories % 5
        image = cross_fit(w.x_ND / 4, w.label_N, fold_N, categories, ridge, (1.0, 10.0)).log_probability_NC
        near = vote(w.x_ND, w.label_N, np.full(num, -1), categories, k=50, temperature=0.07)
        for judge in (image, log_softmax(image + 0.5 * near.log_probability_NC)):
            found = calibrate(judge, w.label_N)
            assert found.wrong_share <= 0.05
            assert (found.p_right_N >= 0.5).mean() >= 0.95


@pytest.mark.parametrize("num", [200, 2000])
@pytest.mark.parametrize("categories", [2, 5])
def test_random_predictions_condemn_nobody(num, categories):
    """With two categories, choosing likely-right images to inject labels into makes chance look like skill."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        favoured_C = rng.normal(size=categories)  # of a judge that thinks one category likelier than another
        found = calibrate(
            log_softmax(favoured_C + rng.normal(size=(num, categories))), rng.integers(0, categories, num)
        )
        assert found.wrong_share == 0.0
        assert (found.p_right_N >= 0.5).all()


@pytest.mark.parametrize("kind", ["uniform", "sibling"])
def test_the_share_of_a_small_crawl_is_found(kind):
    """500 images, judged by a head that learnt from their wrong labels: its margins of siblings are near 0."""
    shares, found_wrong = [], []
    for seed in range(6):
        w = reference.world(500, 8, 0.22, kind=kind, apart=1.5, seed=seed)
        fold_N = np.random.default_rng(seed).permutation(500) % 5
        judge = cross_fit(w.x_ND / 4, w.label_N, fold_N, 8, ridge, (1.0, 10.0)).log_probability_NC
        found = calibrate(judge, w.label_N)
        shares.append(found.wrong_share)
        found_wrong.append((found.p_right_N[w.wrong_N] < 0.5).mean())
        assert (found.p_right_N[~w.wrong_N] >= 0.5).mean() >= 0.97
    assert np.mean(shares) == pytest.approx(0.22, abs=0.04)
    assert np.mean(found_wrong) >= 0.8


def test_a_judge_without_any_opinion_condemns_nobody():
    found = calibrate(np.full((50, 3), -np.log(3)), np.arange(50) % 3)
    assert found.wrong_share == 0.0
    assert (found.p_right_N > 0.9).all()


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 5))
@settings(max_examples=15, deadline=None)
def test_any_predictions_give_probabilities_that_follow_the_margin(seed, num, categories):
    rng = np.random.default_rng(seed)
    log_p = log_softmax(rng.normal(size=(num, categories)) * rng.choice([0.1, 3.0, 100.0]))
    label = rng.integers(0, categories, num)
    found = calibrate(log_p, label)
    assert ((found.p_right_N > 0) & (found.p_right_N < 1)).all()
    assert 0.0 <= found.wrong_share <= 1.0
    margin_N = margins_under_every_label(log_p)[np.arange(num), label]
    order = np.argsort(margin_N, kind="stable")
    assert (np.diff(found.p_right_N[order]) >= -1e-9).all()


def test_the_order_of_images_does_not_matter():
    w = reference.world(400, 4, 0.2)
    log_p = reference.judged(w, 4)
    order = np.random.default_rng(0).permutation(400)
    a, b = calibrate(log_p, w.label_N), calibrate(log_p[order], w.label_N[order])
    np.testing.assert_allclose(b.p_right_N, a.p_right_N[order], rtol=1e-9)


def test_chunks_change_nothing(monkeypatch):
    w = reference.world(300, 4, 0.2)
    log_p = reference.judged(w, 4)
    whole = calibrate(log_p, w.label_N)
    monkeypatch.setattr(label_noise, "_CHUNK_VALUES", 77 * 4)
    pieces = calibrate(log_p, w.label_N)
    np.testing.assert_allclose(pieces.p_right_N, whole.p_right_N, rtol=1e-9)


def test_evenly_spaced_images_stand_for_all_where_there_are_many(monkeypatch):
    w = reference.world(4_000, 4, 0.2)
    log_p = reference.judged(w, 4)
    whole = calibrate(log_p, w.label_N)
    monkeypatch.setattr(label_noise, "_INJECTED_VALUES", 4_000)  # every fourth image
    some = calibrate(log_p, w.label_N)
    assert some.wrong_share == pytest.approx(whole.wrong_share, abs=0.01)
    assert np.abs(some.p_right_N - whole.p_right_N).mean() < 0.01
    assert not np.array_equal(some.p_right_N, whole.p_right_N)


def test_a_label_that_nobody_bears_and_one_label_for_all():
    w = reference.world(200, 3, 0.0)
    log_p = np.column_stack([reference.judged(w, 3), np.full(200, -30.0)])
    assert (calibrate(log_p, w.label_N).p_right_N >= 0.5).mean() > 0.97
    one = calibrate(log_p[w.label_N == 0], np.zeros(67, dtype=np.int64))
    assert np.isfinite(one.p_right_N).all()


@pytest.mark.parametrize(
    ("log_p", "label"),
    [
        (np.zeros((0, 2)), np.zeros(0, int)),
        (np.zeros((3, 1)), np.zeros(3, int)),
        (np.zeros((3, 2)), np.zeros(2, int)),
    ],
)
def test_unusable_predictions_are_refused(log_p, label):
    with pytest.raises(ValueError, match="cannot calibrate"):
        calibrate(log_p, label)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        calibrate(np.array([[np.nan, 0.0], [0.0, 0.0]]), np.array([0, 1]))
    with pytest.raises(ValueError, match="two categories"):
        margins_under_every_label(np.zeros((2, 1)))


def _mistaken_by_likeness(num, categories, share, likeness, seed=0):
    """A judge's log-probabilities, labels of which a share is wrong as likeness has it, and which are wrong."""
    rng = np.random.default_rng(seed)
    true_N = rng.integers(categories, size=num)
    logits_NC = rng.normal(size=(num, categories)) * 2.5
    logits_NC[np.arange(num), true_N] += 9.0
    log_p_NC = log_softmax(logits_NC)
    wrong_N = rng.random(num) < share
    near_NC = np.maximum(log_p_NC - log_p_NC.max(axis=1, keepdims=True), -label_noise.FARTHEST)
    gumbel_NC = likeness * near_NC + rng.gumbel(size=(num, categories))
    gumbel_NC[np.arange(num), true_N] = -np.inf
    return log_p_NC, np.where(wrong_N, gumbel_NC.argmax(axis=1), true_N), wrong_N


@pytest.mark.parametrize("likeness", [0.0, 0.2, 0.4])
def test_the_likeness_of_mistaken_labels_is_found(likeness):
    log_p_NC, label_N, wrong_N = _mistaken_by_likeness(8000, 8, 0.3, likeness)
    found = calibrate(log_p_NC, label_N)
    assert found.likeness == pytest.approx(likeness, abs=0.12)
    assert found.wrong_share == pytest.approx(wrong_N.mean(), abs=0.05)


def test_the_likeness_is_where_a_literal_likelihood_is_highest():
    log_p_NC, label_N, _ = _mistaken_by_likeness(300, 4, 0.5, 0.6)
    confusion_CC = np.random.default_rng(1).random((4, 4)) + 0.2
    log_odds_B = np.linspace(-4.0, 4.0, label_noise.NUM_BINS)
    first_N = log_p_NC.argmax(axis=1)
    doubted_N = first_N != label_N

    def log_likelihood(b: float) -> float:
        total = 0.0
        for log_p, first, label in zip(
            log_p_NC[doubted_N], first_N[doubted_N], label_N[doubted_N], strict=True
        ):
            near = [max(v - max(log_p), -label_noise.FARTHEST) for v in log_p]
            wrong = [
                1 / (1 + np.exp(label_noise._odds(m, log_odds_B)))
                for m in margins_under_every_label(log_p[None])[0]
            ]
            weights = [
                0.0 if c == first else confusion_CC[first, c] * wrong[c] * float(np.exp(b * near[c]))
                for c in range(4)
            ]
            total += wrong[label] * float(np.log(weights[label] / sum(weights)))
        return total

    found = label_noise._likeness(log_p_NC, label_N, doubted_N, first_N, confusion_CC, log_odds_B)
    grid = np.linspace(0, 2, 401)
    assert found == pytest.approx(grid[np.argmax([log_likelihood(b) for b in grid])], abs=0.005)


def test_likeness_needs_doubted_images_and_three_categories():
    log_p_NC, label_N, _ = _mistaken_by_likeness(200, 4, 0.0, 0.0)
    nobody_N, flat_B = np.zeros(200, dtype=bool), np.zeros(label_noise.NUM_BINS)
    first_N = log_p_NC.argmax(axis=1)
    assert label_noise._likeness(log_p_NC, label_N, nobody_N, first_N, np.ones((4, 4)), flat_B) == 0.0
    two_NC = log_softmax(log_p_NC[:, :2])
    first_N = two_NC.argmax(axis=1)
    assert label_noise._likeness(two_NC, 1 - first_N, ~nobody_N, first_N, np.ones((2, 2)), flat_B) == 0.0


@given(st.integers(0, 10**6), st.floats(0.005, 0.9))
@settings(max_examples=25, deadline=None)
def test_the_shift_keeps_the_order_and_reaches_the_share(seed, share):
    p_N = np.random.default_rng(seed).uniform(0.01, 0.99, size=50)
    shifted_N = label_noise._shifted(p_N, share)
    assert (1 - shifted_N).mean() == pytest.approx(share, abs=1e-4)
    np.testing.assert_array_equal(np.argsort(shifted_N, kind="stable"), np.argsort(p_N, kind="stable"))
