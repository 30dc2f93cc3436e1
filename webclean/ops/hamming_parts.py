"""Exact search among 64-bit hashes by four parts of 16 bits, for many hashes and a radius that leaves few bands equal.

Two hashes that differ in at most r bits differ in at least one part in no more bits than are allowed there, as long as
the four numbers allowed, and one more for each, add up to r + 1 (the general pigeonhole principle: Qin et al., GPH,
ICDE 2018; with equal parts Norouzi et al., Fast Search in Hamming Space with Multi-Index Hashing, CVPR 2012). So
of each part the hashes are sorted by its 16 bits, and each run of one key meets the runs of all keys that differ from
it in so few bits. A match is reported under the first of the parts in which it is allowed, so once.

How many pairs meet under each XOR of two keys is the correlation of the numbers of hashes with each key, and known
for all XORs at once by a Walsh-Hadamard transform. The numbers allowed are those under which the fewest pairs meet.

A search under several flips is one search: bits that the same flips turn over are in one part, and where two flips
turn over the same bits of a part, or none, those that meet there meet for both.

Letters: U distinct hashes, A queries and behind them hashes, R runs of one key, K = 65,536 keys, F flips, P pairs or
places, M matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops.key_runs import CHUNK, NUM_BITS, longest_first, places, runs, stops
from webclean.ops.matches import Matches

NUM_PARTS: Final = 4
_WIDTH: Final = NUM_BITS // NUM_PARTS
_NUM_KEYS: Final = 1 << _WIDTH
_KEY_BITS: Final = np.uint64(_NUM_KEYS - 1)
_TOP: Final = np.uint64(NUM_BITS - _WIDTH)
_POPULATION_K: Final = np.bitwise_count(np.arange(_NUM_KEYS, dtype=np.uint16)).astype(np.int64)
_BLOCK: Final = 1 << 18  # matches handed over at once, of which each thread holds some
_PERMUTED: Final = 1 << 16  # hashes whose bits are spread out at once
_AT_ONCE: Final = 32  # XORs of one unit of work
_RUNS: Final = 1 << 14  # runs looked at at once: what they need stays in the processor's cache
_MANY_PAIRS: Final = 1 << 13  # of two runs, so many that they are worth a call of their own

# Nanoseconds on one core at 2.5 GHz; they only choose between ways to the same result.
_MEET_NS: Final = 5.5  # to bring a pair together
_TEST_NS: Final = 2.0  # to compare it under one flip
_PLACE_NS: Final = 11.0  # to bring a query to its place under one XOR
_RUN_NS: Final = 55.0  # for one of its runs
_XOR_NS: Final = 200_000.0  # for an XOR, however few the hashes


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search.

    Attributes:
        bit_B: (64,) which bit of a hash comes to each place.
        allowed: bits in which two may differ, of each part; -1 for a part that is left out.
        ns: what it will take on one core.
    """

    bit_B: NDArray[np.int64]
    allowed: tuple[int, ...]
    ns: float


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Queries and hashes that meet in a part: their keys differ by `xor`, and they are compared under `flips`."""

    part: int
    xor: int
    flips: tuple[int, ...]


def plan(
    query_U: NDArray[np.uint64] | None, hash_U: NDArray[np.uint64], radius: int, flips: Sequence[np.uint64]
) -> Plan:
    """The cheapest numbers allowed.

    Args:
        query_U: None for the hashes themselves, each pair once.
        hash_U: distinct.
        radius: 0 to 64.
        flips: as in `hamming.between`.
    """
    bit_B = _order_of_bits(flips)
    permuted_U = _permuted(hash_U, bit_B)
    asked_U = permuted_U if query_U is None else _permuted(query_U, bit_B)
    turned = _permuted(np.array(flips, dtype=np.uint64), bit_B)
    cost = np.zeros((NUM_PARTS, radius + 2))  # of allowing -1, 0, 1, ..., radius bits
    for part in range(NUM_PARTS):
        num_K, num_asked_K = (
            np.bincount(_keys(some, part), minlength=_NUM_KEYS) for some in (permuted_U, asked_U)
        )
        transformed_K = _transformed(num_K)
        other_K = transformed_K if query_U is None else _transformed(num_asked_K)
        meeting_K = _transformed(transformed_K * other_K) / _NUM_KEYS * (0.5 if query_U is None else 1.0)
        each = _XOR_NS + _RUN_NS * np.count_nonzero(num_asked_K) + _PLACE_NS * len(asked_U)
        for xor, chosen in _alike(turned, part).items():
            ns_K = each + meeting_K * (_MEET_NS + _TEST_NS * len(chosen))
            of_distance = np.bincount(_POPULATION_K[np.arange(_NUM_KEYS) ^ xor], ns_K, minlength=_WIDTH + 1)
            least = np.cumsum(of_distance)[np.minimum(np.arange(radius + 1), _WIDTH)]
            cost[part, 1:] += least
    allowed, ns = _cheapest(cost)
    return Plan(bit_B, allowed, ns)


def near(
    plan: Plan,
    query_U: NDArray[np.uint64] | None,
    hash_U: NDArray[np.uint64],
    radius: int,
    flips: Sequence[np.uint64],
) -> list[Iterator[Matches]]:
    """The search in units of work, which together yield each match once.

    Args:
        plan: for the same search.
        query_U: None for the hashes themselves: each pair comes once, in any order; no flip but 0 may then have
            `radius` bits or fewer.
        hash_U: distinct.
        radius: 0 to 64.
        flips: as in `hamming.between`.
    """
    permuted_U = _permuted(hash_U, plan.bit_B)
    asked_U = None if query_U is None else _permuted(query_U, plan.bit_B)
    turned = _permuted(np.array(flips, dtype=np.uint64), plan.bit_B)
    work = []
    for part, allowed in enumerate(plan.allowed):
        ball = np.flatnonzero(_POPULATION_K <= allowed).tolist()
        meetings = [
            _Meeting(part, xor ^ differing, chosen)
            for xor, chosen in _alike(turned, part).items()
            for differing in ball
        ]
        units = [meetings[start : start + _AT_ONCE] for start in range(0, len(meetings), _AT_ONCE)]
        search = _Search(plan, part, asked_U, permuted_U, radius, turned, len(units))
        work += [_met(search, some) for some in units]
    return work


def _cheapest(cost: NDArray[np.float64]) -> tuple[tuple[int, ...], float]:
    """The cheapest numbers allowed that add up, with one more for each, to the last column; and what they cost.

    Args:
        cost: (parts, radius + 2), of allowing -1, 0, 1, ... bits in each part.
    """
    # Of the parts so far: the cheapest way to each sum.
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for of_part in cost.tolist():
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for spent, (ns, chosen) in best.items():
            for more in range(len(of_part) - spent):
                way = (ns + of_part[more], (*chosen, more - 1))
                longer[spent + more] = min(longer.get(spent + more, way), way)
        best = longer
    ns, allowed = best[cost.shape[1] - 1]
    return allowed, ns


def _order_of_bits(flips: Sequence[np.uint64]) -> NDArray[np.int64]:
    """Bits side by side that the same flips turn over."""
    flip_F = np.array(flips, dtype=np.uint64)
    is_turned_FB = (flip_F[:, None] >> np.arange(NUM_BITS, dtype=np.uint64)) & np.uint64(1)
    return np.lexsort(is_turned_FB)


def _permuted(hash_U: NDArray[np.uint64], bit_B: NDArray[np.int64]) -> NDArray[np.uint64]:
    permuted_U = np.empty(len(hash_U), dtype=np.uint64)
    for start in range(0, len(hash_U), _PERMUTED):
        octets = np.ascontiguousarray(hash_U[start : start + _PERMUTED], dtype="<u8").view(np.uint8)
        bits = np.unpackbits(octets.reshape(-1, NUM_BITS // 8), axis=1, bitorder="little")
        packed = np.packbits(bits[:, bit_B], axis=1, bitorder="little")
        permuted_U[start : start + _PERMUTED] = np.ascontiguousarray(packed).view("<u8")[:, 0]
    return permuted_U


def _keys(permuted_U: NDArray[np.uint64], part: int) -> NDArray[np.int64]:
    return ((permuted_U >> np.uint64(part * _WIDTH)) & _KEY_BITS).astype(np.int64)


def _alike(turned: NDArray[np.uint64], part: int) -> dict[int, tuple[int, ...]]:
    """What flips turn over in a part, and the numbers of those that do."""
    found: dict[int, tuple[int, ...]] = {}
    for flip, xor in enumerate(_keys(turned, part).tolist()):
        found[xor] = (*found.get(xor, ()), flip)
    return found


def _transformed(x_K: NDArray[np.generic]) -> NDArray[np.float64]:
    """Walsh-Hadamard transform; twice, and divided by K, it gives back what it was given."""
    transformed_K = x_K.astype(np.float64)
    width = 1
    while width < len(transformed_K):
        pairs = transformed_K.reshape(-1, 2, width)
        transformed_K = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        width *= 2
    return transformed_K


@dataclass(frozen=True, slots=True)
class _Sorted:
    """What the units of work of one part look at.

    Attributes:
        asked, hashes: the queries and the hashes; one object where they are the same.
        begin_of_hashes: how many queries stand before them in `moved_A`.
        moved_A: uint64, the queries and behind them the hashes, their keys on top.
    """

    asked: _Side
    hashes: _Side
    begin_of_hashes: int
    moved_A: NDArray[np.uint64]


class _Search:
    """What the units of work of one part need to know.

    Args:
        plan: of the search.
        part: in which hashes meet.
        asked_U, permuted_U: as to `near`, permuted.
        radius: of the search.
        turned: the flips, permuted.
        num_units: how many units of work there are.
    """

    def __init__(
        self,
        plan: Plan,
        part: int,
        asked_U: NDArray[np.uint64] | None,
        permuted_U: NDArray[np.uint64],
        radius: int,
        turned: NDArray[np.uint64],
        num_units: int,
    ) -> None:
        self._lock, self._num_open = Lock(), num_units
        self._sorted: _Sorted | None = None
        self.part, self.asked_U, self.permuted_U, self.radius = part, asked_U, permuted_U, radius
        self.flip_F = _on_top(turned, part)
        # What is allowed in an earlier part was met there.
        earlier = [other for other in range(part) if plan.allowed[other] >= 0]
        masks = np.array([_KEY_BITS << np.uint64(other * _WIDTH) for other in earlier], dtype=np.uint64)
        self.earlier = list(
            zip(_on_top(masks, part), (plan.allowed[other] for other in earlier), strict=True)
        )

    @contextmanager
    def sorted(self) -> Iterator[_Sorted]:
        """Sorted by the first unit that asks, for all, and let go by the last."""
        with self._lock:
            if self._sorted is None:
                self._sorted = self._sort()
            found = self._sorted
        try:
            yield found
        finally:
            with self._lock:
                self._num_open -= 1
                if not self._num_open:
                    self._sorted = None

    def _sort(self) -> _Sorted:
        hashes, moved_A = _Side.of(self.permuted_U, self.part)
        if self.asked_U is None:
            return _Sorted(hashes, hashes, 0, moved_A)
        asked, moved_U = _Side.of(self.asked_U, self.part)
        return _Sorted(asked, hashes, len(moved_U), np.concatenate([moved_U, moved_A]))


def _on_top(permuted_U: NDArray[np.uint64], part: int) -> NDArray[np.uint64]:
    """The bits of a part on top, the others below, those above it last."""
    up = np.uint64((NUM_PARTS - 1 - part) * _WIDTH)
    if not up:
        return permuted_U.copy()
    return (permuted_U << up) | (permuted_U >> (np.uint64(NUM_BITS) - up))


@dataclass(frozen=True, slots=True)
class _Side:
    """Hashes in the order of their keys.

    Attributes:
        row_U: int64, which hash each is.
        key_R, begin_R, num_R: int64, runs of one key.
    """

    row_U: NDArray[np.int64]
    key_R: NDArray[np.int64]
    begin_R: NDArray[np.int64]
    num_R: NDArray[np.int64]

    @classmethod
    def of(cls, permuted_U: NDArray[np.uint64], part: int) -> tuple[_Side, NDArray[np.uint64]]:
        """Their order, and in it the hashes with their keys on top, uint64."""
        moved_U = _on_top(permuted_U, part)
        row_U = np.argsort((moved_U >> _TOP).astype(np.uint16), kind="stable")
        moved_U = moved_U[row_U]
        begin_R, num_R = runs(moved_U, _WIDTH)
        return cls(row_U, (moved_U[begin_R] >> _TOP).astype(np.int64), begin_R, num_R), moved_U

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the run of each key begins, and how long it is."""
        begin_K, num_K = np.zeros((2, _NUM_KEYS), dtype=np.int64)
        begin_K[self.key_R], num_K[self.key_R] = self.begin_R, self.num_R
        return begin_K, num_K


