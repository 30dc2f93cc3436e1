"""A small run folder with everything that stages 1 and 2 read, made from plain rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from webclean import schema
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages import stage1, stage2
from webclean.stages.base import Context, Counts

NULL_IMAGE: dict[str, Any] = {column.name: None for column in schema.IMAGES_TABLE.columns}


def image(i: int, **fields: Any) -> dict[str, Any]:
    """One row of `images`; what is not named is null or a plain default."""
    row = NULL_IMAGE | {
        "image_id": f"{i:033d}", "source_key": f"{i:05d}.jpg", "uri": f"{i:05d}.jpg", "category": "cat",
        "query": "cat", "source": "engine", "rank": i + 1, "file_name": f"{i:05d}.jpg", "status": "ok",
    }  # fmt: skip
    return row | fields


class TinyRun:
    """Writes artefacts of a run from rows and runs the two stages on them."""

    def __init__(self, folder: Path, images: list[dict[str, Any]], *, part_rows: int = 4) -> None:
        self.dir = RunDir(str(folder))
        self.images, self.part_rows = images, part_rows
        self.notes: list[str] = []
        self.ctx = Context(self.dir, InlineEngine(), note=self.notes.append)
        self.names = sorted({row["category"] for row in images})
        self.write("images", schema.IMAGES_TABLE, images)
        self.write(
            "categories",
            schema.CATEGORIES_TABLE,
            [
                {"category_id": c, "name": name, "queries": [name], "num_images": 1}
                for c, name in enumerate(self.names)
            ],
        )

    def write(self, artefact: str, table: schema.Table, rows: list[dict[str, Any]]) -> None:
        """Write rows as parts of `part_rows`."""
        for index, start in enumerate(range(0, max(1, len(rows)), self.part_rows)):
            part = rows[start : start + self.part_rows]
            data = {name: [row[name] for row in part] for name in table.column_names}
            tables.write_part(self.dir, artefact, index, data, table)
        self.ctx.available[artefact] = True

    def similarity(self, match_CC: np.ndarray) -> None:
        """category_similarity with one number for all four columns."""
        rows = [
            {"a": a, "b": b, "wordnet": float(m), "text": float(m), "combined": float(m), "match": float(m)}
            for (a, b), m in np.ndenumerate(match_CC)
        ]
        self.write(schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, rows)

    def text(self, mass: list[float | None]) -> None:
        """`text` with the given mass on the label and its neighbours."""
        rows = [
            {
                "image_id": row["image_id"], "keywords": [], "no_text": m is None, "label_mass": m,
                "neighbor_mass": m, "text_mass": m, "top_categories": [], "top_masses": [],
            }
            for row, m in zip(self.images, mass, strict=True)
        ]  # fmt: skip
        self.write(schema.TEXT, schema.TEXT_TABLE, rows)

    def predictions(
        self, judge: str, probabilities: list[list[float] | None], *, in_sample: bool = False, round_: int = 1
    ) -> None:
        """Predictions of the usable images; None: the judge had nothing to go by."""
        usable = [row for row in self.images if row["status"] == "ok"]
        rows = []
        for row, p in zip(usable, probabilities, strict=True):
            label = self.names.index(row["category"])
            order = [] if p is None else sorted(range(len(p)), key=lambda c: (-p[c], c))
            rows.append(
                {
                    "image_id": row["image_id"], "fold": -1 if p is None else 0, "top_categories": order,
                    "top_probabilities": [] if p is None else [p[c] for c in order],
                    "label_probability": None if p is None else p[label], "log_margin": None,
                    "suggested": None, "similarity": None, "in_sample": in_sample,
                }
            )  # fmt: skip
        self.beside_images(schema.predictions_path(judge, round_), schema.PREDICTIONS_TABLE, rows)
        if judge == schema.JUDGE_IMAGE:
            self.beliefs([1.0] * len(usable), round_=round_)

    def inside(
        self, rows: list[int], probabilities: list[list[float]], *, image_ids: list[str] | None = None
    ) -> None:
        """Predictions of the judge of round 1 on some images of its training."""
        ids = [self.images[i]["image_id"] for i in rows] if image_ids is None else image_ids
        table = [
            {
                "image_id": image_id, "fold": 0, "top_categories": list(range(len(p))), "top_probabilities": p,
                "label_probability": p[self.names.index(self.images[i]["category"])], "log_margin": None,
                "suggested": None, "similarity": None, "in_sample": True,
            }
            for image_id, i, p in zip(ids, rows, probabilities, strict=True)
        ]  # fmt: skip
        artefact = schema.inside_path(schema.JUDGE_IMAGE, 1)
        data = {name: [row[name] for row in table] for name in schema.PREDICTIONS_TABLE.column_names}
        tables.write_part(self.dir, artefact, 0, data, schema.PREDICTIONS_TABLE)
        self.ctx.available[artefact] = True

    def beliefs(self, p_right: list[float], *, round_: int = 1) -> None:
        """P(label right) of the usable images."""
        usable = [row["image_id"] for row in self.images if row["status"] == "ok"]
        rows = [{"image_id": i, "p_right": p} for i, p in zip(usable, p_right, strict=True)]
        self.beside_images(schema.beliefs_path(round_), schema.BELIEFS_TABLE, rows)

    def beside_images(self, artefact: str, table: schema.Table, rows: list[dict[str, Any]]) -> None:
        """Write one row for each usable image in the parts that hold these images."""
        of_image = {row["image_id"]: row for row in rows}
        for index, start in enumerate(range(0, max(1, len(self.images)), self.part_rows)):
            part = [
                of_image[row["image_id"]]
                for row in self.images[start : start + self.part_rows]
                if row["image_id"] in of_image
            ]
            data = {name: [row[name] for row in part] for name in table.column_names}
            tables.write_part(self.dir, artefact, index, data, table)
        self.ctx.available[artefact] = True

    def duplicates(self, rows: list[dict[str, Any]]) -> None:
        """`duplicates`, one dict a member: image, keeper (row numbers or None), against."""
        plain = [
            {
                "image_id": self.images[row["image"]]["image_id"], "group": row.get("group", 0),
                "keeper_id": None if row["keeper"] is None else self.images[row["keeper"]]["image_id"],
                "kind": "exact", "view": 0, "distance": 0, "crosses_category": row["keeper"] is None,
                "against": row.get("against"),
            }
            for row in rows
        ]  # fmt: skip
        self.write(schema.DUPLICATES, schema.DUPLICATES_TABLE, plain)

    def stage1(self, **options: Any) -> tuple[Counts, dict[str, np.ndarray]]:
        """Run stage 1; its counts and its columns."""
        from webclean.config import Stage1Config

        config = Stage1Config(**options)
        counts = stage1.run(config, self.ctx)
        artefact = schema.stage1_path(config.round)
        self.ctx.available[artefact] = True
        return counts, self._columns(artefact, schema.STAGE1_TABLE)

    def stage2(self, **options: Any) -> tuple[Counts, dict[str, np.ndarray]]:
        """Run stage 2; its counts and its columns."""
        from webclean.config import Stage2Config

        config = Stage2Config(**options)
        counts = stage2.run(config, self.ctx)
        return counts, self._columns(schema.stage2_path(config.round), schema.STAGE2_TABLE)

    def _columns(self, artefact: str, table: schema.Table) -> dict[str, np.ndarray]:
        found = tables.read(self.dir, artefact, table)
        assert found.column("image_id").to_pylist() == [row["image_id"] for row in self.images]
        assert len(tables.part_names(self.dir, artefact)) == len(tables.part_names(self.dir, "images"))
        return {name: np.array(found.column(name).to_pylist()) for name in table.column_names}
