"""Kill ingest over every layout at drawn moments, rerun it, and compare with a run that nobody killed.

    python benchmarks/kill_formats.py sample_data/crawl --work DIR [--draws 6] [--writes 1] [--seed 1]

The crawl (a folder with manifest.csv) is written as a folder tree, CSV, JSONL and Parquet manifests, imagefolder, zip and
WebDataset tars. Each is ingested unbroken, then `--draws` times with SIGKILL to the whole process group at a moment
drawn uniformly over the unbroken run's wall time, then `--writes` times inside a write; see kill_resume.py for what
is compared. Exit code 0: all equal; 1: a difference, or something half-written under a final name; 3: too few kills
inside a write.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import layouts
from kill_resume import Harness, trials


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, rerun, compare; print every kill and a table at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a crawl with manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="empty or new folder")
    parser.add_argument("--layouts", default=",".join(layouts.LAYOUTS))
    parser.add_argument("--draws", type=int, default=6, help="uniform moments for each layout")
    parser.add_argument("--writes", type=int, default=1, help="kills inside a write for each layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("webclean")))
    parser.add_argument("--ingest-args", default="", help="more arguments of ingest, as one string")
    options = parser.parse_args(arguments)
    if options.work.exists() and any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty")
    sources = layouts.write(options.source, options.work / "sources")
    names = options.layouts.split(",")
    rng = random.Random(options.seed)
    print(f"seed {options.seed}, {os.cpu_count()} cores, {options.source}")
    rows = []
    for name in names:
        print(f"\n{name}", flush=True)
        work = options.work / name
        work.mkdir()
        extra = {"ingest": shlex.split(options.ingest_args)}
        harness = Harness(shlex.split(options.program), str(sources[name]), work.absolute(), extra)
        rows.append((name, trials(harness, "ingest", options, rng)[0]))
    print("\n| layout | kills | at drawn moments | inside a write | same bytes after the rerun |")
    print("|---|---|---|---|---|")
    for name, found in [*rows, ("all", [trial for _, some in rows for trial in some])]:
        drawn = sum(trial.moment.kind == "time" for trial in found)
        writes, good = sum(trial.in_write for trial in found), sum(trial.good for trial in found)
        print(f"| {name} | {len(found)} | {drawn} | {writes} | {good} of {len(found)} |")
    done = [trial for _, found in rows for trial in found]
    if not all(trial.good for trial in done):
        return 1
    return 0 if sum(trial.in_write for trial in done) >= min(5, len(names)) else 3


if __name__ == "__main__":
    sys.exit(main())
