"""Ingest against its peers and against the bare decode, on the same files, in one run.

    python benchmarks/ingest_speed.py FOLDER [--times 10] [--small 20000] [--repeats 3] [--peers PATH]
        [--out benchmarks/results/ingest.md]

Three sets are made of FOLDER's images: *crops*, `--small` different JPEG files of 224 x 224 pixels; *copies*, its files as
they are, `--times` over, of which webclean decodes each content only once in a process as long as it remembers it; and
*unequal*, the same with some bytes at the end that make every file another content, so that nothing is remembered. CleanVision stops at the first file that it cannot decode and does not look at endings that it
does not know, so only images that decode are taken, with the ending of their format.

- webclean: `ingest` with all its stages (verify, hash, measure; group duplicates; flags), two workers.
- ceiling: a loop over the same files that reads the bytes and decodes them with Pillow at the scale at which ingest decodes,
  two processes, 64 files a task, nothing else.
- CleanVision: `find_issues` with all its checks, two processes.
- imagededup: PHash's `encode_images` alone, two processes.
- vision-data-doctor: its scan, which has one process. Its search grows with the square of a group of copies: of *copies* it
  is given FOLDER's files once. Of *unequal* webclean and the ceiling are timed alone.

All are timed as a person waits for them: a fresh process, imports and start-up included, files in the cache, taken in
turns, median of the repeats; the processor's seconds beside it are what a busy machine changes least. Peers are looked for
in the environment and in PATH (`pip install --target PATH cleanvision imagededup vision-data-doctor`); what is not there
is left out and said. `--memory` then ingests 1,000 and 50,000 files (links) and prints the peak memory of each worker.
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

from PIL import Image

ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp"}
WORKERS = 2
SMALL_SIDE = 224
NUM_MEMORY = (1_000, 50_000)
MODULES = {"CleanVision": "cleanvision", "imagededup": "imagededup", "vision-data-doctor": "data_doctor"}

CEILING = """
import io, os, sys
from concurrent.futures import ProcessPoolExecutor
def decode(paths):
    from PIL import Image
    for path in paths:
        with open(path, "rb") as file:
            image = Image.open(io.BytesIO(file.read()))
        (width, height), scale = image.size, 8
        while scale > 1 and (max(width, height) < 128 * scale or min(width, height) < 32 * scale):
            scale //= 2
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
def main():
    paths = sorted(entry.path for entry in os.scandir(sys.argv[1]))
    tasks = [paths[i : i + 64] for i in range(0, len(paths), 64)]
    with ProcessPoolExecutor(2) as pool:
        for _ in pool.map(decode, tasks):
            pass
if __name__ == "__main__":
    main()
"""
CLEANVISION = """
import sys
from cleanvision import Imagelab
def main():
    Imagelab(data_path=sys.argv[1]).find_issues(n_jobs=2, verbose=False)
if __name__ == "__main__":
    main()
"""
IMAGEDEDUP = """
import sys
from imagededup.methods import PHash
def main():
    PHash(verbose=False).encode_images(sys.argv[1], num_enc_workers=2)
if __name__ == "__main__":
    main()
"""
DATA_DOCTOR = """
import sys
from data_doctor.cli import main
sys.argv = ["data-doctor", "scan", sys.argv[1]]
try:
    main()
except SystemExit as found:  # 1: it has something to report
    sys.exit(0 if found.code in (0, 1) else 2)
"""
WEBCLEAN = "from webclean.cli.app import main; main()"


@dataclass(frozen=True)
class Measured:
    """One run: wall seconds, processor seconds of all its processes, the largest memory of one worker, bytes."""

    seconds: float
    cpu_seconds: float
    worker_bytes: int


def collect(source: Path, folder: Path) -> int:
    """Link the images that all sides can read into a folder, named by number."""
    from webclean.io.decode import inspect

    folder.mkdir(parents=True)
    num = 0
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        found = inspect(path.read_bytes())
        ending = ENDINGS.get(found.format or "")
        if found.status == "ok" and ending is not None:
            shutil.copy(path, folder / f"{num:07d}{ending}")
            num += 1
    return num


def multiply(folder: Path, target: Path, wanted: int) -> int:
    """The same images over and over until there are so many, as hard links."""
    target.mkdir()
    paths = sorted(folder.iterdir())
    for number in range(wanted):
        path = paths[number % len(paths)]
        os.link(path, target / f"{number // len(paths)}-{path.name}")
    return wanted


def make_unequal(folder: Path, target: Path) -> None:
    """The same files, each with its own name at the end, which no decoder reads."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        (target / path.name).write_bytes(path.read_bytes() + path.stem.encode())


