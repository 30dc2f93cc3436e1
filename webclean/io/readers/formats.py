"""The layouts of SOURCE that ingest reads: one literal table, and which of them a path is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from webclean.config import IngestConfig
from webclean.errors import ConfigError, ImagesNotFoundError
from webclean.io.readers import (
    clothing1m,
    downloads,
    food101n,
    huggingface,
    imagefolder,
    img2dataset,
    manifest,
    places,
    tree,
    uris,
    webdataset,
    webvision,
    zipped,
)
from webclean.io.readers.arrow_rows import ENDING as ARROW
from webclean.io.readers.records import Found, Record

AUTO: Final = "auto"
_FOLDER: Final = "folder"
_HUGGING_FACE: Final = "huggingface"


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of SOURCE.

    Attributes:
        name: as `--format` takes it.
        expects: what a path of this layout is, for messages.
        find: path or URL of a file or folder -> what is to be read, None where it is not of this layout.
        read: what `find` gave -> its records; counts everything else in `Found` and names there the
            tables it read.
        is_file: whether a file of any ending may be read as this, when it is named.
        archive: endings of the one file that may be all of this layout.
    """

    name: str
    expects: str
    find: Callable[[str], str | None]
    read: Callable[[str, IngestConfig, Found], Iterator[Record]]
    is_file: bool = False
    archive: tuple[str, ...] = ()


def _manifest(kind: str, ending: str) -> Format:
    return Format(
        kind,
        f"a file *{ending}, or a folder with one manifest{ending}",
        partial(manifest.find, kind=kind),
        partial(manifest.read, kind=kind),
        is_file=True,
    )


FORMATS: Final = (
    _manifest("csv", ".csv"),
    _manifest("jsonl", ".jsonl"),
    _manifest("parquet", ".parquet"),
    Format(
        webvision.NAME,
        "a folder with info/synsets.txt and info/train_filelist_*.txt, or one of these lists",
        webvision.find,
        webvision.read,
    ),
    Format(
        "clothing1m",
        "a folder with category_names_eng.txt, *_label_kv.txt and *_key_list.txt, or one of these key lists",
        clothing1m.find,
        clothing1m.read,
    ),
    Format(
        "food101n",
        "a folder with meta/imagelist.tsv and meta/classes.txt",
        food101n.find,
        food101n.read,
    ),
    Format(
        "img2dataset",
        "a folder with 00000_stats.json beside 00000.parquet or 00000.tar",
        img2dataset.find,
        img2dataset.read,
    ),
    Format(
        "webdataset",
        "a file *.tar, or a folder of nothing but such files and the texts beside them",
        webdataset.find,
        webdataset.read,
        archive=webdataset.ENDINGS,
    ),
    Format(
        "zip",
        "a file *.zip, or a folder of nothing but such files and texts",
        zipped.find,
        zipped.read,
        archive=(zipped.ENDING,),
    ),
    Format(
        _HUGGING_FACE,
        "a folder that save_to_disk of datasets wrote, one of its *.arrow files, or a folder of Parquet"
        " files with images, and no image files",
        huggingface.find,
        huggingface.read,
    ),
    Format(
        "imagefolder",
        "a folder with metadata.csv, .jsonl or .parquet in it or below it, and in that a column file_name",
        imagefolder.find,
        imagefolder.read,
    ),
    Format(
        "downloads",
        "a folder whose files are numbered as icrawler, fastai, bing_image_downloader or google_images_download"
        " do it: 000001.jpg, 00000000.jpg, Image_1.jpg, 1. name.jpg",
        downloads.find,
        downloads.read,
    ),
    Format(
        _FOLDER,
        "a folder",
        lambda path: path if uris.is_remote(path) or os.path.isdir(path) else None,
        tree.read,
    ),
)
"""In the order in which a path is compared with them; the tree of folders takes what is left."""


def recognise(source: str, name: str) -> tuple[Format, str]:
    """The layout of SOURCE and the path to read.

    Args:
        source: local path or fsspec URL.
        name: of a format, or `auto`.

    Raises:
        ImagesNotFoundError: there is no SOURCE, or it is not of the named layout.
        ConfigError: the layout is not clear.
    """
    if not source:
        raise ConfigError("no SOURCE is given")
    places.forget()
    if uris.is_remote(source):
        return _remote(source, name)
    path = os.path.expanduser(source.removeprefix("file://"))
    if not os.path.exists(path):
        raise ImagesNotFoundError(f"there is no {path}", hint="SOURCE is a folder or a manifest")
    if name == AUTO:
        return _guess(path)
    chosen = next(form for form in FORMATS if form.name == name)
    found = path if chosen.is_file and os.path.isfile(path) else chosen.find(path)
    if found is None:
        raise _not_of(path, chosen)
    return chosen, found


def _guess(path: str) -> tuple[Format, str]:
    with places.asked_once():
        _refuse_many(path, manifest.in_folder(path))
        for form in FORMATS:
            if (found := form.find(path)) is not None:
                return form, found
    raise ConfigError(
        f"{path} is a file, and its ending names no format",
        hint=f"--format {', '.join(form.name for form in FORMATS if form.is_file)}; or give the"
        " folder of the images",
    )


def _remote(source: str, name: str) -> tuple[Format, str]:
    """A file by its ending, which no server has to list, else what the listing of a folder shows."""
    forms = {form.name: form for form in FORMATS}
    lower = source.lower()
    if name in (AUTO, _HUGGING_FACE) and lower.endswith(ARROW):
        return forms[_HUGGING_FACE], source
    if name in (AUTO, *manifest.KINDS) and (kind := manifest.kind_of(source)):
        return forms[kind if name == AUTO else name], source
    for form in FORMATS:
        if name in (AUTO, form.name) and form.archive and lower.endswith(form.archive):
            return form, source
    if name == AUTO:
        return _guess(source)
    if (found := forms[name].find(source)) is not None:
        return forms[name], found
    if forms[name].is_file:
        return forms[name], source  # a manifest whose address has another ending
    raise _not_of(source, forms[name])


def _not_of(path: str, form: Format) -> ImagesNotFoundError:
    return ImagesNotFoundError(
        f"{path} is not of the format {form.name}",
        context=f"{form.name} is {form.expects}",
        hint="leave --format out to have it recognised",
    )


def _refuse_many(path: str, manifests: list[str]) -> None:
    if len(manifests) > 1:
        raise ConfigError(
            f"{path} holds {len(manifests)} manifests: {', '.join(manifests)}",
            hint="give one of them as SOURCE",
        )
