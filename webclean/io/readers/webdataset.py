"""WebDataset: tar shards whose members of one key (their name up to the first dot) make a sample.

An image member is a record; `.cls`, `.txt`, `.caption` and `.json` members of its sample are its label,
caption and metadata. A tar of a folder tree is read the same way: there the folder is the category.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import posixpath
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ArtifactInvalidError
from webclean.io import containers, scan, stores
from webclean.io.readers import archives, columns, names, places, uris
from webclean.io.readers.archives import Damage, Skip, TarMember
from webclean.io.readers.fields import Fields
from webclean.io.readers.folder import HIDDEN, SIDECARS
from webclean.io.readers.records import Found, Named, Record, extra_text

ENDING: Final = ".tar"
CLASS: Final = "cls"
CAPTIONS: Final = ("txt", "caption")
METADATA: Final = "json"
_TEXTS: Final = (CLASS, *CAPTIONS, METADATA)
_UNPACKERS: Final = {
    ".tar.gz": "gunzip --keep", ".tgz": "gunzip --keep", ".tar.bz2": "bunzip2 --keep", ".tbz2": "bunzip2 --keep",
    ".tar.xz": "unxz --keep", ".txz": "unxz --keep", ".tar.zst": "unzstd", ".tzst": "unzstd",
}  # fmt: skip
ENDINGS: Final = (ENDING, *_UNPACKERS)
_BESIDE_ENDINGS: Final = (".idx", ".index", ".md5", ".sha1", ".sha256", ".log", ".done")
_BESIDE_NAMES: Final = ("readme", "license", "copying", "md5sums", "sha1sums", "sha256sums", "_success")
_LEVELS: Final = 2  # of folders that shards may lie in: data/train/00000.tar
_OWN_MEMBER: Final = re.compile(r"__[^/]*__(/|\Z)")  # the writer's own, which webdataset leaves out too
_LONGEST_TEXT: Final = 1 << 20
_HEAD: Final = 1024
_AHEAD: Final = 8 << 20


def is_shard(name: str) -> bool:
    """Whether a file of this name is a tar, plain or compressed."""
    return name.lower().endswith(ENDINGS)


def find(path: str) -> str | None:
    """The path, where it is a tar or a folder of nothing but tars and the texts beside them."""
    if is_shard(path) and (uris.is_remote(path) or not os.path.isdir(path)):
        return path
    return path if _count_shards(path, _LEVELS) else None


def _count_shards(folder: str, levels: int) -> int | None:
    """Tars in a folder and those below it, None as soon as anything else shows up."""
    count = 0
    for entry in places.entries(folder):
        name = entry.name.lower()
        if names.is_hidden(name):
            continue
        if entry.is_folder:
            below = _count_shards(entry.path, levels - 1) if levels > 0 else None
            if below is None:
                return None
            count += below
        elif is_shard(name):
            count += 1
        elif not (names.is_sidecar(name) or name.endswith(_BESIDE_ENDINGS) or name in _BESIDE_NAMES):
            return None
    return count


@dataclass(frozen=True, slots=True)
class Picture:
    """An image member of a tar.

    Attributes:
        member: where it lies.
        path: its folders and name.
        ending: of its name, from the first dot on, in lower case and without that dot.
    """

    member: TarMember
    path: tuple[str, ...]
    ending: str


@dataclass(slots=True)
class Sample:
    """Members of one key (folders and name up to the first dot).

    Attributes:
        images: members that are images.
        texts: (ending without its last part, last part) -> content. A text whose ending begins like an
            image's (`a.left.txt`, `a.left.jpg`) belongs to that image alone, `a.txt` to all of the sample.
    """

    images: list[Picture] = field(default_factory=list)
    texts: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def row(self, image: Picture, skip: Skip) -> dict[str, Any]:
        """What the texts say of an image, as a row of columns; JSON gives its fields, others their ending."""
        found: dict[str, Any] = {}
        for start in dict.fromkeys(("", image.ending.rpartition(".")[0])):
            if (raw := self.texts.get((start, METADATA))) is not None:
                found |= metadata(raw, skip)
        for start in dict.fromkeys(("", image.ending.rpartition(".")[0])):
            for kind in (CLASS, *CAPTIONS):
                if (raw := self.texts.get((start, kind))) is not None:
                    found[kind] = raw.decode("utf-8", "replace").strip()
        return found


def metadata(raw: bytes, skip: Skip) -> dict[str, Any]:
    """A JSON object as a row of columns; another value is a column `json`, and what is no JSON is none."""
    try:
        value = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        skip("metadata that is no JSON")
        return {}
    return value if isinstance(value, dict) else {METADATA: value}


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar of samples.

    Attributes:
        name: relative to SOURCE, as `source_key` begins.
        path: local path or fsspec URL.
    """

    name: str
    path: str

    def samples(self, skip: Skip, damage: Damage) -> tuple[dict[str, Sample], str | None]:
        """Samples by key, in the order of their first members, and why there are no more if it breaks off."""
        found: dict[str, Sample] = {}
        problem = None
        with stores.said(self.path) if uris.is_remote(self.path) else contextlib.nullcontext():
            try:
                with self._open() as file:
                    for member in archives.tar_members(file, skip, damage):
                        _put(found, member, file, skip)
            except OSError as error:
                problem = error.strerror or str(error)
        return found, problem

    def _open(self) -> BinaryIO:
        # Of a remote tar nearly all is fetched: many members are smaller than a request is slow.
        return (
            stores.open_parts(self.path, ahead=_AHEAD)
            if uris.is_remote(self.path)
            else places.open_binary(self.path)
        )

    def place(self, image: Picture) -> Record:
        """The record of where an image is; what is said of it comes from `Sample.row`."""
        return Record(
            f"{self.name}#{uris.text_of_path(image.member.name)}",
            uris.of_span(uris.of_source(self.path), image.member.offset, image.member.length),
            "",
            "",
            image.path[-1],
            status=image.member.status,
            error=image.member.error,
        )

    def unreadable(self, problem: str) -> Record:
        """The record that stands for a tar that cannot be read, or not to its end."""
        return Record(
            self.name, uris.of_source(self.path), "", "", posixpath.basename(self.name),
            status="unreadable", error=f"the tar {problem}",
        )  # fmt: skip


