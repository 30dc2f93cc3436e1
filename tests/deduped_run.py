"""A crawl that went through ingest and dedup in this process, and its copies by the paths of the images."""

from __future__ import annotations

from pathlib import Path

from webclean import schema
from webclean.config import DedupConfig, IngestConfig
from webclean.engines.base import Engine
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import Context, Outcome, execute
from webclean.stages.chain import BY_NAME

Rows = dict[str, dict[str, object]]


def dedup(
    tmp_path: Path, source: Path, name: str = "run", engine: Engine | None = None, **options: object
) -> tuple[Context, Outcome]:
    """Ingest a crawl into a new run and look for copies; options of `DedupConfig`."""
    run = RunDir(str(tmp_path / name))
    run.make()
    context = Context(run=run, engine=engine or InlineEngine())
    execute(BY_NAME["ingest"], IngestConfig(source=str(source)), context)
    return context, execute(BY_NAME["dedup"], DedupConfig(**options), context)  # type: ignore[arg-type]


def rows_of(run: RunDir) -> Rows:
    """source_key -> row of `duplicates`, keepers as source keys."""
    columns = (schema.IMAGE_ID, schema.SOURCE_KEY)
    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, columns).to_pylist()
    key = {row["image_id"]: row["source_key"] for row in images}
    rows = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE).to_pylist()
    return {key[row["image_id"]]: {**row, "keeper": key.get(row["keeper_id"])} for row in rows}


def groups_of(rows: Rows) -> set[frozenset[str]]:
    """The groups, by the source keys of their members."""
    members: dict[object, set[str]] = {}
    for key, row in rows.items():
        members.setdefault(row["group"], set()).add(key)
    return {frozenset(group) for group in members.values()}
