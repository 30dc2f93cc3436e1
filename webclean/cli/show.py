"""Results as a person wants to see them, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from webclean.cli import console
from webclean.cli.options import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webclean.cli.evaluation_tables import Section
    from webclean.stages.base import Outcome

_MANY = 40  # categories shown before the table is cut; all stand in run.json


def outcomes(found: Sequence[Outcome], run: str, settings: Settings) -> None:
    """What each stage did: counts that add up, seconds, and the decisions at the end."""
    if settings.json:
        console.print_json(
            [
                {
                    "stage": o.stage,
                    "skipped": o.skipped,
                    "total": o.counts.total,
                    "forwarded": o.counts.forwarded,
                    "dropped": o.counts.dropped,
                    "seconds": round(o.seconds, 3),
                    "result": o.result,
                }
                for o in found
            ]
        )
        return
    rows = [
        (
            o.stage,
            o.counts.total,
            o.counts.forwarded,
            ", ".join(f"{n:,} {reason}" for reason, n in sorted(o.counts.dropped.items()) if n) or "-",
            "unchanged" if o.skipped else f"{o.seconds:.1f} s",
        )
        for o in found
    ]
    console.print_table(f"Run {run}", ("stage", "in", "on", "left out", "time"), rows)
    last = found[-1]
    if last.stage == "decide":
        decisions(last, run)


def decisions(outcome: Outcome, run: str) -> None:
    """What each evidence was worth, how much seems wrong in each category, and what comes next."""
    told = outcome.result
    if told.get("no_judge"):
        console.print_text(
            "No judge could work on this crawl: images are ordered by rank and text, none condemned."
        )
    rows = []
    for name, facts in sorted(told.get("evidence", {}).items()):
        gain = facts.get("gain")
        worth = (
            "main view" if gain is None else ("adds nothing" if gain <= 0 else f"{gain:.4f} nats an image")
        )
        detail = ", ".join(f"{key} {value}" for key, value in sorted(facts.items()) if key != "gain")
        rows.append((name, worth, detail))
    console.print_table("Evidence, its worth learnt from the crawl", ("evidence", "worth", "fitted"), rows)
    shares = sorted(told.get("wrong_share_by_category", {}).items(), key=lambda item: -item[1])
    console.print_table(
        "Estimated share of wrong labels",
        ("category", "wrong"),
        [("all", told.get("wrong_share")), *shares[:_MANY]],
    )
    console.print_text(
        f"{outcome.counts.forwarded:,} of {outcome.counts.total:,} images kept."
        f" Next: webclean export {run} OUT"
    )


def neighbors(category: str, found: Sequence[Any], settings: Settings) -> None:
    """A category's nearest categories with the three similarities."""
    from dataclasses import asdict

    rows = [asdict(neighbor) for neighbor in found]
    if settings.json:
        console.print_json(rows)
        return
    names = list(rows[0]) if rows else ["category"]
    console.print_table(
        f"Categories nearest to {category}", names, [[row[name] for name in names] for row in rows]
    )


def sections(parts: Sequence[Section]) -> None:
    """Tables one below the other."""
    for part in parts:
        console.print_table(part.title, part.columns, part.rows)
