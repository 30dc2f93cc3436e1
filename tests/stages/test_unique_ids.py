"""Ids of images are unique: told by the half that stands for the key, and by the whole where halves are equal."""

from __future__ import annotations

import numpy as np
import pytest

from webclean import schema
from webclean.engines.local import InlineEngine
from webclean.errors import ArtifactInvalidError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.stages import ingest
from webclean.stages.base import Context

A, B = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


def _check(tmp_path, ids: list[str]) -> None:
    run = RunDir(str(tmp_path / "run"))
    columns = {c.name: [None] * len(ids) for c in schema.IMAGES_TABLE.columns}
    needed = {c.name: c for c in schema.IMAGES_TABLE.columns if not c.nullable}
    columns |= {name: [""] * len(ids) for name in needed}
    columns[schema.IMAGE_ID] = ids
    for index, row in enumerate(ids):  # a part each: within one part the key is checked on writing
        part = {name: values[index : index + 1] for name, values in columns.items()}
        tables.write_part(run, schema.IMAGES, index, part | {schema.IMAGE_ID: [row]}, schema.IMAGES_TABLE)
    keys = np.array([int(i[-16:], 16) for i in ids], dtype=np.uint64)
    ingest._check_unique(Context(run, InlineEngine()), keys)


def test_equal_halves_of_keys_are_no_equal_ids(tmp_path):
    _check(tmp_path, [f"{A}-{A}", f"{B}-{A}", f"{A}-{B}"])


def test_equal_ids_are_an_error(tmp_path):
    with pytest.raises(ArtifactInvalidError, match="image_id is not unique: 2 rows too many"):
        _check(tmp_path, [f"{A}-{A}", f"{B}-{A}", f"{A}-{A}", f"{A}-{A}"])
