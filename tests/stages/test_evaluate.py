from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_run import Row, picture, write_run
from PIL import Image
from sklearn.metrics import roc_auc_score

from webclean import schema
from webclean.cli import evaluation_tables
from webclean.config import EvaluateConfig
from webclean.errors import ArtifactMissingError, ColumnMissingError, ConfigError, DataError
from webclean.stages import evaluate, predict

SAME = picture(100)


def crawl() -> list[Row]:
    return [
        Row("a1.jpg", "cat", 0.9),
        Row("a2.jpg", "cat", 0.6),
        Row("a3.jpg", "cat", 0.4),  # right, dropped
        Row("a4.jpg", "cat", 0.2),  # wrong, dropped
        Row("b1.jpg", "dog", 0.8),  # wrong, kept
        Row("b2.jpg", "dog", 0.1),  # off topic, dropped
        Row("b3.jpg", "dog", 0.3),  # uncertain
        Row("b4.jpg", "dog", 0.7, status="truncated"),
        Row("e1.jpg", "dog", 0.95, data=SAME, group=1, is_keeper=True),
        Row("e2.jpg", "dog", 0.95, data=SAME, group=1),
        Row("n1.jpg", "cat", 0.85, group=2, is_keeper=True),
        Row("n2.jpg", "cat", 0.85, group=2),
        Row("n3.jpg", "cat", 0.85),
        Row("x1.jpg", "dog", 0.85, group=2),
        Row("u1.jpg", "dog", float("nan")),
    ]


TRUTH = [
    ("path", "true_category", "kind", "of", "uncertain"),
    ("a1.jpg", "cat", "as-crawled", "", 0),
    ("a2.jpg", "cat", "as-crawled", "", 0),
    ("a3.jpg", "cat", "as-crawled", "", 0),
    ("a4.jpg", "dog", "wrong-category", "", 0),
    ("b1.jpg", "cat", "wrong-category", "", 0),
    ("b2.jpg", "", "off-topic", "Great Dane", 0),
    ("b3.jpg", "cat", "wrong-category", "", 1),
    ("b4.jpg", "", "truncated", "a1.jpg", 0),
    ("e1.jpg", "dog", "as-crawled", "", 0),
    ("e2.jpg", "dog", "as-crawled", "", 0),
    ("n1.jpg", "cat", "as-crawled", "", 0),
    ("n2.jpg", "cat", "near-duplicate", "n1.jpg", 0),
    ("n3.jpg", "cat", "near-duplicate", "n1.jpg", 0),
    ("x1.jpg", "dog", "as-crawled", "", 0),
    ("zz.jpg", "dog", "as-crawled", "", 0),
]


@pytest.fixture
def context(tmp_path):
    return write_run(tmp_path, crawl())


@pytest.fixture
def truth_csv(tmp_path):
    return write_csv(tmp_path / "truth.csv", TRUTH)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_counts_by_hand(context, truth_csv):
    result = evaluate.run(EvaluateConfig(), context, truth_csv)
    assert result["rows"] == {
        "images": 15, "truth": 15, "matched": 14, "truth_unmatched": 1, "truth_unmatched_first": ["zz.jpg"],
        "bad_files": 1, "uncertain": 1, "judged": 12, "without_score": 0,
    }  # fmt: skip
    decided = result["decided"]
    assert (decided["right"], decided["wrong"]) == (9, 3)
    # a3 by its score; e2 is a copy; of the group n1 n2 x1 the first of the best scores stays
    assert decided["right_dropped"] == 4
    assert decided["right_dropped_for_label"] == 3
    assert decided["wrong_dropped"] == 2
    assert decided["precision"] == pytest.approx(2 / 5)
    assert decided["recall"] == pytest.approx(2 / 3)
    assert decided["purity_before"] == 0.75
    assert decided["purity_after"] == pytest.approx(5 / 6)
    assert result["by_reason"]["duplicate"] == {"images": 1, "right": 1, "wrong": 0}
    assert result["by_category"]["cat"]["wrong"] == 1
    assert result["by_kind"]["off-topic"]["wrong_dropped"] == 1
    assert result["by_kind"]["truncated"] == {
        "images": 1, "bad_files": 1, "right": 0, "wrong": 0, "right_dropped": 0, "wrong_dropped": 0,
        "auroc": None,
    }  # fmt: skip
    assert result["bad_files"] == {
        "by_status": {"truncated": 1},
        "by_kind": [{"kind": "truncated", "status": "truncated", "images": 1}],
    }


