"""Exact search among 64-bit hashes: everything within a number of bits.

Three ways lead to the same matches. *Flat* compares every query with every hash (faiss). *Banded* cuts the 64 bits into
r + k bands: two hashes that differ in at most r bits are equal in at least k of them. For each choice of k bands the
hashes are sorted by those bits, and only those that have them in common are compared; a match is reported under the
first of the choices in which the two are equal, so once. *Parts* (`hamming_parts`) sort by 16 bits at a time and
compare those whose 16 bits differ little; many hashes and a wide radius are searched best so. What is cheapest is
estimated beforehand; it depends on how many hashes there are and how evenly they are spread.

Equal hashes are compared with others as one. Matches come in blocks, so that memory does not grow with their number.

Letters: N hashes searched in, Q queries, U distinct hashes in ascending order, R runs of one key, M matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from queue import Queue
from threading import Event, Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from webclean.ops import hamming_parts
from webclean.ops.hamming_parts import Plan
from webclean.ops.key_runs import CHUNK, NUM_BITS, longest_first, places, runs, stops
from webclean.ops.matches import Matches

_MOST_BANDS: Final = 6  # that must be equal
_SAMPLE: Final = 1 << 13  # hashes and queries from which the number of comparisons is estimated
_FLAT_CHUNK: Final = 1 << 25  # comparisons at once in faiss, whose results may be as many
_BLOCK: Final = 1 << 18  # matches handed over at once, of which each thread holds some

# Nanoseconds on one core at 2.5 GHz; they only choose between ways to the same result.
_PLACE_NS: Final = 70.0  # to bring a hash, or a query, to its place under one choice of bands
_FLIPPED: Final = 0.4  # of that, to bring sorted queries to the order of the hashes that they meet
_SELF_NS: Final = 1.8  # to compare two of one set that lie side by side
_PAIR_NS: Final = 4.5  # to compare a query and a hash
_FLAT_NS: Final = 1.2  # to compare two in faiss
_CHOICE_NS: Final = 300_000.0  # for a choice of bands, however few the hashes

_WORTH_PLANNING_NS: Final = 1e9  # a plan of parts takes some tenths of a second

_NO_BITS: Final = np.uint64(0)

Told = Callable[[float], None]
"""Told what share of a search is done, in [0, 1]."""


def _nobody(share: float) -> None:
    pass


def within_one(
    hash_N: NDArray[np.uint64],
    radius: int,
    told: Told = _nobody,
    *,
    flips: Sequence[np.uint64] = (_NO_BITS,),
) -> Iterator[Matches]:
    """All pairs of hashes that differ in at most `radius` bits, each once with query < found; in blocks, in no order.

    Args:
        hash_N: (N,) uint64.
        radius: 0 to 64.
        told: how far the search is.
        flips: no bits first, then others (see `between`); each pair comes once under each.
    """
    if not len(flips) or flips[0]:
        raise ValueError("the first of the flips is the one of no bits")
    hashes = _Distinct.of(hash_N, radius)
    yield from hashes.equal()
    way = _cheapest(hashes.hash_U, None, radius, flips)
    if isinstance(way, Plan):
        found = _in_threads(hamming_parts.near(way, None, hashes.hash_U, radius, flips), told)
        yield from _in_order(found, hashes)
        return
    yield from _in_order(_within(hashes.hash_U, radius, _share(told, 0, 1, len(flips)), way), hashes)
    if len(flips) > 1:
        rest = _share(told, 1, len(flips) - 1, len(flips))
        for matches in between(hash_N, hash_N, radius, flips=flips[1:], told=rest):
            once = matches.query_M < matches.found_M
            yield Matches(
                matches.query_M[once], matches.found_M[once], matches.distance_M[once], matches.flip + 1
            )


def _share(told: Told, done: int, num: int, of: int) -> Told:
    """Tells what share of all searches is done, when told that of some that follow others."""
    return lambda share: told((done + num * share) / of)


def _in_order(found: Iterator[Matches], hashes: _Distinct) -> Iterator[Matches]:
    """Matches of distinct hashes as those of all positions, with query < found."""
    for matches in found:
        for pairs in _expanded(matches, hashes, hashes):
            low_M, high_M = np.minimum(pairs.query_M, pairs.found_M), np.maximum(pairs.query_M, pairs.found_M)
            yield Matches(low_M, high_M, pairs.distance_M, pairs.flip)


def _within(hash_U: NDArray[np.uint64], radius: int, told: Told, num_equal: int | None) -> Iterator[Matches]:
    """Pairs of distinct hashes, by bands or compared each with each."""
    if num_equal is None:
        return _ahead(_flat_within(hash_U, radius, told))
    return _in_threads([_near_within(hash_U, radius, choice) for choice in _choices(radius, num_equal)], told)


def between(
    query_Q: NDArray[np.uint64],
    hash_N: NDArray[np.uint64],
    radius: int,
    *,
    flips: Sequence[np.uint64] = (_NO_BITS,),
    told: Told = _nobody,
) -> Iterator[Matches]:
    """All hashes that differ from a query in at most `radius` bits; in blocks, in no order.

    Args:
        query_Q: (Q,) uint64.
        hash_N: (N,) uint64.
        radius: 0 to 64.
        flips: the search is for the queries with these bits turned over, for each of the flips; cheaper than
            for so many queries, which would have to be sorted.
        told: how far the search is.
    """
    hashes = _Distinct.of(hash_N, radius)
    queries = hashes if query_Q is hash_N else _Distinct.of(query_Q, radius)
    way = _cheapest(hashes.hash_U, queries.hash_U, radius, flips)
    if isinstance(way, Plan):
        work = hamming_parts.near(way, queries.hash_U, hashes.hash_U, radius, flips)
        found = _in_threads(work, told)
    elif way is None:
        found = _ahead(_flat_between(queries.hash_U, hashes.hash_U, radius, flips, told))
    else:
        work = [
            _near_between(queries.hash_U, hashes.hash_U, radius, choice, flips)
            for choice in _choices(radius, way)
        ]
        found = _in_threads(work, told)
    for matches in found:
        yield from _expanded(matches, queries, hashes)


class HammingIndex:
    """Hashes to search in, for queries whose matches fit into memory.

    Args:
        hash_N: (N,) uint64.
    """

    def __init__(self, hash_N: NDArray[np.uint64]) -> None:
        self._hash_N = np.ascontiguousarray(hash_N, dtype=np.uint64)

    def within(self, query_Q: NDArray[np.uint64], radius: int) -> Matches:
        """All hashes that differ from a query in at most `radius` bits, sorted by query, then by place.

        Args:
            query_Q: (Q,) uint64.
            radius: 0 to 64.
        """
        blocks = [_NO_MATCHES, *between(query_Q, self._hash_N, radius)]
        query_M, found_M, distance_M = (
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("query_M", "found_M", "distance_M")
        )
        order = np.lexsort((found_M, query_M))
        return Matches(query_M[order], found_M[order], distance_M[order])


_NOTHING = np.empty(0, dtype=np.int64)
_NO_MATCHES: Final = Matches(_NOTHING, _NOTHING, _NOTHING)


@dataclass(frozen=True, slots=True)
class _Distinct:
    """Distinct hashes in ascending order, and where each stands.

    Attributes:
        hash_U: uint64.
        row_N: int64, positions of the first one, then of the second, ...
        begin_U, num_U: where each one's positions begin in `row_N`, and how many they are.
    """

    hash_U: NDArray[np.uint64]
    row_N: NDArray[np.int64]
    begin_U: NDArray[np.int64]
    num_U: NDArray[np.int64]

    @classmethod
    def of(cls, hash_N: NDArray[np.uint64], radius: int) -> _Distinct:
        if not 0 <= radius <= NUM_BITS:
            raise ValueError(f"a radius is a number from 0 to {NUM_BITS}, got {radius}")
        hash_N = np.ascontiguousarray(hash_N, dtype=np.uint64)
        row_N = np.argsort(hash_N, kind="stable")
        sorted_N = hash_N[row_N]
        begin_U, num_U = runs(sorted_N, NUM_BITS)
        return cls(sorted_N[begin_U], row_N, begin_U, num_U)

    def equal(self) -> Iterator[Matches]:
        """All pairs of equal hashes, with query < found."""
        for one, several in _ragged(self.begin_U, np.where(self.num_U > 1, self.num_U, 0)):
            # What comes after each in its own run.
            end = self.begin_U[one] + self.num_U[one]
            for first, second in _ragged(several + 1, end - several - 1):
                yield Matches(
                    self.row_N[several[first]], self.row_N[second], np.zeros(len(first), dtype=np.int64)
                )


def _ragged(
    begin_E: NDArray[np.int64], num_E: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each e with each of `num_E` places from `begin_E`; so many at once as `_BLOCK`, or as one e has."""
    end_E = np.cumsum(num_E)
    first = 0
    while first < len(num_E):
        done = int(end_E[first] - num_E[first])
        last = max(first + 1, int(np.searchsorted(end_E, done + _BLOCK, side="right")))
        num = num_E[first:last]
        if num.any():
            element = np.repeat(np.arange(first, last), num)
            shift = begin_E[first:last] - (end_E[first:last] - num - done)
            yield element, np.arange(len(element)) + np.repeat(shift, num)
        first = last


