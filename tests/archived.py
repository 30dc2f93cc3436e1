"""Crawls in archives, packed with the standard library: what the readers of tars and zips are tried on."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from webclean.config import IngestConfig
from webclean.io.readers.listing import Listing, list_source

Members = Iterable[tuple[str, bytes]]


def write_tar(path: Path, members: Members, *, format: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of files in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data in members:
            add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    """One member; `fields` are attributes of its header."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def write_zip(path: Path, members: Members, *, method: int = zipfile.ZIP_STORED) -> Path:
    """A zip of files in this order."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def listed(source: object, **options: object) -> Listing:
    return list_source(IngestConfig(source=str(source), **options))


def rows(source: object, **options: object) -> list[dict[str, object]]:
    return listed(source, **options).records.to_pylist()
