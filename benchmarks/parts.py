"""What each evidence and each step adds to the ranking of labels, on runs that `label_quality.py --train` left.

For each run folder: AUROC and average precision of every evidence alone, of the stage weights, of sums that
grow by one part, of everything without one part, of a second round (`weight --rounds 2`) and of one judged by
the trained model (`weight --judge model:somnet`); what trust the decisions gave each evidence; and, with a test
table, the top-1 of SOMNet and of the plain baseline trained on the same weights.

    python benchmarks/parts.py RUN --truth TRUTH.csv [--test TEST.csv] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from commands import evaluate, webclean

PARTS = ("judge", "neighbors", "topic", "rank", "mass", "text-judge", "somnet")
SINGLE = {
    "rank": "p_rank",
    "category names and keywords": "p_text",
    "text judge": "p_text_judge",
    "image judge": "p_judge",
    "neighbours": "p_neighbors",
    "likeness to any image": "p_topic",
    "SOMNet": "models/somnet/predictions:somnet_score",
    "stage 1": "weights/r1/stage1:weight",
    "stage 2's match score": "weights/r1/stage2:match_score",
    "stage 1 x stage 2": "weights/r1/stage2:weight",
}
GROWING = (
    ("rank",),
    ("rank", "mass"),
    ("rank", "mass", "text-judge"),
    ("judge",),
    ("judge", "neighbors"),
    ("judge", "neighbors", "topic"),
    ("judge", "neighbors", "topic", "rank"),
    ("judge", "neighbors", "topic", "rank", "mass"),
    ("judge", "neighbors", "topic", "rank", "mass", "text-judge"),
    PARTS,
)


def ranking(run: Path, truth: Path, *flags: str) -> tuple[float, float]:
    """AUROC and average precision for wrong labels."""
    found = evaluate(run, truth, *flags)["ranking"]
    return found["auroc"], found["average_precision"]


def tell(name: str, figures: tuple[float, float], against: float | None = None) -> None:
    """One row."""
    change = "" if against is None else f"  {figures[0] - against:+.4f}"
    print(f"  {name:<58}{figures[0]:8.4f}{figures[1]:8.4f}{change}", flush=True)


def decided(run: Path, truth: Path, seed: str, parts: tuple[str, ...], *flags: str) -> tuple[float, float]:
    """The ranking of decisions from some parts."""
    webclean(
        "weight", str(run), "--seed", seed, *flags, "--evidence", ",".join(parts), "--decisions", "tried"
    )
    return ranking(run, truth, "--decisions", "tried")


def top1(run: Path, truth: Path, test: Path, model: str) -> float:
    """Top-1 of a model on clean images."""
    return float(evaluate(run, truth, "--test", str(test), "--model", model)["model"]["top1"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    run, truth, seed = options.run, options.truth, options.seed

    print(f"{run.name}, seed {seed}: AUROC, average precision\nalone")
    for name, column in SINGLE.items():
        tell(name, ranking(run, truth, "--score", column))
    print("growing sums, change from the line above")
    before = None
    for parts in GROWING:
        figures = decided(run, truth, seed, parts)
        tell(" + ".join(parts), figures, None if parts in (("rank",), ("judge",)) else before)
        before = figures[0]
    everything = before
    record = json.loads((run / "decisions" / "tried" / "run.json").read_text())
    for name, told in record["result"]["evidence"].items():
        print(f"    {name}: {json.dumps(told)}")
    print("without one part, change from all")
    for part in PARTS:
        tell(f"all but {part}", decided(run, truth, seed, tuple(p for p in PARTS if p != part)), everything)
    print("further rounds, without SOMNet's score, change from round 1")
    parts = tuple(p for p in PARTS if p != "somnet")
    first = decided(run, truth, seed, parts)
    tell("round 1", first)
    for name, flags in {
        "round 2": ("--rounds", "2", "--round-tolerance", "0"),
        "round 3": ("--rounds", "3", "--round-tolerance", "0"),
    }.items():
        tell(name, decided(run, truth, seed, parts, *flags), first[0])
    judged = decided(run, truth, seed, parts, "--judge", "model:somnet")
    tell("round 2 judged by SOMNet itself", judged, first[0])
    if options.test is not None:
        for model in ("plain", "somnet"):
            print(f"top-1 of {model}: {top1(run, truth, options.test, model):.4f}", flush=True)


if __name__ == "__main__":
    main()
