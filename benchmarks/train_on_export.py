"""What a cleaned export is worth to a trainer: top-1 on clean test images, trainings side by side.

The same plain PyTorch loop, over `webclean.load_manifest(OUT)` alone, runs on the raw crawl (every readable image,
weight 1, the query as its label), on any number of weighted exports, on just the images whose label is right, and on
all images with their true labels (both known from the truth). Each seed fixes the initial weights and the order of
draws for all; nets, optimiser, augmentation and number of steps are the same. Printed: top-1 per seed, the part of the
gap between raw and right-only that each export closes, that between right-only and true labels too, and paired
bootstrap intervals over seeds.

The loop was settled on one seed of raw and right-only, before any export was trained on. A series can be stopped
and goes on where it was: each finished training is a line of the file of --results, known by the digest of its set.

    python benchmarks/train_on_export.py --data DIR/fashion-crawl --export stage1=OUT1 --export both=OUT2 [--json]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import webclean
from webclean.ops import metrics

SIDE = 64  # pixels; the crawl's images are 60 x 80
STEPS = 1000  # of one training, whatever the number of images
BATCH = 64
SHIFT = 4  # pixels
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 5e-2


# ---------------------------------------------------------------- the loop (as a user would write it)
class Net(nn.Sequential):
    """A coarse first layer, then three stages of 3 x 3 convolutions, global mean, linear: 0.3 M parameters."""

    def __init__(self, num_categories: int) -> None:
        layers: list[nn.Module] = []
        # (inputs, outputs, kernel, stride)
        for i, o, k, s in ((3, 32, 7, 4), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)):  # fmt: skip
            layers += [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_categories))


def augment(images: torch.Tensor) -> torch.Tensor:
    """Flip half of the (square) images, shift each by up to `SHIFT` pixels, and bring uint8 to [-1, 1]."""
    side = images.shape[-1]
    padded = F.pad(images.float().div_(127.5).sub_(1), (SHIFT,) * 4, mode="replicate")
    flipped = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, padded.flip(3), padded)
    corners = torch.randint(0, 2 * SHIFT + 1, (len(images), 2)).tolist()
    return torch.stack([x[:, i : i + side, j : j + side] for x, (i, j) in zip(flipped, corners, strict=True)])


def train(
    images: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    num_categories: int,
    seed: int,
    steps: int = STEPS,
    network: Callable[[int], nn.Module] = Net,
) -> nn.Module:
    """Weighted cross-entropy, AdamW, one cycle; `images` uint8 (N, 3, S, S), `network` by number of categories."""
    torch.manual_seed(seed)
    net = network(num_categories).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    order = torch.cat([torch.randperm(len(images)) for _ in range(steps * BATCH // len(images) + 1)])
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        logits = net(augment(images[batch]).contiguous(memory_format=torch.channels_last))
        loss = (weights[batch] * F.cross_entropy(logits, labels[batch], reduction="none")).sum() / weights[
            batch
        ].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def top1(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Part of the images whose most likely category is theirs."""
    hits = [
        (net(x.float().div(127.5).sub(1)).argmax(1) == y).sum()
        for x, y in zip(images.split(256), labels.split(256), strict=True)
    ]
    return float(torch.stack(hits).sum()) / len(labels)


