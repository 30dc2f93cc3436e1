"""How the benchmarks call webclean: as a user would, through its commands."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def webclean(*arguments: str) -> str:
    """Run a command; its stdout."""
    command = [sys.executable, "-m", "webclean.cli.app", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def evaluate(run: Path, truth: Path, *flags: str) -> dict[str, Any]:
    """The evaluation of a run."""
    found: dict[str, Any] = json.loads(
        webclean("evaluate", str(run), "--truth", str(truth), "--json", *flags)
    )
    return found


def estimated_share(run: Path, decisions: str = "default") -> float:
    """The share of wrong labels that the decisions estimate."""
    record = json.loads((run / "decisions" / decisions / "run.json").read_text())
    return float(record["result"]["wrong_share"])


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
