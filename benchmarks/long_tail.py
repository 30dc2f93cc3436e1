"""The two-stage effect on a drawn crawl of the slides' kind: many fine categories, a long tail, much noise.

200 categories in 40 families of five siblings: a family is a shape of one colour, a sibling the pattern on it. The
crawl has a long tail (Zipf), a third of its labels wrong (most of them a sibling's, the rest a stranger's or off
topic), a fifth of its images without text, and ranks that tell right from wrong only weakly. A right image's title
names its category or uses words of its own field more often than not; some wrong images' titles name the query all
the same. Test images are clean, equally many a category.

Drawn, then `ingest`, `weight` and `export --mode weighted` as a user would, then one small network from scratch per
set and seed, same steps for all: raw, stage 1 (rank and text: `--evidence rank,text`), stages 1 and 2 (all evidence),
and right labels only. Nothing here was turned after the first comparison; the network's schedule was settled on
right labels of another drawing (--seed-of-drawing 1).

    python benchmarks/long_tail.py --work DIR [--wrong 0.333] [--seeds 3] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commands import read_csv, webclean
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn
from train_on_export import Job, compared, digest, finished, trained, write_manifest

# ---------------------------------------------------------------- the settings
SHAPES = ("kite", "star", "cross", "ring", "arrow", "leaf", "shield", "crescent")
COLOURS = {"crimson": 0.98, "amber": 0.11, "olive": 0.25, "azure": 0.57, "violet": 0.77}  # hue in [0, 1]
PATTERNS = ("plain", "striped", "dotted", "banded", "checked")
LARGEST, SMALLEST = 240, 16  # crawled images of the largest and of the smallest category
TAIL = 0.6  # Zipf's exponent: images of the k-th category fall as k^-TAIL
WRONG = 1 / 3  # of all labels
OF_SIBLING, OF_STRANGER = 0.55, 0.25  # of the wrong ones; the rest is off topic
SILENT = 0.2  # images without text
RANK_SHIFT = 0.6  # how much later wrong results come, in standard deviations of the order's noise
RIGHT_NAMED, RIGHT_FIELD = 0.6, 0.6  # right images whose title names the category, uses words of its field
WRONG_NAMES_QUERY = 0.35  # wrong images whose title names the query; the others are titled by what they show
TEST_EACH = 20  # clean test images of a category
SIDE = 32  # pixels
STEPS = 1500
FIELD_WORDS = 4  # words of each category's own field, and as many of each family's

_SYLLABLES = ("ba", "du", "fi", "go", "ka", "lo", "mi", "na", "po", "ra", "si", "tu", "ve", "wo", "zu", "che")
_ANYWHERE = ("photo", "sale", "new", "image", "free", "shop", "vintage", "large", "hd", "2019", "best", "online", "gift", "page")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Category:
    """What it looks like, and how it is called."""

    shape: int
    hue: float
    pattern: int
    name: str
    field: tuple[str, ...]

    @property
    def family(self) -> tuple[int, float]:
        """Shape and colour, which its siblings share."""
        return self.shape, self.hue


@dataclass(frozen=True, slots=True)
class Entry:
    """One crawled image: the category it is listed under, and the one it shows (-1: none of them)."""

    query: int
    shown: int
    order: float
    title: str


def make_categories(rng: np.random.Generator) -> list[Category]:
    """All shapes in all colours with all patterns, in random order: the first will be the largest."""

    def word() -> str:
        return "".join(rng.choice(_SYLLABLES, size=3))

    found = []
    for shape, shape_name in enumerate(SHAPES):
        for colour, hue in COLOURS.items():
            shared = tuple(word() for _ in range(FIELD_WORDS))
            for pattern, pattern_name in enumerate(PATTERNS):
                field = (*(word() for _ in range(FIELD_WORDS)), *shared)
                found.append(Category(shape, hue, pattern, f"{colour} {pattern_name} {shape_name}", field))
    return [found[i] for i in rng.permutation(len(found))]


def sizes(number: int) -> NDArray[np.int64]:
    """Crawled images of each category, the largest first."""
    fall = np.arange(1, number + 1, dtype=np.float64) ** -TAIL
    return np.maximum(SMALLEST, np.round(LARGEST * fall)).astype(np.int64)


def make_crawl(categories: list[Category], wrong: float, rng: np.random.Generator) -> list[Entry]:
    """The rows of the crawl, query by query."""
    entries = []
    for query, size in enumerate(sizes(len(categories))):
        siblings = [
            i for i, c in enumerate(categories) if c.family == categories[query].family and i != query
        ]
        strangers = [i for i, c in enumerate(categories) if c.family != categories[query].family]
        for _ in range(size):
            is_wrong = rng.random() < wrong
            kind = rng.random()
            if not is_wrong:
                shown = query
            elif kind < OF_SIBLING:
                shown = int(rng.choice(siblings))
            elif kind < OF_SIBLING + OF_STRANGER:
                shown = int(rng.choice(strangers))
            else:
                shown = -1
            order = float(rng.normal()) + RANK_SHIFT * is_wrong
            entries.append(Entry(query, shown, order, make_title(categories, query, shown, rng)))
    return entries


def make_title(categories: list[Category], query: int, shown: int, rng: np.random.Generator) -> str:
    """A title that may name the category, use words of its field, or say nothing."""
    if rng.random() < SILENT:
        return ""
    words = list(rng.choice(_ANYWHERE, size=int(rng.integers(1, 4)), replace=False))
    if shown == query or (shown >= 0 and rng.random() >= WRONG_NAMES_QUERY):
        told = categories[shown]
        if rng.random() < RIGHT_NAMED:
            words += told.name.split()
        if rng.random() < RIGHT_FIELD:
            words += list(rng.choice(told.field, size=2, replace=False))
    elif shown != query and (shown >= 0 or rng.random() < WRONG_NAMES_QUERY):
        words += categories[query].name.split()
    return " ".join(words[i] for i in rng.permutation(len(words)))


# ---------------------------------------------------------------- the pictures
_DRAWN = 4 * SIDE  # drawn larger and brought down, so that edges are smooth


def draw(category: Category | None, rng: np.random.Generator) -> Image.Image:
    """One picture, SIDE x SIDE: the category's object among smaller things, or none of the categories."""
    picture = _ground(rng)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(2, 6))):
        x, y, r = rng.uniform(0, _DRAWN, 2).tolist() + [float(rng.uniform(3, 10))]
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng.random(), rng))
    if category is None:
        _off_topic(pen, rng)
    else:
        _put_object(picture, category, rng)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    noisy = small * rng.uniform(0.8, 1.15) + rng.normal(0, 6, small.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _colour(hue: float, rng: np.random.Generator) -> tuple[int, int, int]:
    pixel = Image.new(
        "HSV", (1, 1), (int(hue * 255) % 256, int(rng.integers(130, 256)), int(rng.integers(130, 256)))
    )
    red, green, blue = (int(band) for band in np.asarray(pixel.convert("RGB"))[0, 0])
    return red, green, blue


def _ground(rng: np.random.Generator) -> Image.Image:
    corners = rng.integers(40, 216, (2, 2, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((_DRAWN, _DRAWN), Image.Resampling.BILINEAR)


def _off_topic(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Lines of writing, bars of a chart, or a heap of boxes."""
    kind = int(rng.integers(3))
    for k in range(int(rng.integers(5, 10))):
        at = k * _DRAWN / 10
        length = float(rng.uniform(0.2, 0.9)) * _DRAWN
        if kind == 0:
            pen.rectangle((8, at + 6, 8 + length, at + 10), fill=(30, 30, 30))
        elif kind == 1:
            pen.rectangle((at + 4, _DRAWN - length, at + 12, _DRAWN - 4), fill=_colour(rng.random(), rng))
        else:
            x, y = rng.uniform(0, 0.8 * _DRAWN, 2).tolist()
            pen.rectangle((x, y, x + length / 3, y + length / 4), fill=_colour(rng.random(), rng))


def _outline(shape: int) -> list[tuple[float, float]]:
    """Corners of a shape in [-1, 1]."""

    def turned(radii: list[float], start: float = -math.pi / 2) -> list[tuple[float, float]]:
        step = 2 * math.pi / len(radii)
        return [(r * math.cos(start + i * step), r * math.sin(start + i * step)) for i, r in enumerate(radii)]

    outlines: dict[str, list[tuple[float, float]]] = {
        "kite": [(0, -1), (0.65, -0.2), (0, 1), (-0.65, -0.2)],
        "star": turned([1, 0.42] * 5),
        "cross": [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1),
                  (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
        "ring": turned([1] * 24),
        "arrow": [(0, -1), (0.9, 0), (0.4, 0), (0.4, 1), (-0.4, 1), (-0.4, 0), (-0.9, 0)],
        "leaf": [(0.55 * math.sin(t), -math.cos(t)) for t in np.linspace(0, 2 * math.pi, 24)],
        "shield": [(-0.8, -0.9), (0.8, -0.9), (0.8, 0.1), (0, 1), (-0.8, 0.1)],
        "crescent": [(math.cos(t), math.sin(t)) for t in np.linspace(0.5, 5.8, 20)]
        + [(0.35 + 0.7 * math.cos(t), 0.7 * math.sin(t)) for t in np.linspace(5.5, 0.8, 16)],
    }  # fmt: skip
    return outlines[SHAPES[shape]]


def _put_object(picture: Image.Image, category: Category, rng: np.random.Generator) -> None:
    """Draw the object on a layer of its own, turn it, and lay it over the ground."""
    size = int(rng.uniform(0.55, 0.85) * _DRAWN)
    hue = category.hue + float(rng.uniform(-0.03, 0.03))
    mask = Image.new("L", (size, size), 0)
    ImageDraw.Draw(mask).polygon(
        [((x + 1) * size / 2, (y + 1) * size / 2) for x, y in _outline(category.shape)], fill=255
    )
    if SHAPES[category.shape] == "ring":
        r = 0.22 * size
        ImageDraw.Draw(mask).ellipse((size / 2 - r, size / 2 - r, size / 2 + r, size / 2 + r), fill=0)
    skin = Image.new("RGB", (size, size), _colour(hue, rng))
    pen = ImageDraw.Draw(skin)
    ink = tuple(int(v) for v in (rng.integers(0, 60, 3) if rng.random() < 0.5 else rng.integers(200, 256, 3)))
    _pattern(pen, PATTERNS[category.pattern], size, ink)
    angle = float(rng.uniform(-30, 30))
    skin, mask = (layer.rotate(angle, Image.Resampling.BILINEAR) for layer in (skin, mask))
    room = _DRAWN - size
    picture.paste(skin, (int(rng.integers(room + 1)), int(rng.integers(room + 1))), mask)


def _pattern(pen: ImageDraw.ImageDraw, pattern: str, size: int, ink: tuple[int, ...]) -> None:
    step = size / 6
    for i in range(6):
        if pattern == "striped":
            pen.rectangle((i * step, 0, i * step + step * 0.45, size), fill=ink)
        elif pattern == "banded":
            pen.rectangle((0, i * step, size, i * step + step * 0.45), fill=ink)
        elif pattern in ("dotted", "checked"):
            for j in range(6):
                x, y = (i + 0.5) * step, (j + 0.5) * step
                if pattern == "dotted":
                    r = step * 0.28
                    pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
                elif (i + j) % 2:
                    pen.rectangle((x - step / 2, y - step / 2, x + step / 2, y + step / 2), fill=ink)


# ---------------------------------------------------------------- the crawl on disk
def write_crawl(folder: Path, wrong: float, seed: int) -> tuple[str, ...]:
    """Draw the crawl, its truth and the test images into `folder`; the names of the categories, sorted."""
    rng = np.random.default_rng(seed)
    categories = make_categories(rng)
    entries = make_crawl(categories, wrong, rng)
    (folder / "images").mkdir(parents=True)
    (folder / "test").mkdir()
    numbers = rng.permutation(len(entries))  # file names tell nothing
    place_of: dict[int, int] = {}
    with (
        (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as crawl,
        (folder / "truth.csv").open("w", newline="", encoding="utf-8") as truth,
    ):
        listed, known = csv.writer(crawl), csv.writer(truth)
        listed.writerow(("path", "query", "rank", "title"))
        known.writerow(("path", "true_category", "kind"))
        for position in sorted(range(len(entries)), key=lambda i: (entries[i].query, entries[i].order)):
            entry = entries[position]
            place_of[entry.query] = rank = place_of.get(entry.query, 0) + 1
            path = f"images/{numbers[position]:06d}.png"
            draw(None if entry.shown < 0 else categories[entry.shown], rng).save(folder / path)
            query, shown = (
                categories[entry.query].name,
                "" if entry.shown < 0 else categories[entry.shown].name,
            )
            kind = "clean" if shown == query else "wrong-category" if shown else "off-topic"
            listed.writerow((path, query, rank, entry.title))
            known.writerow((path, shown, kind))
    with (folder / "test.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "category"))
        for number, category in enumerate(category for category in categories for _ in range(TEST_EACH)):
            path = f"test/{number:06d}.png"
            draw(category, rng).save(folder / path)
            table.writerow((path, category.name))
    return tuple(sorted(category.name for category in categories))


def read_sets(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """(absolute path, label) of each image of the sets `raw`, `right` and `test`."""

    shown = {row["path"]: row["true_category"] for row in read_csv(folder / "truth.csv")}
    raw = [(row["path"], row["query"]) for row in read_csv(folder / "manifest.csv")]
    found = {
        "raw": raw,
        "right": [(path, label) for path, label in raw if shown[path] == label],
        "test": [(row["path"], row["category"]) for row in read_csv(folder / "test.csv")],
    }
    return {key: [(str(folder / path), label) for path, label in pairs] for key, pairs in found.items()}


class SmallNet(nn.Sequential):
    """Six 3 x 3 convolutions at 16, 8 and 4 pixels, global mean, linear: 0.3 M parameters."""

    def __init__(self, num_categories: int) -> None:
        layers: list[nn.Module] = []
        for i, o, k, s in ((3, 32, 5, 2), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)):  # fmt: skip
            layers += [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_categories))


def weigh(folder: Path, work: Path, workers: int) -> dict[str, Path]:
    """The commands; the exports of stage 1 and of both stages."""
    run, flags = str(work / "run"), ("--workers", str(workers))
    webclean("ingest", str(folder / "manifest.csv"), run, *flags)
    webclean("weight", run, *flags)
    webclean("weight", run, *flags, "--evidence", "rank,text", "--decisions", "stage1")
    outs = {"stage1": work / "stage1", "both": work / "both"}
    webclean("export", run, str(outs["stage1"]), "--to", "csv", "--mode", "weighted", "--decisions", "stage1")
    webclean("export", run, str(outs["both"]), "--to", "csv", "--mode", "weighted")
    return outs


def main() -> None:
    """Draw, weigh, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the crawl, the run and the exports"
    )
    parser.add_argument("--wrong", type=float, default=WRONG, help="share of wrong labels")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each set")
    parser.add_argument("--seed-of-drawing", type=int, default=0)
    parser.add_argument("--only", help="names of the sets to train on, by comma; none given: all")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve() / f"wrong-{arguments.wrong:.3f}-{arguments.seed_of_drawing}"
    folder, started = work / "crawl", time.perf_counter()
    if not (folder / "test.csv").exists():
        write_crawl(folder, arguments.wrong, arguments.seed_of_drawing)
    sets = read_sets(folder)
    categories = tuple(sorted({label for _, label in sets["test"]}))
    outs = {key: work / "sets" / key for key in sets}
    for key, rows in sets.items():
        if not outs[key].exists():
            write_manifest(outs[key], rows, categories)
    names = arguments.only.split(",") if arguments.only else ["raw", "stage1", "both", "right"]
    if {"stage1", "both"} & set(names):
        outs |= (
            {key: work / key for key in ("stage1", "both")}
            if (work / "both" / "manifest.json").exists()
            else weigh(folder, work, arguments.workers)
        )
    print(f"drawn and weighed in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    jobs = [Job(key, digest(outs[key]), STEPS, seed) for seed in range(arguments.seeds) for key in names]
    results = work / "results.jsonl"
    found = dict(trained(jobs, results, outs, categories, arguments.workers, network=SmallNet, side=SIDE))
    assert finished(results).keys() >= found.keys()
    rows_of = compared({key: [found[job]["top1"] for job in jobs if job.set == key] for key in names})
    if "both" in rows_of and "stage1" in rows_of:
        pairs = zip(rows_of["both"]["top1"], rows_of["stage1"]["top1"], strict=True)
        rows_of["both"]["above_stage1"] = float(np.mean([b - a for b, a in pairs]))
    right = len(sets["right"]) / len(sets["raw"])
    if arguments.json:
        print(json.dumps({"wrong": 1 - right, "images": len(sets["raw"]), "sets": rows_of}, indent=2))
        return
    print(f"{len(sets['raw']):,} images, {len(categories)} categories, {1 - right:.1%} of the labels wrong")
    for key, row in rows_of.items():
        images = next(int(found[job]["images"]) for job in jobs if job.set == key)
        print(
            f"{key:8s} {images:6d} images  top-1 {row['mean']:.4f}  ({' '.join(f'{v:.4f}' for v in row['top1'])})"
        )
        if "above_raw" in row:
            low, high = row["above_raw"]["low"], row["above_raw"]["high"]
            print(
                f"    above raw {100 * row['above_raw']['mean']:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
            )
        if "above_stage1" in row:
            print(f"    above stage 1 {100 * row['above_stage1']:+.2f} points")


if __name__ == "__main__":
    main()
