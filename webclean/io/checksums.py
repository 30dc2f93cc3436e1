"""SHA256SUMS: the list of `sha256sum`, written and checked here, or by `sha256sum -c SHA256SUMS`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from webclean.errors import ArtifactInvalidError, ArtifactMissingError

FILE_NAME: Final = "SHA256SUMS"
_BLOCK: Final = 1 << 20
_LINE: Final = re.compile(rb"(\\?)([0-9a-f]{64}) [ *](.+)", re.DOTALL)
_ESCAPES: Final = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check found; paths as they stand in the list, in its order."""

    num_files: int
    missing: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        """Whether every file is there with the bytes it was listed with."""
        return not self.missing and not self.differing


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return stream_sha256(file)


def stream_sha256(file: BinaryIO) -> str:
    """SHA-256 of all that is left of an open file, 64 hex digits."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def dump(sha256_of: Mapping[str, str]) -> bytes:
    """The list as `sha256sum` writes it, sorted by the bytes of the paths.

    A path with a backslash or a line break is escaped, and its line starts with a backslash.
    """
    return b"".join(_line(path, sha256_of[path]) for path in sorted(sha256_of, key=lambda p: os.fsencode(p)))


def _line(path: str, sha256: str) -> bytes:
    raw = os.fsencode(path)
    escaped = raw
    for plain, written in _ESCAPES:
        escaped = escaped.replace(plain, written)
    return (b"\\" if escaped != raw else b"") + sha256.encode("ascii") + b"  " + escaped + b"\n"


def parse(data: bytes) -> Iterator[tuple[str, str]]:
    """(path, sha256) of each line.

    Raises:
        ArtifactInvalidError: a line is not one of a checksum list.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ArtifactInvalidError(f"line {number} of {FILE_NAME} is not `sha256  path`")
        path = re.sub(rb"\\(.)", _unescape, match[3]) if match[1] else match[3]
        yield os.fsdecode(path), match[2].decode("ascii")


def _unescape(match: re.Match[bytes]) -> bytes:
    return {b"n": b"\n", b"r": b"\r"}.get(match[1], match[1])


def verify(folder: Path, sha256s: Iterable[tuple[str, str]] | None = None) -> Verification:
    """Read every listed file again; relative paths are relative to `folder`.

    Args:
        folder: where the list stands.
        sha256s: the list; read from `folder` where none is given.

    Raises:
        ArtifactMissingError: the folder has no list.
        ArtifactInvalidError: the list cannot be read as one.
    """
    if sha256s is None:
        try:
            sha256s = parse((folder / FILE_NAME).read_bytes())
        except FileNotFoundError as error:
            raise ArtifactMissingError(
                f"{folder} has no {FILE_NAME}", hint="give the folder that `webclean export RUN OUT` wrote"
            ) from error
    num_files, missing, differing = 0, [], []
    for path, sha256 in sha256s:
        num_files += 1
        try:
            if file_sha256(folder / path) != sha256:
                differing.append(path)
        except OSError:
            missing.append(path)
    return Verification(num_files, tuple(missing), tuple(differing))
