"""Members of tars and zips where they lie: found and read in any order, never unpacked.

The standard library's `tarfile` parses each header, but does not walk: it stops at a broken header
without a word, keeps every member in memory, and reads a hostile extended header of any size.
"""

from __future__ import annotations

import errno
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Final, Self

_BLOCK: Final = 512
_AT_ONCE: Final = 1 << 20
_LARGEST_HEADER: Final = 1 << 20  # bytes of a long name or of extended attributes
_AHEAD: Final = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE,
)  # fmt: skip
_DATA: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)
_LINKS: Final = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_DEVICES: Final = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_PAX_RECORD: Final = re.compile(rb"(\d{1,10}) ([^=\n]+)=")
# Mode, owner, group, size, time, checksum and kind of a file or folder, as most programs write them.
_PLAIN_NUMBERS: Final = re.compile(rb"(?:[0-7]{7}\0){3}([0-7]{11})\0[0-7]{11}\0([0-7]{6})\0 ([05])")
_NAME_END: Final = 100
_SUM: Final = slice(148, 156)
_PREFIX: Final = 345
_ADLER_PRIME: Final = 65521
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip

LINKS: Final = "links in archives"
DEVICES: Final = "pipes and devices"
ODD_KINDS: Final = "archive members of unknown kinds"

Skip = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar.

    Attributes:
        name: as in the tar; bytes that are not UTF-8 are lone surrogates, as in paths.
        offset: of its first byte in the tar.
        length: bytes.
        status: why it cannot be read, one of `schema.STATUSES`; None where it can.
        error: the same in words.
    """

    name: str
    offset: int
    length: int
    status: str | None = None
    error: str | None = None


@dataclass(slots=True)
class Damage:
    """What is wrong with a tar as a whole; filled while it is walked."""

    ends_early: bool = False
    has_gaps: bool = False


@dataclass(slots=True)
class _Ahead:
    """What headers say ahead of a member's own: its long name, its attributes, and those of all members."""

    name: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    def take(self, kind: bytes, payload: bytes) -> None:
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = _text(payload.split(b"\0", 1)[0])
        elif kind == tarfile.XGLTYPE:
            self.shared |= _pax(payload)
        elif kind != tarfile.GNUTYPE_LONGLINK:
            self.attributes = _pax(payload)

    def forget(self) -> None:
        self.name, self.attributes = None, {}


