"""What the sample crawl's pictures show: objects made of shapes, and the cluttered scenes they stand in.

An object is a list of `Shape`s in its own coordinates (about -1..1, y down). `place` turns, mirrors and scales
it into a pixel box, `paint` draws it. Everything random comes from the `random.Random` that is handed in, so a
picture depends on its seed alone.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]
Color = tuple[int, int, int]
Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in pixels, half-open

OVERSAMPLING = 2  # pictures are drawn this many times larger, then reduced: smooth edges
INK: Color = (38, 34, 40)
WHITE: Color = (250, 248, 242)


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled outline, or a line of some width where `width` is positive."""

    points: tuple[Point, ...]
    color: Color
    width: float = 0.0  # in the object's own units
    alpha: int = 255


@dataclass(frozen=True, slots=True)
class Style:
    """How an object is painted: shading from light to dark, an inked edge, a soft shadow."""

    shading: float
    ink: float
    shadow: bool


# ---------------------------------------------------------------- colours and outlines
def hsv(hue: float, saturation: float, value: float) -> Color:
    """Colour from hue, saturation and value, each 0..1 (the hue wraps)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(a: Color, b: Color, share: float) -> Color:
    """`a` with a `share` (0..1) of `b` in it."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def any_color(rng: Random, saturation: tuple[float, float] = (0.35, 0.9)) -> Color:
    """A lively colour of any hue."""
    return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(0.45, 0.97))


def wood(rng: Random) -> Color:
    """A brown between honey and walnut."""
    return hsv(rng.uniform(0.045, 0.095), rng.uniform(0.55, 0.85), rng.uniform(0.38, 0.85))


def ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0
) -> tuple[Point, ...]:
    """Points along an ellipse, clockwise in degrees from the right."""
    steps = max(8, round(44 * abs(end - start) / 360))
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return tuple((x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    """The four corners."""
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def curve(*points: Point, closed: bool = False) -> tuple[Point, ...]:
    """A smooth (Catmull-Rom) line through the points."""
    n = len(points)
    out: list[Point] = []
    for i in range(n if closed else n - 1):
        if closed:
            p0, p1, p2, p3 = (points[(i + k) % n] for k in (-1, 0, 1, 2))
        else:
            p0, p1, p2, p3 = points[max(i - 1, 0)], points[i], points[i + 1], points[min(i + 2, n - 1)]
        for step in range(8):
            t = step / 8
            out.append((_spline(t, p0[0], p1[0], p2[0], p3[0]), _spline(t, p0[1], p1[1], p2[1], p3[1])))
    if not closed:
        out.append(points[-1])
    return tuple(out)


def _spline(t: float, a: float, b: float, c: float, d: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def mirrored(*right: Point) -> tuple[Point, ...]:
    """A closed smooth outline from its right half, given from top to bottom."""
    return curve(*right, *((-x, y) for x, y in reversed(right)), closed=True)


# ---------------------------------------------------------------- the categories
def teapot(rng: Random) -> list[Shape]:
    """A round pot with a lid, a curved spout and a handle."""
    glaze = any_color(rng)
    dark, light = mix(glaze, INK, 0.35), mix(glaze, WHITE, 0.55)
    wide, tall = rng.uniform(0.56, 0.7), rng.uniform(0.42, 0.58)
    lift = rng.uniform(-0.1, 0.08)
    shapes = [
        Shape(
            curve((-wide * 0.75, -0.15), (-1.0, -0.22 + lift), (-1.08, 0.12), (-wide * 0.85, 0.4)),
            dark,
            width=0.11,
        ),
        Shape(
            curve((wide * 0.72, 0.3), (wide + 0.16, 0.14), (wide + 0.24, -0.18), (wide + 0.42, -0.36))
            + curve((wide + 0.28, -0.4), (wide + 0.08, -0.22), (wide, -0.05), (wide * 0.7, -0.04)),
            dark,
        ),
        Shape(rectangle(-wide * 0.5, 0.1 + tall - 0.08, wide * 0.5, 0.1 + tall + 0.05), dark),
        Shape(ellipse(0, 0.1, wide, tall), glaze),
    ]
    if rng.random() < 0.6:
        y = rng.uniform(0.0, 0.2)
        half = wide * math.sqrt(max(0.0, 1 - ((y + 0.1) / tall) ** 2)) * 0.97
        for k in range(-3, 4):
            shapes.append(Shape(ellipse(k * half / 3.8, y + 0.03 * math.cos(k), 0.06, 0.06), light))
    elif rng.random() < 0.6:
        shapes.append(Shape(curve((-wide * 0.97, 0.05), (0, 0.13), (wide * 0.97, 0.05)), light, width=0.07))
    shapes += [
        Shape(ellipse(0, 0.12 - tall, wide * 0.58, 0.17, 180, 360), mix(glaze, WHITE, 0.15)),
        Shape(ellipse(0, 0.12 - tall, wide * 0.6, 0.05), dark),
        Shape(ellipse(0, -0.1 - tall, 0.085, 0.085), dark),
        Shape(ellipse(-wide * 0.45, -0.1, 0.08, 0.16), mix(glaze, WHITE, 0.75), alpha=170),
    ]
    return shapes


def mug(rng: Random) -> list[Shape]:
    """A straight cup with one ear, often with something hot in it."""
    glaze = any_color(rng, (0.15, 0.9))
    dark, light = mix(glaze, INK, 0.3), mix(glaze, WHITE, 0.65)
    wide, foot, tall = rng.uniform(0.42, 0.5), rng.uniform(0.36, 0.48), rng.uniform(0.48, 0.6)
    depth = rng.uniform(0.08, 0.15)
    shapes = [
        Shape(
            curve(
                (wide * 0.9, -tall * 0.55),
                (wide + 0.32, -tall * 0.5),
                (wide + 0.34, tall * 0.3),
                (foot, tall * 0.55),
            ),
            dark,
            width=0.13,
        ),
        Shape((*ellipse(0, tall, foot, depth, 0, 180), (-wide, -tall), (wide, -tall)), glaze),
    ]
    decoration = rng.randrange(4)
    if decoration == 0:
        for y in (-0.15, 0.1):
            shapes.append(Shape(curve((-wide * 0.96, y), (0, y + depth), (wide * 0.96, y)), light, width=0.1))
    elif decoration == 1:
        shapes.append(Shape(mirrored((0.0, -0.05), (0.1, -0.14), (0.22, -0.02), (0.0, 0.28)), light))
    elif decoration == 2:
        for _ in range(9):
            x, y = rng.uniform(-0.3, 0.3), rng.uniform(-0.25, 0.42)
            shapes.append(Shape(ellipse(x, y, 0.05, 0.05), light))
    shapes += [
        Shape(ellipse(0, -tall, wide, depth), mix(glaze, WHITE, 0.35)),
        Shape(
            ellipse(0, -tall + 0.015, wide * 0.87, depth * 0.76),
            rng.choice([(84, 52, 34), (60, 38, 30), (150, 96, 48)]),
        ),
    ]
    if rng.random() < 0.5:
        for x in (-0.15, 0.12):
            steam = curve(
                (x, -tall - 0.05), (x + 0.08, -tall - 0.18), (x - 0.06, -tall - 0.3), (x + 0.05, -tall - 0.42)
            )
            shapes.append(Shape(steam, WHITE, width=0.05, alpha=190))
    return shapes


def guitar(rng: Random) -> list[Shape]:
    """A flat guitar: wide body with a round hole, long neck with frets."""
    body = wood(rng) if rng.random() < 0.7 else any_color(rng)
    neck, edge = mix(wood(rng), INK, 0.45), mix(body, INK, 0.5)
    waist, lower = rng.uniform(0.23, 0.29), rng.uniform(0.4, 0.47)
    outline = (
        (0.0, 0.02),
        (0.2, 0.02),
        (0.31, 0.16),
        (waist, 0.36),
        (0.33, 0.54),
        (lower, 0.74),
        (0.3, 0.97),
        (0.0, 1.02),
    )
    shapes = [
        Shape(mirrored(*outline), edge),
        Shape(tuple((x * 0.92, 0.5 + (y - 0.5) * 0.94) for x, y in mirrored(*outline)), body),
        Shape(ellipse(0, 0.42, 0.145, 0.145), mix(body, WHITE, 0.5)),
        Shape(ellipse(0, 0.42, 0.115, 0.115), INK),
        Shape(rectangle(-0.17, 0.74, 0.17, 0.8), INK),
        Shape(((-0.055, -0.8), (0.055, -0.8), (0.07, 0.34), (-0.07, 0.34)), neck),
    ]
    shapes += [
        Shape(((-0.055, y), (0.055, y)), (205, 200, 185), width=0.014)
        for y in (-0.68, -0.55, -0.43, -0.32, -0.22, -0.13, -0.05, 0.03, 0.1)
    ]
    shapes.append(Shape(((-0.1, -1.04), (0.1, -1.04), (0.08, -0.8), (-0.08, -0.8)), edge))
    for y in (-1.0, -0.93, -0.86):
        shapes += [Shape(ellipse(x, y, 0.035, 0.03), (225, 220, 205)) for x in (-0.13, 0.13)]
    shapes += [
        Shape(((x, -0.8), (x * 1.3, 0.77)), (235, 230, 215), width=0.008)
        for x in (-0.036, -0.012, 0.012, 0.036)
    ]
    return shapes


def violin(rng: Random) -> list[Shape]:
    """A small-waisted body with f-holes, a black fingerboard and, often, a bow."""
    body = hsv(rng.uniform(0.02, 0.075), rng.uniform(0.7, 0.92), rng.uniform(0.4, 0.78))
    edge = mix(body, INK, 0.45)
    outline = (
        (0.0, -0.14),
        (0.2, -0.11),
        (0.31, 0.02),
        (0.29, 0.19),
        (0.33, 0.25),
        (0.19, 0.36),
        (0.2, 0.5),
        (0.37, 0.62),
        (0.4, 0.8),
        (0.25, 0.97),
        (0.0, 1.0),
    )
    shapes = [
        Shape(((-0.05, -0.85), (0.05, -0.85), (0.06, -0.1), (-0.06, -0.1)), edge),
        Shape(mirrored(*outline), edge),
        Shape(tuple((x * 0.93, 0.43 + (y - 0.43) * 0.95) for x, y in mirrored(*outline)), body),
    ]
    for side in (-1, 1):
        hole = curve(
            (side * 0.12, 0.34),
            (side * 0.17, 0.38),
            (side * 0.15, 0.48),
            (side * 0.2, 0.58),
            (side * 0.24, 0.57),
        )
        shapes.append(Shape(hole, INK, width=0.03))
    shapes += [
        Shape(((-0.045, -0.84), (0.045, -0.84), (0.075, 0.3), (-0.075, 0.3)), INK),
        Shape(((-0.12, 0.5), (0.12, 0.5), (0.1, 0.45), (-0.1, 0.45)), (232, 205, 150)),
        Shape(((-0.075, 0.63), (0.075, 0.63), (0.035, 0.93), (-0.035, 0.93)), INK),
        Shape(ellipse(-0.17, 0.84, 0.1, 0.085), INK),
        Shape(((-0.055, -0.98), (0.055, -0.98), (0.05, -0.82), (-0.05, -0.82)), edge),
        Shape(ellipse(0, -1.01, 0.085, 0.085), edge),
        Shape(ellipse(0, -1.01, 0.035, 0.035), mix(body, WHITE, 0.35)),
    ]
    shapes += [
        Shape(((x, side_y), (x + math.copysign(0.12, x), side_y)), INK, width=0.04)
        for x, side_y in ((-0.05, -0.95), (0.05, -0.9), (-0.05, -0.86))
    ]
    shapes += [
        Shape(((x, -0.82), (x * 1.4, 0.65)), (240, 236, 225), width=0.008)
        for x in (-0.033, -0.011, 0.011, 0.033)
    ]
    if rng.random() < 0.45:
        x = rng.choice((-1, 1)) * rng.uniform(0.5, 0.6)
        shapes += [
            Shape(curve((x, -0.9), (x + 0.05, 0.0), (x, 0.85)), edge, width=0.035),
            Shape(((x - 0.045, -0.9), (x - 0.045, 0.8)), WHITE, width=0.02),
            Shape(rectangle(x - 0.06, 0.74, x + 0.02, 0.85), INK),
        ]
    return shapes


def sailboat(rng: Random) -> list[Shape]:
    """A hull under a mast with a main sail and a jib."""
    hull, cloth = any_color(rng), mix(any_color(rng), WHITE, rng.choice((0.9, 0.85, 0.3)))
    tall, deck = rng.uniform(0.95, 1.15), rng.uniform(0.42, 0.5)
    bow = rng.uniform(0.68, 0.82)
    shapes = [
        Shape(((0.0, -tall), (0.0, deck)), mix(wood(rng), INK, 0.2), width=0.045),
        Shape(
            (*curve((-0.03, -tall + 0.06), (-0.26, -tall * 0.3), (-0.6, deck - 0.14)), (-0.03, deck - 0.1)),
            cloth,
        ),
        Shape(
            (
                *curve((0.04, -tall + 0.14), (0.22, -tall * 0.2), (bow - 0.1, deck - 0.08)),
                (0.06, deck - 0.12),
            ),
            mix(cloth, hull, rng.choice((0.0, 0.35, 0.8))),
        ),
        Shape(
            (
                *curve((-0.72, deck), (0.0, deck + 0.05), (bow, deck - 0.05)),
                *curve((bow * 0.72, deck + 0.3), (0.1, deck + 0.36), (-0.58, deck + 0.32)),
            ),
            hull,
        ),
        Shape(curve((-0.69, deck + 0.08), (0.0, deck + 0.13), (bow * 0.93, deck + 0.04)), WHITE, width=0.045),
    ]
    if rng.random() < 0.5:
        for t in (0.3, 0.5, 0.7):
            y = -tall + (tall + deck) * t
            shapes.append(Shape(((-0.04, y), (-0.6 * t, y - 0.02)), mix(cloth, INK, 0.25), width=0.016))
    if rng.random() < 0.6:
        flag = any_color(rng)
        shapes.append(Shape(((0.0, -tall), (-0.2, -tall + 0.06), (0.0, -tall + 0.13)), flag))
    return shapes


def canoe(rng: Random) -> list[Shape]:
    """A long open boat with raised ends, seats inside and a paddle across."""
    hull = wood(rng) if rng.random() < 0.4 else any_color(rng)
    inside, rim = mix(hull, INK, 0.55), mix(hull, WHITE, 0.45)
    rise, depth, belly = rng.uniform(0.2, 0.34), rng.uniform(0.06, 0.13), rng.uniform(0.28, 0.4)
    far = curve((-1.0, -rise), (-0.6, -depth * 0.4), (0.0, -depth), (0.6, -depth * 0.4), (1.0, -rise))
    near = curve((1.0, -rise), (0.6, depth * 0.75), (0.0, depth), (-0.6, depth * 0.75), (-1.0, -rise))
    keel = curve(
        (-1.0, -rise),
        (-0.97, belly * 0.35),
        (-0.5, belly * 0.95),
        (0.0, belly),
        (0.5, belly * 0.95),
        (0.97, belly * 0.35),
        (1.0, -rise),
    )
    shapes = [Shape(far + near, inside)]
    seats = [
        Shape(((x, -depth * 0.9), (x + 0.05, depth * 0.9)), mix(wood(rng), WHITE, 0.2), width=0.07)
        for x in (-0.42, 0.0, 0.4)
    ]
    shapes += seats + [
        Shape((*keel, *near), hull),
        Shape(near, rim, width=0.04),
        Shape(far, rim, width=0.022),
    ]
    if rng.random() < 0.5:
        shapes.append(Shape(curve((-0.8, 0.1), (0.0, depth + 0.12), (0.8, 0.1)), WHITE, width=0.035))
    if rng.random() < 0.75:
        shaft = wood(rng)
        x, lean = rng.uniform(-0.25, 0.3), rng.uniform(0.3, 0.6)
        shapes += [
            Shape(((x - lean * 0.6, -0.55), (x + lean, 0.3)), shaft, width=0.035),
            Shape(ellipse(x + lean, 0.36, 0.075, 0.14), mix(shaft, WHITE, 0.25)),
        ]
    return shapes


def airplane(rng: Random) -> list[Shape]:
    """A passenger jet from the side and a little below."""
    paint, stripe = mix(any_color(rng), WHITE, rng.choice((0.85, 0.7, 0.2))), any_color(rng)
    steel = mix(paint, INK, 0.3)
    fat = rng.uniform(0.13, 0.17)
    span = rng.uniform(0.45, 0.65)
    shapes = [
        Shape(
            ((-0.08, -0.03), (0.14, -0.03), (-0.1, -span * 0.85), (-0.26, -span * 0.85)),
            mix(steel, INK, 0.15),
        ),
        Shape(((-0.98, -0.52), (-0.78, -0.52), (-0.5, -0.06), (-0.84, -0.04)), stripe),
        Shape(
            curve(
                (-0.98, -0.1),
                (-0.6, -fat),
                (0.5, -fat),
                (0.85, -fat * 0.62),
                (1.0, 0.02),
                (0.82, fat * 0.75),
                (0.45, fat),
                (-0.35, fat),
                closed=True,
            ),
            paint,
        ),
        Shape(curve((-0.9, 0.0), (0.0, 0.05), (0.92, 0.06)), stripe, width=rng.uniform(0.03, 0.06)),
        Shape(((-0.95, -0.06), (-0.7, -0.06), (-0.92, 0.14), (-1.06, 0.14)), steel),
        Shape(((-0.12, 0.05), (0.22, 0.05), (-0.3, span), (-0.44, span)), steel),
        Shape(ellipse(0.02, 0.25, 0.13, 0.065), mix(stripe, INK, 0.2)),
        Shape(
            ((0.78, -fat * 0.62), (0.9, -fat * 0.36), (0.82, -fat * 0.2), (0.72, -fat * 0.3)), (70, 100, 130)
        ),
    ]
    shapes += [Shape(ellipse(-0.5 + 0.125 * k, -fat * 0.4, 0.026, 0.03), (72, 92, 120)) for k in range(9)]
    return shapes


def helicopter(rng: Random) -> list[Shape]:
    """A round cabin with a tail boom, a wide rotor and skids."""
    paint = any_color(rng)
    dark, glass = mix(paint, INK, 0.4), mix((120, 185, 215), WHITE, rng.uniform(0.0, 0.5))
    cabin, high = rng.uniform(0.4, 0.5), rng.uniform(0.29, 0.36)
    tilt = rng.uniform(-0.06, 0.06)
    shapes = [
        Shape(((-0.15, -0.16), (-1.0, -0.14), (-1.02, -0.04), (-0.1, 0.16)), dark),
        Shape(((-1.08, -0.4), (-0.94, -0.38), (-0.84, -0.06), (-1.0, -0.04)), paint),
        Shape(ellipse(-1.0, -0.12, 0.17, 0.17), (210, 214, 218), alpha=130),
        Shape(((-1.1, -0.24), (-0.9, 0.0)), INK, width=0.035),
        Shape(((-0.02, -0.5), (0.14, -0.5), (0.2, -0.2), (-0.1, -0.2)), dark),
        Shape(ellipse(0.12, 0.0, cabin, high), paint),
        Shape((*ellipse(0.16, -0.02, cabin * 0.84, high * 0.8, -75, 20), (0.2, 0.06)), glass),
        Shape(rectangle(-0.16, -0.13, 0.1, 0.05), glass),
        Shape(((-0.08, high * 0.85), (-0.14, 0.5)), INK, width=0.035),
        Shape(((0.3, high * 0.85), (0.36, 0.5)), INK, width=0.035),
        Shape(curve((-0.4, 0.5), (0.45, 0.5), (0.6, 0.42)), INK, width=0.05),
        Shape(((-0.92, -0.54 - tilt), (1.02, -0.54 + tilt)), INK, width=0.05),
        Shape(ellipse(0.05, -0.54, 0.98, 0.055), (220, 224, 230), alpha=90),
        Shape(ellipse(0.05, -0.55, 0.09, 0.06), dark),
    ]
    if rng.random() < 0.5:
        shapes.append(Shape(curve((-0.7, 0.02), (-0.1, 0.14), (0.5, 0.17)), WHITE, width=0.06))
    return shapes


# ---------------------------------------------------------------- things that are none of the categories
def mushroom(rng: Random) -> list[Shape]:
    """A cap with spots on a pale stem."""
    cap = hsv(rng.uniform(-0.04, 0.1), rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.9))
    shapes = [
        Shape(
            curve((-0.2, -0.1), (-0.16, 0.4), (-0.3, 0.9), (0.3, 0.9), (0.16, 0.4), (0.2, -0.1)),
            (238, 226, 200),
        ),
        Shape((*ellipse(0, 0.0, 0.85, 0.75, 180, 360), *ellipse(0, 0.0, 0.85, 0.16, 0, 180)), cap),
    ]
    spots = ((-0.45, -0.25), (0.0, -0.5), (0.42, -0.2), (-0.05, -0.15))
    return shapes + [Shape(ellipse(x, y, 0.13, 0.1), WHITE) for x, y in spots]


def umbrella(rng: Random) -> list[Shape]:
    """An open umbrella with a crook."""
    a, b = any_color(rng), any_color(rng)
    shapes = [
        Shape(curve((0, -0.7), (0, 0.3), (0.0, 0.75), (0.12, 0.9), (0.25, 0.75)), (90, 60, 45), width=0.06)
    ]
    for k in range(6):
        left, right = -0.95 + k * 1.9 / 6, -0.95 + (k + 1) * 1.9 / 6
        panel = (
            *curve((left, 0.05), (left * 0.75, -0.45), (0, -0.8)),
            *curve((0, -0.8), (right * 0.75, -0.45), (right, 0.05)),
            ((left + right) / 2, -0.08),
        )
        shapes.append(Shape(panel, a if k % 2 else b))
    return shapes


def fish(rng: Random) -> list[Shape]:
    """A striped fish."""
    body = any_color(rng)
    fin = mix(body, INK, 0.3)
    shapes = [
        Shape(((-0.5, 0), (-1.0, -0.42), (-0.85, 0), (-1.0, 0.42)), fin),
        Shape(curve((-0.1, -0.35), (0.1, -0.65), (0.4, -0.3)), fin),
        Shape(
            curve((-0.6, 0), (0.1, -0.42), (0.7, -0.2), (0.95, 0.02), (0.7, 0.2), (0.1, 0.42), closed=True),
            body,
        ),
    ]
    shapes += [
        Shape(curve((x, -0.3), (x - 0.07, 0.0), (x, 0.3)), mix(body, WHITE, 0.6), width=0.08)
        for x in (-0.1, 0.15, 0.4)
    ]
    return [
        *shapes,
        Shape(ellipse(0.72, -0.06, 0.07, 0.07), WHITE),
        Shape(ellipse(0.73, -0.06, 0.035, 0.035), INK),
    ]


def house(rng: Random) -> list[Shape]:
    """A cottage with a roof, a door and two windows."""
    wall, roof = mix(any_color(rng), WHITE, 0.5), any_color(rng)
    shapes = [
        Shape(rectangle(0.35, -0.9, 0.52, -0.3), mix(roof, INK, 0.4)),
        Shape(rectangle(-0.7, -0.2, 0.7, 0.8), wall),
        Shape(((-0.9, -0.15), (0, -0.9), (0.9, -0.15)), roof),
        Shape(rectangle(-0.14, 0.25, 0.14, 0.8), mix(roof, INK, 0.3)),
    ]
    return shapes + [Shape(rectangle(x, 0.05, x + 0.26, 0.35), (160, 205, 225)) for x in (-0.55, 0.3)]


def cactus(rng: Random) -> list[Shape]:
    """A cactus in a clay pot."""
    green = hsv(rng.uniform(0.28, 0.42), rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.7))
    arms = [
        Shape(curve((0, 0.1), (-0.4, 0.1), (-0.45, -0.3)), green, width=0.2),
        Shape(curve((0, -0.05), (0.38, -0.05), (0.42, -0.5)), green, width=0.2),
        Shape(((0, 0.5), (0, -0.75)), green, width=0.34),
        Shape(ellipse(0, -0.75, 0.17, 0.14), green),
    ]
    ribs = [Shape(((x, -0.75), (x, 0.45)), mix(green, WHITE, 0.4), width=0.02) for x in (-0.07, 0.07)]
    return [*arms, *ribs, Shape(((-0.35, 0.4), (0.35, 0.4), (0.25, 0.95), (-0.25, 0.95)), (190, 105, 70))]


def lamp(rng: Random) -> list[Shape]:
    """A table lamp."""
    shade = mix(any_color(rng), WHITE, 0.3)
    return [
        Shape(((0, -0.2), (0, 0.8)), INK, width=0.07),
        Shape(ellipse(0, 0.85, 0.4, 0.1), INK),
        Shape(((-0.3, -0.9), (0.3, -0.9), (0.6, -0.1), (-0.6, -0.1)), shade),
        Shape(rectangle(-0.6, -0.16, 0.6, -0.08), mix(shade, INK, 0.3)),
    ]


def tree(rng: Random) -> list[Shape]:
    """A trunk under a round crown."""
    green = hsv(rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.7))
    shapes = [Shape(((-0.1, 0.2), (0.1, 0.2), (0.16, 1.0), (-0.16, 1.0)), wood(rng))]
    crown = ((-0.35, 0.0, 0.42), (0.35, 0.0, 0.42), (0.0, -0.4, 0.5), (0.0, 0.1, 0.4))
    return shapes + [Shape(ellipse(x, y, r, r), mix(green, WHITE, rng.uniform(0, 0.2))) for x, y, r in crown]