def _put(found: dict[str, Sample], member: TarMember, file: BinaryIO, skip: Skip) -> None:
    """Add a member to its sample, or say what it is instead."""
    path = names.parts(uris.text_of_path(member.name))
    left_out = names.left_out(path)
    if left_out not in (None, SIDECARS) or _OWN_MEMBER.match("/".join(path)):
        skip(left_out or HIDDEN)
        return
    stem, _, ending = path[-1].partition(".")
    ending = ending.lower()
    beginning, _, kind = ending.rpartition(".")
    key = "/".join((*path[:-1], stem))
    if kind in _TEXTS:
        if member.status is not None or member.length > _LONGEST_TEXT:
            skip("texts that are cut, sparse or longer than 1 MiB")
            return
        texts = found.setdefault(key, Sample()).texts
        if (beginning, kind) in texts:
            skip("texts of a sample that has one already")
        else:
            texts[beginning, kind] = _read(file, member, _LONGEST_TEXT)
    elif names.is_image(path[-1]) or containers.is_signed(_read(file, member, _HEAD)):
        found.setdefault(key, Sample()).images.append(Picture(member, path, ending))
    else:
        skip("members that are neither images nor texts")


def _read(file: BinaryIO, member: TarMember, at_most: int) -> bytes:
    file.seek(member.offset)
    return file.read(min(at_most, member.length))


def tell_damage(odd: Named, name: str, damage: Damage) -> None:
    """Remember what is wrong with a tar."""
    if damage.ends_early:
        odd.add("tars end early, without an end mark", name)
    if damage.has_gaps:
        odd.add("tars have stretches that cannot be read; what lies behind them is listed", name)


def read(path: str, config: IngestConfig, found: Found) -> Iterator[Record]:
    """List the images of a tar or of a folder of tars, shard by shard.

    Every shard is walked once. What its texts say waits in a file until the last shard is walked, since JSON has
    no header: the columns are those of any sample.

    Args:
        path: path or URL of a tar, or of a folder of tars.
        config: column flags; `bytes_column` names the ending of the images where samples have several.
        found: gets the columns that were used, the shards, and all that is no image.

    Raises:
        DataError: a store cannot be reached or refuses.
        ConfigError, ColumnMissingError: the columns do not fit (see `columns.match`).
    """
    shards = _plain(_shards(path, config, found), found)
    found.tables += [shard.path for shard in shards]
    wanted = None if config.bytes_column is None else config.bytes_column.lower().lstrip(".")
    with tempfile.TemporaryFile() as file:
        walks, tree = _survey(shards, wanted, config, path, found, file)
        file.seek(0)
        yield from _records(shards, walks, tree, found, file)


def _records(
    shards: Iterable[Shard], walks: list[_Walk], tree: names.Tree, found: Found, file: BinaryIO
) -> Iterator[Record]:
    """The records of all shards, from what `_survey` has put into a file."""
    fields = Fields(found.columns)
    odd = Named()
    for shard, walk in zip(shards, walks, strict=True):
        for _ in range(walk.num_images):
            path, ending, row, *member = marshal.load(file)
            record = shard.place(Picture(TarMember(*member), path, ending))
            fields.describe(record, row)
            record.extra = extra_text(fields.extra(row))
            _take_folder(record, tree.category(path))
            yield record
        if walk.problem is not None:
            yield shard.unreadable(walk.problem)
        tell_damage(odd, shard.name, walk.damage)
    found.notes += odd.notes()


@dataclass(slots=True)
class _Walk:
    """What a walk of a shard came to."""

    num_images: int = 0
    problem: str | None = None
    damage: Damage = field(default_factory=Damage)