def tar_members(file: BinaryIO, skip: Skip, damage: Damage) -> Iterator[TarMember]:
    """Walk a tar and give its files in their order.

    Goes on behind a header that is broken, and behind an end mark: what another archive appended is
    read too. Holds one member at a time.

    Args:
        file: seekable.
        skip: told the kind of each member that is no file; folders are not told.
        damage: told what else is wrong.

    Raises:
        OSError: it is no tar, is empty or compressed, or cannot be read.
    """
    total = file.seek(0, os.SEEK_END)
    if total == 0:
        raise OSError(errno.EINVAL, "is empty")
    offset, is_ended, is_tar = 0, False, False
    ahead = _Ahead()
    while offset < total:
        block = _read(file, offset, _BLOCK)
        if offset == 0:
            _refuse_compressed(block)
        if len(block) < _BLOCK:
            break
        if not any(block):
            is_ended = True
            offset = _behind_zeros(file, offset)
            continue
        head = _header(block)
        if head is None:
            offset = _next_header(file, offset + _BLOCK)
            if offset < 0 and not is_tar:
                raise OSError(errno.EINVAL, "is no tar")
            damage.has_gaps = True
            if offset < 0:
                return
            ahead.forget()
            continue
        is_tar, is_ended = True, False
        start = offset + _BLOCK
        if head.type in _AHEAD:
            offset = start + _padded(head.size)
            if head.size > _LARGEST_HEADER:
                damage.has_gaps = True
            elif offset <= total:
                ahead.take(head.type, _read(file, start, head.size))
            continue
        attributes = ahead.shared | ahead.attributes
        name = attributes.get("path") or ahead.name or head.name
        size = attributes.get("size", "")
        length = int(size) if size.isdecimal() and len(size) < 19 else head.size
        ahead.forget()
        if head.type in _LINKS or head.type in _DEVICES:
            skip(LINKS if head.type in _LINKS else DEVICES)
            offset = start
            continue
        if head.type == tarfile.DIRTYPE:
            offset = start
            continue
        is_sparse = any(key.startswith("GNU.sparse.") for key in attributes)
        if head.type == tarfile.GNUTYPE_SPARSE:
            is_sparse = True
            start = _behind_sparse_map(file, block, start)
        offset = start + _padded(length)
        if head.type not in _DATA:
            skip(ODD_KINDS)
        elif start + length > total:
            left = max(0, total - start)
            yield TarMember(
                name, start, left, "truncated", f"the tar ends after {left} of its {length} bytes"
            )
        elif is_sparse:
            yield TarMember(name, start, length, "unreadable", "a sparse member; unpack the tar to read it")
        else:
            yield TarMember(name, start, length)
    if not is_tar and not is_ended:
        raise OSError(errno.EINVAL, "is no tar")
    if offset > total or not is_ended:
        damage.ends_early = True


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _padded(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


@dataclass(frozen=True, slots=True)
class _Header:
    """What a member's header says."""

    name: str
    size: int
    type: bytes


def _header(block: bytes) -> _Header | None:
    """The header that a block is, None where it is none."""
    return _plain_header(block) or _any_header(block)


def _plain_header(block: bytes) -> _Header | None:
    """The same, ten times as fast, for headers without anything unusual; None for all others."""
    found = _PLAIN_NUMBERS.match(block, _NAME_END)
    name = block[:_NAME_END].partition(b"\0")[0]
    if found is None or not name.isascii() or block[_PREFIX]:
        return None
    size, checksum, kind = found.groups()
    # The lower half of Adler-32 is one more than the sum of the bytes, modulo its prime.
    total = zlib.adler32(block[: _SUM.start] + b" " * 8 + block[_SUM.stop :]) & 0xFFFF
    if total != (int(checksum, 8) + 1) % _ADLER_PRIME:
        return None
    text = name.decode("ascii")
    return _Header(text.rstrip("/") if kind == tarfile.DIRTYPE else text, int(size, 8), kind)


def _any_header(block: bytes) -> _Header | None:
    try:
        head = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return None
    return _Header(head.name, head.size, head.type) if head.size >= 0 else None


def _refuse_compressed(block: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic):
            raise OSError(
                errno.EINVAL,
                f"is compressed with {name}, so that no member can be read alone; decompress it first",
            )


def _behind_zeros(file: BinaryIO, offset: int) -> int:
    """Offset of the first block at or behind `offset` that is not all zeros, or the end."""
    while chunk := _read(file, offset, _AT_ONCE):
        kept = chunk.lstrip(b"\0")
        if kept:
            return offset + (len(chunk) - len(kept)) // _BLOCK * _BLOCK
        offset += len(chunk)
    return offset


def _next_header(file: BinaryIO, offset: int) -> int:
    """Offset of the next block that is a header by its mark and its checksum, -1 without one."""
    while chunk := _read(file, offset, _AT_ONCE):
        found = chunk.find(b"ustar")
        while found >= 0:
            start = found - 257
            if start >= 0 and start % _BLOCK == 0 and _header(chunk[start : start + _BLOCK]) is not None:
                return offset + start
            found = chunk.find(b"ustar", found + 1)
        offset += len(chunk)
    return -1


def _behind_sparse_map(file: BinaryIO, block: bytes, offset: int) -> int:
    """Where the data of an old GNU sparse member begins: its map may go on in further blocks."""
    goes_on = bool(block[482])
    while goes_on:
        block = _read(file, offset, _BLOCK)
        offset += _BLOCK
        goes_on = len(block) == _BLOCK and bool(block[504])
    return offset


def _pax(payload: bytes) -> dict[str, str]:
    """The records `length key=value` of an extended header, as far as they make sense."""
    found: dict[str, str] = {}
    start = 0
    while match := _PAX_RECORD.match(payload, start):
        end = start + int(match[1])
        if not match.end() < end <= len(payload):
            break
        found[_text(match[2])] = _text(payload[match.end() : end - 1])
        start = end
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


# What the standard library raises on broken zips; RuntimeError is that of a missing password.
_BROKEN: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
    OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip
_IN_SMALL_STEPS: Final = 4096
_WHOLE_AT_ONCE: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_IS_UTF8: Final = 0x800
_WINDOWS: Final = (0, 10, 14)  # FAT, NTFS, VFAT: no Unix modes, and at times backslashes


class Zip:
    """A zip, open for reading its members by name; it closes its file when it is closed or forgotten."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the list of members.

        Args:
            file: seekable; from now on it belongs to this object.

        Raises:
            OSError: it cannot be read, or is no zip.
        """
        self._source = file
        try:
            self._file = zipfile.ZipFile(file)
        except (*_BROKEN, OSError) as error:
            file.close()
            raise OSError(errno.EINVAL, f"is not readable as zip: {error}") from error
        self._members = {_zip_name(info): info for info in self._file.infolist()}

    def __del__(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._source.close()

    def names(self, skip: Skip) -> Iterator[str]:
        """Names of the files, as `size` and `read` take them, in the order of the list.

        Args:
            skip: told the kind of each member that is no file; folders are not told.
        """
        counts = Counter(_zip_name(info) for info in self._file.infolist())
        for name, info in self._members.items():
            for _ in range(counts[name] - 1):
                skip("archive members that a later one of the same name replaces")
            is_windows = info.create_system in _WINDOWS
            kind = 0 if is_windows else stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or (is_windows and name.endswith("\\")):
                continue
            if stat.S_ISLNK(kind):
                skip(LINKS)
            elif kind not in (0, stat.S_IFREG):
                skip(DEVICES)
            else:
                yield name

    def with_slashes(self, name: str) -> str:
        """A member's name with its folders behind slashes; some programs of Windows write backslashes."""
        is_windows = self._members[name].create_system in _WINDOWS
        return name.replace("\\", "/") if is_windows and "/" not in name else name

    def size(self, name: str) -> int:
        """Bytes of a member, as the list says.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        return self._find(name).file_size

    def read(self, name: str) -> bytes:
        """A member's bytes; no more is decompressed than the list says there are.

        Raises:
            FileNotFoundError: there is none of this name.
            OSError: it is encrypted, broken, or compressed in a way that is not read.
        """
        info = self._find(name)
        if info.flag_bits & _ENCRYPTED:
            raise OSError(errno.EINVAL, "it is encrypted; unpack the zip with its password")
        # One step of a method that takes no limit may blow up; small steps keep that small.
        step = info.file_size + 1 if info.compress_type in _WHOLE_AT_ONCE else _IN_SMALL_STEPS
        try:
            with self._file.open(info) as member:
                data = b"".join(iter(lambda: member.read(step), b""))
        except _BROKEN as error:
            raise OSError(errno.EIO, f"the zip's member cannot be read: {error}") from error
        if len(data) != info.file_size:
            raise OSError(errno.EIO, f"the zip holds {len(data)} of its {info.file_size} bytes")
        return data

    def _find(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "the zip has no such member") from None


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The member's name: UTF-8 also where the zip does not say so (macOS), else the zip's own code page 437."""
    if info.flag_bits & _IS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
