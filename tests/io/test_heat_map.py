from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from webclean.io.heat_map import heat_map

DARK, PALE = (45, 15, 70), (250, 250, 247)


def colours_of(png: bytes) -> dict[tuple[int, ...], int]:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return {colour: times for times, colour in picture.convert("RGB").getcolors(1 << 20)}  # type: ignore[union-attr,misc]


def test_cells_have_the_colour_of_their_value() -> None:
    both = colours_of(heat_map(np.eye(2), ["cat", "dog"]))
    alike = colours_of(heat_map(np.ones((2, 2)), ["cat", "dog"]))
    cell = 28 * 28
    assert alike[DARK] - both[DARK] == pytest.approx(2 * cell, abs=5)
    assert both[PALE] - alike.get(PALE, 0) == pytest.approx(2 * cell, abs=5)


@pytest.mark.parametrize("num", [1, 40, 150])
def test_any_number_of_categories_and_any_name(num: int) -> None:
    names = [f"{'猫' if i % 2 else 'a very long name of a category'} {i}" for i in range(num)]
    first = heat_map(np.eye(num), names)
    assert first == heat_map(np.eye(num), names)
    with Image.open(io.BytesIO(first)) as picture:
        assert 60 < picture.width < 1600
        assert 60 < picture.height < 1600
