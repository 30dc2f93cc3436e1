"""Relations from a person's own graph and vectors, several senses, and what is written of many categories."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from webclean import schema
from webclean.config import SimilarityConfig
from webclean.errors import ArtifactMissingError, ConfigError, DataError, WebcleanError
from webclean.io import tables, wordnet_fetch
from webclean.io.run_dir import RunDir
from webclean.io.wordnet import WordNet, open_wordnet
from webclean.ops import ancestry
from webclean.stages import category_sides, relations, similarity
from webclean.stages.base import Context
from webclean.stages.similarity import neighbors_of, read_senses

NAMES = ["dog", "cat", "Oak_tree", "formula1"]
TREE = "child,parent\ndog,animal\ncat,animal\noak tree,plant\nanimal,thing\nplant,thing\n"


def make(folder: Path, names: Sequence[str]) -> Context:
    run = RunDir(str(folder / "run"))
    rows = {
        "category_id": list(range(len(names))),
        "name": list(names),
        "queries": [[name] for name in names],
        "num_images": [1] * len(names),
    }
    tables.write_part(run, schema.CATEGORIES, 0, rows, schema.CATEGORIES_TABLE)
    notes: list[str] = []
    ctx = Context(run=run, engine=None, note=notes.append)  # type: ignore[arg-type]
    ctx.result["notes"] = notes
    return ctx


def given(tmp_path: Path, text: str, name: str = "tree.csv") -> str:
    file = tmp_path / name
    file.write_text(text)
    return str(file)


def commit(ctx: Context) -> None:
    """What `execute` leaves beside the tables."""
    for artefact in (schema.SENSES, schema.CATEGORY_SIMILARITY, schema.CATEGORY_NEIGHBORS):
        record = {"inputs": {}, "digest": artefact, "fingerprint": "", "counts": {}, "result": {}}
        ctx.run.write_json(f"{artefact}/{schema.RUN_JSON}", record)


def pairs_of(ctx: Context) -> dict[tuple[int, int], dict[str, Any]]:
    rows = tables.read(ctx.run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE).to_pylist()
    return {(row["a"], row["b"]): row for row in rows}


def test_a_persons_graph_stands_in_for_wordnet(tmp_path: Path) -> None:
    ctx = make(tmp_path, NAMES)
    config = SimilarityConfig(wordnet="none", encoder="none", taxonomy=given(tmp_path, TREE), num_neighbors=2)
    similarity.check(config, ctx)
    similarity.run(config, ctx)
    pairs = pairs_of(ctx)
    assert pairs[0, 1]["wordnet"] == pytest.approx(1 / 3)
    assert pairs[0, 2]["wordnet"] == pytest.approx(1 / 5)
    assert pairs[0, 3]["wordnet"] is None
    assert (pairs[0, 1]["combined"], pairs[0, 2]["combined"]) == (1, 0)
    assert pairs[0, 1]["match"] == 1
    assert pairs[3, 0]["match"] == 0
    assert pairs[3, 3]["match"] == 1
    assert ctx.result["without_place"] == ["formula1"]
    assert any("formula1" in note and "like no other" in note for note in ctx.result["notes"])
    assert [n.name for n in neighbors_of(ctx.run, "dog")] == ["cat", "Oak_tree"]


@pytest.mark.parametrize(("measure", "value"), [("path", 1 / 3), ("wup", 4 / 6), ("lch", -math.log(3 / 4))])
def test_every_measure_of_a_persons_graph(tmp_path: Path, measure: str, value: float) -> None:
    ctx = make(tmp_path, NAMES)
    similarity.run(
        SimilarityConfig(wordnet="none", encoder="none", taxonomy=given(tmp_path, TREE), measure=measure), ctx
    )
    assert pairs_of(ctx)[0, 1]["wordnet"] == pytest.approx(value)


def test_several_roots_are_told(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["dog", "oak"])
    tree = given(tmp_path, "child,parent\ndog,animal\noak,plant\n")
    similarity.run(SimilarityConfig(wordnet="none", encoder="none", taxonomy=tree), ctx)
    assert pairs_of(ctx)[0, 1]["wordnet"] == 0
    assert any("2 roots" in note and "animal, plant" in note for note in ctx.result["notes"])


def test_names_are_found_but_never_mistaken() -> None:
    known = ["Polar bear", "ice-box", "ice box", "dog"]
    asked = ["polar_bear", "ICE BOX", "ice box", "Dog", "cat"]
    assert category_sides.places_of(asked, known) == ["Polar bear", None, "ice box", "dog", None]


@pytest.mark.parametrize("what", ["taxonomy", "category_vectors"])
def test_a_table_of_other_things_is_refused_before_anything_is_written(tmp_path: Path, what: str) -> None:
    text = "child,parent\nred,colour\n" if what == "taxonomy" else "name,vector\nred,1 2\n"
    options: dict[str, Any] = {what: given(tmp_path, text), "wordnet": "none"}
    ctx = make(tmp_path, NAMES)
    with pytest.raises(ConfigError, match="names none of the run's categories") as caught:
        similarity.check(SimilarityConfig(**options), ctx)
    assert "the run has dog, cat, Oak_tree, formula1" in str(caught.value.context)
    assert not tables.part_names(ctx.run, schema.SENSES)


def test_a_persons_vectors_stand_in_for_the_encoder(tmp_path: Path) -> None:
    ctx = make(tmp_path, NAMES)
    vectors = given(tmp_path, "name,vector\ndog,1 0\ncat,3 4\noak tree,-1 0\ncar,1 1\n", "vectors.csv")
    tree = given(tmp_path, TREE)
    config = SimilarityConfig(
        wordnet="none", encoder="none", taxonomy=tree, category_vectors=vectors, match_threshold=0.0
    )
    similarity.run(config, ctx)
    pairs = pairs_of(ctx)
    assert pairs[0, 1]["text"] == pytest.approx(0.6)
    assert pairs[0, 2]["text"] == 0
    assert pairs[0, 3]["text"] is None
    assert pairs[0, 1]["combined"] == 1  # greatest on both sides
    assert pairs[0, 3]["combined"] == 0  # neither side knows formula1
    assert ctx.result["without_vector"] == ["formula1"]
    assert any("no category of this run is called car" in note for note in ctx.result["notes"])
    before = similarity.source_fingerprint(config)
    given(tmp_path, "name,vector\ndog,1 0\ncat,0 1\n", "vectors.csv")
    assert similarity.source_fingerprint(config) != before


def test_one_category_and_none_at_all(tmp_path: Path) -> None:
    for names in (["dog"], []):
        ctx = make(tmp_path / str(len(names)), names)
        config = SimilarityConfig(
            wordnet="none",
            encoder="none",
            category_vectors=given(tmp_path, "name,vector\ndog,1 2\n", "v.csv"),
        )
        if names:
            similarity.run(config, ctx)
            assert {key: row["match"] for key, row in pairs_of(ctx).items()} == {(0, 0): 1.0}
        else:
            with pytest.raises(ConfigError, match="names none of the run's categories"):
                similarity.run(config, ctx)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "lin"}, "measure is lin and information_content is not given"),
        ({"information_content": "ic.dat"}, "measure is path and information_content is ic.dat"),
        ({"measure": "jcn", "information_content": "ic.dat", "taxonomy": "t.csv"}, "graph is not used"),
        ({"measure": "jcn", "information_content": "ic.dat", "wordnet": "none"}, "graph is not used"),
        ({"wordnet": "none", "encoder": "none"}, "cannot both be none"),
    ],
)
def test_knobs_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SimilarityConfig(**options)
    assert caught.value.hint


def many(tmp_path: Path, num: int = 30) -> tuple[Context, SimilarityConfig]:
    """Categories on a circle: those near in number are alike."""
    angle = 2 * np.pi * np.arange(num) / num
    lines = [f"n{i:02d},{math.cos(a)} {math.sin(a)}" for i, a in enumerate(angle)]
    vectors = given(tmp_path, "\n".join(["name,vector", *lines]), "circle.csv")
    config = SimilarityConfig(
        wordnet="none", encoder="none", category_vectors=vectors, match_threshold=0.95, num_neighbors=3
    )
    return make(tmp_path, [f"n{i:02d}" for i in range(num)]), config


def test_related_pairs_are_those_of_all_that_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, config = many(tmp_path)
    similarity.run(config, ctx)
    every = pairs_of(ctx)
    near = tables.read(ctx.run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE).to_pylist()
    assert ctx.result["pairs"] == "all"
    monkeypatch.setattr(similarity, "_ALL_PAIRS", 29)
    monkeypatch.setattr(similarity, "_PART_PAIRS", 40)
    monkeypatch.setattr("webclean.ops.similarity.BLOCK", 7)
    ctx.run.remove(schema.CATEGORY_SIMILARITY)
    similarity.run(config, ctx)
    neighbors = {(row["a"], row["b"]) for row in near}
    expected = {key: row for key, row in every.items() if row["match"] > 0 or key in neighbors}
    found = pairs_of(ctx)
    assert ctx.result["pairs"] == "related"
    assert ctx.result["pairs_kept"] == len(found) < 200
    assert found.keys() == expected.keys()
    assert neighbors - {key for key, row in found.items() if row["match"] > 0}  # some are near and unrelated
    for key, row in found.items():
        assert row == pytest.approx(expected[key], abs=1e-12)
    assert len(tables.part_names(ctx.run, schema.CATEGORY_SIMILARITY)) > 2
    again = tables.read(ctx.run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE).to_pylist()
    assert [(row["a"], row["b"]) for row in again] == [(row["a"], row["b"]) for row in near]


@pytest.mark.parametrize("keep", ["all", "related"])
@pytest.mark.parametrize("ending", [".graphml", ".csv", ".parquet"])
def test_every_related_pair_is_exported_once(tmp_path: Path, keep: str, ending: str) -> None:
    ctx, config = many(tmp_path)
    similarity.run(SimilarityConfig(**{**_plain(config), "keep_pairs": keep}), ctx)
    commit(ctx)
    near = tables.read(ctx.run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE).to_pylist()
    expected = {frozenset((row["a"], row["b"])) for row in near}
    expected |= {
        frozenset(key) for key, row in pairs_of(ctx).items() if row["match"] > 0 and key[0] != key[1]
    }
    file = tmp_path / f"relations{ending}"
    assert relations.write(ctx.run, str(file)) == len(expected)
    if ending == ".graphml":
        edges = [e for e in ElementTree.parse(file).getroot().iter() if e.tag.endswith("}edge")]
        found = [frozenset((int(e.get("source", "")[1:]), int(e.get("target", "")[1:]))) for e in edges]
    else:
        rows = (
            list(csv.DictReader(file.read_text().splitlines()))
            if ending == ".csv"
            else pq.read_table(file).to_pylist()
        )
        found = [frozenset((int(r["category"][1:]), int(r["other"][1:]))) for r in rows]
        assert list(rows[0]) == ["category", "other", "wordnet", "text", "combined", "match"]
    assert len(found) == len(expected)
    assert set(found) == expected
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def _plain(config: SimilarityConfig) -> dict[str, Any]:
    return config.fingerprint_fields()


def test_a_picture_stands_like_beside_like(tmp_path: Path) -> None:
    ctx, config = many(tmp_path, 12)
    similarity.run(config, ctx)
    commit(ctx)
    assert relations.write(ctx.run, str(tmp_path / "map.PNG")) == 66
    with Image.open(tmp_path / "map.PNG") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 12 * 28


def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, config = many(tmp_path)
    with pytest.raises(ArtifactMissingError, match="has not been made") as caught:
        relations.write(ctx.run, str(tmp_path / "r.csv"))
    assert "webclean weight" in str(caught.value.hint)
    similarity.run(config, ctx)
    commit(ctx)
    cases: list[tuple[str, type[WebcleanError], str]] = [
        ("r.xlsx", ConfigError, "no file that is written here"),
        ("absent/r.graphml", DataError, "cannot be written"),
        ("absent/r.png", DataError, "cannot be written"),
        ("absent/r.parquet", DataError, "cannot be written"),
    ]
    for name, kind, message in cases:
        with pytest.raises(kind, match=message) as refused:
            relations.write(ctx.run, str(tmp_path / name))
        assert refused.value.hint
    monkeypatch.setattr(relations, "_LARGEST_PICTURE", 29)
    with pytest.raises(ConfigError, match="30 categories are too many for a picture"):
        relations.write(ctx.run, str(tmp_path / "r.png"))


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    if wordnet_fetch.find_wordnet() is None:
        pytest.skip("WordNet is not on this machine: make wordnet")
    return open_wordnet()


def test_several_senses_count_as_their_mean(
    tmp_path: Path, wordnet: WordNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "open_corpus", lambda setting: wordnet)
    ctx = make(tmp_path, ["crane", "dog", "heron"])
    senses = given(tmp_path, "crane,crane.n.04\ncrane,crane.n.05\n", "senses.csv")
    similarity.run(SimilarityConfig(senses=senses, encoder="none"), ctx)
    crane = read_senses(ctx.run)[0]
    assert (crane.synset, crane.synsets) == ("crane.n.04", ("crane.n.04", "crane.n.05"))
    assert crane.gloss is not None
    assert "lifts and moves heavy objects" in crane.gloss
    assert "wading bird" in crane.gloss
    each = [
        wordnet._get(a).path_similarity(wordnet._get(b))
        for a, b in itertools.product(crane.synsets, read_senses(ctx.run)[2].synsets)
    ]
    pairs = pairs_of(ctx)
    assert pairs[0, 2]["wordnet"] == pytest.approx(np.mean(each))
    assert pairs[0, 2]["wordnet"] == pairs[2, 0]["wordnet"]
    assert pairs[0, 0]["wordnet"] == 1


@pytest.mark.parametrize("measure", ["lin", "jcn"])
def test_information_content_is_taken_from_its_file(
    tmp_path: Path, wordnet: WordNet, monkeypatch: pytest.MonkeyPatch, measure: str
) -> None:
    monkeypatch.setattr(similarity, "open_corpus", lambda setting: wordnet)
    names = ["dog", "wolf", "oak", "formula1"]
    chosen = ["dog.n.01", "wolf.n.01", "oak.n.01"]
    graph = wordnet.taxonomy(chosen)
    _, high = ancestry.depths(graph, list(graph))
    lines = [
        f"{wordnet.offset(name)}n {2.0 ** (30 - high[name])} {'' if above else 'ROOT'}"
        for name, above in graph.items()
    ]
    file = given(tmp_path, "\n".join(["wnver::test", *lines]), "ic.dat")
    senses = given(tmp_path, "".join(f"{n},{s}\n" for n, s in zip(names, chosen, strict=False)), "senses.csv")
    ctx = make(tmp_path, names)
    config = SimilarityConfig(measure=measure, information_content=file, encoder="none", senses=senses)
    similarity.check(config, ctx)
    similarity.run(config, ctx)
    pairs = pairs_of(ctx)
    assert all(0 <= row["wordnet"] <= 1 for row in pairs.values() if row["wordnet"] is not None)
    assert pairs[0, 0]["wordnet"] == 1
    assert pairs[0, 1]["wordnet"] > pairs[0, 2]["wordnet"]
    assert pairs[0, 3]["wordnet"] is None


def test_a_line_of_senses_that_repeats_or_contradicts_is_refused(tmp_path: Path) -> None:
    ctx = make(tmp_path, ["crane"])
    for text in (
        "crane,crane.n.04\ncrane,crane.n.04\n",
        "crane,\ncrane,crane.n.04\n",
        "crane,crane.n.04\ncrane,\n",
    ):
        senses = given(tmp_path, f"name,synset\n{text}", "senses.csv")
        with pytest.raises(ConfigError, match="line 3: 'crane' has a line before") as caught:
            similarity.check(SimilarityConfig(senses=senses), ctx)
        assert "one line" in str(caught.value.hint)


def test_open_senses_of_very_many_categories_are_weighed_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_SENSES_AT_ONCE", 5)
    spans = list(similarity._groups([2, 3, 1, 9, 0, 2]))
    assert spans == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
