from __future__ import annotations

import itertools

import numpy as np
import pytest

from webclean.ops import hamming, hamming_parts, key_runs, phash

NONE = np.uint64(0)
FLIPS = [np.uint64(bits) for bits in phash.views(np.zeros(1, dtype=np.uint64))[:4, 0]]


def _crowded(num: int, seed: int) -> np.ndarray:
    """Hashes that share the bits of one part or another, so that runs are long, and some near others turned over."""
    rng = np.random.default_rng(seed)
    hash_N = rng.integers(0, 2**64, num, dtype=np.uint64)
    third = num // 3
    hash_N[:third] &= np.uint64(0xFFFF_FFFF_FFFF_0003)
    hash_N[third : 2 * third] |= np.uint64(0xFFFC_0000_0000_0000)
    for turn in range(4):
        at = rng.integers(0, num, third)
        bit = np.uint64(1) << rng.integers(0, 64, third, dtype=np.uint64)
        hash_N[rng.integers(0, num, third)] = hash_N[at] ^ bit ^ FLIPS[turn]
    return np.unique(hash_N)


def _found(work) -> list[tuple[int, int, int, int]]:
    """Sorted, and not as a set: a match that came twice would be seen."""
    return sorted(
        row
        for unit in work
        for block in unit
        for row in zip(
            block.query_M.tolist(), block.found_M.tolist(), block.distance_M.tolist(),
            [block.flip] * len(block.query_M), strict=True,
        )
    )  # fmt: skip


def _by_hand(query_Q, hash_N, radius, flips) -> list[tuple[int, int, int, int]]:
    found = []
    for flip, bits in enumerate(flips):
        distance_QN = phash.hamming(query_Q[:, None] ^ bits, hash_N[None])
        query, place = np.nonzero(distance_QN <= radius)
        found += zip(
            query.tolist(),
            place.tolist(),
            distance_QN[query, place].tolist(),
            [flip] * len(query),
            strict=True,
        )
    return sorted(found)


@pytest.fixture(params=["as it is", "small"])
def sizes(request, monkeypatch):
    """Also with blocks so small that every loop goes round more than once."""
    if request.param == "small":
        for name, value in (
            ("CHUNK", 50),
            ("_RUNS", 7),
            ("_MANY_PAIRS", 12),
            ("_BLOCK", 20),
            ("_AT_ONCE", 9),
        ):
            monkeypatch.setattr(hamming_parts, name, value)
        monkeypatch.setattr(key_runs, "CHUNK", hamming_parts.CHUNK)


@pytest.mark.parametrize("flips", [[NONE], FLIPS, [NONE, np.uint64(0xFFFF_F000_0000_1FFF)]], ids=len)
@pytest.mark.parametrize("radius", [0, 3, 7])
def test_what_comparing_all_finds(sizes, radius, flips):
    hash_N, query_Q = _crowded(500, seed=0), _crowded(300, seed=1)
    query_Q[:30] = hash_N[:30] ^ np.uint64(0b1011)
    query_Q = np.unique(query_Q)
    plan = hamming_parts.plan(query_Q, hash_N, radius, flips)
    found = _found(hamming_parts.near(plan, query_Q, hash_N, radius, flips))
    assert found == _by_hand(query_Q, hash_N, radius, flips)
    plan = hamming_parts.plan(None, hash_N, radius, flips)
    within = _found(hamming_parts.near(plan, None, hash_N, radius, flips))
    once = sorted((min(a, b), max(a, b), distance, flip) for a, b, distance, flip in within)
    assert once == [row for row in _by_hand(hash_N, hash_N, radius, flips) if row[0] < row[1]]
    assert len(found) + len(once) > 20 or radius == 0


@pytest.mark.parametrize("allowed", [(3, -1, -1, -1), (-1, 1, 1, -1), (0, 0, 0, 0), (-1, -1, 3, -1)])
def test_any_numbers_allowed_that_add_up_find_the_same(allowed):
    hash_N = _crowded(400, seed=2)
    plan = hamming_parts.Plan(np.arange(64), allowed, 0.0)
    found = _found(hamming_parts.near(plan, hash_N, hash_N, 3, FLIPS))
    assert found == _by_hand(hash_N, hash_N, 3, FLIPS)


def test_the_numbers_allowed_add_up_to_the_radius():
    for radius in (0, 1, 7, 12):
        plan = hamming_parts.plan(None, _crowded(300, seed=3), radius, FLIPS)
        assert sum(bits + 1 for bits in plan.allowed) == radius + 1
        assert sorted(plan.bit_B) == list(range(64))


def test_a_part_in_which_all_are_equal_is_left_out():
    """There everything would meet everything."""
    hash_N = np.unique(np.random.default_rng(0).integers(0, 2**48, 20_000, dtype=np.uint64))
    assert hamming_parts.plan(None, hash_N, 8, [NONE]).allowed[3] == -1


def test_the_flips_of_a_picture_turn_over_whole_parts_or_none_of_their_bits():
    """So that no pair is brought together twice for two flips that do the same to a part."""
    bit_B = hamming_parts.plan(None, _crowded(30, seed=0), 4, FLIPS).bit_B
    turned = hamming_parts._permuted(np.array(FLIPS, dtype=np.uint64), bit_B)
    for part in range(hamming_parts.NUM_PARTS):
        assert set(hamming_parts._keys(turned, part).tolist()) <= {0, 0xFFFF}


def test_how_many_meet_is_the_correlation_of_the_keys():
    keys, others = [3, 3, 9], [3, 5, 65_535]
    num_K, num_other_K = (np.bincount(some, minlength=1 << 16) for some in (keys, others))
    product_K = hamming_parts._transformed(num_K) * hamming_parts._transformed(num_other_K)
    meeting_K = hamming_parts._transformed(product_K) / (1 << 16)
    expected = np.zeros(1 << 16)
    for one, other in itertools.product(keys, others):
        expected[one ^ other] += 1
    np.testing.assert_allclose(meeting_K, expected, atol=1e-9)


@pytest.mark.parametrize("radius", [4, 40])
@pytest.mark.parametrize("way", [None, "parts"])
def test_pairs_of_one_set_come_once_under_each_flip(monkeypatch, way, radius):
    """With equal hashes; at 40 bits a hash lies near itself turned over, and the estimate must not choose parts."""
    if way == "parts":
        # As if each with each, and bands, took for ever.
        monkeypatch.setattr(
            hamming, "_bands", lambda hash_U, query_U, *rest: (None, 1e300 if query_U is None else 0.0)
        )
    hash_N = np.concatenate([_crowded(60, seed=4), _crowded(60, seed=4)[:9]])
    found = _found([hamming.within_one(hash_N, radius, flips=FLIPS)])
    assert found == [row for row in _by_hand(hash_N, hash_N, radius, FLIPS) if row[0] < row[1]]


def test_the_first_flip_is_none():
    with pytest.raises(ValueError, match="the first of the flips is the one of no bits"):
        next(hamming.within_one(_crowded(9, seed=0), 3, flips=[np.uint64(1)]))
