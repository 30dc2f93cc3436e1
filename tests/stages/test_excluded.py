"""Rows that the user excluded go through the whole chain and come out as such."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from exported_run import picture
from letters import Letters

from webclean import schema
from webclean.cli.app import main
from webclean.errors import ArtifactInvalidError
from webclean.io import sentence, tables
from webclean.io.run_dir import RunDir
from webclean.stages.rows import NO_CATEGORY, Categories

PER_CATEGORY = 3  # fewer than folds: rank and text alone judge


def ingest(folder: Path) -> RunDir:
    """Two categories, one that the map excludes, and rows without a label."""
    rows = [("path", "label", "query", "rank", "title")]
    for number, name in enumerate(name for name in ("cat", "dog", "teapot", "") for _ in range(PER_CATEGORY)):
        (folder / "source").mkdir(exist_ok=True)
        (folder / "source" / f"{number}.jpg").write_bytes(picture(number))
        rank = number % PER_CATEGORY + 1
        rows.append((f"{number}.jpg", name, name, str(rank), "meow bark" if rank > 1 else ""))
    with (folder / "source" / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "map.csv").write_text("teapot,\n")
    run = RunDir(str(folder / "run"))
    flags = ["--category-map", str(folder / "map.csv"), "--workers", "0", "--quiet"]
    assert main(["ingest", str(folder / "source"), run.url, *flags]) == 0
    return run


def test_excluded_rows_are_accounted_for_by_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: Letters())
    run = ingest(tmp_path)
    small = ["--folds-images", "20", "--folds-width", "4", "--folds-side", "16"]
    flags = ["--weights", "none", "--wordnet", "none", "--workers", "0", "-q", *small]
    assert main(["weight", run.url, *flags]) == 0
    for artefact in (schema.IMAGES, schema.DUPLICATES, "predictions/text-r1", "weights/r1/stage1"):
        dropped = run.read_json(f"{artefact}/run.json")["counts"]["dropped"]
        assert dropped["excluded"] == 2 * PER_CATEGORY, artefact
        assert not any("bad_file" in reason for reason in dropped), artefact

    images = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, ("category", "status")).to_pylist()
    assert sorted({row["category"] for row in images}) == ["", "cat", "dog", "teapot"]
    excluded = [row["status"] == "excluded" for row in images]
    assert sum(excluded) == 2 * PER_CATEGORY
    for artefact, table in (
        ("weights/r1/stage1", schema.STAGE1_TABLE),
        ("weights/r1/stage2", schema.STAGE2_TABLE),
        ("decisions/default", schema.DECISIONS_TABLE),
    ):
        weights = tables.read(run, artefact, table, ("weight",)).column("weight").to_pylist()
        assert len(weights) == len(excluded), artefact
        assert not any(weight for weight, left in zip(weights, excluded, strict=True) if left), artefact

    capsys.readouterr()
    out = tmp_path / "out"
    assert main(["export", run.url, str(out), "--threshold", "0", "--relabel", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dropped"] == {"excluded": 2 * PER_CATEGORY}
    assert told["exported"] + sum(told["dropped"].values()) == told["total"] == 4 * PER_CATEGORY
    assert json.loads((out / "manifest.json").read_text())["categories"] == ["cat", "dog"]
    with (out / "dropped.csv").open(newline="") as file:
        left = [(row["category"], row["reason"]) for row in csv.DictReader(file)]
    assert sorted(left) == [("", "excluded")] * PER_CATEGORY + [("teapot", "excluded")] * PER_CATEGORY


def test_an_unknown_category_of_a_usable_image_is_still_an_error(tmp_path: Path) -> None:
    run = ingest(tmp_path)
    rows = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, ("category",)).column("category")
    codes = Categories(run).encode(rows)
    code_of = {"cat": 0, "dog": 1, "teapot": NO_CATEGORY, "": NO_CATEGORY}
    assert codes.tolist() == [code_of[name] for name in rows.to_pylist()]
    run.remove(schema.CATEGORIES)
    only = {"category_id": [0], "name": ["cat"], "queries": [["cat"]], "num_images": [PER_CATEGORY]}
    tables.write_part(run, schema.CATEGORIES, 0, only, schema.CATEGORIES_TABLE)
    with pytest.raises(ArtifactInvalidError, match="category 'dog' of an image"):
        Categories(run).encode(rows)
