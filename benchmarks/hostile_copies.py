"""Copies of a crawl that try the cleaning: texts that tell nothing or mislead, few wrong labels, and many.

Two tables, each through `ingest --update` and `weight` on a copy of the run, which keeps its features:

* texts shuffled among the images of each label, and every wrong image given the text of a right image of its
  label (`shuffle_texts.py`): AUROC of clean_score beside its images-only form (`--evidence image`), for wrong labels;
* the crawl as it is, cut to 3 % wrong labels (wrong images dropped at random, of each label the same part) and
  raised to 45 % (right images dropped likewise): the share of wrong labels, true, as webclean estimates it, and as
  cleanlab's confident joint does on the image judge's predictions of the first and of the last round; and the
  part of the right images that `export` keeps, those aside that go as copies of others.

Wrong: the true category is not the label, or the image is off topic. Images that the truth calls uncertain stay in the
copies and are left out of the true figures. CIFAR-10N has no text, so only the second table.

    python benchmarks/hostile_copies.py --data DIR --work DIR [--set sports-crawl] [--seeds 1]

Runs of the sets are kept in WORK with their features (the first time they are made, minutes); copies are made anew. A
seed draws the copies and the judging. Needs cleanlab (`pip install cleanlab`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shuffle_texts
from commands import estimated_share, evaluate, read_csv, webclean
from known_sets import (
    CIFAR,
    CIFAR_INGEST,
    CRAWLS,
    KnownImage,
    ingest_with_features,
    known_images,
    last_round,
    part_of_crawl,
    probabilities,
    spread,
    unjudged_copy,
    write_truth,
)

from webclean import schema
from webclean.io.run_dir import RunDir
from webclean.stages.judged import read_usable

TEXTS = {"shuffle": "texts shuffled within each label", "mislead": "wrong images with right images' texts"}
TEXT_BARS = {"shuffle": -0.001, "mislead": -0.002}
SHARES = {"as it is": None, "3 %": 0.03, "45 %": 0.45}
SHARE_BARS = {
    "as it is": {"sports-crawl": 0.03, "fashion-crawl": 0.03, CIFAR: 0.05},
    "3 %": {"sports-crawl": 0.02, "fashion-crawl": 0.04, CIFAR: 0.05},
    "45 %": {"sports-crawl": 0.05, "fashion-crawl": 0.05, CIFAR: 0.05},
}
KEPT_BAR = {"3 %": 0.96}
_COPIES = (schema.REASON_DUPLICATE,)


@dataclass(frozen=True)
class Shares:
    """Shares of wrong labels: true, estimated, by the confident joint of the first and last round; and what is kept.

    auroc: of clean_score for wrong labels. right_kept, right_whole: part of the right images that `export` keeps,
    copies of other images aside, and of all.
    """

    true: float
    estimated: float
    joint_first: float
    joint_last: float
    auroc: float
    right_kept: float
    right_whole: float


def draw(images: Sequence[KnownImage], share: float, rng: np.random.Generator) -> set[str]:
    """Keys of the images to drop so that this share of the certain labels is wrong; of each label the same part.

    Args:
        images: the usable images.
        share: of wrong labels, above 0 and below 1.
        rng: the draw.
    """
    certain = [image for image in images if image.certain]
    num_wrong = sum(image.wrong for image in certain)
    num_right = len(certain) - num_wrong
    cut = share * len(certain) < num_wrong
    pool = [image for image in certain if image.wrong == cut]
    keep = num_right * share / (1.0 - share) if cut else num_wrong * (1.0 - share) / share
    of_label: dict[str, list[str]] = {}
    for image in pool:
        of_label.setdefault(image.label, []).append(image.key)
    labels = sorted(of_label)
    quota_L = np.array([keep * len(of_label[label]) / len(pool) for label in labels])
    keep_L = np.floor(quota_L).astype(np.int64)
    largest_first = np.argsort(keep_L - quota_L, kind="stable")
    keep_L[largest_first[: round(keep) - int(keep_L.sum())]] += 1
    dropped: set[str] = set()
    for label, num in zip(labels, keep_L.tolist(), strict=True):
        order = rng.permutation(len(of_label[label]))
        dropped.update(of_label[label][i] for i in order[num:])
    return dropped


def place_part(data: Path, name: str, truth: Path, dropped: set[str], out: Path) -> tuple[list[str], Path]:
    """A set without some images: what `ingest` takes after `ingest` to read it, and its truth table."""
    if name in CRAWLS:
        source = part_of_crawl(data / name, out, lambda row: row["path"] not in dropped)
        return [str(source), "--allow-outside"], truth
    out.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(data / name / "train.parquet")
    true_of = {row["path"]: row["true_category"] for row in read_csv(truth)}
    keys = [f"train.parquet#{i}" for i in range(table.num_rows)]
    kept = [key for key in keys if key not in dropped]
    pq.write_table(table.filter(pa.array([key not in dropped for key in keys])), out / "train.parquet")
    moved = {f"train.parquet#{i}": true_of[key] for i, key in enumerate(kept)}
    write_truth(out / "truth.csv", moved)
    return [str(out / "train.parquet"), *CIFAR_INGEST], out / "truth.csv"


def place_texts(data: Path, name: str, mode: str, seed: int, out: Path) -> tuple[list[str], Path]:
    """A crawl with other texts: what `ingest` takes to read it, and its truth table."""
    manifest = next((data / name).glob("manifest.*"))
    shutil.rmtree(out, ignore_errors=True)
    with redirect_stdout(sys.stderr):
        shuffle_texts.main(
            [str(manifest), str(out / manifest.name), "--mode", mode, "--seed", str(seed),
             "--truth", str(data / name / "truth.csv")]
        )  # fmt: skip
    return [str(out), "--allow-outside"], out / "truth.csv"


def updated_copy(run: Path, copy: Path, source: Sequence[str]) -> Path:
    """A copy of a run, unjudged, that holds what SOURCE holds; features of equal images stay."""
    unjudged_copy(run, copy)
    webclean("ingest", source[0], str(copy), "--update", *source[1:])
    return copy


def texts(run: Path, truth: Path, seed: int) -> tuple[float, float]:
    """AUROC of clean_score, and of its images-only form."""
    webclean("weight", str(run), "--seed", str(seed))
    webclean("weight", str(run), "--seed", str(seed), "--evidence", "image")
    both, image = (
        evaluate(run, truth, "--decisions", name)["ranking"]["auroc"] for name in ("default", "image")
    )
    return float(both), float(image)


def confident_joint(run: RunDir, round_: int) -> float:
    """The share of wrong labels that cleanlab estimates from the image judge's predictions of a round."""
    from cleanlab.count import estimate_joint

    usable = read_usable(run)
    p_NC = probabilities(run, schema.JUDGE_IMAGE, round_, usable)
    return float(1.0 - np.trace(estimate_joint(usable.label_N, p_NC)))


