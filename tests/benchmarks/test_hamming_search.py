from __future__ import annotations

import numpy as np
from scripts import load_script

from webclean.io.run_dir import RunDir

load_script("benchmarks/memory.py")  # which the other two import
hamming_search = load_script("benchmarks/hamming_search.py")
dedup_memory = load_script("benchmarks/dedup_memory.py")


def test_both_sides_count_the_same_pairs():
    hash_N = np.random.default_rng(0).integers(0, 2**64, 500, dtype=np.uint64)
    hash_N[400:] = hash_N[:100] ^ np.uint64(0b1011)
    hash_N[390:400] = hash_N[0]
    found = [hamming_search.search(way, hash_N, 3) for way in ("faiss", "plain")]
    # Ten equal to the first, and with its neighbour: 100 planted pairs, 45 + 10 equal ones, 10 to the neighbour.
    assert [side["pairs"] for side in found] == [165, 165]
    assert found[0]["sum"] == found[1]["sum"]


def test_the_sum_tells_other_pairs_and_other_distances():
    one, two = np.array([1, 2]), np.array([3, 4])
    base = hamming_search.checksum(one, two, np.array([5, 6]))
    assert base == hamming_search.checksum(one[::-1], two[::-1], np.array([6, 5]))
    assert base != hamming_search.checksum(one, two[::-1], np.array([5, 6]))
    assert base != hamming_search.checksum(one, two, np.array([5, 7]))


def test_a_made_up_table_goes_through_dedup(tmp_path):
    run = RunDir(str(tmp_path))
    dedup_memory.make(run, 1500)
    found = dedup_memory.measured(run, 4)
    # Parts of 1024 and 476 images: near copies of 52 + 24 and equal ones of 21 + 10, none of which meet.
    assert found["rows"] == 2 * (76 + 31)
    assert [path for path in tmp_path.rglob("tiny/*") if path.is_file()] == []
