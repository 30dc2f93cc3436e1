"""Results as a person wants to see them, or as JSON."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, Final

from webclean import schema
from webclean.cli import console
from webclean.cli.options import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webclean.cli.evaluation_tables import Section
    from webclean.config import DecideConfig, QualityConfig
    from webclean.stages.base import Outcome
    from webclean.stages.similarity import Sense

_MANY: Final = 40  # categories shown before the table is cut; all stand in run.json
_FEW: Final = 10  # senses shown before the table is cut
_SHORT: Final = 50  # letters of a gloss in a table
_JUDGES: Final = frozenset({"image", "text", "judge", "neighbors", "text-judge"})
_MEANINGS: Final = {
    "rank": "better rank",
    "mass": "words closer to the category",
    "text-judge": "text typical of the category",
}
_CHOSEN_BY: Final = {
    "file": "--senses",
    "only": "the only one",
    "text": "fit with the other categories",
    "first": "the most frequent",
    "none": "nobody",
}


def outcomes(found: Sequence[Outcome], run: str, settings: Settings) -> None:
    """What each stage did: counts that add up, seconds, and the decisions at the end."""
    if settings.json:
        console.print_json(
            [
                {
                    "stage": o.stage,
                    "round": o.round,
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
            o.stage if (o.round or 1) == 1 else f"{o.stage}, round {o.round}",
            o.counts.total,
            o.counts.forwarded,
            ", ".join(f"{n:,} {reason}" for reason, n in sorted(o.counts.dropped.items()) if n) or "-",
            "unchanged" if o.skipped else f"{o.seconds:.1f} s",
        )
        for o in found
    ]
    console.print_table(f"Run {run}", ("stage", "in", "on", "left out", "time"), rows)
    copies = next((o.result.get("copies_of_test_images") for o in found if o.stage == "dedup"), None)
    if copies is not None:
        console.print_text(
            f"{copies:,} images are copies of an image of the --against set; export leaves them out."
        )
    if (flagged := next((o for o in found if o.stage == "quality"), None)) is not None:
        from webclean.config import QualityConfig

        quality(flagged, run, settings.build(QualityConfig))
    if any(o.stage == "similarity" for o in found):
        from webclean.io.run_dir import RunDir
        from webclean.stages.similarity import read_senses

        senses(read_senses(RunDir(run)), run)
    weights([o for o in found if o.stage in ("stage1", "stage2")][-2:])
    last = found[-1]
    if last.stage == "decide":
        from webclean.config import DecideConfig

        decisions(last, run, settings.build(DecideConfig))


def quality(outcome: Outcome, run: str, config: QualityConfig) -> None:
    """How many pictures have each flag, and what it means."""
    usable, counts = outcome.result["usable"], outcome.result["flags"]
    meanings = {
        schema.TOO_SMALL: f"shorter side below {config.small_side} pixels",
        schema.ODD_ASPECT: f"longer side above {config.aspect_limit:g} times the shorter",
        schema.BLURRY: f"sharpness / contrast below {config.blur_limit:g}",
        schema.DARK: f"brightness + contrast below {config.dark_limit:g}",
        schema.LIGHT: f"brightness - contrast above {config.light_limit:g}",
        schema.LOW_INFORMATION: f"entropy below {config.information_limit:g} bits",
        schema.GRAY: "no colour",
        schema.GRAPHIC: "looks like text, a screenshot or a logo",
        schema.PLACEHOLDER: f"the same picture under {config.placeholder_queries} queries or more",
    }
    found = [
        (flag, counts[flag], _percent(counts[flag] / usable), meanings[flag])
        for flag in schema.FLAGS
        if counts[flag]
    ]
    if not found:
        console.print_text("No image has a quality flag.")
        return
    console.print_table("Quality flags", ("flag", "images", "share", "meaning"), found)
    console.print_text(
        f"Flags drop nothing by themselves: webclean export {run} OUT --drop-flag NAME,... does."
    )


def weights(found: Sequence[Outcome]) -> None:
    """What the two stages of the last round leave of each category, and how the judge's probabilities were taken."""
    told = {o.stage: o.result for o in found}
    if set(told) != {"stage1", "stage2"} or not told["stage2"].get("judged"):
        return
    first, second = told["stage1"]["effective_samples"], told["stage2"]["effective_samples"]
    means = told["stage2"]["mean_match_by_category"]
    rows = [
        (name, f"{first.get(name, 0.0):,.1f}", f"{means.get(name, math.nan):.2f}", f"{worth:,.1f}")
        for name, worth in sorted(second.items(), key=lambda item: item[1])
    ]
    console.print_table(
        "Images of weight 1 that the weights are worth",
        ("category", "stage 1", "mean match score", "stage 1 x 2"),
        rows[:_MANY],
    )
    if len(rows) > _MANY:
        console.print_text(f"... and {len(rows) - _MANY} more categories, in run.json of weights")
    temperature, memory = told["stage2"]["temperature"], told["stage2"]["memorisation"]
    if temperature is not None:
        console.print_text(f"Probabilities were taken at temperature {temperature:g}.")
    if memory is not None:
        console.print_text(
            f"Mean match score of {memory['images']:,} images: {memory['inside']:.2f} by a judge that was trained on them,"
            f" {memory['outside']:.2f} by one that was not; the weights use the latter."
        )


