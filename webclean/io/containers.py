"""What the bytes of a file say about its container: what it starts as, and where it breaks.

A decoder that fails often says no more than that it failed. Here a file that was cut is told from one that
is broken: it is cut where the first picture's own lengths and offsets reach beyond the last byte, or where
the container's end mark is missing.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

_HEAD: Final = 4096

_NO_DECODER: Final = (
    (re.compile(rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", re.DOTALL), "HEIF"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n", re.DOTALL), "JPEG XL"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"#\?(RADIANCE|RGBE)"), "Radiance HDR"),
    (re.compile(rb"AT&TFORM"), "DjVu"),
    (re.compile(rb"\xc5\xd0\xd3\xc6|%!PS"), "PostScript, a drawing"),
    (re.compile(rb".{4}\x12\xaf.{126}\x00\xf1", re.DOTALL), "FLC with a prefix chunk"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,1024}?)?(<!--.{0,1024}?-->\s*)?(<!DOCTYPE\s+svg.{0,512}?)?<svg[\s>]",
                re.DOTALL | re.IGNORECASE), "SVG, a drawing in vectors"),
)  # fmt: skip
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_PICTURES: Final = (
    (bytes.fromhex("0067615654c1ce11855300aa00a1f95b"), "FlashPix"),  # the class id of its root
    (".ACI".encode("utf-16-le"), "Microsoft Image Composer"),  # the ending of its streams
)
_SIGNATURES: Final = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    # The second: its signature was damaged, as by a transfer that took it for text.
    (re.compile(rb"\x89PNG\r\n\x1a\n|.{8,24}IHDR", re.DOTALL), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"BM.{12}[\x0c\x28\x40\x6c\x7c]\x00\x00\x00", re.DOTALL), "BMP"),
    (re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"), "TIFF"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n"), "JPEG2000"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"DDS "), "DDS"),
    (re.compile(rb"\x00\x00[\x01\x02]\x00[^\x00]\x00"), "ICO"),
    (re.compile(rb"icns"), "ICNS"),
    (re.compile(rb"DanM|LinS"), "MSP"),
    (re.compile(rb"P7 332\s"), "XVTHUMB"),
    (re.compile(rb"\x01\xda[\x00\x01][\x01\x02]"), "SGI"),
    (re.compile(rb"....[\x11\x12]\xaf", re.DOTALL), "FLI"),
)  # fmt: skip
_PNG_PICTURE: Final = (b"IHDR", b"PLTE", b"IDAT")  # the chunks that its pixels are made of
_END_OF_CODESTREAM: Final = b"\xff\xd9"
_BMP_PACKED: Final = (1, 2)  # run lengths of bytes, of half bytes


def without_decoder(data: bytes) -> str | None:
    """The format that a file has by its first bytes, where none of our decoders reads it."""
    head = data[:_HEAD]
    for pattern, name in _NO_DECODER:
        if pattern.match(head):
            return name
    if data.startswith(_OLE):
        return next((name for mark, name in _OLE_PICTURES if mark in data), None)
    return None


def starts_as(data: bytes) -> str | None:
    """Pillow's name of the format whose signature a file has, None without one."""
    return next((name for pattern, name in _SIGNATURES if pattern.match(data[:64])), None)


def is_signed(head: bytes) -> bool:
    """Whether a file that begins so is an image of a format that is known, decoded here or not.

    Args:
        head: the first bytes; 64 are enough for every format but SVG.
    """
    return starts_as(head) is not None or without_decoder(head) is not None


def is_text(data: bytes) -> bool:
    """Whether a file begins as a text does: without control characters other than white space."""
    head = data[:_HEAD]
    return b"\0" not in head and sum(byte < 9 or 13 < byte < 32 for byte in head) == 0


