"""The `uri` column of `images`: where an image's bytes are, and how to get them again.

/data/crawl/cats/1.jpg            a file on this machine (absolute path)
file:///data/crawl/cats/%FF.jpg   the same, where the name is not UTF-8 or looks like a row of a table
s3://bucket/crawl/cats/1.jpg      anything that fsspec opens
/data/crawl/train.parquet#17      row 17 (0-based) of a Parquet file, its one column of image bytes
/data/crawl/train.parquet#17:img  the same, the column named
/data/saved/data-00000.arrow#17   row 17 of an Arrow file, as Parquet's
/data/crawl/00000.tar#1536+48211  48,211 bytes of a tar from byte 1,536 on
/data/crawl.zip#cats/1.jpg        a member of a zip, by its name
"""

from __future__ import annotations

import bisect
import errno
import os
import re
import stat
import threading
import urllib.parse
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from webclean.errors import ColumnMissingError
from webclean.io import stores
from webclean.io.readers import archives, arrow_rows

if TYPE_CHECKING:  # a worker that reads plain files starts without it
    import pyarrow as pa

_INSIDE: Final = re.compile(
    r"""(?P<file>.+?\.(?:
        (?:parquet|pq|arrow) (?=\#(?P<row>\d+)(?::(?P<column>.+))?\Z)
        | tar (?=\#(?P<offset>\d+)\+(?P<length>\d+)\Z)
        | zip (?=\#(?P<member>.+)\Z)
    ))\#""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_REMOTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CACHED_ROW_GROUPS: Final = 2
_one_reader: Final = (
    threading.Lock()
)  # `scan` asks for several remote images at once, and tables are not made for it


def text_of_path(path: str | bytes) -> str:
    """A path as UTF-8 text: bytes that are not UTF-8 are percent-encoded, all others stay."""
    if isinstance(path, str) and path.isascii():
        return path
    raw = os.fsencode(path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def of_path(path: str | bytes) -> str:
    """The uri of a local file, made absolute."""
    raw = os.path.abspath(os.fsencode(path))
    text = text_of_path(raw)
    if text.encode() != raw or _inside(text):
        return "file://" + urllib.parse.quote_from_bytes(raw)
    return text


class Folder:
    """Makes the uris of files of one local folder, or below it, faster than `of_path`."""

    def __init__(self, path: str | bytes) -> None:
        raw = os.path.abspath(os.fsencode(path))
        self._raw = raw
        text = text_of_path(raw)
        is_plain = text.encode() == raw and "#" not in text
        self._start = text.rstrip("/") + "/" if is_plain else None

    def of(self, name: bytes) -> str:
        """The uri of a file, given by its path below the folder, without `..`, doubled or last slashes."""
        if self._start is not None and name.isascii() and b"#" not in name:
            return self._start + name.decode("ascii")
        return of_path(os.path.join(self._raw, name))


def _inside(uri: str) -> re.Match[str] | None:
    # Nearly all uris are those of plain files, and asking the expression takes longer than all else.
    return _INSIDE.match(uri) if "#" in uri else None


def of_row(file_uri: str, row: int, column: str | None = None) -> str:
    """The uri of a row (0-based) of a Parquet or Arrow file; `column` where it is not the only one with bytes."""
    return f"{file_uri}#{row}" + (f":{column}" if column is not None else "")


def of_span(file_uri: str, offset: int, length: int) -> str:
    """The uri of so many bytes of a tar from `offset` on."""
    return f"{file_uri}#{offset}+{length}"


def of_member(file_uri: str, name: str) -> str:
    """The uri of a member of a zip, by its name there."""
    return f"{file_uri}#{name}"


def of_source(path: str) -> str:
    """The uri of what a reader lists: a local path, or a URL, which it is already."""
    return path if is_remote(path) else of_path(path)


def is_remote(uri: str) -> bool:
    """Whether a uri or SOURCE needs fsspec."""
    return "://" in uri and bool(_REMOTE.match(uri)) and not uri.startswith("file://")


def local_path(uri: str) -> Path | None:
    """The image's own file on this machine, None where it is remote or inside another file."""
    return None if _inside(uri) else container_path(uri)


def container(uri: str) -> str:
    """The uri of the file that the image lies in: a table, an archive, or its own."""
    inside = _inside(uri)
    return inside["file"] if inside else uri


def container_path(uri: str) -> Path | None:
    """The file on this machine that the image lies in, or that it is; None where it is remote."""
    file_uri = container(uri)
    return None if is_remote(file_uri) else Path(path_of(file_uri))


def path_of(file_uri: str) -> str:
    """The path of the uri of a file of this machine."""
    return os.fsdecode(_raw_path(file_uri))


def _raw_path(uri: str) -> bytes:
    if uri.startswith("file://"):
        return urllib.parse.unquote_to_bytes(uri.removeprefix("file://"))
    return os.fsencode(uri)


def read_bytes(uri: str, *, max_bytes: int | None = None) -> bytes:
    """The image's bytes.

    Args:
        uri: as in `images`.
        max_bytes: refuse a larger file before it is read.

    Raises:
        FileNotFoundError: nothing is there.
        TooManyBytesError: more than `max_bytes`.
        OSError: it cannot be read, or is no regular file.
        ColumnMissingError: a Parquet or Arrow file has no column of image bytes, or more than one.
    """
    inside = _inside(uri)
    if inside and inside["row"]:
        value = _row_bytes(inside["file"], int(inside["row"]), inside["column"])
        _refuse_more(len(value), max_bytes)
        return value
    if inside and inside["offset"]:
        return _read_span(inside["file"], int(inside["offset"]), int(inside["length"]), max_bytes)
    if inside:
        return _read_member(inside["file"], inside["member"], max_bytes)
    if is_remote(uri):
        return _read_remote(uri, max_bytes)
    return read_file(_raw_path(uri), max_bytes=max_bytes)


def read_guarded(uri: str, *, max_bytes: int | None = None) -> bytes:
    """`read_bytes`, of which whatever a remote filesystem raises is an OSError: each has its own family of errors.

    Raises:
        As `read_bytes`; of a remote image OSErrors alone.
    """
    if not is_remote(uri):
        return read_bytes(uri, max_bytes=max_bytes)
    try:
        return read_bytes(uri, max_bytes=max_bytes)
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


class TooManyBytesError(OSError):
    """A file is larger than the limit; it was not read."""

    def __init__(self, nbytes: int, max_bytes: int) -> None:
        super().__init__(errno.EFBIG, f"{nbytes} bytes are more than {max_bytes}")
        self.nbytes = nbytes


def _refuse_more(nbytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and nbytes > max_bytes:
        raise TooManyBytesError(nbytes, max_bytes)


def read_file(path: bytes | str, *, max_bytes: int | None = None) -> bytes:
    """A regular file's bytes; a pipe or device is refused without waiting for it.

    Raises:
        TooManyBytesError, FileNotFoundError, OSError: as `read_bytes`.
    """
    with _open_regular(path) as file:
        _refuse_more(os.fstat(file.fileno()).st_size, max_bytes)
        return file.read()


def _open_regular(path: bytes | str) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    raise OSError(errno.EINVAL, "is not a regular file")


def open_binary(uri: str) -> BinaryIO:
    """The file of a uri, seekable: a regular file of this machine, or what fsspec reads in parts.

    Raises:
        DataError: a remote file cannot be read, or not in parts.
        FileNotFoundError, OSError: as `read_bytes`.
    """
    if is_remote(uri):
        return stores.open_parts(uri)
    return _open_regular(_raw_path(uri))


def _read_remote(uri: str, max_bytes: int | None) -> bytes:
    filesystem, path = stores.open_store(uri)
    if max_bytes is not None:
        size = filesystem.size(path)
        if size is not None:
            _refuse_more(size, max_bytes)
    data: bytes = filesystem.cat_file(path)
    return data


def _read_span(file_uri: str, offset: int, length: int, max_bytes: int | None) -> bytes:
    _refuse_more(length, max_bytes)
    if is_remote(file_uri):
        filesystem, path = stores.open_store(file_uri)
        data: bytes = filesystem.cat_file(path, start=offset, end=offset + length) if length else b""
    else:
        with _open_regular(_raw_path(file_uri)) as file:
            file.seek(offset)
            data = file.read(length)
    if len(data) < length:
        raise OSError(errno.EIO, f"the archive ends after {len(data)} of its {length} bytes")
    return data


def _read_member(file_uri: str, name: str, max_bytes: int | None) -> bytes:
    # An open zip holds its list of members and a place in its file: neither outlives a change of the zip,
    # nor may processes share it.
    state = None
    if not is_remote(file_uri):
        status = os.stat(_raw_path(file_uri))
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
    opened = _zip(file_uri, state, os.getpid())
    _refuse_more(opened.size(name), max_bytes)
    return opened.read(name)


@lru_cache(maxsize=2)
def _zip(file_uri: str, state: tuple[int, ...] | None, process: int) -> archives.Zip:
    return archives.Zip(open_binary(file_uri))


def bytes_column(schema: pa.Schema, wanted: str | None, where: str) -> str | None:
    """The column that holds image bytes: binary, or a struct with a field `bytes`; None without one.

    Raises:
        ColumnMissingError: `wanted` is not such a column, or there are several and none is wanted.
    """
    found = bytes_columns(schema)
    if wanted is not None:
        if wanted not in found:
            raise ColumnMissingError(
                f"column {wanted!r} does not hold image bytes",
                context=where,
                hint=f"columns of bytes: {', '.join(found) or 'none'}",
            )
        return wanted
    if len(found) > 1:
        raise ColumnMissingError(
            f"more than one column holds bytes: {', '.join(found)}",
            context=where,
            hint="name the images' with --bytes-column",
        )
    return found[0] if found else None


def bytes_columns(schema: pa.Schema) -> list[str]:
    """All columns that could hold image bytes."""
    return [field.name for field in schema if _holds_bytes(field.type)]


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(
            kind.field(i).name == "bytes" and _holds_bytes(kind.field(i).type) for i in range(kind.num_fields)
        )
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class _Rows:
    """Rows of one Parquet file; the last row groups stay in memory."""

    def __init__(self, file_uri: str, column: str | None) -> None:
        import pyarrow.parquet as pq

        if is_remote(file_uri):
            source: Any = stores.open_parts(file_uri)
        else:
            source = os.fsdecode(_raw_path(file_uri))
        self._file = pq.ParquetFile(source)
        chosen = bytes_column(self._file.schema_arrow, column, file_uri)
        if chosen is None:
            raise ColumnMissingError("no column holds image bytes", context=file_uri)
        self._column = chosen
        metadata = self._file.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._groups: dict[int, Any] = {}

    def read(self, row: int) -> bytes:
        if not 0 <= row < self._starts[-1]:
            raise FileNotFoundError(errno.ENOENT, f"the table has {self._starts[-1]} rows")
        group = bisect.bisect_right(self._starts, row) - 1
        if group not in self._groups:
            while len(self._groups) >= _CACHED_ROW_GROUPS:
                self._groups.pop(next(iter(self._groups)))
            self._groups[group] = self._file.read_row_group(group, columns=[self._column]).column(0)
        column, index = self._groups[group], row - self._starts[group]
        if index >= len(column):
            raise OSError(errno.EIO, "this part of the file holds fewer rows than it says")
        value = column[index].as_py()
        if isinstance(value, dict):
            value = value.get("bytes")
        if value is None:
            raise FileNotFoundError(errno.ENOENT, "the row has no bytes")
        return bytes(value)


@lru_cache(maxsize=4)
def _rows(file_uri: str, column: str | None) -> _Rows:
    return _Rows(file_uri, column)


def _row_bytes(file_uri: str, row: int, column: str | None) -> bytes:
    if file_uri.lower().endswith(arrow_rows.ENDING):
        place = file_uri if is_remote(file_uri) else os.fsdecode(_raw_path(file_uri))
        return arrow_rows.read_row(place, row, column)
    with _one_reader:
        return _rows(file_uri, column).read(row)
