"""How far evidence is trusted: it helps where it tells something and nowhere hurts."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops.evidence import cross_slope, learn_trust, logit, on_topic, relative_weight, sigmoid

FOLDS = 5


def _crawl(num=3000, share=0.3, seed=0, strength=2.5):
    """A calibrated but unsure view q of the truth, and folds."""
    rng = np.random.default_rng(seed)
    right_N = rng.random(num) >= share
    x_N = rng.normal(size=num) + strength * right_N
    odds = strength * x_N - strength**2 / 2 + np.log((1 - share) / share)
    return rng, right_N, sigmoid(odds), np.arange(num) % FOLDS


def _trust(x_N, q_N, fold_N):
    return learn_trust(x_N[:, None], np.isfinite(x_N)[:, None], q_N, fold_N)


def test_informative_evidence_adds_its_own_log_odds():
    """For x ~ N(right, 1) the log-odds rise by 1 for each unit of x, whatever the other view's noise."""
    rng, right_N, q_N, fold_N = _crawl()
    x_N = rng.normal(size=len(q_N)) + right_N
    trust = _trust(x_N, q_N, fold_N)
    middle = np.abs(trust.log_odds_N) < 1.5
    slope = np.polyfit(x_N[middle], trust.log_odds_N[middle], 1)[0]
    assert trust.gain > 0
    assert slope == pytest.approx(1.0, abs=0.2)
    before, after = logit(q_N), logit(q_N) + trust.log_odds_N
    assert reference.auroc(after, right_N) > reference.auroc(before, right_N)


