"""Judges, weights and decisions of a drawn crawl: seconds and peak memory of each stage, by its own machinery.

    python benchmarks/weights_scale.py --work DIR [--rows 100000 300000 1000000] [--categories 100] [--dim 1280]
        [--stages judge-image judge-neighbors judge-text stage1 stage2 decide] [--out FILE]

`drawn_crawl` writes what ingest, features and text would have left. Each stage then runs in a process of its own, as `webclean
weight` runs it; peak memory is the kernel's (VmHWM), with the most of it that was memory of its own (RssAnon) and that was pages of
files (RssFile) in brackets, sampled. CPU seconds are what it would take alone on one core of the machine. With --drawn-predictions the judges are left out and their predictions drawn, which is how ten
million rows of weights are tried.
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
from typing import Any

from drawn_crawl import Crawl
from memory import Resident, forget_peak, resident

STAGES = ("judge-image", "judge-neighbors", "judge-text", "stage1", "stage2", "decide")


def configs() -> dict[str, Any]:
    """The config of each stage, as `webclean weight` builds it."""
    from webclean import config

    return {
        "judge-image": config.JudgeImageConfig(features="default"),
        "judge-neighbors": config.JudgeNeighborsConfig(),
        "judge-text": config.JudgeTextConfig(),
        "stage1": config.Stage1Config(),
        "stage2": config.Stage2Config(),
        "decide": config.DecideConfig(),
    }


def run_stage(folder: str, name: str, workers: int) -> None:
    """Execute one stage in this process; its seconds and result on stdout."""
    from webclean.engines.local import InlineEngine, LocalEngine
    from webclean.io.run_dir import RunDir
    from webclean.stages.base import Context, execute
    from webclean.stages.chain import BY_NAME

    forget_peak(os.getpid())
    engine = LocalEngine(workers) if workers else InlineEngine()
    context = Context(RunDir(folder), engine, note=lambda text: print(text, file=sys.stderr))
    before = time.process_time()
    found = execute(BY_NAME[name], configs()[name], context, force=True)
    spent = time.process_time() - before
    if isinstance(engine, LocalEngine):
        engine.close()
    print(json.dumps({"seconds": found.seconds, "cpu": spent, "result": found.result}))


def measure(folder: Path, name: str, workers: int) -> tuple[dict[str, Any], Resident]:
    """Execute one stage in a process of its own, watched.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, __file__, "--work", str(folder), "--one", name, "--workers", str(workers)]
    held = Resident()
    with (folder / "said.json").open("w+") as said:
        process = subprocess.Popen(command, stdout=said)
        while process.poll() is None:
            held = held.most(resident(process.pid))
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"{command} failed")
        said.seek(0)
        answer = json.load(said)
    return answer, held


def cell(held: Resident) -> str:
    """MiB of a process."""
    peak, anonymous, file = (value / 2**20 for value in (held.peak, held.anonymous, held.file))
    return f"{peak:.0f} ({anonymous:.0f}, {file:.0f})"


def main() -> None:
    """Draw, run, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs, which are kept")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--categories", type=int, default=100)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--drawn-predictions", action="store_true")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that count n-grams; not in CPU and peak"
    )
    parser.add_argument("--out", type=Path, help="file to which the table is added")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_stage(str(options.work), options.one, options.workers)
        return
    drawn = options.drawn_predictions
    stages = [name for name in options.stages if not (drawn and name.startswith("judge"))]
    lines = [
        "| rows | categories | stage | seconds | CPU seconds | peak (own, files), MiB |",
        "|--:|--:|---|--:|--:|--:|",
    ]
    for rows in options.rows:
        folder = options.work / f"{rows}-{options.categories}-{'drawn' if drawn else options.dim}"
        crawl = Crawl(folder, rows, options.categories, options.dim)
        crawl.images(texts=not drawn)
        crawl.masses()
        if drawn:
            for judge, sharpness in (("image", 6.0), ("neighbors", 5.0), ("text", 4.0)):
                crawl.predictions(judge, sharpness)
        elif {"judge-image", "judge-neighbors"} & set(stages):
            crawl.features()
        for name in stages:
            told, held = measure(folder, name, options.workers)
            print(told["result"], file=sys.stderr)
            lines.append(
                f"| {rows:,} | {options.categories:,} | {name} | {told['seconds']:.1f} | {told['cpu']:.1f} | {cell(held)} |"
            )
            print(lines[-1], file=sys.stderr)
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    head = [
        f"{datetime.date.today()}, {options.machine}, OMP_NUM_THREADS {threads}, load {os.getloadavg()[0]:.1f} at the end.",
        "",
        f"    python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}",
        "",
    ]
    text = "\n".join([*head, *lines, ""])
    print(text)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
