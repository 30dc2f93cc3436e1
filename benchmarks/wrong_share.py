"""The share of wrong labels that webclean estimates, beside the one that is there.

    python benchmarks/wrong_share.py RUN --truth TRUTH.csv [--seeds 3]

RUN is a run that has been weighted, so that it holds features. The images whose true category is known get
that as their label; crawls of a few sizes are drawn from them, and a known share of their labels is made
wrong: any other category, or always the same one, as siblings are mistaken for each other. Every crawl is
judged as `webclean weight` judges it (ridge head and neighbours, cross-fitted, trained on the wrong labels),
and the judgement calibrated. Printed: the share put in, the share estimated, and what P(label right) < 1/2
would drop of the wrong and of the right labels. Weak judges see 80 of the features only.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import DecideConfig, JudgeImageConfig, JudgeNeighborsConfig
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops.folds import grouped_folds
from webclean.ops.heads import cross_fit, log_softmax, ridge, standardise
from webclean.ops.label_noise import calibrate
from webclean.ops.neighbors import vote
from webclean.stages.judged import read_features, read_usable

SIZES = (250, 500, 1500)
CATEGORIES = (4, 10)
NOISE = (("no", 0.0), ("any", 0.05), ("any", 0.2), ("any", 0.45), ("sibling", 0.1), ("sibling", 0.2))
WEAK_FEATURES = 80
HEAD, NEIGHBORS, DECIDE = JudgeImageConfig(), JudgeNeighborsConfig(), DecideConfig()

Ints = NDArray[np.int64]


def known(run: RunDir, truth: Path) -> tuple[NDArray[np.float32], Ints]:
    """Features and true category of the images that are no copies and whose truth is certain."""
    true_of = {
        row["path"]: row["true_category"]
        for row in csv.DictReader(truth.open(encoding="utf-8"))
        if row["true_category"] and row.get("uncertain", "") != "1"
    }
    keys = [
        row[schema.SOURCE_KEY]
        for row in tables.read(
            run, schema.IMAGES, schema.IMAGES_TABLE, (schema.SOURCE_KEY, schema.STATUS)
        ).to_pylist()
        if row[schema.STATUS] == schema.STATUS_OK
    ]
    usable = read_usable(run)
    features_ND = read_features(run, "default", usable)
    picked = [i for i, key in enumerate(keys) if key in true_of and usable.group_N[i] < 0]
    names = sorted(set(true_of.values()))
    return features_ND[picked], np.array([names.index(true_of[keys[i]]) for i in picked], dtype=np.int64)


def mislabel(true_N: Ints, num_categories: int, kind: str, share: float, rng: np.random.Generator) -> Ints:
    """Labels of which a share is wrong."""
    wrong_N = rng.random(len(true_N)) < share
    sibling_N = np.where((true_N ^ 1) < num_categories, true_N ^ 1, 0)
    any_N = (true_N + rng.integers(1, num_categories, len(true_N))) % num_categories
    return np.where(wrong_N, sibling_N if kind == "sibling" else any_N, true_N)


def judged(features_ND: NDArray[np.float32], label_N: Ints, num: int, rng: np.random.Generator) -> np.ndarray:
    """Log-probabilities (N, C) as `weight` finds them."""
    x_ND = standardise(features_ND, HEAD.judge_dims) / np.sqrt(features_ND.shape[1])
    alone_N = np.arange(len(label_N))
    fold_N = grouped_folds(label_N, alone_N, HEAD.judge_folds, rng)
    weight_N = np.ones(len(label_N))
    head = cross_fit(x_ND, label_N, fold_N, num, ridge, HEAD.judge_strengths, weight_N)
    near = vote(
        features_ND, label_N, alone_N, num,
        k=NEIGHBORS.neighbors, temperature=NEIGHBORS.neighbors_temperature,
    )  # fmt: skip
    return log_softmax(head.log_probability_NC + DECIDE.neighbor_weight * near.log_probability_NC)


def main() -> None:
    """Draw, mislabel, judge, calibrate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a run that has been weighted")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    features_MD, true_M = known(RunDir(options.run), options.truth)
    weak = np.random.default_rng(0).permutation(features_MD.shape[1])[:WEAK_FEATURES]
    print(
        f"{len(true_M)} images of known category in {len(np.unique(true_M))} categories; {options.seeds} seeds"
    )
    print(
        "| images | categories | mistaken for | wrong | estimated | wrong dropped | right dropped | weak: estimated | wrong dropped | right dropped |"
    )
    print("|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for size in SIZES:
        for num in CATEGORIES:
            for kind, share in NOISE:
                rows = []
                for seed in range(options.seeds):
                    rng = np.random.default_rng((seed, size, num, round(100 * share), len(kind)))
                    chosen = rng.permutation(np.unique(true_M))[:num]
                    picked = rng.permutation(np.flatnonzero(np.isin(true_M, chosen)))[:size]
                    true_N = np.searchsorted(np.sort(chosen), true_M[picked])
                    label_N = mislabel(true_N, num, kind, share, rng)
                    wrong_N = label_N != true_N
                    row = [float(len(picked)), float(wrong_N.mean())]
                    for columns in (slice(None), weak):
                        found = calibrate(judged(features_MD[picked][:, columns], label_N, num, rng), label_N)
                        drop_N = found.p_right_N < 0.5
                        lost = float(drop_N[wrong_N].mean()) if wrong_N.any() else float("nan")
                        row += [found.wrong_share, lost, float(drop_N[~wrong_N].mean())]
                    rows.append(row)
                images, *figures = (mean(column) for column in zip(*rows, strict=True))
                cells = ["-" if np.isnan(f) else f"{f:.3f}" for f in figures]
                print(f"| {images:.0f} | {num} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
