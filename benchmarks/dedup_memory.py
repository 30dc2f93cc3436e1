"""Peak memory of dedup on made-up tables of images, and how much each further image adds.

    python benchmarks/dedup_memory.py [--rows 250000 500000 1000000] [--radius 8] [--work WORK]
        [--out benchmarks/results/dedup_memory.md]

The table has what `ingest` would have written, without pictures: random hashes and tiny copies, one in twenty a near
copy of the image before it and one in fifty equal to it. Each dedup is a process of its own on the same table.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory import peak_bytes

from webclean import schema
from webclean.config import DedupConfig
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages import dedup
from webclean.stages.base import Context

NEAR, EQUAL = 20, 50  # one in so many


def main() -> None:
    """Make the tables, run each in a process of its own, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--radius", type=int, default=8)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a run folder: dedup in this process
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(RunDir(options.one), options.radius)))
        return
    lines = [
        f"# Memory of dedup\n\n{datetime.date.today().isoformat()}. Radius {options.radius}, eight views.\n",
        "| images | rows of `duplicates` | seconds | processor seconds | peak memory, MiB |",
        "|---|---|---|---|---|",
    ]
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        for rows in options.rows:
            run = (options.work or Path(temporary)) / f"rows-{rows}"
            make(RunDir(str(run)), rows)
            command = [sys.executable, __file__, "--one", str(run), "--radius", str(options.radius)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            shutil.rmtree(run)
            peaks.append(found["mebibytes"])
            lines.append(
                f"| {rows:,} | {found['rows']:,} | {found['seconds']:.0f} | {found['processor']:.0f} |"
                f" {found['mebibytes']:.0f} |"
            )
            print(lines[-1], flush=True)
    slope, start = np.polyfit(options.rows, np.array(peaks) * 2**20, 1)
    lines.append(
        f"\n{slope:.0f} bytes an image, so {(start + slope * 10**7) / 2**30:.1f} GiB for ten million."
        if len(peaks) > 1
        else ""
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def make(run: RunDir, rows: int) -> None:
    """Write `images` in the parts that ingest writes."""
    rng = np.random.default_rng(0)
    run.make()
    nothing: dict[str, Any] = {column.name: None for column in schema.IMAGES_TABLE.columns}
    for index, start in enumerate(range(0, rows, tables.PART_ROWS)):
        num = min(tables.PART_ROWS, rows - start)
        hash_N = rng.integers(0, 2**64, num, dtype=np.uint64)
        tiny_N = rng.integers(0, 256, (num, 768)).astype(np.uint8)
        content_N = np.arange(start, start + num)
        near, equal = np.arange(1, num, NEAR), np.arange(3, num, EQUAL)
        hash_N[near], tiny_N[near] = hash_N[near - 1] ^ np.uint64(0b101), tiny_N[near - 1]
        hash_N[equal], tiny_N[equal], content_N[equal] = (
            hash_N[equal - 1],
            tiny_N[equal - 1],
            content_N[equal - 1],
        )
        columns = {name: [value] * num for name, value in nothing.items()} | {
            schema.IMAGE_ID: [f"{row:016x}" for row in range(start, start + num)],
            schema.SOURCE_KEY: [f"some/folder/{row:09d}.jpg" for row in range(start, start + num)],
            schema.URI: [f"file:///some/folder/{row:09d}.jpg" for row in range(start, start + num)],
            schema.CATEGORY: [f"category {row % 7}" for row in range(start, start + num)],
            schema.QUERY: ["query"] * num,
            schema.FILE_NAME: [f"{row:09d}.jpg" for row in range(start, start + num)],
            schema.WIDTH: [300] * num,
            schema.HEIGHT: [200] * num,
            schema.NBYTES: [20_000] * num,
            schema.SHA256: [hashlib.sha256(str(row).encode()).hexdigest() for row in content_N.tolist()],
            schema.PHASH: hash_N.tolist(),
            schema.IS_GRAY: [False] * num,
            schema.TINY: [tiny.tobytes() for tiny in tiny_N],
            schema.STATUS: [schema.STATUS_OK] * num,
        }
        tables.write_part(run, schema.IMAGES, index, columns, schema.IMAGES_TABLE)


def measured(run: RunDir, radius: int) -> dict[str, float]:
    """Dedup in this process."""
    start = time.perf_counter()
    counts = dedup.run(DedupConfig(radius=radius), Context(run=run, engine=InlineEngine()))
    assert counts.total == counts.forwarded
    return {
        "rows": tables.num_rows(run, schema.DUPLICATES),
        "seconds": time.perf_counter() - start,
        "processor": time.process_time(),
        "mebibytes": peak_bytes() / 2**20,
    }


if __name__ == "__main__":
    main()
