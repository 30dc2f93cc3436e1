"""Quality flags through the command line: from pictures to prevalence, and to an export without them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from exported_run import Row, write_run
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from webclean import schema
from webclean.cli.app import main
from webclean.config import DedupConfig, IngestConfig, QualityConfig
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages.base import Context, execute
from webclean.stages.chain import BY_NAME


def photo(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Colours and textures at every scale, as in a photo."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
                size, Image.Resampling.BICUBIC
            )
        ).astype(float)
        for n in (4, 9, 20, 60)
    ]
    return Image.fromarray((sum(layers) / len(layers)).astype(np.uint8))


def page() -> Image.Image:
    picture = Image.new("RGB", (600, 400), "white")
    draw = ImageDraw.Draw(picture)
    for y in range(10, 380, 22):
        draw.text((15, y), "not found, the page is gone " * 2, fill="black", font=ImageFont.load_default(14))
    return picture


def logo() -> Image.Image:
    picture = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(picture).ellipse((60, 60, 240, 240), fill=(200, 20, 60))
    ImageDraw.Draw(picture).rectangle((120, 130, 180, 170), fill=(20, 20, 120))
    return picture


def night(seed: int) -> Image.Image:
    return Image.fromarray((np.asarray(photo(seed)) // 12).astype(np.uint8))


def data(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92)
    return out.getvalue()


EXPECTED = {
    "cat/plain.jpg": set(),
    "cat/plain2.jpg": set(),
    "cat/icon.jpg": {"too_small"},
    "cat/banner.jpg": {"odd_aspect"},
    "cat/soft.jpg": {"blurry"},
    "cat/night.jpg": {"dark"},
    "cat/gray.jpg": {"gray"},
    "cat/page.jpg": {"graphic", "gray"},
    "cat/logo.jpg": {"graphic"},
    "cat/white.jpg": {"light", "low_information", "gray"},
    "dog/gone.jpg": {"placeholder"},
    "fox/gone.jpg": {"placeholder"},
    "owl/gone.jpg": {"placeholder"},
    "dog/twice.jpg": set(),
    "fox/twice.jpg": set(),
}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crawl")
    files = {
        "cat/plain.jpg": data(photo(1)),
        "cat/plain2.jpg": data(photo(2)),
        "cat/icon.jpg": data(photo(3, (40, 28))),
        "cat/banner.jpg": data(photo(4, (640, 160))),
        "cat/soft.jpg": data(photo(5).filter(ImageFilter.GaussianBlur(4))),
        "cat/night.jpg": data(night(6)),
        "cat/gray.jpg": data(photo(7).convert("L")),
        "cat/page.jpg": data(page()),
        "cat/logo.jpg": data(logo()),
        "cat/white.jpg": data(Image.new("RGB", (99, 99), "white")),
        "cat/torn.jpg": data(photo(8))[:900],
    }
    files |= {f"{name}/gone.jpg": data(photo(9)) for name in ("dog", "fox", "owl")}
    files |= {f"{name}/twice.jpg": data(photo(10)) for name in ("dog", "fox")}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def flags_in(run: RunDir) -> dict[str, set[str] | None]:
    keys = tables.read(run, schema.IMAGES, schema.IMAGES_TABLE, [schema.SOURCE_KEY]).column(0).to_pylist()
    rows = tables.read(run, schema.QUALITY, schema.QUALITY_TABLE).to_pylist()
    return {
        key: None if row[schema.DARK] is None else {flag for flag in schema.FLAGS if row[flag]}
        for key, row in zip(keys, rows, strict=True)
    }


def test_each_flaw_is_flagged_and_shown(crawl, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["ingest", str(crawl), run, "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert flags_in(RunDir(run)) == {**EXPECTED, "cat/torn.jpg": None}
    lines = {line.split()[0]: line.split()[1:4] for line in shown.splitlines() if line.split()}
    assert lines["placeholder"] == ["3", "20.0", "%"]
    assert lines["too_small"] == ["1", "6.7", "%"]
    assert lines["quality"] == ["16", "15", "1"]
    assert "shorter side below 32 pixels" in shown
    assert f"webclean export {run} OUT --drop-flag NAME" in shown
    assert main(["ingest", str(crawl), run, "--workers", "0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)[2]["result"]
    assert result["usable"] == 15
    assert result["flags"] == {
        name: sum(name in found for found in EXPECTED.values()) for name in schema.FLAGS
    }


def test_thresholds_are_flags_and_only_quality_runs_again(crawl, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["ingest", str(crawl), run, "--workers", "0"]) == 0
    capsys.readouterr()
    flags = ("--small-side", "0", "--placeholder-queries", "2", "--aspect-limit", "9", "--json")
    assert main(["ingest", str(crawl), run, "--workers", "0", *flags]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["skipped"] for outcome in outcomes] == [True, True, False]
    counts = outcomes[2]["result"]["flags"]
    assert (counts["too_small"], counts["odd_aspect"], counts["placeholder"]) == (0, 0, 5)


def test_no_flag_at_all_is_said(tmp_path, capsys):
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/1.jpg").write_bytes(data(photo(1)))
    assert main(["ingest", str(tmp_path / "crawl"), str(tmp_path / "run"), "--workers", "0"]) == 0
    assert "No image has a quality flag." in capsys.readouterr().out


def test_a_killed_stage_goes_on_with_the_same_bytes(crawl, tmp_path, monkeypatch, killed_at_second_part):
    monkeypatch.setattr(tables, "PART_ROWS", 4)

    def run(name: str) -> Context:
        context = Context(run=RunDir(str(tmp_path / name)), engine=InlineEngine())
        context.run.make()
        execute(BY_NAME["ingest"], IngestConfig(source=str(crawl)), context)
        execute(BY_NAME["dedup"], DedupConfig(), context)
        return context

    whole, killed = run("whole"), run("killed")
    done = execute(BY_NAME["quality"], QualityConfig(), whole)
    with killed_at_second_part():
        execute(BY_NAME["quality"], QualityConfig(), killed)
    again = execute(BY_NAME["quality"], QualityConfig(), killed)
    assert again.result == done.result
    for name in tables.part_names(whole.run, schema.QUALITY):
        assert killed.run.read_bytes(f"quality/{name}") == whole.run.read_bytes(f"quality/{name}")


# ---------------------------------------------------------------- export
def flagged_run(tmp_path: Path, flags: dict[str, set[str] | None]) -> str:
    """A decided run whose images have these flags; None for a file without pixels."""
    rows = [Row(key, key[0], status="ok" if found is not None else "corrupt") for key, found in flags.items()]
    context = write_run(tmp_path, rows)
    ids = (
        tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE, [schema.IMAGE_ID]).column(0).to_pylist()
    )
    columns = {
        name: [None if found is None else name in found for _, found in sorted(flags.items())]
        for name in schema.FLAGS
    }
    tables.write_part(context.run, schema.QUALITY, 0, {schema.IMAGE_ID: ids} | columns, schema.QUALITY_TABLE)
    record = context.run.read_json(f"{schema.IMAGES}/{schema.RUN_JSON}")
    context.run.write_json(f"{schema.QUALITY}/{schema.RUN_JSON}", record | {"digest": schema.QUALITY})
    return context.run.url


FLAGS = {
    "a/1.jpg": {"blurry", "dark"}, "a/2.jpg": {"dark"}, "a/3.jpg": {"gray"}, "b/1.jpg": set(), "b/2.jpg": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "exported", "dropped"),
    [
        ((), 4, {"bad_file:corrupt": 1}),
        (("--drop-flag", "dark"), 2, {"bad_file:corrupt": 1, "policy:flag_dark": 2}),
        (
            ("--drop-flag", "dark,blurry"),
            2,
            {"bad_file:corrupt": 1, "policy:flag_blurry": 1, "policy:flag_dark": 1},
        ),
        (("--drop-flag", "too_small", "--mode", "weighted"), 4, {"bad_file:corrupt": 1}),
        (("--drop-flag", "gray", "--mode", "weighted"), 3, {"bad_file:corrupt": 1, "policy:flag_gray": 1}),
    ],
)
def test_export_drops_what_is_flagged(asked, exported, dropped, tmp_path, capsys):
    run, out = flagged_run(tmp_path, FLAGS), tmp_path / "out"
    assert main(["export", run, str(out), "--workers", "0", "--json", *asked]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["exported"], told["dropped"]) == (exported, dropped)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"]["dropped"] == dropped
    asked_flags = asked[1].split(",") if asked else []
    assert manifest["policy"]["drop_flags"] == [flag for flag in schema.FLAGS if flag in asked_flags]


def test_an_unknown_flag_and_a_run_without_flags(tmp_path, capsys):
    run = flagged_run(tmp_path, FLAGS)
    assert main(["export", run, str(tmp_path / "out"), "--drop-flag", "ugly"]) == 2
    assert "drop_flag must be one of too_small, odd_aspect" in capsys.readouterr().err
    RunDir(run).remove(schema.QUALITY)
    assert main(["export", run, str(tmp_path / "out"), "--drop-flag", "dark"]) == 3
    told = capsys.readouterr().err
    assert "quality has not been made" in told
    assert f"webclean ingest SOURCE {run}" in told
    assert main(["export", run, str(tmp_path / "out")]) == 0
