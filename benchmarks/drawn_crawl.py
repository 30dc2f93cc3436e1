"""A crawl drawn as the artefacts of a run, without one pixel: as many images and categories as one likes.

Every part is drawn from a generator of its own, so that memory stays flat and the same settings give the same bytes. A third of
the labels is wrong; features are blobs, titles and addresses are made-up words of which each category has its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir

WRONG = 0.3
SILENT = 0.1  # images without a title
COPIES = 0.01
OWN_WORDS = 40  # words that a category's titles like
NUM_WORDS = 100_000
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


class Crawl:
    """Draws and commits what the judges and weights read."""

    def __init__(self, folder: Path, rows: int, num_categories: int, dim: int) -> None:
        self.run = RunDir(str(folder))
        self.run.make()
        self.rows, self.num, self.dim = rows, num_categories, dim
        rng = np.random.default_rng(7)
        self.centers_CD = rng.normal(0, 1, (num_categories, dim)).astype(np.float32)
        self.mixing_DD = rng.normal(0, 1, (48, dim)).astype(np.float32)  # what all images have in common
        self.words = np.array(
            [
                "".join(_SYLLABLES[(i // len(_SYLLABLES) ** k) % len(_SYLLABLES)] for k in range(3))
                for i in rng.permutation(NUM_WORDS)
            ]
        )
        self.own_CW = rng.integers(0, NUM_WORDS, (num_categories, OWN_WORDS))

    def parts(self) -> Iterator[tuple[int, np.ndarray, np.random.Generator]]:
        """Number, rows and generator of each part."""
        for index, start in enumerate(range(0, self.rows, tables.PART_ROWS)):
            row_N = np.arange(start, min(self.rows, start + tables.PART_ROWS))
            yield index, row_N, np.random.default_rng([1, index])

    def labels(self, index: int, num: int) -> tuple[np.ndarray, np.ndarray]:
        """What the images of a part show and what they are called."""
        rng = np.random.default_rng([2, index])
        true_N = rng.integers(0, self.num, num)
        wrong_N = rng.random(num) < WRONG
        return true_N, np.where(wrong_N, rng.integers(0, self.num, num), true_N)

    def write(
        self, artefact: str, table: schema.Table, draw: Any, result: dict[str, Any] | None = None
    ) -> None:
        """Draw all parts of an artefact that is not there yet."""
        if self.run.exists(f"{artefact}/{schema.RUN_JSON}"):
            return
        nothing = tables.arrow_schema(table)
        for index, row_N, rng in self.parts():
            columns = draw(index, row_N, rng)
            for name in table.column_names:
                columns.setdefault(name, pa.nulls(len(row_N), nothing.field(name).type))
            tables.write_part(self.run, artefact, index, columns, table)
        self.commit(artefact, result)

    def commit(self, artefact: str, result: dict[str, Any] | None = None) -> None:
        """The record that makes an artefact count as made."""
        digest = hashlib.sha256(f"{artefact} {self.rows} {self.num} {self.dim}".encode()).hexdigest()
        record = {"inputs": {}, "digest": digest, "fingerprint": digest, "counts": {}, "result": result or {}}
        self.run.write_json(f"{artefact}/{schema.RUN_JSON}", json.loads(json.dumps(record)))

    def images(self, *, texts: bool) -> None:
        """`images`, `categories`, `duplicates` and the relations of the categories."""
        names = np.array([f"thing {c}" for c in range(self.num)])

        def draw(index: int, row_N: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            true_N, label_N = self.labels(index, len(row_N))
            ids = _ids(row_N)
            columns = {
                schema.IMAGE_ID: ids,
                schema.SOURCE_KEY: ids,
                schema.URI: ids,
                schema.CATEGORY: names[label_N],
                schema.QUERY: names[label_N],
                schema.RANK: pa.array(row_N // self.num + 1),
                schema.SOURCE: ["engine"] * len(row_N),
                schema.FILE_NAME: ids,
                schema.STATUS: [schema.STATUS_OK] * len(row_N),
            }
            if texts:
                words_NK = np.minimum(rng.zipf(1.3, (len(row_N), 6)) - 1, NUM_WORDS - 1)
                words_NK[:, :2] = self.own_CW[true_N[:, None], rng.integers(0, OWN_WORDS, (len(row_N), 2))]
                titles = [" ".join(row) for row in self.words[words_NK]]
                silent_N = rng.random(len(row_N)) < SILENT
                columns[schema.TITLE] = pa.array(titles, mask=silent_N)
                hosts = self.words[rng.integers(0, 5_000, len(row_N))]
                columns[schema.PAGE_URL] = [
                    f"https://www.{host}.example/{'-'.join(row[1:4])}"
                    for host, row in zip(hosts, self.words[words_NK], strict=True)
                ]
            return columns

        self.write(schema.IMAGES, schema.IMAGES_TABLE, draw)
        each = [
            {"category_id": c, "name": str(name), "queries": [str(name)], "num_images": 1}
            for c, name in enumerate(names)
        ]
        self._table(schema.CATEGORIES, schema.CATEGORIES_TABLE, each)
        pairs = [
            {"group": g, "image_id": _id(2 * g + i), "keeper_id": _id(2 * g), "kind": "near", "view": 0}
            | {"distance": 0, "crosses_category": False, "against": None}
            for g in range(int(self.rows * COPIES / 2))
            for i in range(2)
        ]
        self._table(schema.DUPLICATES, schema.DUPLICATES_TABLE, pairs)
        neighbors = [
            {"a": a, "position": k, "b": (a + k) % self.num, "combined": 0.5}
            for a in range(self.num)
            for k in range(1, min(6, self.num))
        ]
        self._table(schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE, neighbors)
        relations = [
            {"a": a, "b": (a + k) % self.num, "wordnet": None, "text": None, "combined": m, "match": m}
            for a in range(self.num)
            for k, m in ((0, 1.0), (1, 0.5), (2, 0.2))[: self.num]
        ]
        self._table(schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, relations)
        senses = dict.fromkeys(schema.SENSES_TABLE.column_names) | {
            "synsets": [],
            "lemmas": [],
            "senses_found": [],
            "chosen_by": "none",
        }
        self._table(
            schema.SENSES,
            schema.SENSES_TABLE,
            [senses | {"category_id": c, "name": str(name)} for c, name in enumerate(names)],
        )

    def _table(self, artefact: str, table: schema.Table, rows: list[dict[str, Any]]) -> None:
        data = {name: [row[name] for row in rows] for name in table.column_names}
        tables.write_part(self.run, artefact, 0, data, table)
        self.commit(artefact)

    def features(self) -> None:
        """`features/default`: blobs with common directions, no value below 0."""

        def draw(index: int, row_N: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            true_N, _ = self.labels(index, len(row_N))
            common_ND = (
                rng.normal(0, 1, (len(row_N), len(self.mixing_DD))).astype(np.float32) @ self.mixing_DD
            )
            noise_ND = rng.standard_normal((len(row_N), self.dim), dtype=np.float32)
            x_ND = np.maximum(0.35 * self.centers_CD[true_N] + 0.3 * common_ND + 2.0 * noise_ND, 0.0)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), self.dim)
            return {schema.IMAGE_ID: _ids(row_N), schema.VECTOR: vectors}

        made = {"features": "default", "label_free": True, "dim": self.dim}
        self.write(schema.features_path("default"), schema.features_table(self.dim), draw, made)

    def masses(self) -> None:
        """`text` as the text stage would write it; no keyword is encoded."""

        def draw(index: int, row_N: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            true_N, label_N = self.labels(index, len(row_N))
            mass_N = np.clip(
                np.where(true_N == label_N, 0.6, 0.1) + 0.15 * rng.normal(size=len(row_N)), 0.0, 1.0
            )
            silent_N = rng.random(len(row_N)) < SILENT
            mass = pa.array(mass_N, mask=silent_N)
            return {
                schema.IMAGE_ID: _ids(row_N),
                schema.KEYWORDS: [[]] * len(row_N),
                schema.NO_TEXT: silent_N,
                schema.LABEL_MASS: mass,
                schema.NEIGHBOR_MASS: mass,
                schema.TEXT_MASS: mass,
                schema.TOP_CATEGORIES: pa.array([[]] * len(row_N), pa.list_(pa.int32())),
                schema.TOP_MASSES: pa.array([[]] * len(row_N), pa.list_(pa.float32())),
            }

        self.write(schema.TEXT, schema.TEXT_TABLE, draw)

    def predictions(self, judge: str, sharpness: float) -> None:
        """Predictions of a judge that is as good as this sharpness makes it."""
        from webclean.ops.heads import log_softmax
        from webclean.stages.predictions import prediction_columns

        def draw(index: int, row_N: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            true_N, label_N = self.labels(index, len(row_N))
            logits_NC = rng.normal(0, 1, (len(row_N), self.num))
            logits_NC[np.arange(len(row_N)), true_N] += sharpness
            return {
                schema.IMAGE_ID: _ids(row_N),
                schema.FOLD: pa.array(row_N % 5, pa.int32()),
                **prediction_columns(log_softmax(logits_NC), label_N, 100),
                schema.SIMILARITY: pa.array(rng.normal(0.6, 0.05, len(row_N))),
                schema.IN_SAMPLE: np.zeros(len(row_N), dtype=bool),
            }

        self.write(schema.predictions_path(judge, 1), schema.PREDICTIONS_TABLE, draw)


def _id(row: int) -> str:
    return f"{row:032x}"


def _ids(row_N: np.ndarray) -> list[str]:
    return [_id(row) for row in row_N.tolist()]