def ball(rng: Random) -> list[Shape]:
    """A beach ball."""
    a, b = any_color(rng), any_color(rng)
    shapes = [Shape(ellipse(0, 0, 0.9, 0.9), a)]
    shapes += [Shape((*ellipse(0, 0, 0.9, 0.9, k * 120, k * 120 + 60), (0.0, 0.0)), b) for k in range(3)]
    return [*shapes, Shape(ellipse(0, 0, 0.15, 0.15), WHITE)]


def books(rng: Random) -> list[Shape]:
    """A few books side by side."""
    shapes: list[Shape] = []
    x = -0.9
    while x < 0.7:
        wide, top, cover = rng.uniform(0.2, 0.36), rng.uniform(-0.9, -0.5), any_color(rng)
        shapes.append(Shape(rectangle(x, top, x + wide, 0.8), cover))
        shapes.append(Shape(rectangle(x, top + 0.2, x + wide, top + 0.3), mix(cover, WHITE, 0.6)))
        x += wide + 0.02
    return shapes


def clock(rng: Random) -> list[Shape]:
    """A wall clock."""
    rim = any_color(rng)
    ticks = [
        Shape(ellipse(0.65 * math.cos(a), 0.65 * math.sin(a), 0.05, 0.05), INK)
        for a in (k * math.pi / 6 for k in range(12))
    ]
    a, b = rng.uniform(0, 6.28), rng.uniform(0, 6.28)
    hands = [
        Shape(((0, 0), (0.55 * math.cos(a), 0.55 * math.sin(a))), INK, width=0.05),
        Shape(((0, 0), (0.36 * math.cos(b), 0.36 * math.sin(b))), INK, width=0.08),
    ]
    return [Shape(ellipse(0, 0, 0.9, 0.9), rim), Shape(ellipse(0, 0, 0.76, 0.76), WHITE), *ticks, *hands]


