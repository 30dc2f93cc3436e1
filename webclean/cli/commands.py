"""The static command table: help is drawn from it without importing any command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the module under `webclean.cli` that holds a function of the same name."""

    name: str
    module: str
    summary: str
    panel: str


_MAIN = "The four commands"
_AROUND = "Around them"

COMMANDS = (
    Command(
        "ingest",
        "webclean.cli.ingest",
        "Any crawl layout -> parquet: every file verified and hashed, duplicates grouped.",
        _MAIN,
    ),
    Command(
        "weight",
        "webclean.cli.weight",
        "Category similarity, two-stage weights, out-of-sample judges, one clean score.",
        _MAIN,
    ),
    Command(
        "train",
        "webclean.cli.train",
        "Train SOMNet (regions of interest in bags of images) or the plain baseline.",
        _MAIN,
    ),
    Command(
        "export",
        "webclean.cli.export",
        "Write the cleaned or weighted set: image folder, CSV, JSONL or Parquet.",
        _MAIN,
    ),
    Command("run", "webclean.cli.run", "The whole chain: ingest, weight, train, decide.", _AROUND),
    Command(
        "attach",
        "webclean.cli.attach",
        "Bring in columns made elsewhere: a CLIP score, a licence, a safety score.",
        _AROUND,
    ),
    Command("evaluate", "webclean.cli.evaluate", "Hold the decisions against a truth table.", _AROUND),
    Command(
        "explain",
        "webclean.cli.explain",
        "All that is known of one image, and why it was kept or dropped.",
        _AROUND,
    ),
    Command("verify", "webclean.cli.verify", "Check an export against its checksums.", _AROUND),
    Command(
        "status", "webclean.cli.status", "What a run folder holds, what is stale, what comes next.", _AROUND
    ),
    Command(
        "init",
        "webclean.cli.init",
        "Write a commented webclean.toml for a SOURCE, its columns guessed.",
        _AROUND,
    ),
    Command("doctor", "webclean.cli.doctor", "What is installed, what is missing, how to get it.", _AROUND),
)
