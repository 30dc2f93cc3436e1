"""Draw the sample crawl: pictures of eight categories, as a search engine might return them, with planted faults.

    python sample_data/draw.py OUT --seed 0

writes OUT/manifest.csv and OUT/images/ (what a crawler leaves behind) and, beside OUT, truth.csv (what webclean must
not see). The same seed and the same Pillow give the same bytes; the two tables depend on the seed alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pictures
from PIL import Image, ImageEnhance

CLEAN = "clean"
WRONG_SIBLING = "wrong-sibling"
WRONG_STRANGER = "wrong-stranger"
OFF_TOPIC = "off-topic"
EXACT = "exact-duplicate"
NEAR = "near-duplicate"
BROKEN = ("truncated", "html", "empty", "missing")

MANIFEST_COLUMNS = ("path", "query", "rank", "title", "tags", "source", "page_url")
TRUTH_COLUMNS = ("path", "true_category", "kind", "of", "how", "box")
CHANGES = ("recompressed", "half size", "brighter", "mirrored", "cropped", "turned")
SIZES = (
    (256, 192),
    (192, 256),
    (224, 224),
    (288, 216),
    (216, 288),
    (320, 240),
    (240, 180),
    (200, 200),
    (240, 320),
)
TEXTURE = "texture"

# The words around a picture: what its page says when it says anything. Siblings share words.
WORDS = {
    "teapot": ("tea", "brew", "kettle", "porcelain", "spout", "kitchen", "infusion", "afternoon tea"),
    "mug": ("coffee", "cup", "espresso", "breakfast", "kitchen", "cocoa", "hot drink", "porcelain"),
    "guitar": ("strings", "chords", "fretboard", "acoustic", "music", "folk song", "strumming", "instrument"),
    "violin": ("strings", "bow", "fiddle", "orchestra", "music", "concerto", "luthier", "instrument"),
    "sailboat": ("sailing", "regatta", "yacht", "mast", "wind", "boat", "harbour", "jib"),
    "canoe": ("paddle", "river", "kayak", "lake", "rapids", "boat", "portage", "paddling"),
    "airplane": ("jet", "airliner", "runway", "airport", "flight", "pilot", "aviation", "wings"),
    "helicopter": ("rotor", "chopper", "helipad", "rescue", "hover", "pilot", "aviation", "cockpit"),
    "mushroom": ("fungus", "forest", "toadstool", "autumn"),
    "umbrella": ("rain", "parasol", "weather", "storm"),
    "fish": ("aquarium", "reef", "fins", "underwater"),
    "house": ("cottage", "roof", "real estate", "village"),
    "cactus": ("succulent", "desert", "plant", "pot"),
    "clock": ("time", "dial", "hours", "wall"),
    "bar chart": ("statistics", "report", "data", "quarterly"),
    "pie chart": ("statistics", "shares", "data", "survey"),
    TEXTURE: ("background", "wallpaper", "pattern", "seamless"),
}
PHRASES = (
    "{a} and {b} illustration",
    "drawing with {a} and {b}",
    "my {a} picture, {b}",
    "{a} poster | {b}",
    "print: {b}, {a}",
)
IDLE_TITLES = (
    "Illustration no. {n}",
    "Untitled {n}",
    "IMG_{n}",
    "Wall art print {n}",
    "New in the shop, {n}",
    "Picture of the day {n}",
)
IDLE_TAGS = ("art", "colorful", "drawing", "illustration", "print", "design", "poster", "shop")
SITES = ("pictures.example", "drawings.example", "prints.example", "gallery.example")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything is drawn; per category where it says so."""

    clean: int = 44  # per category
    siblings: int = 7  # per category
    strangers: int = 4  # per category
    off_topic: int = 20
    exact: int = 10  # under the same category
    exact_across: int = 4  # under another category
    near: int = 30
    broken: int = 5  # of each kind


@dataclass(slots=True)
class Entry:
    """One line of the crawl with what is true about it."""

    query: str
    true_category: str  # "" where it shows none of the categories
    kind: str
    shows: str  # a category, a strange thing, or a texture
    name: str = ""
    of: Entry | None = None
    how: str = ""
    box: tuple[int, int, int, int] | None = None
    content: bytes | None = field(default=None, repr=False)
    source: str = ""
    rank: int = 0
    title: str = ""
    tags: str = ""
    page_url: str = ""

    @property
    def path(self) -> str:
        """Where the file stands, relative to the crawl."""
        return f"images/{self.name}"


