"""clean_score beside cleanlab's label quality scores and neighbour agreement, on the same predictions.

For each set and seed: `ingest` + `weight`, then AUROC and average precision for wrong labels of

* clean_score, and clean_score of images only (`--evidence image`), which is what the peers see;
* cleanlab's scores (all methods, with and without its adjustment), fed with the image judge's own out-of-sample
  predictions of the last round, and with those of the first, which no round has improved;
* agreement of the nearest neighbours with the label.

Wrong: the true category is not the label, or the image is off topic. Rows whose file is bad or that the truth
calls uncertain are left out. The second table: the share of wrong labels, estimated and true.

    python benchmarks/label_methods.py --data DIR --work DIR [--set sports-crawl] [--seeds 3] [--from-scratch]

Needs cleanlab (`pip install cleanlab`); features are kept in WORK, so that further seeds cost only the judging.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from commands import webclean
from known_sets import (
    CIFAR,
    CRAWLS,
    Floats,
    ingest,
    known_images,
    last_round,
    probabilities,
    spread,
)
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.judged import Usable, read_usable


def wrong_and_counted(run: RunDir, truth: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the usable images: whether the label is wrong, and whether the truth is certain."""
    images = known_images(run, truth)
    return np.array([image.wrong for image in images]), np.array([image.certain for image in images])


def clean_score(run: RunDir, decisions: str) -> Floats:
    """clean_score of the usable images."""
    rows = tables.read(run, schema.decisions_path(decisions), schema.DECISIONS_TABLE, (schema.CLEAN_SCORE,))
    score_N = rows.column(schema.CLEAN_SCORE).to_numpy(zero_copy_only=False).astype(np.float64)
    found: Floats = score_N[~np.isnan(score_N)]
    return found


def cleanlab_scores(p_NC: Floats, label_N: NDArray[np.int64]) -> dict[str, Floats]:
    """All of cleanlab's label quality scores."""
    from cleanlab.rank import get_label_quality_scores

    found = {}
    for method, adjusts in (
        ("self_confidence", (False, True)),
        ("normalized_margin", (False, True)),
        ("confidence_weighted_entropy", (False,)),
    ):
        for adjust in adjusts:
            name = f"cleanlab {method}{', adjusted' if adjust else ''}"
            found[name] = get_label_quality_scores(label_N, p_NC, method=method, adjust_pred_probs=adjust)
    return found


def measure(run_path: Path, truth: Path, scratch: bool) -> tuple[dict[str, Floats], RunDir, Usable]:
    """Scores of all methods for the usable images."""
    run = RunDir(str(run_path))
    usable = read_usable(run)
    last = last_round(run)
    scores = {
        "clean_score": clean_score(run, "default"),
        "clean_score, images only": clean_score(run, "image"),
    }
    for round_ in sorted({1, last}):
        p_NC = probabilities(run, schema.JUDGE_IMAGE, round_, usable)
        for name, score_N in cleanlab_scores(p_NC, usable.label_N).items():
            scores[f"{name} (round {round_})"] = score_N
    if not scratch:
        votes_NC = probabilities(run, schema.JUDGE_NEIGHBORS, 1, usable)
        scores["agreement of neighbours"] = votes_NC[np.arange(len(votes_NC)), usable.label_N]
    return scores, run, usable


def main() -> None:
    """Measure and print two tables for each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WEBCLEAN_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--set", action="append", choices=(*CRAWLS, CIFAR), dest="sets")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--from-scratch", action="store_true", help="no pretrained weights")
    options = parser.parse_args()
    weights = ("--weights", "none") if options.from_scratch else ()
    for name in options.sets or (*CRAWLS, CIFAR):
        run_path = options.work / f"{name}{'-scratch' if options.from_scratch else ''}"
        truth = ingest(options.data.resolve(), name, run_path)
        found: dict[str, list[tuple[float, float]]] = {}
        shares = []
        for seed in range(options.seeds):
            webclean("weight", str(run_path), "--seed", str(seed), *weights)
            webclean("weight", str(run_path), "--seed", str(seed), *weights, "--evidence", "image")
            scores, run, _ = measure(run_path, truth, options.from_scratch)
            wrong_N, counted_N = wrong_and_counted(run, truth)
            shares.append((float(1 - scores["clean_score"].mean()), float(wrong_N.mean())))
            for method, score_N in scores.items():
                y, s = wrong_N[counted_N], -score_N[counted_N]
                found.setdefault(method, []).append(
                    (float(roc_auc_score(y, s)), float(average_precision_score(y, s)))
                )
        print(f"\n## {name}{', from scratch' if options.from_scratch else ''}, {options.seeds} seeds\n")
        print("| score | AUROC | average precision |\n|---|---|---|")
        for method, pairs in found.items():
            cells = (spread([pair[i] for pair in pairs]) for i in (0, 1))
            print(f"| {method} | {' | '.join(cells)} |")
        print(
            f"\nShare of wrong labels: estimated {spread([a for a, _ in shares], 3)},"
            f" true {shares[0][1]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
