"""A run folder that judges can work on, written from plain rows: no file is read, no network loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reference_judging as reference

from webclean import schema
from webclean.config import (
    BelieveConfig,
    DecideConfig,
    JudgeImageConfig,
    JudgeNeighborsConfig,
    JudgeTextConfig,
    Stage1Config,
    Stage2Config,
)
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import Context, Outcome, execute
from webclean.stages.chain import BY_NAME

WORDS = ("apple orchard", "boat harbour", "cello concert", "desert dunes", "eagle nest", "ferry pier")


class JudgedRun:
    """Images of Gaussian blobs; a text names the true category. `part_rows` images stand in one part."""

    def __init__(
        self,
        folder: Path,
        world: reference.World,
        *,
        groups: Sequence[tuple[int, ...]] = (),
        bad: Sequence[int] = (),
        texts: Sequence[str | None] | None = None,
        ranks: bool = True,
        part_rows: int = 50,
    ) -> None:
        self.world, self.bad, self.part_rows = world, set(bad), part_rows
        self.run = RunDir(str(folder))
        self.notes: list[str] = []
        self.context = Context(self.run, InlineEngine(), note=self.notes.append)  # type: ignore[arg-type]
        self.names = [WORDS[c].split()[0] for c in range(int(world.label_N.max(initial=0)) + 1)]
        num = len(world.label_N)
        self.image_ids = [f"{i:033d}" for i in range(num)]
        self.usable = [i for i in range(num) if i not in self.bad]
        titles = [WORDS[c] for c in world.true_N] if texts is None else texts
        nulls = dict.fromkeys(schema.IMAGES_TABLE.column_names)
        images = [
            nulls
            | {
                "image_id": self.image_ids[i], "source_key": f"{i:05d}.jpg", "uri": f"{i:05d}.jpg",
                "category": self.names[label], "query": self.names[label], "source": "engine",
                "rank": i + 1 if ranks else None, "title": titles[i], "file_name": f"{i:05d}.jpg",
                "status": "corrupt" if i in self.bad else "ok",
            }
            for i, label in enumerate(world.label_N)
        ]  # fmt: skip
        self.commit(schema.IMAGES, schema.IMAGES_TABLE, images)
        categories = [
            {"category_id": c, "name": name, "queries": [name], "num_images": 1}
            for c, name in enumerate(self.names)
        ]
        self.commit(schema.CATEGORIES, schema.CATEGORIES_TABLE, categories)
        copies = []
        for number, members in enumerate(groups):
            crosses = len({int(world.label_N[i]) for i in members}) > 1
            copies += [
                {
                    "image_id": self.image_ids[i], "group": number, "kind": "near", "view": 0, "distance": 0,
                    "keeper_id": None if crosses else self.image_ids[members[0]], "crosses_category": crosses,
                    "against": None,
                }
                for i in members
            ]  # fmt: skip
        self.commit(schema.DUPLICATES, schema.DUPLICATES_TABLE, copies)

    def commit(
        self,
        artefact: str,
        table: schema.Table,
        rows: list[dict[str, Any]],
        result: dict[str, Any] | None = None,
    ) -> None:
        """Write rows and the run.json that makes them count as made from nothing."""
        for index, start in enumerate(range(0, max(1, len(rows)), self.part_rows)):
            part = rows[start : start + self.part_rows]
            data = {name: [row[name] for row in part] for name in table.column_names}
            tables.write_part(self.run, artefact, index, data, table)
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        record = {"inputs": {}, "digest": digest, "fingerprint": digest, "counts": {}, "result": result or {}}
        self.run.write_json(f"{artefact}/{schema.RUN_JSON}", json.loads(json.dumps(record)))

    def features(
        self, x_ND: np.ndarray | None = None, *, label_free: bool = True, name: str = "default"
    ) -> None:
        """Features of the usable images."""
        x_ND = (self.world.x_ND if x_ND is None else x_ND)[self.usable]
        rows = [
            {"image_id": self.image_ids[i], "vector": x.astype(np.float32).tolist()}
            for i, x in zip(self.usable, x_ND, strict=True)
        ]
        result = {"features": name, "label_free": label_free}
        self.commit(schema.features_path(name), schema.features_table(x_ND.shape[1]), rows, result)

    def relations(self) -> None:
        """Categories that match themselves only, and no text mass."""
        num = len(self.names)
        pairs = [
            {"a": a, "b": b, "wordnet": m, "text": m, "combined": m, "match": m}
            for (a, b), m in np.ndenumerate(np.eye(num))
        ]
        self.commit(schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, pairs)
        self.commit(schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE, [])
        senses = dict.fromkeys(schema.SENSES_TABLE.column_names) | {
            "synsets": [],
            "lemmas": [],
            "senses_found": [],
            "chosen_by": "none",
        }
        rows = [senses | {"category_id": c, "name": name} for c, name in enumerate(self.names)]
        self.commit(schema.SENSES, schema.SENSES_TABLE, rows)

    def execute(self, stage: str, config: Any, **options: Any) -> Outcome:
        return execute(BY_NAME[stage], config, self.context, **options)

    def judge(self, *, image: bool = True, text: bool = True, weights: bool = True, **options: Any) -> None:
        """Run the judges, and the weights of round 1."""
        if text:
            self.execute("judge-text", JudgeTextConfig(**options))
        if image:
            self.execute("judge-image", JudgeImageConfig(features="default", **options))
            self.execute("judge-neighbors", JudgeNeighborsConfig(**options))
        if weights:
            self.relations()
            self.execute("believe", BelieveConfig())
            self.execute("stage1", Stage1Config())
            self.execute("stage2", Stage2Config())

    def decide(self, **options: Any) -> dict[str, np.ndarray]:
        """Run decide; the columns of its table."""
        config = DecideConfig(**options)
        self.execute("decide", config)
        return self.rows(schema.decisions_path(config.name), schema.DECISIONS_TABLE)

    def rows(self, artefact: str, table: schema.Table) -> dict[str, np.ndarray]:
        found = tables.read(self.run, artefact, table)
        return {
            name: np.array(
                [np.nan if v is None and c.type == "float64" else v for v in found.column(name).to_pylist()],
                dtype=None if not c.type.startswith("list") else object,
            )
            for name, c in zip(table.column_names, table.columns, strict=True)
        }

    def predictions(self, judge: str) -> dict[str, np.ndarray]:
        return self.rows(schema.predictions_path(judge, 1), schema.PREDICTIONS_TABLE)
