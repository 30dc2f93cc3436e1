"""A small committed run on disk, written straight into its artefacts: what export and evaluate read."""

from __future__ import annotations

import hashlib
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from webclean import schema
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import policies
from webclean.stages.base import Context


@dataclass
class Row:
    """One crawled image; `data` None stands for a file that is not there."""

    key: str
    category: str
    score: float = 0.9
    status: str = "ok"
    data: bytes | None = b""
    group: int = -1
    is_keeper: bool = False
    against: str | None = None
    weight: float | None = None
    suggested: tuple[str, float] | None = None
    extra: dict = field(default_factory=dict)
    title: str | None = None
    tags: list | None = None
    format: str = "JPEG"


def picture(seed: int, format: str = "JPEG", orientation: int | None = None, size=(12, 8)) -> bytes:
    """Bytes of a small image of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, exif=exif)
    return buffer.getvalue()


def image_id(row: Row) -> str:
    content = hashlib.sha256(row.data).hexdigest()[:16] if row.data else "0" * 16
    return f"{content}-{hashlib.sha256(row.key.encode()).hexdigest()[:16]}"


def write_run(folder: Path, rows: list[Row], part_rows: int = 3) -> Context:
    """Write source files and a run that has decided on them by the default policy."""
    rows = sorted(rows, key=lambda row: row.key.encode())
    source = folder / "source"
    for i, row in enumerate(rows):
        if row.data == b"":
            row.data = picture(i, row.format)
        path = source / row.key
        if row.data is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.data)
    run = RunDir(str(folder / "run"))
    names = sorted({row.category for row in rows} | {row.suggested[0] for row in rows if row.suggested})
    images = [_image(row, source) for row in rows]
    _write(run, schema.IMAGES, schema.IMAGES_TABLE, images, part_rows)
    _write(
        run,
        schema.CATEGORIES,
        schema.CATEGORIES_TABLE,
        [{"category_id": i, "name": n, "queries": [n], "num_images": 0} for i, n in enumerate(names)],
    )
    keepers = {row.group: image_id(row) for row in rows if row.is_keeper}
    labels = {g: {r.category for r in rows if r.group == g} for g in {r.group for r in rows}}
    _write(
        run,
        schema.DUPLICATES,
        schema.DUPLICATES_TABLE,
        [
            {
                "image_id": image_id(row), "group": row.group if row.group >= 0 else 1000 + i,
                "keeper_id": keepers.get(row.group), "kind": "near", "view": 0, "distance": 0,
                "crosses_category": len(labels[row.group]) > 1, "against": row.against,
            }
            for i, row in enumerate(rows)
            if row.group >= 0 or row.against
        ],
    )  # fmt: skip
    group = np.asarray([row.group for row in rows])
    category = np.asarray([names.index(row.category) for row in rows])
    score = np.asarray([row.score for row in rows], dtype=float)
    settled = policies.settle_groups(group, np.asarray([row.is_keeper for row in rows]), category, score)
    verdicts = policies.decide_keep(
        score,
        category,
        [row.status for row in rows],
        settled.duplicate_drop_N,
        settled.conflict_drop_N,
        np.asarray([row.against is not None for row in rows]),
        policies.Policy(),
    )
    decisions = []
    for i, row in enumerate(rows):
        weight = row.weight if row.weight is not None else 1.0 if math.isnan(row.score) else row.score
        decisions.append(
            {name: None for name in schema.DECISIONS_TABLE.column_names}
            | {
                "image_id": image_id(row), "keep": bool(verdicts.keep_N[i]),
                "weight": weight if verdicts.keep_N[i] else 0.0, "p_rank": 1.0 - i / len(rows),
                "clean_score": None if math.isnan(row.score) else row.score,
                "reason": str(verdicts.reason_N[i]), "trusted": False,
                "suggested_category": row.suggested[0] if row.suggested else None,
                "suggested_probability": row.suggested[1] if row.suggested else None,
            }
        )  # fmt: skip
    _write(run, schema.decisions_path("default"), schema.DECISIONS_TABLE, decisions, part_rows)
    return Context(run=run, engine=InlineEngine())


def _image(row: Row, source: Path) -> dict:
    empty = {name: None for name in schema.IMAGES_TABLE.column_names}
    return empty | {
        "image_id": image_id(row), "source_key": row.key, "uri": str(source / row.key),
        "category": row.category, "query": row.category, "rank": 1, "title": row.title, "tags": row.tags,
        "file_name": row.key.rsplit("/", 1)[-1], "extra": json.dumps(row.extra) if row.extra else None,
        "format": row.format if row.status == "ok" else None,
        "sha256": hashlib.sha256(row.data).hexdigest() if row.data else None, "status": row.status,
    }  # fmt: skip


def _write(run: RunDir, artefact: str, table: schema.Table, rows: list[dict], part_rows: int = 10**6) -> None:
    for index, start in enumerate(range(0, max(len(rows), 1), part_rows)):
        part = rows[start : start + part_rows]
        columns = {name: [row[name] for row in part] for name in table.column_names}
        tables.write_part(run, artefact, index, columns, table)
    run.write_json(
        f"{artefact}/{schema.RUN_JSON}",
        {
            "stage": "fixture",
            "inputs": {},
            "digest": artefact,
            "fingerprint": "f" * 8,
            "config": {},
            "result": {},
            "counts": {"total": 0, "forwarded": 0, "dropped": {}},
            "files": [],
            "clock": {"seconds": 0.0},
        },
    )
