"""What tables that a person brings along may call an image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from webclean import schema
from webclean.io.readers.records import path_of_repeat

if TYPE_CHECKING:
    import pyarrow as pa

PATH: Final = "path"


def key(value: Any) -> str:
    """A cell that names an image, as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).removeprefix("./")


def columns_for(on: str) -> tuple[str, ...]:
    """Columns of `images`, besides the id, in which the names of this kind are found."""
    if on in (PATH, schema.SOURCE_KEY):
        return (schema.SOURCE_KEY, schema.FILE_NAME)
    if on == schema.IMAGE_ID:
        return ()
    return (on,) if on in schema.IMAGES_TABLE.column_names else (schema.EXTRA,)


def keys(part: pa.Table, on: str) -> Iterator[tuple[str, ...]]:
    """What a table may call each image of a part of `images`, the closest first."""
    if on in (PATH, schema.SOURCE_KEY):
        names = (part.column(name).to_pylist() for name in (schema.SOURCE_KEY, schema.FILE_NAME))
        for source_key, file_name in zip(*names, strict=True):
            path = path_of_repeat(source_key, file_name)
            yield (source_key,) if path is None else (source_key, path)
        return
    if on in schema.IMAGES_TABLE.column_names:
        for value in part.column(on).to_pylist():
            yield () if value is None else (key(value),)
        return
    for text in part.column(schema.EXTRA).to_pylist():
        value = json.loads(text).get(on) if text else None
        yield () if value is None else (key(value),)
