import io
import signal
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from webclean.io import decode, scan
from webclean.io.decode import Limits, Remembered, inspect, inspect_each, open_rgb
from webclean.ops import phash


def _photo(width: int = 200, height: int = 120) -> Image.Image:
    """Coloured blobs: like a photo, its low frequencies are far from zero."""
    coarse = np.random.default_rng(5).integers(0, 256, size=(9, 9, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _bytes(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def test_a_good_jpeg_gives_every_column():
    found = inspect(_bytes(_photo(), quality=90))
    assert (found.status, found.error, found.format, found.mode) == ("ok", None, "JPEG", "RGB")
    assert (found.width, found.height, found.frames, found.aspect) == (200, 120, 1, 200 / 120)
    assert len(found.tiny) == 768
    assert found.is_gray is False
    assert all(getattr(found, name) is not None for name in ("sha256", "phash", "sharpness", "entropy"))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_image"),
        (b"just words\n" * 20, "not_image"),
        (bytes(range(256)) * 4, "not_image"),
        (_bytes(_photo())[:2000], "truncated"),
        (_bytes(_photo(), "PNG")[:3000], "truncated"),
        (_bytes(_photo())[:20], "truncated"),
        (_bytes(_photo(), "WEBP", quality=100)[:2900], "truncated"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "unsupported"),
        (_png_header(10, 10), "truncated"),
        (_png_header(40_000, 40_000), "too_large"),
        (b"\x89PNG\r\n\x1a\n" + b"\1" * 100 + b"IEND", "corrupt"),
    ],
)  # fmt: skip
def test_bad_bytes_have_a_status_and_a_reason(data, status):
    found = inspect(data)
    assert found.status == status
    assert found.error
    assert found.phash is None
    assert (found.sha256 is None) == (status == "empty")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _icon_bomb() -> bytes:
    """An icon whose one bitmap claims 30,000 x 30,000 pixels."""
    bitmap = struct.pack("<IiiHHIIiiII", 40, 30_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(40)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 24, len(bitmap), 22) + bitmap


def _fax() -> bytes:
    """A TIFF of fax code with some of its strip overwritten."""
    bits = np.random.default_rng(2).integers(0, 2, (60, 60)).astype(bool)
    data = bytearray(_bytes(Image.fromarray(bits), "TIFF", compression="group4"))
    with Image.open(io.BytesIO(data)) as image:
        start = image.tag_v2[273][0]
    data[start + 40 : start + 44] = b"\1" * 4
    return bytes(data)


def _retagged(tag: int, value: int) -> bytes:
    """A deflated TIFF with another value of one tag."""
    data = bytearray(_bytes(_photo(), "TIFF", compression="tiff_adobe_deflate"))
    at = data.index(struct.pack("<HHI", tag, 3, 1), struct.unpack_from("<I", data, 4)[0])
    struct.pack_into("<H", data, at + 8, value)
    return bytes(data)


_BMP_WIDTH, _BMP_DEPTH = 18, 28


def _bmp(at: int, form: str, value: int) -> bytes:
    data = bytearray(_bytes(Image.new("RGB", (8, 8)), "BMP"))
    struct.pack_into(form, data, at, value)
    return bytes(data)


_PNG_HEAD = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
_TEXT_BOMB = _PNG_HEAD + _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20))) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(80), "not_image", "no image format"),
        (b"\x89HDF\r\n\x1a\n" + bytes(80), "not_image", "HDF5, not a picture"),
        (b"GRIB\0\0\0\1" + bytes(80), "not_image", "GRIB, not a picture"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "not_image", "no image format"),
        (bytes([0, 0, 1, 1]) * 128, "not_image", "no image format"),  # a table that could pass for a TGA
        (b"\xc5\xd0\xd3\xc6" + bytes(28), "unsupported", "PostScript"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n", "unsupported", "PostScript"),
        (_icon_bomb(), "too_large", "limit"),
        (_TEXT_BOMB, "too_large", "Decompressed data too large"),
        (_bmp(_BMP_WIDTH, "<i", -8), "corrupt", "4294967288 x 8 pixels"),
        (_bmp(_BMP_DEPTH, "<H", 2), "unsupported", "pixel depth (2)"),
        (_bmp(_BMP_DEPTH, "<H", 30_000), "corrupt", "pixel depth (30000)"),
        (_fax(), "corrupt", "Bad code word"),
        (_retagged(259, 50_001), "unsupported", "WEBP compression support is not configured"),
        (_retagged(262, 77), "unsupported", "unknown pixel mode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_decoder_does_not_say_by_itself(data, status, words):
    found = inspect(data)
    assert (found.status, words in found.error) == (status, True), found.error


def test_a_broken_animation_leaves_the_first_picture():
    frames = [Image.new("RGB", (8, 8), c) for c in ("black", "white", "red")]
    data = bytearray(_bytes(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=10))
    at = data.index(b"fcTL", data.index(b"IDAT"))
    data[at : at + 4] = b"fcTx"  # the second frame's control chunk goes
    struct.pack_into(">I", data, at + 30, zlib.crc32(data[at : at + 30]))
    found = inspect(bytes(data))
    assert (found.status, found.width, found.brightness) == ("ok", 8, 0.0), found.error


def test_what_was_learnt_before_the_end_is_kept():
    found = inspect(_bytes(_photo())[:2000])
    assert (found.status, found.format, found.width, found.height) == ("truncated", "JPEG", 200, 120)


_HALVES = np.repeat([[0] * 8 + [255] * 8], 8, axis=0).astype(np.uint8)
_GRAY = Image.fromarray(_HALVES)
_DEEP = Image.fromarray(_HALVES.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("image", "kind", "mode", "options"),
    [
        (_GRAY.convert("1"), "PNG", "1", {}),
        (_GRAY, "PNG", "L", {}),
        (_GRAY.convert("LA"), "PNG", "LA", {}),
        (_GRAY.convert("P"), "PNG", "P", {}),
        (_GRAY.convert("P"), "GIF", "P", {}),
        (_GRAY.convert("RGB"), "PNG", "RGB", {}),
        (_GRAY.convert("RGBA"), "PNG", "RGBA", {}),
        (_GRAY.convert("RGB").convert("CMYK"), "TIFF", "CMYK", {}),
        (_DEEP, "PNG", "I;16", {}),
        (_DEEP, "TIFF", "I;16", {}),
        (Image.fromarray(_HALVES.astype(np.int32)), "TIFF", "I", {}),
        (Image.fromarray(_HALVES.astype(np.float32) / 255), "TIFF", "F", {}),
        (_GRAY.convert("RGB"), "WEBP", "RGB", {"lossless": True}),
        (_GRAY.convert("RGB"), "BMP", "RGB", {}),
        (_GRAY, "PPM", "L", {}),
    ],
)  # fmt: skip
def test_half_black_half_white_in_every_mode(image, kind, mode, options):
    found = inspect(_bytes(image, kind, **options))
    assert (found.status, found.mode, found.frames) == ("ok", mode, 1), found.error
    assert (found.brightness, found.contrast, found.entropy, found.is_gray) == (0.5, 1.0, 1.0, True)


def test_a_broken_png_is_corrupt():
    data = bytearray(_bytes(_photo(), "PNG"))
    data[2000:2030] = b"\xff" * 30
    assert inspect(bytes(data)).status == "corrupt"


def test_pixel_limit_is_checked_before_the_decode_and_can_be_raised():
    data = _bytes(Image.new("RGB", (100, 50), "red"), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    found = inspect(data, Limits(max_pixels=4999))
    assert (found.status, found.width, found.height) == ("too_large", 100, 50)
    assert inspect(data, Limits(max_pixels=5000)).status == "ok"
    assert Image.MAX_IMAGE_PIXELS == before  # Pillow's own limit is put back


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("LA", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"),
     ("I;16", "PNG"), ("F", "TIFF"), ("RGB", "BMP"), ("RGB", "WEBP"), ("YCbCr", "JPEG"), ("RGB", "PPM")],
)  # fmt: skip
def test_modes(mode, kind):
    photo = _photo()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        image = photo.convert(mode)
    found = inspect(_bytes(image, kind))
    assert found.status == "ok", found.error
    if mode not in ("1", "P"):
        reference = inspect(_bytes(photo.convert("L"), "PNG"))
        assert phash.hamming(np.uint64(found.phash), np.uint64(reference.phash)) <= 4
        assert found.brightness == pytest.approx(reference.brightness, abs=0.03)


def test_alpha_lies_over_white():
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    found = inspect(_bytes(image, "PNG"))
    assert found.brightness == 1.0
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([0, 0, 0])
    assert inspect(_bytes(palette, "PNG", transparency=0)).brightness == 1.0
    assert open_rgb(_bytes(image, "PNG")).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_frames_are_counted_and_the_first_is_measured(kind):
    first, others = Image.new("RGB", (8, 8), "black"), [Image.new("RGB", (8, 8), c) for c in ("white", "red")]
    found = inspect(_bytes(first, kind, save_all=True, append_images=others, duration=10))
    assert (found.frames, found.brightness) == (3, 0.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation):
    upright = _photo()
    view = {1: 0, 2: 1, 3: 3, 4: 2, 5: 4, 6: 5, 7: 7, 8: 6}[orientation]
    # A camera stores the turned picture and says how to undo it; 6 and 8 undo each other.
    stored = phash.turn(np.asarray(upright)[None], {5: 6, 6: 5}.get(view, view))[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _bytes(Image.fromarray(np.ascontiguousarray(stored)), quality=95, exif=exif)
    found, plain = inspect(data), inspect(_bytes(upright, quality=95))
    assert (found.width, found.height) == (200, 120)
    assert found.exif_orientation == orientation
    assert phash.hamming(np.uint64(found.phash), np.uint64(plain.phash)) <= 2
    assert open_rgb(data).size == (200, 120)
    tiny = [np.frombuffer(f.tiny, np.uint8).astype(int) for f in (found, plain)]
    assert np.abs(tiny[0] - tiny[1]).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation_of_other_formats(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = _photo().transpose(Image.Transpose.ROTATE_90)
    data = _bytes(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    found = inspect(data)
    assert (found.width, found.height, found.exif_orientation) == (200, 120, 6)
    tiny = [np.frombuffer(f.tiny, np.uint8).astype(int) for f in (found, inspect(_bytes(_photo(), "PNG")))]
    assert np.abs(tiny[0] - tiny[1]).max() <= 2
    assert np.array_equal(np.asarray(open_rgb(data)), np.asarray(_photo()))


def test_orientation_nonsense_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 77
    found = inspect(_bytes(_photo(), exif=exif))
    assert (found.status, found.exif_orientation, found.width) == ("ok", None, 200)


def test_scaled_decode_hashes_like_the_full_one():
    large = _photo(1600, 1100)
    jpeg, png = inspect(_bytes(large, quality=85)), inspect(_bytes(large, "PNG"))
    assert phash.hamming(np.uint64(jpeg.phash), np.uint64(png.phash)) <= 2
    assert jpeg.sharpness == pytest.approx(png.sharpness, abs=0.02)


def test_a_side_beyond_int32_is_too_large_without_a_size():
    header = struct.pack("<2sIHHI", b"BM", 154, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, -(2**31) + 1, 100_000, 1, 24, 0, 0, 0, 0, 0, 0
    )
    found = inspect(header + b"\0" * 100)
    assert found.status in ("too_large", "corrupt")
    assert found.width is None or abs(found.width) < 2**31


def test_extreme_shapes():
    for size in ((1, 1), (1, 3000), (5000, 1), (3, 2)):
        found = inspect(_bytes(Image.new("RGB", size, "gray"), "PNG"))
        assert (found.status, found.width, found.height) == ("ok", *size)


def test_time_limit(monkeypatch):
    def endless(*_: object, **__: object) -> None:
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001, a decoder that swallows everything
            time.sleep(30)

    monkeypatch.setattr(decode, "_decode_copies", endless)
    before = signal.getitimer(signal.ITIMER_REAL)
    handler = signal.getsignal(signal.SIGALRM)
    found = inspect(b"\xff\xd8\xff", Limits(seconds=0.05))
    assert found.status == "timeout"
    assert found.sha256
    assert signal.getsignal(signal.SIGALRM) is handler
    after = signal.getitimer(signal.ITIMER_REAL)
    assert (after[0] > 0) == (before[0] > 0)  # a test runner's own timer goes on


@pytest.fixture
def decoded(monkeypatch):
    """The contents that were decoded, in order."""
    real, seen = decode._decode_copies, []
    monkeypatch.setattr(decode, "_decode_copies", lambda data, *rest: seen.append(data) or real(data, *rest))
    scan._remembered.cache_clear()
    return seen


def test_a_content_that_comes_back_is_decoded_once_and_found_to_be_the_same(decoded):
    whole, cut = _bytes(_photo()), _bytes(_photo())[:900]
    remembered = Remembered(9)
    first = inspect_each([whole, cut, b""], remembered=remembered)
    assert inspect_each([cut, whole, b"", whole], remembered=remembered) == [
        first[1],
        first[0],
        first[2],
        first[0],
    ]
    assert decoded == [whole, cut]
    assert [one.status for one in first] == ["ok", "truncated", "empty"]
    assert first == [inspect(whole), inspect(cut), inspect(b"")]


def test_the_content_not_met_for_longest_is_forgotten(decoded):
    a, b, c = (_bytes(_photo(100 + 10 * i)) for i in range(3))
    remembered = Remembered(2)
    for data in (a, b, a, c, a, b):
        inspect_each([data], remembered=remembered)
    assert decoded == [a, b, c, b]


def test_a_decode_that_took_too_long_is_tried_again(monkeypatch):
    monkeypatch.setattr(decode, "_decode_copies", lambda *_: time.sleep(30))
    remembered = Remembered(9)
    (late,) = inspect_each([b"\xff\xd8\xff"], Limits(seconds=0.05), remembered)
    assert (late.status, remembered.get(late.sha256)) == ("timeout", None)


def test_equal_files_are_decoded_once_in_a_process_and_anew_under_other_limits(decoded, tmp_path):
    uris = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for uri in uris:
        with open(uri, "wb") as file:
            file.write(_bytes(_photo()))
    strict = Limits(max_pixels=99)
    (a,), (b,) = (scan.inspect_all([uri], root=None, limits=Limits()) for uri in uris)
    (refused,) = scan.inspect_all(uris[:1], root=None, limits=strict)
    assert a == b == inspect(_bytes(_photo()))
    assert (refused.status, len(decoded)) == (
        "too_large",
        3,
    )  # in the process, by `inspect`, under other limits


def test_open_rgb_scales_no_further_than_asked():
    data = _bytes(_photo(1600, 1200))
    assert min(open_rgb(data, min_side=224).size) == 300
    assert open_rgb(data).size == (1600, 1200)
    assert open_rgb(data).mode == "RGB"


def test_tiff_noise_does_not_reach_stderr(capfd):
    data = bytearray(_bytes(_photo(40, 40), "TIFF", compression="tiff_deflate"))
    data[len(data) // 2 :] = b"\x41" * (len(data) - len(data) // 2)
    inspect(bytes(data))
    assert capfd.readouterr().err == ""


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]),
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_a_row(data, head):
    found = inspect(head + data)
    assert (found.error is None) == (found.status == "ok")


@given(st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_one_wrong_byte_never_raises(position, value):
    data = bytearray(_bytes(_photo(60, 40)))
    data[position % len(data)] = value
    assert inspect(bytes(data)).status in (
        "ok",
        "corrupt",
        "truncated",
        "not_image",
        "too_large",
        "unsupported",
    )


@pytest.mark.parametrize("size", [(60, 128), (85, 128), (128, 100), (333, 500)])
def test_the_tiny_copy_of_a_mirror_image_is_the_mirror_image(size):
    """Thin lines tell: a filter that takes whole pixels would shift them by up to half of one."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for step in range(3, size[0], 11):
        draw.line((step, 0, size[0] - step // 2, size[1]), fill="black")
    tiny, mirrored = (
        np.frombuffer(inspect(_bytes(image, "PNG")).tiny or b"", dtype=np.uint8)
        .reshape(16, 16, 3)
        .astype(int)
        for image in (picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    )
    assert np.abs(tiny - mirrored[:, ::-1]).max() <= 12
