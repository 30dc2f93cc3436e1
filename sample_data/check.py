"""Compare a run over the sample crawl with what was planted in it.

    python sample_data/check.py RUN TRUTH

prints one line per kind of fault - planted, found, the bar, met or missed - and exits 1 if a bar is missed,
2 if RUN or TRUTH cannot be compared.

What the words mean here:

- *broken*: truncated, html, empty, missing. Found = `images.status` names that fault.
- *exact / near duplicate*: found = the copy and its original stand in one group of `duplicates`.
- *wrong*: wrong-sibling, wrong-stranger, off-topic. Found = dropped for its label; being dropped as a duplicate or as
  a broken file does not count.
- *clean*: the lines of kind `clean`. Lost = dropped for any reason but `duplicate`: of two equal pictures one is
  kept, and which one is a matter of taste. An original with an exact copy under another category is left out of the
  count: two equal files with two labels are in conflict, and no policy can be blamed for doubting both.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from webclean import schema
from webclean.errors import WebcleanError
from webclean.io import tables
from webclean.io.run_dir import RunDir

STATUS_OF = {"truncated": "truncated", "html": "not_image", "empty": "empty", "missing": "missing"}
WRONG = ("wrong-sibling", "wrong-stranger", "off-topic")
NEAR_BAR = 0.95
WRONG_BAR = 0.80
LOST_BAR = 0.10
RANK_TEXT = "rank-text"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the answer; `met` is None where there is no bar."""

    what: str
    planted: int
    found: int
    bar: str
    met: bool | None

    @property
    def share(self) -> float:
        """Found of planted, 0..1."""
        return self.found / self.planted if self.planted else 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What one run knows of every path: the rows of images and decisions, and the group of duplicates."""

    images: dict[str, Row]
    decisions: dict[str, Row]
    group: dict[str, int]


def read_truth(path: Path) -> list[Row]:
    """The rows of truth.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_found(run: RunDir, decisions: str = "default") -> Found:
    """Read the artefacts that are compared, by path of the manifest."""
    columns = [schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.STATUS]
    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, columns).to_pylist()
    path_of = {row[schema.IMAGE_ID]: row[schema.SOURCE_KEY] for row in images}
    grouped = tables.read(
        run, schema.DUPLICATES, schema.DUPLICATES_TABLE, [schema.IMAGE_ID, schema.GROUP]
    ).to_pylist()
    decided = tables.read(
        run,
        schema.decisions_path(decisions),
        schema.DECISIONS_TABLE,
        [schema.IMAGE_ID, schema.KEEP, schema.REASON, schema.CLEAN_SCORE],
    ).to_pylist()
    return Found(
        images={row[schema.SOURCE_KEY]: row for row in images},
        decisions={path_of[row[schema.IMAGE_ID]]: row for row in decided},
        group={path_of[row[schema.IMAGE_ID]]: row[schema.GROUP] for row in grouped},
    )


def judged_clean(truth: list[Row], found: Found) -> set[str]:
    """Paths of clean images without an exact copy under another category."""
    copies = [row for row in truth if row["kind"] == "exact-duplicate"]
    torn = {row["of"] for row in copies if found.images[row["path"]][schema.CATEGORY] != row["true_category"]}
    return {row["path"] for row in truth if row["kind"] == "clean" and row["path"] not in torn}


def doubted(decision: Row) -> bool:
    """Dropped for its label, not as a copy and not as a broken file."""
    reason = decision[schema.REASON]
    return (
        not decision[schema.KEEP]
        and reason != schema.REASON_DUPLICATE
        and not reason.startswith(schema.REASON_BAD_FILE)
    )


def lost(decision: Row) -> bool:
    """Dropped for any reason but being a copy."""
    return not decision[schema.KEEP] and decision[schema.REASON] != schema.REASON_DUPLICATE


