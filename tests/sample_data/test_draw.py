"""The sample crawl: what is planted, that a seed fixes it, and that its check tells good runs from bad ones."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageChops

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
COMMITTED = SAMPLE_DATA / "crawl"


def load(name: str) -> ModuleType:
    """A script of sample_data/ as a module."""
    sys.path.insert(0, str(SAMPLE_DATA))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SAMPLE_DATA))


draw = load("draw")
pictures = load("pictures")
check = load("check")

SMALL = draw.Plan(clean=2, siblings=1, strangers=0, off_topic=3, exact=1, exact_across=1, near=6, broken=1)


@pytest.fixture(scope="module")
def small_crawl() -> list[Any]:
    return draw.draw_crawl(5, SMALL)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- drawing
def test_a_seed_fixes_every_byte(small_crawl: list[Any], tmp_path: Path) -> None:
    def digest(entries: list[Any], out: Path) -> dict[str, str]:
        draw.write_crawl(entries, out / "crawl", out / "truth.csv")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert digest(small_crawl, tmp_path / "a") == digest(draw.draw_crawl(5, SMALL), tmp_path / "b")


def test_another_seed_draws_another_crawl() -> None:
    names = []
    for seed in (0, 1):
        rng = Random(f"plan {seed}")
        entries = draw.plan_entries(rng, SMALL)
        draw.name_files(rng, entries)
        names.append({entry.name for entry in entries})
    assert not names[0] & names[1]


def test_boxes_hold_the_object_and_stay_inside(small_crawl: list[Any]) -> None:
    for entry in small_crawl:
        if entry.box is None:
            continue
        with Image.open(io.BytesIO(entry.content)) as image:
            x0, y0, x1, y1 = entry.box
            assert 0 <= x0 < x1 <= image.width
            assert 0 <= y0 < y1 <= image.height
            assert 0.3 < max(x1 - x0, y1 - y0) / min(image.size) < 0.85


def test_nothing_of_an_object_is_painted_outside_its_box() -> None:
    for name, painter in pictures.CATEGORIES.items():
        shapes, wide, high = pictures.place(painter(Random(name)), 20, True, 150)
        canvas = Image.new("RGB", (220, 220), (9, 9, 9))
        style = pictures.Style(shading=0.0, ink=0.0, shadow=False)
        pictures.paint(canvas, pictures.scaled(shapes, 1.0, 30, 40), style)
        touched = ImageChops.difference(canvas, Image.new("RGB", canvas.size, (9, 9, 9))).getbbox()
        assert touched is not None
        slack = 3  # a line's joints and a polygon's edge pixels
        assert touched[0] >= 30 - slack
        assert touched[1] >= 40 - slack
        assert touched[2] <= 30 + wide + slack
        assert touched[3] <= 40 + high + slack


def test_place_turns_and_scales_by_hand() -> None:
    square = [pictures.Shape(((0, 0), (2, 0), (2, 1), (0, 1)), (0, 0, 0))]
    placed, wide, high = pictures.place(square, 90, False, 10)
    assert (wide, high) == pytest.approx((5, 10))
    flat = [value for point in placed[0].points for value in point]
    assert flat == pytest.approx([5, 0, 5, 10, 0, 10, 0, 0])


def test_copies_are_copies(small_crawl: list[Any]) -> None:
    for entry in small_crawl:
        if entry.kind == draw.EXACT:
            assert entry.content == entry.of.content
            assert entry.name != entry.of.name
        if entry.kind == draw.NEAR:
            assert entry.content != entry.of.content
            assert entry.query == entry.of.query
        if entry.of is not None:
            assert entry.of.kind == draw.CLEAN


def test_mirrored_copy_mirrors_the_box(small_crawl: list[Any]) -> None:
    of = next(entry for entry in small_crawl if entry.kind == draw.CLEAN)
    with Image.open(io.BytesIO(of.content)) as image:
        width, height = image.size
    x0, y0, x1, y1 = of.box
    assert draw.change(Random(0), of, "mirrored")[1] == (width - x1, y0, width - x0, y1)
    content, box = draw.change(Random(0), of, "turned")
    assert box == (y0, width - x1, y1, width - x0)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (height, width)
    with pytest.raises(ValueError, match="no such change: melted"):
        draw.change(Random(0), of, "melted")


def test_a_full_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SystemExit, match="2"):
        draw.main([str(tmp_path)])
    assert "already holds something" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# ---------------------------------------------------------------- the committed crawl
def test_committed_tables_are_what_seed_0_draws() -> None:
    rng = Random("plan 0")
    entries = draw.plan_entries(rng, draw.Plan())
    draw.name_files(rng, entries)
    draw.rank_entries(rng, entries)
    for entry in entries:
        draw.describe(rng, entry)
    drawn = {entry.path: entry for entry in entries}
    manifest, truth = rows_of(COMMITTED / "manifest.csv"), rows_of(SAMPLE_DATA / "truth.csv")
    assert len(drawn) == len(manifest) == len(truth) == len(entries)
    for row in manifest:
        entry = drawn[row["path"]]
        assert row == {column: str(getattr(entry, column)) for column in draw.MANIFEST_COLUMNS}
    for row in truth:
        entry = drawn[row["path"]]
        of = entry.of.path if entry.of else ""
        assert (row["true_category"], row["kind"], row["of"]) == (entry.true_category, entry.kind, of)


def test_committed_files_are_what_the_truth_says() -> None:
    truth = {row["path"]: row for row in rows_of(SAMPLE_DATA / "truth.csv")}
    assert {f"images/{path.name}" for path in (COMMITTED / "images").iterdir()} == {
        path for path, row in truth.items() if row["kind"] != "missing"
    }
    sizes = 0
    for path, row in truth.items():
        if row["kind"] == "missing":
            continue
        content = (COMMITTED / path).read_bytes()
        sizes += len(content)
        if row["kind"] == "empty":
            assert content == b""
        elif row["kind"] == "html":
            assert content.startswith(b"<!DOCTYPE html>")
        elif row["kind"] == "truncated":
            with pytest.raises(OSError, match="truncated"):
                Image.open(io.BytesIO(content)).load()
        elif row["kind"] == "exact-duplicate":
            assert content == (COMMITTED / row["of"]).read_bytes()
        else:
            Image.open(io.BytesIO(content)).load()
    assert sizes < 6_000_000
    counts = Counter(row["kind"] for row in truth.values())
    usable = sum(counts[kind] for kind in ("clean", *check.WRONG))
    assert 0.2 <= sum(counts[kind] for kind in check.WRONG) / usable <= 0.25


# ---------------------------------------------------------------- the check
def found_for(truth: list[dict[str, str]], dropped: set[str], queries: dict[str, str] | None = None) -> Any:
    """A run that sees every file and every copy, and drops `dropped` for a low score."""
    labels = queries or {}
    groups = {row["path"]: row["of"] or row["path"] for row in truth}
    numbers = {origin: number for number, origin in enumerate(sorted(set(groups.values())))}
    status = check.STATUS_OF
    return check.Found(
        images={
            row["path"]: {
                "status": status.get(row["kind"], "ok"),
                "category": labels.get(row["path"], row["true_category"]),
            }
            for row in truth
        },
        decisions={
            row["path"]: {
                "keep": row["path"] not in dropped,
                "reason": "low_score" if row["path"] in dropped else "ok",
                "clean_score": 0.1 if row["path"] in dropped else 0.9,
            }
            for row in truth
        },
        group={path: numbers[origin] for path, origin in groups.items()},
    )


def committed_truth() -> list[dict[str, str]]:
    return rows_of(SAMPLE_DATA / "truth.csv")


def test_check_passes_a_perfect_run_and_fails_a_blind_one() -> None:
    truth = committed_truth()
    wrong = {row["path"] for row in truth if row["kind"] in check.WRONG}
    perfect, blind = found_for(truth, wrong), found_for(truth, set())
    assert all(line.met is not False for line in check.compare(truth, perfect))
    assert [line.what for line in check.compare(truth, blind) if line.met is False] == ["wrong labels"]
    assert check.best_at_bar(truth, perfect) == 1.0
    assert check.best_at_bar(truth, blind) == 0.0
    assert check.unplanted_merges(truth, perfect) == 0


def test_check_fails_a_run_that_drops_clean_images() -> None:
    truth = committed_truth()
    clean = [row["path"] for row in truth if row["kind"] == "clean"]
    wrong = {row["path"] for row in truth if row["kind"] in check.WRONG}
    lines = check.compare(truth, found_for(truth, wrong | set(clean[: len(clean) // 10 + 1])))
    assert [line.what for line in lines if line.met is False] == ["clean images dropped"]


def test_being_dropped_as_a_copy_neither_finds_nor_loses() -> None:
    copy = {"keep": False, "reason": "duplicate"}
    assert not check.doubted(copy)
    assert not check.lost(copy)
    broken = {"keep": False, "reason": "bad_file:truncated"}
    assert not check.doubted(broken)
    assert check.lost(broken)
    assert check.doubted({"keep": False, "reason": "label_conflict"})


def test_an_original_with_a_copy_under_another_label_is_not_counted_as_clean() -> None:
    rows = (("a", "clean", ""), ("b", "clean", ""), ("c", "exact-duplicate", "a"))
    truth = [{"path": path, "true_category": "mug", "kind": kind, "of": of} for path, kind, of in rows]
    assert check.judged_clean(truth, found_for(truth, set())) == {"a", "b"}
    assert check.judged_clean(truth, found_for(truth, set(), {"c": "canoe"})) == {"b"}


def test_check_counts_pictures_joined_by_mistake() -> None:
    truth = [{"path": path, "true_category": "mug", "kind": "clean", "of": ""} for path in "abc"]
    found = found_for(truth, set())
    joined = check.Found(found.images, found.decisions, {"a": 0, "b": 0})
    assert check.unplanted_merges(truth, joined) == 1


def test_check_says_what_it_cannot_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        check.main([str(tmp_path / "none"), str(SAMPLE_DATA / "truth.csv")])
    assert "cannot compare" in capsys.readouterr().err


def write_run(run: RunDir, truth: list[dict[str, str]], dropped: dict[str, set[str]]) -> None:
    """The three artefacts that check.py reads, as a chain would have left them."""
    empty: dict[str, Any] = {"string": "", "int64": 0, "int32": 0, "bool": False, "float64": 0.0}

    def write(artefact: str, table: schema.Table, rows: list[dict[str, Any]]) -> None:
        columns = {
            column.name: [
                row.get(column.name, None if column.nullable else empty[column.type]) for row in rows
            ]
            for column in table.columns
        }
        tables.write_part(run, artefact, 0, columns, table)

    found = found_for(truth, set())
    ids = {row["path"]: f"id-{number}" for number, row in enumerate(truth)}
    images = [{"image_id": ids[path], "source_key": path, **row} for path, row in found.images.items()]
    write(schema.IMAGES, schema.IMAGES_TABLE, images)
    groups = [{"image_id": ids[path], "group": group, "kind": "near"} for path, group in found.group.items()]
    write(schema.DUPLICATES, schema.DUPLICATES_TABLE, groups)
    for name, paths in dropped.items():
        decided = found_for(truth, paths).decisions
        rows = [{"image_id": ids[path], **row} for path, row in decided.items()]
        write(schema.decisions_path(name), schema.DECISIONS_TABLE, rows)


@pytest.mark.parametrize(
    ("finds", "weaker_finds", "code", "says"),
    [
        (1.0, 0.3, 0, "All bars are met"),
        (0.7, 0.3, 1, "A bar is missed"),
        (1.0, 0.9, 1, "this crawl is too easy"),
    ],
)
def test_exit_code_follows_the_bars(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    finds: float,
    weaker_finds: float,
    code: int,
    says: str,
) -> None:
    truth = committed_truth()
    wrong = [row["path"] for row in truth if row["kind"] in check.WRONG]
    dropped = {
        "default": set(wrong[: round(finds * len(wrong))]),
        check.RANK_TEXT: set(wrong[: round(weaker_finds * len(wrong))]),
    }
    write_run(RunDir(str(tmp_path / "run")), truth, dropped)
    assert check.main([str(tmp_path / "run"), str(SAMPLE_DATA / "truth.csv")]) == code
    assert says in capsys.readouterr().out