def bar_chart(rng: Random) -> list[Shape]:
    """Bars over an axis."""
    color = any_color(rng)
    shapes = [Shape(rectangle(-1.0, -0.8, 1.0, 0.85), WHITE)]
    shapes += [Shape(((-0.85, y), (0.9, y)), (205, 205, 205), width=0.015) for y in (-0.5, -0.1, 0.3)]
    for k in range(6):
        x = -0.8 + k * 0.28
        shapes.append(Shape(rectangle(x, rng.uniform(-0.65, 0.5), x + 0.19, 0.7), mix(color, WHITE, 0.1 * k)))
    return [*shapes, Shape(((-0.88, -0.7), (-0.88, 0.7), (0.92, 0.7)), INK, width=0.03)]


def pie_chart(rng: Random) -> list[Shape]:
    """A pie chart with its legend."""
    shapes = [Shape(rectangle(-1.0, -0.8, 1.1, 0.85), WHITE)]
    start, hue = -90.0, rng.random()
    for k, share in enumerate((0.4, 0.27, 0.2, 0.13)):
        color = hsv(hue + k * 0.21, 0.55, 0.88)
        shapes.append(
            Shape((*ellipse(-0.2, 0.02, 0.68, 0.68, start, start + share * 360), (-0.2, 0.02)), color)
        )
        shapes.append(Shape(rectangle(0.65, -0.5 + k * 0.28, 0.8, -0.36 + k * 0.28), color))
        shapes.append(
            Shape(((0.86, -0.43 + k * 0.28), (1.02, -0.43 + k * 0.28)), (120, 120, 120), width=0.05)
        )
        start += share * 360
    return shapes


