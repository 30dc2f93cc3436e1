"""The variants of stage 2's match score s, compared on the same out-of-sample predictions.

    python benchmarks/stage2_variants.py RUN:TRUTH ...

RUN has been weighted, in as many rounds as --round says. For each variant: AUROC and average precision for wrong
labels of s and of stage 1 x s, the number of effective samples (Kish) that the product leaves, per category on average, the
share of the product's weight that lies on wrong labels, and the mean s of right ones. The temperatures are those at which
the judge foretells the crawl's own labels best: all counted alike (plain), by stage 1, by the round's beliefs
(`--match-temperature auto`), and only those that the truth calls right.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import Stage2Config
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import match_scores, stage_weights
from webclean.ops.metrics import auroc, average_precision
from webclean.ops.temperature import fitted_temperature, likelihood_terms
from webclean.stages.judged import read_usable
from webclean.stages.predictions import read_predictions

Floats, Ints = NDArray[np.float64], NDArray[np.int64]
DEFAULT = Stage2Config()


def relations(run: RunDir, num: int) -> tuple[match_scores.MatchMatrix, Floats]:
    """The thresholded relation, and the blend of all pairs."""
    rows = tables.read(run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE)
    a, b, match, blend = (
        np.asarray(rows.column(name).to_numpy())
        for name in (schema.A, schema.B, schema.MATCH, schema.COMBINED)
    )
    blend_CC = np.eye(num)
    blend_CC[a, b] = blend
    return match_scores.match_matrix(a[match > 0], b[match > 0], match[match > 0], num), blend_CC


def class_texts(run: RunDir, num: int) -> list[str]:
    """Name, lemmas and gloss of each category."""
    texts = [""] * num
    for row in tables.read(run, schema.SENSES, schema.SENSES_TABLE).to_pylist():
        words = dict.fromkeys((row[schema.NAME], *row[schema.LEMMAS], row[schema.GLOSS] or ""))
        texts[row[schema.CATEGORY_ID]] = " ".join(words).replace("_", " ")
    return texts


def temperatures(p_NC: Floats, label_N: Ints, weights: dict[str, Floats]) -> dict[str, float]:
    """T of highest likelihood of the labels, counted in each of several ways."""
    every_NC = np.broadcast_to(np.arange(p_NC.shape[1]), p_NC.shape)
    own_N = p_NC[np.arange(len(p_NC)), label_N]
    terms = likelihood_terms(every_NC, p_NC, label_N, own_N, p_NC.shape[1])
    return {name: fitted_temperature(terms, weight_N) for name, weight_N in weights.items()}


def believed(run: RunDir, round_: int) -> Floats:
    """P(label right) of the usable images."""
    parts = tables.iter_parts(run, schema.beliefs_path(round_), schema.BELIEFS_TABLE, (schema.P_RIGHT,))
    return np.concatenate([np.asarray(part.column(schema.P_RIGHT).to_numpy()) for part in parts])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN:TRUTH")
    parser.add_argument("--round", type=int, default=1)
    asked = parser.parse_args()
    for given in asked.runs:
        folder, truth = given.split(":")
        run = RunDir(folder)
        known = {
            row["path"]: row for row in csv.DictReader(Path(truth).read_text(encoding="utf-8").splitlines())
        }
        usable = read_usable(run)
        label_N, num = usable.label_N, usable.num_categories
        judged = read_predictions(run, schema.predictions_path(schema.JUDGE_IMAGE, asked.round), usable)
        p_NC = np.exp(judged.log_probability_NC)
        images = tables.read(
            run, schema.IMAGES, schema.IMAGES_TABLE, (schema.SOURCE_KEY, schema.CATEGORY, schema.STATUS)
        ).to_pylist()
        stage1 = tables.read(
            run, schema.stage1_path(asked.round), schema.STAGE1_TABLE, (schema.WEIGHT,)
        ).to_pylist()
        rows = [
            (known.get(image[schema.SOURCE_KEY]), image[schema.CATEGORY], row[schema.WEIGHT])
            for image, row in zip(images, stage1, strict=True)
            if image[schema.STATUS] == schema.STATUS_OK
        ]
        sure_N = np.array([one is not None and one.get("uncertain") != "1" for one, _, _ in rows])
        wrong_N = np.array(
            [
                one is None or one["kind"] == "off-topic" or one["true_category"] != name
                for one, name, _ in rows
            ]
        )
        stage1_N = np.array([weight for _, _, weight in rows])
        relation, blend_CC = relations(run, num)
        keywords = match_scores.keyword_matrix(class_texts(run, num), top=DEFAULT.match_keywords)
        own = match_scores.only_itself(num)
        found = temperatures(
            p_NC,
            label_N,
            {
                "plain": np.ones(len(label_N)),
                "by stage 1": stage1_N,
                "by beliefs": believed(run, asked.round),
                "right labels": (sure_N & ~wrong_N).astype(np.float64),
            },
        )
        auto = found["by beliefs"]
        top_NK = np.argsort(-p_NC, axis=1, kind="stable")[:, : DEFAULT.match_top]
        top_p_NK = np.take_along_axis(p_NC, top_NK, axis=1)

        def of(
            matrix: match_scores.MatchMatrix,
            t: float,
            top: Ints = top_NK,
            p: Floats = top_p_NK,
            label: Ints = label_N,
        ) -> Floats:
            return match_scores.expected_match(
                top, p, label, matrix, temperature=t, minimum=DEFAULT.match_minimum
            )

        kl_N = match_scores.consistency(blend_CC[label_N], p_NC, temperature=DEFAULT.kl_temperature)
        scores = {
            "stage 1 alone": np.ones(len(label_N)),
            "relation, T = 1": of(relation, 1.0),
            f"relation, T by stage 1 = {found['by stage 1']:.2f}": of(relation, found["by stage 1"]),
            f"relation, T auto = {auto:.2f}": of(relation, auto),
            "keywords, T = 1": of(keywords, 1.0),
            f"keywords, T auto = {auto:.2f}": of(keywords, auto),
            "label alone, T = 1": of(own, 1.0),
            f"label alone, T auto = {auto:.2f}": of(own, auto),
            "kl": stage_weights.share_of_class_max(kl_N, label_N, num),
        }
        print(
            f"\n{Path(folder).name}, round {asked.round}: {int(sure_N.sum()):,} images,"
            f" {wrong_N[sure_N].mean():.3f} wrong; T "
            + ", ".join(f"{name} {value:.2f}" for name, value in found.items())
            + "\n"
        )
        print(
            "| s | AUROC of s | AP of s | AUROC of stage 1 x s | AP | effective samples a category | weight on wrong labels |"
            " mean s of right labels |"
        )
        print("|---|--:|--:|--:|--:|--:|--:|--:|")
        for name, score_N in scores.items():
            product_N = stage1_N * score_N
            cells = [
                f"{measure(wrong_N[sure_N], -value_N[sure_N]):.4f}"
                for value_N in (score_N, product_N)
                for measure in (auroc, average_precision)
            ]
            effective = stage_weights.effective_samples(product_N, label_N, num).mean()
            on_wrong = product_N[sure_N & wrong_N].sum() / product_N[sure_N].sum()
            kept = score_N[sure_N & ~wrong_N].mean()
            print(
                f"| {name} | {' | '.join(cells)} | {effective:.1f} | {on_wrong:.3f} | {kept:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
