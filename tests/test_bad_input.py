"""1,407 odd and broken files of three public test suites: each is a row with the status that it should have.

The files stand in `bad-input` of the folder that WEBCLEAN_DATA names: Pillow's own test images, PngSuite
(png and bmp) and photos in every EXIF orientation. `bad_input_expected.csv` was made by hand from what each
file is meant to be, not from what webclean says of it:

- The name, the folder, the suites' pages and Pillow's own tests (what they open, load, or expect to fail) say
  what most files are; `file`, hexdump, ffmpeg and libvips were asked where these do not.
- `ok`: the first picture is there, whole; odd densities, sizes, EXIF, colour profiles or later frames do not count.
- `not_image`: texts, fonts, palettes, tables, archives, documents, weather data; and six files of formats without a
  signature whose headers make no sense (`hopper.wal`, `hopper.gd`, `invalid.spider`, `negative_size.ppm`,
  `no_cursors.cur`, `p_8.tga`): nothing in them says that they are images.
- `unsupported`: drawings, HEIF, and variants that Pillow has no decoder for, by its own tests or the suite's page.
- `too_large`: more than 100 million pixels in a valid header, or a text that unpacks to megabytes.
- `truncated`: what the first picture needs lies, by its own lengths and offsets, beyond the last byte, or the end
  mark is missing (of the many that fuzzers made, this was worked out from their headers); `corrupt`: all else
  that is broken.
- `sidecar`: tables and texts by their ending, which are counted and are no rows.

One file is known to look broken and to be called ok: the scan of `hopper_bad_exif.jpg` is damaged in the middle,
which libjpeg conceals and Pillow does not pass on.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from PIL import features

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir

DATA = os.environ.get("WEBCLEAN_DATA")
EXPECTED = Path(__file__).with_name("bad_input_expected.csv")
SIDECAR = "sidecar"
CODECS = ("avif", "webp", "jpg_2000", "libtiff")  # Pillow's wheels have them all
MEMORY_CAP_MB = 1200  # of one process: three copies of 100 million pixels

_RUN = """
import pathlib, resource, sys
from webclean.cli.app import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    # The kernel's own mark: what getrusage says of this program may be that of the one it was started from.
    own = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024, file=sys.stderr)
    sys.exit(code)
"""


def expected() -> dict[str, str]:
    """Path -> status."""
    with EXPECTED.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["status"] for row in csv.DictReader(file)}


def test_the_table_has_each_file_once_and_knows_its_words():
    with EXPECTED.open(encoding="utf-8", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == sorted(set(paths))
    assert set(expected().values()) <= {*schema.STATUSES, SIDECAR}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="WEBCLEAN_DATA is not set")
@pytest.mark.skipif(not all(map(features.check, CODECS)), reason=f"Pillow lacks one of {', '.join(CODECS)}")
def test_every_file_ends_with_the_status_it_should_have(tmp_path, fresh_python):
    source = Path(str(DATA)) / "bad-input"
    want = expected()
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert files == set(want)

    # Time runs on a busy machine as on an idle one: none of the files hangs, and some take seconds.
    run = tmp_path / "run"
    flags = ("--format", "folder", "--workers", "1", "--decode-seconds", "600", "--json")
    done = fresh_python(_RUN, "ingest", str(source), str(run), *flags, timeout=600)
    assert done.returncode == 0, done.stderr
    ingested = json.loads(done.stdout)[0]

    rows = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    got = {row[schema.SOURCE_KEY]: row[schema.STATUS] for row in rows}
    got |= {path: SIDECAR for path, status in want.items() if status == SIDECAR and path not in got}
    assert {path: (got.get(path), status) for path, status in want.items() if got.get(path) != status} == {}
    assert ingested["result"]["skipped"] == {"sidecars": sum(status == SIDECAR for status in want.values())}
    assert ingested["total"] == len(rows) == len(want) - ingested["result"]["skipped"]["sidecars"]
    assert all((row[schema.ERROR] is None) == (row[schema.STATUS] == schema.STATUS_OK) for row in rows)
    assert int(done.stderr.split()[-1]) < MEMORY_CAP_MB