def decisions(outcome: Outcome, run: str, config: DecideConfig) -> None:
    """What each evidence was worth, how much seems wrong in each category, and what comes next."""
    from webclean.stages.status import export_command

    told = outcome.result
    if told.get("no_judge"):
        console.print_text(_without_judge(config.evidence))
    rows = []
    for name, facts in sorted(told.get("evidence", {}).items()):
        gain = facts.get("gain")
        worth = (
            "main view" if gain is None else ("adds nothing" if gain <= 0 else f"{gain:.4f} nats an image")
        )
        said = _learnt(name, facts)
        if name == "side" and config.attached:
            said = said.replace("rank and text", "rank, text and what is attached")
        rows.append((name, worth, said))
    if rows:
        console.print_table(
            "Evidence, its worth learnt from the crawl", ("evidence", "worth", "what it says"), rows
        )
    if not told.get("no_judge"):  # else the scores only order the images
        shares = sorted(told.get("wrong_share_by_category", {}).items(), key=lambda item: -item[1])
        intervals = {
            "all": told.get("wrong_share_interval"),
            **told.get("wrong_share_interval_by_category", {}),
        }
        console.print_table(
            "Estimated share of wrong labels",
            ("category", "wrong", "90 % interval"),
            [
                (name, _percent(share), _span(intervals.get(name)))
                for name, share in [("all", told.get("wrong_share")), *shares[:_MANY]]
            ],
        )
        rank_noise(told.get("rank_noise"))
    if (seen := told.get("trusted")) is not None:
        console.print_text(
            f"Corrected by {seen['labels']:,} trusted labels, {seen['right']:,} of them right: log-odds times"
            f" {seen['slope']:.2f}, then {seen['shift']:+.2f}."
        )
    console.print_text(
        f"{outcome.counts.forwarded:,} of {outcome.counts.total:,} images kept."
        f" Next: {export_command(run, config.name)}"
    )


def rank_noise(found: dict[str, Any] | None) -> None:
    """How much is wrong at which ranks, and the queries that are worth keeping least deep."""
    if found is None or not found["helps"]:
        return
    rows = [
        (f"{10 * tenth} to {10 * tenth + 10} %", images, _percent(wrong), _percent(fitted))
        for tenth, (images, wrong, fitted) in enumerate(
            zip(found["images_by_tenth"], found["wrong_by_tenth"], found["fitted_by_tenth"], strict=True)
        )
    ]
    console.print_table(
        "Estimated share of wrong labels by search rank",
        ("part of each list", "images", "wrong", "fitted"),
        rows,
    )
    cut = sorted(
        (one for one in found["depths"] if one["depth"] < one["length"]), key=lambda one: one["depth"]
    )
    if cut:
        console.print_table(
            f"Depth down to which at least {_percent(found['bar']).strip()} of the labels are right",
            ("query", "source", "keep to", "of"),
            [(one["query"], one["source"] or "-", one["depth"], one["length"]) for one in cut[:_MANY]],
        )


