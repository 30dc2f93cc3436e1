"""What img2dataset wrote: shards of files, of tars or of Parquet, with a table of what became of each URL.

A shard is `00000/` or `00000.tar` beside `00000.parquet`, or that table alone with the images in it, and
`00000_stats.json`, which img2dataset writes last. Failed downloads stand in the table only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError
from webclean.io import scan
from webclean.io.readers import columns, manifest, names, places, uris, webdataset
from webclean.io.readers.archives import Damage, Skip
from webclean.io.readers.fields import Fields
from webclean.io.readers.folder import HIDDEN
from webclean.io.readers.records import Found, Named, Record, extra_text

_PART: Final = re.compile(r"(\d{2,})(|\.tar|\.parquet|_stats\.json)")
_FOLDER: Final = ""
_TAR: Final = ".tar"
_TABLE: Final = ".parquet"
_STATS: Final = "_stats.json"
_KEY: Final = "key"
_STATUS: Final = "status"
_MESSAGE: Final = "error_message"
_SUCCESS: Final = "success"
_LONGEST_TEXT: Final = 1 << 20

_Row = dict[str, Any]


def find(path: str) -> str | None:
    """The path, where it is a folder with a finished shard."""
    parts = _parts(path)
    return path if any(_STATS in ends and ends & {_TAR, _TABLE} for ends in parts.values()) else None


def _parts(path: str) -> dict[str, set[str]]:
    """Number of each shard -> the endings of what there is of it; nothing for what is no folder."""
    found: dict[str, set[str]] = {}
    for entry in places.entries(path):
        match = _PART.fullmatch(entry.name)
        if match and entry.is_folder == (match[2] == _FOLDER):
            found.setdefault(match[1], set()).add(match[2])
    return found


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the rows of all shards: those with an image, and those without, with what img2dataset says.

    Args:
        path: local folder.
        config: column flags, `allow_outside`.
        found: gets the columns that were used, the shards, and all that is no image.

    Raises:
        ConfigError, ColumnMissingError: the columns do not fit (see `columns.match`).
    """
    has_links = not (config.allow_outside or uris.is_remote(path))
    parts = _parts(path) if not has_links else _inside(path, _parts(path), found)
    shards = [_Shard(path, stem, ends) for stem, ends in sorted(parts.items())]
    _count_others(path, found)
    seen: set[str] = set()
    for shard in shards:
        found.tables += shard.files()
        seen |= shard.column_names(config)
    chosen = columns.match(sorted(seen), config, bytes_column=None, where=path, has_paths=False)
    found.columns |= chosen
    odd = Named()
    for shard in shards:
        if _STATS not in shard.ends:
            odd.add(f"shards are unfinished (no *{_STATS}) and read as far as they go", shard.stem)
        yield from shard.records(config, chosen, found, odd)
    found.notes += odd.notes()


def _inside(path: str, parts: dict[str, set[str]], found: Found) -> dict[str, set[str]]:
    """The parts that no link leads out of SOURCE."""
    top = os.path.realpath(path)
    kept: dict[str, set[str]] = {}
    for stem, ends in parts.items():
        for end in ends:
            if scan.is_inside(os.path.join(path, stem + end), top):
                kept.setdefault(stem, set()).add(end)
            else:
                found.skip("parts of shards that a link leads to outside SOURCE (--allow-outside reads them)")
    return kept


def _count_others(path: str, found: Found) -> None:
    for name in places.names(path):
        if not _PART.fullmatch(name):
            found.skip(HIDDEN if names.is_hidden(name) else "files and folders that are no shards")


@dataclass(slots=True)
class _Contents:
    """What the folder or the tar of a shard holds.

    Attributes:
        pictures: key -> its images, as records without what the table says of them; one, unless somebody
            added some.
        texts: key -> the JSON that img2dataset put beside the image, or the path of its file.
        problem: stands for a tar that cannot be read, or not to its end.
        damage: what else is wrong with the tar.
        versions: of the images of a folder in a store.
    """

    pictures: dict[str, list[Record]] = field(default_factory=dict)
    texts: dict[str, bytes | str] = field(default_factory=dict)
    problem: Record | None = None
    damage: Damage = field(default_factory=Damage)
    versions: list[str] = field(default_factory=list)

    def said(self, key: str, skip: Skip) -> _Row:
        """The JSON of an image as a row."""
        text = self.texts.get(key, b"{}")
        if isinstance(text, str):
            try:
                text = places.read(text, max_bytes=_LONGEST_TEXT)
            except OSError:
                skip("metadata that cannot be read")
                return {}
        return webdataset.metadata(text, skip)