def is_plausible(data: bytes, format_name: str | None) -> bool:
    """Whether a format without a signature, taken for granted by its decoder, has a header that makes sense."""
    if format_name != "TGA" or len(data) < 18:
        return True
    has_map, kind, entry_bits, depth = data[1], data[2] & 7, data[7], data[16]
    if kind == 1:
        return has_map == 1 and entry_bits in (15, 16, 24, 32) and depth in (8, 16)
    return depth in ((8, 15, 16, 24, 32) if kind == 2 else (1, 8, 16))


def ends_early(data: bytes, format_name: str | None) -> bool:
    """Whether a file has fewer bytes than its own container says; False where that cannot be told."""
    check = _ENDS.get(format_name or "")
    if check is None:
        return False
    try:
        return check(data)
    except (struct.error, OverflowError):  # it ends within a header, or before what the header points to
        return True


def hidden_flaw(data: bytes, format_name: str | None) -> tuple[str, str] | None:
    """Status and words for a file that is broken although its decoder made a picture of it; None for a good one."""
    try:
        if format_name == "PNG":
            for kind, is_whole in _png_chunks(data):
                if kind in _PNG_PICTURE and not is_whole:
                    return "corrupt", f"the checksum of its {kind.decode()} chunk is wrong"
        if format_name == "BMP" and _leaves_picture(data):
            return "corrupt", "its run lengths lead out of the picture"
        if format_name == "JPEG2000" and _jpeg2000_ends_early(data):
            return "truncated", "its codestream has no end mark"
    except (struct.error, OverflowError):
        return None  # the picture was whole before the file ended
    return None


def _leaves_picture(data: bytes) -> bool:
    """Whether a jump in a run-length coded BMP leads beyond its sides."""
    header, width, height, compression = struct.unpack_from("<Iii4xI", data, 14)
    if header < 40 or compression not in _BMP_PACKED:
        return False
    (position,) = struct.unpack_from("<I", data, 10)
    x = y = 0
    while True:
        count, value = struct.unpack_from("BB", data, position)
        position += 2
        if count:
            x += count
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            return False
        elif value == 2:
            right, down = struct.unpack_from("BB", data, position)
            position += 2
            x, y = x + right, y + down
            if x > width or y >= abs(height):
                return True
        else:
            x += value
            size = value if compression == 1 else (value + 1) // 2
            position += size + size % 2


def _jpeg_ends_early(data: bytes) -> bool:
    return _END_OF_CODESTREAM not in data


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Kind of each chunk and whether it is whole, up to the end chunk or one that is none.

    Raises:
        struct.error: a chunk reaches beyond the last byte, or the end chunk is missing.
    """
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        if not kind.isalpha() or (position == 8) != (kind == b"IHDR"):
            yield kind, False
            return
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        yield kind, checksum == zlib.crc32(memoryview(data)[position + 4 : position + 8 + length])
        position += 12 + length


def _png_ends_early(data: bytes) -> bool:
    for _, is_whole in _png_chunks(data):
        if not is_whole:
            return False  # broken before it ends
    return False


def _gif_ends_early(data: bytes) -> bool:
    return not data.rstrip(b"\0").endswith(b";")


def _webp_ends_early(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 4)[0] + 8 > len(data))


def _bmp_ends_early(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 2)[0] > len(data))


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each box of JPEG 2000 or AVIF, up to one that makes no sense.

    Raises:
        struct.error: the rest is too short for a box.
    """
    position = 0
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        end = position + length if length else len(data)
        if end < position + 8:
            return
        yield kind, position, end
        position = end


def _avif_ends_early(data: bytes) -> bool:
    ends = {kind: end for kind, _, end in _boxes(data)}
    return b"mdat" not in ends or max(ends.values()) > len(data)


def _jpeg2000_ends_early(data: bytes) -> bool:
    if data.startswith(b"\xff\x4f"):
        return not data.rstrip(b"\0").endswith(_END_OF_CODESTREAM)
    ends = {kind: end for kind, _, end in _boxes(data)}
    end = ends.get(b"jp2c")
    return end is None or max(ends.values()) > len(data) or data[end - 2 : end] != _END_OF_CODESTREAM


