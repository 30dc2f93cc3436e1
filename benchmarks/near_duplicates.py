"""Edited copies that ingest finds, with and without the second pass, and pairs that it should not report.

    python benchmarks/near_duplicates.py --data FOLDER [--truth TRUTH.csv] [--work WORK] [--unrelated SOURCE ...]
        [--real SOURCE ... --num 50000 --sheet PAIRS.png] [--peer-python PYTHON] [--out benchmarks/results/near_duplicates.md]

Takes the first 1,000 images of FOLDER, in the order of their names, that decode and are not equal (of those that
TRUTH calls `as-crawled` or `wrong-category` and certain, where it is given: none that was planted as a copy), and
makes seven edits of the first 300: an equal file, JPEG at quality 40, half the size, 5 % cut from each edge,
25 % brighter, a white box over 3 % and a mirror image, all but the first saved as JPEG 90. An edit is found where
it stands in the group of its original; a pair is false where its two come from different images, and each such pair
of originals is listed, because a crawl holds copies that nobody planted. Times are of the dedup stage.

SOURCE is anything that ingest reads, with no copies in it that are not equal: all pairs it reports are counted.

With --real, the images of folders and of Parquet files (column `image`), without those of equal bytes and those that
TRUTH says were planted as copies, and drawn scenes to fill up to --num: all pairs that the first pass reports among
them are counted and drawn side by side, since what comes from a crawl may be a copy all the same.

imagededup (PHash and DHash, at most 10 bits apart) runs on the same files where PYTHON has it.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from commands import webclean
from PIL import Image, ImageDraw, ImageEnhance

from webclean import schema
from webclean.io import tables
from webclean.io.decode import inspect
from webclean.io.run_dir import RunDir
from webclean.stages.base import committed

NUM_IMAGES, NUM_EDITED = 1000, 300
EDITS = ("exact", "q40", "half", "crop", "bright", "box", "mirror")
UNPLANTED = ("as-crawled", "wrong-category")
PEER = """
import json, sys, unittest.mock
for name in ("torchvision", "torchvision.transforms", "torchvision.models", "torchvision.models.vision_transformer"):
    try:
        __import__(name)
    except Exception:  # its hashes do not use it
        sys.modules[name] = unittest.mock.MagicMock()
from imagededup.methods import DHash, PHash
def main():
    for method in (PHash, DHash):
        hasher = method(verbose=False)
        codes = hasher.encode_images(sys.argv[1], num_enc_workers=2)
        found = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=10, num_dist_workers=2)
        pairs = sorted({tuple(sorted((a, b))) for a, near in found.items() for b in near})
        print(json.dumps([method.__name__, pairs]))
if __name__ == "__main__":
    main()
"""

Pairs = set[tuple[str, str]]


def main() -> None:
    """Make the set, run everything, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--unrelated", nargs="*", default=[])
    parser.add_argument("--real", nargs="*", type=Path, default=[])
    parser.add_argument("--num", type=int, default=50_000)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--only-real", action="store_true")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        lines = [f"# Near duplicates\n\n{datetime.date.today().isoformat()}.\n"]
        if not options.only_real:
            folder = work / "edited"
            num = make_set(chosen(options.data, options.truth), folder)
            lines.append(
                f"{num} images and {len(EDITS)} edits of {min(num, NUM_EDITED)} of them."
                " Share of the edits that are found:\n"
            )
            lines += table(folder, work, options)
        for source in options.unrelated:
            lines += strangers(source, work, options.workers)
        if options.real:
            lines += real_strangers(work, options)
        text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def chosen(data: Path, truth: Path | None) -> list[Path]:
    """Images that decode, no two equal, none planted as a copy; in the order of their paths."""
    allowed = None
    if truth is not None:
        with truth.open(encoding="utf-8", newline="") as file:
            allowed = {
                row["path"]
                for row in csv.DictReader(file)
                if row["kind"] in UNPLANTED and row.get("uncertain", "0") == "0"
            }
    images: dict[str, Path] = {}
    for path in sorted(p for p in data.rglob("*") if p.is_file()):
        if allowed is not None and path.relative_to(data).as_posix() not in allowed:
            continue
        octets = path.read_bytes()
        if inspect(octets).status == schema.STATUS_OK:
            images.setdefault(hashlib.sha256(octets).hexdigest(), path)
        if len(images) == NUM_IMAGES:
            break
    return list(images.values())