@dataclass(slots=True)
class _Shard:
    """One shard: its folder, its number as text, the endings of what there is of it, and what its table is not."""

    top: str
    stem: str
    ends: set[str]
    problem: str | None = None

    def files(self) -> list[str]:
        """Paths of its files."""
        return [self._path(end) for end in sorted(self.ends - {_FOLDER})]

    def column_names(self, config: IngestConfig) -> set[str]:
        """Columns of its table, or of its JSON where there is no table that can be read."""
        if _TABLE in self.ends:
            try:
                head = manifest.heading(self._path(_TABLE), config, kind="parquet")
                return set(head.names) - {head.bytes_column}
            except ArtifactInvalidError as error:
                self.problem = error.message
            except OSError as error:
                self.problem = error.strerror or str(error)
        contents = self._contents(_not_told)
        return {name for key in contents.pictures for name in contents.said(key, _not_told)}

    def records(
        self, config: IngestConfig, chosen: dict[str, str], found: Found, odd: Named
    ) -> Iterator[Record]:
        """Its rows in the order of its table, then the images that the table does not name."""
        contents = self._contents(found.skip)
        webdataset.tell_damage(odd, self.stem + _TAR, contents.damage)
        for version in contents.versions:
            found.stamp(version)
        if contents.problem is not None:
            yield contents.problem
        if self.problem is not None:
            yield self._in_place_of_table("unreadable", self.problem)
        elif _TABLE in self.ends:
            yield from self._table_records(contents.pictures, config, chosen, found)
        elif self.ends == {_STATS}:
            yield self._in_place_of_table("missing", f"{self.stem}{_STATS} stands alone: its shard is gone")
        elif _STATS in self.ends:
            odd.add("shards have lost their table, and with it their failed downloads", self.stem)
        fields = Fields(chosen, not_extra=(_STATUS, _MESSAGE))
        for key, pictures in contents.pictures.items():
            row = contents.said(key, found.skip)
            for record in pictures:
                fields.describe(record, row)
                record.extra = extra_text(fields.extra(row))
                if not record.category and record.status is None:
                    record.status, record.error = schema.STATUS_EXCLUDED, "its JSON names no category"
                yield record

    def _table_records(
        self,
        pictures: dict[str, list[Record]],
        config: IngestConfig,
        chosen: dict[str, str],
        found: Found,
    ) -> Iterator[Record]:
        """Records of the table's rows; takes their images out of `pictures`."""

        def complete(record: Record, extra: dict[str, Any]) -> None:
            status, message = extra.pop(_STATUS, None), columns.text(extra.pop(_MESSAGE, None))
            key = columns.text(extra.get(_KEY)) or ""
            if own := pictures.get(key):
                place = own.pop(0)
                record.source_key, record.uri, record.file_name = place.source_key, place.uri, place.file_name
                record.status, record.error = place.status, place.error
            elif record.status is not None and status not in (None, _SUCCESS):
                record.status = "not_downloaded"
                record.error = f"img2dataset: {status}: {message or 'no message'}"
            elif record.status is not None:
                record.error = "the table says success, and the shard holds no image of its key"

        yield from manifest.read(
            self._path(_TABLE), config, found,
            kind="parquet", name=self.stem + _TABLE, chosen=chosen, complete=complete,
        )  # fmt: skip

    def _in_place_of_table(self, status: str, error: str) -> Record:
        name = self.stem + _TABLE
        return Record(name, uris.of_source(self._path(_TABLE)), "", "", name, status=status, error=error)

    def _path(self, end: str) -> str:
        return places.join(self.top, self.stem + end)

    def _contents(self, skip: Skip) -> _Contents:
        found = _Contents()
        if _FOLDER in self.ends:
            self._list_folder(found, skip)
        if _TAR in self.ends:
            self._list_tar(found, skip)
        return found

    def _list_folder(self, found: _Contents, skip: Skip) -> None:
        for entry in places.entries(self._path(_FOLDER)):
            key, _, ending = entry.name.partition(".")
            if names.is_hidden(entry.name):
                skip(HIDDEN)
            elif entry.is_folder:
                skip("folders in shards")
            elif ending == "json":
                # img2dataset makes no links, and one could lead anywhere
                if uris.is_remote(entry.path) or not os.path.islink(entry.path):
                    found.texts[key] = entry.path
            elif not names.is_sidecar(entry.name):
                shown = uris.text_of_path(entry.name)
                place = Record(f"{self.stem}/{shown}", uris.of_source(entry.path), "", "", shown)
                found.versions.append(entry.version)
                found.pictures.setdefault(key, []).append(place)

    def _list_tar(self, found: _Contents, skip: Skip) -> None:
        shard = webdataset.Shard(self.stem + _TAR, self._path(_TAR))
        samples, problem = shard.samples(skip, found.damage)
        for key, sample in samples.items():
            if sample.images:
                found.pictures.setdefault(key, []).extend(shard.place(image) for image in sample.images)
            else:
                skip("samples without an image")
            if (text := sample.texts.get(("", webdataset.METADATA))) is not None:
                found.texts[key] = text
        if problem is not None:
            found.problem = shard.unreadable(problem)


def _not_told(kind: str) -> None:
    """What is counted when the records are made."""