def test_the_ranking_is_that_of_scikit_learn(context, truth_csv):
    result = evaluate.run(EvaluateConfig(), context, truth_csv)
    wrong = [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    score = np.asarray([0.9, 0.6, 0.4, 0.2, 0.8, 0.1, 0.95, 0.95, 0.85, 0.85, 0.85, 0.85])
    assert result["ranking"]["auroc"] == pytest.approx(roc_auc_score(wrong, -score))
    # 5 of 11 were dropped for their label, so the 5 lowest: .1 .2 .4 .6 .8 hold all three wrong ones
    assert result["ranking"]["recall"] == 1.0
    assert result["ranking"]["precision"] == pytest.approx(3 / 5)
    by_hand = np.mean(
        [(r > w) + 0.5 * (r == w) for w in (0.2, 0.8) for r in score[[0, 1, 2, 6, 7, 8, 9, 10, 11]]]
    )
    assert result["by_kind"]["wrong-category"]["auroc"] == pytest.approx(by_hand)


def test_copies_found_missed_and_unexplained(context, truth_csv):
    copies = evaluate.run(EvaluateConfig(), context, truth_csv)["duplicates"]
    assert (copies["equal_groups"], copies["equal_groups_found"]) == (1, 1)
    assert (copies["near_planted"], copies["near_found"]) == (2, 1)
    assert copies["near_missed"] == [["n3.jpg", "n1.jpg"]]
    assert copies["pairs_unexplained"] == [["n1.jpg", "x1.jpg"], ["n2.jpg", "x1.jpg"]]


def test_it_is_written_and_shown(context, truth_csv):
    result = evaluate.run(EvaluateConfig(), context, truth_csv)
    assert json.loads(context.run.read_bytes(schema.EVALUATION)) == result
    shown = evaluation_tables.sections(result)
    assert [section.title for section in shown][:2] == [
        "Finding wrong images by clean_score", "What the decisions 'default' did",
    ]  # fmt: skip
    for section in shown:
        assert all(len(row) == len(section.columns) for row in section.rows)


@pytest.mark.parametrize("score", ["p_rank", "decisions/default:p_rank"])
def test_any_column_can_be_judged(context, truth_csv, score):
    result = evaluate.run(EvaluateConfig(score=score), context, truth_csv)
    keys = [row[0] for row in TRUTH[1:-1] if row[0] not in ("b3.jpg", "b4.jpg")]
    all_keys = sorted(row.key for row in crawl())
    rank = np.asarray([-all_keys.index(key) for key in keys])
    wrong = [key in ("a4.jpg", "b1.jpg", "b2.jpg") for key in keys]
    assert result["ranking"]["auroc"] == pytest.approx(roc_auc_score(wrong, -rank))


def test_truth_as_parquet_by_the_row_of_a_record_file(tmp_path):
    rows = [Row(f"train.parquet#{i}", "cat", 0.9 - i / 10) for i in range(4)]
    context = write_run(tmp_path, rows)
    path = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"index": [3, 2, 1, 0], "true_label": ["dog", "dog", "cat", "cat"]}), path)
    result = evaluate.run(EvaluateConfig(on="index"), context, path)
    assert result["ranking"]["auroc"] == 1.0
    assert result["by_kind"] is None
    assert result["duplicates"]["near_planted"] == 0


def test_truth_by_a_column_of_the_manifest_or_of_images(tmp_path):
    rows = [Row(f"{i}.jpg", "cat", 0.9 - i / 10, extra={"asin": f"B{i}"}) for i in range(3)]
    context = write_run(tmp_path, rows)
    by_extra = write_csv(tmp_path / "t1.csv", [("asin", "true_category"), ("B0", "cat"), ("B2", "dog")])
    assert evaluate.run(EvaluateConfig(on="asin"), context, by_extra)["rows"]["judged"] == 2
    by_name = write_csv(tmp_path / "t2.csv", [("file_name", "is"), ("0.jpg", "cat")])
    config = EvaluateConfig(on="file_name", truth_column="is")
    assert evaluate.run(config, context, by_name)["rows"]["judged"] == 1


