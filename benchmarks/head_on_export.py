"""What a weighted export is worth to those who train a head on a pretrained backbone.

A multinomial logistic head on the run's own features, each set at its best regularisation (the same grid for all),
on: the raw crawl, weighted exports, just the images whose label is right, and all images of the categories with
their true labels. Everything a user has: `features/default` of a run, joined to the export's table by `image_id`.

* fashion-crawl has clean test images: they are ingested and featured by the same commands.
* sports-crawl has none: five-fold rotation over all as-crawled groups (copies of one picture stay together). For each
  fold the images under test, and their copies, are taken out of the crawl before it is weighed.

    python benchmarks/head_on_export.py --data DIR/fashion-crawl --work WORK [--run RUN] [--json]
    python benchmarks/head_on_export.py --data DIR/sports-crawl --work WORK [--run RUN] [--json]

--run: a weighted run of the crawl whose features may be copied; none given: it is made.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from commands import read_csv, webclean
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from webclean.ops import metrics

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Inverse regularisation C; every set takes the one that is best for it."""
EXPORTS = {
    "stage1": ("--decisions", "stage1"),
    "both": (),
    "relabel": ("--relabel",),
}
FOLDS = 5
NUM_DRAWS = 2_000
_OFF_TOPIC = "off-topic"

Rows = list[tuple[str, str, float]]  # image_id, label, weight


# ---------------------------------------------------------------- what a user reads
def read_parts(folder: Path, *columns: str) -> pa.Table:
    """These columns of an artefact of a run, whose parts are Parquet files."""
    parts = sorted(str(path) for path in folder.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(path, columns=list(columns)) for path in parts])


def read_features(run: Path) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Row of each image_id, and the unit features (N, D)."""
    table = read_parts(run / "features" / "default", "image_id", "vector")
    vector_ND = table["vector"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    unit_ND = vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return {image_id: i for i, image_id in enumerate(table["image_id"].to_pylist())}, unit_ND


def read_export(out: Path) -> Rows:
    """The images of an export with their labels and weights."""
    return [(row["image_id"], row["category"], float(row["weight"])) for row in read_csv(out / "images.csv")]


def read_images(run: Path) -> list[dict[str, str]]:
    """image_id, source_key (the path in the crawl's manifest), category and status of each image of a run."""
    table = read_parts(run / "images", "image_id", "source_key", "category", "status")
    return [row for row in table.to_pylist() if row["status"] == "ok"]


def read_truth(data: Path) -> dict[str, dict[str, str]]:
    """Rows of truth.csv by path."""
    return {row["path"]: row for row in read_csv(data / "truth.csv")}


def known_sets(run: Path, truth: dict[str, dict[str, str]]) -> dict[str, Rows]:
    """The sets that need no export: `raw`, and from the truth `right` and `true`."""
    rows = [(row["image_id"], row["category"], truth[row["source_key"]]) for row in read_images(run)]
    sure = [(i, label, known) for i, label, known in rows if known.get("uncertain", "0") != "1"]
    on_topic = [(i, label, known["true_category"]) for i, label, known in sure if known["kind"] != _OFF_TOPIC]
    return {
        "raw": [(i, label, 1.0) for i, label, _ in rows],
        "right": [(i, label, 1.0) for i, label, true in on_topic if label == true],
        "true": [(i, true, 1.0) for i, _, true in on_topic if true],
    }


def weigh(run: Path, outs: Path, workers: int) -> dict[str, Rows]:
    """Weigh a run by all evidence and by rank and text alone; the exports' rows."""
    flags = ("--workers", str(workers))
    webclean("weight", str(run), *flags)
    webclean("weight", str(run), *flags, "--evidence", "rank,text", "--decisions", "stage1")
    for name, more in EXPORTS.items():
        if (outs / name).exists():
            shutil.rmtree(outs / name)
        webclean("export", str(run), str(outs / name), "--to", "csv", "--mode", "weighted", *more)
    return {name: read_export(outs / name) for name in EXPORTS}


# ---------------------------------------------------------------- the head
def hits(
    x_ND: NDArray[np.float32], label_N: NDArray[np.str_], weight_N: NDArray[np.float64],
    test_MD: NDArray[np.float32], true_M: NDArray[np.str_],
) -> NDArray[np.bool_]:  # fmt: skip
    """Which test images each strength's head gets right: bool (len(STRENGTHS), M)."""
    mean_D, scale_D = x_ND.mean(axis=0), x_ND.std(axis=0) + 1e-8
    x_ND, test_MD = (x_ND - mean_D) / scale_D, (test_MD - mean_D) / scale_D
    found = []
    for strength in STRENGTHS:
        head = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        head.fit(x_ND, label_N, sample_weight=weight_N)
        found.append(head.predict(test_MD) == true_M)
    return np.array(found)


def hits_of(
    rows: Rows, features: tuple[dict[str, int], NDArray[np.float32]],
    test_MD: NDArray[np.float32], true_M: NDArray[np.str_],
) -> NDArray[np.bool_]:  # fmt: skip
    """As `hits`, for a set of rows."""
    row_of, unit_ND = features
    index = [row_of[image_id] for image_id, _, _ in rows]
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for _, _, weight in rows])
    return hits(unit_ND[index], labels, weights, test_MD, true_M)


