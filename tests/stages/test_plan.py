"""Which stages a command runs; small crawls from end to end, with stand-ins for networks and WordNet."""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun

from webclean import schema
from webclean.cli.app import main
from webclean.cli.options import Settings
from webclean.errors import ArtifactMissingError, ArtifactStaleError, ConfigError
from webclean.io import tables
from webclean.stages import features, plan, similarity, text
from webclean.stages.base import Counts, command_for

N, C = 160, 4


class Stubs:
    """Stands in for the three stages that need a network or WordNet."""

    def __init__(
        self, made: JudgedRun, monkeypatch, *, label_free: bool = True, features_made: bool = True
    ) -> None:
        self.made = made

        def write_features(config, context):
            num = len(made.image_ids)
            context.result |= {"features": "default" if features_made else "none", "label_free": label_free}
            if features_made:
                table = schema.features_table(made.world.x_ND.shape[1])
                for index, start in enumerate(range(0, num, made.part_rows)):
                    rows = slice(start, start + made.part_rows)
                    ids = [made.image_ids[i] for i in range(num)[rows] if i in made.usable]
                    vectors = [made.world.x_ND[i].tolist() for i in range(num)[rows] if i in made.usable]
                    data = {"image_id": ids, "vector": vectors}
                    tables.write_part(context.run, "features/default", index, data, table)
            return Counts(num, num)

        def write_relations(config, context):
            made.relations()
            for artefact in (schema.SENSES, schema.CATEGORY_SIMILARITY, schema.CATEGORY_NEIGHBORS):
                context.run.remove(f"{artefact}/{schema.RUN_JSON}")
            return Counts(len(made.names), len(made.names))

        def write_text(config, context):
            rows = dict.fromkeys(schema.TEXT_TABLE.column_names) | {
                "keywords": [], "no_text": True, "top_categories": [], "top_masses": []
            }  # fmt: skip
            ids = made.image_ids
            for index, start in enumerate(range(0, len(ids), made.part_rows)):
                part = [rows | {"image_id": i} for i in ids[start : start + made.part_rows]]
                data = {name: [row[name] for row in part] for name in schema.TEXT_TABLE.column_names}
                tables.write_part(context.run, schema.TEXT, index, data, schema.TEXT_TABLE)
            return Counts(len(ids), 0, {"no_text": len(ids)})

        for module, function in (
            (features, write_features),
            (similarity, write_relations),
            (text, write_text),
        ):
            monkeypatch.setattr(module, "run", function)
            monkeypatch.setattr(module, "source_fingerprint", lambda config: "stub", raising=False)

    def weight(self, **flags):
        settings = Settings(flags, {}, quiet=True, json=False, force=False)
        return plan.weight(settings, self.made.context)


def test_weight_runs_its_stages_in_order_and_then_skips_them(tmp_path, monkeypatch):
    made = JudgedRun(tmp_path, reference.world(N, C, 0.25), bad=[5])
    stubs = Stubs(made, monkeypatch)
    outcomes = stubs.weight(rounds=1)
    expected = [
        "features", "similarity", "text", "judge-text", "judge-image", "judge-neighbors", "believe", "stage1", "stage2",
        "decide",
    ]  # fmt: skip
    assert [o.stage for o in outcomes] == expected
    assert not any(o.skipped for o in outcomes)
    rows = made.rows(schema.decisions_path("default"), schema.DECISIONS_TABLE)
    usable = np.array(made.usable)
    right_N = ~made.world.wrong_N[usable]
    assert reference.auroc(rows["clean_score"][usable].astype(float), right_N) > 0.95
    assert (rows["keep"][usable][right_N]).mean() >= 0.95
    assert all(o.skipped for o in stubs.weight(rounds=1))


def test_rounds_judge_again_and_stop_when_little_changes(tmp_path, monkeypatch):
    made = JudgedRun(tmp_path, reference.world(N, C, 0.25))
    stubs = Stubs(made, monkeypatch)
    stages = [o.stage for o in stubs.weight(rounds=4, round_tolerance=0.9)]
    assert stages[3:] == [
        "judge-text", "judge-image", "judge-neighbors", "believe", "judge-image", "judge-neighbors", "believe",
        "judge-text", "stage1", "stage2", "decide",
    ]  # fmt: skip
    assert made.run.folders("weights") == ["r2"]
    assert any("2 of 4 rounds: the last moved P(label right) by" in note for note in made.notes)
    assert plan.last_round(made.context) == 2
    decided = made.run.read_json("decisions/default/run.json")
    assert "predictions/image-r2" in decided["inputs"]
    assert 0.0 < plan.belief_change(made.context, 2) < 0.9 * 0.25


def test_training_takes_the_last_fresh_round_and_refuses_stale_weights(tmp_path, monkeypatch):
    made = JudgedRun(tmp_path, reference.world(N, C, 0.25))
    stubs = Stubs(made, monkeypatch)
    stubs.weight(rounds=2, round_tolerance=0.0)
    assert plan.last_round(made.context) == 2
    stubs.weight(rounds=1)  # the second round still stands, but this is what was asked for last
    assert plan.last_round(made.context) == 1
    made.run.remove("decisions/default")
    assert plan.last_round(made.context) == 2
    stubs.weight(rounds=1, judge_dims=8)  # another first round: the second is older than it
    assert plan.last_round(made.context) == 1
    images = made.run.read_json("images/run.json")
    made.run.write_json("images/run.json", images | {"digest": "other"})
    with pytest.raises(ArtifactStaleError, match="older images"):
        plan.last_round(made.context)


