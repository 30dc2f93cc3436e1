"""Trusted labels through the command line: images to look at, answers, reliability, errors by their exit code."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import reference_judging as reference
from judged_run import JudgedRun

from webclean import schema
from webclean.cli.app import main

N, C = 240, 4


@pytest.fixture
def done(tmp_path):
    made = JudgedRun(tmp_path / "run", reference.world(N, C, 0.3))
    made.features()
    made.judge()
    made.decide()
    return made


def call(*arguments: object) -> int:
    return main([str(one) for one in arguments])


def test_from_the_list_to_the_corrected_score(done, tmp_path, capsys):
    run, path = tmp_path / "run", tmp_path / "labels.csv"
    assert call("weight", run, "--to-label", path, "--to-label-count", "60") == 0
    assert "60 images" in capsys.readouterr().out
    assert call("weight", run, "--to-label", path) == 2
    rows = list(csv.DictReader(path.read_text().splitlines()))
    number = {image_id: i for i, image_id in enumerate(done.image_ids)}
    for row in rows:
        row["right"] = "no" if done.world.wrong_N[number[row["image_id"]]] else "yes"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done.decide(trusted=str(path))
    assert done.run.read_json("decisions/default/run.json")["result"]["trusted"]["labels"] == 60
    capsys.readouterr()
    truth = tmp_path / "truth.csv"
    with truth.open("w", newline="") as file:
        names = [done.names[c] for c in done.world.true_N]
        csv.writer(file).writerows(
            [("path", "true_category"), *((f"{i:05d}.jpg", names[i]) for i in range(N))]
        )
    curve = tmp_path / "curve.png"
    assert call("evaluate", run, "--truth", truth, "--reliability", curve, "--json") == 0
    found = json.loads(capsys.readouterr().out)["reliability"]
    assert set(found) == {schema.CLEAN_SCORE, "without trusted labels"}
    assert sum(one["images"] for one in found[schema.CLEAN_SCORE]["bins"]) == N - 60
    assert curve.stat().st_size > 0
    assert np.isfinite(found[schema.CLEAN_SCORE]["error"])


def test_a_wrong_cell_is_named_with_file_and_row(done, tmp_path, capsys):
    path = tmp_path / "labels.csv"
    path.write_text(f"image_id,right\n{done.image_ids[0]},yes\n{done.image_ids[1]},perhaps\n")
    assert call("weight", tmp_path / "run", "--trusted", path, "--workers", "0") != 0
    error = capsys.readouterr().err
    assert "labels.csv, row 2" in error
    assert "write yes or no" in error