def _shards(path: str, config: IngestConfig, found: Found) -> list[Shard]:
    """The tars that a path is or holds, by name; counts everything else in `found`."""
    if is_shard(path) and (uris.is_remote(path) or not os.path.isdir(path)):
        return [Shard(places.basename(path), path)]
    if uris.is_remote(path):
        return sorted(_remote_shards(path, "", found), key=lambda shard: shard.name)
    if not os.path.isdir(path):
        return [Shard(places.basename(path), path)]
    top = os.path.realpath(path)
    shards = []
    for folder, below, files in os.walk(path):
        for name in (*below, *files):
            file = os.path.join(folder, name)
            if names.is_hidden(name):
                found.skip(HIDDEN)
            elif name in below:
                if os.path.islink(file):
                    found.skip("linked folders not followed")
            elif not is_shard(name):
                found.skip(SIDECARS)
            elif not config.allow_outside and not scan.is_inside(file, top):
                found.skip("tars that a link leads to outside SOURCE (--allow-outside reads them)")
            else:
                shards.append(Shard(uris.text_of_path(os.path.relpath(file, path)), file))
        below[:] = [name for name in below if not names.is_hidden(name)]
    return sorted(shards, key=lambda shard: shard.name)


def _remote_shards(path: str, rel: str, found: Found) -> Iterator[Shard]:
    for entry in places.entries(path):
        name = posixpath.join(rel, entry.name)
        if names.is_hidden(entry.name):
            found.skip(HIDDEN)
        elif entry.is_folder:
            yield from _remote_shards(entry.path, name, found)
        elif is_shard(entry.name):
            yield Shard(name, entry.path)
        else:
            found.skip(SIDECARS)


def _plain(shards: list[Shard], found: Found) -> list[Shard]:
    """Without compressed tars whose plain ones lie beside them; tells how to decompress the others.

    A member of a compressed tar lies behind everything before it: to read one image alone, as a rerun or an
    export does, all of that would have to be decompressed each time.

    Raises:
        ArtifactInvalidError: all tars are compressed.
    """
    there = {shard.name for shard in shards}
    kept: list[Shard] = []
    commands: dict[str, list[str]] = {}
    for shard in shards:
        ending = next((ending for ending in _UNPACKERS if shard.name.lower().endswith(ending)), None)
        if ending is None:
            kept.append(shard)
        elif shard.name[: -len(ending)] + ENDING in there:
            found.skip("compressed tars beside the same tar decompressed")
        else:
            kept.append(shard)
            commands.setdefault(_UNPACKERS[ending], []).append(shard.path)
    if not commands:
        return kept
    command, paths = next(iter(commands.items()))
    num = sum(map(len, commands.values()))
    advice = f"`{command} {shlex.join(paths[:1])}`" + (", and so on" if num > 1 else "")
    if num == len(kept):
        raise ArtifactInvalidError(
            f"{num} of {num} tars are compressed, so that no image can be read alone; decompress {'it' if num == 1 else 'them'} first",
            context=", ".join(shard.name for shard in kept[:3]) + (" and others" if num > 3 else ""),
            hint=f"{advice}; then the same command again" if not uris.is_remote(paths[0])
            else "download, decompress and upload it again, or pack it as a zip, which is read where it lies",
        )  # fmt: skip
    found.notes.append(f"{num} tars are compressed, so that no image in them can be read alone: {advice}")
    return kept


def _survey(
    shards: Iterable[Shard],
    wanted: str | None,
    config: IngestConfig,
    where: str,
    found: Found,
    file: BinaryIO,
) -> tuple[list[_Walk], names.Tree]:
    """Walk all shards, match the columns of all samples, and write the images and their rows to a file."""
    walks: list[_Walk] = []
    seen: set[str] = set()
    paths: set[tuple[str, ...]] = set()
    for shard in shards:
        walk = _Walk()
        walks.append(walk)
        samples, walk.problem = shard.samples(found.skip, walk.damage)
        for sample in samples.values():
            if not sample.images:
                found.skip("samples without an image")
            for image in sample.images:
                if wanted not in (None, image.ending):
                    found.skip(f"images of samples that are not .{wanted}")
                    continue
                row, member = sample.row(image, found.skip), image.member
                seen.update(row)
                paths.add((*image.path[:-1], ""))
                walk.num_images += 1
                place = (member.name, member.offset, member.length, member.status, member.error)
                marshal.dump((image.path, image.ending, row, *place), file)
    tree = names.Tree(paths)
    if not paths:
        return walks, tree
    known = {schema.CATEGORY: CLASS} if CLASS in seen else {}
    known |= (
        {schema.DESCRIPTION: next(kind for kind in CAPTIONS if kind in seen)} if seen & {*CAPTIONS} else {}
    )
    found.columns = columns.match(
        sorted(seen), config, bytes_column=None, where=where,
        known=known, has_paths=False, category_needed=tree.is_flat,
    )  # fmt: skip
    return walks, tree


def _take_folder(record: Record, folder: str | None) -> None:
    """Name the category by the folder where nothing else does."""
    if not record.category:
        record.category = folder or ""
        record.query = record.query or record.category
    if not record.category and record.status is None:
        record.status = schema.STATUS_EXCLUDED
        record.error = "neither a class, nor its metadata, nor a folder names its category"
