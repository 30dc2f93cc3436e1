"""What a cleaned export is worth to a trainer: top-1 on clean test images, three trainings side by side.

The same plain PyTorch loop, over `webclean.load_manifest(OUT)` alone, runs on the raw crawl (every
readable image, weight 1, the query as its label), on a weighted export, and on just the images whose label is
right (known from the truth). Each seed fixes the initial weights and the order of draws for all three;
nets, optimiser, augmentation and number of steps are the same. Printed: top-1 per seed, the part of the gap
between raw and right-only that the export closes, and paired bootstrap intervals over seeds.

The loop was settled on one seed of raw and right-only, before any export was trained on.

    python benchmarks/train_on_export.py --data DIR/fashion-crawl --weighted OUT [--json]
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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

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
    """Flip half of the images, shift each by up to `SHIFT` pixels, and bring uint8 to [-1, 1]."""
    padded = F.pad(images.float().div_(127.5).sub_(1), (SHIFT,) * 4, mode="replicate")
    flipped = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, padded.flip(3), padded)
    corners = torch.randint(0, 2 * SHIFT + 1, (len(images), 2)).tolist()
    return torch.stack([x[:, i : i + SIDE, j : j + SIDE] for x, (i, j) in zip(flipped, corners, strict=True)])


def train(
    images: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, num_categories: int, seed: int
) -> Net:
    """Weighted cross-entropy, AdamW, one cycle; `images` uint8 (N, 3, SIDE, SIDE)."""
    torch.manual_seed(seed)
    net = Net(num_categories).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    order = torch.cat([torch.randperm(len(images)) for _ in range(STEPS * BATCH // len(images) + 1)])
    for step in range(STEPS):
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
def top1(net: Net, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Part of the images whose most likely category is theirs."""
    hits = [
        (net(x.float().div(127.5).sub(1)).argmax(1) == y).sum()
        for x, y in zip(images.split(256), labels.split(256), strict=True)
    ]
    return float(torch.stack(hits).sum()) / len(labels)


# ---------------------------------------------------------------- data
def load(out: Path, categories: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A manifest in memory: uint8 images, class indices by `categories`, float32 weights."""
    data = webclean.load_manifest(
        out, transform=lambda image: torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1)
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


def read_truth(data: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """(absolute path, label) of all crawled images, of those whose label is right, and of the test images."""
    with (data / "truth.csv").open(newline="", encoding="utf-8") as file:
        true = {row["path"]: row["true_category"] for row in csv.DictReader(file)}
    crawled = [json.loads(line) for line in (data / "manifest.jsonl").read_bytes().splitlines()]
    raw = [(str(data / row["path"]), row["query"]) for row in crawled]
    right = [(str(data / row["path"]), row["query"]) for row in crawled if true[row["path"]] == row["query"]]
    with (data / "test.csv").open(newline="", encoding="utf-8") as file:
        test = [(str(data / row["path"]), row["category"]) for row in csv.DictReader(file)]
    return raw, right, test


# ---------------------------------------------------------------- the comparison
_SETS: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}


def prepare_worker(folders: dict[str, Path], categories: tuple[str, ...]) -> None:
    """Load all sets into a worker, which computes on one thread: the result is the same for any number."""
    torch.set_num_threads(1)
    _SETS.update({key: load(folder, categories) for key, folder in folders.items()})


def run(job: tuple[str, int]) -> tuple[str, int, int, float, float]:
    """One training: (set, seed, images, top-1, seconds)."""
    key, seed = job
    started = time.perf_counter()
    images, labels, weights = _SETS[key]
    test_images, test_labels, _ = _SETS["test"]
    num_categories = int(test_labels.max()) + 1
    accuracy = top1(train(images, labels, weights, num_categories, seed), test_images, test_labels)
    return key, seed, len(labels), accuracy, time.perf_counter() - started


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of fashion-crawl")
    parser.add_argument("--weighted", type=Path, help="a weighted export; none: only raw and right-only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="trainings at a time"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    raw, right, test = read_truth(arguments.data.resolve())
    categories = tuple(sorted({label for _, label in raw}))
    with tempfile.TemporaryDirectory() as name:
        folders = {
            key: write_manifest(Path(name) / key, rows, categories)
            for key, rows in (("raw", raw), ("right", right), ("test", test))
        }
        if arguments.weighted:
            folders["weighted"] = arguments.weighted
        jobs = [(key, seed) for seed in range(arguments.seeds) for key in folders if key != "test"]
        found: dict[str, list[float]] = {key: [] for key in folders if key != "test"}
        sizes: dict[str, int] = {}
        with ProcessPoolExecutor(
            arguments.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare_worker,
            initargs=(folders, categories),
        ) as pool:
            for key, seed, size, accuracy, seconds in pool.map(run, jobs):
                found[key].append(accuracy)
                sizes[key] = size
                print(
                    f"seed {seed} {key:9s} top-1 {accuracy:.4f}  {seconds:.0f} s", file=sys.stderr, flush=True
                )

    loop = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    result: dict[str, object] = {
        "machine": f"{platform.machine()}, {arguments.workers} at a time, torch {torch.__version__}",
        "script_sha256": loop,
        "steps": STEPS,
        "images": sizes,
        "top1": found,
        "mean": {key: float(np.mean(values)) for key, values in found.items()},
    }
    if "weighted" in found:
        rng = np.random.default_rng(0)
        result |= {
            "weighted_minus_raw": vars_of(metrics.paired_bootstrap(found["weighted"], found["raw"], rng=rng)),
            "right_minus_raw": vars_of(metrics.paired_bootstrap(found["right"], found["raw"], rng=rng)),
            "gap_closed": vars_of(
                metrics.gap_closed(found["raw"], found["weighted"], found["right"], rng=rng)
            ),
        }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, values in found.items():
        print(
            f"{key:10s} {sizes[key]:6d} images  top-1 {np.mean(values):.4f}  ({' '.join(f'{v:.4f}' for v in values)})"
        )
    for key in ("weighted_minus_raw", "right_minus_raw", "gap_closed"):
        if isinstance(interval := result.get(key), dict):
            print(f"{key:20s} {interval['mean']:.4f}  95 % [{interval['low']:.4f}, {interval['high']:.4f}]")


def vars_of(interval: metrics.Interval) -> dict[str, float]:
    """An interval as a dictionary."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


if __name__ == "__main__":
    main()
