"""Copies that ingest reports, against those that were planted and those of equal SHA-256.

    python benchmarks/duplicates_found.py RUN [--truth TRUTH.csv] [--sheet PAIRS.png]

Prints the groups of equal content (and how many cross categories), how many planted near duplicates stand in
the group of their original, which do not, and every reported pair that is neither planted nor of equal
content, nor follows from such pairs. `--sheet` draws those pairs side by side, for the eye to judge.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from webclean import schema
from webclean.io import pixels, tables
from webclean.io.run_dir import RunDir
from webclean.ops.components import components

NEAR = ("near-duplicate", "near-duplicate-other-category")
SIDE = 160


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    run = RunDir(options.run)
    names = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.SHA256, schema.URI, schema.STATUS)
    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, names).to_pylist()
    key_of = {row[schema.IMAGE_ID]: row[schema.SOURCE_KEY] for row in images}
    row_of = {row[schema.SOURCE_KEY]: row for row in images}
    rows = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()

    equal = defaultdict(list)
    for row in images:
        if row[schema.SHA256] or row[schema.STATUS] == "empty":
            equal[row[schema.SHA256]].append(row)
    equal_groups = [members for members in equal.values() if len(members) > 1]
    crossing = sum(len({row[schema.CATEGORY] for row in members}) > 1 for members in equal_groups)
    reported = defaultdict(list)
    for row in rows:
        reported[row[schema.GROUP]].append(key_of[row[schema.IMAGE_ID]])
    group_of = {key: group for group, keys in reported.items() for key in keys}
    whole = sum(
        len({group_of.get(row[schema.SOURCE_KEY], -1) for row in group}) == 1 for group in equal_groups
    )
    print(f"equal SHA-256: {len(equal_groups)} groups, {crossing} across categories, {whole} reported whole")

    known = [
        (members[0][schema.SOURCE_KEY], row[schema.SOURCE_KEY])
        for members in equal_groups
        for row in members[1:]
    ]
    if options.truth is not None:
        found, missed = 0, []
        for row in csv.DictReader(options.truth.open(encoding="utf-8")):
            if row["kind"] not in NEAR:
                continue
            known.append((row["path"], row["of"]))
            if group_of.get(row["path"], -1) == group_of.get(row["of"], -2):
                found += 1
            else:
                missed.append(f"{row['path']} of {row['of']}")
        print(f"planted near duplicates: {found} of {found + len(missed)} stand with their original")
        for line in missed:
            print(f"  missed {line}")
    number_of = {key: number for number, key in enumerate(row_of)}
    first, second = (np.array([number_of[pair[end]] for pair in known], dtype=np.int64) for end in (0, 1))
    closure = components(len(number_of), first, second)
    others = [
        pair
        for keys in reported.values()
        for pair in combinations(sorted(keys), 2)
        if closure[number_of[pair[0]]] != closure[number_of[pair[1]]]
    ]
    print(f"reported pairs that follow from neither: {len(others)}")
    for a, b in others:
        print(f"  {a} ({row_of[a][schema.CATEGORY]})  {b} ({row_of[b][schema.CATEGORY]})")
    if options.sheet is not None and others:
        sheet(others, row_of).save(options.sheet)


def sheet(pairs: list[tuple[str, str]], row_of: dict[str, dict[str, Any]]) -> Any:
    """Each pair in a row of its own, two pairs abreast."""
    from PIL import Image

    canvas = Image.new("RGB", (4 * SIDE + 20, (len(pairs) + 1) // 2 * SIDE), "white")
    for index, pair in enumerate(pairs):
        for place, key in enumerate(pair):
            picture = pixels.load_rgb(row_of[key][schema.URI])
            picture.thumbnail((SIDE - 8, SIDE - 8))
            left = (index % 2) * (2 * SIDE + 20) + place * SIDE
            canvas.paste(picture, (left, index // 2 * SIDE))
    return canvas


if __name__ == "__main__":
    main()