Painter = Callable[[Random], list[Shape]]
CATEGORIES: dict[str, Painter] = {
    "teapot": teapot,
    "mug": mug,
    "guitar": guitar,
    "violin": violin,
    "sailboat": sailboat,
    "canoe": canoe,
    "airplane": airplane,
    "helicopter": helicopter,
}
SIBLING: dict[str, str] = {
    a: b
    for pair in (("teapot", "mug"), ("guitar", "violin"), ("sailboat", "canoe"), ("airplane", "helicopter"))
    for a, b in (pair, pair[::-1])
}
LEANING = {"guitar", "violin"}  # these lie and stand at any angle
STRANGE: dict[str, Painter] = {
    "mushroom": mushroom,
    "umbrella": umbrella,
    "fish": fish,
    "house": house,
    "cactus": cactus,
    "clock": clock,
    "bar chart": bar_chart,
    "pie chart": pie_chart,
}
CLUTTER: tuple[Painter, ...] = (tree, ball, books, lamp, cactus, house, clock, umbrella, mushroom, fish)


# ---------------------------------------------------------------- placing and painting
def place(
    shapes: Sequence[Shape], angle: float, mirror: bool, box_side: float
) -> tuple[list[Shape], float, float]:
    """Turn by `angle` degrees, mirror, and scale so that the longer side of the bounding box is `box_side` pixels.

    Returns the shapes with their bounding box at (0, 0), and its width and height.
    """
    turn = math.radians(angle)
    cos, sin, flip = math.cos(turn), math.sin(turn), -1.0 if mirror else 1.0
    turned = [
        replace(s, points=tuple((flip * x * cos - y * sin, flip * x * sin + y * cos) for x, y in s.points))
        for s in shapes
    ]
    x0 = min(x - s.width / 2 for s in turned for x, _ in s.points)
    y0 = min(y - s.width / 2 for s in turned for _, y in s.points)
    x1 = max(x + s.width / 2 for s in turned for x, _ in s.points)
    y1 = max(y + s.width / 2 for s in turned for _, y in s.points)
    scale = box_side / max(x1 - x0, y1 - y0)
    return scaled(turned, scale, -x0 * scale, -y0 * scale), (x1 - x0) * scale, (y1 - y0) * scale


