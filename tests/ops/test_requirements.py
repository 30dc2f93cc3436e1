"""What `--require` understands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops.requirements import Requirement, is_met, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clip_score>=0.25", Requirement("clip_score", ">=", ("0.25",), False)),
        (" clip score  <  -1e-3 or null", Requirement("clip score", "<", ("-1e-3",), True)),
        ("licence in cc-by,cc0", Requirement("licence", "in", ("cc-by", "cc0"), False)),
        ("licence not  in a , b or null", Requirement("licence", "not in", ("a", "b"), True)),
        ("clip.ok == true", Requirement("clip.ok", "=", ("true",), False)),
        ("site != in or out", Requirement("site", "!=", ("in or out",), False)),
        ("insight>1", Requirement("insight", ">", ("1",), False)),
    ],
)
def test_the_grammar(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "clip_score", ">= 3", "a >=", "a in ", "a in b,,c", "a >= or null", "a ~ 3"]
)
def test_what_is_no_requirement(text):
    with pytest.raises(ValueError, match="requirement|lacks a value"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "values", "kind", "expected"),
    [
        ("x >= 0.5", [0.5, 0.4, None], "float64", [True, False, False]),
        ("x >= 0.5 or null", [0.5, 0.4, None], "float64", [True, False, True]),
        ("x < 9007199254740993", [9007199254740992, 9007199254740993], "int64", [True, False]),
        ("x = 1", [1, 2, None], "int64", [True, False, False]),
        ("x != 1", [1, 2, None], "int64", [False, True, False]),
        ("x in a, b", ["a", "c", None], "string", [True, False, False]),
        ("x not in a, b", ["a", "c", None], "string", [False, True, False]),
        ("x not in a, b or null", ["a", "c", None], "string", [False, True, True]),
        ("x = False", [True, False, None], "bool", [False, True, False]),
    ],
)
def test_which_images_meet_it(text, values, kind, expected):
    assert is_met(parse(text), values, kind).tolist() == expected


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("x >= a", "string", "it goes with =, !=, in and not in, not >="),
        ("x >= true", "bool", "it goes with"),
        ("x >= much", "float64", "'much' is none"),
        ("x = nan", "float64", "'nan' is none"),
        ("x in 1,two", "int64", "'two' is none"),
        ("x = yes", "bool", "'yes' is none"),
    ],
)
def test_values_that_the_column_cannot_have(text, kind, message):
    with pytest.raises(ValueError, match=message):
        is_met(parse(text), [], kind)


@given(st.lists(st.none() | st.floats(-2, 2), max_size=8), st.floats(-2, 2))
def test_an_operator_and_its_opposite_share_the_images_out(values, bar):
    for one, other in ((">=", "<"), ("<=", ">"), ("=", "!=")):
        low = is_met(parse(f"x {one} {bar!r}"), values, "float64")
        high = is_met(parse(f"x {other} {bar!r}"), values, "float64")
        assert not (low & high).any()
        assert (low | high).tolist() == [value is not None for value in values]
