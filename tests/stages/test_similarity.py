from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from webclean import schema
from webclean.config import SimilarityConfig
from webclean.errors import ConfigError
from webclean.io import sentence, tables, wordnet_fetch
from webclean.io.run_dir import RunDir
from webclean.io.wordnet import WordNet, open_wordnet
from webclean.stages import similarity
from webclean.stages.base import Context, Counts
from webclean.stages.similarity import Sense, neighbors_of, read_senses


class BagOfWords:
    """A stand-in for the sentence encoder: a text is the sum of its words' random directions."""

    identity = "bag of words"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            row = np.zeros(64)
            for word in text.lower().replace(",", " ").replace(":", " ").split():
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
                row += np.random.default_rng(seed).normal(size=64)
            rows.append(row / max(np.linalg.norm(row), 1e-9))
        return np.array(rows, dtype=np.float32).reshape(-1, 64)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> BagOfWords:
    found = BagOfWords()
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: found)
    return found


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    if wordnet_fetch.find_wordnet() is None:
        pytest.skip("WordNet is not on this machine: make wordnet")
    return open_wordnet()


@pytest.fixture(autouse=True)
def one_wordnet(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Opens WordNet once for all tests of this file."""
    if "wordnet" in request.fixturenames:
        opened = request.getfixturevalue("wordnet")
        monkeypatch.setattr(similarity, "open_corpus", lambda setting: None if setting == "none" else opened)


def make(folder: Path, names: Sequence[str], queries: Sequence[Sequence[str]] | None = None) -> Context:
    run = RunDir(str(folder))
    rows = {
        "category_id": list(range(len(names))),
        "name": list(names),
        "queries": [list(q) for q in queries or [[name] for name in names]],
        "num_images": [1] * len(names),
    }
    tables.write_part(run, schema.CATEGORIES, 0, rows, schema.CATEGORIES_TABLE)
    return Context(run=run, engine=None, note=lambda text: None)  # type: ignore[arg-type]


def senses_of(ctx: Context) -> dict[str, Sense]:
    return {sense.name: sense for sense in read_senses(ctx.run)}


@pytest.mark.usefixtures("wordnet")
def test_writes_senses_pairs_and_neighbors(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["dog", "cat", "oak", "formula1"])
    assert similarity.run(SimilarityConfig(num_neighbors=2), ctx) == Counts(total=4, forwarded=4)
    pairs = tables.read(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE).to_pylist()
    assert [(row["a"], row["b"]) for row in pairs] == [(a, b) for a in range(4) for b in range(4)]
    by_pair = {(row["a"], row["b"]): row for row in pairs}
    assert by_pair[0, 1]["wordnet"] == pytest.approx(0.2)
    assert by_pair[0, 3]["wordnet"] is None  # formula1 is not in WordNet: text alone
    assert by_pair[0, 3]["combined"] <= 1
    assert all(by_pair[i, i]["match"] == 1 for i in range(4))
    near = tables.read(ctx.run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE).to_pylist()
    assert [(row["a"], row["position"]) for row in near] == [(a, p) for a in range(4) for p in (1, 2)]
    assert all(row["a"] != row["b"] for row in near)
    assert ctx.result["without_sense"] == ["formula1"]


@pytest.mark.usefixtures("wordnet")
def test_how_each_sense_was_chosen_is_said(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["ice hockey", "hockey", "sports shoes", "formula1"])
    similarity.run(SimilarityConfig(), ctx)
    found = senses_of(ctx)
    assert (found["ice hockey"].synset, found["ice hockey"].chosen_by) == ("ice_hockey.n.01", "only")
    # The only sense of another category is taken: beside ice hockey, hockey is played on a field.
    assert (found["hockey"].synset, found["hockey"].chosen_by) == ("field_hockey.n.01", "text")
    assert found["hockey"].senses_found == ("field_hockey.n.01", "ice_hockey.n.01")
    assert found["sports shoes"].head_word == "shoes"
    assert (found["formula1"].synset, found["formula1"].chosen_by) == (None, "none")
    assert found["ice hockey"].text.startswith(
        "ice hockey: hockey, hockey game. a game played on an ice rink"
    )


@pytest.mark.usefixtures("wordnet")
def test_a_file_sets_senses(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["cricket", "butterfly", "dog"])
    file = tmp_path / "senses.csv"
    file.write_text("name,synset\ncricket,cricket.n.02\n\ndog,\n")
    config = SimilarityConfig(senses=str(file))
    similarity.run(config, ctx)
    found = senses_of(ctx)
    assert (found["cricket"].synset, found["cricket"].chosen_by) == ("cricket.n.02", "file")
    assert (found["dog"].synset, found["dog"].chosen_by) == (None, "file")
    before = similarity.source_fingerprint(config)
    file.write_text("cricket,cricket.n.01\n")
    assert similarity.source_fingerprint(config) != before
    assert similarity.source_fingerprint(SimilarityConfig()) is None


@pytest.mark.usefixtures("wordnet")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crickett,cricket.n.01", "names no category 'crickett'"),
        ("cricket,cricket.n.77", "no noun sense"),
        ("cricket", "a line must be name,synset"),
        ("name,synset\ncricket,cricket.n.01,x", "a line must be name,synset"),
    ],
)
def test_a_wrong_senses_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "senses.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        similarity.run(SimilarityConfig(senses=str(tmp_path / "senses.csv")), make(tmp_path, ["cricket"]))
    with pytest.raises(ConfigError, match="cannot be read"):
        similarity.source_fingerprint(SimilarityConfig(senses=str(tmp_path / "absent.csv")))


@pytest.mark.usefixtures("wordnet")
def test_without_an_encoder_the_first_sense_and_the_graph_decide(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["cricket", "tennis"])
    similarity.run(SimilarityConfig(encoder="none"), ctx)
    found = senses_of(ctx)
    assert (found["cricket"].synset, found["cricket"].chosen_by) == ("cricket.n.01", "first")
    pairs = tables.read(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE)
    assert pairs.column("text").null_count == 4
    assert pairs.column("wordnet").null_count == 0


@pytest.mark.usefixtures("wordnet")
def test_a_lone_category_takes_its_first_sense_or_listens_to_its_queries(tmp_path: Path) -> None:
    ctx = make(tmp_path / "alone", ["cricket"])
    similarity.run(SimilarityConfig(), ctx)
    assert senses_of(ctx)["cricket"].chosen_by == "first"
    assert tables.num_rows(ctx.run, schema.CATEGORY_NEIGHBORS) == 0
    ctx = make(tmp_path / "asked", ["cricket"], [["cricket game played with a ball and bat by two teams"]])
    similarity.run(SimilarityConfig(), ctx)
    assert (senses_of(ctx)["cricket"].synset, senses_of(ctx)["cricket"].chosen_by) == ("cricket.n.02", "text")


def test_without_wordnet_text_decides(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["red shoe", "blue shoe", "green tree"])
    similarity.run(SimilarityConfig(wordnet="none"), ctx)
    assert {sense.chosen_by for sense in read_senses(ctx.run)} == {"none"}
    assert neighbors_of(ctx.run, "red shoe")[0].name == "blue shoe"


def test_nothing_to_compare_by_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot both be none"):
        SimilarityConfig(wordnet="none", encoder="none")


@pytest.mark.usefixtures("wordnet")
@pytest.mark.parametrize("measure", ["path", "wup", "lch"])
def test_neighbors_come_with_their_scores(tmp_path: Path, measure: str) -> None:
    ctx = make(tmp_path, ["dog", "wolf", "car", "formula1"])
    similarity.run(SimilarityConfig(measure=measure, text_share=0.0), ctx)
    near = neighbors_of(ctx.run, "dog")
    assert [neighbor.position for neighbor in near] == [1, 2, 3]
    assert (near[0].name, near[0].synset) == ("wolf", "wolf.n.01")
    assert near[0].combined >= near[0].match > 0
    assert math.isnan(next(n for n in near if n.name == "formula1").wordnet)
    with pytest.raises(ConfigError, match="no category 'dogg'") as caught:
        neighbors_of(ctx.run, "dogg")
    assert "did you mean 'dog'" in str(caught.value.hint)


@pytest.mark.usefixtures("wordnet")
def test_the_same_bytes_twice_and_in_any_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["dog", "cat", "oak", "cricket", "tennis"]
    digests = []
    for folder, limit in (("a", 10**6), ("b", 10**6), ("c", 7)):
        monkeypatch.setattr(similarity, "_PART_PAIRS", limit)
        ctx = make(tmp_path / folder, names)
        similarity.run(SimilarityConfig(), ctx)
        digests.append(tables.read(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE).to_pylist())
    assert digests[0] == digests[1] == digests[2]
    assert len(tables.part_names(ctx.run, schema.CATEGORY_SIMILARITY)) == 5


def test_categories_may_stand_in_any_order(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["a b", "b c"])
    rows: dict[str, Any] = {
        "category_id": [1, 0], "name": ["b c", "a b"], "queries": [["b c"], ["a b"]], "num_images": [1, 1],
    }  # fmt: skip
    tables.write_part(ctx.run, schema.CATEGORIES, 0, rows, schema.CATEGORIES_TABLE)
    similarity.run(SimilarityConfig(wordnet="none"), ctx)
    assert [sense.name for sense in read_senses(ctx.run)] == ["a b", "b c"]


@pytest.mark.usefixtures("wordnet")
def test_the_other_senses_of_a_name_come_with_their_meaning(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["crane", "ice hockey"])
    similarity.run(SimilarityConfig(), ctx)
    crane = similarity.sense_of(ctx.run, "crane")
    assert len(crane.alternatives) == len(crane.senses_found) - 1
    assert crane.synset not in crane.alternatives
    assert "lifts and moves heavy objects" in " ".join(
        str(text) for text in [crane.gloss, *similarity.glosses(crane.alternatives, None)]
    )
    assert similarity.glosses(crane.alternatives, "none") == [None] * len(crane.alternatives)
    with pytest.raises(ConfigError, match="no category 'crone'"):
        similarity.sense_of(ctx.run, "crone")