def plan_entries(rng: Random, plan: Plan) -> list[Entry]:
    """Every line of the crawl, with neither pictures nor text yet."""
    names = list(pictures.CATEGORIES)
    clean = [Entry(name, name, CLEAN, name) for name in names for _ in range(plan.clean)]
    entries = list(clean)
    for query in names:
        sibling = pictures.SIBLING[query]
        strangers = [name for name in names if name not in (query, sibling)]
        entries += [Entry(query, sibling, WRONG_SIBLING, sibling) for _ in range(plan.siblings)]
        for _ in range(plan.strangers):
            true = rng.choice(strangers)
            entries.append(Entry(query, true, WRONG_STRANGER, true))
    strange = [*pictures.STRANGE, TEXTURE, TEXTURE]
    entries += [
        Entry(names[k % len(names)], "", OFF_TOPIC, strange[k % len(strange)]) for k in range(plan.off_topic)
    ]

    originals = rng.sample(clean, plan.exact + plan.exact_across + plan.near)
    for k, of in enumerate(originals[: plan.exact + plan.exact_across]):
        query = of.query if k < plan.exact else rng.choice([name for name in names if name != of.query])
        entries.append(Entry(query, of.true_category, EXACT, of.shows, of=of))
    for k, of in enumerate(originals[plan.exact + plan.exact_across :]):
        entries.append(
            Entry(of.query, of.true_category, NEAR, of.shows, of=of, how=CHANGES[k % len(CHANGES)])
        )
    for kind in BROKEN:
        for _ in range(plan.broken):
            query = rng.choice(names)
            entries.append(Entry(query, query, kind, query))
    return entries


# ---------------------------------------------------------------- what surrounds a picture
def name_files(rng: Random, entries: list[Entry]) -> None:
    """Names that tell nothing; one in twenty is a PNG, one in twenty a WebP."""
    for entry in entries:
        ending = ".jpg" if entry.kind in BROKEN else rng.choices((".jpg", ".png", ".webp"), (18, 1, 1))[0]
        if entry.of is not None:
            ending = Path(entry.of.name).suffix if entry.kind == EXACT else ".jpg"
        entry.name = f"{rng.getrandbits(48):012x}{ending}"


def rank_entries(rng: Random, entries: list[Entry]) -> None:
    """Two search engines rank each query from 1; wrong results tend to stand lower, with much overlap."""
    for entry in entries:
        entry.source = rng.choice(("websearch", "photosite"))
    for key in sorted({(entry.query, entry.source) for entry in entries}):
        members = [entry for entry in entries if (entry.query, entry.source) == key]
        depth = {id(e): rng.random() + (0.2 if e.true_category != e.query else 0.0) for e in members}
        for rank, entry in enumerate(sorted(members, key=lambda e: depth[id(e)]), start=1):
            entry.rank = rank


def describe(rng: Random, entry: Entry) -> None:
    """Title, tags and page address: the truth, an echo of the query, idle talk, or nothing.

    Which of these an image gets does not depend on whether its label is right.
    """
    number = rng.randrange(1000, 9999)
    draw = rng.random()
    a, b, c = rng.sample(WORDS[entry.shows], 3)
    if draw < 0.36:
        said = entry.shows if rng.random() < 0.45 else a
        entry.title = rng.choice(PHRASES).format(a=said, b=b)
        entry.tags = ";".join((b, c, rng.choice(IDLE_TAGS)))
    elif draw < 0.62:
        entry.title = (
            f"{entry.query} {rng.choice(('stock picture', 'clip art', 'image', 'drawing'))} {number}"
        )
        entry.tags = ";".join((entry.query, *rng.sample(IDLE_TAGS, 2)))
    elif draw < 0.84:
        entry.title = rng.choice(IDLE_TITLES).format(n=number)
        entry.tags = ";".join(rng.sample(IDLE_TAGS, 2)) if rng.random() < 0.6 else ""
    word = rng.choices((entry.shows, entry.query, "item"), (2, 3, 5))[0].replace(" ", "-")
    entry.page_url = f"https://{rng.choice(SITES)}/{rng.randint(2011, 2024)}/{word}-{number}.html"


# ---------------------------------------------------------------- the files
def draw_entry(rng: Random, entry: Entry) -> Image.Image:
    """The picture of an entry that is no copy; sets its box."""
    size = rng.choice(SIZES)
    if entry.shows == TEXTURE:
        return pictures.texture(rng, size)
    painter = pictures.CATEGORIES.get(entry.shows) or pictures.STRANGE[entry.shows]
    image, entry.box = pictures.picture(rng, painter, size, 180 if entry.shows in pictures.LEANING else 14)
    return image


