from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import hamming, hamming_parts
from webclean.ops.hamming import HammingIndex, between, within_one

PARTS = "parts"
WAYS = [None, 1, 2, 3, 4, PARTS]


def _chosen(way):
    """What stands in for the estimate: None compares all, a number of equal bands, or parts."""
    if way == PARTS:
        return lambda hash_U, query_U, radius, flips: hamming_parts.plan(query_U, hash_U, radius, flips)
    return lambda *args: way


def _within_by_hand(hashes: list[int], radius: int) -> list[tuple[int, int, int]]:
    return [
        (i, j, (a ^ b).bit_count())
        for (i, a), (j, b) in itertools.combinations(enumerate(hashes), 2)
        if (a ^ b).bit_count() <= radius
    ]


def _between_by_hand(queries: list[int], hashes: list[int], radius: int) -> list[tuple[int, int, int]]:
    return [
        (i, j, (a ^ b).bit_count())
        for i, a in enumerate(queries)
        for j, b in enumerate(hashes)
        if (a ^ b).bit_count() <= radius
    ]


def _rows(blocks, flip: int = 0) -> list[tuple[int, int, int]]:
    """Sorted, and not as a set: a match that came twice would be seen."""
    return sorted(
        row
        for block in blocks
        if block.flip == flip
        for row in zip(block.query_M.tolist(), block.found_M.tolist(), block.distance_M.tolist(), strict=True)
    )


def _array(hashes: list[int]) -> np.ndarray:
    return np.array(hashes, dtype=np.uint64)


@pytest.fixture
def way(monkeypatch):
    """Fixes the way, whatever is estimated."""

    def fix(way) -> None:
        monkeypatch.setattr(hamming, "_cheapest", _chosen(way))

    return fix


