"""Copies of a crawl with shuffled or misleading texts."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def shuffle_texts() -> ModuleType:
    return load_script("benchmarks/shuffle_texts.py")


def test_donors_stay_inside_the_label(shuffle_texts: ModuleType) -> None:
    labels = ["a", "b"] * 20
    donor = shuffle_texts.donors(labels, "shuffle", np.random.default_rng(0))
    assert sorted(donor) == list(range(40))
    assert all(labels[i] == labels[d] for i, d in enumerate(donor))
    assert donor == shuffle_texts.donors(labels, "shuffle", np.random.default_rng(0))


def test_wrong_images_get_the_text_of_right_ones(shuffle_texts: ModuleType) -> None:
    labels, wrong = ["a"] * 4 + ["b"], [True, False, True, False, True]
    donor = shuffle_texts.donors(labels, "mislead", np.random.default_rng(0), wrong)
    assert donor[1] == 1
    assert donor[3] == 3
    assert {donor[0], donor[2]} <= {1, 3}
    assert donor[4] == 4  # no right image of its label


def test_all_text_moves_together_and_bytes_stay(shuffle_texts: ModuleType, tmp_path: Path) -> None:
    crawl, out = tmp_path / "crawl", tmp_path / "out"
    (crawl / "images").mkdir(parents=True)
    rows = [
        {"path": f"images/name{i}.{'png' if i % 2 else 'jpg'}", "query": "ab"[i // 4], "title": f"title {i}",
         "page_url": f"https://x/{i}", "rank": str(i)}
        for i in range(8)
    ]  # fmt: skip
    for i, row in enumerate(rows[:-1]):  # the last file is missing
        (crawl / row["path"]).write_bytes(bytes([i]))
    shuffle_texts.write_rows(crawl / "manifest.csv", rows)
    truth = [{"path": row["path"], "true_category": "a", "kind": "x", "of": ""} for row in rows]
    shuffle_texts.write_rows(crawl / "truth.csv", truth)
    assert shuffle_texts.main(
        [str(crawl / "manifest.csv"), str(out / "manifest.csv"), "--mode", "shuffle",
         "--truth", str(crawl / "truth.csv"), "--seed", "3"]
    ) == 0  # fmt: skip
    with (out / "manifest.csv").open() as file:
        moved = list(csv.DictReader(file))
    with (out / "truth.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in moved]
    assert list(moved[0]) == list(rows[0])
    assert sorted(row["title"] for row in moved) == sorted(row["title"] for row in rows)
    for i, (row, new) in enumerate(zip(rows, moved, strict=True)):
        donor = new["title"].removeprefix("title ")
        assert new["page_url"] == f"https://x/{donor}"
        assert Path(new["path"]).stem == f"name{donor}"
        assert Path(new["path"]).suffix == Path(row["path"]).suffix
        assert (new["query"], new["rank"]) == (row["query"], row["rank"])
        if i < 7:
            assert (out / new["path"]).read_bytes() == bytes([i])
    assert not (out / moved[7]["path"]).exists()


def test_misleading_needs_the_truth(shuffle_texts: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        shuffle_texts.main(["a.csv", "b/a.csv", "--mode", "mislead"])
    assert "needs --truth" in capsys.readouterr().err
