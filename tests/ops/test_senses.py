from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops import senses


def test_the_sense_that_fits_the_others_wins_over_the_frequent_one() -> None:
    # cricket (insect, game), tennis (game): the game is like tennis.
    similarity_SS = np.array([[1, 0.1, 0.2], [0.1, 1, 0.7], [0.2, 0.7, 1]])
    assert senses.choose_senses(similarity_SS, np.zeros(3), [2, 1], [None, 0]) == [1, 0]


def test_ties_and_silence_take_the_first_sense() -> None:
    assert senses.choose_senses(np.ones((3, 3)), np.zeros(3), [3], [None]) == [0]
    assert senses.choose_senses(np.ones((4, 4)), np.zeros(4), [2, 2], [None, None]) == [0, 0]


def test_a_settled_sense_stays_and_an_unknown_name_has_none() -> None:
    similarity_SS = np.eye(4)
    assert senses.choose_senses(similarity_SS, np.zeros(4), [2, 0, 2], [1, None, None]) == [1, -1, 0]
    assert senses.choose_senses(np.zeros((0, 0)), np.zeros(0), [], []) == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 2**31))
def test_the_choice_does_not_depend_on_the_order_of_categories(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    raw = rng.uniform(size=(total, total))
    similarity_SS, context_S = (raw + raw.T) / 2, rng.uniform(size=total)
    chosen = senses.choose_senses(similarity_SS, context_S, sizes, [None] * len(sizes))
    order = rng.permutation(len(sizes))
    starts = np.cumsum([0, *sizes])
    rows = [row for c in order for row in range(starts[c], starts[c + 1])]
    again = senses.choose_senses(
        similarity_SS[np.ix_(rows, rows)], context_S[rows], [sizes[c] for c in order], [None] * len(sizes)
    )
    assert again == [chosen[c] for c in order]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="3 senses"):
        senses.choose_senses(np.eye(2), np.zeros(3), [3], [None])


def test_certain_senses_are_taken_from_the_others_but_never_the_last() -> None:
    left = senses.without_taken([["field", "ice"], ["ice"], ["ice", "ice"], []], {"ice"})
    assert left == [["field"], ["ice"], ["ice", "ice"], []]


def test_category_text() -> None:
    assert senses.category_text("crane", ["crane"], ["crane", "wader"], "a bird") == "crane: wader. a bird"
    assert senses.category_text("formula1", ["formula1", "f1 car"], [], None) == "formula1: f1 car"
    assert senses.category_text("formula1", ["formula1"], [], None) == "formula1"
    assert senses.category_text("dog", [], ["dog"], "barks") == "dog. barks"


def test_a_meaning_stands_without_the_name() -> None:
    assert senses.meaning_text("jaguar", ["Jaguar", "panther"], "a cat") == "panther: a cat"
    assert senses.meaning_text("bat", ["bat"], "a club") == "a club"