def kept(run: Path, truth: Path, out: Path) -> tuple[float, float]:
    """Part of the right images that `export` keeps: of those that are no copies of kept ones, and of all."""
    webclean("export", str(run), str(out), "--to", "csv", "--overwrite")
    reason_of = {row["source_key"]: row["reason"] for row in read_csv(out / "dropped.csv")}
    right = [
        image.key for image in known_images(RunDir(str(run)), truth) if image.certain and not image.wrong
    ]
    copies = sum(reason_of.get(key) in _COPIES for key in right)
    exported = sum(key not in reason_of for key in right)
    return exported / (len(right) - copies), exported / len(right)


def shares(run: Path, truth: Path, seed: int) -> Shares:
    """All figures of one copy."""
    webclean("weight", str(run), "--seed", str(seed))
    found = evaluate(run, truth)
    decided = found["decided"]
    opened = RunDir(str(run))
    right_kept, right_whole = kept(run, truth, run.with_name(f"{run.name}-export"))
    return Shares(
        true=decided["wrong"] / (decided["right"] + decided["wrong"]),
        estimated=estimated_share(run),
        joint_first=confident_joint(opened, 1),
        joint_last=confident_joint(opened, last_round(opened)),
        auroc=found["ranking"]["auroc"],
        right_kept=right_kept,
        right_whole=right_whole,
    )


