"""What each ingredient of clean_score is worth: the default, and the default with one thing changed by a flag.

For each set: `weight`, then `weight` again with each change below, and `evaluate` against the truth. What needs no new
judging (evidence, fewer rounds) decides anew and no more; the others judge anew all rounds that they touch.

    python benchmarks/ablation.py --data DIR --work DIR [--set sports-crawl] [--seeds 1] [--train]
        [--write docs/ablation.md]

Printed, and with --write put between the marks of each set in that file: AUROC and average precision of wrong labels (the
true category is not the label, or the image is off topic), AUROC of off-topic against right images where the set has
such, and the estimated less the true share of wrong labels. Runs of the sets are kept in WORK with their features (the
first time they are made, minutes). --train adds SOMNet, which takes longer than the rest together.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from commands import estimated_share, evaluate, webclean
from known_sets import CIFAR, CRAWLS, ingest_with_features, spread, unjudged_copy

PARTS = ("judge", "neighbors", "topic", "rank", "mass", "text-judge", "somnet")
OFF_TOPIC = "off-topic"
SCRATCH = ".scratch"  # of a run
DEFAULT = "the default"


@dataclass(frozen=True)
class Change:
    """One thing changed: what is said of it, the flags of `weight`, and whether it is about rank or text."""

    name: str
    flags: tuple[str, ...]
    about_sides: bool = False


def without(*parts: str) -> tuple[str, ...]:
    """Flags for all evidence but some."""
    return ("--evidence", ",".join(part for part in PARTS if part not in parts))


# Those that only decide anew come before those that judge anew: each would judge the default's rounds once more.
CHANGES = (
    Change(DEFAULT, ()),
    Change("no rank", without("rank"), about_sides=True),
    Change("no text judge: keywords in its place", without("text-judge"), about_sides=True),
    Change("no keywords", without("mass"), about_sides=True),
    Change("no text at all", without("text-judge", "mass"), about_sides=True),
    Change("images only", ("--evidence", "image"), about_sides=True),
    Change("rank and text only", ("--evidence", "rank,text"), about_sides=True),
    Change("no on-topic part", without("topic")),
    Change("no head, neighbours alone, in the last step", without("judge")),
    Change("no neighbours in the last step", without("neighbors")),
    Change("1 round", ("--rounds", "1")),
    Change("2 rounds", ("--rounds", "2")),
    Change("no neighbours in any round", ("--neighbor-weight", "0")),
    Change("5 folds instead of 20", ("--ridge-folds", "5")),
    Change("128 directions instead of 512", ("--judge-dims", "128")),
    Change("all 1,248 directions", ("--judge-dims", "1248")),
)
SOMNET = Change("with SOMNet's score (`webclean train`)", ())


@dataclass(frozen=True)
class Figures:
    """Of one decision: ranking of wrong labels, of off-topic images (None without any), estimated less true share."""

    auroc: float
    average_precision: float
    off_topic: float | None
    share_error: float


def figures(run: Path, truth: Path, decisions: str) -> Figures:
    """What `evaluate` says of some decisions."""
    found = evaluate(run, truth, "--decisions", decisions)
    ranking, decided, kinds = found["ranking"], found["decided"], found["by_kind"] or {}
    true = decided["wrong"] / (decided["right"] + decided["wrong"])
    return Figures(
        auroc=ranking["auroc"],
        average_precision=ranking["average_precision"],
        off_topic=kinds[OFF_TOPIC]["auroc"] if OFF_TOPIC in kinds else None,
        share_error=estimated_share(run, decisions) - true,
    )


def decide(run: Path, truth: Path, seed: int, change: Change) -> Figures:
    """The figures with one change."""
    webclean("weight", str(run), "--seed", str(seed), *change.flags, "--decisions", "tried")
    return figures(run, truth, "tried")


def with_somnet(run: Path, truth: Path, seed: int, copy: Path) -> Figures:
    """The figures of the default with SOMNet's score; trained on a copy, so that it has no part in other changes.

    Of an earlier copy only the regions' features stay (minutes).
    """
    for left in copy.glob("*"):
        if left.name != SCRATCH:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    shutil.copytree(run, copy, dirs_exist_ok=True)
    webclean("train", str(copy), "--seed", str(seed))
    return figures(copy, truth, "default")


def table(found: dict[Change, list[Figures]]) -> list[str]:
    """Markdown of one set: means over the seeds, and the change of AUROC from the default in its own last digits."""
    has_topic = next(iter(found.values()))[0].off_topic is not None
    base = mean(row.auroc for row in next(iter(found.values())))
    heads = ["changed", "flags of `weight`", "AUROC", "change", "average precision"]
    heads += [*(["off-topic AUROC"] if has_topic else []), "estimated - true share"]
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * (len(heads) - 2)}"]
    for change, rows in found.items():
        cells = [
            change.name,
            f"`{' '.join(change.flags)}`" if change.flags else "",
            spread([row.auroc for row in rows]),
            "" if change.name == DEFAULT else f"{mean(row.auroc for row in rows) - base:+.4f}",
            spread([row.average_precision for row in rows], 3),
        ]
        if has_topic:
            cells.append(spread([row.off_topic for row in rows if row.off_topic is not None]))
        cells.append(f"{mean(row.share_error for row in rows):+.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_between(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put a table between a file's marks of a set; at the end, under a heading of its own, where it has none."""
    first, last = f"<!-- {name}: benchmarks/ablation.py -->", f"<!-- end of {name} -->"
    text = path.read_text(encoding="utf-8")
    if first not in text or last not in text:
        text = f"{text.rstrip()}\n\n## {name}\n\n{first}\n{last}\n"
    before, after = text[: text.index(first)], text[text.index(last) :]
    path.write_text("\n".join([f"{before}{first}\n", *lines, "", after]), encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WEBCLEAN_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--set", action="append", choices=(*CRAWLS, CIFAR), dest="sets")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--train", action="store_true", help="SOMNet too")
    parser.add_argument("--write", type=Path, help="file with marks to put the tables between")
    options = parser.parse_args()
    data, work = options.data.resolve(), options.work.resolve()
    for name in options.sets or (*CRAWLS, CIFAR):
        truth = ingest_with_features(data, name, work / name)
        run = unjudged_copy(work / name, work / f"{name}-ablation")
        found: dict[Change, list[Figures]] = {}
        for seed in range(options.seeds):
            for change in CHANGES:
                if name == CIFAR and change.about_sides:
                    continue
                row = decide(run, truth, seed, change)
                found.setdefault(change, []).append(row)
                print(name, "seed", seed, change.name, row, file=sys.stderr, flush=True)
                if change.name == DEFAULT and options.train:
                    somnet = with_somnet(run, truth, seed, work / f"{name}-ablation-somnet")
                    found.setdefault(SOMNET, []).append(somnet)
                    print(name, "seed", seed, SOMNET.name, somnet, file=sys.stderr, flush=True)
        print("\n".join(["", f"## {name}", "", *table(found)]), flush=True)
        if options.write is not None:
            write_between(options.write, name, table(found))


if __name__ == "__main__":
    main()
