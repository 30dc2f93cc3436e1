"""A copy of a crawl whose texts tell nothing, or mislead: does the cleaning notice?

    python benchmarks/shuffle_texts.py crawl/manifest.csv out/manifest.csv --mode shuffle
    python benchmarks/shuffle_texts.py crawl/manifest.csv out/manifest.csv --mode mislead --truth crawl/truth.csv

All text of an image moves together: title, description, tags, page URL, alternative text and file name.
`shuffle` permutes it among the images of each label; `mislead` gives every wrong image the text of a right
image of its label, as a crawl does whose wrong results were found because their text names the query.

The images are linked (or copied, across file systems) into `images/` beside the new manifest, each in a
folder of its own number, under the file name that comes with its new text. With --truth, `truth.csv` is
written beside the manifest with the new paths.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TEXT_COLUMNS = ("title", "description", "tags", "page_url", "alt_text", "alt")
PATH_COLUMN = "path"
LABEL_COLUMNS = ("category", "label", "query")
OFF_TOPIC = "off-topic"


def donors(
    labels: Sequence[str], mode: str, rng: np.random.Generator, wrong: Sequence[bool] | None = None
) -> list[int]:
    """Row whose text each row gets; every donor has the label of the row that it gives to.

    Args:
        labels: label of each row.
        mode: `shuffle` or `mislead`.
        rng: the draw.
        wrong: for `mislead`: True where the label is wrong. A label without a right image keeps its texts.
    """
    found = list(range(len(labels)))
    for label in sorted(set(labels)):
        mine = np.array([i for i, other in enumerate(labels) if other == label])
        if mode == "shuffle":
            for i, donor in zip(mine.tolist(), rng.permutation(mine).tolist(), strict=True):
                found[i] = donor
        elif wrong is not None:
            right = np.array([i for i in mine if not wrong[i]], dtype=np.int64)
            for i in mine.tolist():
                if wrong[i] and len(right):
                    found[i] = int(rng.choice(right))
    return found


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV or JSONL manifest."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as CSV or JSONL, by the suffix; the columns of the first row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def with_donor_texts(
    rows: Sequence[Mapping[str, Any]], donor: Sequence[int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with the texts and file names of their donors, and their new paths."""
    columns = {name for row in rows for name in row}
    new_rows, paths = [], []
    for i, row in enumerate(rows):
        giver = rows[donor[i]]
        new = dict(row)
        for name in TEXT_COLUMNS:
            if name in columns:
                new.pop(name, None)
                if name in giver:
                    new[name] = giver[name]
        # The ending stays the image's own: it describes the bytes, not the text.
        name = Path(str(giver[PATH_COLUMN])).stem + Path(str(row[PATH_COLUMN])).suffix
        new[PATH_COLUMN] = f"images/{i:07d}/{name}"
        new_rows.append({key: new[key] for key in row if key in new} | new)
        paths.append(new[PATH_COLUMN])
    return new_rows, paths


def place(source: Path, target: Path) -> None:
    """The image's bytes under its new name; a file that the crawl lacks stays lacking."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file() or target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def wrong_rows(
    rows: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]], label: str
) -> list[bool]:
    """True where the truth names another category or calls the image off topic; uncertain rows are right."""
    of_path = {row[PATH_COLUMN]: row for row in truth}
    found = []
    for row in rows:
        known = of_path.get(row[PATH_COLUMN])
        if known is None or known.get("uncertain") in ("1", 1, True):
            found.append(False)
        else:
            found.append(known.get("kind") == OFF_TOPIC or known.get("true_category") != row[label])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the copy and say how many texts moved."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="manifest (.csv or .jsonl) with a `path` column")
    parser.add_argument("out", type=Path, help="manifest to write; its folder gets images/")
    parser.add_argument("--mode", choices=("shuffle", "mislead"), required=True)
    parser.add_argument("--truth", type=Path, help="CSV: path, true_category, kind, uncertain")
    parser.add_argument("--label", help=f"label column; default: the first of {', '.join(LABEL_COLUMNS)}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.mode == "mislead" and options.truth is None:
        parser.error("--mode mislead needs --truth")
    if options.out.suffix != options.source.suffix:
        parser.error(f"OUT must end in {options.source.suffix}, as SOURCE does")
    if options.out.resolve().parent == options.source.resolve().parent:
        parser.error("OUT must stand in another folder than SOURCE")

    rows = read_rows(options.source)
    label = options.label or next((name for name in LABEL_COLUMNS if name in rows[0]), None)
    if label is None or label not in rows[0]:
        parser.error(f"no label column; SOURCE has {', '.join(rows[0])}")
    truth = read_rows(options.truth) if options.truth is not None else []
    wrong = wrong_rows(rows, truth, label) if options.mode == "mislead" else None
    labels = [str(row[label]) for row in rows]
    donor = donors(labels, options.mode, np.random.default_rng(options.seed), wrong)
    new_rows, paths = with_donor_texts(rows, donor)

    folder = options.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    new_path: dict[str, str] = {}
    for row, path in zip(rows, paths, strict=True):
        place(options.source.parent / str(row[PATH_COLUMN]), folder / path)
        new_path.setdefault(row[PATH_COLUMN], path)
    write_rows(options.out, new_rows)
    if truth:
        moved = [
            {**row, PATH_COLUMN: new_path.get(row[PATH_COLUMN], row[PATH_COLUMN])}
            | ({"of": new_path.get(row["of"], row["of"])} if row.get("of") else {})
            for row in truth
        ]
        write_rows(folder / "truth.csv", moved)
    changed = sum(i != d for i, d in enumerate(donor))
    print(f"{len(rows)} rows, {changed} with the text of another image ({options.mode}, seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