def verdict(holds: bool) -> str:
    """Whether a bar is met."""
    return "yes" if holds else "**no**"


def text_table(found: dict[tuple[str, str], list[tuple[float, float]]]) -> list[str]:
    """Markdown of the first table; bars are held against means."""
    lines = [
        "| crawl | copy | AUROC of clean_score | images only | difference | bar | met |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for (name, mode), pairs in found.items():
        differences = [both - image for both, image in pairs]
        bar = TEXT_BARS[mode]
        lines.append(
            f"| {name} | {TEXTS[mode]} | {spread([both for both, _ in pairs])}"
            f" | {spread([image for _, image in pairs])} | {mean(differences):+.4f} | {bar}"
            f" | {verdict(mean(differences) >= bar)} |"
        )
    return lines


def share_table(found: dict[tuple[str, str], list[Shares]]) -> list[str]:
    """Markdown of the second table; bars are held against the largest error and the mean part kept."""
    lines = [
        "| set | copy | AUROC | true share | estimated | off by at most | bar | met"
        + " | confident joint, round 1 | last round | right kept | with copies | bar | met |",
        "|---|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for (name, copy), rows in found.items():
        error, bar = max(abs(row.estimated - row.true) for row in rows), SHARE_BARS[copy][name]
        right_kept, kept_bar = mean(row.right_kept for row in rows), KEPT_BAR.get(copy)
        cells = [
            name, copy, spread([row.auroc for row in rows]), f"{mean(row.true for row in rows):.3f}",
            spread([row.estimated for row in rows], 3), f"{error:.3f}", str(bar), verdict(error <= bar),
            spread([row.joint_first for row in rows], 3), spread([row.joint_last for row in rows], 3),
            f"{right_kept:.1%}", f"{mean(row.right_whole for row in rows):.1%}",
            *(("", "") if kept_bar is None else (f"{kept_bar:.0%}", verdict(right_kept >= kept_bar))),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Make the copies, judge them, print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WEBCLEAN_DATA", ".")))
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--set", action="append", choices=(*CRAWLS, CIFAR), dest="sets")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    options = parser.parse_args()
    data, work = options.data.resolve(), options.work.resolve()
    text_rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    share_rows: dict[tuple[str, str], list[Shares]] = {}
    for name in options.sets or (*CRAWLS, CIFAR):
        run = work / name
        truth = ingest_with_features(data, name, run)
        images = known_images(RunDir(str(run)), truth)
        for seed in range(options.seeds):
            for mode in TEXTS if name in CRAWLS else ():
                source, moved = place_texts(data, name, mode, seed, work / f"{name}-{mode}-source")
                copy = updated_copy(run, work / f"{name}-{mode}", source)
                text_rows.setdefault((name, mode), []).append(texts(copy, moved, seed))
                print(name, mode, "seed", seed, text_rows[name, mode][-1], file=sys.stderr, flush=True)
            for share, wanted in SHARES.items():
                copy, of_copy = work / f"{name}-{share.replace(' ', '-').replace('-%', '-percent')}", truth
                if wanted is None:
                    unjudged_copy(run, copy)
                else:
                    dropped = draw(images, wanted, np.random.default_rng(seed))
                    source, of_copy = place_part(
                        data, name, truth, dropped, copy.with_name(f"{copy.name}-source")
                    )
                    updated_copy(run, copy, source)
                share_rows.setdefault((name, share), []).append(shares(copy, of_copy, seed))
                print(name, share, "seed", seed, share_rows[name, share][-1], file=sys.stderr, flush=True)
    for lines in (text_table(text_rows) if text_rows else [], share_table(share_rows)):
        print("\n".join(["", *lines]))


if __name__ == "__main__":
    main()
