"""What dedup holds of each image, a few dozen bytes, and what it reads again of the few that it writes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io import tables
from webclean.io.decode import TINY_SIDE
from webclean.io.run_dir import RunDir
from webclean.io.tiny_file import TinyFile
from webclean.ops.verdict import Looks, look
from webclean.stages.rows import flags, is_usable

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = (schema.SHA256, schema.PHASH, schema.IS_GRAY, schema.TINY, schema.STATUS)
_HEX_DIGITS = 32  # of a SHA-256: 128 bits, by which no two of any crawl's contents will ever be alike
_EMPTY = "empty"
_NO_BYTES = np.iinfo(np.uint64).max  # twice: the content of all files without any byte


@dataclass(frozen=True)
class Contents:
    """N usable images, and B other rows whose content is known.

    Attributes:
        row_N: int64, rows of `images`.
        sha_N2: uint64, the first 128 bits of each one's SHA-256.
        same_N: int64, a number that two images share exactly if their bytes are the same.
        hash_N: uint64, perceptual hashes.
        looks: of the N.
        bad_row_B, bad_same_B: row, and number of the content, of files that are no usable images.
    """

    row_N: NDArray[np.int64]
    sha_N2: NDArray[np.uint64]
    same_N: NDArray[np.int64]
    hash_N: NDArray[np.uint64]
    looks: Looks
    bad_row_B: NDArray[np.int64]
    bad_same_B: NDArray[np.int64]


def read(run: RunDir, tiny: TinyFile) -> Contents:
    """Go through `images` once; the tiny copies go to a disk."""
    found: dict[str, list[NDArray[Any]]] = {}
    start = 0
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS):
        for name, values in _of_part(part, start, tiny).items():
            found.setdefault(name, []).append(values)
        start += part.num_rows
    columns = {name: np.concatenate(values) for name, values in found.items()}
    looks = Looks(tiny, columns["flat"], columns["cutout"], columns["gray"])
    return Contents(
        columns["row"],
        columns["sha"],
        numbered(columns["sha"]),
        columns["hash"],
        looks,
        columns["bad_row"],
        numbered(columns["bad_sha"]),
    )


def _of_part(part: pa.Table, start: int, tiny: TinyFile) -> dict[str, NDArray[Any]]:
    import pyarrow.compute as pc

    is_usable_P = is_usable(part)
    usable = part.filter(is_usable_P)
    octets = b"".join(usable.column(schema.TINY).to_pylist())
    tiny_NSSC = np.frombuffer(octets, dtype=np.uint8).reshape(-1, TINY_SIDE, TINY_SIDE, 3)
    looks = look(tiny_NSSC, flags(usable.column(schema.IS_GRAY)))
    tiny.append(tiny_NSSC)
    is_empty_P = flags(pc.equal(part.column(schema.STATUS), _EMPTY))
    is_known_P = is_empty_P | ~flags(part.column(schema.SHA256).is_null())
    is_bad_P = ~is_usable_P & is_known_P
    # A file of no bytes has no hash of its own, yet all such files are equal.
    bad_sha = np.full((int(is_bad_P.sum()), 2), _NO_BYTES, dtype=np.uint64)
    is_hashed = ~is_empty_P[is_bad_P]
    bad_sha[is_hashed] = _sha(part.filter(is_bad_P & ~is_empty_P).column(schema.SHA256))
    return {
        "row": start + np.flatnonzero(is_usable_P),
        "sha": _sha(usable.column(schema.SHA256)),
        "hash": usable.column(schema.PHASH).to_numpy().astype(np.uint64),
        "flat": looks.flat_N,
        "cutout": looks.cutout_N,
        "gray": looks.gray_N,
        "bad_row": start + np.flatnonzero(is_bad_P),
        "bad_sha": bad_sha,
    }


def _sha(sha256: pa.ChunkedArray) -> NDArray[np.uint64]:
    return first_bits(sha256.to_pylist())


def first_bits(sha256: Sequence[str]) -> NDArray[np.uint64]:
    """(N, 2) uint64, the first 128 bits of hashes written in hexadecimal digits."""
    octets = bytes.fromhex("".join([value[:_HEX_DIGITS] for value in sha256]))
    return np.frombuffer(octets, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def numbered(sha_N2: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(N,) int64 from 0: equal rows have equal numbers."""
    order = np.lexsort((sha_N2[:, 1], sha_N2[:, 0]))
    in_order = sha_N2[order]
    number_N = np.zeros(len(order), dtype=np.int64)
    number_N[order[1:]] = np.cumsum((in_order[1:] != in_order[:-1]).any(axis=1))
    return number_N


def details(run: RunDir, row_K: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    """Columns of some rows of `images`, which ascend."""
    import pyarrow as pa

    stored = tables.arrow_schema(schema.IMAGES_TABLE)
    found = [pa.schema([stored.field(name) for name in columns]).empty_table()]
    start = 0
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        first, last = np.searchsorted(row_K, (start, start + part.num_rows))
        if last > first:
            found.append(part.select(list(columns)).take(pa.array(row_K[first:last] - start)))
        start += part.num_rows
    return pa.concat_tables(found).combine_chunks()
