"""Reliability curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_SIDE: Final = 480  # pixels of the square from 0 to 1
_MARGIN: Final = 56
_COLOURS: Final = ("#2d0f46", "#e67846", "#3a7d44", "#8a8a8a")
_DOT: Final = 4


def reliability_picture(curves: Mapping[str, Sequence[tuple[float, float]]]) -> bytes:
    """A PNG of stated probability (to the right) against the share that came true (upwards), 0 to 1.

    Args:
        curves: by name, points from left to right; a score that is right lies on the grey diagonal.
    """
    size = _SIDE + 2 * _MARGIN
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)

    def at(said: float, came: float) -> tuple[float, float]:
        return _MARGIN + said * _SIDE, _MARGIN + (1.0 - came) * _SIDE

    for tenth in range(0, 11, 2):
        share = tenth / 10
        draw.line([at(share, 0), at(share, 1)], fill="#eeeeee")
        draw.line([at(0, share), at(1, share)], fill="#eeeeee")
        draw.text((at(share, 0)[0], at(0, 0)[1] + 6), f"{share:g}", fill="black", font=font, anchor="mt")
        draw.text((at(0, share)[0] - 6, at(0, share)[1]), f"{share:g}", fill="black", font=font, anchor="rm")
    draw.line([at(0, 0), at(1, 1)], fill="#b0b0b0", width=2)
    draw.text((size / 2, size - 8), "P(label right), said", fill="black", font=font, anchor="mb")
    draw.text((8, 8), "share that is right", fill="black", font=font)
    for index, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [at(said, came) for said, came in points]
        draw.line(places, fill=colour, width=2)
        for x, y in places:
            draw.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), fill=colour)
        draw.text((_MARGIN + 12, _MARGIN + 12 + 18 * index), name, fill=colour, font=font)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
