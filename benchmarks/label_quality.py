"""How well wrong labels are found on real crawls, through the commands alone.

For each crawl and seed: `ingest` + `weight` (and `train` with --train), then `evaluate`: AUROC and average
precision of clean_score, what the default policy drops, what each part scores alone, and the estimated share
of wrong labels beside the true one. Beside it, on request, two copies of the crawl that try the method:

* --right   only the rows whose label is right: a crawl without wrong labels must stay whole;
* --shuffle the texts shuffled among the images of each label: text that tells nothing must not hurt.

Features do not depend on the seed, so further seeds cost only the judging.

    python benchmarks/label_quality.py --data DIR --work DIR [--crawl sports-crawl] [--seeds 3] [--right]
        [--shuffle] [--train] [--from-scratch]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from commands import estimated_share, evaluate, read_csv, webclean
from known_sets import CRAWLS, part_of_crawl

HERE = Path(__file__).resolve().parent
SINGLE = ("p_rank", "p_text", "p_text_judge", "p_judge", "p_neighbors", "p_topic")
SOMNET_SCORE = "models/somnet/predictions:somnet_score"
ALL_BUT_SOMNET = "judge,neighbors,topic,rank,mass,text-judge"


def right_only(crawl: Path, out: Path) -> Path:
    """A manifest of the rows whose label is right and certain, images where they are."""
    truth = {row["path"]: row for row in read_csv(crawl / "truth.csv")}

    def is_right(row: Mapping[str, Any]) -> bool:
        known = truth[row["path"]]
        return (
            known["true_category"] == row["query"]
            and known["kind"] != "off-topic"
            and known.get("uncertain", "0") != "1"
        )

    return part_of_crawl(crawl, out, is_right)


def measure(run: Path, truth: Path, seconds: float, parts: bool) -> dict[str, Any]:
    """The figures of one run."""
    full = evaluate(run, truth)
    ranking, decided = full["ranking"], full["decided"]
    row: dict[str, Any] = {
        "auroc": ranking["auroc"],
        "ap": ranking["average_precision"],
        "wrong_dropped": decided["recall"],
        "right_dropped_for_label": decided["right_dropped_for_label"] / max(1, decided["right"]),
        "right_dropped_at_all": decided["right_dropped"] / max(1, decided["right"]),
        "true_share": decided["wrong"] / max(1, decided["right"] + decided["wrong"]),
        "estimated_share": estimated_share(run),
        "seconds": seconds,
    }
    if parts:
        for part in (*SINGLE, SOMNET_SCORE):
            try:
                row[part] = evaluate(run, truth, "--score", part)["ranking"]["auroc"]
            except SystemExit:
                row[part] = None
        row["images only"] = evaluate(run, truth, "--decisions", "image")["ranking"]["auroc"]
        if (run / "decisions" / "all-but-somnet").exists():
            row["all but SOMNet"] = evaluate(run, truth, "--decisions", "all-but-somnet")["ranking"]["auroc"]
    return row


def chain(source: Path, run: Path, seed: int, options: argparse.Namespace) -> float:
    """ingest, weight (and train); seconds."""
    start = time.perf_counter()
    flags = ["--seed", str(seed)]
    weights = ["--weights", "none"] if options.from_scratch else []
    webclean("ingest", str(source), str(run), "--allow-outside")
    webclean("weight", str(run), *flags, *weights)
    if options.train:
        webclean("train", str(run), *flags, *weights)
    seconds = time.perf_counter() - start
    webclean("weight", str(run), *flags, *weights, "--evidence", "image")
    if options.train:
        webclean(
            "weight",
            str(run),
            *flags,
            *weights,
            "--evidence",
            ALL_BUT_SOMNET,
            "--decisions",
            "all-but-somnet",
        )
    return seconds


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation of each figure over the seeds."""
    lines = []
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            lines.append(f"  {key:<26}{mean(values):9.4f}  +- {spread:.4f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WEBCLEAN_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--crawl", action="append", choices=CRAWLS)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--from-scratch", action="store_true")
    options = parser.parse_args()
    kind = "scratch" if options.from_scratch else "features"
    for name in options.crawl or CRAWLS:
        crawl = (options.data / name).resolve()
        rows = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            run = options.work / f"{name}-{kind}"
            seconds = chain(crawl, run, seed, options)
            rows.append(measure(run, crawl / "truth.csv", seconds, parts=True))
            print(f"{name}, {kind}, seed {seed}: {json.dumps(rows[-1])}", flush=True)
        print(
            f"{name}, {kind}, {options.seeds} seeds, mean and standard deviation\n{summary(rows)}", flush=True
        )
        if options.right:
            source = right_only(crawl, options.work / f"{name}-right-source")
            run = options.work / f"{name}-{kind}-right"
            chain(source, run, 0, options)
            kept = json.loads((run / "decisions" / "default" / "run.json").read_text())["counts"]
            judged = kept["total"] - sum(
                n
                for reason, n in kept["dropped"].items()
                if reason.startswith(("bad_file", "duplicate", "label_conflict"))
            )
            low = kept["dropped"].get("low_score", 0)
            print(
                f"{name}, right labels only: {judged - low} of {judged} kept ({1 - low / judged:.4f}),"
                f" copies and bad files aside; estimated share wrong {estimated_share(run):.4f}; {kept}",
                flush=True,
            )
        if options.shuffle:
            source = options.work / f"{name}-shuffled-source"
            manifest = next(crawl.glob("manifest.*"))
            if not source.exists():
                subprocess.run(
                    [sys.executable, str(HERE / "shuffle_texts.py"), str(manifest),
                     str(source / manifest.name), "--mode", "shuffle", "--truth", str(crawl / "truth.csv")],
                    check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip
            run = options.work / f"{name}-{kind}-shuffled"
            seconds = chain(source, run, 0, options)
            row = measure(run, source / "truth.csv", seconds, parts=True)
            print(f"{name}, texts shuffled within each label: {json.dumps(row)}", flush=True)


if __name__ == "__main__":
    main()
