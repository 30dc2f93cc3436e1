"""`webclean explain`: one image, every way to name it, and the verdict in words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from exported_run import Row, image_id, picture, write_run

from webclean import schema
from webclean.cli.app import main
from webclean.errors import ArtifactMissingError, ConfigError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages import explain

ROWS = [
    Row("cat/1.jpg", "cat", 0.9, tags=["a", "b"], title="a cat", extra={"licence": "none"}),
    Row("cat/2.jpg", "cat", 0.2, suggested=("dog", 0.75)),
    Row("cat/3.jpg", "cat", 0.8, group=1, is_keeper=True, data=picture(50)),
    Row("cat/4.jpg", "cat", 0.8, group=1, data=picture(51)),
    Row("cat/5.jpg", "cat", 0.7, group=2, data=picture(60)),
    Row("dog/1.jpg", "dog", 0.6, group=2, data=picture(60)),
    Row("dog/2.jpg", "dog", 0.9, against="test/9.jpg"),
    Row("dog/3.jpg", "dog", math.nan),
    Row("dog/4.jpg", "dog", math.nan, status="truncated"),
    Row("dog/5.jpg", "dog", math.nan, status="excluded"),
]


@pytest.fixture
def run(tmp_path) -> RunDir:
    """A decided run in parts of three rows, with what weighing and training leave behind for each image."""
    context = write_run(tmp_path, ROWS)
    run = context.run
    ids = [image_id(row) for row in sorted(ROWS, key=lambda row: row.key)]
    usable = [i for i, row in enumerate(sorted(ROWS, key=lambda row: row.key)) if row.status == "ok"]
    for name, table, values in (
        (schema.QUALITY, schema.QUALITY_TABLE, lambda i: {f: i == 1 and f == "blurry" for f in schema.FLAGS}),
        (
            schema.TEXT,
            schema.TEXT_TABLE,
            lambda i: {
                "keywords": [f"word{i}"], "no_text": False, "label_mass": 0.5, "neighbor_mass": 0.25,
                "text_mass": 0.6, "top_categories": [1, 0], "top_masses": [0.75, 0.25],
            },
        ),
        (
            schema.stage1_path(1),
            schema.STAGE1_TABLE,
            lambda i: {
                "rank_position": i + 1, "rank_percentile": 0.5, "rank_weight": 0.5, "text_match": 0.25,
                "text_judge": None, "weight": 0.125, "sampling": 0.1, "missing_rank": False, "missing_text": False,
            },
        ),
        (
            schema.stage2_path(1),
            schema.STAGE2_TABLE,
            lambda i: {"stage1_weight": 0.125, "match_score": 0.5, "weight": 0.0625, "no_judge": False},
        ),
    ):  # fmt: skip
        write(run, name, table, ids, values)
    predicted = {
        "fold": 2, "top_categories": [1, 0], "top_probabilities": [0.75, 0.25], "label_probability": 0.25,
        "log_margin": -1.0, "suggested": 1, "similarity": None, "in_sample": False,
    }  # fmt: skip
    judged = [ids[i] for i in usable]
    write(run, schema.predictions_path("image", 1), schema.PREDICTIONS_TABLE, judged, lambda i: predicted)
    write(
        run,
        schema.model_predictions_path("somnet"),
        schema.MODEL_PREDICTIONS_TABLE,
        judged,
        lambda i: predicted | {"somnet_score": 0.5},
    )
    roi = {"roi": 0, "box": [0.0, 1.0, 12.0, 8.0], "weight": 1.0, "d": 0.5, "r": 0.25, "slot": 3}
    write(run, f"{schema.model_path('somnet')}/rois", schema.ROIS_TABLE, judged, lambda i: roi)
    return run


def write(run: RunDir, artefact: str, table: schema.Table, ids: list[str], values) -> None:
    for index, start in enumerate(range(0, len(ids), 3)):
        rows = [{"image_id": ids[i], **values(i)} for i in range(start, min(start + 3, len(ids)))]
        columns = {name: [row[name] for row in rows] for name in table.column_names}
        tables.write_part(run, artefact, index, columns, table)
    record = run.read_json(f"{schema.IMAGES}/{schema.RUN_JSON}")
    run.write_json(f"{artefact}/{schema.RUN_JSON}", record | {"digest": artefact})


def of_key(key: str) -> str:
    return image_id(next(row for row in ROWS if row.key == key))


def test_an_image_is_found_by_its_id_its_beginning_and_its_key(run):
    whole = explain.explain(run, "cat/2.jpg")
    assert whole["image"]["source_key"] == "cat/2.jpg"
    for name in (of_key("cat/2.jpg"), of_key("cat/2.jpg")[:9], of_key("cat/2.jpg")[:20]):
        assert explain.explain(run, name) == whole


def test_what_is_not_one_image_is_said(run, tmp_path):
    content = of_key("cat/5.jpg")[:16]  # two rows have these bytes
    with pytest.raises(ConfigError, match="2 images of .* begin with") as caught:
        explain.explain(run, content)
    assert of_key("dog/1.jpg") in str(caught.value.context)
    for wanted in ("nobody.jpg", "", "zzz"):
        with pytest.raises(ConfigError, match="has no image"):
            explain.explain(run, wanted)
    with pytest.raises(ArtifactMissingError, match="images has not been made"):
        explain.explain(RunDir(str(tmp_path / "nothing")), "x")


def test_everything_that_is_known_is_told(run):
    found = explain.explain(run, "cat/2.jpg")
    assert found["flags"]["blurry"]
    assert sum(found["flags"].values()) == 1
    assert found["text"]["top"] == [{"category": "dog", "mass": 0.75}, {"category": "cat", "mass": 0.25}]
    assert found["text"]["keywords"] == ["word1"]
    (round_,) = found["rounds"]
    assert (round_["round"], round_["stage1"]["rank_position"], round_["stage2"]["weight"]) == (1, 2, 0.0625)
    assert round_["judges"]["image"]["suggested"] == "dog"
    assert round_["judges"]["image"]["top"][0] == {"category": "dog", "probability": 0.75}
    assert found["models"]["somnet"]["rois"] == [
        {"roi": 0, "box": [0.0, 1.0, 12.0, 8.0], "weight": 1.0, "d": 0.5, "r": 0.25, "slot": 3}
    ]
    assert "tiny" not in found["image"]
    assert explain.explain(run, "cat/1.jpg")["image"]["extra"] == {"licence": "none"}


def test_what_has_not_been_made_is_left_empty(run):
    for name in (
        schema.QUALITY, schema.TEXT, schema.WEIGHTS, schema.PREDICTIONS, schema.MODELS, schema.DECISIONS,
        schema.DUPLICATES,
    ):  # fmt: skip
        run.remove(name)
    found = explain.explain(run, "cat/1.jpg")
    assert (found["flags"], found["text"], found["rounds"], found["models"]) == (None, None, [], {})
    assert (found["copies"], found["against"], found["decisions"], found["stale"]) == ([], None, {}, {})


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("cat/1.jpg", "kept: its label is right with probability 0.900, at least 0.5"),
        (
            "cat/2.jpg",
            "dropped: its label is right with probability 0.200, below 0.5; dog is likelier (0.750)",
        ),
        ("cat/3.jpg", "kept: its label is right with probability 0.800, at least 0.5"),
        ("cat/4.jpg", "dropped: a copy of cat/3.jpg, which stands for both"),
        ("cat/5.jpg", "kept: its label is right with probability 0.700, at least 0.5"),
        (
            "dog/1.jpg",
            "dropped: the same picture stands under cat too; at most the likeliest of them may stay",
        ),
        ("dog/2.jpg", "dropped: a copy of test/9.jpg of your test set"),
        ("dog/3.jpg", "kept: nothing was there to judge it by"),
        ("dog/4.jpg", "left out: the file is truncated: image file is truncated"),
        ("dog/5.jpg", "left out: the category map excludes this category"),
    ],
)
def test_each_reason_in_words(run, key, why):
    name = next(n for n in tables.part_names(run, "images") if key in keys(run, n))
    rows = tables.read_part(run, schema.IMAGES, name, schema.IMAGES_TABLE).to_pylist()
    said = {"truncated": "image file is truncated", "excluded": "the category map excludes this category"}
    for row in rows:
        row["error"] = said.get(row["status"])
    columns = {column: [row[column] for row in rows] for column in schema.IMAGES_TABLE.column_names}
    tables.write_part(run, schema.IMAGES, int(name[5:10]), columns, schema.IMAGES_TABLE)
    assert explain.explain(run, key)["decisions"]["default"]["why"] == why


def test_a_score_without_a_judge_is_no_probability(run):
    record = run.read_json(f"decisions/default/{schema.RUN_JSON}")
    run.write_json(f"decisions/default/{schema.RUN_JSON}", record | {"result": {"no_judge": True}})
    why = explain.explain(run, "cat/1.jpg")["decisions"]["default"]["why"]
    assert why == "kept: no judge took part, and its score of 0.900 only orders the images"


def keys(run: RunDir, part: str) -> list[str]:
    rows = tables.read_part(run, schema.IMAGES, part, schema.IMAGES_TABLE, (schema.SOURCE_KEY,))
    return rows.column(0).to_pylist()


def test_copies_are_named_with_the_keeper(run):
    (copy,) = explain.explain(run, "cat/4.jpg")["copies"]
    assert (copy["source_key"], copy["category"], copy["kind"], copy["is_keeper"]) == (
        "cat/3.jpg", "cat", "near", True,
    )  # fmt: skip
    (copy,) = explain.explain(run, "cat/3.jpg")["copies"]
    assert (copy["source_key"], copy["is_keeper"]) == ("cat/4.jpg", False)
    (copy,) = explain.explain(run, "dog/1.jpg")["copies"]
    assert (copy["source_key"], copy["category"], copy["is_keeper"]) == ("cat/5.jpg", "cat", False)
    assert explain.explain(run, "dog/2.jpg")["against"] == "test/9.jpg"


def test_only_the_parts_that_hold_the_image_are_read_whole(run, monkeypatch):
    read: list[tuple[str, str]] = []
    real = tables.read_part

    def spy(run, artefact, name, table, columns=None):
        if columns is None:
            read.append((artefact, name))
        return real(run, artefact, name, table, columns)

    monkeypatch.setattr(tables, "read_part", spy)
    explain.explain(run, "cat/5.jpg")  # the fifth row: the second part
    assert {name for artefact, name in read if artefact != schema.DUPLICATES} == {"part-00001.parquet"}
    assert len(read) == len(set(read))


def test_for_people_and_for_scripts(run, capsys):
    assert main(["explain", run.url, "cat/2.jpg"]) == 0
    shown = capsys.readouterr().out
    for words in (
        of_key("cat/2.jpg"), "blurry", "word1", "dog 0.750, cat 0.250", "image, round 1", "model somnet",
        "weight of the box 0, 1 to 12, 8", "default: dropped: its label is right with probability 0.200",
    ):  # fmt: skip
        assert words in shown, words
    assert main(["explain", run.url, "cat/2.jpg", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(explain.explain(run, "cat/2.jpg")))
    assert main(["explain", run.url, "no"]) == 2
    assert "error[config]" in capsys.readouterr().err
    run.remove(schema.DECISIONS)
    assert main(["explain", run.url, "cat/2.jpg"]) == 0
    assert f"Nothing is decided yet: webclean weight {run.url}" in capsys.readouterr().out


def test_every_row_can_be_explained_to_people(run, capsys):
    for row in ROWS:
        assert main(["explain", run.url, row.key]) == 0
    assert "Traceback" not in "".join(capsys.readouterr())


def test_text_of_the_crawl_cannot_steer_the_terminal(tmp_path, capsys):
    evil = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202e gpj"
    rows = [Row(f"cat/{i}.jpg", f"cat {evil}", title=evil, tags=[evil], extra={evil: evil}) for i in range(2)]
    rows.append(Row(f"cat/{evil.replace('/', '')}.jpg", f"cat {evil}"))
    run = write_run(tmp_path, rows).run
    for row in rows:
        assert main(["explain", run.url, row.key]) == 0
        shown = capsys.readouterr().out
        assert not set(shown) & {"\x1b", "\x07", "\u202e"}
        assert "[bold red]x" in shown
    assert main(["explain", run.url, evil]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_stale_decisions_are_called_so(run, capsys):
    record = run.read_json(f"decisions/default/{schema.RUN_JSON}")
    inputs = {"inputs": {schema.IMAGES: "another"}}
    run.write_json(f"decisions/default/{schema.RUN_JSON}", record | inputs)
    assert explain.explain(run, "cat/1.jpg")["stale"] == {
        "decisions/default": "decisions/default was made from an older images"
    }
    assert main(["explain", run.url, "cat/1.jpg"]) == 0
    assert "decisions/default is stale" in capsys.readouterr().out


def test_a_freshly_ingested_image(tmp_path, capsys):
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/1.jpg").write_bytes(picture(1, size=(60, 40)))
    assert main(["ingest", str(tmp_path / "crawl"), str(tmp_path / "run"), "--workers", "0"]) == 0
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "run"), "1.jpg", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["image"]["width"], told["image"]["status"], told["flags"]["too_small"]) == (60, "ok", False)
    assert np.uint64(int(told["image"]["phash"], 16)) > 0