def make_set(images: list[Path], folder: Path) -> int:
    """Write the images and the edits as NUMBER__EDIT.ending; how many images there are."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, path in enumerate(images):
        shutil.copy(path, folder / f"{number:04d}__orig{path.suffix}")
        if number >= NUM_EDITED:
            continue
        shutil.copy(path, folder / f"{number:04d}__exact{path.suffix}")
        image = Image.open(path).convert("RGB")
        width, height = image.size
        across, down = int(width * 0.05), int(height * 0.05)
        box = image.copy()
        ImageDraw.Draw(box).rectangle(
            (width // 10, height - height // 8, width // 2, height - height // 20), fill=(255, 255, 255)
        )
        edited = {
            "half": image.resize((max(1, width // 2), max(1, height // 2))),
            "crop": image.crop((across, down, width - across, height - down)),
            "bright": ImageEnhance.Brightness(image).enhance(1.25),
            "box": box,
            "mirror": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        }
        image.save(folder / f"{number:04d}__q40.jpg", quality=40)
        for name, copy in edited.items():
            copy.save(folder / f"{number:04d}__{name}.jpg", quality=90)
    return len(images)


def table(folder: Path, work: Path, options: argparse.Namespace) -> list[str]:
    """Recall of each edit and precision, a row for each way to search."""
    rows: dict[str, Pairs] = {}
    seconds: dict[str, str] = {}
    for name, flags in (("webclean", []), ("webclean --second-pass", ["--second-pass"])):
        run = work / "run"
        webclean("ingest", str(folder), str(run), "--workers", options.workers, *flags)
        rows[name] = reported(run)
        seconds[name] = f"{dedup_seconds(run):.1f}"
    done = subprocess.run(
        [options.peer_python, "-c", PEER, str(folder)], capture_output=True, text=True, check=False
    )
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        method, pairs = json.loads(line)
        rows[f"imagededup {method}"] = {(a, b) for a, b in pairs}
    key_of = {tuple(path.stem.split("__")): path.name for path in folder.iterdir()}
    lines = [
        f"| | {' | '.join(EDITS)} | pairs reported | false | precision | dedup, s |",
        "|---" * (len(EDITS) + 5) + "|",
    ]
    strange: set[tuple[str, str]] = set()
    for name, pairs in rows.items():
        cells = []
        for edit in EDITS:
            wanted = [
                tuple(sorted((key_of[number, "orig"], key_of[number, edit])))
                for number, kind in key_of
                if kind == edit
            ]
            cells.append(f"{sum(pair in pairs for pair in wanted) / max(1, len(wanted)):.3f}")
        false = [pair for pair in pairs if pair[0][:4] != pair[1][:4]]
        if name.startswith("webclean"):
            strange |= {(a[:4], b[:4]) for a, b in false}
        precision = 1 - len(false) / max(1, len(pairs))
        lines.append(
            f"| {name} | {' | '.join(cells)} | {len(pairs)} | {len(false)} | {precision:.4f} | {seconds.get(name, '')} |"
        )
    if done.returncode:
        lines.append("\nimagededup was not run: " + (done.stderr.strip().splitlines() or ["no message"])[-1])
    for a, b in sorted(strange):
        lines.append(
            f"\nreported and from two images: {key_of[a, 'orig']} {key_of[b, 'orig']} (look at them: they may be copies)"
        )
    return [*lines, ""]


def strangers(source: str, work: Path, workers: str) -> list[str]:
    """Pairs reported in a set where only equal files are copies, to a million pairs."""
    lines = [f"## {Path(source).name}\n"]
    for name, flags in (("webclean", []), ("webclean --second-pass", ["--second-pass"])):
        run = work / f"run-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        webclean("ingest", source, str(run), "--workers", workers, *flags)
        columns = (schema.SOURCE_KEY, schema.SHA256, schema.STATUS)
        images = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE, columns).to_pylist()
        sha = {row[schema.SOURCE_KEY]: row[schema.SHA256] for row in images}
        num = sum(row[schema.STATUS] == schema.STATUS_OK for row in images)
        found = sorted({tuple(sorted((sha[a], sha[b]))) for a, b in reported(run) if sha[a] != sha[b]})
        all_pairs = num * (num - 1) / 2
        lines.append(
            f"- {name}: {num} images, {len(found)} pairs that are not equal, {len(found) / all_pairs * 1e6:.2f} in a"
            f" million; dedup {dedup_seconds(run):.1f} s"
        )
    return [*lines, ""]


def real_strangers(work: Path, options: argparse.Namespace) -> list[str]:
    """What the first pass reports among real images of which none is known to be a copy, and drawn ones."""
    folder = work / "strangers"
    num_real = gather(options.real, options.truth, options.num, folder)
    run = work / "run-strangers"
    webclean("ingest", str(folder), str(run), "--workers", options.workers)
    pairs = sorted(reported(run))
    all_pairs = options.num * (options.num - 1) / 2
    if options.sheet is not None and pairs:
        sheet(pairs, folder).save(options.sheet)
    return [
        "## Real images that nobody planted as copies\n",
        (
            f"{num_real} real and {options.num - num_real} drawn images: {len(pairs)} pairs reported,"
            f" {len(pairs) / all_pairs * 1e6:.4f} in a million; dedup {dedup_seconds(run):.1f} s.\n"
        ),
        *(f"- {a} {b}" for a, b in pairs),
        "",
    ]


def gather(sources: list[Path], truth: Path | None, num: int, folder: Path) -> int:
    """Write images to a folder, each content once, then drawn ones up to `num`; how many are real."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    planted: set[Path] = set()
    if truth is not None:
        with truth.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        planted = {truth.parent / row["path"] for row in rows if row["kind"].startswith("near-duplicate")}
    seen: set[str] = set()
    for source in sources:
        for name, octets in contents_of(source, planted):
            digest = hashlib.sha256(octets).hexdigest()
            if len(seen) < num and digest not in seen and inspect(octets).status == schema.STATUS_OK:
                seen.add(digest)
                (folder / name).write_bytes(octets)
    for number in range(len(seen), num):
        drawn(number).save(folder / f"drawn-{number:05d}.jpg", quality=90)
    return len(seen)


