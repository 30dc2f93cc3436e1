"""What containers say about themselves, on files made byte by byte or by another program's encoder."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from webclean.io import containers
from webclean.io.decode import inspect


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """A small picture of noise, which fills its file evenly."""
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


WHOLE = {
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "gif": encoded("GIF", "P"),
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "deflated tiff": encoded("TIFF", compression="tiff_deflate"),
    "ico": encoded("ICO", sizes=[(16, 16)]),
    "jp2": encoded("JPEG2000"),
    "j2k": encoded("JPEG2000", no_jp2=True),
    "sgi": encoded("SGI"),
    "dds": encoded("DDS"),
    "ppm": encoded("PPM"),
}
_HEADER = 24  # shorter files of some formats could be anything
_TRAILER = 24  # the pictures of some formats are whole before their checksums and end marks


@pytest.mark.parametrize("name", WHOLE)
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=6, deadline=None)
def test_a_cut_file_is_truncated_wherever_it_is_cut(name, share):
    whole = WHOLE[name]
    assert inspect(whole).status == "ok"
    found = inspect(whole[: _HEADER + int(share * (len(whole) - _HEADER - _TRAILER))])
    assert found.status == "truncated", found.error


def chunk(kind: bytes, body: bytes, *, flip: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ flip)


def png(*chunks: bytes, signature: bytes = b"\x89PNG\r\n\x1a\n") -> bytes:
    return signature + b"".join(chunks)


IHDR, IEND = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 0, 0, 0, 0)), chunk(b"IEND", b"")
ROWS = zlib.compress(b"\0abcd\0efgh")
IDAT = chunk(b"IDAT", ROWS)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (png(IHDR, IDAT, IEND), "ok", None),
        (png(IHDR, chunk(b"tEXt", b"a\0b", flip=1), IDAT, IEND), "corrupt", "bad header checksum in b'tEXt'"),
        (png(IHDR, chunk(b"IDAT", ROWS, flip=1), IEND), "corrupt", "the checksum of its IDAT chunk is wrong"),
        (png(IHDR, IEND), "corrupt", "cannot load this image"),
        (png(IHDR), "truncated", "starts as PNG"),
        (png(IHDR, IDAT[:-12]), "truncated", "truncated"),
        (png(IHDR, IDAT[:-6]), "ok", None),  # all pixels are there
        (png(IHDR, IDAT, IEND, signature=b"\x89PNG\n\x1a\n"), "corrupt", "starts as PNG"),  # taken for text
        (png(IHDR, IDAT, IEND, signature=b"PNG\r\n\x1a\n"), "corrupt", "starts as PNG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_png_chunks(data, status, words):
    found = inspect(data)
    assert found.status == status
    assert words is None or words in found.error


def bmp(codes: bytes, compression: int = 1, size: tuple[int, int] = (4, 2)) -> bytes:
    """A run-length coded BMP with two colours."""
    palette = b"\0\0\0\0" + b"\xff\xff\xff\0"
    start = 14 + 40 + len(palette)
    depth = {1: 8, 2: 4}[compression]
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, depth, compression, len(codes), 0, 0, 2, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(codes), 0, 0, start) + header + palette + codes


@pytest.mark.parametrize(
    ("codes", "compression", "status"),
    [
        ("04 01  00 00  04 00  00 01", 1, "ok"),
        ("02 01  00 02 01 01  01 01  00 01", 1, "ok"),  # a jump to the second row
        ("02 01  00 02 00 02  01 01  00 01", 1, "corrupt"),  # a jump above it
        ("02 01  00 02 03 00  01 01  00 01", 1, "corrupt"),  # a jump beyond the row's end
        ("00 03 01 00 01 00  01 01  00 00  00 02 01 00  00 01", 1, "ok"),  # three as they are, padded
        ("04 10  00 02 00 01  00 01", 2, "ok"),
        ("04 10  00 02 00 02  00 01", 2, "corrupt"),
    ],
)
def test_run_lengths_that_leave_the_picture(codes, compression, status):
    assert containers.hidden_flaw(bmp(bytes.fromhex(codes), compression), "BMP") == (
        None if status == "ok" else ("corrupt", "its run lengths lead out of the picture")
    )


def tiff(strip_at: int, strip_length: int, *, big: bool = False) -> bytes:
    """A directory of width, height, offset and length, 100 bytes long in all."""
    if big:
        entries = [(256, 4), (257, 4), (273, strip_at), (279, strip_length)]
        body = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<Q", 4)
        body += b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in entries)
    else:
        entries = [(256, 4), (257, 4), (273, strip_at), (279, strip_length)]
        body = struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(">H", 4)
        body += b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in entries)
    return body.ljust(120, b"\0")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("at", "length", "early"), [(104, 16, False), (104, 17, True), (121, 0, True)])
def test_tiff_strips_beyond_the_end(at, length, early, big):
    assert containers.ends_early(tiff(at, length, big=big), "TIFF") == early


def test_tiff_directories_beyond_the_end():
    assert containers.ends_early(b"II*\0\xff\xff\xff\x7f" + bytes(20), "TIFF")
    assert containers.ends_early(b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(20), "TIFF")
    assert containers.ends_early(tiff(104, 16)[:30], "TIFF")


def test_headers_of_formats_without_a_signature():
    header = bytearray(18)
    header[2], header[16] = 2, 24
    assert containers.is_plausible(bytes(header), "TGA")
    header[16] = 1  # a colour picture of one bit
    assert not containers.is_plausible(bytes(header), "TGA")
    assert not containers.is_plausible(bytes([0, 0, 1, 1, 0, 0, 1, 1] + [1] * 10), "TGA")
    assert containers.is_plausible(bytes(18), "JPEG")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"%!PS-Adobe-3.0\n", "PostScript, a drawing"),
        (b"\xc5\xd0\xd3\xc6\0\0\0\0", "PostScript, a drawing"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg>", "SVG, a drawing in vectors"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100) + ".ACI".encode("utf-16-le"), "Microsoft Image Composer"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), None),  # any office document
        (b"\xff\xd8\xff\xe0", None),
    ],
)  # fmt: skip
def test_formats_without_a_decoder(data, name):
    assert containers.without_decoder(data) == name


@given(
    head=st.sampled_from(
        [b"", b"II*\0\x08\0\0\0", b"II+\0\x08\0\0\0", b"8BPS\0\1", b"\x01\xda\1\1", b"RIFF"]
    ),
    body=st.binary(max_size=200),
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_the_checks_fail(head, body):
    for name in containers._ENDS:
        assert containers.ends_early(head + body, name) in (True, False)
        containers.hidden_flaw(head + body, name)
