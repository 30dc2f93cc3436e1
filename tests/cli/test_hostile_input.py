"""What a crawl may throw at ingest, through the command line: names, links, limits, hangs, crashes, a full disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from exported_run import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from webclean import schema
from webclean.cli.app import main
from webclean.io import tables
from webclean.io.readers import folder, uris
from webclean.io.run_dir import RunDir

_INGEST = "import sys; from webclean.cli.app import main; sys.exit(main(sys.argv[1:]))"


def crawl_of(top: Path, files: dict[str | bytes, bytes]) -> Path:
    for name, data in files.items():
        path = os.path.join(os.fsencode(top), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return top


def ingest(source: Path, run: Path, *flags: str) -> int:
    return main(["ingest", str(source), str(run), "--workers", "0", "--quiet", *flags])


def rows_of(run: Path) -> dict[str, dict]:
    rows = tables.read(RunDir(str(run)), schema.IMAGES, schema.IMAGES_TABLE).to_pylist()
    return {row["source_key"]: row for row in rows}


def parts_of(run: Path) -> dict[str, str]:
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*.parquet"))
    }


GOOD = {f"cat/{i}.jpg": picture(i) for i in range(3)}
BAD = {
    "cat/empty.jpg": b"",
    "cat/page.jpg": b"<!DOCTYPE html><html>gone</html>",
    "cat/cut.jpg": picture(9)[:400],
}


# ---------------------------------------------------------------- how many may be bad
@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ((), 0, ""),
        (("--max-bad", "3"), 0, ""),
        (("--max-bad", "2"), 3, "error[too-many-bad]: 3 of 6 files are bad, more than --max-bad 2 allows"),
        (("--max-bad", "0.4"), 3, "1 empty, 1 not_image, 1 truncated"),
    ],
)
def test_bad_files_are_rows_and_an_error_only_if_asked(flags, code, words, tmp_path, capsys):
    source, run = crawl_of(tmp_path / "crawl", GOOD | BAD), tmp_path / "run"
    assert ingest(source, run, *flags) == code
    assert words in capsys.readouterr().err
    assert {key: row["status"] for key, row in rows_of(run).items() if key in BAD} == {
        "cat/empty.jpg": "empty", "cat/page.jpg": "not_image", "cat/cut.jpg": "truncated",
    }  # fmt: skip
    assert (run / "images/run.json").exists() == (code == 0)


def test_not_one_usable_image_is_3_and_says_why(tmp_path, capsys):
    assert ingest(crawl_of(tmp_path / "crawl", BAD), tmp_path / "run") == 3
    told = capsys.readouterr().err
    assert "error[images-not-found]: none of 3 files is a usable image" in told
    assert "1 empty, 1 not_image, 1 truncated" in told


# ---------------------------------------------------------------- names
ODD_NAMES = [
    b"new\nline.jpg", b"a,b;c|d.jpg", b"'single' and \"double\".jpg", "grüße 🦊.jpg".encode(), b"\xff\xfe.jpg",
    b"100%.jpg", b"%FF%FE.jpg", b"x.parquet#3", b" lead and trail .jpg ", b"-n", b"\\back\\slash.jpg",
    b"\x1b[2Jclear.jpg", b"[red]markup[bold].jpg", "\u202egpj.exe".encode(), b"a" * 250 + b".jpg",
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_odd_names_in_a_folder_and_in_manifests(tmp_path, capsys):
    files = {b"fox's \n den/" + name: picture(i) for i, name in enumerate(ODD_NAMES)}
    source = crawl_of(tmp_path / "crawl", files)
    assert main(["ingest", str(source), str(tmp_path / "run"), "--workers", "0"]) == 0
    assert "\x1b[2J" not in "".join(capsys.readouterr())
    rows = rows_of(tmp_path / "run")
    assert len(rows) == len(ODD_NAMES)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {row["category"] for row in rows.values()} == {"fox's \n den"}
    assert {uris.read_bytes(row["uri"]) for row in rows.values()} == set(files.values())
    # Two names that are shown alike are still two rows with their own bytes.
    assert {"fox's \n den/%FF%FE.jpg", "fox's \n den/%FF%FE.jpg?2"} <= set(rows)

    names = [os.fsdecode(name) for name in files]
    lines = [json.dumps({"path": name, "label": "fox"}).encode() for name in names]
    (source / "list.jsonl").write_bytes(b"\n".join(lines))
    quoted = [b'"' + os.fsencode(name).replace(b'"', b'""') + b'",fox' for name in names]
    (source / "list.csv").write_bytes(b"path,label\n" + b"\n".join(quoted))
    for manifest in ("list.csv", "list.jsonl"):
        assert ingest(source / manifest, tmp_path / manifest.replace(".", "-")) == 0
        found = rows_of(tmp_path / manifest.replace(".", "-"))
        assert {row["sha256"] for row in found.values()} == {row["sha256"] for row in rows.values()}


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
@given(
    names=st.sets(
        st.binary(min_size=1, max_size=60).filter(
            lambda name: (
                not set(name) & {0, ord("/")}
                and not name.startswith(b".")
                and not name.lower().endswith(tuple(ending.encode() for ending in folder.SIDECAR_ENDINGS))
            )
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_name_leads_back_to_its_bytes(names, tmp_path_factory):
    top = tmp_path_factory.mktemp("names")
    files = {b"cat/" + name: b"bytes of " + name for name in names}
    crawl_of(top / "crawl", {**files, "cat/zz good.png": picture(1, "PNG")})
    assert ingest(top / "crawl", top / "run") == 0
    rows = rows_of(top / "run")
    read = {uris.read_bytes(row["uri"]) for row in rows.values()}
    assert set(files.values()) <= read
    assert len(rows) == len({*files, b"cat/zz good.png"})


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
def test_the_content_decides_not_the_ending(tmp_path):
    kinds = {
        "a.Jpg": "PNG", "b.jfif": "JPEG", "c.bmp": "BMP", "d.tif": "TIFF", "e.avif": "AVIF", "f": "GIF",
        "g.png": "WEBP", "h.aspx": "JPEG", "i.html": "PNG", "j.JPEG.exe": "JPEG",
    }  # fmt: skip
    data = {f"cat/{name}": picture(i, kind) for i, (name, kind) in enumerate(kinds.items())}
    assert ingest(crawl_of(tmp_path / "crawl", data), tmp_path / "run") == 0
    found = {
        key.removeprefix("cat/"): (row["status"], row["format"])
        for key, row in rows_of(tmp_path / "run").items()
    }
    assert found == {name: ("ok", kind) for name, kind in kinds.items()}


# ---------------------------------------------------------------- what is opened, and how much of it
def test_limits_hold_before_anything_is_decoded_or_read(tmp_path, fresh_python):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 22))) + chunk(b"IEND", b"")
    source = crawl_of(tmp_path / "crawl", {**GOOD, "cat/bomb.png": bomb, "cat/huge.jpg": b"\xff\xd8\xff"})
    os.truncate(source / "cat/huge.jpg", 8 << 30)  # eight gigabytes of nothing
    # The kernel's own mark of this program: what getrusage says may be that of the process it was started from.
    peak = (
        "import atexit, pathlib; atexit.register(lambda: print("
        "pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0], file=sys.stderr)); "
    )
    done = fresh_python(
        "import sys; " + peak + _INGEST,
        "ingest",
        str(source),
        str(tmp_path / "run"),
        "--workers",
        "0",
        "--quiet",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 600_000  # kilobytes; the picture alone would take 2,700,000
    rows = rows_of(tmp_path / "run")
    assert (rows["cat/bomb.png"]["status"], rows["cat/bomb.png"]["width"]) == ("too_large", 30_000)
    assert rows["cat/bomb.png"]["error"] == "30000 x 30000 pixels are more than 100000000"
    assert (rows["cat/huge.jpg"]["status"], rows["cat/huge.jpg"]["nbytes"]) == ("too_large", 8 << 30)


def test_links_in_circles_and_out_of_the_crawl(tmp_path):
    source = crawl_of(tmp_path / "crawl", GOOD)
    crawl_of(tmp_path, {"secret.jpg": picture(7)})
    (source / "cat/around").symlink_to(source)
    (source / "cat/itself").symlink_to("itself")
    (source / "cat/out.jpg").symlink_to(tmp_path / "secret.jpg")
    (source / "cat/a.jpg").symlink_to("b.jpg")
    (source / "cat/b.jpg").symlink_to("a.jpg")
    os.mkfifo(source / "cat/pipe.jpg")
    assert ingest(source, tmp_path / "run") == 0
    rows = rows_of(tmp_path / "run")
    odd = {key: row["status"] for key, row in rows.items() if key not in GOOD}
    assert odd == {f"cat/{name}": "unreadable" for name in ("a.jpg", "b.jpg", "itself", "out.jpg")}
    record = json.loads((tmp_path / "run/images/run.json").read_text())
    assert record["result"]["skipped"] == {"linked folders not followed": 1, "pipes and devices": 1}


_WITHOUT_POWERS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
if libc.capset(header, (ctypes.c_uint32 * 6)()):  # root alone could read everything
    sys.exit("capset")
from webclean.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_folders_and_files_that_may_not_be_read(tmp_path, fresh_python):
    source = crawl_of(tmp_path / "crawl", {**GOOD, "dog/1.jpg": picture(5), "cat/mine.jpg": picture(6)})
    (source / "cat/mine.jpg").chmod(0)
    (source / "dog").chmod(0)
    try:
        done = fresh_python(
            _WITHOUT_POWERS, "ingest", str(source), str(tmp_path / "run"), "--workers", "0", "--json"
        )
    finally:
        (source / "dog").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "not images, left out: 1 folders that cannot be read" in done.stderr
    row = rows_of(tmp_path / "run")["cat/mine.jpg"]
    assert (row["status"], row["error"]) == ("unreadable", "PermissionError: Permission denied")
    assert json.loads(done.stdout)[0]["dropped"] == {"unreadable": 1}


# ---------------------------------------------------------------- decoders that hang or kill
_PLUGIN = '''
"""A decoder with faults, in every Python that starts: b"KILL" ends the process, b"HANG" never ends."""
import os, signal, time
from PIL import Image, ImageFile

class Fault(ImageFile.ImageFile):
    def _open(self):
        if self.fp.read(4) == b"KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            try:
                time.sleep(1)
            except Exception:
                pass

Image.register_open("FAULT", Fault, lambda prefix: prefix[:4] in (b"KILL", b"HANG"))
'''


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hang_and_a_crash_are_blamed_on_their_files_alone(workers, tmp_path, fresh_python, monkeypatch):
    crawl_of(tmp_path, {"site/sitecustomize.py": _PLUGIN.encode()})
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), here]))
    faults = {"cat/hang.jpg": b"HANG" * 9, "cat/kill.jpg": b"KILL" * 9, "dog/kill.jpg": b"KILL" * 8}
    source = crawl_of(tmp_path / "crawl", GOOD | faults)
    flags = ("--workers", workers, "--decode-seconds", "1", "--json")
    done = fresh_python(_INGEST, "ingest", str(source), str(tmp_path / "run"), *flags, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {key: row["status"] for key, row in rows_of(tmp_path / "run").items()} == {
        "cat/0.jpg": "ok", "cat/1.jpg": "ok", "cat/2.jpg": "ok", "cat/hang.jpg": "timeout",
        "cat/kill.jpg": "crashed", "dog/kill.jpg": "crashed",
    }  # fmt: skip
    assert json.loads(done.stdout)[0]["dropped"] == {"crashed": 2, "timeout": 1}
    assert "--retry-failed looks again at 3 of these files" in done.stderr
    # Once the decoder is mended, a retry gives the bytes of a fresh run.
    assert ingest(source, tmp_path / "fresh") == 0
    assert ingest(source, tmp_path / "run", "--retry-failed") == 0
    assert parts_of(tmp_path / "run") == parts_of(tmp_path / "fresh")


# ---------------------------------------------------------------- a full disk
_SMALL_DISK = """
import resource, sys
from webclean.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("limit", [1_500, 30_000])  # the first file that counts, and the parts of images
def test_a_full_disk_is_3_with_nothing_half_written_and_can_go_on(limit, tmp_path, fresh_python):
    noise = np.random.default_rng(0).integers(0, 256, (70, 24, 24, 3), dtype=np.uint8)
    files: dict[str | bytes, bytes] = {}
    for i, pixels in enumerate(noise):  # noise does not shrink: 768 bytes a row at least
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        files[f"cat/{i}.png"] = out.getvalue()
    source, run = crawl_of(tmp_path / "crawl", files), tmp_path / "run"
    args = ("ingest", str(source), str(run), "--workers", "0", "--quiet")
    done = fresh_python(_SMALL_DISK, str(limit), *args)
    assert done.returncode == 3, done.stderr
    assert "error[storage-full]: no space left while writing" in done.stderr
    assert "free space and run the same command again; finished parts are kept" in done.stderr
    assert not (run / "images/run.json").exists()
    for path in run.rglob("*"):
        if path.suffix == ".parquet":
            pq.read_table(path)  # whole
        assert not path.name.endswith(".tmp")
    assert main(list(args)) == 0
    assert ingest(source, tmp_path / "fresh") == 0
    assert parts_of(run) == parts_of(tmp_path / "fresh")
