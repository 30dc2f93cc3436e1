"""A similarity matrix as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SIDE: Final = 960  # pixels that the matrix is to fill
_LARGEST_CELL: Final = 28
_LABELLED: Final = 9  # pixels of a cell from which its name can be read
_LONGEST: Final = 32  # letters of a name
_MARGIN: Final = 8
_BAR: Final = 14  # width of the scale
_RAMP: Final = ((250, 250, 247), (252, 209, 125), (230, 120, 70), (160, 40, 90), (45, 15, 70))
"""Colours of 0, 1/4, ... 1: lighter is less alike, also in grey."""


def heat_map(similarity_CC: NDArray[np.float64], names: Sequence[str]) -> bytes:
    """A PNG with a cell for each pair, names where there is room for them, and a scale from 0 to 1.

    Args:
        similarity_CC: float64 in [0, 1], rows and columns in the order in which they are to stand.
        names: of the C rows.
    """
    num = len(names)
    cell = max(1, min(_LARGEST_CELL, _SIDE // max(num, 1)))
    font = ImageFont.load_default(max(10, min(cell - 1, 16)))
    texts = [_short(name) for name in names] if cell >= _LABELLED else []
    room = max((int(font.getlength(text)) + 1 for text in texts), default=0) + 2 * _MARGIN
    side = cell * num
    tall = max(side, 120)
    picture = Image.new("RGB", (room + side + 5 * _MARGIN + _BAR + 24, room + tall + _MARGIN), "white")
    matrix = Image.fromarray(_colours(similarity_CC)).resize((side, side), Image.Resampling.NEAREST)
    picture.paste(matrix, (room, room))
    draw = ImageDraw.Draw(picture)
    for index, text in enumerate(texts):
        middle = room + cell * index + cell // 2
        draw.text((room - _MARGIN, middle), text, fill="black", font=font, anchor="rm")
        label = Image.new("RGB", (room, cell), "white")
        ImageDraw.Draw(label).text((0, cell // 2), text, fill="black", font=font, anchor="lm")
        picture.paste(label.rotate(90, expand=True), (room + cell * index, -_MARGIN))
    left = room + side + 2 * _MARGIN
    bar = Image.fromarray(_colours(np.linspace(1.0, 0.0, tall)[:, None]))
    picture.paste(bar.resize((_BAR, tall), Image.Resampling.NEAREST), (left, room))
    small = ImageFont.load_default(11)
    for value in (1.0, 0.5, 0.0):
        height = room + round((1.0 - value) * (tall - 1))
        draw.text((left + _BAR + 4, height), f"{value:g}", fill="black", font=small, anchor="lm")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _colours(value: NDArray[np.float64]) -> NDArray[np.uint8]:
    at = np.linspace(0.0, 1.0, len(_RAMP))
    ramp = np.asarray(_RAMP, dtype=np.float64)
    channels = [np.interp(value, at, ramp[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _short(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
