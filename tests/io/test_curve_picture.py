"""The reliability picture: its size, its diagonal, a dot where a point is."""

from __future__ import annotations

import io

from PIL import Image, ImageColor

from webclean.io import curve_picture


def test_a_point_has_its_place_and_its_colour():
    data = curve_picture.reliability_picture({"one": [(0.25, 0.75)], "two": [(1.0, 0.0)]})
    with Image.open(io.BytesIO(data)) as picture:
        side = 480 + 2 * 56
        assert picture.size == (side, side)
        for colour, (x, y) in zip(curve_picture._COLOURS, [(0.25, 0.75), (1.0, 0.0)], strict=False):
            assert picture.getpixel((56 + round(x * 480), 56 + round((1 - y) * 480))) == ImageColor.getrgb(
                colour
            )
        assert picture.getpixel((56 + 240, 56 + 240)) == (176, 176, 176)


def test_no_curve_is_a_picture_still():
    with Image.open(io.BytesIO(curve_picture.reliability_picture({}))) as picture:
        picture.verify()