def contents_of(source: Path, leave_out: set[Path]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the images of a folder or a Parquet file."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file() and p not in leave_out):
            if path.suffix not in (".csv", ".jsonl"):
                yield f"{source.parent.name}-{source.name}-{path.name}", path.read_bytes()
        return
    rows = pq.read_table(source, columns=["image"]).column("image").to_pylist()
    for number, octets in enumerate(rows):
        yield f"{source.parent.name}-{source.stem}-{number:05d}.png", octets


def drawn(number: int) -> Image.Image:
    """A scene of shapes over a slope of colours; each number another."""
    rng = np.random.default_rng(number)
    corners = rng.integers(0, 256, size=(2, 2, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((96, 96), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 9))):
        color = tuple(rng.integers(0, 256, size=3).tolist())
        left, top = rng.integers(-20, 90, size=2).tolist()
        width, height = rng.integers(8, 60, size=2).tolist()
        shape = (left, top, left + width, top + height)
        if rng.random() < 0.5:
            draw.ellipse(shape, fill=color)
        else:
            draw.rectangle(shape, fill=color)
    return image


def sheet(pairs: list[tuple[str, str]], folder: Path) -> Image.Image:
    """The two of each pair side by side, five pairs in a row."""
    side, across = 128, 5
    rows = -(-len(pairs) // across)
    whole = Image.new("RGB", (across * (2 * side + 16), rows * (side + 16)), "white")
    draw = ImageDraw.Draw(whole)
    for number, pair in enumerate(pairs):
        left, top = number % across * (2 * side + 16), number // across * (side + 16)
        for place, name in enumerate(pair):
            picture = Image.open(folder / name).convert("RGB").resize((side, side))
            whole.paste(picture, (left + place * side, top + 12))
        draw.text((left, top), f"{number} {pair[0][-16:]} {pair[1][-16:]}", fill="black")
    return whole


def reported(run: Path) -> Pairs:
    """All pairs of source keys that stand in one group."""
    opened = RunDir(str(run))
    columns = (schema.IMAGE_ID, schema.SOURCE_KEY)
    images = tables.read(opened, schema.IMAGES, schema.IMAGES_TABLE, columns).to_pylist()
    key_of = {row[schema.IMAGE_ID]: row[schema.SOURCE_KEY] for row in images}
    groups: dict[int, list[str]] = defaultdict(list)
    for row in tables.read(opened, schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist():
        groups[row[schema.GROUP]].append(key_of[row[schema.IMAGE_ID]])
    return {pair for keys in groups.values() for pair in combinations(sorted(keys), 2)}


def dedup_seconds(run: Path) -> float:
    """Seconds of the last dedup stage."""
    record = committed(RunDir(str(run)), schema.DUPLICATES)
    assert record is not None, "ingest has just made it"
    return float(record["clock"]["seconds"])


if __name__ == "__main__":
    main()