def _icon_ends_early(data: bytes) -> bool:
    (num,) = struct.unpack_from("<H", data, 4)
    entries = (struct.unpack_from("<II", data, 6 + 16 * index + 8) for index in range(num))
    return any(size + start > len(data) for size, start in entries)


def _icns_ends_early(data: bytes) -> bool:
    return bool(struct.unpack_from(">I", data, 4)[0] > len(data))


_TIFF_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
_TIFF_OFFSETS: Final = (273, 324)  # of strips, of tiles
_TIFF_LENGTHS: Final = (279, 325)


def _tiff_ends_early(data: bytes) -> bool:
    """The first directory, something that it points to, or a strip or tile lies beyond the end."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, count_word, entry_size = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + word, data, 8 if is_big else 4)
    (num,) = struct.unpack_from(order + count_word, data, start)
    start += struct.calcsize(order + count_word)
    found: dict[int, tuple[int, ...]] = {}
    for place in range(start, start + num * entry_size, entry_size):
        tag, kind, count = struct.unpack_from(order + "HH" + word, data, place)
        value = place + entry_size - struct.calcsize(order + word)
        size = count * _TIFF_SIZES.get(kind, 0)
        if size > struct.calcsize(order + word):
            (value,) = struct.unpack_from(order + word, data, value)
        if value + size > len(data):
            return True
        if tag in _TIFF_OFFSETS + _TIFF_LENGTHS and kind in (3, 4, 16):
            letter = {3: "H", 4: "I", 16: "Q"}[kind]
            found[tag] = struct.unpack_from(f"{order}{count}{letter}", data, value)
    return any(
        offset + length > len(data)
        for offsets, lengths in zip(_TIFF_OFFSETS, _TIFF_LENGTHS, strict=True)
        for offset, length in zip(found.get(offsets, ()), found.get(lengths, ()), strict=False)
    )


def _psd_ends_early(data: bytes) -> bool:
    num_channels, height, width, depth = struct.unpack_from(">HIIH", data, 12)
    position = 26
    for _ in range(3):  # colours, resources, layers
        position += 4 + struct.unpack_from(">I", data, position)[0]
    (compression,) = struct.unpack_from(">H", data, position)
    position += 2
    if compression == 0:
        position += num_channels * height * ((width * depth + 7) // 8)
    elif compression == 1:
        num = num_channels * height
        position += 2 * num + sum(struct.unpack_from(f">{num}H", data, position))
    return position > len(data)


def _sgi_ends_early(data: bytes) -> bool:
    is_packed, depth, _, width, height, num_channels = struct.unpack_from(">BBHHHH", data, 2)
    if not is_packed:
        return bool(512 + width * height * num_channels * depth > len(data))
    num = height * num_channels
    table = struct.unpack_from(f">{2 * num}I", data, 512)
    return any(start + length > len(data) for start, length in zip(table[:num], table[num:], strict=True))


def _fli_ends_early(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 0)[0] > len(data))


def _thumbnail_ends_early(data: bytes) -> bool:
    return b"#END_OF_COMMENTS" not in data


_ENDS: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": _jpeg_ends_early,
    "MPO": _jpeg_ends_early,
    "PNG": _png_ends_early,
    "GIF": _gif_ends_early,
    "WEBP": _webp_ends_early,
    "BMP": _bmp_ends_early,
    "TIFF": _tiff_ends_early,
    "AVIF": _avif_ends_early,
    "JPEG2000": _jpeg2000_ends_early,
    "ICO": _icon_ends_early,
    "CUR": _icon_ends_early,
    "ICNS": _icns_ends_early,
    "PSD": _psd_ends_early,
    "SGI": _sgi_ends_early,
    "FLI": _fli_ends_early,
    "XVTHUMB": _thumbnail_ends_early,
}
