"""One decode of one image gives everything that `images` says about its content.

Bytes from a crawl are hostile: the header is checked before anything is decoded, Pillow is never told to
accept truncated data, formats that would start another program are not decoded, and a clock stops a
decode that does not end. Whatever a decoder raises becomes a status of `schema.STATUSES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import signal
import struct
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from webclean.io import containers, hangs
from webclean.ops import phash, quality

# Pillow logs what it dislikes in a file; without a handler of ours that reaches the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_LARGEST_SIDE: Final = 2**31 - 1  # what the table holds; a header may claim more

COPY_SIDE: Final = 128
"""Longer side of the copy on which brightness, contrast, sharpness, entropy and the hash are measured."""

_COPY_SHORT_SIDE: Final = phash.SIDE
TINY_SIDE: Final = 16
# The picture is averaged down by whole numbers to no less than this many times the tiny copy, then interpolated: the
# blocks that are left over at one edge weigh too little to tell a mirror image from its original.
_TINY_GAP: Final = 4.0

# Pillow knows these but hands them to another program (Ghostscript), has no decoder of its own, or has one
# only where a further package is installed.
_NOT_DECODED: Final = frozenset({"EPS", "WMF", "FPX", "MIC"})
# It knows these too: weather, arrays, films.
_NO_PICTURES: Final = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})

_TRUNCATED: Final = re.compile(
    r"truncat|unexpected end|not enough (image )?data|buffer is not large enough|premature"
    r"|file too short|reached EOF|end of file|underflow|incomplete header",
    re.IGNORECASE,
)
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not supported|unimplemented|unknown (compression|raw mode|pixel mode|data)"
    r"|cannot decode|no decoder|decoder .* not available|cannot handle|is not configured|invalid palette size"
    r"|unable to determine .* mode",
    re.IGNORECASE,
)
# Pillow calls unsupported what no BMP can have: of these only depths of 2 and 64 bits, or none (a JPEG or PNG
# inside), and the shorter headers of OS/2 are real.
_BROKEN_BMP: Final = re.compile(
    r"unsupported BMP (header type \((?!(16|64)\))|palette size|pixel depth \((?!(0|2|64)\)))", re.IGNORECASE
)
_BOMB_IN_TEXT: Final = "Decompressed data too large"  # a megabyte of text in a PNG's few bytes
_LIBTIFF: Final = re.compile(r"^[\w.]+: .+$", re.MULTILINE)  # how a line of libtiff's begins
_HIDDEN_TIFF_DAMAGE: Final = re.compile(r"Bad code word|Corrupt JPEG data: (premature end|bad Huffman)")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG: Final = 0x0112
_EXIF_KEYS: Final = ("exif", "Raw profile type exif")
_ERROR_LENGTH: Final = 300
_HEARD: Final = 4096  # bytes of what libtiff says
_TEXT: Final = "the content is a text or a web page"
_UNKNOWN: Final = "the content is no image format that is known"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one image may cost.

    Attributes:
        max_pixels: width times height of the header above which nothing is decoded.
        max_bytes: file size above which nothing is read.
        seconds: wall time of one decode; 0 for none.
    """

    max_pixels: int = 100_000_000
    max_bytes: int = 256 << 20
    seconds: float = 20.0


class Inspection(NamedTuple):
    """What one file's bytes say; names and units as in `schema.IMAGES_TABLE`.

    All but `status`, `error`, `nbytes` and `sha256` may be None: they are as far as the decode came.
    A tuple, because millions of them travel from the workers.
    """

    status: str
    error: str | None = None
    nbytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    frames: int | None = None
    exif_orientation: int | None = None
    phash: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    sharpness: float | None = None
    entropy: float | None = None
    aspect: float | None = None
    is_gray: bool | None = None
    tiny: bytes | None = None


class Remembered:
    """What the contents met last were found to be: one that comes back is not decoded again.

    What is found depends on the bytes and the limits alone, save how long it took; so one of these is for one `Limits`.

    Args:
        most: contents; the one not met for longest is forgotten first. Each takes some 1.5 kB.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[str, Inspection] = {}  # from the one not met for longest to the latest

    def get(self, sha256: str) -> Inspection | None:
        """What was found of a content, None where it is not known or no longer known."""
        found = self._found.pop(sha256, None)
        if found is not None:
            self._found[sha256] = found
        return found

    def add(self, found: Inspection) -> None:
        """Remember a content, unless it may be found to be otherwise next time."""
        if found.sha256 is None or found.status == "timeout":
            return
        self._found[found.sha256] = found
        if len(self._found) > self._most:
            del self._found[next(iter(self._found))]


class _OutOfTimeError(BaseException):
    """Raised by the clock; not an Exception, so that no decoder's own handler swallows it."""