# ---------------------------------------------------------------- the two crawls
def fashion(
    data: Path, run: Path, work: Path, workers: int
) -> tuple[dict[str, NDArray[np.bool_]], list[int]]:
    """Hits of each set on the test images, all of one image each."""
    test_run = work / "fashion-test"
    if not (test_run / "features" / "default" / "run.json").exists():
        listing = work / "fashion-test.csv"
        with listing.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("path", "query"))
            for row in read_csv(data / "test.csv"):
                table.writerow((data / row["path"], row["category"]))
        webclean("ingest", str(listing), str(test_run), "--allow-outside", "--workers", str(workers))
        webclean("weight", str(test_run), "--workers", str(workers))
    test_rows = read_images(test_run)
    row_of, unit_ND = read_features(test_run)
    test_MD = unit_ND[[row_of[row["image_id"]] for row in test_rows]]
    true_M = np.array([row["category"] for row in test_rows])
    sets = known_sets(run, read_truth(data)) | weigh(run, work / "fashion-exports", workers)
    features = read_features(run)
    found = {}
    for name, rows in sets.items():
        found[name] = hits_of(rows, features, test_MD, true_M)
        print(
            f"{name}: {len(rows)} images, {found[name].mean(axis=1).max():.4f}", file=sys.stderr, flush=True
        )
    return found, list(range(len(true_M)))


def groups(run: Path, truth: dict[str, dict[str, str]]) -> dict[str, str]:
    """source_key -> one member of its group: planted copies and what `dedup` found stay together."""
    key_of = {row["image_id"]: row["source_key"] for row in read_images(run)}
    parent = {key: key for key in truth}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    pairs = [(key, row["of"]) for key, row in truth.items() if row.get("of") in parent]
    first_of: dict[int, str] = {}
    for row in read_parts(run / "duplicates", "image_id", "group").to_pylist():
        if row["image_id"] in key_of and row["group"] is not None:
            key = key_of[row["image_id"]]
            pairs.append((key, first_of.setdefault(row["group"], key)))
    for a, b in pairs:
        parent[root(a)] = root(b)
    return {key: root(key) for key in parent}


