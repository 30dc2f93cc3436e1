"""Quality flags: what the measures of `images` and their copies say against each picture; nothing is decoded."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import QualityConfig
from webclean.io import tables
from webclean.io.decode import TINY_SIDE
from webclean.ops import quality
from webclean.ops.policies import NO_GROUP
from webclean.ops.quality import Measured, Thresholds
from webclean.stages.base import Context, Counts
from webclean.stages.copies import CopyTable
from webclean.stages.rows import count_statuses, flags, floats, is_usable, left_out

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = (schema.BRIGHTNESS, schema.CONTRAST, schema.SHARPNESS, schema.ENTROPY)
_COLUMNS = (
    schema.IMAGE_ID, schema.STATUS, schema.WIDTH, schema.HEIGHT, *_NUMBERS, schema.IS_GRAY, schema.TINY,
)  # fmt: skip


def run(config: QualityConfig, context: Context) -> Counts:
    """Write `quality`: one row for every image, its flags null where there are no pixels."""
    limits = Thresholds(**{field.name: getattr(config, field.name) for field in fields(Thresholds)})
    copies = CopyTable(context.run)
    queries_G = _queries(context, copies)
    statuses: dict[str, int] = {}
    total = tables.num_rows(context.run, schema.IMAGES)
    with context.progress(total=total, unit="images", label="quality") as bar:
        parts = tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS)
        for index, part in enumerate(parts):
            count_statuses(part.column(schema.STATUS), statuses)
            if not tables.has_part(context.run, schema.QUALITY, index):
                columns = _flagged(part, copies, queries_G, limits)
                tables.write_part(context.run, schema.QUALITY, index, columns, schema.QUALITY_TABLE)
            bar.advance(part.num_rows)
    usable = statuses.get(schema.STATUS_OK, 0)
    context.result |= {"usable": usable, "flags": _prevalence(context)}
    return Counts(total=total, forwarded=usable, dropped=left_out(statuses))


def _queries(context: Context, copies: CopyTable) -> dict[int, int]:
    """Group of copies -> number of different queries among its usable images."""
    names: dict[int, set[str]] = {}
    wanted = (schema.IMAGE_ID, schema.QUERY, schema.STATUS)
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, wanted):
        usable = part.filter(is_usable(part))
        group_N = copies.of(usable.column(schema.IMAGE_ID)).group_N
        in_group_N = group_N != NO_GROUP
        found = usable.column(schema.QUERY).filter(in_group_N).to_pylist()
        for group, query in zip(group_N[in_group_N].tolist(), found, strict=True):
            names.setdefault(group, set()).add(query)
    return {group: len(queries) for group, queries in names.items()}


def _flagged(
    part: pa.Table, copies: CopyTable, queries_G: dict[int, int], limits: Thresholds
) -> dict[str, Any]:
    import pyarrow as pa

    ok_N = is_usable(part)
    usable = part.filter(ok_N)
    group_M = copies.of(usable.column(schema.IMAGE_ID)).group_N
    pixels = b"".join(usable.column(schema.TINY).to_pylist())
    number = {name: floats(usable.column(name)) for name in _NUMBERS}
    found = quality.flag(
        Measured(
            width_N=usable.column(schema.WIDTH).to_numpy(),
            height_N=usable.column(schema.HEIGHT).to_numpy(),
            brightness_N=number[schema.BRIGHTNESS],
            contrast_N=number[schema.CONTRAST],
            sharpness_N=number[schema.SHARPNESS],
            entropy_N=number[schema.ENTROPY],
            is_gray_N=flags(usable.column(schema.IS_GRAY)),
            tiny_NSSC=np.frombuffer(pixels, dtype=np.uint8).reshape(-1, TINY_SIDE, TINY_SIDE, 3),
            num_queries_N=np.array([queries_G.get(group, 1) for group in group_M.tolist()], dtype=np.int64),
        ),
        limits,
    )
    columns: dict[str, Any] = {schema.IMAGE_ID: part.column(schema.IMAGE_ID)}
    for name, flag_M in found.items():
        columns[name] = pa.array(_spread(flag_M, ok_N), mask=~ok_N)
    return columns


def _spread(flag_M: NDArray[np.bool_], ok_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
    flag_N = np.zeros(len(ok_N), dtype=np.bool_)
    flag_N[ok_N] = flag_M
    return flag_N


def _prevalence(context: Context) -> dict[str, int]:
    """Flag -> number of images that have it, over all parts, also those of a run that was killed."""
    import pyarrow.compute as pc

    counts = dict.fromkeys(schema.FLAGS, 0)
    for part in tables.iter_parts(context.run, schema.QUALITY, schema.QUALITY_TABLE, schema.FLAGS):
        for name in schema.FLAGS:
            counts[name] += pc.sum(part.column(name)).as_py() or 0
    return counts
