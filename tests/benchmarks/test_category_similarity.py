from __future__ import annotations

from pathlib import Path

import pytest
from scripts import load_script

from webclean.io import wordnet_fetch
from webclean.stages import similarity

load_script("benchmarks/memory.py")  # which the other imports
benchmark = load_script("benchmarks/category_similarity.py")


@pytest.fixture(autouse=True)
def _wordnet() -> None:
    if wordnet_fetch.find_wordnet() is None:
        pytest.skip("WordNet is not on this machine: make wordnet")


@pytest.mark.slow
def test_both_sides_say_the_same_of_every_pair() -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in benchmark.side_by_side(14, 91)]
    assert [row[0] for row in rows] == ["path", "lch", "wup"]
    assert {int(row[3]) for row in rows} == {91}
    assert all(float(row[4]) < 1e-12 for row in rows)


@pytest.mark.slow
def test_the_stage_runs_on_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_ALL_PAIRS", 20)
    monkeypatch.setattr(similarity, "open_corpus", similarity.open_corpus)  # the script opens it once for all
    found = benchmark.many(tmp_path, 40)
    assert 40 * 5 <= found["pairs"] < 40 * 40
    assert found["gibibytes"] > 0