def sports(data: Path, run: Path, work: Path, workers: int) -> tuple[dict[str, NDArray[np.bool_]], list[int]]:
    """Hits of each set on the as-crawled images, each under test once, and the group of each."""
    truth = read_truth(data)
    group_of = groups(run, truth)
    usable = read_images(run)
    tested = [
        row
        for row in usable
        if truth[row["source_key"]]["kind"] == "as-crawled"
        and truth[row["source_key"]].get("uncertain", "0") != "1"
    ]
    names = sorted({group_of[row["source_key"]] for row in tested})
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {names[i]: position % FOLDS for position, i in enumerate(order)}
    row_of, unit_ND = read_features(run)
    listed = read_csv(data / "manifest.csv")
    pieces: dict[str, list[NDArray[np.bool_]]] = {}
    members: list[int] = []
    for fold in range(FOLDS):
        out = [row for row in tested if fold_of[group_of[row["source_key"]]] == fold]
        held = {group for group, own in fold_of.items() if own == fold}
        source, own_run = work / f"sports-fold{fold}.csv", work / f"sports-fold{fold}"
        with source.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, listed[0])
            table.writeheader()
            table.writerows(row for row in listed if group_of[row["path"]] not in held)
        if not own_run.exists():
            shutil.copytree(run, own_run)  # its features are taken over
        webclean(
            "ingest",
            str(source),
            str(own_run),
            "--image-root",
            str(data),
            "--update",
            "--workers",
            str(workers),
        )
        sets = weigh(own_run, work / f"sports-fold{fold}-exports", workers)
        sets = known_sets(own_run, truth) | sets
        assert not {group_of[row["source_key"]] for row in read_images(own_run)} & held
        features = read_features(own_run)
        test_MD = unit_ND[[row_of[row["image_id"]] for row in out]]
        true_M = np.array([row["category"] for row in out])
        for name, rows in sets.items():
            pieces.setdefault(name, []).append(hits_of(rows, features, test_MD, true_M))
            best = pieces[name][-1].mean(axis=1).max()
            print(f"fold {fold} {name}: {len(rows)} images, {best:.4f}", file=sys.stderr, flush=True)
        members += [names.index(group_of[row["source_key"]]) for row in out]
    return {name: np.concatenate(parts, axis=1) for name, parts in pieces.items()}, members


# ---------------------------------------------------------------- the comparison
def compared(found: dict[str, NDArray[np.bool_]], members: list[int]) -> dict[str, Any]:
    """Accuracy at the best strength, the part of the gap closed, and its interval over groups of test images."""
    member_M = np.asarray(members)
    count_G = np.bincount(member_M)
    best = {name: hits_SM[hits_SM.mean(axis=1).argmax()] for name, hits_SM in found.items()}
    # Means over groups times their size: a draw of groups is a draw of images that stay together.
    of_G = {name: np.bincount(member_M, row)[count_G > 0].astype(np.float64) for name, row in best.items()}
    result: dict[str, Any] = {}
    for name, hits_SM in found.items():
        row: dict[str, Any] = {
            "accuracy": float(best[name].mean()),
            "C": STRENGTHS[int(hits_SM.mean(axis=1).argmax())],
            "by_C": [round(float(v), 4) for v in hits_SM.mean(axis=1)],
        }
        if name != "raw":
            rng = np.random.default_rng(0)
            row["above_raw"] = asdict(
                metrics.paired_bootstrap(best[name], best["raw"], rng=rng, num_draws=NUM_DRAWS)
            )
        if name not in ("raw", "right"):
            rng = np.random.default_rng(0)
            row["gap_closed"] = asdict(
                metrics.gap_closed(of_G["raw"], of_G[name], of_G["right"], rng=rng, num_draws=NUM_DRAWS)
            )
        result[name] = row
    return result


def main() -> None:
    """Weigh, fit, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of fashion-crawl or sports-crawl")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and exports")
    parser.add_argument("--run", type=Path, help="a run of the crawl that is copied; none given: made")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data, work = arguments.data.resolve(), arguments.work.resolve()
    run = work / data.name
    if not run.exists():
        work.mkdir(parents=True, exist_ok=True)
        if arguments.run:
            shutil.copytree(arguments.run, run)
        else:
            webclean("ingest", str(data), str(run), "--allow-outside")
    webclean("weight", str(run), "--workers", str(arguments.workers))
    measure = fashion if (data / "test.csv").exists() else sports
    found, members = measure(data, run, work, arguments.workers)
    result = compared(found, members)
    if arguments.json:
        print(json.dumps({"tested": len(members), "sets": result}, indent=2))
        return
    print(f"{data.name}: {len(members):,} images under test")
    for name, row in result.items():
        print(f"{name:8s} accuracy {row['accuracy']:.4f} at C {row['C']:g}   {row['by_C']}")
        for key in ("above_raw", "gap_closed"):
            if key in row:
                print(
                    f"    {key:12s} {row[key]['mean']:.4f}  95 % [{row[key]['low']:.4f}, {row[key]['high']:.4f}]"
                )


if __name__ == "__main__":
    main()
