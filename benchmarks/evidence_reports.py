"""What decisions tell besides the score, held against the truth.

    python benchmarks/evidence_reports.py RUN:TRUTH[:DECISIONS] ...

For each weighted run: of the images under a wrong category (off topic aside), the share whose suggestion is the
true category; how many images `export --relabel` would
move (suggestion at .9 or above), and the share of them that then stand right; how many categories have their true share of
wrong labels inside the 90 % interval, and the interval's mean width; the share of wrong labels at ranks within
the told depth and beyond it, where rank helps.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from webclean import schema
from webclean.config import ExportConfig
from webclean.io import tables
from webclean.io.run_dir import RunDir


def measure(run: RunDir, truth: Path, decisions: str) -> list[str]:
    """Cells of one row of the table."""
    known = {row["path"]: row for row in csv.DictReader(truth.open(encoding="utf-8"))}
    artefact = schema.decisions_path(decisions)
    told = json.loads(run.read_bytes(f"{artefact}/{schema.RUN_JSON}"))["result"]
    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    decided = tables.read(run, artefact, schema.DECISIONS_TABLE).to_pylist()
    placed = tables.read(run, schema.stage1_path(1), schema.STAGE1_TABLE).to_pylist()
    bar = ExportConfig().relabel_threshold
    moved, named = [], []
    wrong_of: dict[str, list[bool]] = {}
    within, beyond = [], []
    noise = told.get("rank_noise") or {"depths": [], "helps": False}
    depth_of = {(one["query"], one["source"]): one["depth"] for one in noise["depths"]}
    for image, row, place in zip(images, decided, placed, strict=True):
        one = known.get(image[schema.SOURCE_KEY])
        if image[schema.STATUS] != schema.STATUS_OK or one is None or one.get("uncertain") == "1":
            continue
        off_topic = one["kind"] == "off-topic"
        wrong = off_topic or one["true_category"] != image[schema.CATEGORY]
        wrong_of.setdefault(image[schema.CATEGORY], []).append(wrong)
        hit = not off_topic and row[schema.SUGGESTED_CATEGORY] == one["true_category"]
        if wrong and not off_topic:
            named.append(hit)
        if (row[schema.SUGGESTED_PROBABILITY] or 0.0) >= bar:
            moved.append(hit)
        position = place[schema.RANK_POSITION]
        if position and noise["helps"]:
            inside = position <= depth_of[image[schema.QUERY], image[schema.SOURCE]]
            (within if inside else beyond).append(wrong)
    spans = told["wrong_share_interval_by_category"]
    inside = [low <= np.mean(wrong_of[name]) <= high for name, (low, high) in spans.items()]
    width = np.mean([high - low for low, high in spans.values()])
    low, high = told["wrong_share_interval"]
    share = np.mean([wrong for some in wrong_of.values() for wrong in some])
    return [
        f"{np.mean(named):.3f} of {len(named):,}",
        f"{len(moved):,}",
        f"{np.mean(moved):.3f}" if moved else "-",
        f"{sum(inside)} of {len(inside)}",
        f"{width:.3f}",
        f"{share:.3f} / {told['wrong_share']:.3f} ({low:.3f} to {high:.3f})",
        f"{np.mean(within):.3f} / {np.mean(beyond):.3f} ({len(beyond)})" if within and beyond else "-",
    ]


def main() -> None:
    """Measure and print one row for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN:TRUTH[:DECISIONS]")
    print(
        "| run | suggestion is the true category | moved at .9 | right then | categories inside | mean width"
        " | wrong: true / told | wrong within the depth / beyond |"
    )
    print("|---" * 8 + "|")
    for given in parser.parse_args().runs:
        folder, truth, *rest = given.split(":")
        cells = measure(RunDir(folder), Path(truth), rest[0] if rest else "default")
        print(f"| {', '.join((Path(folder).name, *rest))} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
