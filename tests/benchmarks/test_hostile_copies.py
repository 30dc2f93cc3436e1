"""Copies of sets with few and many wrong labels."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def hostile_copies() -> ModuleType:
    for name in ("commands", "shuffle_texts", "known_sets"):
        load_script(f"benchmarks/{name}.py")
    return load_script("benchmarks/hostile_copies.py")


def images(hostile_copies: ModuleType) -> list[Any]:
    """Of a 8 right, 4 wrong; of b 8 right, 8 wrong; and one wrong one of b that the truth is not sure of."""
    kinds = [*(("a", False, True),) * 8, *(("a", True, True),) * 4]
    kinds += [*(("b", False, True),) * 8, *(("b", True, True),) * 8, ("b", True, False)]
    return [hostile_copies.KnownImage(str(i), *kind) for i, kind in enumerate(kinds)]


def counts(left: list[Any]) -> dict[tuple[str, bool], int]:
    certain = [(image.label, image.wrong) for image in left if image.certain]
    return {kind: certain.count(kind) for kind in set(certain)}


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # 4 of 12 wrong ones stay beside 16 right ones: 1.33 of 4 and 2.67 of 8.
        (0.2, {("a", False): 8, ("a", True): 1, ("b", False): 8, ("b", True): 3}),
        # 4 of 16 right ones stay beside 12 wrong ones: 2 of 8 each.
        (0.75, {("a", False): 2, ("a", True): 4, ("b", False): 2, ("b", True): 8}),
    ],
)
def test_each_label_loses_the_same_part(
    hostile_copies: ModuleType, share: float, expected: dict[tuple[str, bool], int]
) -> None:
    all_images = images(hostile_copies)
    dropped = hostile_copies.draw(all_images, share, np.random.default_rng(0))
    left = [image for image in all_images if image.key not in dropped]
    assert counts(left) == expected
    assert any(not image.certain for image in left)
    assert dropped == hostile_copies.draw(all_images, share, np.random.default_rng(0))
    assert dropped != hostile_copies.draw(all_images, share, np.random.default_rng(1))


def test_a_part_of_a_crawl_keeps_its_rows_and_its_images(hostile_copies: ModuleType, tmp_path: Path) -> None:
    crawl = tmp_path / "data" / "sports-crawl"
    (crawl / "images").mkdir(parents=True)
    rows = "path,query\nimages/1.jpg,a\nimages/2.jpg,b\nimages/3.jpg,a\n"
    (crawl / "manifest.csv").write_text(rows)
    (crawl / "images" / "3.jpg").write_bytes(b"3")
    source, truth = hostile_copies.place_part(
        tmp_path / "data", "sports-crawl", tmp_path / "truth.csv", {"images/2.jpg"}, tmp_path / "out"
    )
    assert source == [str(tmp_path / "out"), "--allow-outside"]
    assert truth == tmp_path / "truth.csv"
    left = (tmp_path / "out" / "manifest.csv").read_text().split()
    assert left == ["path,query", "images/1.jpg,a", "images/3.jpg,a"]
    assert (tmp_path / "out" / "images" / "3.jpg").read_bytes() == b"3"


def test_truth_follows_the_rows_of_a_table(hostile_copies: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "data" / "cifar10n"
    data.mkdir(parents=True)
    pq.write_table(pa.table({"image": [b"0", b"1", b"2"], "label": ["a", "b", "c"]}), data / "train.parquet")
    truth = tmp_path / "truth.csv"
    truth.write_text("path,true_category\ntrain.parquet#0,x\ntrain.parquet#1,y\ntrain.parquet#2,z\n")
    source, moved = hostile_copies.place_part(
        data.parent, "cifar10n", truth, {"train.parquet#1"}, tmp_path / "out"
    )
    assert pq.read_table(source[0]).column("label").to_pylist() == ["a", "c"]
    with moved.open() as file:
        assert list(csv.reader(file)) == [
            ["path", "true_category"],
            ["train.parquet#0", "x"],
            ["train.parquet#1", "z"],
        ]