def crop(folder: Path, target: Path, wanted: int) -> int:
    """Different JPEGs of 224 x 224 pixels, cut from the images in a grid that moves from round to round."""
    target.mkdir()
    paths = sorted(folder.iterdir())
    for number in range(wanted):
        turn, index = divmod(number, len(paths))
        with Image.open(paths[index]) as image:
            rgb = image.convert("RGB")
        width, height = rgb.size
        across, down = (0.02 * (turn % 5) * width, 0.02 * (turn // 5 % 5) * height)
        box = (across, down, across + 0.9 * width, down + 0.9 * height)
        rgb.resize((SMALL_SIDE, SMALL_SIDE), box=box).save(target / f"{number:07d}.jpg", quality=88)
    return wanted


def measure(command: list[str], peers: Path | None) -> Measured:
    """Run a command in a fresh process and watch its workers' memory.

    Raises:
        SystemExit: it failed.
    """
    before = _cpu_of_children()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if peers is not None:
        environment["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(peers)]).strip(
            os.pathsep
        )
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env=environment, start_new_session=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, largest_worker(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    return Measured(seconds, _cpu_of_children() - before, peak)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def largest_worker(session: int) -> int:
    """Largest resident memory, bytes, of one process of the session but its first (Linux)."""
    page = os.sysconf("SC_PAGE_SIZE")
    largest = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == session:
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                largest = max(largest, int((entry / "statm").read_text().split()[1]) * page)
        except (OSError, IndexError, ValueError):
            continue  # it ended while we looked
    return largest


def ingest(folder: Path, run: Path) -> list[str]:
    """The command line of webclean, for a run folder that is not there yet."""
    shutil.rmtree(run, ignore_errors=True)
    flags = ["--workers", str(WORKERS), "--quiet"]
    return [sys.executable, "-c", WEBCLEAN, "ingest", str(folder), str(run), *flags]


def sides(folder: Path, few: Path, work: Path, missing: set[str]) -> dict[str, list[str]]:
    """The command lines; `few` is what vision-data-doctor gets."""
    found = {
        "webclean": ingest(folder, work / "run"),
        "ceiling": [sys.executable, "-c", CEILING, str(folder)],
        "CleanVision": [sys.executable, "-c", CLEANVISION, str(folder)],
        "imagededup": [sys.executable, "-c", IMAGEDEDUP, str(folder)],
        "vision-data-doctor": [sys.executable, "-c", DATA_DOCTOR, str(few)],
    }
    return {side: command for side, command in found.items() if side not in missing}


def compare(
    title: str, folder: Path, few: Path, work: Path, missing: set[str], options: argparse.Namespace
) -> list[str]:
    """A table for one set of files."""
    counts = {"vision-data-doctor": len(list(few.iterdir()))}
    num = len(list(folder.iterdir()))
    runs: dict[str, list[Measured]] = {}
    for repeat in range(options.repeats):
        for side in sides(folder, few, work, missing):
            if repeat and side not in ("webclean", "ceiling") and options.once:
                continue
            runs.setdefault(side, []).append(measure(sides(folder, few, work, missing)[side], options.peers))
            last = runs[side][-1]
            print(
                f"{title}: {side} {last.seconds:.1f} s, {last.cpu_seconds:.1f} s of processor",
                file=sys.stderr,
            )
    rate, cpu = {}, {}
    for side, measured in runs.items():
        rate[side] = counts.get(side, num) / statistics.median(m.seconds for m in measured)
        cpu[side] = counts.get(side, num) / statistics.median(m.cpu_seconds for m in measured)
    lines = [
        f"## {title}: {num:,} files",
        "",
        "| | images/s | webclean has | images a processor second | webclean has | seconds of each run | a worker's peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, measured in runs.items():
        lines.append(
            f"| {side} | {rate[side]:.0f} | {rate['webclean'] / rate[side]:.2f} times | {cpu[side]:.0f} |"
            f" {cpu['webclean'] / cpu[side]:.2f} times | {', '.join(f'{m.seconds:.1f}' for m in measured)} |"
            f" {max(m.worker_bytes for m in measured) / 2**20:.0f} MiB |"
        )
    return [*lines, ""]


def memory(base: Path, work: Path) -> list[str]:
    """Peak memory of a worker at two sizes."""
    cells = []
    for wanted in NUM_MEMORY:
        folder = work / f"memory-{wanted}"
        multiply(base, folder, wanted)
        found = measure(ingest(folder, work / "run"), None)
        cells.append(f"{found.worker_bytes / 2**20:.0f} MiB at {wanted:,} files")
        shutil.rmtree(folder)
    return [f"Largest memory of one worker: {', '.join(cells)}.", ""]


def main() -> None:
    """Measure all sides on both sets and print, or write, the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=10, help="how often FOLDER's files are taken")
    parser.add_argument("--small", type=int, default=20_000, help="files of 224 pixels; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="peers run once, not as often as webclean")
    parser.add_argument("--peers", type=Path, help="folder with the peers' packages")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--machine", default=f"{os.cpu_count()} cores", help="what to write about the machine"
    )
    options = parser.parse_args()
    if options.peers is not None:
        sys.path.append(str(options.peers))
    missing = {side for side, name in MODULES.items() if not _is_there(name)}
    arguments = (
        f"{options.folder.name} --times {options.times} --small {options.small} --repeats {options.repeats}"
    )
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        once, copies, unequal, crops = (work / name for name in ("once", "copies", "unequal", "crops"))
        num = collect(options.folder, once)
        lines = [
            "# Speed of ingest",
            "",
            (
                f"{datetime.date.today()}, {options.machine}, load {os.getloadavg()[0]:.1f} at the start; {num} images of "
                f"`{options.folder.name}`, {WORKERS} processes."
            ),
            "",
            f"    python benchmarks/{Path(__file__).name} {arguments}",
            "",
        ]
        if missing:
            lines += [f"Not installed, so not run: {', '.join(sorted(missing))}.", ""]
        if options.small:
            crop(once, crops, options.small)
            lines += compare(f"{SMALL_SIDE} pixels", crops, once, work, missing, options)
        multiply(once, copies, num * options.times)
        lines += compare(f"Files as they are, {options.times} times", copies, once, work, missing, options)
        make_unequal(copies, unequal)
        title = f"Files as they are, {options.times} times, no two of them equal"
        lines += compare(title, unequal, once, work, missing | MODULES.keys(), options)
        if options.memory:
            lines += memory(once, work)
    text = "\n".join(lines)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


def _is_there(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    main()
