"""Ingest against CleanVision on the same images, in one run: images per second and memory.

    python benchmarks/ingest_vs_cleanvision.py FOLDER [--repeats 3] [--out benchmarks/results/ingest.md]

CleanVision stops at the first file that it cannot decode and does not look at endings that it does not know,
so both get a copy of the images that decode, with the ending of their format. Both are timed as a person
waits for them: a fresh process, imports and start-up included, two worker processes, median of the repeats,
taken in turns; the seconds of processor beside it are what a busy machine changes least. webclean runs `ingest` with its two stages (verify, hash, measure; group duplicates);
CleanVision runs `find_issues` with all its checks. Memory is the sum of the resident memory of all processes
of a side, sampled every 50 ms, at the images once and four times (the copies are links).
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ENDINGS = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tiff",
}
CLEANVISION_SEES = (".jpg", ".png", ".gif", ".webp")
CLEANVISION = """
import sys
from cleanvision import Imagelab
def main():
    Imagelab(data_path=sys.argv[1]).find_issues(n_jobs=2, verbose=False)
if __name__ == "__main__":
    main()
"""
WORKERS = 2


@dataclass(frozen=True)
class Measured:
    """One run: wall seconds, processor seconds of all its processes, the largest sum of resident bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def collect(source: Path, folder: Path, limit: int | None) -> int:
    """Copy the images that both tools can read into a folder, named by number; every k-th to keep the limit."""
    from webclean.io.decode import inspect

    folder.mkdir(parents=True)
    num = 0
    paths = sorted(p for p in source.rglob("*") if p.is_file())
    for path in paths[:: max(1, -(-len(paths) // limit))] if limit else paths:
        found = inspect(path.read_bytes())
        ending = ENDINGS.get(found.format or "")
        if found.status == "ok" and ending in CLEANVISION_SEES:
            shutil.copy(path, folder / f"{num:07d}{ending}")
            num += 1
    return num


def multiply(folder: Path, target: Path, times: int) -> None:
    """The same images several times over, as hard links."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        for copy in range(times):
            os.link(path, target / f"{copy}-{path.name}")


def measure(command: list[str]) -> Measured:
    """Run a command in a fresh process and watch its processes' memory."""
    before = _cpu_of_children()
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(
            f"{command} failed:\n{process.stderr.read().decode()[-2000:] if process.stderr else ''}"
        )
    if process.stderr:
        process.stderr.close()
    return Measured(seconds, _cpu_of_children() - before, peak)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(session: int) -> int:
    """Sum of the resident bytes of the session's processes (Linux)."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                total += int((entry / "statm").read_text().split()[1]) * page
        except (OSError, IndexError, ValueError):
            continue  # it ended while we looked
    return total


def sides(folder: Path, work: Path) -> dict[str, list[str]]:
    """The two command lines."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    code = "from webclean.cli.app import main; main()"
    return {
        "webclean": [
            sys.executable, "-c", code, "ingest", str(folder), str(run), "--workers", str(WORKERS), "--quiet",
        ],
        "CleanVision": [sys.executable, "-c", CLEANVISION, str(folder)],
    }  # fmt: skip


def _row(side: str, num: int, runs: list[Measured], larger: Measured) -> str:
    mib = 1 << 20
    cells = (
        side,
        f"{num / statistics.median(m.seconds for m in runs):.0f}",
        ", ".join(f"{m.seconds:.1f}" for m in runs),
        f"{num / statistics.median(m.cpu_seconds for m in runs):.0f}",
        f"{max(m.peak_bytes for m in runs) / mib:.0f} MiB",
        f"{larger.peak_bytes / mib:.0f} MiB",
        f"{4 * num / larger.seconds:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure both sides and print, or write, a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, help="about so many images of the folder, evenly spread")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--machine", default=f"{os.cpu_count()} cores", help="what to write about the machine"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        once, four = work / "once", work / "four"
        num = collect(options.folder, once, options.limit)
        multiply(once, four, 4)
        runs: dict[str, list[Measured]] = {"webclean": [], "CleanVision": []}
        for _ in range(options.repeats):
            for side, of_side in runs.items():
                of_side.append(measure(sides(once, work)[side]))
                print(
                    f"{side}: {num} images in {of_side[-1].seconds:.1f} s, {of_side[-1].cpu_seconds:.1f} s of processor",
                    file=sys.stderr,
                )
        larger = {side: measure(sides(four, work)[side]) for side in runs}
    rate = {side: num / statistics.median(m.seconds for m in of_side) for side, of_side in runs.items()}
    cpu = {side: statistics.median(m.cpu_seconds for m in of_side) for side, of_side in runs.items()}
    limit = f" --limit {options.limit}" if options.limit else ""
    lines = [
        "# Ingest against CleanVision",
        "",
        (
            f"{datetime.date.today()}, {options.machine}, load {os.getloadavg()[0]:.1f}; {num} images of "
            f"`{options.folder.name}`, {WORKERS} processes, median of {options.repeats}."
        ),
        "",
        f"    python benchmarks/{Path(__file__).name} {options.folder.name} --repeats {options.repeats}{limit}",
        "",
        "| | images/s | seconds of each run | images per processor second | peak memory, 1x | 4x | images/s at 4x |",
        "|---|---|---|---|---|---|---|",
        *(_row(side, num, of_side, larger[side]) for side, of_side in runs.items()),
        "",
        (
            f"webclean is {rate['webclean'] / rate['CleanVision']:.1f} times as fast "
            f"({larger['CleanVision'].seconds / larger['webclean'].seconds:.1f} times at 4x); "
            f"by processor seconds {cpu['CleanVision'] / cpu['webclean']:.1f} times."
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)


if __name__ == "__main__":
    main()