def _met(search: _Search, meetings: list[_Meeting]) -> Iterator[Matches]:
    """Matches among those that meet."""
    with search.sorted() as ordered:
        yield from _met_in(search, ordered, meetings)


def _met_in(search: _Search, ordered: _Sorted, meetings: list[_Meeting]) -> Iterator[Matches]:
    asked, hashes, moved_A = ordered.asked, ordered.hashes, ordered.moved_A
    found = _Found(search, asked, hashes, ordered.begin_of_hashes)
    begin_K, num_K = hashes.table()
    begin_K += ordered.begin_of_hashes
    for meeting in meetings:
        if search.asked_U is None and meeting.xor == 0:
            for differing_P, where in _within_runs(hashes, moved_A):
                found.compare(differing_P, meeting.flips, where, np.uint64(0))
                yield from found.full()
            continue
        for start in range(0, len(asked.key_R), _RUNS):
            some = slice(start, start + _RUNS)
            key_R, begin_R, num_R = asked.key_R[some], asked.begin_R[some], asked.num_R[some]
            other_R = key_R ^ meeting.xor
            num_other_R = num_K[other_R]
            if search.asked_U is None:
                num_other_R[other_R < key_R] = 0  # each two runs once
            runs_R = _Crossed.of(begin_R, num_R, begin_K[other_R], num_other_R)
            for pairs in (_long(runs_R, moved_A), _short(runs_R, moved_A)):
                for differing_P, where in pairs:
                    found.compare(differing_P, meeting.flips, where, np.uint64(meeting.xor))
                    yield from found.full()
    yield from found.rest()