def test_a_path_listed_again_shares_the_truth(tmp_path):
    rows = [Row("a.jpg", "cat", 0.9), Row("a.jpg?2", "dog", 0.1), Row("b.jpg?7", "dog", 0.5)]
    context = write_run(tmp_path, rows)
    path = write_csv(tmp_path / "t.csv", [("path", "true_category"), ("./a.jpg", "cat"), ("b.jpg?7", "dog")])
    result = evaluate.run(EvaluateConfig(), context, path)
    assert (result["rows"]["judged"], result["decided"]["wrong"], result["ranking"]["auroc"]) == (3, 1, 1.0)


@pytest.mark.parametrize(
    ("config", "rows", "error", "text"),
    [
        (EvaluateConfig(), [("path", "x"), ("a1.jpg", "cat")], ColumnMissingError, "no column 'true_category'"),
        (EvaluateConfig(on="nope"), [("nope", "category"), ("a1.jpg", "cat")], ColumnMissingError, "column 'nope'"),
        (EvaluateConfig(), [("path", "category"), ("z/a1.jpg", "cat")], DataError, "names an image of the run"),
        (EvaluateConfig(), [("path", "category"), ("a1.jpg", "Katze")], DataError, "no true category"),
        (EvaluateConfig(), [("path", "category"), ("a1.jpg", "cat"), ("a1.jpg", "dog")], DataError, "twice"),
        (EvaluateConfig(score="nope"), TRUTH, ColumnMissingError, "no column 'nope'"),
        (EvaluateConfig(score="reason"), TRUTH, ConfigError, "no column of numbers"),
        (EvaluateConfig(score="what:x"), TRUTH, ConfigError, "no artefact 'what'"),
        (EvaluateConfig(score="weights/r1/stage2:x"), TRUTH, ColumnMissingError, "no column 'x'"),
        (EvaluateConfig(score="weights/r1/stage2:weight"), TRUTH, ArtifactMissingError, "has not been made"),
        (EvaluateConfig(model="m"), TRUTH, ConfigError, "go together"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(context, tmp_path, config, rows, error, text):
    with pytest.raises(error, match=text):
        evaluate.run(config, context, write_csv(tmp_path / "t.csv", rows))


def test_a_truth_without_wrong_images_has_no_auroc(context, tmp_path):
    path = write_csv(tmp_path / "t.csv", [("path", "category"), ("a1.jpg", "cat"), ("u1.jpg", "dog")])
    result = evaluate.run(EvaluateConfig(), context, path)
    assert result["ranking"]["auroc"] is None
    assert result["rows"]["without_score"] == 1
    assert evaluation_tables.sections(result)


def test_top1_of_a_model(context, truth_csv, tmp_path, monkeypatch):
    test = write_csv(tmp_path / "test.csv", [("path", "category"), ("t/1.jpg", "cat"), ("t/2.jpg", "dog")])

    def answer(run, model, paths):
        assert (run, model) == (context.run, "somnet")
        assert paths == [str(tmp_path / "t/1.jpg"), str(tmp_path / "t/2.jpg")]
        return ["cat", "dog"], iter([np.log([[0.9, 0.1]]), np.log([[0.8, 0.2]])])

    monkeypatch.setattr(predict, "log_probabilities", answer)
    result = evaluate.run(EvaluateConfig(test=str(test), model="somnet"), context, truth_csv)
    assert result["model"]["top1"] == 0.5
    assert result["model"]["by_category"]["dog"] == {"images": 1, "top1": 0.0}
    assert evaluation_tables.sections(result)[-1].rows[-1] == ("all", 2, 0.5)


def test_a_test_table_may_hold_its_images(context, truth_csv, tmp_path, monkeypatch):
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"image": [picture(1), picture(2)], "label": ["cat", "dog"]}), path)
    monkeypatch.setattr(predict, "log_probabilities", lambda *_: (["cat", "dog"], iter([np.zeros((2, 2))])))
    config = EvaluateConfig(test=str(path), model="m", on="path")
    assert evaluate.run(config, context, truth_csv)["model"]["images"] == 2


def test_a_model_that_was_not_trained_is_said(context, truth_csv, tmp_path):
    test = write_csv(tmp_path / "test.csv", [("path", "category"), ("1.jpg", "cat")])
    with pytest.raises(ArtifactMissingError, match="models/nope has not been made"):
        evaluate.run(EvaluateConfig(test=str(test), model="nope"), context, truth_csv)


