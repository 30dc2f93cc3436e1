"""Sets whose true categories are known: brought into a run, copied without what was judged, held against the truth."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from commands import read_csv, webclean
from numpy.typing import NDArray
from shuffle_texts import read_rows, write_rows

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.judged import Usable
from webclean.stages.predictions import read_predictions

CRAWLS = ("sports-crawl", "fashion-crawl")
CIFAR = "cifar10n"
CIFAR_INGEST = ("--bytes-column", "image", "--category-column", "label")
TRUTH_COLUMNS = ("path", "true_category")
_JUDGED = ("predictions", "beliefs", "weights", "decisions", "models")  # folders of a run

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KnownImage:
    """A usable image: its source key and label, whether the label is wrong, whether the truth is certain."""

    key: str
    label: str
    wrong: bool
    certain: bool


def ingest(data: Path, name: str, run: Path) -> Path:
    """Bring a set into a run; its truth table, with a column `path`."""
    if name in CRAWLS:
        webclean("ingest", str(data / name), str(run), "--allow-outside")
        return data / name / "truth.csv"
    source = data / name / "train.parquet"
    webclean("ingest", str(source), str(run), *CIFAR_INGEST)
    true = pq.read_table(data / name / "truth.parquet").column("true_label").to_pylist()
    truth = run.with_suffix(".truth.csv")
    write_truth(truth, {f"{source.name}#{i}": label for i, label in enumerate(true)})
    return truth


def ingest_with_features(data: Path, name: str, run: Path) -> Path:
    """As `ingest`, and features made where the run holds none yet (minutes)."""
    truth = ingest(data, name, run)
    if not (run / schema.features_path("default") / schema.RUN_JSON).exists():
        webclean("weight", str(run), "--rounds", "1")
    return truth


def unjudged_copy(run: Path, copy: Path) -> Path:
    """A copy of a run with its features and nothing judged, so that the code as it is judges; replaces an earlier one."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(*_JUDGED))
    return copy


def part_of_crawl(crawl: Path, out: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> Path:
    """A crawl of the manifest's rows that are wanted, its images where they are."""
    manifest = next(crawl.glob("manifest.*"))
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / manifest.name, [row for row in read_rows(manifest) if wanted(row)])
    link = out / "images"
    if not link.exists():
        link.symlink_to(crawl / "images")
    return out


def write_truth(path: Path, true_of: dict[str, str]) -> None:
    """A truth table of keys and true categories."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([TRUTH_COLUMNS, *true_of.items()])


def known_images(run: RunDir, truth: Path) -> list[KnownImage]:
    """The usable images in the run's order."""
    known = {row["path"]: row for row in read_csv(truth)}
    found = []
    for row in tables.read(
        run, schema.IMAGES, schema.IMAGES_TABLE, (schema.SOURCE_KEY, schema.CATEGORY, schema.STATUS)
    ).to_pylist():
        if row[schema.STATUS] == schema.STATUS_OK:
            true = known[row[schema.SOURCE_KEY]]
            label = row[schema.CATEGORY]
            wrong = true["true_category"] != label or true.get("kind") == "off-topic"
            found.append(KnownImage(row[schema.SOURCE_KEY], label, wrong, true.get("uncertain", "0") != "1"))
    return found


def probabilities(run: RunDir, judge: str, round_: int, usable: Usable) -> Floats:
    """A judge's out-of-sample predictions, (N, C)."""
    path = schema.predictions_path(judge, round_)
    p_NC = np.exp(read_predictions(run, path, usable).log_probability_NC.astype(np.float64))
    return np.asarray(p_NC / p_NC.sum(axis=1, keepdims=True))


def last_round(run: RunDir, decisions: str = "default") -> int:
    """The round whose judges the decisions used."""
    return int(run.read_json(f"{schema.decisions_path(decisions)}/{schema.RUN_JSON}")["config"]["round"])


def spread(values: list[float], digits: int = 4) -> str:
    """Mean and standard deviation; the mean alone of one value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} +- {stdev(values):.{digits}f}"