def trained_model(made, name="mine", *, round_=1, in_sample=False):
    """A model's tables, as training on one round's weights leaves them: the image judge's say."""
    said = list(tables.iter_parts(made.run, "predictions/image-r1", schema.PREDICTIONS_TABLE))
    parts = [
        [row | {"somnet_score": 0.5, "in_sample": in_sample} for row in part.to_pylist()] for part in said
    ]
    rows = [row for part in parts for row in part]
    made.commit(schema.model_predictions_path(name), schema.MODEL_PREDICTIONS_TABLE, rows)
    for index, part in enumerate(parts):  # in the parts of `images`, as training writes them
        data = {
            column: [row[column] for row in part] for column in schema.MODEL_PREDICTIONS_TABLE.column_names
        }
        tables.write_part(
            made.run, schema.model_predictions_path(name), index, data, schema.MODEL_PREDICTIONS_TABLE
        )
    for folder in (schema.model_path(name), schema.model_predictions_path(name)):
        record = made.run.read_json(f"{schema.model_predictions_path(name)}/{schema.RUN_JSON}")
        made.run.write_json(f"{folder}/{schema.RUN_JSON}", record | {"config": {"round": round_}})
    return rows


def test_a_trained_model_judges_one_round_more(tmp_path, monkeypatch):
    made = JudgedRun(tmp_path, reference.world(N, C, 0.25), bad=[5])
    stubs = Stubs(made, monkeypatch)
    stubs.weight(rounds=1)
    rows = trained_model(made)
    asked = {"judge": "model:mine"}
    stages = [o.stage for o in stubs.weight(**asked) if not o.skipped]
    assert stages == ["judge-text", "judge-model", "judge-neighbors", "believe", "stage1", "stage2", "decide"]
    said = tables.read(made.run, "predictions/image-r2", schema.PREDICTIONS_TABLE).to_pylist()
    assert said == [{name: row[name] for name in schema.PREDICTIONS_TABLE.column_names} for row in rows]
    decided = made.run.read_json("decisions/default/run.json")
    assert "predictions/image-r2" in decided["inputs"]
    assert all(o.skipped for o in stubs.weight(**asked))
    assert (
        command_for("predictions/text-r2", made.run) == f"webclean weight {made.run.url} --judge model:mine"
    )
    with pytest.raises(ConfigError, match="judged by the model 'mine' itself"):
        plan.train(Settings({"model_name": "mine"}, {}, quiet=True, json=False, force=False), made.context)


def test_a_model_that_saw_the_images_is_no_judge_of_them(tmp_path, monkeypatch):
    made = JudgedRun(tmp_path, reference.world(N, C, 0.25))
    stubs = Stubs(made, monkeypatch)
    stubs.weight(rounds=1)
    trained_model(made, in_sample=True)
    with pytest.raises(ConfigError, match="in-sample predictions cannot weigh labels"):
        stubs.weight(judge="model:mine")
    assert not made.run.exists("predictions/text-r2")  # refused before any judge worked


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        ({"judge": "best"}, ConfigError, "judge must be auto or model:NAME; got 'best'"),
        ({"judge": "model:"}, ConfigError, "judge must be auto or model:NAME"),
        ({"judge": "model:mine", "rounds": 2}, ConfigError, "a trained model judges one round"),
        ({"judge": "model:mine"}, ArtifactMissingError, "has no model 'mine'"),
    ],
)
def test_judges_that_cannot_be_had(tmp_path, monkeypatch, flags, error, message):
    made = JudgedRun(tmp_path, reference.world(20, 2, 0.0))
    with pytest.raises(error, match=message):
        Stubs(made, monkeypatch).weight(**flags)


def test_without_weights_there_is_no_last_round(tmp_path):
    made = JudgedRun(tmp_path, reference.world(10, 2, 0.0))
    with pytest.raises(ArtifactMissingError, match="has no weights"):
        plan.last_round(made.context)


@pytest.mark.parametrize("case", ["one category", "two images", "one image", "nothing but files"])
def test_small_and_odd_crawls_keep_their_images(tmp_path, monkeypatch, case):
    num = {"one category": 30, "two images": 2, "one image": 1, "nothing but files": 12}[case]
    world = reference.world(num, 2, 0.0)
    if case == "one category":
        world.label_N[:] = 0
    bare = case == "nothing but files"
    made = JudgedRun(tmp_path, world, texts=[None] * num if bare else None, ranks=not bare)
    Stubs(made, monkeypatch).weight()
    rows = made.rows(schema.decisions_path("default"), schema.DECISIONS_TABLE)
    assert rows["reason"].tolist() == ["ok"] * num
    assert (rows["weight"] > 0).all()


def test_the_command_refuses_features_that_saw_the_labels(tmp_path, monkeypatch, capsys):
    made = JudgedRun(tmp_path / "run", reference.world(40, 2, 0.4))
    Stubs(made, monkeypatch, label_free=False)
    assert main(["weight", made.run.url, "--quiet"]) == 2
    assert "not label free" in capsys.readouterr().err
    assert not made.run.exists("decisions/default/run.json")


def test_what_the_workers_of_ingest_are_told_to_load_is_what_they_run():
    from webclean.io import scan

    assert plan._SCAN == scan.__name__