def test_categories_that_a_model_does_not_know_are_said(context, truth_csv, tmp_path, monkeypatch):
    notes = []
    context.note = notes.append
    monkeypatch.setattr(predict, "log_probabilities", lambda *_: (["cat", "dog"], iter([np.zeros((3, 2))])))
    rows = [("path", "category"), ("1.jpg", "cat"), ("2.jpg", "Katze"), ("3.jpg", "Katze")]
    config = EvaluateConfig(test=str(write_csv(tmp_path / "test.csv", rows)), model="m")
    found = evaluate.run(config, context, truth_csv)["model"]
    assert (found["top1"], found["unknown_categories"]) == (pytest.approx(1 / 3), {"Katze": 2})
    assert [note for note in notes if "2 of 3 test images" in note and "'Katze'" in note]
    write_csv(tmp_path / "test.csv", [rows[0], rows[2]])
    with pytest.raises(DataError, match="no category of .*test.csv") as caught:
        evaluate.run(config, context, truth_csv)
    assert "'Katze'" in caught.value.context
    assert "'cat', 'dog'" in caught.value.context
    assert caught.value.hint


def test_empty_true_categories_without_a_kind_are_counted(context, tmp_path, truth_csv):
    notes = []
    context.note = notes.append
    evaluate.run(EvaluateConfig(), context, truth_csv)
    assert not notes
    rows = [("path", "true_category"), ("a1.jpg", "cat"), ("b2.jpg", ""), ("a2.jpg", "")]
    result = evaluate.run(EvaluateConfig(), context, write_csv(tmp_path / "t.csv", rows))
    assert result["rows"]["judged"] == 1
    assert ["2 images with an empty true category" in note for note in notes] == [True]


def test_a_truth_that_is_not_there_is_said_with_what_it_holds(context, tmp_path):
    with pytest.raises(ArtifactMissingError, match="does not exist") as caught:
        evaluate.run(EvaluateConfig(), context, tmp_path / "none.csv")
    assert caught.value.context
    assert "docs/formats.md" in caught.value.hint


def test_reliability_leaves_trusted_images_out_and_shows_what_trusted_labels_changed(tmp_path):
    """Scores 0.8 moved up by log 2 from 2/3; of three free images two are right, the trusted one is left out."""
    rows = [Row(f"{i}.jpg", "cat", 0.8) for i in range(3)] + [Row("seen.jpg", "cat", 1.0)]
    context = write_run(tmp_path, rows)
    for path in tmp_path.rglob("decisions/default/part-*.parquet"):
        table = pq.read_table(path)
        seen = [score == 1.0 for score in table.column("clean_score").to_pylist()]
        for name, values in (("trusted", seen), ("added_trusted", [np.log(2.0)] * len(seen))):
            at = table.column_names.index(name)
            table = table.set_column(at, table.schema.field(name), pa.array(values))
        pq.write_table(table, path)
    rows = [
        ("path", "true_category"),
        ("0.jpg", "cat"),
        ("1.jpg", "cat"),
        ("2.jpg", "dog"),
        ("seen.jpg", "cat"),
    ]
    truth_path = write_csv(tmp_path / "t.csv", rows)
    result = evaluate.run(EvaluateConfig(), context, truth_path, force=True)
    curves = result["reliability"]
    assert [one["images"] for one in curves["clean_score"]["bins"]] == [1, 1, 1]
    assert [one["said"] for one in curves["clean_score"]["bins"]] == pytest.approx([0.8] * 3)
    assert [one["said"] for one in curves["without trusted labels"]["bins"]] == pytest.approx([2 / 3] * 3)
    assert sum(one["right"] for one in curves["clean_score"]["bins"]) == 2
    target = tmp_path / "curve.png"
    evaluate.draw(result, target)
    with Image.open(target) as picture_of_it:
        assert picture_of_it.format == "PNG"
    with pytest.raises(ConfigError, match="ends otherwise"):
        evaluate.draw(result, tmp_path / "curve.jpg")
    with pytest.raises(DataError, match="cannot be written"):
        evaluate.draw(result, tmp_path / "none" / "curve.png")
    result = evaluate.run(EvaluateConfig(score="images:width"), context, truth_path, force=True)
    with pytest.raises(ConfigError, match="no probability"):
        evaluate.draw(result, target)
