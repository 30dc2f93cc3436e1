"""Relations of categories from the command line: own graph and vectors, what was found, and its files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from exported_run import picture
from letters import Letters
from PIL import Image

from webclean.cli.app import main
from webclean.io import sentence

NAMES = ("cat", "dog", "oak")
TREE = "child,parent\ncat,animal\ndog,animal\noak,plant\nanimal,thing\nplant,thing\n"


@pytest.fixture
def ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sentence, "open_encoder", lambda *_, **__: Letters())
    for name in NAMES:
        (tmp_path / "crawl" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "crawl" / name / f"{i}.jpg").write_bytes(
                picture(10 * i + ord(name[0]), size=(48, 40))
            )
    run = str(tmp_path / "run")
    assert main(["ingest", str(tmp_path / "crawl"), run, "--workers", "0", "--quiet"]) == 0
    capsys.readouterr()
    return run


def weigh(run: str, *flags: str) -> int:
    small = ["--folds-images", "20", "--folds-width", "4", "--folds-side", "16", "--workers", "0", "-q"]
    return main(["weight", run, "--weights", "none", "--wordnet", "none", *small, *flags])


@pytest.mark.slow
def test_from_a_persons_tables_to_neighbours_and_files(
    ingested: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree.csv").write_text(TREE)
    (tmp_path / "vectors.csv").write_text("name,vector\ncat,1 0\ndog,3 4\noak,0 1\n")
    tree, vectors = (str(tmp_path / name) for name in ("tree.csv", "vectors.csv"))
    flags = ["--taxonomy", tree, "--category-vectors", vectors, "--measure", "wup", "--num-neighbors", "2"]
    assert weigh(ingested, *flags) == 0
    capsys.readouterr()

    assert main(["weight", ingested, "--explain", "cat", "--json"]) == 0
    near = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in near] == ["dog", "oak"]
    assert near[0] | {"synset": None} == pytest.approx(
        {
            "position": 1, "name": "dog", "synset": None, "wordnet": 4 / 6, "text": 0.6, "combined": (1 + 0.6 / 0.8) / 2,
            "match": ((1 + 0.6 / 0.8) / 2 - 0.3) / 0.7,
        }
    )  # fmt: skip
    assert main(["weight", ingested, "--explain", "cat"]) == 0
    shown = capsys.readouterr().out
    for word in ("wordnet", "text", "combined", "match", "dog", "oak"):
        assert word in shown

    assert main(["weight", ingested, "--relations", str(tmp_path / "r.graphml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "r.graphml"), "pairs": 3}
    tags = [e.tag.rpartition("}")[2] for e in ElementTree.parse(tmp_path / "r.graphml").getroot().iter()]
    assert (tags.count("node"), tags.count("edge")) == (3, 3)
    assert main(["weight", ingested, "--relations", str(tmp_path / "r.png")]) == 0
    assert "3 pairs of categories" in capsys.readouterr().out
    with Image.open(tmp_path / "r.png") as shown_picture:
        assert shown_picture.format == "PNG"

    # A changed table runs the stage again; an equal one does not.
    assert weigh(ingested, *flags) == 0
    Path(tree).write_text(TREE.replace("oak,plant", "oak,animal"))
    assert weigh(ingested, *flags) == 0
    capsys.readouterr()
    assert main(["weight", ingested, "--explain", "cat", "--json"]) == 0
    assert [row["wordnet"] for row in json.loads(capsys.readouterr().out)] == pytest.approx([4 / 6, 4 / 6])


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--taxonomy", "absent.csv"], 2, "--taxonomy absent.csv cannot be read"),
        (["--measure", "lin"], 2, "lin and jcn need an --information-content file"),
        (["--measure", "resnik"], 2, "must be one of path, wup, lch, lin, jcn"),
    ],
)
def test_wrong_flags_are_refused(
    ingested: str, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, words: str
) -> None:
    assert weigh(ingested, *flags) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_ring_in_the_graph_is_told_with_its_repair(
    ingested: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree.csv"
    tree.write_text("child,parent\ncat,dog\ndog,oak\noak,cat\n")
    assert weigh(ingested, "--taxonomy", str(tree)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "cat under dog under oak under cat" in told
    assert "remove one of these rows, such as row 3" in told
    assert main(["weight", ingested, "--relations", str(tmp_path / "r.csv")]) == 3
    assert "webclean weight" in capsys.readouterr().err
