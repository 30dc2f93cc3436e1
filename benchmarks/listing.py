"""Seconds and peak memory of listing long manifests and many tars, without opening an image.

Writes manifests of the sizes that are asked for into a folder (about 0.3 GB for each million rows), lists each in a
process of its own, and prints how long that took and the most memory that the process ever held (VmHWM).

    python benchmarks/listing.py FOLDER [--rows 1000000,2000000] [--kind csv|jsonl|tar]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from memory import peak_bytes

WORDS = [
    "red",
    "fox",
    "sea",
    "ship",
    "old",
    "cat",
    "dog",
    "green",
    "photo",
    "stock",
    "wild",
    "bird",
    "owl",
    "dusk",
    "river",
    "light",
]
COLUMNS = ("path", "label", "query", "rank", "title", "description", "tags", "page_url", "split")
SHARD = 10_000


def rows(num: int) -> Iterator[list[str]]:
    """Rows of a crawl of a thousand queries, in no order; one in a thousand paths is listed twice."""
    rng = random.Random(0)
    for index in range(num):
        number = index % 1000
        name = f"{rng.getrandbits(64):016x}" if index % 500 else f"twice{index // 1000}"
        yield [
            f"images/{number:04d}/{name}.jpg", f"category {number}", f"category {number} photo", str(index // 1000),
            " ".join(rng.choices(WORDS, k=6)), " ".join(rng.choices(WORDS, k=15)), ";".join(rng.choices(WORDS, k=3)),
            f"https://example.org/{rng.getrandbits(48):x}", "train",
        ]  # fmt: skip


def write(folder: Path, num: int, kind: str) -> Path:
    """A manifest of so many rows, or tars of so many images with a JSON each; made once."""
    done = folder / f"{kind}-{num}"
    if done.exists():
        return done
    new = folder / f"{kind}-{num}.new"
    new.mkdir(parents=True)
    if kind == "tar":
        source = rows(num)
        for start in range(0, num, SHARD):
            with tarfile.open(new / f"{start // SHARD:05d}.tar", "w") as tar:
                for index in range(start, min(start + SHARD, num)):
                    text = json.dumps(dict(zip(COLUMNS[1:], next(source)[1:], strict=True))).encode()
                    for ending, data in (("jpg", b"\xff\xd8\xff" + bytes(100)), ("json", text)):
                        info = tarfile.TarInfo(f"{index:09d}.{ending}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
    else:
        with open(new / f"manifest.{kind}", "w", newline="") as file:
            if kind == "csv":
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(rows(num))
            else:
                file.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows(num))
    new.rename(done)
    return done


def measure(source: str) -> None:
    """List a folder; print rows, wall and processor seconds of list and fingerprint, and peak memory in MiB."""
    from webclean.config import IngestConfig
    from webclean.io.readers import listing

    clocks = [(time.perf_counter(), time.process_time())]
    found = listing.list_source(IngestConfig(source=source))
    clocks.append((time.perf_counter(), time.process_time()))
    listing.fingerprint(found, None)
    clocks.append((time.perf_counter(), time.process_time()))
    peak = peak_bytes()
    listed, printed = ([b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(clocks))
    print(
        json.dumps(
            {"rows": found.rows.num_rows, "list": listed, "fingerprint": printed, "peak": peak / 2**20}
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="1000000,2000000")
    parser.add_argument("--kind", choices=("csv", "jsonl", "tar"), default="csv")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    print(
        "| rows | list, s | fingerprint, s | processor time a row, us | peak memory, MiB |\n|---|---|---|---|---|"
    )
    for num in map(int, options.rows.split(",")):
        source = write(options.folder, num, options.kind)
        command = [sys.executable, __file__, str(options.folder), "--measure", str(source)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        a_row = 1e6 * (found["list"][1] + found["fingerprint"][1]) / found["rows"]
        print(
            f"| {found['rows']:,} | {found['list'][0]:.0f} | {found['fingerprint'][0]:.0f} | {a_row:.0f}"
            f" | {found['peak']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
