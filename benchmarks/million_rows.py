"""Ingest of a million tiny images in tars: rate, and memory at a quarter of the rows and at all of them.

    python benchmarks/million_rows.py --work DIR [--rows 1000000] [--radius 8] [--out benchmarks/results/million_rows.md]

The images are drawn from a seed: 24 x 24 pixels, PNG, half of them a texture on a slope of colours, half blocks of colour; one in
fifty has the bytes of an earlier one. 10,000 lie in each WebDataset tar, with a JSON of rank and title each. Both runs are the command
as a user types it, two workers, with all stages of ingest. Peak memory is the kernel's own (VmHWM, begun anew with each stage), of
the command and of its largest worker; what of it is memory of its own (RssAnon) and what pages of files (RssFile) is sampled.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from memory import Resident, forget_peak, peak_bytes, resident
from PIL import Image

from webclean import schema

SHARD_ROWS = 10_000
SIDE = 24
NUM_CATEGORIES = 1_000
COPY_EVERY = 50
STAGES = ((schema.IMAGES, "ingest"), (schema.DUPLICATES, "dedup"), (schema.QUALITY, "quality"))
RECORD = "run.json"
START = "listing and start-up"
WEBCLEAN = "from webclean.cli.app import main; main()"


def draw(number: int) -> bytes:
    """The PNG of one image."""
    rng = np.random.default_rng(number)
    if number % 2:
        slope = np.linspace(0, 1, SIDE)[:, None, None] * rng.uniform(-90, 90, 3)
        texture = rng.normal(0, 25, (SIDE, SIDE, 1))
        pixels = np.clip(rng.uniform(60, 190, 3) + slope + texture, 0, 255).astype(np.uint8)
    else:
        blocks = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        pixels = np.ascontiguousarray(blocks.repeat(SIDE // 6, axis=0).repeat(SIDE // 6, axis=1))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_shard(folder: Path, shard: int, num: int) -> None:
    """One tar of `num` images; one that stands already stays."""
    path = folder / f"{shard:05d}.tar"
    if path.exists():
        return
    with tarfile.open(path.with_suffix(".part"), "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in range(num):
            number = shard * SHARD_ROWS + row
            is_copy = number % COPY_EVERY == COPY_EVERY - 1
            texts = {
                "query": f"thing {number % NUM_CATEGORIES}",
                "rank": number // NUM_CATEGORIES,
                "title": f"a picture of thing {number % NUM_CATEGORIES}, number {number}",
            }
            for ending, data in (
                ("png", draw(number // 2 if is_copy else number)),
                ("json", json.dumps(texts).encode()),
            ):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    path.with_suffix(".part").rename(path)


@dataclass(frozen=True)
class Measured:
    """One run: rows, wall seconds, bytes of its largest worker, seconds and memory of the command in each stage."""

    rows: int
    seconds: float
    worker_bytes: int
    stages: dict[str, float]
    held: dict[str, Resident]

    @property
    def main_bytes(self) -> int:
        """Most that the command has held."""
        return max(held.peak for held in self.held.values())


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def stage_of(run: Path) -> str:
    """What a command is at, told by what it has written."""
    if not (run / schema.IMAGES).exists():
        return START
    open_stages = (stage for artefact, stage in STAGES if not (run / artefact / RECORD).exists())
    return next(open_stages, STAGES[-1][1])


def ingest(source: Path, run: Path, rows: int, radius: int) -> Measured:
    """Ingest, watched.

    Raises:
        SystemExit: it failed.
    """
    shutil.rmtree(run, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        WEBCLEAN,
        "ingest",
        str(source),
        str(run),
        "--workers",
        "2",
        "--json",
        "--radius",
        str(radius),
    ]
    started = time.perf_counter()
    with (run.parent / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        held: dict[str, Resident] = {START: Resident()}
        worker_bytes = 0
        while process.poll() is None:
            if (stage := stage_of(run)) not in held:
                forget_peak(process.pid)
                held[stage] = Resident()
            held[stage] = held[stage].most(resident(process.pid))
            worker_bytes = max([worker_bytes, *(peak_bytes(child) for child in children(process.pid))])
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command} failed:\n{said.read()[-2000:]}")
    stages = {}
    for artefact, stage in STAGES:
        record = json.loads((run / artefact / RECORD).read_text())
        stages[stage] = record["clock"]["seconds"]
        if record["counts"]["total"] != rows:
            raise SystemExit(f"{artefact}: {record['counts']} of {rows} rows")
    return Measured(rows, seconds, worker_bytes, {START: seconds - sum(stages.values()), **stages}, held)


def mebibytes(held: Resident) -> str:
    """A cell of the table."""
    peak, anonymous, file = (value / 2**20 for value in (held.peak, held.anonymous, held.file))
    return f"{peak:.0f} ({anonymous:.0f}, {file:.0f})"


def main() -> None:
    """Draw, ingest twice, print or write a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the tars, kept, and the runs")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--radius", type=int, default=8, help="of the search for copies; ingest's default is 12"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--machine", default=f"{os.cpu_count()} cores", help="what to write about the machine"
    )
    options = parser.parse_args()
    found = []
    for rows in (options.rows // 4, options.rows):
        tars = options.work / f"tars-{rows}"
        tars.mkdir(parents=True, exist_ok=True)
        for shard in range(-(-rows // SHARD_ROWS)):
            write_shard(tars, shard, min(SHARD_ROWS, rows - shard * SHARD_ROWS))
            if not shard % 10:
                print(f"{rows} rows: tar {shard} is written", file=sys.stderr)
        found.append(ingest(tars, options.work / "run", rows, options.radius))
        print(found[-1], file=sys.stderr)
    few, many = found
    more = many.rows - few.rows
    names = list(many.stages)
    lines = [
        "# A million rows",
        "",
        f"{datetime.date.today()}, {options.machine}, load {os.getloadavg()[0]:.1f} at the end.",
        "",
        f"    python benchmarks/{Path(__file__).name} --work DIR --rows {options.rows} --radius {options.radius}",
        "",
        f"| rows | rows/s | {' | '.join(f'{name}, s' for name in names)} | peak of the command | of a worker |",
        "|---" * (4 + len(names)) + "|",
        *(
            f"| {one.rows:,} | {one.rows / one.seconds:.0f} | {' | '.join(f'{one.stages[name]:.0f}' for name in names)} |"
            f" {one.main_bytes / 2**20:.0f} MiB | {one.worker_bytes / 2**20:.0f} MiB |"
            for one in found
        ),
        "",
        "Peak of the command in each stage, in brackets the most of its own memory and the most of pages of files, MiB:",
        "",
        f"| rows | {' | '.join(names)} |",
        "|---" * (1 + len(names)) + "|",
        *(f"| {one.rows:,} | {' | '.join(mebibytes(one.held[name]) for name in names)} |" for one in found),
        "",
        (
            f"Slope: {(many.main_bytes - few.main_bytes) / more:.0f} bytes and"
            f" {(many.seconds - few.seconds) / more * 1e6:.0f} us a row."
        ),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
