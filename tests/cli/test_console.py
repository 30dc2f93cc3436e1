"""How long a loop is likely to take, said once."""

from __future__ import annotations

import pytest

from webclean.cli.console import Estimate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def said(total: int, rate: float, steps: int = 10, first: int = 10) -> list[str]:
    """What is said by a loop of so many units a second."""
    clock = Clock()
    estimate = Estimate(total=total, unit="images", label="decode", clock=clock)
    found = [estimate.after(first)]
    done = first
    while done < total and clock.now < 110:
        clock.now += steps / rate
        done += steps
        found.append(estimate.after(steps))
    return [text for text in found if text is not None]


@pytest.mark.parametrize(
    ("total", "rate", "words"),
    [
        (100_000, 100, "decode: 99,680 images left at 100.0 a second, about 17 minutes"),
        (10_000, 100, "decode: 9,680 images left at 100.0 a second, about 2 minutes"),
        (8_000, 100, "decode: 7,680 images left at 100.0 a second, about a minute"),
        (10_000_000, 100, "decode: 9,999,680 images left at 100.0 a second, about 27.8 hours"),
        (100_000_000, 100, "decode: 99,999,680 images left at 100.0 a second, about 11.6 days"),
    ],
)
def test_a_long_loop_is_told_once(total, rate, words):
    assert said(total, rate) == [words]


def test_a_short_loop_is_not():
    assert said(5_000, 100) == []


def test_what_was_done_before_is_not_speed():
    assert said(100_000, 10, first=50_000) == [
        "decode: 49,970 images left at 10.0 a second, about 83 minutes"
    ]


def test_a_loop_that_stands_still_says_nothing():
    clock = Clock()
    estimate = Estimate(total=9, unit="folds", label="judge", clock=clock)
    for _ in range(3):
        assert estimate.after(0) is None
        clock.now += 60