def scaled(shapes: Sequence[Shape], scale: float, dx: float, dy: float) -> list[Shape]:
    """Every shape times `scale`, then moved."""
    return [
        replace(s, points=tuple((x * scale + dx, y * scale + dy) for x, y in s.points), width=s.width * scale)
        for s in shapes
    ]


def paint(canvas: Image.Image, shapes: Sequence[Shape], style: Style) -> None:
    """Draw shapes (in canvas pixels) onto an RGB canvas."""
    frame = _frame(canvas.size, shapes)
    if frame[0] >= frame[2] or frame[1] >= frame[3]:
        return  # wholly outside
    shapes = scaled(shapes, 1.0, -frame[0], -frame[1])
    below = canvas.crop(frame)
    coverage = Image.new("L", below.size, 0)
    pen = ImageDraw.Draw(coverage)
    for shape in shapes:
        _draw(pen, shape, 255)
    if style.shadow:
        offset = max(2, below.height // 24)
        shadow = Image.new("L", below.size, 0)
        shadow.paste(coverage, (offset, offset))
        shadow = shadow.filter(ImageFilter.GaussianBlur(offset * 0.8))
        below.paste((25, 22, 35), mask=shadow.point([value * 2 // 5 for value in range(256)]))
    layer = below.copy()
    pen = ImageDraw.Draw(layer)
    for shape in shapes:
        if shape.alpha == 255:
            _draw(pen, shape, shape.color)
        else:
            mask = Image.new("L", layer.size, 0)
            _draw(ImageDraw.Draw(mask), shape, shape.alpha)
            layer.paste(shape.color, mask=mask)
    if style.shading:
        ramp = Image.linear_gradient("L").resize(layer.size)
        low = ramp.point([max(0, round((value - 110) * style.shading)) for value in range(256)])
        high = ramp.point([max(0, round((110 - value) * style.shading * 0.8)) for value in range(256)])
        layer.paste((20, 18, 40), mask=low)
        layer.paste((255, 252, 240), mask=high)
    below.paste(layer, mask=coverage)
    if style.ink:
        pen = ImageDraw.Draw(below)
        for shape in shapes:
            if not shape.width and shape.alpha == 255:
                pen.line(
                    [*shape.points, shape.points[0]], fill=INK, width=max(1, round(style.ink)), joint="curve"
                )
    canvas.paste(below, frame[:2])


def _frame(size: tuple[int, int], shapes: Sequence[Shape]) -> tuple[int, int, int, int]:
    """The part of the canvas that the shapes and their shadow can touch."""
    xs = [x + side * s.width for s in shapes for x, _ in s.points for side in (-0.5, 0.5)]
    ys = [y + side * s.width for s in shapes for _, y in s.points for side in (-0.5, 0.5)]
    margin = 4 + (max(ys) - min(ys)) / 10
    left, top = max(0, math.floor(min(xs) - 4)), max(0, math.floor(min(ys) - 4))
    return left, top, min(size[0], math.ceil(max(xs) + margin)), min(size[1], math.ceil(max(ys) + margin))


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, fill: int | Color) -> None:
    if shape.width:
        width = max(1, round(shape.width))
        pen.line(shape.points, fill=fill, width=width, joint="curve")
        for x, y in (shape.points[0], shape.points[-1]):  # round ends
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)
    else:
        pen.polygon(shape.points, fill=fill)


def any_style(rng: Random, side: int) -> Style:
    """One of the ways to paint, for a picture `side` canvas pixels wide."""
    ink = rng.choice((0.0, 0.0, side * 0.004, side * 0.007))
    return Style(shading=rng.choice((0.0, 0.45, 0.7, 0.9)), ink=ink, shadow=ink == 0 or rng.random() < 0.4)


# ---------------------------------------------------------------- scenes
def gradient(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    """A vertical run from one colour to another."""
    return Image.composite(
        Image.new("RGB", size, bottom), Image.new("RGB", size, top), Image.linear_gradient("L").resize(size)
    )


def shore(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Sky, sun, sea and sand."""
    w, h = size
    hue = rng.choice((0.55, 0.58, 0.04, 0.08))
    scene = gradient(size, hsv(hue, 0.55, 0.85), hsv(hue + 0.02, 0.15, 0.97))
    pen = ImageDraw.Draw(scene)
    horizon, beach = h * rng.uniform(0.4, 0.62), h * rng.uniform(0.75, 0.95)
    x, y, r = w * rng.uniform(0.1, 0.9), h * rng.uniform(0.1, 0.35), w * rng.uniform(0.05, 0.1)
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 236, 170))
    sea = hsv(rng.uniform(0.48, 0.6), rng.uniform(0.4, 0.7), rng.uniform(0.5, 0.8))
    pen.rectangle((0, horizon, w, h), fill=sea)
    for _ in range(26):
        x, y, long = rng.uniform(0, w), rng.uniform(horizon, h), w * rng.uniform(0.03, 0.12)
        pen.line((x, y, x + long, y), fill=mix(sea, WHITE, 0.35), width=max(1, h // 160))
    edge = [(w * k / 12, beach + h * 0.03 * math.sin(k + x)) for k in range(13)]
    pen.polygon([*edge, (w, h), (0, h)], fill=hsv(0.11, 0.35, rng.uniform(0.75, 0.92)))
    return scene


def hills(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Rows of hills under a sky."""
    w, h = size
    scene = gradient(size, hsv(rng.uniform(0.5, 0.65), 0.5, 0.9), hsv(rng.uniform(0.05, 0.15), 0.2, 0.98))
    pen = ImageDraw.Draw(scene)
    hue = rng.uniform(0.15, 0.45)
    for layer in range(4):
        base, phase, wave = h * (0.45 + 0.14 * layer), rng.uniform(0, 6), rng.uniform(1.5, 4.5)
        ridge = [(w * k / 30, base + h * 0.07 * math.sin(phase + wave * k / 7)) for k in range(31)]
        pen.polygon(
            [*ridge, (w, h), (0, h)], fill=hsv(hue + 0.02 * layer, 0.3 + 0.1 * layer, 0.8 - 0.12 * layer)
        )
    return scene


def room(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Wallpaper above a table."""
    w, h = size
    wall = mix(any_color(rng), WHITE, 0.55)
    scene = Image.new("RGB", size, wall)
    pen = ImageDraw.Draw(scene)
    step, pattern = w / rng.randint(6, 12), rng.randrange(3)
    if pattern == 0:
        for k in range(14):
            pen.rectangle((k * step, 0, k * step + step * 0.5, h), fill=mix(wall, WHITE, 0.3))
    elif pattern == 1:
        for k in range(14):
            for m in range(14):
                x, y, r = (k + 0.5 * (m % 2)) * step, m * step, step * 0.14
                pen.ellipse((x - r, y - r, x + r, y + r), fill=mix(wall, INK, 0.2))
    table, top = wood(rng), h * rng.uniform(0.6, 0.8)
    pen.rectangle((0, top, w, h), fill=table)
    for _ in range(7):
        y = rng.uniform(top, h)
        pen.line(
            (0, y, w, y + rng.uniform(-0.02, 0.02) * h), fill=mix(table, INK, 0.18), width=max(1, h // 150)
        )
    x, y = w * rng.uniform(0.02, 0.6), h * rng.uniform(0.02, 0.2)
    pen.rectangle((x, y, x + w * 0.3, y + h * 0.3), fill=mix(table, INK, 0.3))
    scene.paste(
        gradient((round(w * 0.24), round(h * 0.24)), any_color(rng), any_color(rng)),
        (round(x + w * 0.03), round(y + h * 0.03)),
    )
    return scene


def city(rng: Random, size: tuple[int, int]) -> Image.Image:
    """A skyline with lit windows."""
    w, h = size
    night = rng.random() < 0.5
    scene = (
        gradient(size, (24, 28, 62), (110, 80, 120))
        if night
        else gradient(size, (150, 190, 220), (235, 225, 210))
    )
    pen = ImageDraw.Draw(scene)
    for row in range(2):
        x = -w * 0.05
        while x < w:
            wide, top = w * rng.uniform(0.1, 0.2), h * rng.uniform(0.2 + 0.25 * row, 0.6 + 0.2 * row)
            block = mix(any_color(rng, (0.1, 0.35)), (30, 34, 60), 0.75 if night else 0.35)
            pen.rectangle((x, top, x + wide, h), fill=block)
            lit = (250, 214, 130) if night else mix(block, WHITE, 0.4)
            for k in range(3):
                for m in range(12):
                    if rng.random() < 0.55:
                        left, up = x + wide * (0.14 + 0.28 * k), top + h * (0.03 + 0.06 * m)
                        pen.rectangle((left, up, left + wide * 0.15, up + h * 0.03), fill=lit)
            x += wide * rng.uniform(1.0, 1.25)
    return scene


def poster(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Overlapping translucent shapes."""
    w, h = size
    scene = gradient(size, mix(any_color(rng), WHITE, 0.4), mix(any_color(rng), WHITE, 0.4))
    for _ in range(14):
        layer = Image.new("L", size, 0)
        pen = ImageDraw.Draw(layer)
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), w * rng.uniform(0.06, 0.28)
        corners = rng.choice((3, 4, 5, 40))
        start = rng.uniform(0, 6.28)
        ring = [
            (x + r * math.cos(start + 6.2832 * k / corners), y + r * math.sin(start + 6.2832 * k / corners))
            for k in range(corners)
        ]
        pen.polygon(ring, fill=rng.randint(70, 170))
        scene.paste(any_color(rng), mask=layer)
    return scene


def bokeh(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Out-of-focus lights."""
    w, h = size
    hue = rng.random()
    scene = gradient(size, hsv(hue, 0.6, 0.25), hsv(hue + 0.1, 0.5, 0.5))
    for _ in range(24):
        layer = Image.new("L", size, 0)
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), w * rng.uniform(0.03, 0.1)
        ImageDraw.Draw(layer).ellipse((x - r, y - r, x + r, y + r), fill=rng.randint(60, 150))
        scene.paste(hsv(hue + rng.uniform(-0.15, 0.25), 0.45, 1.0), mask=layer)
    return scene.filter(ImageFilter.GaussianBlur(w / 120))


def tiles(rng: Random, size: tuple[int, int]) -> Image.Image:
    """A floor of checks or bricks."""
    a = mix(any_color(rng), WHITE, 0.35)
    b = mix(a, rng.choice((INK, WHITE)), 0.3)
    scene = Image.new("RGB", size, b)
    pen = ImageDraw.Draw(scene)
    step, bricks = size[0] / rng.randint(5, 10), rng.random() < 0.5
    for row in range(-1, 14):
        for column in range(-1, 14):
            x, y = column * step, row * step * (0.5 if bricks else 1.0)
            if bricks:
                shade = mix(a, INK, rng.uniform(0.0, 0.15))
                pen.rectangle(
                    (x + (row % 2) * step / 2, y, x + (row % 2) * step / 2 + step * 0.94, y + step * 0.44),
                    fill=shade,
                )
            elif (row + column) % 2:
                pen.rectangle((x, y, x + step, y + step), fill=a)
    return scene


SCENES = (shore, hills, room, city, poster, bokeh, tiles)


def grain(rng: Random, image: Image.Image, strength: float) -> Image.Image:
    """Soft uneven light over the whole picture."""
    cells = 12
    noise = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return Image.blend(
        image, ImageChops.soft_light(image, Image.merge("RGB", (noise, noise, noise))), strength
    )


def clutter(
    rng: Random, canvas: Image.Image, painters: Sequence[Painter], count: int, largest: float
) -> None:
    """Small other things anywhere on the canvas, also half outside it."""
    w, h = canvas.size
    for _ in range(count):
        side = w * rng.uniform(largest * 0.45, largest)
        shapes, _, _ = place(rng.choice(painters)(rng), rng.uniform(-25, 25), rng.random() < 0.5, side)
        paint(
            canvas,
            scaled(shapes, 1.0, rng.uniform(-0.08, 0.9) * w, rng.uniform(-0.05, 0.9) * h),
            any_style(rng, w),
        )


def picture(
    rng: Random, painter: Painter, size: tuple[int, int], tilt: float
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """One object, its longer side half to three quarters of the picture's shorter one, somewhere on a cluttered scene.

    Returns:
        The RGB picture of `size`, and the object's box x0 y0 x1 y1 in its pixels, half-open.
    """
    big = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    canvas = rng.choice(SCENES)(rng, big)
    clutter(rng, canvas, CLUTTER, rng.randint(1, 5), 0.24)
    if rng.random() < 0.1:
        clutter(rng, canvas, tuple(CATEGORIES.values()), 1, 0.2)
    haze = mix(
        any_color(rng), rng.choice((WHITE, WHITE, INK)), 0.8
    )  # what is far away is paler, and less sharp
    canvas = Image.blend(canvas, Image.new("RGB", big, haze), rng.uniform(0.08, 0.38))
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.choice((0.0, big[0] / 300, big[0] / 160))))
    side = min(big) * rng.uniform(0.56, 0.78)
    shapes, wide, high = place(painter(rng), rng.uniform(-tilt, tilt), rng.random() < 0.5, side)
    x, y = rng.uniform(0, big[0] - wide), rng.uniform(0, big[1] - high)
    paint(canvas, scaled(shapes, 1.0, x, y), any_style(rng, big[0]))
    canvas = grain(rng, canvas, rng.uniform(0.1, 0.45))
    box = (
        math.floor(x / OVERSAMPLING),
        math.floor(y / OVERSAMPLING),
        min(size[0], math.ceil((x + wide) / OVERSAMPLING)),
        min(size[1], math.ceil((y + high) / OVERSAMPLING)),
    )
    return canvas.resize(size, Image.Resampling.BOX), box


def texture(rng: Random, size: tuple[int, int]) -> Image.Image:
    """A scene with clutter and nothing in it to name."""
    canvas = rng.choice((poster, tiles, bokeh))(rng, (size[0] * 2, size[1] * 2))
    return grain(rng, canvas, 0.5).resize(size, Image.Resampling.BOX)
