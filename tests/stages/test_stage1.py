"""Stage 1 as a stage: every image gets a row, in the order and parts of `images`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from two_stage_run import TinyRun, image

from webclean import schema
from webclean.errors import ArtifactInvalidError, ConfigError


def test_rank_times_text_inside_each_category(tmp_path: Path) -> None:
    rows = [image(i, category="cat" if i < 3 else "dog", query="cat" if i < 3 else "dog") for i in range(6)]
    run = TinyRun(tmp_path, rows)
    run.text([0.9, 0.9, 0.3, 0.2, None, 0.8])
    counts, found = run.stage1(text_evidence="mass")
    assert (counts.total, counts.forwarded, counts.dropped) == (6, 6, {})
    assert found["rank_position"].tolist() == [1, 2, 3, 1, 2, 3]
    rho = [1, 0.65, 0.3]
    np.testing.assert_allclose(found["rank_weight"], rho + rho)
    np.testing.assert_allclose(found["text_match"], [0.9, 0.9, 0.3, 0.2, 0.5, 0.8])
    dog = np.array([0.2, 0.65 * 0.5, 0.3 * 0.8])
    np.testing.assert_allclose(found["weight"], [1, 0.65, 0.1, *(dog / dog.max())])
    assert found["missing_text"].tolist() == [False] * 4 + [True, False]
    assert found["sampling"].sum() == pytest.approx(1)
    assert found["sampling"][:3].sum() == pytest.approx(0.5)
    assert run.ctx.result["missing_text"] == 1
    assert set(run.ctx.result["effective_samples"]) == {"cat", "dog"}


def test_the_text_judge_joins_and_calibrates_the_rank(tmp_path: Path) -> None:
    rows = [image(i, category="cat" if i % 2 else "dog", query="pets") for i in range(8)]
    run = TinyRun(tmp_path, rows)
    run.text([0.4] * 8)
    right = [i < 4 for i in range(8)]
    run.predictions("text", [[0.9, 0.1] if (i % 2 == 1) == right[i] else [0.1, 0.9] for i in range(8)])
    _, found = run.stage1(rank_model="calibrated")
    np.testing.assert_allclose(found["text_judge"], [0.9] * 4 + [0.1] * 4, rtol=1e-6)
    np.testing.assert_allclose(found["text_match"], np.sqrt(0.4 * found["text_judge"]))
    assert found["rank_weight"].tolist() == [1] * 4 + [0] * 4


def test_bad_files_keep_a_row_and_a_place_but_no_weight(tmp_path: Path) -> None:
    rows = [image(i, status="truncated" if i in (0, 3) else "ok") for i in range(6)]
    run = TinyRun(tmp_path, rows)
    run.text([0.5] * 6)
    run.predictions("text", [[0.5]] * 4)
    counts, found = run.stage1()
    assert counts.dropped == {"bad_file:truncated": 2}
    assert found["weight"][[0, 3]].tolist() == [0, 0]
    assert found["sampling"][[0, 3]].tolist() == [0, 0]
    assert found["rank_position"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["weight"].max() == 1


def test_copies_have_a_weight_and_are_not_sampled(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i) for i in range(6)])
    run.duplicates(
        [
            {"image": 0, "keeper": 0},
            {"image": 1, "keeper": 0},
            {"image": 2, "keeper": None, "group": 1},
            {"image": 3, "keeper": None, "group": 1},
            {"image": 4, "keeper": 4, "group": 2, "against": "test/4.jpg"},
        ]
    )
    _, found = run.stage1()
    # A copy, one picture under two labels, a copy of a test image.
    assert (found["sampling"] > 0).tolist() == [True, False, False, False, False, True]
    assert (found["weight"] > 0).all()
    assert run.ctx.result["copies_not_sampled"] == 4


def test_no_rank_and_no_text_weigh_all_alike(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i, rank=None, source=None) for i in range(5)])
    counts, found = run.stage1()
    assert counts.forwarded == 5
    assert found["weight"].tolist() == [1] * 5
    assert found["missing_rank"].all()
    assert found["missing_text"].all()
    assert found["rank_position"].tolist() == [None] * 5
    assert any("no search ranks" in note for note in run.notes)


def test_a_missing_rank_takes_the_mean_of_its_query(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(0), image(1), image(2, rank=None)])
    _, found = run.stage1()
    np.testing.assert_allclose(found["rank_weight"], [1, 0.3, 0.65])
    assert found["missing_rank"].tolist() == [False, False, True]


def test_ranks_count_inside_query_and_source_and_from_zero(tmp_path: Path) -> None:
    rows = [image(i, source="a" if i % 2 else "b", rank=i // 2) for i in range(6)]
    run = TinyRun(tmp_path, rows)
    _, found = run.stage1()
    assert found["rank_position"].tolist() == [1, 1, 2, 2, 3, 3]
    assert any("count from 0 in 2 of 2" in note for note in run.notes)


def test_prototypes_weigh_by_likeness_to_the_first_results(tmp_path: Path) -> None:
    rows = [image(i, category="cat" if i < 4 else "dog", query="q" if i < 4 else "p") for i in range(8)]
    run = TinyRun(tmp_path, rows)
    vectors = [[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.0, 1.0], [0.1, 1.0], [0.0, 0.9], [1.0, 0.0]]
    run.write(
        "features/f",
        schema.features_table(2),
        [{"image_id": row["image_id"], "vector": v} for row, v in zip(rows, vectors, strict=True)],
    )
    run.write(
        schema.CATEGORY_NEIGHBORS,
        schema.NEIGHBORS_TABLE,
        [{"a": a, "position": 1, "b": 1 - a, "combined": 0.5} for a in (0, 1)],
    )
    _, found = run.stage1(stage1_method="prototype", prototype_features="f", prototype_top=2)
    assert (found["weight"][[0, 1, 2, 4, 5, 6]] > 0.9).all()
    assert (found["weight"][[3, 7]] < 0.1).all()


def test_parts_that_stand_are_not_written_again(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i) for i in range(10)])
    run.stage1()
    folder = tmp_path / "weights" / "r1" / "stage1"
    before = {p.name: p.read_bytes() for p in folder.glob("part-*")}
    (folder / "part-00001.parquet").unlink()
    run.stage1()
    assert {p.name: p.read_bytes() for p in folder.glob("part-*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_model": "calibrated"}, "no text judge"),
        ({"stage1_method": "prototype"}, "needs a feature set"),
        ({"rank_floor": 2.0}, "rank_floor must be at most"),
    ],
)
def test_options_without_their_input_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TinyRun(tmp_path, [image(0)]).stage1(**options)


def test_in_sample_predictions_are_refused(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(0)])
    run.predictions("text", [[1.0]], in_sample=True)
    with pytest.raises(ConfigError, match="in-sample predictions"):
        run.stage1()


def test_rows_of_other_images_are_noticed(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i) for i in range(3)])
    run.images = [image(i) for i in (0, 2, 1)]
    run.text([0.5] * 3)
    with pytest.raises(ArtifactInvalidError, match="does not hold the images"):
        run.stage1()
