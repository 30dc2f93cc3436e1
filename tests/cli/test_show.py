"""Results as a person sees them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from webclean.cli import show
from webclean.cli.options import Settings
from webclean.config import DecideConfig
from webclean.stages.base import Counts, Outcome
from webclean.stages.similarity import Neighbor, Sense


def cranes(num: int) -> list[Sense]:
    return [
        Sense(
            category_id=i, name=f"crane {i}", queries=(), synsets=("crane.n.04",), gloss="lifts and moves " * 9,
            senses_found=("crane.n.01", "crane.n.04", "crane.n.05"), chosen_by="text",
        )
        for i in range(num)
    ]  # fmt: skip


def test_senses_are_shown_where_a_name_has_several(capsys: pytest.CaptureFixture[str]) -> None:
    dog = Sense(category_id=9, name="dog", queries=(), synsets=("dog.n.01",), senses_found=("dog.n.01",))
    show.senses([dog], "my-run")
    assert capsys.readouterr().out == ""
    show.senses([dog, *cranes(1)], "my-run")
    shown = capsys.readouterr().out
    assert "dog" not in shown
    row = next(line.split() for line in shown.splitlines() if "crane 0" in line)
    assert row[2] == "crane.n.04"
    assert row[-1] == "2"
    assert "..." in row
    assert "fit with the other categories" in " ".join(row)
    assert "webclean weight my-run --explain CATEGORY" in shown
    assert "--senses FILE" in shown
    assert "more" not in shown


def test_many_senses_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show.senses(cranes(14), "my-run")
    shown = capsys.readouterr().out
    assert shown.count("crane.n.04") == 10
    assert "... and 4 more, in my-run/category_senses" in shown


def test_the_sense_of_one_category(capsys: pytest.CaptureFixture[str]) -> None:
    show.sense(cranes(1)[0], ["a town", None], "my-run")
    shown = capsys.readouterr().out
    assert "crane 0: crane.n.04 (lifts and moves" in shown
    assert "fit with the other categories" in shown
    assert "crane.n.01   a town" in shown
    assert "--senses FILE" in shown
    show.sense(Sense(category_id=0, name="formula1", queries=()), [], "my-run")
    assert "formula1: no sense in WordNet" in capsys.readouterr().out


def test_what_a_side_does_not_know_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    near = Neighbor(1, "dog", None, math.nan, 0.5, 0.5, 0.25)
    show.neighbors("formula1", [near], Settings({}, {}, quiet=True, json=True, force=False))
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (row["wordnet"], row["text"], row["synset"]) == (None, 0.5, None)


def decided(**result: Any) -> Outcome:
    return Outcome("decide", False, Counts(total=4, forwarded=3, dropped={"low_score": 1}), result, 0.1)


def _weighed(memorisation: dict[str, Any] | None) -> list[Outcome]:
    counts = Counts(total=5, forwarded=5)
    stage1 = {"effective_samples": {"cat": 90.0, "dog": 1234.5}}
    stage2 = {
        "judged": 5, "effective_samples": {"cat": 70.25, "dog": 9.0}, "mean_match_by_category": {"cat": 0.5, "dog": 0.6},
        "temperature": 0.33, "memorisation": memorisation,
    }  # fmt: skip
    rounds = [Outcome("stage1", False, counts, {}, 0.1), Outcome("stage2", False, counts, {}, 0.1)]
    last = [Outcome("stage1", False, counts, stage1, 0.1), Outcome("stage2", False, counts, stage2, 0.1)]
    return [*rounds, *last]


def test_what_the_weights_of_the_last_round_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    show.weights(_weighed({"images": 4096, "inside": 0.81, "outside": 0.74})[-2:])
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert [line for line in lines if line and line[0] in ("cat", "dog")] == [
        ["dog", "1,234.5", "0.60", "9.0"],
        ["cat", "90.0", "0.50", "70.2"],
    ]
    assert "taken at temperature 0.33." in shown
    assert "Mean match score of 4,096 images: 0.81 by a judge that was trained on them, 0.74" in " ".join(
        shown.split()
    )


def test_without_a_judge_no_weights_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = _weighed(None)[-2:]
    found[1].result["judged"] = 0
    show.weights(found)
    show.weights([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (1.5, "counts 1.50 times as much as the image judge"),
        (0.0, "not joined with the images, weighed with rank"),
    ],
)
def test_what_the_text_judge_is_worth_is_told(
    capsys: pytest.CaptureFixture[str], weight: float, told: str
) -> None:
    learnt = {"text-judge": {"gain": 0.1, "slope": 0.4, "weight": weight}}
    show.decisions(decided(evidence=learnt, wrong_share=0.1), "my-run", DecideConfig())
    assert told in capsys.readouterr().out


def test_decisions_are_told_in_words_and_percent(capsys: pytest.CaptureFixture[str]) -> None:
    told = {
        "image": {"wrong_share_alone": 0.1571},
        "rank": {"gain": 0.02, "slope": 0.6},
        "mass": {"gain": 0.01, "slope": -0.2},
        "text-judge": {"gain": -0.01, "slope": 0.1},
        "side": {"gain": 0.03, "slopes": [0.6, -0.2]},
        "somnet": {"gain": 0.01, "weight": 0.4},
    }
    shares = {"cat": 0.25, "dog": 0.004}
    outcome = decided(evidence=told, wrong_share=0.127, wrong_share_by_category=shares)
    show.decisions(outcome, "my-run", DecideConfig())
    shown = capsys.readouterr().out
    for text in (
        "wrong labels by images alone 15.7 %",
        "better rank: label likelier right",
        "words closer to the category: label less likely right",
        "rank and text weighed together",
        "counts 0.40 times as much as the image judge",
        "all         12.7 %",
        "cat         25.0 %",
        "dog          0.4 %",
        "Next: webclean export my-run OUT\n",
    ):
        assert text in shown
    assert "slope" not in shown
    assert "wrong_share" not in shown


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        ((), "No judge could work on this crawl"),
        (("image", "rank"), "No judge could work on this crawl"),
        (("rank",), "No judge was asked for (--evidence rank)"),
    ],
)
def test_why_there_is_no_judge(
    evidence: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DecideConfig(evidence=evidence, name="mine")
    show.decisions(decided(no_judge=True, evidence={}, wrong_share=None), "my-run", config)
    shown = capsys.readouterr().out
    assert text in shown
    assert "Next: webclean export my-run OUT --decisions mine" in shown
    assert "Evidence" not in shown
    assert "share of wrong labels" not in shown


@pytest.mark.parametrize(
    ("result", "text"), [({}, None), ({"copies_of_test_images": 3}, "3 images are copies of an image of")]
)
def test_copies_of_a_test_set_are_counted(
    result: dict[str, Any], text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome("dedup", False, Counts(total=4, forwarded=4), result, 0.1)
    settings = Settings(flags={}, toml={}, quiet=False, json=False, force=False)
    show.outcomes([outcome], "my-run", settings)
    shown = capsys.readouterr().out
    assert (text in shown) if text else ("--against" not in shown)
