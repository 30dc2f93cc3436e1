"""What an attached column has to be for an image to stay: `clip_score >= 0.25`, `licence in cc0, cc-by or null`.

    COLUMN OPERATOR VALUE [or null]        operators: >= > <= < = != in, not in

A missing value meets a requirement only where it ends in `or null`.
"""

# N images
from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

_GRAMMAR: Final = re.compile(
    r"\s*(?P<column>[^<>=!]+?)\s*(?P<operator>>=|<=|!=|==|=|>|<|\snot\s+in\s|\sin\s)\s*(?P<value>.*?)(?P<null>(?<=\s)or\s+null)?\s*",
    re.DOTALL,
)
_ORDERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt,
}  # fmt: skip
_HINT: Final = "COLUMN OPERATOR VALUE, as in 'clip_score >= 0.25' or 'licence in cc0, cc-by or null'"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement taken apart; `values` are texts, one but for `in` and `not in`."""

    column: str
    operator: str
    values: tuple[str, ...]
    allows_null: bool


def parse(text: str) -> Requirement:
    """Take a requirement apart.

    Raises:
        ValueError: it is none.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no requirement: {_HINT}")
    word = " ".join(found["operator"].split())
    value = found["value"].strip()
    values = tuple(v.strip() for v in value.split(",")) if word.endswith("in") else (value,)
    if not all(values):
        raise ValueError(f"{text!r} lacks a value: {_HINT}")
    return Requirement(found["column"], "=" if word == "==" else word, values, found["null"] is not None)


def is_met(requirement: Requirement, value_N: Sequence[Any], kind: str) -> Bools:
    """Which images meet a requirement, bool (N,).

    Args:
        requirement: as `parse` gives it.
        value_N: the column, None where it has no value.
        kind: its type: `int64`, `float64`, `bool` or `string`.

    Raises:
        ValueError: the value is none of the column's type, or the operator does not go with it.
    """
    wanted = [_value(text, kind, requirement) for text in requirement.values]
    is_null_N = np.array([value is None for value in value_N], dtype=bool)
    if requirement.operator in _ORDERS:
        if kind not in ("int64", "float64"):
            raise ValueError(
                f"{requirement.column} is of type {kind}: it goes with =, !=, in and not in, not {requirement.operator}"
            )
        compare = _ORDERS[requirement.operator]
        met_N = np.array([value is not None and compare(value, wanted[0]) for value in value_N], dtype=bool)
    else:
        among = set(wanted)
        is_in_N = np.array([value in among for value in value_N], dtype=bool)
        met_N = ~is_in_N if requirement.operator in ("!=", "not in") else is_in_N
    return np.where(is_null_N, requirement.allows_null, met_N).astype(bool)


def _value(text: str, kind: str, requirement: Requirement) -> Any:
    if kind == "string":
        return text
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in ("int64", "float64"):
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if np.isfinite(number):
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else number
    raise ValueError(f"{requirement.column} is of type {kind}, and {text!r} is none")
