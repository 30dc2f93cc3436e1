"""`webclean init`: every line of the file can be uncommented and means the default."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.cli.app import main
from webclean.config import check_file, from_mapping, sections
from webclean.stages import settings_file


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "crawl" / "manifest.csv"
    path.parent.mkdir()
    path.write_text("path,label,rank,title\na.jpg,cats,1,a cat\n")
    return path


def uncommented(text: str) -> str:
    """The file with the # of every setting taken away."""
    names = {field.name for kind in sections().values() for field in dataclasses.fields(kind)}
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        is_setting = bare.split(" = ")[0] in names and " = " in bare
        lines.append(bare if is_setting else line)
    return "\n".join(lines)


def test_every_setting_stands_there_with_its_default(manifest):
    text, _ = settings_file.compose(str(manifest))
    content = check_file(tomllib.loads(uncommented(text)), "webclean.toml")
    guessed = {
        "path_column": "path",
        "category_column": "label",
        "rank_column": "rank",
        "title_column": "title",
    }
    for name, kind in sections().items():
        own = {f.name for f in dataclasses.fields(kind) if f.metadata.get("flag") != ""}
        assert set(content.get(name, {})) == own, name
        made = from_mapping(kind, content.get(name, {}))
        assert made == (dataclasses.replace(kind(), **guessed) if name == "ingest" else kind())


def test_only_guessed_columns_are_set(manifest):
    text, guessed = settings_file.compose(str(manifest))
    content = tomllib.loads(text)
    assert content["ingest"]["category_column"] == "label"
    assert {name for name, values in content.items() if values} == {"ingest"}
    assert "category = column 'label'" in guessed


def test_meaning_choices_and_range_stand_above_each(manifest):
    text, _ = settings_file.compose(str(manifest))
    assert (
        "# Hash bits, of 64, in which a candidate may differ under its best flip or turn. (>= 0, <= 20)\n# radius = 12"
        in text
    )
    assert "One of: linear, log, exp, calibrated." in " ".join(text.replace("\n# ", " ").split())


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_is_toml(text):
    assert tomllib.loads(f"x = {settings_file._toml(text)}") == {"x": text}


def test_the_command_writes_it_once(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", str(manifest)]) == 0
    shown = capsys.readouterr().out
    assert "wrote webclean.toml" in shown
    assert "category = column 'label'" in shown
    first = Path("webclean.toml").read_bytes()
    assert main(["init", str(manifest)]) == 2
    assert "webclean.toml exists" in capsys.readouterr().err
    assert main(["init", str(manifest), "--force"]) == 0
    assert Path("webclean.toml").read_bytes() == first
    assert main(["init", str(manifest), "--out", "no/such/folder.toml"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_source_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "nowhere"]) == 3
    assert "error[images-not-found]" in capsys.readouterr().err
    assert not Path("webclean.toml").exists()