def _expanded(matches: Matches, queries: _Distinct, hashes: _Distinct) -> Iterator[Matches]:
    """Matches of distinct hashes as those of all positions."""
    if len(queries.row_N) == len(queries.hash_U) and len(hashes.row_N) == len(hashes.hash_U):
        yield Matches(
            queries.row_N[matches.query_M], hashes.row_N[matches.found_M], matches.distance_M, matches.flip
        )
        return
    for match, query in _ragged(queries.begin_U[matches.query_M], queries.num_U[matches.query_M]):
        found_M = matches.found_M[match]
        for one, found in _ragged(hashes.begin_U[found_M], hashes.num_U[found_M]):
            yield Matches(
                queries.row_N[query[one]], hashes.row_N[found], matches.distance_M[match[one]], matches.flip
            )


def _flat_within(hash_U: NDArray[np.uint64], radius: int, told: Told) -> Iterator[Matches]:
    rows = max(1, _FLAT_CHUNK // max(1, len(hash_U)))
    for start in range(0, len(hash_U), rows):
        # Only what comes after a block is searched: half the work.
        found = _flat(hash_U[start : start + rows], hash_U[start:], radius)
        later = found.query_M < found.found_M
        yield Matches(found.query_M[later] + start, found.found_M[later] + start, found.distance_M[later])
        told(1.0 - (1.0 - min(1.0, (start + rows) / len(hash_U))) ** 2)


def _flat_between(
    query_U: NDArray[np.uint64],
    hash_U: NDArray[np.uint64],
    radius: int,
    flips: Sequence[np.uint64],
    told: Told,
) -> Iterator[Matches]:
    rows = max(1, _FLAT_CHUNK // max(1, len(hash_U)))
    for start in range(0, len(query_U), rows):
        for flip, bits in enumerate(flips):
            found = _flat(query_U[start : start + rows] ^ bits, hash_U, radius)
            yield Matches(found.query_M + start, found.found_M, found.distance_M, flip)
        told(min(1.0, (start + rows) / len(query_U)))


def _flat(query_Q: NDArray[np.uint64], hash_N: NDArray[np.uint64], radius: int) -> Matches:
    import faiss

    index = faiss.IndexBinaryFlat(NUM_BITS)
    index.add(_octets(hash_N))
    limits, distance, found = index.range_search(_octets(query_Q), radius + 1)  # strictly below
    limits_Q1: NDArray[np.int64] = limits.astype(np.int64)
    query_M = np.repeat(np.arange(len(query_Q), dtype=np.int64), limits_Q1[1:] - limits_Q1[:-1])
    return Matches(query_M, found.astype(np.int64), distance.astype(np.int64))


def _octets(hash_N: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hash_N, dtype="<u8").view(np.uint8).reshape(-1, NUM_BITS // 8)


@dataclass(frozen=True, slots=True)
class _Swap:
    """Bits `low` to `low + width` change places with those `up` higher; the two do not overlap."""

    low: int
    up: int
    width: int

    def apply(self, hash_N: NDArray[np.uint64]) -> None:
        mask = np.uint64(((1 << self.width) - 1) << self.low)
        up = np.uint64(self.up)
        differing = hash_N >> up
        differing ^= hash_N
        differing &= mask
        hash_N ^= differing
        differing <<= up
        hash_N ^= differing


@dataclass(frozen=True, slots=True)
class _Choice:
    """Bands that must be equal.

    Attributes:
        swaps: bring their bits to the top of a hash.
        width: how many bits they are.
        earlier: masks, moved, of other bands: two that are equal in one of them were met under an earlier choice.
    """

    swaps: tuple[_Swap, ...]
    width: int
    earlier: tuple[np.uint64, ...]

    def sorted(self, hash_U: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The hashes with the bits of the bands on top, in ascending order."""
        moved_U = self.moved(hash_U)
        moved_U.sort()
        return moved_U

    def moved(self, hash_U: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The hashes with the bits of the bands on top."""
        moved_U = hash_U.copy()
        for start in range(0, len(moved_U), CHUNK):
            for swap in self.swaps:
                swap.apply(moved_U[start : start + CHUNK])
        return moved_U

    def restored(self, moved_M: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The bits of moved hashes in their own places."""
        restored_M = moved_M.copy()
        for swap in reversed(self.swaps):
            swap.apply(restored_M)
        return restored_M

    def is_first(self, differing_M: NDArray[np.uint64], unlike: np.uint64) -> NDArray[np.int64]:
        """Places of the pairs that are met under no earlier choice.

        Args:
            differing_M: the bits, moved, in which each two differ.
            unlike: bits in which they must not differ.
        """
        first = np.flatnonzero((differing_M & unlike) == 0) if unlike else np.arange(len(differing_M))
        for mask in self.earlier:
            first = first[(differing_M[first] & mask) != 0]
        return first


def _choices(radius: int, num_equal: int) -> list[_Choice]:
    """All ways to choose the equal bands; an earlier one wins."""
    num_bands = radius + num_equal
    # Wide bands lie on top, so that a band never overlaps the place to which it is moved.
    width, wide = divmod(NUM_BITS, num_bands)
    widths = [width + 1] * wide + [width] * (num_bands - wide)
    lows = [NUM_BITS - sum(widths[: band + 1]) for band in range(num_bands)]
    masks = [np.uint64(((1 << width) - 1) << low) for width, low in zip(widths, lows, strict=True)]
    choices = []
    for bands in combinations(range(num_bands), num_equal):
        swaps, top = [], NUM_BITS
        for band in bands:
            top -= widths[band]
            if top != lows[band]:
                swaps.append(_Swap(lows[band], top - lows[band], widths[band]))
        choice = _Choice(tuple(swaps), NUM_BITS - top, ())
        earlier = choice.moved(np.array([masks[b] for b in range(bands[-1]) if b not in bands], np.uint64))
        choices.append(replace(choice, earlier=tuple(earlier)))
    return choices


def _near_within(hash_U: NDArray[np.uint64], radius: int, choice: _Choice) -> Iterator[Matches]:
    """Pairs of distinct hashes that are equal in these bands, and in no earlier choice of bands."""
    moved_U = choice.sorted(hash_U)
    begin_R, num_R = runs(moved_U, choice.width)
    order = longest_first(num_R, 2)
    begin_R, num_R = begin_R[order], num_R[order]
    # Runs stand side by side, the longest first: those that have another so many places further on come first.
    moved_P, end_R = moved_U[places(begin_R, num_R)], np.cumsum(num_R)
    collected = _Collected(choice, radius, hash_U, hash_U)
    key_bits = np.uint64(((1 << choice.width) - 1) << (NUM_BITS - choice.width))
    for start in range(0, len(moved_P), CHUNK):
        for step, stop in enumerate(stops(num_R - 1, end_R, start), start=1):
            first_P = moved_P[start : min(stop, len(moved_P) - step)]
            # What lies so much further on may be in the next run.
            second_P = moved_P[start + step : start + step + len(first_P)]
            yield from collected.compare(first_P, second_P, key_bits)
    yield from collected.rest(key_bits)


def _near_between(
    query_U: NDArray[np.uint64],
    hash_U: NDArray[np.uint64],
    radius: int,
    choice: _Choice,
    flips: Sequence[np.uint64],
) -> Iterator[Matches]:
    """Queries and hashes, both distinct, that are equal in these bands, and in no earlier choice of bands."""
    moved_U = choice.sorted(hash_U)
    asked_U = moved_U if query_U is hash_U else choice.sorted(query_U)
    shift = np.uint64(NUM_BITS - choice.width)
    asked_R, num_asked_R = runs(asked_U, choice.width)
    begin_R, num_R = runs(moved_U, choice.width)
    if not len(begin_R) or not len(asked_R):
        return
    key_R, key_of_asked_R = moved_U[begin_R] >> shift, asked_U[asked_R] >> shift
    for flip, bits in enumerate(flips):
        moved_bits = choice.moved(np.array([bits]))
        wanted_R = key_of_asked_R ^ (moved_bits >> shift)
        same_R = np.minimum(np.searchsorted(key_R, wanted_R), len(key_R) - 1)
        num_found_R = np.where(key_R[same_R] == wanted_R, num_R[same_R], 0)
        collected = _Collected(choice, radius, query_U, hash_U, flip, moved_bits)
        order = longest_first(num_found_R, 1)
        asked_P = asked_U[places(asked_R[order], num_asked_R[order])]
        asked_P ^= moved_bits
        begin_P = np.repeat(begin_R[same_R[order]], num_asked_R[order])
        num_found_R, end_R = num_found_R[order], np.cumsum(num_asked_R[order])
        for start in range(0, len(asked_P), CHUNK):
            for step, stop in enumerate(stops(num_found_R, end_R, start)):
                second_P = moved_U[begin_P[start:stop] + step]
                yield from collected.compare(asked_P[start:stop], second_P, _NO_BITS)
        yield from collected.rest(_NO_BITS)


class _Collected:
    """Matches under one choice, handed over when they are many."""

    def __init__(
        self,
        choice: _Choice,
        radius: int,
        query_U: NDArray[np.uint64],
        hash_U: NDArray[np.uint64],
        flip: int = 0,
        moved_bits: NDArray[np.uint64] | np.uint64 = _NO_BITS,
    ) -> None:
        self._choice, self._radius, self._query_U, self._hash_U = choice, radius, query_U, hash_U
        self._flip, self._moved_bits = flip, moved_bits
        self._near: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._found: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._num_near = self._num = 0

    def compare(
        self, first_P: NDArray[np.uint64], second_P: NDArray[np.uint64], unlike: np.uint64
    ) -> Iterator[Matches]:
        """Look at pairs of moved hashes; a pair that differs in a bit of `unlike` is none."""
        near = np.flatnonzero(np.bitwise_count(first_P ^ second_P) <= self._radius)
        if len(near):
            self._near.append((first_P[near], second_P[near]))
            self._num_near += len(near)
            if self._num_near >= CHUNK:
                self._sift(unlike)
            if self._num >= _BLOCK:
                yield self._handed_over()

    def rest(self, unlike: np.uint64) -> Iterator[Matches]:
        """What was found and not handed over yet."""
        self._sift(unlike)
        if self._num:
            yield self._handed_over()

    def _sift(self, unlike: np.uint64) -> None:
        """Leave out what was met under an earlier choice: for many at once, as it is done so often."""
        if not self._near:
            return
        first_M, second_M = (np.concatenate([near[i] for near in self._near]) for i in range(2))
        new = self._choice.is_first(first_M ^ second_M, unlike)
        self._found.append((first_M[new], second_M[new]))
        self._num += len(new)
        self._near, self._num_near = [], 0

    def _handed_over(self) -> Matches:
        first_M, second_M = (np.concatenate([found[i] for found in self._found]) for i in range(2))
        distance_M = np.bitwise_count(first_M ^ second_M).astype(np.int64)
        # Hashes are distinct and sorted: the hash itself tells its place.
        query_M = np.searchsorted(self._query_U, self._choice.restored(first_M ^ self._moved_bits))
        found_M = np.searchsorted(self._hash_U, self._choice.restored(second_M))
        self._found, self._num = [], 0
        return Matches(query_M, found_M, distance_M, self._flip)


def _cheapest(
    hash_U: NDArray[np.uint64],
    query_U: NDArray[np.uint64] | None,
    radius: int,
    flips: Sequence[np.uint64],
) -> Plan | int | None:
    """The way to search, a plan of parts, a number of equal bands or None for each with each; all find the same.

    Args:
        query_U: None for the hashes themselves, each pair once.
    """
    if query_U is None:
        best, ns = _bands(hash_U, None, radius)
        ns += _bands(hash_U, hash_U, radius, len(flips) - 1)[1] if len(flips) > 1 else 0.0
        # A hash that is near itself, turned, is no pair; but two equal ones are, and parts meet no equal ones.
        if any(int(bits).bit_count() <= radius for bits in flips[1:]):
            return best
    else:
        best, ns = _bands(hash_U, query_U, radius, len(flips))
    if ns < _WORTH_PLANNING_NS:
        return best
    plan = hamming_parts.plan(query_U, hash_U, radius, flips)
    return plan if plan.ns < ns else best


def _bands(
    hash_U: NDArray[np.uint64], query_U: NDArray[np.uint64] | None, radius: int, num_flips: int = 1
) -> tuple[int | None, float]:
    """How many equal bands make the search cheapest, None where it is cheaper to compare all; nanoseconds."""
    num, num_queries = len(hash_U), len(hash_U) if query_U is None else len(query_U)
    if not num or not num_queries:
        return None, 0.0
    rng = np.random.default_rng(0)
    some = hash_U if num <= _SAMPLE else hash_U[rng.choice(num, _SAMPLE, replace=False)]
    if query_U is None:
        asked, num_compared, compare_ns, placed = None, len(some) * (len(some) - 1), _SELF_NS, float(num)
        cheapest = _FLAT_NS * num * num / 2
    else:
        few = num_queries <= _SAMPLE
        asked = query_U if few else query_U[rng.choice(num_queries, _SAMPLE, replace=False)]
        num_compared, compare_ns = len(some) * len(asked), _PAIR_NS * num_flips
        placed = num + num_queries + _FLIPPED * num_queries * num_flips
        cheapest = _FLAT_NS * num * num_queries * num_flips
    scale = num * num_queries / max(1, num_compared)
    best = None
    for num_equal in range(1, min(_MOST_BANDS, NUM_BITS - radius) + 1):
        num_choices = comb(radius + num_equal, num_equal)
        fixed = num_choices * (_PLACE_NS * placed + _CHOICE_NS)
        if fixed >= cheapest:
            continue
        # A few of the choices tell how many hashes share the bands of a query.
        chosen = _choices(radius, num_equal)[:: max(1, num_choices // 8)]
        shared = sum(_num_shared(some, asked, choice) for choice in chosen)
        cost = fixed + compare_ns * scale * num_choices * shared / len(chosen)
        if cost < cheapest:
            cheapest, best = cost, num_equal
    return best, cheapest


def _num_shared(some_N: NDArray[np.uint64], asked_Q: NDArray[np.uint64] | None, choice: _Choice) -> int:
    """In how many pairs, of a query and a hash or of two different hashes, both are equal in some bands."""
    shift = np.uint64(NUM_BITS - choice.width)
    key_N = choice.sorted(some_N) >> shift
    if asked_Q is None:
        asked, itself = key_N, len(key_N)
    else:
        asked, itself = choice.sorted(asked_Q) >> shift, 0
    num_Q = np.searchsorted(key_N, asked, side="right") - np.searchsorted(key_N, asked, side="left")
    return int(num_Q.sum()) - itself


def _ahead(found: Iterator[Matches]) -> Iterator[Matches]:
    """The same matches, searched for while the caller looks at those before."""
    return _in_threads([found], _nobody)


def _in_threads(work: list[Iterator[Matches]], told: Told) -> Iterator[Matches]:
    """All that some iterators yield, worked off by as many threads as faiss would take."""
    # NumPy lets others run while it sorts and compares.
    import faiss

    num_open = faiss.omp_get_max_threads()
    ready: Queue[Matches | int | None] = Queue(maxsize=2 * num_open)
    open_work, lock, stop = iter(work), Lock(), Event()

    def work_off() -> None:
        try:
            while not stop.is_set():
                with lock:
                    part = next(open_work, None)
                if part is None:
                    return
                for matches in part:
                    ready.put(matches)
                    if stop.is_set():
                        return
                ready.put(1)
        except BaseException:
            stop.set()
            raise
        finally:
            ready.put(None)

    num_done = 0
    with ThreadPoolExecutor(num_open) as pool:
        workers = [pool.submit(work_off) for _ in range(num_open)]
        try:
            while num_open:
                matches = ready.get()
                if isinstance(matches, Matches):
                    yield matches
                elif matches is None:
                    num_open -= 1
                else:
                    num_done += matches
                    told(num_done / len(work))
        finally:
            # Whoever waits for a place in the queue must get one, also where nobody wants more matches.
            stop.set()
            while num_open:
                num_open -= ready.get() is None
    for worker in workers:
        worker.result()
