"""The trainings on exports: the drawn crawl, what is compared, and going on where a series stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def training() -> ModuleType:
    return load_script("benchmarks/train_on_export.py")


@pytest.fixture(scope="module")
def long_tail(training: ModuleType) -> ModuleType:
    load_script("benchmarks/commands.py")
    return load_script("benchmarks/long_tail.py")


def test_the_part_of_each_gap_that_is_closed(training: ModuleType) -> None:
    told = training.compared(
        {"raw": [0.80, 0.82], "right": [0.90, 0.92], "true": [0.94, 0.96], "both": [0.85, 0.87], "moved": [0.92, 0.94]}
    )  # fmt: skip
    assert told["both"]["gap_closed"]["mean"] == pytest.approx(0.5)
    assert told["moved"]["gap_closed"]["mean"] == pytest.approx(1.2)
    assert told["moved"]["gap_to_true_closed"]["mean"] == pytest.approx(0.5)
    assert told["true"]["above_raw"]["mean"] == pytest.approx(0.14)
    assert "gap_closed" not in told["right"]


def test_finished_trainings_are_not_run_again(training: ModuleType, tmp_path: Path) -> None:
    out = training.write_manifest(tmp_path / "set", [("a.png", "x"), ("b.png", "y")], ("x", "y"))
    known = training.digest(out)
    jobs = [training.Job("set", known, 10, seed) for seed in (0, 1)]
    lines = [
        {
            "job": {"set": "set", "digest": known, "steps": 10, "seed": seed},
            "found": {"images": 2, "top1": 0.5},
        }
        for seed in (1, 0)
    ]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = list(training.trained(jobs, results, {"set": out}, ("x", "y"), 1))
    assert [job.seed for job, _ in done] == [0, 1]
    table = out / "images.csv"
    table.write_text(table.read_text().replace("1.0", "0.5", 1))
    assert training.digest(out) != known  # other weights, other set


def test_the_drawn_crawl_is_as_its_settings_say(long_tail: ModuleType) -> None:
    rng = np.random.default_rng(5)
    categories = long_tail.make_categories(rng)
    assert len({category.name for category in categories}) == 200
    assert long_tail.sizes(200)[[0, 3, 199]].tolist() == [240, 104, 16]  # 240 x 4^-0.6 = 104.5
    entries = long_tail.make_crawl(categories, 1 / 3, rng)
    wrong = [e for e in entries if e.shown != e.query]
    siblings = [e for e in wrong if e.shown >= 0 and categories[e.shown].family == categories[e.query].family]
    assert len(wrong) / len(entries) == pytest.approx(1 / 3, abs=0.02)
    assert len(siblings) / len(wrong) == pytest.approx(0.55, abs=0.04)
    assert sum(e.shown < 0 for e in wrong) / len(wrong) == pytest.approx(0.2, abs=0.03)
    assert sum(not e.title for e in entries) / len(entries) == pytest.approx(0.2, abs=0.02)
    orders = [np.mean([e.order for e in some]) for some in (wrong, entries)]
    assert orders[0] > orders[1]  # wrong results come later

    def names(entry: object, category: int) -> bool:
        return set(categories[category].name.split()) <= set(entry.title.split())  # type: ignore[attr-defined]

    told = [e for e in wrong if e.title and names(e, e.query)]
    assert 0.2 < len(told) / len(wrong) < 0.4  # texts that mislead
    assert not any(
        names(e, int(o)) for e in entries if e.shown == e.query for o in rng.choice(200, 3) if o != e.query
    )


def test_pictures_are_drawn_alike_and_siblings_differ(long_tail: ModuleType) -> None:
    categories = long_tail.make_categories(np.random.default_rng(0))
    family = [c for c in categories if c.family == categories[0].family]
    assert len(family) == 5
    drawn = [np.asarray(long_tail.draw(c, np.random.default_rng(7))) for c in (*family, family[0], None)]
    assert all(picture.shape == (32, 32, 3) for picture in drawn)
    np.testing.assert_array_equal(drawn[0], drawn[5])
    assert all((drawn[i] != drawn[j]).any() for i in range(5) for j in range(i))


def test_the_crawl_on_disk(long_tail: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SHAPES": ("kite", "star"), "COLOURS": {"amber": 0.1}, "LARGEST": 9, "SMALLEST": 4, "TEST_EACH": 2}.items():  # fmt: skip
        monkeypatch.setattr(long_tail, name, value)
    categories = long_tail.write_crawl(tmp_path, 0.3, seed=1)
    assert len(categories) == 10
    sets = long_tail.read_sets(tmp_path)
    assert len(sets["test"]) == 20
    assert set(sets["right"]) < set(sets["raw"])
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(sets["raw"]) == len(list((tmp_path / "images").iterdir()))
    for query in categories:
        ranks = [int(row["rank"]) for row in rows if row["query"] == query]
        assert ranks == list(range(1, len(ranks) + 1))