def encode(rng: Random, image: Image.Image, name: str, quality: tuple[int, int] = (68, 88)) -> bytes:
    """File bytes in the format of the name's ending."""
    out = io.BytesIO()
    q = rng.randint(*quality)
    match Path(name).suffix:
        case ".png":  # 128 colours, as screenshots and clip art often have
            image.quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        case ".webp":
            image.save(out, "WEBP", quality=q)
        case _:
            image.save(out, "JPEG", quality=q, optimize=True)
    return out.getvalue()


def change(rng: Random, of: Entry, how: str) -> tuple[bytes, tuple[int, int, int, int]]:
    """A near duplicate of `of`'s file, as sites make them, and the object's box in it."""
    assert of.content is not None
    assert of.box is not None
    image = Image.open(io.BytesIO(of.content)).convert("RGB")
    (w, h), (x0, y0, x1, y1) = image.size, of.box
    quality = (70, 85)
    box = of.box
    if how == "recompressed":
        quality = (40, 60)
    elif how == "half size":
        image = image.resize((w // 2, h // 2), Image.Resampling.LANCZOS)
        box = (x0 // 2, y0 // 2, min(w // 2, -(-x1 // 2)), min(h // 2, -(-y1 // 2)))
    elif how == "brighter":
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(1.06, 1.15))
    elif how == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (w - x1, y0, w - x0, y1)
    elif how == "cropped":
        left, top, right, low = (rng.uniform(0.005, 0.015) for _ in range(4))
        edge = (round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - low)))
        image = image.crop(edge)
        box = (
            max(0, x0 - edge[0]),
            max(0, y0 - edge[1]),
            min(edge[2], x1) - edge[0],
            min(edge[3], y1) - edge[1],
        )
    elif how == "turned":
        image = image.transpose(Image.Transpose.ROTATE_90)
        box = (y0, w - x1, y1, w - x0)
    else:
        raise ValueError(f"no such change: {how}")
    return encode(rng, image, ".jpg", quality), box


HTML = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head>\n<body><h1>Hotlinking is not allowed</h1></body></html>\n"


def fill(seed: int, index: int, entry: Entry) -> None:
    """Set the entry's file content (None: there is no file). Originals come before their copies."""
    rng = Random(f"picture {seed} {index}")
    if entry.kind == "missing":
        return
    if entry.kind == "empty":
        entry.content = b""
    elif entry.kind == "html":
        entry.content = HTML
    elif entry.kind == EXACT:
        assert entry.of is not None
        entry.content, entry.box = entry.of.content, entry.of.box
    elif entry.kind == NEAR:
        assert entry.of is not None
        entry.content, entry.box = change(rng, entry.of, entry.how)
    else:
        entry.content = encode(rng, draw_entry(rng, entry), entry.name)
        if entry.kind == "truncated":
            entry.box = None
            entry.content = entry.content[: round(len(entry.content) * rng.uniform(0.35, 0.75))]


def draw_crawl(seed: int, plan: Plan | None = None) -> list[Entry]:
    """The whole crawl in memory, in the order of the manifest."""
    rng = Random(f"plan {seed}")
    entries = plan_entries(rng, plan or Plan())
    name_files(rng, entries)
    rank_entries(rng, entries)
    for entry in entries:
        describe(rng, entry)
    for index, entry in enumerate(entries):
        fill(seed, index, entry)
    return sorted(entries, key=lambda entry: entry.name)


def write_crawl(entries: list[Entry], out: Path, truth: Path) -> None:
    """Write out/manifest.csv, out/images/ and the truth table."""
    (out / "images").mkdir(parents=True)
    for entry in entries:
        if entry.content is not None:
            (out / entry.path).write_bytes(entry.content)
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows([getattr(entry, column) for column in MANIFEST_COLUMNS] for entry in entries)
    with truth.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for entry in entries:
            box = " ".join(str(side) for side in entry.box) if entry.box else ""
            of = entry.of.path if entry.of else ""
            writer.writerow((entry.path, entry.true_category, entry.kind, of, entry.how, box))


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 2 where OUT cannot take a crawl."""
    parser = argparse.ArgumentParser(description="Draw the sample crawl and its truth table.")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for manifest.csv and images/; must not hold anything"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed draws another crawl (default 0: the committed one)"
    )
    parser.add_argument(
        "--truth", type=Path, help="where the truth table goes (default: truth.csv beside OUT)"
    )
    options = parser.parse_args(arguments)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"{options.out} already holds something; name a new folder")
    truth = options.truth or options.out.parent / "truth.csv"
    entries = draw_crawl(options.seed)
    write_crawl(entries, options.out, truth)
    files = sum(entry.content is not None for entry in entries)
    print(f"{len(entries)} lines, {files} files: {options.out / 'manifest.csv'}, truth in {truth}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