def test_the_correction_for_an_unsure_view_by_hand():
    """Two values of x: E[q|x] is linear in P(right|x), and solving for it finds the true shares .9 and .3."""
    q_N = np.tile(np.r_[np.full(8, 0.8), np.full(2, 0.2)], 100)  # right labels get .8 in 4 of 5 cases
    x_N = np.repeat([0.0, 1.0], 500)
    q_N[:500] = np.tile([0.8, 0.2], 250)
    trust = _trust(x_N, q_N, np.arange(1000) // 10 % FOLDS)
    a, b = (q_N**2).sum() / q_N.sum(), (q_N * (1 - q_N)).sum() / (1 - q_N).sum()
    expected = [logit((mean - b) / (a - b)) - logit((q_N.mean() - b) / (a - b)) for mean in (0.5, 0.68)]
    np.testing.assert_allclose(trust.log_odds_N[[0, -1]], expected, atol=0.05)


def test_shuffled_evidence_adds_next_to_nothing():
    for seed in range(2):
        rng, right_N, q_N, fold_N = _crawl(seed=seed)
        trust = _trust(rng.permutation(rng.normal(size=len(q_N)) + right_N), q_N, fold_N)
        assert np.abs(trust.log_odds_N).mean() < 0.15
        assert np.abs(trust.log_odds_N).max() < 0.8
        loss = reference.auroc(q_N, right_N) - reference.auroc(logit(q_N) + trust.log_odds_N, right_N)
        assert loss < 0.002


def test_misleading_evidence_is_turned_around_not_followed():
    """Wrong images whose text names the label better than right ones do: the slope becomes negative."""
    rng, right_N, q_N, fold_N = _crawl()
    trust = _trust(rng.normal(size=len(q_N)) - right_N, q_N, fold_N)
    assert trust.slopes_E[0] < 0
    assert reference.auroc(logit(q_N) + trust.log_odds_N, right_N) >= reference.auroc(q_N, right_N)


def test_evidence_that_is_alike_everywhere_adds_nothing():
    _, _, q_N, fold_N = _crawl(400)
    trust = _trust(np.ones(len(q_N)), q_N, fold_N)
    np.testing.assert_allclose(trust.log_odds_N, 0.0, atol=1e-6)


def test_an_image_without_the_evidence_gets_nothing_from_it():
    rng, right_N, q_N, fold_N = _crawl()
    x_N = np.where(rng.random(len(q_N)) < 0.4, np.nan, rng.normal(size=len(q_N)) + right_N)
    trust = _trust(x_N, q_N, fold_N)
    assert (trust.log_odds_N[np.isnan(x_N)] == 0).all()
    assert (trust.log_odds_N[np.isfinite(x_N)] != 0).all()
    assert np.isfinite(trust.log_odds_N).all()


def test_an_image_never_teaches_its_own_fold():
    rng, right_N, q_N, fold_N = _crawl(500)
    x_N = rng.normal(size=500) + right_N
    spoiled = np.where(fold_N == 2, 1 - q_N, q_N)
    kwargs = {"present_NE": np.ones((500, 1), bool), "fold_N": fold_N, "taught_N": fold_N != 2}
    a = learn_trust(x_N[:, None], p_right_N=q_N, **kwargs)
    b = learn_trust(x_N[:, None], p_right_N=spoiled, **kwargs)
    np.testing.assert_array_equal(a.log_odds_N, b.log_odds_N)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_any_input_gives_finite_log_odds(seed, num, evidences):
    rng = np.random.default_rng(seed)
    x_NE = rng.normal(size=(num, evidences)) * 10.0 ** rng.integers(-3, 4, evidences)
    present_NE = rng.random((num, evidences)) < 0.7
    x_NE[~present_NE] = np.nan
    trust = learn_trust(x_NE, present_NE, rng.uniform(0.001, 0.999, num), np.arange(num) % 2)
    assert np.isfinite(trust.log_odds_N).all()
    assert np.abs(trust.log_odds_N).max(initial=0) < 10


@pytest.mark.parametrize("q", [0.999, 0.001, 0.6])
def test_where_there_is_nothing_to_learn_from_nothing_is_added(q):
    """A crawl that is right, one that is wrong, and a view that cannot tell."""
    x_N = np.random.default_rng(0).normal(size=200)
    trust = _trust(x_N, np.full(200, q), np.arange(200) % FOLDS)
    assert (trust.log_odds_N == 0).all()
    one_fold = _trust(x_N, sigmoid(5 * x_N), np.zeros(200, dtype=int))
    assert (one_fold.log_odds_N == 0).all()


def test_relative_weight_counts_only_what_is_new():
    rng, right_N, q_N, fold_N = _crawl()
    num = len(q_N)
    judge_N = 2 * (rng.normal(size=num) + 2 * right_N - 1)
    fresh_N = rng.normal(size=num) + 2 * right_N - 1
    everywhere = np.ones(num, bool)
    new = relative_weight(fresh_N, everywhere, judge_N, q_N, fold_N)
    assert new.weight > 0.5
    assert 0 < new.judge_scale <= 1

    def auroc(view):
        return reference.auroc(view.judge_scale * judge_N + view.log_odds_N, right_N)

    assert auroc(new) > reference.auroc(judge_N, right_N) + 0.01
    repeated = relative_weight(judge_N + 1e-3 * rng.normal(size=num), everywhere, judge_N, q_N, fold_N)
    noise = relative_weight(rng.normal(size=num), everywhere, judge_N, q_N, fold_N)
    against = relative_weight(-fresh_N, everywhere, judge_N, q_N, fold_N)
    assert noise.weight < 0.15
    assert against.judge_scale == 1.0
    assert (against.log_odds_N == 0).all()
    # What repeats the judge leaves its order as it is.
    assert auroc(repeated) == pytest.approx(reference.auroc(judge_N, right_N), abs=0.002)


def test_two_looks_at_the_same_are_not_counted_twice():
    """A second noisy copy of the judge's own look: the sum is no surer of itself than its slope allows."""
    rng, right_N, q_N, fold_N = _crawl()
    num = len(q_N)
    look_N = rng.normal(size=num) + 2 * right_N - 1
    judge_N = 2 * (look_N + 0.3 * rng.normal(size=num))
    copy_N = look_N + 0.3 * rng.normal(size=num)
    view = relative_weight(copy_N, np.ones(num, bool), judge_N, q_N, fold_N)
    assert view.judge_scale < 0.8
    together_N = view.judge_scale * judge_N + view.log_odds_N
    assert together_N.std() == pytest.approx(judge_N.std(), rel=0.1)


def test_a_look_of_its_own_leaves_the_judge_whole():
    """Given the truth, judge and evidence are independent: both slopes nearly stand, however unsure the teacher is."""
    rng, right_N, q_N, fold_N = _crawl(num=20_000, strength=1.5)
    num = len(q_N)
    judge_N = 2 * (rng.normal(size=num) + 2 * right_N - 1)
    fresh_N = rng.normal(size=num) + 2 * right_N - 1
    view = relative_weight(fresh_N, np.ones(num, bool), judge_N, q_N, fold_N)
    assert view.judge_scale > 0.7
    assert view.weight == pytest.approx(2 * fresh_N.std(), rel=0.2)  # log-odds of either rise by 2 a unit


def test_relative_weight_without_anything_to_learn_from():
    nothing = relative_weight(
        np.zeros(10), np.zeros(10, bool), np.zeros(10), np.full(10, 0.5), np.arange(10) % 2
    )
    assert (nothing.log_odds_N == 0).all()


def test_on_topic_by_hand():
    """Median 0, robust deviation 1: an image at the middle is half off topic."""
    spread = np.tile([-1 / 1.4826, 0.0, 1 / 1.4826], 20) * 1.0
    similarity_N = np.r_[spread, -4 / 1.4826 * 1.4826, np.nan]
    p_N = on_topic(similarity_N, np.arange(62) % 31, -4.0)  # labels of two images: no spread of their own
    assert p_N[60] == pytest.approx(0.5, abs=0.01)
    assert p_N[61] == 1.0
    assert (p_N[:60] > 0.99).all()


def test_a_label_of_diverse_images_is_not_off_topic():
    """One label in ten is less alike by many deviations; its own outliers still are off topic."""
    rng = np.random.default_rng(0)
    label_N = np.repeat(np.arange(10), 50)
    similarity_N = 0.8 + 0.02 * rng.normal(size=500)
    similarity_N[label_N == 3] -= 0.3
    similarity_N[[0, 150]] = 0.1
    p_N = on_topic(similarity_N, label_N, -4.0)
    assert (p_N[[0, 150]] < 0.01).all()
    assert np.delete(p_N, [0, 150]).min() > 0.5


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_on_topic_follows_the_likeness_and_not_the_order(seed):
    rng = np.random.default_rng(seed)
    similarity_N = rng.standard_t(2, size=80)
    label_N = np.zeros(80, dtype=np.int64)
    p_N = on_topic(similarity_N, label_N, -4.0)
    assert ((p_N >= 0) & (p_N <= 1)).all()
    assert (np.diff(p_N[np.argsort(similarity_N)]) >= 0).all()
    order = rng.permutation(80)
    np.testing.assert_allclose(on_topic(similarity_N[order], label_N, -4.0), p_N[order])


def test_too_few_or_too_alike_to_tell():
    for similarity_N in (np.array([0.9, 0.1]), np.full(100, 0.5), np.full(30, np.nan), np.zeros(0)):
        label_N = np.zeros(len(similarity_N), dtype=np.int64)
        assert (on_topic(similarity_N, label_N, -4.0) == 1.0).all()


def test_cross_slope_finds_the_slope_of_the_log_odds():
    """x ~ N(2 right, 1) has log-odds that rise by 2 for each unit of x; in other units by as much less."""
    rng, right_N, q_N, _ = _crawl(num=20_000)
    x_N = rng.normal(size=len(q_N)) + 2.0 * right_N
    assert cross_slope(x_N, q_N) == pytest.approx(2.0, abs=0.25)
    assert cross_slope(10.0 * x_N + 3.0, q_N) == pytest.approx(cross_slope(x_N, q_N) / 10.0)


def test_cross_slope_of_what_tells_nothing_or_misleads_is_next_to_nothing():
    rng, right_N, q_N, _ = _crawl(num=20_000)
    assert cross_slope(rng.normal(size=len(q_N)), q_N) < 0.1
    assert cross_slope(rng.normal(size=len(q_N)) - 2.0 * right_N, q_N) == 0.0
    assert cross_slope(np.ones(len(q_N)), q_N) == 0.0
    assert cross_slope(rng.normal(size=50), np.full(50, 0.999)) == 0.0  # nothing is wrong, nothing is taught
