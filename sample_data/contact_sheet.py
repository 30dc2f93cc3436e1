"""Draw the README's picture: what one run made of the sample crawl, as a contact sheet.

    python sample_data/contact_sheet.py RUN OUT.png

Rows: kept, dropped as a wrong label, dropped because no category fits, duplicates beside the image that is kept
for them, files that hold no image. Everything comes from the run (`images`, `duplicates`, `decisions/default`),
nothing from the truth. Which images are shown is fixed by their scores, not chosen by hand: the first two rows show,
for each category, the one whose clean_score is the middle one of its kind.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from webclean import schema
from webclean.errors import WebcleanError
from webclean.io import decode, tables
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir

COLUMNS = 8
SIDE = 128  # px of a picture
GAP = 10
TEXT = 13
CAPTION = 3 * (TEXT + 3)
HEADING = 30
BADGE = 44  # height of a box that stands for a file without a picture
INK, PALE, PAPER = (25, 25, 30), (105, 105, 115), (255, 255, 255)
GREEN, RED, GREY = (35, 130, 60), (190, 45, 40), (120, 120, 130)
SURE = 0.5  # from here on a suggested category counts as one that fits

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the sheet; exit 2 where RUN cannot be drawn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run folder of the sample crawl")
    parser.add_argument("out", type=Path, help="PNG to write")
    given = parser.parse_args(arguments)
    try:
        rows = read_rows(RunDir(given.run))
        sheet = draw(rows)
    except WebcleanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    given.out.parent.mkdir(parents=True, exist_ok=True)
    # 256 colours keep drawn pictures as they are and the file small.
    sheet.quantize(256, dither=Image.Dither.NONE).save(given.out, optimize=True)
    return 0


def read_rows(run: RunDir) -> list[Row]:
    """One row an image: columns of `images` and `decisions`, and `keeper_id` where it is in a group."""
    images = tables.read(
        run,
        schema.IMAGES,
        schema.IMAGES_TABLE,
        [schema.IMAGE_ID, schema.URI, schema.CATEGORY, schema.STATUS],
    ).to_pylist()
    decided = tables.read(run, schema.decisions_path("default"), schema.DECISIONS_TABLE).to_pylist()
    grouped = tables.read(
        run, schema.DUPLICATES, schema.DUPLICATES_TABLE, [schema.IMAGE_ID, schema.GROUP]
    ).to_pylist()
    group_of = {row[schema.IMAGE_ID]: row[schema.GROUP] for row in grouped}
    decision_of = {row[schema.IMAGE_ID]: row for row in decided}
    return [
        row | decision_of[row[schema.IMAGE_ID]] | {schema.GROUP: group_of.get(row[schema.IMAGE_ID])}
        for row in images
    ]


def draw(rows: list[Row]) -> Image.Image:
    """The whole sheet, RGB."""
    reasons = Counter(row[schema.REASON].split(":")[0] for row in rows)
    low = [row for row in rows if row[schema.REASON] == schema.REASON_LOW_SCORE]
    wrong = [row for row in low if (row[schema.SUGGESTED_PROBABILITY] or 0.0) >= SURE]
    nothing = [row for row in low if (row[schema.SUGGESTED_PROBABILITY] or 0.0) < SURE]
    nothing.sort(key=lambda row: (row[schema.SUGGESTED_PROBABILITY] or 0.0, row[schema.IMAGE_ID]))
    kept = [row for row in rows if row[schema.KEEP]]
    bad = Counter(row[schema.STATUS] for row in rows if row[schema.STATUS] != schema.STATUS_OK)
    blocks = [
        _block(f"kept: {len(kept)} of {len(rows)}", GREEN, [_cell(r, GREEN) for r in middle(kept)]),
        _block(
            f"dropped, wrong label: {len(wrong)} (label -> suggested category)",
            RED,
            [_cell(r, RED) for r in middle(wrong)],
        ),
        _block(
            f"dropped, no category fits: {len(nothing)} (off topic, or too unlike the rest to tell)",
            RED,
            [_cell(r, RED) for r in nothing[:COLUMNS]],
        ),
        _block(
            f"dropped, duplicates: {reasons[schema.REASON_DUPLICATE]} (each beside the image kept for it)",
            GREY,
            [_cell(r, GREEN if r[schema.KEEP] else GREY) for r in pairs(rows)],
        ),
        _block(
            f"dropped, files that hold no image: {sum(bad.values())}",
            GREY,
            [_badge(f"{status}: {num} files", len(bad)) for status, num in sorted(bad.items())],
        ),
    ]
    sheet = Image.new("RGB", (_width(), sum(block.height for block in blocks) + GAP), PAPER)
    top = GAP
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet


def middle(rows: list[Row]) -> list[Row]:
    """Of each category the row of the middle clean_score, in the order of the categories."""
    found = []
    for category in sorted({row[schema.CATEGORY] for row in rows}):
        own = [row for row in rows if row[schema.CATEGORY] == category]
        own.sort(key=lambda row: (row[schema.CLEAN_SCORE], row[schema.IMAGE_ID]))
        found.append(own[len(own) // 2])
    return found[:COLUMNS]


def pairs(rows: list[Row]) -> list[Row]:
    """Kept image and dropped copy, side by side, one pair from every category until the row is full."""
    kept_of = {row[schema.GROUP]: row for row in rows if row[schema.KEEP] and row[schema.GROUP] is not None}
    copies = [r for r in rows if r[schema.REASON] == schema.REASON_DUPLICATE and r[schema.GROUP] in kept_of]
    found: list[Row] = []
    for category in sorted({row[schema.CATEGORY] for row in copies}):
        # Copies whose bytes differ tell more than exact ones: the first half of an image_id is the content.
        own = [r for r in copies if r[schema.CATEGORY] == category]
        near = [r for r in own if _content(r) != _content(kept_of[r[schema.GROUP]])] or own
        copy = min(near, key=lambda r: str(r[schema.IMAGE_ID]))
        found += [kept_of[copy[schema.GROUP]], copy]
    return found[:COLUMNS]


def _content(row: Row) -> str:
    return str(row[schema.IMAGE_ID]).partition("-")[0]


def _width() -> int:
    return COLUMNS * SIDE + (COLUMNS + 1) * GAP


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _block(title: str, colour: tuple[int, int, int], cells: list[Image.Image]) -> Image.Image:
    block = Image.new("RGB", (_width(), HEADING + max(cell.height for cell in cells) + GAP), PAPER)
    ImageDraw.Draw(block).text((GAP, 4), title, colour, _font(18))
    left = GAP
    for cell in cells:
        block.paste(cell, (left, HEADING))
        left += cell.width + GAP
    return block


def _cell(row: Row, colour: tuple[int, int, int]) -> Image.Image:
    cell = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
    picture = decode.open_rgb(uris.read_bytes(row[schema.URI]))
    shown = ImageOps.contain(picture, (SIDE - 6, SIDE - 6), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(cell)
    pen.rectangle((0, 0, SIDE - 1, SIDE - 1), (246, 246, 248), colour, 2)
    cell.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
    lines = [(row[schema.CATEGORY], INK)]
    if row[schema.REASON] == schema.REASON_LOW_SCORE:
        fits = (row[schema.SUGGESTED_PROBABILITY] or 0.0) >= SURE
        lines.append((f"-> {row[schema.SUGGESTED_CATEGORY] if fits else 'none'}", colour))
    elif row[schema.REASON] == schema.REASON_DUPLICATE:
        lines.append(("copy", colour))
    lines.append((f"clean_score {row[schema.CLEAN_SCORE]:.3f}", PALE))
    for number, (text, ink) in enumerate(lines):
        pen.text((2, SIDE + 2 + number * (TEXT + 2)), text, ink, _font(TEXT))
    return cell


def _badge(text: str, num: int) -> Image.Image:
    width = (_width() - (num + 1) * GAP) // num
    badge = Image.new("RGB", (width, BADGE), (246, 246, 248))
    pen = ImageDraw.Draw(badge)
    pen.rectangle((0, 0, width - 1, BADGE - 1), None, GREY, 2)
    pen.text((width / 2, BADGE / 2), text, INK, _font(15), anchor="mm")
    return badge


if __name__ == "__main__":
    sys.exit(main())