class _RefusedError(Exception):
    """A picture we do not decode, with its status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Copies:
    """Upright small copies of one image: grey of `COPY_SIDE`, and RGB of `TINY_SIDE` squared."""

    gray: Image.Image
    tiny: Image.Image


@dataclass(frozen=True, slots=True)
class _Look:
    """What the decode of one image left to be measured; `copies` is None where there is nothing to measure."""

    found: dict[str, Any]
    copies: _Copies | None


def inspect(data: bytes, limits: Limits | None = None) -> Inspection:
    """Identify, check, decode once (scaled where the format allows) and measure one image.

    Never raises for anything in `data`.

    Args:
        data: the whole file.
        limits: pixel and time limits; bytes are the reader's to check.
    """
    return inspect_each([data], limits)[0]


def inspect_each(
    files: Iterable[bytes | Inspection], limits: Limits | None = None, remembered: Remembered | None = None
) -> list[Inspection]:
    """Inspect files as `inspect` does, one after the other; what takes long to set up is set up once.

    Args:
        files: contents, taken from the iterable when their turn comes; a finding stands for a file that could not
            be read, and is given back.
        limits: pixel and time limits of each.
        remembered: what was found before under the same limits; takes up what is found now.
    """
    limits = limits or Limits()
    remembered = remembered or Remembered(0)
    looks: list[_Look | Inspection] = []
    with _quiet(), _Clock(limits.seconds) as clock:
        for data in files:
            looks.append(data if isinstance(data, Inspection) else _look(data, limits, clock, remembered))
    copies = [look.copies for look in looks if isinstance(look, _Look) and look.copies is not None]
    measures = iter(_measure(copies))
    inspections = []
    for look in looks:
        if isinstance(look, Inspection):
            inspections.append(look)
            continue
        inspections.append(Inspection(**look.found, **({} if look.copies is None else next(measures))))
        remembered.add(inspections[-1])
    return inspections


def _look(data: bytes, limits: Limits, clock: _Clock, remembered: Remembered) -> _Look | Inspection:
    if not data:
        return _Look({"status": "empty", "error": "the file has no bytes", "nbytes": 0}, None)
    sha256 = hashlib.sha256(data).hexdigest()
    if (known := remembered.get(sha256)) is not None:
        return known
    found: dict[str, Any] = {"nbytes": len(data), "sha256": sha256}
    try:
        with clock.running():
            # The border to decoders that meet hostile bytes: what they raise is a finding about the
            # file (`_blame`), our own arithmetic stands outside.
            try:
                copies = _decode_copies(data, limits, found)
                if (flaw := containers.hidden_flaw(data, found["format"])) is not None:
                    raise _RefusedError(*flaw)
            except Exception as error:  # noqa: BLE001
                status, message = _blame(error, data, found.get("format"))
                return _Look({"status": status, "error": message[:_ERROR_LENGTH], **found}, None)
    except _OutOfTimeError:
        return _Look({"status": "timeout", "error": f"not decoded in {limits.seconds:g} s", **found}, None)
    return _Look({"status": "ok", **found, "aspect": found["width"] / found["height"]}, copies)


def open_rgb(data: bytes, *, min_side: int | None = None, limits: Limits | None = None) -> Image.Image:
    """Decode an image that `inspect` found ok: upright, RGB, alpha over white, first frame.

    Args:
        data: the whole file.
        min_side: where given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as the
            shorter side stays at least this many pixels.
        limits: pixel and time limits.

    Raises:
        Exception: whatever the decoder raises; the caller knows that the file was ok before.
        TimeoutError: the decode did not end within `limits.seconds`.
    """
    limits = limits or Limits()
    try:
        with _quiet(), _Clock(limits.seconds) as clock, clock.running():
            image = _open(data, limits.max_pixels)
            _refuse(image, limits.max_pixels)
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            orientation = _load(image)
            return _upright(_to_rgb(image), image, orientation)
    except _OutOfTimeError:
        raise TimeoutError(f"not decoded in {limits.seconds:g} s") from None


def _decode_copies(data: bytes, limits: Limits, found: dict[str, Any]) -> _Copies:
    """The small upright copies; fills `found` on the way, so that a failure keeps what was learnt."""
    image = _open(data, limits.max_pixels)
    if not containers.is_plausible(data, image.format):
        raise _RefusedError("not_image", _UNKNOWN)
    width, height = image.size
    found |= {"format": image.format, "mode": image.mode}
    if max(width, height) <= _LARGEST_SIDE:
        found |= {"width": width, "height": height}
    _refuse(image, limits.max_pixels)
    with _libtiff_heard(image):
        found["frames"] = _num_frames(image)
    scale = 8
    while scale > 1 and (
        max(width, height) < COPY_SIDE * scale or min(width, height) < _COPY_SHORT_SIDE * scale
    ):
        scale //= 2
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    orientation = _load(image)
    found["exif_orientation"] = orientation
    ratio = min(1.0, COPY_SIDE / max(width, height))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    # Where nothing is to be converted, grey is resized instead of three channels.
    rgb = image if image.mode == "RGB" and not image.has_transparency_data else _to_rgb(image, size)
    gray = _resized(rgb.convert("L"), size)
    tiny = rgb.resize((TINY_SIDE, TINY_SIDE), Image.Resampling.BILINEAR, reducing_gap=_TINY_GAP)
    if orientation is not None and orientation >= 5 and image.format != "TIFF":
        found |= {"width": height, "height": width}
    return _Copies(_upright(gray, image, orientation), _upright(tiny, image, orientation))


def _measure(copies: list[_Copies]) -> list[dict[str, Any]]:
    """Measures of some images, by column name."""
    if not copies:
        return []
    squares = [copy.gray.resize((phash.SIDE, phash.SIDE), Image.Resampling.BILINEAR) for copy in copies]
    hash_N = phash.phash(np.stack([np.asarray(square) for square in squares])).tolist()
    tiny_NSSC = np.stack([np.asarray(copy.tiny) for copy in copies])
    gray_N = quality.is_gray(tiny_NSSC).tolist()
    measured = [quality.measure(np.asarray(copy.gray)) for copy in copies]
    return [
        {
            "phash": hash_N[i],
            "brightness": one.brightness,
            "contrast": one.contrast,
            "sharpness": one.sharpness,
            "entropy": one.entropy,
            "is_gray": gray_N[i],
            "tiny": tiny_NSSC[i].tobytes(),
        }
        for i, one in enumerate(measured)
    ]


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """The image by its header; what a container holds is under the limit too."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        return Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        Image.MAX_IMAGE_PIXELS = None  # once more, for the size that `_refuse` names
        try:
            return Image.open(io.BytesIO(data))
        except Exception:  # noqa: BLE001, whatever a decoder says about a bomb
            raise bomb from None