# ---------------------------------------------------------------- data
def load(
    out: Path, categories: tuple[str, ...], side: int = SIDE
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A manifest in memory: uint8 images (N, 3, side, side), class indices by `categories`, float32 weights."""
    data = webclean.load_manifest(
        out, transform=lambda image: torch.from_numpy(np.array(image.resize((side, side)))).permute(2, 0, 1)
    )
    images = torch.stack([data[i][0] for i in range(len(data))])
    index_of = torch.tensor([categories.index(name) for name in data.categories])
    return images, index_of[data.labels], data.weights.float()


def write_manifest(out: Path, rows: list[tuple[str, str]], categories: tuple[str, ...]) -> Path:
    """A minimal export of (path, category) rows that `load_manifest` reads, all weights 1."""
    out.mkdir(parents=True)
    with (out / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "category", "weight", "split"))
        writer.writerows((path, category, 1.0, "") for path, category in rows)
    manifest = {
        "made_by": "webclean export", "table": "images.csv", "categories": categories, "splits": [],
        "images": "none", "embedded": False,
    }  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def read_truth(data: Path) -> dict[str, list[tuple[str, str]]]:
    """(absolute path, label) of each image of the sets `raw`, `right`, `true` and `test`."""
    with (data / "truth.csv").open(newline="", encoding="utf-8") as file:
        true = {row["path"]: row["true_category"] for row in csv.DictReader(file)}
    crawled = [json.loads(line) for line in (data / "manifest.jsonl").read_bytes().splitlines()]
    with (data / "test.csv").open(newline="", encoding="utf-8") as file:
        test = [(str(data / row["path"]), row["category"]) for row in csv.DictReader(file)]
    return {
        "raw": [(str(data / row["path"]), row["query"]) for row in crawled],
        "right": [
            (str(data / row["path"]), row["query"]) for row in crawled if true[row["path"]] == row["query"]
        ],
        "true": [(str(data / row["path"]), true[row["path"]]) for row in crawled],
        "test": test,
    }


# ---------------------------------------------------------------- the comparison
@dataclass(frozen=True, slots=True)
class Job:
    """One training: on which set (known by the digest of its images, labels and weights), how long, which seed."""

    set: str
    digest: str
    steps: int
    seed: int


_FOLDERS: dict[str, Path] = {}
_SETS: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
_CATEGORIES: list[str] = []
_HOW: list[tuple[Callable[[int], nn.Module], int]] = []  # the network, and the side of its images


def prepare_worker(
    folders: dict[str, Path], categories: tuple[str, ...], network: Callable[[int], nn.Module], side: int
) -> None:
    """Tell a worker the sets; it computes on one thread, so that the result is the same for any number."""
    torch.set_num_threads(1)
    _FOLDERS.update(folders)
    _CATEGORIES.extend(categories)
    _HOW.append((network, side))


def loaded(key: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A set, read when it is first asked for."""
    if key not in _SETS:
        _SETS[key] = load(_FOLDERS[key], tuple(_CATEGORIES), _HOW[0][1])
    return _SETS[key]


def run(job: Job) -> tuple[Job, dict[str, float]]:
    """One training: number of images, top-1 and seconds."""
    started = time.perf_counter()
    images, labels, weights = loaded(job.set)
    test_images, test_labels, _ = loaded("test")
    net = train(images, labels, weights, len(_CATEGORIES), job.seed, job.steps, _HOW[0][0])
    accuracy = top1(net, test_images, test_labels)
    return job, {"images": len(labels), "top1": accuracy, "seconds": round(time.perf_counter() - started, 1)}


def digest(out: Path) -> str:
    """What a training on a manifest depends on: its paths, labels and weights."""
    data = webclean.load_manifest(out)
    told = json.dumps([data.categories, data.paths, data.labels.tolist(), data.weights.tolist()])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def finished(results: Path | None) -> dict[Job, dict[str, float]]:
    """The trainings that a file of results holds."""
    if results is None or not results.exists():
        return {}
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {Job(**row["job"]): row["found"] for row in rows}


def trained(
    jobs: list[Job],
    results: Path | None,
    folders: dict[str, Path],
    categories: tuple[str, ...],
    workers: int,
    *,
    network: Callable[[int], nn.Module] = Net,
    side: int = SIDE,
) -> Iterator[tuple[Job, dict[str, float]]]:
    """Each job with what was found, in order; those that `results` lacks are run and added to it."""
    known = finished(results)
    lacking = [job for job in jobs if job not in known]
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=prepare_worker,
        initargs=(folders, categories, network, side),
    ) as pool:
        for job, found in pool.map(run, lacking):
            known[job] = found
            told = f"seed {job.seed} {job.steps} steps {job.set:12s} top-1 {found['top1']:.4f}  {found['seconds']:.0f} s"
            print(told, file=sys.stderr, flush=True)
            if results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"job": asdict(job), "found": found}) + "\n")
    return ((job, known[job]) for job in jobs)


def compared(top1_of: dict[str, list[float]], seed: int = 0) -> dict[str, Any]:
    """Mean top-1 of each set, and paired intervals: above raw, and which part of each gap is closed."""
    result: dict[str, Any] = {}
    for key, values in top1_of.items():
        rng = np.random.default_rng(seed)
        row: dict[str, Any] = {"mean": float(np.mean(values)), "top1": values}
        if key != "raw" and "raw" in top1_of:
            row["above_raw"] = asdict(metrics.paired_bootstrap(values, top1_of["raw"], rng=rng))
        if key not in ("raw", "right") and {"raw", "right"} <= top1_of.keys():
            row["gap_closed"] = asdict(metrics.gap_closed(top1_of["raw"], values, top1_of["right"], rng=rng))
        if key not in ("raw", "right", "true") and {"right", "true"} <= top1_of.keys():
            row["gap_to_true_closed"] = asdict(
                metrics.gap_closed(top1_of["right"], values, top1_of["true"], rng=rng)
            )
        result[key] = row
    return result


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of fashion-crawl")
    parser.add_argument(
        "--export", action="append", default=[], metavar="NAME=OUT", help="a weighted export, by a name"
    )
    parser.add_argument("--only", help="names of the sets to train on, by comma; none given: all")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="by comma")
    parser.add_argument("--times", type=int, default=1, help=f"so many times {STEPS} steps")
    parser.add_argument("--results", type=Path, help="file of finished trainings, read and added to")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="trainings at a time"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    sets = read_truth(arguments.data.resolve())
    categories = tuple(sorted({label for _, label in sets["raw"]}))
    with tempfile.TemporaryDirectory() as name:
        folders = {key: write_manifest(Path(name) / key, rows, categories) for key, rows in sets.items()}
        folders |= {key: Path(out) for key, _, out in (text.partition("=") for text in arguments.export)}
        names = arguments.only.split(",") if arguments.only else [key for key in folders if key != "test"]
        digest_of = {key: digest(folders[key]) for key in names}
        steps = STEPS * arguments.times
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        jobs = [Job(key, digest_of[key], steps, seed) for seed in seeds for key in names]
        found = dict(trained(jobs, arguments.results, folders, categories, arguments.workers))
    top1_of = {key: [found[job]["top1"] for job in jobs if job.set == key] for key in names}
    images = {job.set: int(found[job]["images"]) for job in jobs}
    result = {
        "machine": f"{platform.machine()}, {arguments.workers} at a time, torch {torch.__version__}",
        "steps": steps,
        "seeds": seeds,
        "images": images,
        "sets": compared(top1_of),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, row in result["sets"].items():
        print(
            f"{key:14s} {images[key]:6d} images  top-1 {row['mean']:.4f}  ({' '.join(f'{v:.4f}' for v in row['top1'])})"
        )
        for name in ("above_raw", "gap_closed", "gap_to_true_closed"):
            if name in row:
                print(
                    f"    {name:20s} {row[name]['mean']:.4f}  95 % [{row[name]['low']:.4f}, {row[name]['high']:.4f}]"
                )


if __name__ == "__main__":
    main()
