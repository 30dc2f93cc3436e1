"""What 50 trusted labels make of clean_score: its calibration error and AUROC, before and after, on all other rows.

    python benchmarks/trusted_labels.py RUN:TRUTH[:DECISIONS] ... [--labels 50] [--draws 20]

Each RUN has been weighted without trusted labels; TRUTH names images by `path`. A draw is what
`webclean weight RUN --to-label` chooses with that seed: it looks at the scores, never at the truth. The truth
answers for the drawn images, the correction is fitted as `weight --trusted` fits it, and both scores are
measured on the images that were not drawn: expected calibration error over 15 bins of equal mass, and AUROC
for right labels. `floor`: the error that a score of the same values would show if it were calibrated
perfectly, from the luck of which labels are right alone. `best line`: the error of the same correction fitted on all
labels, which no draw can do better than in expectation. `worst`: of all draws.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import trusted
from webclean.ops.metrics import auroc, reliability

Floats, Bools = NDArray[np.float64], NDArray[np.bool_]


def scored(run: RunDir, truth: Path, decisions: str) -> tuple[Floats, Bools]:
    """clean_score, and whether the label is right, of the usable images whose truth is certain."""
    known = {row["path"]: row for row in csv.DictReader(truth.open(encoding="utf-8"))}
    images = tables.read(
        run, schema.IMAGES, schema.IMAGES_TABLE, (schema.SOURCE_KEY, schema.CATEGORY, schema.STATUS)
    ).to_pylist()
    scores = tables.read(
        run, schema.decisions_path(decisions), schema.DECISIONS_TABLE, (schema.CLEAN_SCORE, schema.TRUSTED)
    ).to_pylist()
    if any(row[schema.TRUSTED] for row in scores):
        raise SystemExit(f"{run.url}: decisions '{decisions}' know trusted labels already")
    pairs = [
        (
            score[schema.CLEAN_SCORE],
            one["true_category"] == image[schema.CATEGORY] and one.get("kind") != "off-topic",
        )
        for image, score in zip(images, scores, strict=True)
        if image[schema.STATUS] == schema.STATUS_OK
        and (one := known.get(image[schema.SOURCE_KEY])) is not None
        and one.get("uncertain") != "1"
    ]
    score_N, right_N = zip(*pairs, strict=True)
    return np.array(score_N, dtype=np.float64), np.array(right_N, dtype=bool)


def floor_of(p_N: Floats, draws: int = 50) -> float:
    """The calibration error of a perfect score with these values, by the luck of the labels alone."""
    rng = np.random.default_rng(0)
    return mean(reliability(rng.random(len(p_N)) < p_N, p_N).error for _ in range(draws))


def measure(p_N: Floats, right_N: Bools, labels: int, draws: int) -> list[float]:
    """The figures of one row of the table."""
    before, after, areas = [], [], []
    for seed in range(draws):
        seen_M = trusted.choose(p_N, labels, np.random.default_rng(seed))
        rest_N = np.ones(len(p_N), dtype=bool)
        rest_N[seen_M] = False
        corrected_N = trusted.fit(p_N[seen_M], right_N[seen_M]).of(p_N)
        before.append(reliability(right_N[rest_N], p_N[rest_N]).error)
        after.append(reliability(right_N[rest_N], corrected_N[rest_N]).error)
        areas.append(auroc(right_N[rest_N], corrected_N[rest_N]) - auroc(right_N[rest_N], p_N[rest_N]))
    ratios = [new / old for new, old in zip(after, before, strict=True)]
    whole = trusted.fit(p_N, right_N).of(p_N)
    best = reliability(right_N, whole).error
    return [
        1.0 - right_N.mean(), floor_of(p_N), best, median(before), median(after), median(ratios), max(ratios), mean(areas),
        min(areas),
    ]  # fmt: skip


def main() -> None:
    """Measure and print one row for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN:TRUTH[:DECISIONS]")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    print(f"{options.labels} trusted labels, {options.draws} draws")
    print(
        "| run | images | wrong | floor | best line | ECE before | after | ratio | worst | AUROC, mean | worst |"
    )
    print("|---|" + "--:|" * 10)
    for given in options.runs:
        folder, truth, *rest = given.split(":")
        name = rest[0] if rest else "default"
        p_N, right_N = scored(RunDir(folder), Path(truth), name)
        wrong, floor, best, before, after, ratio, worst, area, lowest = measure(
            p_N, right_N, options.labels, options.draws
        )
        shown = Path(folder).name + ("" if name == "default" else f", {name}")
        print(
            f"| {shown} | {len(p_N):,} | {wrong:.3f} | {floor:.4f} | {best:.4f} | {before:.4f} | {after:.4f} |"
            f" {ratio:.2f} | {worst:.2f} | {area:+.4f} | {lowest:+.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