def _refuse(image: Image.Image, max_pixels: int) -> None:
    if image.format in _NO_PICTURES:
        raise _RefusedError("not_image", f"the content is {image.format}, not a picture")
    if image.format in _NOT_DECODED or isinstance(image, ImageFile.StubImageFile):
        raise _RefusedError("unsupported", f"{image.format} is not decoded")
    width, height = image.size
    if not 1 <= min(width, height) <= max(width, height) <= _LARGEST_SIDE:
        raise _RefusedError("corrupt", f"the header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise _RefusedError("too_large", f"{width} x {height} pixels are more than {max_pixels}")
    # Pillow's own check guards the images inside a container (icons).
    Image.MAX_IMAGE_PIXELS = max_pixels


def _load(image: Image.Image) -> int | None:
    """Decode the pixels; EXIF orientation 1 to 8 as found, None where there is none or it makes no sense."""
    # Pillow turns a TIFF while it loads it and forgets the tag; a PNG may carry EXIF behind its pixels, and
    # asked for it before would load there, where its error is taken for one of the EXIF.
    early = _orientation(image) if image.format != "PNG" else None
    with _libtiff_heard(image):
        try:
            image.load()
        except SyntaxError as error:
            if "APNG" not in str(error):
                raise
            # The animation is broken, the picture before it is whole.
            image.tile = []  # type: ignore[attr-defined]
    return early if image.format != "PNG" else _orientation(image)


def _upright(copy: Image.Image, image: Image.Image, orientation: int | None) -> Image.Image:
    turn = _TURNS.get(orientation or 1)
    return copy if turn is None or image.format == "TIFF" else copy.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    if not any(key in image.info for key in _EXIF_KEYS) and image.format not in ("TIFF", "MPO"):
        return None
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return None  # broken EXIF says nothing about the pixels
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _num_frames(image: Image.Image) -> int | None:
    """Number of frames from the container's index, None where a later frame's header is broken."""
    try:
        if not getattr(image, "is_animated", None):
            return 1
        num = int(image.n_frames)  # type: ignore[attr-defined]
        image.seek(0)
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, struct.error):
        return None
    return num


