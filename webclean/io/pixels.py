"""Crawled images as squares of one size: the input of every network here."""

# N images, S side in pixels
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from webclean.errors import ArtifactStaleError
from webclean.io import decode
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir

FITS = ("squash", "crop", "pad")

_CROP_SHARE = 0.875  # of the shorter side, as the ImageNet recipes crop
_PAD_GRAY = 127
_CACHE_CHUNK = 256  # images decoded by one task, and the unit of resume


def load_rgb(uri: str, *, min_side: int | None = None) -> Image.Image:
    """Decode an image that ingest found ok: upright, RGB, alpha over white.

    Args:
        uri: as in `images`.
        min_side: a JPEG may be decoded smaller as long as its shorter side keeps this many pixels.

    Raises:
        ArtifactStaleError: the file is gone or cannot be decoded any more.
    """
    try:
        return decode.open_rgb(uris.read_bytes(uri), min_side=min_side)
    except (OSError, SyntaxError, ValueError) as error:  # TimeoutError is an OSError
        raise ArtifactStaleError(
            f"{uri} could be decoded by ingest and cannot any more: {error}",
            hint="put the file back; if the images moved: `webclean ingest NEW RUN --update`, where NEW is the place"
            " in which SOURCE lies now",
        ) from error


def square(image: Image.Image, side: int, fit: str = "squash") -> NDArray[np.uint8]:
    """One RGB image as a uint8 array of shape (side, side, 3).

    Args:
        image: upright RGB.
        side: pixels, at least 1.
        fit: `squash` ignores the aspect and keeps every part of the image; `crop` takes the middle square;
            `pad` keeps aspect and all parts and fills up with grey.
    """
    if fit == "squash":
        fitted = image.resize((side, side), Image.Resampling.BICUBIC)
    elif fit == "crop":
        edge = min(image.size) * _CROP_SHARE
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        box = (left, top, left + edge, top + edge)
        fitted = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    elif fit == "pad":
        ratio = side / max(image.size)
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        fitted = Image.new("RGB", (side, side), (_PAD_GRAY,) * 3)
        small = image.resize(size, Image.Resampling.BICUBIC)
        fitted.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    else:
        raise ValueError(f"fit must be one of {', '.join(FITS)}; got {fit!r}")
    return np.asarray(fitted, dtype=np.uint8)


def load_squares(locations: Sequence[str], *, side: int, fit: str = "squash") -> NDArray[np.uint8]:
    """Decode images from their uris into a uint8 array of shape (N, side, side, 3).

    Raises:
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    # A scaled decode must not go below the pixels that the square is cut from.
    keep = int(np.ceil(side / _CROP_SHARE)) if fit == "crop" else side
    squares_NSSC = np.empty((len(locations), side, side, 3), dtype=np.uint8)
    for index, uri in enumerate(locations):
        squares_NSSC[index] = square(load_rgb(uri, min_side=keep), side, fit)
    return squares_NSSC


def square_cache(
    run: RunDir,
    image_ids: Sequence[str],
    locations: Sequence[str],
    *,
    side: int,
    fit: str = "squash",
    map_items: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]] = map,
    advance: Callable[[int], None] = lambda steps: None,
) -> NDArray[np.uint8]:
    """All images as one read-only memory map of shape (N, side, side, 3), kept in the run's scratch folder.

    Made once for the same images in the same order, and taken up where it was killed.

    Args:
        run: the run folder.
        image_ids: ids of the images, which name the content.
        locations: their uris.
        side: pixels.
        fit: see `square`.
        map_items: how chunks are spread over workers (`engine.map`).
        advance: told how many images are done.

    Raises:
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    final, partial_file, mark = _cache_files(run, image_ids, side, fit)
    num = len(image_ids)
    if not final.exists():
        if num:
            _fill(partial_file, mark, locations, (num, side, side, 3), fit, map_items, advance)
            partial_file.replace(final)
        else:
            np.save(final, np.empty((0, side, side, 3), dtype=np.uint8))
        mark.unlink(missing_ok=True)
    mapped: NDArray[np.uint8] = np.load(final, mmap_mode="r" if num else None)
    return mapped


def drop_square_cache(run: RunDir, image_ids: Sequence[str], *, side: int, fit: str = "squash") -> None:
    """Remove what `square_cache` keeps for the same arguments; whoever still has it mapped can go on."""
    for file in _cache_files(run, image_ids, side, fit):
        file.unlink(missing_ok=True)


def _cache_files(run: RunDir, image_ids: Sequence[str], side: int, fit: str) -> tuple[Path, Path, Path]:
    """The whole cache, the one that is being made, and how far it is."""
    key = json.dumps([side, fit, _CACHE_CHUNK, list(image_ids)])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = run.scratch("squares")
    return folder / f"{name}.npy", folder / f"{name}.part.npy", folder / f"{name}.done"


def _fill(
    file: Path,
    mark: Path,
    locations: Sequence[str],
    shape: tuple[int, ...],
    fit: str,
    map_items: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]],
    advance: Callable[[int], None],
) -> None:
    done = int(mark.read_text()) if mark.exists() and file.exists() else 0
    mapped = np.lib.format.open_memmap(file, mode="r+" if done else "w+", dtype=np.uint8, shape=shape)
    advance(done)
    chunks = [locations[start : start + _CACHE_CHUNK] for start in range(done, len(locations), _CACHE_CHUNK)]
    for squares_NSSC in map_items(partial(load_squares, side=shape[1], fit=fit), chunks):
        mapped[done : done + len(squares_NSSC)] = squares_NSSC
        mapped.flush()
        done += len(squares_NSSC)
        _write_mark(mark, done)
        advance(len(squares_NSSC))
    del mapped


def _write_mark(mark: Path, done: int) -> None:
    temporary = mark.with_suffix(".tmp")
    temporary.write_text(str(done))
    temporary.replace(mark)
