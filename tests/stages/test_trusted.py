"""Trusted labels: read, joined, refused; the score they correct, and what becomes of the images themselves."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun

from webclean import schema
from webclean.config import DecideConfig
from webclean.errors import ArtifactMissingError, ColumnMissingError, ConfigError, DataError
from webclean.stages import trusted
from webclean.stages.base import command_for

N, C = 240, 4
BAD = (3, 77)
SEEN = tuple(range(0, 120, 2))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    made = JudgedRun(tmp_path_factory.mktemp("trusted"), reference.world(N, C, 0.3), bad=BAD)
    made.features()
    made.judge()
    return made


def table(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def answers(done, rows=SEEN):
    return [(done.image_ids[i], "no" if done.world.wrong_N[i] else "yes") for i in rows]


def test_the_images_themselves_are_settled_and_the_others_follow_one_rising_curve(done, tmp_path):
    before = done.decide()["clean_score"].astype(float)
    rows = done.decide(trusted=table(tmp_path / "t.csv", ("image_id", "right"), answers(done)))
    after = rows["clean_score"].astype(float)
    seen = [i for i in SEEN if i not in BAD]
    assert rows["trusted"].tolist() == [i in seen for i in range(N)]
    np.testing.assert_array_equal(after[seen], (~done.world.wrong_N[seen]).astype(float))
    assert not rows["keep"][[i for i in seen if done.world.wrong_N[i]]].any()
    rest = np.array([i for i in range(N) if i not in seen and i not in BAD])
    found = done.run.read_json("decisions/default/run.json")["result"]["trusted"]
    assert found["labels"] == len(seen)
    odds = found["slope"] * np.log(before[rest] / (1 - before[rest])) + found["shift"]
    np.testing.assert_allclose(after[rest], 1 / (1 + np.exp(-odds)), atol=1e-3)
    assert (np.argsort(before[rest], kind="stable") == np.argsort(after[rest], kind="stable")).all()


def test_a_true_category_is_the_suggestion(done, tmp_path):
    wrong = next(i for i in done.usable if done.world.wrong_N[i])
    true = done.names[done.world.true_N[wrong]]
    rows = done.decide(
        trusted=table(tmp_path / "t.csv", ("source_key", "true_category"), [(f"{wrong:05d}.jpg", true)])
    )
    assert rows["suggested_category"][wrong] == true
    assert rows["suggested_probability"][wrong] == 1.0
    assert any("are few" in note for note in done.notes)


def test_a_changed_file_makes_the_decisions_again_and_its_name_is_told(done, tmp_path):
    path = table(tmp_path / "t.csv", ("image_id", "right"), answers(done))
    config = DecideConfig(trusted=path)
    done.execute("decide", config)
    assert done.execute("decide", config).skipped
    table(tmp_path / "t.csv", ("image_id", "right"), answers(done)[:-1])
    assert not done.execute("decide", config).skipped
    assert command_for("decisions/default", done.run).endswith(f"--trusted {path}")
    done.decide()
    assert any(f"--trusted {path}" in note for note in done.notes)


def test_blank_cells_uncertain_rows_and_off_topic_kinds(done, tmp_path):
    right = [i for i in done.usable if not done.world.wrong_N[i]][:4]
    label = [done.names[done.world.label_N[i]] for i in right]
    path = table(
        tmp_path / "t.csv",
        ("path", "true_category", "kind", "uncertain"),
        [
            (f"./{right[0]:05d}.jpg", label[0], "", ""),
            (f"{right[1]:05d}.jpg", "", "off-topic", ""),
            (f"{right[2]:05d}.jpg", "", "", ""),
            (f"{right[3]:05d}.jpg", label[3], "", "1"),
            (f"{BAD[0]:05d}.jpg", label[0], "", ""),
            ("elsewhere.jpg", label[0], "", ""),
        ],
    )
    notes = []
    found = trusted.read(path, done.run, notes.append)
    usable = np.array(done.usable)
    assert usable[found.known_N].tolist() == right[:2]
    assert usable[found.right_N].tolist() == right[:1]
    assert [word in "\n".join(notes) for word in ("elsewhere.jpg", "cannot be used", "2 rows of")] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("header", "rows", "error", "words"),
    [
        (("image_id", "right"), [("{0}", "perhaps")], DataError, "row 1: right is 'perhaps'"),
        (("image_id", "right"), [("{0}", "yes"), ("{0}", "no")], DataError, "rows 1 and 2"),
        (("image_id", "right"), [("", "no")], DataError, "row 1: nothing in 'image_id'"),
        (("image_id", "right"), [("{0}", "")], DataError, "none of its 1 rows"),
        (("image_id", "right"), [("x", "no")], DataError, "names an image"),
        (("image_id", "true_category"), [("{0}", "zebra")], DataError, "is a category of the run"),
        (("picture", "right"), [("{0}", "no")], ColumnMissingError, "which image is meant"),
        (("image_id", "verdict"), [("{0}", "no")], ColumnMissingError, "whether its labels are right"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_touched(done, tmp_path, header, rows, error, words):
    done.decide()
    before = done.run.read_json("decisions/default/run.json")
    path = table(
        tmp_path / "t.csv", header, [[cell.format(done.image_ids[0]) for cell in row] for row in rows]
    )
    with pytest.raises(error, match=words):
        done.decide(trusted=path)
    assert done.run.read_json("decisions/default/run.json") == before


def test_a_file_that_is_not_there(done, tmp_path):
    with pytest.raises(ArtifactMissingError, match="does not exist"):
        done.decide(trusted=str(tmp_path / "none.csv"))


def test_images_to_look_at_are_written_once_and_come_back_as_trusted(done, tmp_path):
    done.decide()
    path = tmp_path / "labels.csv"
    assert trusted.write_to_label(done.run, str(path), "default", 30, 0) == 30
    with pytest.raises(ConfigError, match="is there already"):
        trusted.write_to_label(done.run, str(path), "default", 30, 0)
    with pytest.raises(ConfigError, match="ends otherwise"):
        trusted.write_to_label(done.run, str(tmp_path / "labels.txt"), "default", 30, 0)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    number = {image_id: i for i, image_id in enumerate(done.image_ids)}
    for row in rows:
        i = number[row["image_id"]]
        row["right"] = "no" if done.world.wrong_N[i] else "yes"
        row["true_category"] = done.names[done.world.true_N[i]]
    path = table(tmp_path / "answered.csv", rows[0], [row.values() for row in rows])
    decided = done.decide(trusted=path)
    assert {done.image_ids[i] for i in np.flatnonzero(decided["trusted"])} == {
        row["image_id"] for row in rows
    }
    again = trusted.to_label(done.run, "default", 500, 0).decode()
    assert not any(row["image_id"] in again for row in rows)
    assert schema.TRUSTED in schema.DECISIONS_TABLE.column_names


def test_what_each_part_added_sums_up_to_the_log_odds(done, tmp_path):
    path = table(tmp_path / "t.csv", ("image_id", "right"), answers(done))
    for trusted_file in (None, path):
        rows = done.decide(trusted=trusted_file)
        added = np.stack([rows[name].astype(float) for name in schema.ADDED])
        free = np.array([i not in BAD and not rows["trusted"][i] for i in range(N)])
        score = np.clip(rows["clean_score"][free].astype(float), 1e-12, 1 - 1e-12)
        np.testing.assert_allclose(np.nansum(added[:, free], axis=0), np.log(score / (1 - score)), atol=1e-6)
        assert np.isnan(added[:, list(BAD)]).all()
        assert np.isfinite(rows[schema.ADDED_TRUSTED][free].astype(float)).all() == (trusted_file is not None)


def test_shares_have_intervals_and_ranks_a_depth(done):
    done.decide()
    told = done.run.read_json("decisions/default/run.json")["result"]
    low, high = told["wrong_share_interval"]
    assert low < told["wrong_share"] < high
    for name, share in told["wrong_share_by_category"].items():
        low, high = told["wrong_share_interval_by_category"][name]
        assert low <= share <= high
    found = told["rank_noise"]
    assert sum(found["images_by_tenth"]) == N - len(BAD)
    assert found["fitted_by_tenth"] == sorted(found["fitted_by_tenth"])
    assert {one["query"] for one in found["depths"]} == set(done.names)