Where = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""The places of both of some pairs."""


@dataclass(frozen=True, slots=True)
class _Crossed:
    """Runs of which all of one meet all of another, by places in one array.

    Attributes:
        begin_R, num_R: int64, of the longer one of each two.
        other_R, num_other_R: int64, of the other, which has at least one.
    """

    begin_R: NDArray[np.int64]
    num_R: NDArray[np.int64]
    other_R: NDArray[np.int64]
    num_other_R: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        begin_R: NDArray[np.int64],
        num_R: NDArray[np.int64],
        other_R: NDArray[np.int64],
        num_other_R: NDArray[np.int64],
    ) -> _Crossed:
        swapped_R = num_other_R > num_R
        longer = cls(
            np.where(swapped_R, other_R, begin_R),
            np.maximum(num_R, num_other_R),
            np.where(swapped_R, begin_R, other_R),
            np.minimum(num_R, num_other_R),
        )
        return longer.at(longest_first(longer.num_other_R, 1))

    def at(self, chosen: NDArray[np.int64] | slice) -> _Crossed:
        """Some of them."""
        return _Crossed(
            self.begin_R[chosen], self.num_R[chosen], self.other_R[chosen], self.num_other_R[chosen]
        )


def _long(crossed: _Crossed, moved_A: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.uint64], Where]]:
    """Of two runs with many pairs: the bits in which all of one differ from all of the other, and where those are."""
    chosen = crossed.at(np.flatnonzero(crossed.num_R * crossed.num_other_R >= _MANY_PAIRS))
    columns = zip(chosen.begin_R, chosen.num_R, chosen.other_R, chosen.num_other_R, strict=True)
    for begin, num, other, num_other in columns:
        for first in range(begin, begin + num, CHUNK):
            width = min(CHUNK, begin + num - first)
            across, height = moved_A[first : first + width], max(1, CHUNK // width)
            for row in range(other, other + num_other, height):
                down = moved_A[row : min(row + height, other + num_other)]
                differing = (down[:, None] ^ across[None, :]).reshape(-1)
                yield differing, partial(_in_table, row=row, first=first, width=width)


def _in_table(
    near: NDArray[np.int64], *, row: int, first: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return near // width + row, near % width + first


def _short(crossed: _Crossed, moved_A: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.uint64], Where]]:
    """The same of all other runs: each of the longer ones meets the first of the other, then the second, ..."""
    crossed = crossed.at(np.flatnonzero(crossed.num_R * crossed.num_other_R < _MANY_PAIRS))
    end_R = np.cumsum(crossed.num_R)
    first = 0
    while first < len(end_R):
        done = end_R[first] - crossed.num_R[first]
        last = max(first + 1, int(np.searchsorted(end_R, done + CHUNK, side="right")))
        some = crossed.at(slice(first, last))
        place_P, other_P = places(some.begin_R, some.num_R), np.repeat(some.other_R, some.num_R)
        moved_P, shortest_first = moved_A.take(place_P), some.num_other_R[::-1]
        for step in range(int(some.num_other_R[0])):
            # All of the longer ones whose other has so many: those stand first.
            num = last - first - int(np.searchsorted(shortest_first, step, side="right"))
            second_P = other_P[: int(end_R[first + num - 1] - done)] + step
            differing_P = moved_A.take(second_P)
            differing_P ^= moved_P[: len(second_P)]
            yield differing_P, partial(_in_rows, place_P=place_P, second_P=second_P)
        first = last


def _in_rows(
    near: NDArray[np.int64], *, place_P: NDArray[np.int64], second_P: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return place_P[near], second_P[near]


def _within_runs(side: _Side, moved_U: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.uint64], Where]]:
    """All pairs of each run, and some of two runs: the bits in which they differ, and where they are."""
    order = longest_first(side.num_R, 2)
    num_R = side.num_R[order]
    place_P, end_R = places(side.begin_R[order], num_R), np.cumsum(num_R)
    moved_P = moved_U[place_P]
    for start in range(0, len(place_P), CHUNK):
        for step, stop in enumerate(stops(num_R - 1, end_R, start), start=1):
            end = min(stop, len(place_P) - step)
            differing_P = moved_P[start:end] ^ moved_P[start + step : end + step]
            where = partial(_in_rows, place_P=place_P[start:end], second_P=place_P[start + step : end + step])
            yield differing_P, where


class _Found:
    """Matches of one unit of work, handed over when they are many.

    Args:
        search: of the unit of work.
        asked, hashes: what places are of; the queries stand before the hashes, unless they are the hashes.
        begin_of_hashes: where the hashes begin.
    """

    def __init__(self, search: _Search, asked: _Side, hashes: _Side, begin_of_hashes: int) -> None:
        self._search, self._asked, self._hashes = search, asked, hashes
        self._begin_of_hashes = begin_of_hashes
        self._of_flip: dict[int, list[tuple[NDArray[np.int64], ...]]] = {}
        self._num = 0

    def compare(
        self, differing_P: NDArray[np.uint64], flips: tuple[int, ...], where: Where, xor: np.uint64
    ) -> None:
        """Look at pairs; those whose keys do not differ by `xor` are none."""
        for flip in flips:
            bits = self._search.flip_F[flip]
            turned_P = differing_P ^ bits if bits else differing_P
            near = np.flatnonzero(np.bitwise_count(turned_P) <= self._search.radius)
            if not len(near):
                continue
            near = near[(differing_P[near] >> _TOP) == xor]
            for mask, allowed in self._search.earlier:
                near = near[np.bitwise_count(turned_P[near] & mask) > allowed]
            if len(near):
                distance_M = np.bitwise_count(turned_P[near]).astype(np.int64)
                self._of_flip.setdefault(flip, []).append((*where(near), distance_M))
                self._num += len(near)

    def full(self) -> Iterator[Matches]:
        """What was found, once it is much."""
        if self._num >= _BLOCK:
            yield from self.rest()

    def rest(self) -> Iterator[Matches]:
        """What was found and not handed over yet."""
        for flip, found in self._of_flip.items():
            one_M, other_M, distance_M = (np.concatenate(column) for column in zip(*found, strict=True))
            if self._begin_of_hashes:
                one_M, other_M = (
                    np.minimum(one_M, other_M),
                    np.maximum(one_M, other_M) - self._begin_of_hashes,
                )
            yield Matches(self._asked.row_U[one_M], self._hashes.row_U[other_M], distance_M, flip)
        self._of_flip, self._num = {}, 0