def _span(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{_percent(ends[0]).strip()} to {_percent(ends[1]).strip()}"


def _without_judge(asked: Sequence[str]) -> str:
    """Why no judge took part: because nobody asked for one, or because none could work."""
    if asked and _JUDGES.isdisjoint(asked):
        return f"No judge was asked for (--evidence {','.join(asked)}): images are ordered, none condemned."
    return "No judge could work on this crawl: images are ordered by rank and text, none condemned."


def _learnt(name: str, facts: dict[str, Any]) -> str:
    """What was learnt of one evidence, in words."""
    if (share := facts.get("wrong_share_alone")) is not None:
        return f"wrong labels by {'images' if name == 'image' else name} alone {_percent(share).strip()}"
    if facts.get("gain", 0.0) <= 0:
        return "-"
    if name == "side":
        return "rank and text weighed together"
    if name == "text-judge" and facts.get("weight") == 0:
        return "not joined with the images, weighed with rank"
    if (weight := facts.get("weight")) is not None:
        return f"counts {weight:.2f} times as much as the image judge"
    meaning = _MEANINGS.get(name, "higher values")
    return f"{meaning}: label {'likelier' if facts.get('slope', 0.0) >= 0 else 'less likely'} right"


def _percent(share: float | None) -> str:
    """A share with one digit, as wide as 100 % so that a column of them stands right."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:5.1f} %"


def senses(settled: Sequence[Sense], run: str) -> None:
    """Which sense was chosen for each name that has several, and how to choose another."""
    several = [sense for sense in settled if len(sense.senses_found) > 1]
    if not several:
        return
    rows = [
        (s.name, s.synset, _short(s.gloss), _CHOSEN_BY.get(s.chosen_by, s.chosen_by), len(s.alternatives))
        for s in several[:_FEW]
    ]
    columns = ("category", "sense", "meaning", "chosen by", "others")
    console.print_table("Categories whose name has several senses in WordNet", columns, rows)
    if len(several) > _FEW:
        console.print_text(f"... and {len(several) - _FEW} more, in {run}/{schema.SENSES}")
    console.print_text(
        f"Is one wrong? `webclean weight {run} --explain CATEGORY` lists the others;"
        " --senses FILE sets it, a CSV with lines of name,synset."
    )


def sense(settled: Sense, glosses: Sequence[str | None], run: str) -> None:
    """The sense of one category, and those it could have instead.

    Args:
        settled: the category's sense.
        glosses: of `settled.alternatives`, None where unknown.
        run: the run folder.
    """
    if settled.synset is None:
        console.print_text(f"{settled.name}: no sense in WordNet")
    else:
        how = _CHOSEN_BY.get(settled.chosen_by, settled.chosen_by)
        several = ", ".join(settled.synsets)
        console.print_text(f"{settled.name}: {several} ({settled.gloss}), chosen by: {how}")
    if settled.alternatives:
        rows = list(zip(settled.alternatives, glosses, strict=True))
        console.print_table(f"Other senses of {settled.name}", ("sense", "meaning"), rows)
        console.print_text(
            f"To choose another: webclean weight {run} --senses FILE, a CSV with lines of name,synset."
        )


def _short(text: str | None) -> str | None:
    return None if text is None else textwrap.shorten(text, _SHORT, placeholder=" ...")


def neighbors(category: str, found: Sequence[Any], settings: Settings) -> None:
    """A category's nearest categories with the three similarities."""
    from dataclasses import asdict

    rows = [asdict(neighbor) for neighbor in found]
    if settings.json:
        # JSON has no NaN: what a side does not know is null.
        console.print_json([{name: _known(value) for name, value in row.items()} for row in rows])
        return
    names = list(rows[0]) if rows else ["category"]
    console.print_table(
        f"Categories nearest to {category}", names, [[row[name] for name in names] for row in rows]
    )


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def relations(path: str, pairs: int, settings: Settings) -> None:
    """Where the relations were written, and how many pairs."""
    if settings.json:
        console.print_json({"file": path, "pairs": pairs})
        return
    console.print_text(f"{path}: {pairs:,} pairs of categories")


def to_label(path: str, images: int, run: str, settings: Settings) -> None:
    """Where the images to look at were written, and what to do with them."""
    if settings.json:
        console.print_json({"file": path, "images": images})
        return
    console.print_text(
        f"{path}: {images:,} images. Write yes or no under `right`, or the category that it truly shows under"
        f" `true_category`; then: webclean weight {run} --trusted {path}"
    )


def sections(parts: Sequence[Section]) -> None:
    """Tables one below the other."""
    for part in parts:
        console.print_table(part.title, part.columns, part.rows)
