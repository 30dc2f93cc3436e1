"""`export --require`: what attached columns have to be for an image to stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.ops import requirements
from webclean.stages import attach
from webclean.stages.base import Context

_READER = "export --require"


def unmet(
    texts: Sequence[str], context: Context, *, force: bool = False
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Of each requirement its column, and where it is not met: bool (N,), in the order of `images`.

    Raises:
        ConfigError: a text is no requirement, or asks for what the column's type cannot be.
        ColumnMissingError, ArtifactStaleError: as `attach.locate`.
    """
    found = []
    for text in texts:
        try:
            asked = requirements.parse(text)
            name, column, kind = attach.locate(context.run, asked.column, reader=_READER, force=force)
            table = schema.attached_table(attach.columns_of(context.run, name))
            parts = tables.iter_parts(context.run, schema.attached_path(name), table, (column,))
            met_N = [requirements.is_met(asked, part.column(column).to_pylist(), kind) for part in parts]
        except ValueError as error:
            raise ConfigError(f"--require {text!r}: {error}") from error
        found.append((column, ~np.concatenate(met_N)))
    return found
