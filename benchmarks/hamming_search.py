"""Exact Hamming search: every pair of 64-bit hashes within a radius, webclean beside faiss's flat index.

    python benchmarks/hamming_search.py --hashes RUN ... [--threads 2] [--radius 8] [--ten-million]
        [--out benchmarks/results/hamming_search.md]

Hashes are random codes, or those of the runs' images, repeated with noise: each copy has 0 to 16 of its bits turned
over, so that they lie as unevenly as a crawl's do, with many neighbours. On 100,000 both search and must find the
same; on a million webclean alone, plain and under the eight flips and quarter turns; with --ten-million also on ten
million random codes, and on ten million repeated ones. Each search is a process of its own, whose peak memory is
printed less that of a Python that has imported the same.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from memory import peak_bytes
from numpy.typing import NDArray

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import duplicates, hamming

MOST_FLIPPED = 16


def main() -> None:
    """Run every search in a process of its own and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hashes", nargs="*", default=[], help="runs whose images' hashes are repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--radius", type=int, default=8)
    parser.add_argument("--ten-million", action="store_true")
    parser.add_argument("--only-ten-million", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # kind,number,way: one search, in this process
    options = parser.parse_args()
    if options.one is not None:
        kind, num, way = options.one.split(",")
        print(json.dumps(search(way, codes(kind, int(num), options.hashes), options.radius)))
        return
    kinds = ["random", "repeated"] if options.hashes else ["random"]
    wanted = [] if options.only_ten_million else [(k, 100_000, w) for k in kinds for w in ("faiss", "plain")]
    wanted += (
        [] if options.only_ten_million else [(k, 10**6, w) for k in kinds for w in ("plain", "eight views")]
    )
    if options.ten_million or options.only_ten_million:
        wanted += [(kind, 10**7, "plain") for kind in kinds]
    lines = [
        f"# Hamming search\n\n{datetime.date.today().isoformat()}. Radius {options.radius}, {options.threads} threads.\n",
        "| hashes | | search | pairs found | seconds | hashes/s | processor seconds | memory, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for kind, num, way in wanted:
        command = [sys.executable, __file__, "--one", f"{kind},{num},{way}", "--radius", str(options.radius)]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run(
            [*command, "--hashes", *options.hashes],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        name = "faiss flat" if way == "faiss" else f"webclean, {way}"
        lines.append(
            f"| {num:,} | {kind} | {name} | {found['pairs']:,} | {found['seconds']:.1f} | {num / found['seconds']:,.0f}"
            f" | {found['processor']:.1f} | {found['mebibytes']:.0f} |"
        )
        print(lines[-1], flush=True)
        if way == "faiss":
            flat = found
        elif num == 100_000 and (found["pairs"], found["sum"]) != (flat["pairs"], flat["sum"]):
            raise SystemExit(f"webclean and faiss do not find the same: {found} and {flat}")
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def codes(kind: str, num: int, runs: list[str]) -> NDArray[np.uint64]:
    """Random codes, or the hashes of the runs' images repeated with noise."""
    rng = np.random.default_rng(0)
    if kind == "random":
        return rng.integers(0, 2**64, num, dtype=np.uint64)
    found = []
    for run in runs:
        rows = tables.read(RunDir(run), schema.IMAGES, schema.IMAGES_TABLE, (schema.PHASH,))
        found.append(rows.column(schema.PHASH).drop_null().to_numpy().astype(np.uint64))
    real = np.unique(np.concatenate(found))
    hash_N = np.resize(rng.permutation(real), num)
    # So many turns of one random bit; two of them may undo each other.
    num_turned = rng.integers(0, MOST_FLIPPED + 1, num)
    for turn in range(MOST_FLIPPED):
        bit = np.uint64(1) << rng.integers(0, 64, num, dtype=np.uint64)
        hash_N ^= np.where(num_turned > turn, bit, np.uint64(0))
    return hash_N


def search(way: str, hash_N: NDArray[np.uint64], radius: int) -> dict[str, float]:
    """Search, counting; `sum` is the same for the same pairs in any order."""
    import faiss

    before, start, processor = peak_bytes(), time.perf_counter(), time.process_time()
    pairs = total = 0
    if way == "faiss":
        octets = hash_N.view(np.uint8).reshape(-1, 8)
        index = faiss.IndexBinaryFlat(64)
        index.add(octets)
        for first in range(0, len(octets), 10_000):
            limits, distance, found = index.range_search(octets[first : first + 10_000], radius + 1)
            query = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64))) + first
            once = query < found
            pairs += int(once.sum())
            total += checksum(query[once], found[once], distance[once].astype(np.int64))
    elif way == "plain":
        for block in hamming.within_one(hash_N, radius):
            pairs += len(block.query_M)
            total += checksum(block.query_M, block.found_M, block.distance_M)
    else:
        for block in duplicates.candidates(hash_N, None, radius):
            pairs += len(block)
    return {
        "pairs": pairs,
        "sum": total,
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "mebibytes": (peak_bytes() - before + hash_N.nbytes) / 2**20,
    }


def checksum(a: NDArray[np.int64], b: NDArray[np.int64], distance: NDArray[np.int64]) -> int:
    """A number that another pair, or another distance, would change."""
    mixed = (a * 1_000_003 + b) * 67 + distance
    return int((mixed * mixed % 1_000_000_007).sum())


if __name__ == "__main__":
    main()
