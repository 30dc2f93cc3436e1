"""Search ranks: positions inside (query, source) and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
import reference_two_stage as reference
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import ranks


def _positions(
    rank: list[int | None], list_: list[int], order: list[int] | None = None
) -> ranks.RankPositions:
    return ranks.dense_positions(
        np.array([r if r is not None else 0 for r in rank], dtype=np.int64),
        np.array([r is not None for r in rank], dtype=bool),
        np.array(list_, dtype=np.int64),
        np.array(order if order is not None else range(len(rank)), dtype=np.int64),
    )


def test_positions_close_gaps_and_skip_rows_without_a_rank() -> None:
    found = _positions([40, 3, None, 7, 1], [0, 0, 0, 0, 1])
    assert found.position_N.tolist() == [3, 1, 0, 2, 1]
    assert found.size_N.tolist() == [3, 3, 0, 3, 1]
    np.testing.assert_array_equal(found.percentile_N, [1.0, 0.0, np.nan, 0.5, 0.0])


def test_ties_go_by_source_key_and_are_counted() -> None:
    found = _positions([5, 5, 5, 9], [0, 0, 0, 0], order=[2, 0, 1, 3])
    assert found.position_N.tolist() == [3, 1, 2, 4]
    assert found.num_tied == 3


def test_lists_that_count_from_zero_are_said_and_change_nothing() -> None:
    from_zero = _positions([0, 1, 2, 1, 2], [0, 0, 0, 1, 1])
    from_one = _positions([1, 2, 3, 1, 2], [0, 0, 0, 1, 1])
    assert (from_zero.num_zero_based, from_zero.num_lists) == (1, 2)
    assert from_one.num_zero_based == 0
    np.testing.assert_array_equal(from_zero.percentile_N, from_one.percentile_N)


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(-2, 6)), st.integers(0, 3)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_positions_match_the_reference_and_ignore_row_order(rows: list, random: object) -> None:
    rank, list_ = [r for r, _ in rows], [q for _, q in rows]
    found = _positions(rank, list_)
    expected = reference.positions(rank, list_, list(range(len(rows))))
    for i, place in enumerate(expected):
        assert (int(found.position_N[i]), int(found.size_N[i])) == (place or (0, 0))
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = _positions([rank[i] for i in shuffled], [list_[i] for i in shuffled], order=shuffled)
    np.testing.assert_array_equal(again.position_N, found.position_N[shuffled])


def test_no_rank_at_all() -> None:
    found = _positions([None, None], [0, 1])
    assert found.num_lists == 0
    assert np.isnan(ranks.rank_weight(found)).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="vectors of one length"):
        ranks.dense_positions(np.ones(2, int), np.ones(3, bool), np.ones(2, int), np.ones(2, int))


@pytest.mark.parametrize("model", ["linear", "exp"])
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_rho_falls_from_one_to_the_floor(model: str, power: float) -> None:
    rho_N = ranks.rank_weight(_positions(list(range(1, 12)), [0] * 11), model=model, floor=0.3, power=power)
    assert rho_N[0] == pytest.approx(1)
    assert rho_N[-1] == pytest.approx(0.3)
    assert (np.diff(rho_N) < 0).all()


def test_linear_matches_the_reference() -> None:
    found = _positions([3, 1, 9, 4], [0, 0, 0, 1])
    rho_N = ranks.rank_weight(found, floor=0.2, power=1.5)
    for i in range(4):
        place = (int(found.position_N[i]), int(found.size_N[i]))
        assert rho_N[i] == pytest.approx(reference.rho(*place, 0.2, 1.5))


def test_log_is_one_over_log2_of_the_position_plus_one() -> None:
    rho_N = ranks.rank_weight(_positions([1, 2, 3, 7], [0] * 4), model="log")
    np.testing.assert_allclose(rho_N, [1, 1 / np.log2(3), 1 / 2, 1 / np.log2(5)])


@pytest.mark.parametrize("model", ["linear", "exp", "log"])
def test_a_single_result_is_worth_one(model: str) -> None:
    np.testing.assert_allclose(ranks.rank_weight(_positions([17], [0]), model=model), [1.0])


def test_calibrated_learns_how_fast_ranks_fade() -> None:
    found = _positions(list(range(1, 401)), [0] * 400)
    rng = np.random.default_rng(0)
    agreement_N = (rng.random(400) < 0.9 - 0.6 * found.percentile_N).astype(float)
    rho_N = ranks.rank_weight(found, model="calibrated", agreement_N=agreement_N)
    assert rho_N[0] == 1
    assert (np.diff(rho_N) <= 0).all()
    assert rho_N[-100:].mean() == pytest.approx(0.375 / 0.9, abs=0.12)


def test_calibrated_with_nothing_to_learn_from_trusts_every_rank_alike() -> None:
    found = _positions([1, 2, None], [0, 0, 0])
    for agreement in (np.nan, 0.0):
        rho_N = ranks.rank_weight(found, model="calibrated", agreement_N=np.full(3, agreement))
        np.testing.assert_array_equal(rho_N, [1, 1, np.nan])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "cubic"}, "model must be one of"),
        ({"floor": 1.5}, "floor must be in"),
        ({"power": 0.0}, "power must be above 0"),
        ({"model": "calibrated"}, "needs agreement"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranks.rank_weight(_positions([1], [0]), **options)


def test_missing_rank_takes_the_mean_of_the_query_then_of_all_then_one() -> None:
    nan = np.nan
    filled = ranks.fill_missing(np.array([1.0, 0.5, nan, 0.3, nan]), np.array([0, 0, 0, 1, 2]))
    np.testing.assert_allclose(filled, [1.0, 0.5, 0.75, 0.3, 0.6])
    np.testing.assert_array_equal(ranks.fill_missing(np.full(2, nan), np.array([0, 1])), [1, 1])