def compare(truth: list[Row], found: Found) -> list[Line]:
    """One line per kind of fault, then wrong labels together and clean images lost."""
    of_kind: dict[str, list[Row]] = {}
    for row in truth:
        of_kind.setdefault(row["kind"], []).append(row)
    lines = []
    for kind, status in STATUS_OF.items():
        rows = of_kind.get(kind, [])
        hits = sum(found.images[row["path"]][schema.STATUS] == status for row in rows)
        lines.append(Line(f"{kind} file", len(rows), hits, "all", hits == len(rows)))
    for kind, bar in (("exact-duplicate", 1.0), ("near-duplicate", NEAR_BAR)):
        rows = of_kind.get(kind, [])
        hits = sum(_together(found.group, row["path"], row["of"]) for row in rows)
        text = "all" if bar == 1.0 else f"at least {bar:.0%}"
        lines.append(Line(kind.replace("-", " "), len(rows), hits, text, hits >= bar * len(rows)))
    for kind in WRONG:
        rows = of_kind.get(kind, [])
        hits = sum(doubted(found.decisions[row["path"]]) for row in rows)
        lines.append(Line(f"  {kind.replace('-', ' ')}", len(rows), hits, "", None))
    planted, hits = (
        sum(values)
        for values in zip(*((line.planted, line.found) for line in lines[-len(WRONG) :]), strict=True)
    )
    lines.append(
        Line("wrong labels", planted, hits, f"at least {WRONG_BAR:.0%}", hits >= WRONG_BAR * planted)
    )
    clean = judged_clean(truth, found)
    dropped = sum(lost(found.decisions[path]) for path in clean)
    lines.append(
        Line(
            "clean images dropped",
            len(clean),
            dropped,
            f"at most {LOST_BAR:.0%}",
            dropped <= LOST_BAR * len(clean),
        )
    )
    return lines


def unplanted_merges(truth: list[Row], found: Found) -> int:
    """How many groups of unrelated pictures `duplicates` joined with another: 0 where every group is planted."""
    origin = {row["path"]: row["of"] or row["path"] for row in truth}
    origins: dict[int, set[str]] = {}
    for path, group in found.group.items():
        # Broken files of equal bytes are groups too, rightly: they are no pictures.
        if found.images[path][schema.STATUS] == schema.STATUS_OK:
            origins.setdefault(group, set()).add(origin[path])
    return sum(len(members) - 1 for members in origins.values())


def best_at_bar(truth: list[Row], found: Found) -> float:
    """Share of wrong labels below the score that drops as many clean images as the bar allows.

    Images without a score are never dropped.
    """

    def score(path: str) -> float:
        value = found.decisions[path][schema.CLEAN_SCORE]
        return float("inf") if value is None else float(value)

    clean = sorted(score(path) for path in judged_clean(truth, found))
    wrong = [score(row["path"]) for row in truth if row["kind"] in WRONG]
    threshold = clean[int(LOST_BAR * len(clean))]
    return sum(value < threshold for value in wrong) / len(wrong)


def _together(group: dict[str, int], a: str, b: str) -> bool:
    return a in group and group[a] == group.get(b)


def show(console: Console, lines: list[Line]) -> None:
    """The table."""
    table = Table(title="Planted in the sample crawl, and found", title_justify="left")
    for name, justify in (
        ("what", "left"),
        ("planted", "right"),
        ("found", "right"),
        ("share", "right"),
        ("bar", "left"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for line in lines:
        verdict = "" if line.met is None else "[green]met[/]" if line.met else "[bold red]missed[/]"
        table.add_row(line.what, str(line.planted), str(line.found), f"{line.share:.0%}", line.bar, verdict)
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0 all bars met, 1 one is missed, 2 nothing to compare."""
    parser = argparse.ArgumentParser(description="Compare a run over the sample crawl with what was planted.")
    parser.add_argument(
        "run", metavar="RUN", help="the run folder, with decisions/default and decisions/rank-text"
    )
    parser.add_argument(
        "truth", type=Path, metavar="TRUTH", help="the truth.csv that draw.py wrote beside the crawl"
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        truth = read_truth(options.truth)
        run = RunDir(options.run)
        found, weaker = read_found(run), read_found(run, RANK_TEXT)
        unknown = sorted({row["path"] for row in truth} ^ set(found.images))
        if unknown:
            raise WebcleanError(
                f"{len(unknown)} paths stand in only one of {options.run} and {options.truth}, such as {unknown[0]}"
            )
    except (WebcleanError, OSError) as error:
        parser.exit(2, f"cannot compare: {error}\n")
    lines = compare(truth, found)
    show(console, lines)
    merges = unplanted_merges(truth, found)
    console.print(f"Unrelated pictures taken for copies of each other: {merges}", highlight=False)
    wrong, dropped = compare(truth, weaker)[-2:]
    full, weak = best_at_bar(truth, found), best_at_bar(truth, weaker)
    reaches = bool(wrong.met and dropped.met) or weak >= WRONG_BAR
    console.print(
        f"Rank and text alone: {wrong.share:.0%} of the wrong labels found, {dropped.share:.0%} of the clean"
        f" images dropped. At the threshold that drops {LOST_BAR:.0%} of them: {weak:.0%} found, {full:.0%} with"
        " all evidence.",
        highlight=False,
    )
    console.print(
        "They reach the bar: this crawl is too easy."
        if reaches
        else "They do not reach the bar, as intended."
    )
    met = all(line.met is not False for line in lines) and not reaches
    console.print("[green]All bars are met.[/]" if met else "[bold red]A bar is missed.[/]")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