def _clustered(num: int, spread: int, seed: int = 0) -> list[int]:
    """A few hashes, and neighbours of theirs at up to `spread` bits: what a crawl's hashes look like."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 2**64, max(1, num // 12), dtype=np.uint64)
    found = []
    for _ in range(num):
        mask = 0
        for bit in rng.choice(64, int(rng.integers(0, spread + 1)), replace=False).tolist():
            mask |= 1 << bit
        found.append(int(rng.choice(centers)) ^ mask)
    return found


hash_lists = st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=14)


@given(hash_lists, st.integers(0, 64), st.sampled_from(WAYS), st.randoms())
@settings(max_examples=60, deadline=None)
def test_every_way_finds_what_a_loop_finds(hashes, radius, num_equal, random):
    # Neighbours at and beyond the radius, not only strangers.
    for value in hashes[:4]:
        for flips in (radius, radius + 1):
            hashes.append(value ^ sum(1 << bit for bit in random.sample(range(64), min(64, flips))))
    if num_equal == PARTS:
        radius %= 14  # beyond, there are more keys near each than a test has time for
    elif num_equal is not None and radius + num_equal > 64:
        num_equal = None
    elif num_equal is not None and radius > 5:
        num_equal = 1  # else there are more choices than a test has time for
    queries = hashes[::2] + [random.getrandbits(64)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "_cheapest", _chosen(num_equal))
        assert _rows(within_one(_array(hashes), radius)) == _within_by_hand(hashes, radius)
        expected = _between_by_hand(queries, hashes, radius)
        assert _rows(between(_array(queries), _array(hashes), radius)) == expected


@pytest.mark.parametrize("num_equal", [1, 2, 4, PARTS])
@pytest.mark.parametrize("radius", [1, 7])
@pytest.mark.parametrize("spread", [5, 12])
def test_bands_find_in_clusters_what_comparing_all_finds(way, num_equal, radius, spread):
    hash_N, query_Q = _array(_clustered(900, spread)), _array(_clustered(300, spread, seed=1)[::2])
    query_Q[:20] = hash_N[:20]
    found = []
    for equal in (None, num_equal):
        way(equal)
        found.append((_rows(within_one(hash_N, radius)), _rows(between(query_Q, hash_N, radius))))
    assert found[0] == found[1]
    assert len(found[0][0]) > 100


def test_the_choice_of_ways_does_not_change_the_matches(way):
    hash_N = np.random.default_rng(0).integers(0, 2**64, 60_000, dtype=np.uint64)
    hash_N[1000:1600] = hash_N[:600] ^ np.uint64(0x8000_0001_0000_0101)
    assert isinstance(hamming._bands(np.unique(hash_N), None, 6)[0], int)  # what is tested below
    banded = _rows(within_one(hash_N, 6))
    way(None)
    assert banded == _rows(within_one(hash_N, 6))
    assert {(i, 1000 + i, 4) for i in range(600)} <= set(banded)


@pytest.mark.parametrize("num_equal", WAYS)
def test_each_pair_comes_once_under_each_flip(way, num_equal):
    way(num_equal)
    hashes = _clustered(60, 4)
    flips = [0, (1 << 64) - 1, 0x00FF_0000_0000_F00F]
    hashes += [hashes[0] ^ flips[1], hashes[1] ^ flips[2] ^ 3]
    blocks = list(between(_array(hashes), _array(hashes), 3, flips=[np.uint64(bits) for bits in flips]))
    for flip, bits in enumerate(flips):
        expected = _between_by_hand([h ^ bits for h in hashes], hashes, 3)
        assert _rows(blocks, flip) == expected
        assert expected


@pytest.mark.parametrize("num_equal", WAYS)
def test_equal_hashes_are_all_matches_of_each_other(way, num_equal, monkeypatch):
    way(num_equal)
    monkeypatch.setattr(hamming, "_BLOCK", 7)
    hashes = [5] * 9 + [4] * 6 + [2**40] + [5] * 2
    blocks = list(within_one(_array(hashes), 1))
    assert _rows(blocks) == _within_by_hand(hashes, 1)
    assert max(len(block.query_M) for block in blocks) <= 11
    found = list(between(_array(hashes[::3]), _array(hashes), 1))
    assert _rows(found) == _between_by_hand(hashes[::3], hashes, 1)


def test_half_a_million_equal_hashes_are_as_quick_as_one():
    """Only their own pairs are many: next to another hash they are handed over in blocks of limited size."""
    hash_N = np.full(500_000, 77, dtype=np.uint64)
    one = next(iter(within_one(hash_N, 8)))
    assert len(one.query_M) <= max(hamming._BLOCK, len(hash_N))
    blocks = list(between(_array([76, 2**64 - 1]), hash_N, 8))
    assert sum(len(block.query_M) for block in blocks) == 500_000


@pytest.mark.parametrize("num_equal", WAYS)
def test_nothing_and_one_hash(way, num_equal):
    way(num_equal)
    assert _rows(within_one(_array([]), 5)) == []
    assert _rows(within_one(_array([9]), 5)) == []
    assert _rows(between(_array([]), _array([9]), 5)) == []
    assert _rows(between(_array([9]), _array([]), 5)) == []
    assert _rows(between(_array([9]), _array([9]), 5)) == [(0, 0, 0)]


@pytest.mark.parametrize("radius", [-1, 65])
def test_a_radius_beyond_the_bits_is_refused(radius):
    with pytest.raises(ValueError, match="a radius is a number from 0 to 64"):
        next(within_one(_array([1]), radius))


def test_the_index_sorts_by_query_then_by_place():
    found = HammingIndex(_array([1, 0, 3, 2**60])).within(_array([0, 2**60]), 1)
    assert found.query_M.tolist() == [0, 0, 0, 1, 1]
    assert found.found_M.tolist() == [0, 1, 3, 1, 3]
    assert found.distance_M.tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("num_equal", [None, 2])
def test_how_far_it_is_is_told_up_to_the_end(way, num_equal):
    way(num_equal)
    told: list[float] = []
    list(within_one(_array(_clustered(50, 3)), 4, told.append))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_who_wants_no_more_leaves_no_thread_behind(way, monkeypatch):
    way(2)
    monkeypatch.setattr(hamming, "_BLOCK", 10)
    before = threading.active_count()
    blocks = within_one(_array(_clustered(400, 6)), 8)
    next(blocks)
    blocks.close()
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_where_the_matches_are_taken():
    def broken():
        yield from ()
        raise MemoryError("too little")

    with pytest.raises(MemoryError, match="too little"):
        list(hamming._in_threads([broken(), iter(())], lambda share: None))