def _to_rgb(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """RGB over white, resized to `size` (box filter) before or after conversion, whichever is cheaper."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _narrow(image)
    if image.has_transparency_data:
        rgba = _resized(image.convert("RGBA"), size)  # premultiplied inside
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    if image.mode in ("L", "RGB", "CMYK", "YCbCr"):
        return _resized(image, size).convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    return _resized(image.convert("RGB"), size)


def _resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    if size is None or image.size == size:
        return image
    return image.resize(size, Image.Resampling.BOX)


def _narrow(image: Image.Image) -> Image.Image:
    """8-bit grey from wide grey: 16-bit values by their high byte, others stretched from least to most."""
    wide = np.asarray(image).astype(np.float64)
    finite = np.isfinite(wide)
    if not finite.any():
        raise _RefusedError("corrupt", "no pixel has a finite value")
    low, high = float(wide[finite].min()), float(wide[finite].max())
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 255 and image.mode == "I":
        low, high = 0.0, 255.0
    spread = max(high - low, np.finfo(np.float64).tiny)
    narrow = np.clip((np.where(finite, wide, low) - low) / spread, 0, 1) * 255
    return Image.fromarray(narrow.astype(np.uint8), mode=None)


def _blame(error: Exception, data: bytes, format_name: str | None) -> tuple[str, str]:
    """Status and message for what a decoder raised."""
    if isinstance(error, _RefusedError):
        return error.status, str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return "too_large", _told(error)
    if format_name != "AVIF" and (name := containers.without_decoder(data)) is not None:
        return "unsupported", f"{name} is not decoded"
    format_name = format_name or containers.starts_as(data)
    prefix = ""
    if isinstance(error, UnidentifiedImageError):
        if format_name is None:
            return "not_image", _TEXT if containers.is_text(data) else _UNKNOWN
        error = _own_error(data, format_name)
        prefix = f"starts as {format_name}, but has no usable header: "
    return _status_of(error, data, format_name), prefix + _told(error)


def _status_of(error: Exception, data: bytes, format_name: str | None) -> str:
    words = str(error)
    if _BOMB_IN_TEXT in words:
        return "too_large"
    if containers.ends_early(data, format_name):
        return "truncated"
    if isinstance(error, EOFError) or _TRUNCATED.search(words):
        return "truncated"
    if _BROKEN_BMP.search(words) or format_name == "PNG":  # which has no variants
        return "corrupt"
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(words):
        return "unsupported"
    return "corrupt"


def _own_error(data: bytes, format_name: str) -> Exception:
    """What the decoder of one format has against a file that Pillow could not identify."""
    factory, _ = Image.OPEN.get(format_name, (None, None))
    try:
        if factory is not None:
            factory(io.BytesIO(data), "")
    except Exception as error:  # noqa: BLE001, hostile bytes again
        return error
    return UnidentifiedImageError("its decoder does not know it")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Warnings silent, and Pillow's own limit left off until `_refuse` has seen the header."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextlib.contextmanager
def _libtiff_heard(image: Image.Image) -> Iterator[None]:
    """libtiff writes its warnings straight to the process's stderr, thousands for some files: they are read here.

    Raises:
        OSError: the decoder's, with the first thing that libtiff said.
        _RefusedError: the decoder made a picture although libtiff met broken data.
    """
    if image.format != "TIFF":
        yield
        return
    heard, spoken = os.pipe()  # it holds as much as is wanted; what comes after is lost, and nothing waits
    os.set_blocking(spoken, False)
    stderr = os.dup(2)
    failed: OSError | None = None
    try:
        os.dup2(spoken, 2)
        yield
    except OSError as error:
        failed = error
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(spoken)
        with open(heard, "rb", buffering=0) as pipe:
            lines = _LIBTIFF.findall(pipe.read(_HEARD).decode("utf-8", "replace"))
    if failed is not None:
        raise OSError("; ".join([str(failed), *lines[:1]])) from failed
    if (damage := next(filter(_HIDDEN_TIFF_DAMAGE.search, lines), None)) is not None:
        raise _RefusedError("corrupt", damage)


class _Clock:
    """Stops blocks that take more than so many seconds, by raising `_OutOfTimeError` in them.

    A decoder that does not come back to Python to hear of it ends its process, where that is a worker (`hangs`).

    Works where signals do: in the main thread on POSIX, which is where workers decode. A timer that was
    already running (a test runner's) stands still meanwhile and goes on afterwards.
    """

    def __init__(self, seconds: float) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._seconds = seconds
        self._is_usable = hasattr(signal, "setitimer") and in_main_thread and seconds > 0

    def __enter__(self) -> Self:
        if self._is_usable:
            self._started = time.monotonic()
            self._handler = signal.signal(signal.SIGALRM, _stop)
            self._before = signal.setitimer(signal.ITIMER_REAL, 0)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_usable:
            return
        signal.signal(signal.SIGALRM, self._handler)
        delay, interval = self._before
        if delay > 0:
            left = max(1e-3, delay - (time.monotonic() - self._started))
            signal.setitimer(signal.ITIMER_REAL, left, interval)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        if not self._is_usable:
            yield
            return
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        hangs.start(self._seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            hangs.stop()


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _OutOfTimeError
