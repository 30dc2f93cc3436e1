"""Attached columns alongside `images`, as an export carries them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from webclean import schema
from webclean.errors import ConfigError
from webclean.stages import attach
from webclean.stages.base import Context, require
from webclean.stages.rows import Follow

if TYPE_CHECKING:
    import pyarrow as pa


class AttachedColumns:
    """Reads all columns attached under some names, part by part.

    Attributes:
        types: column as the export calls it -> type. A name that is taken already becomes NAME.COLUMN.
    """

    def __init__(
        self, context: Context, names: Sequence[str], *, taken: Collection[str], force: bool = False
    ) -> None:
        """Open them.

        Raises:
            ConfigError: nothing is attached under a name.
            ArtifactStaleError: it was attached to older images.
        """
        self.types: dict[str, str] = {}
        self._follows: list[tuple[Follow, dict[str, str]]] = []
        for name in dict.fromkeys(names):
            columns = attach.columns_of(context.run, name)
            if not columns:
                there = ", ".join(attach.names(context.run)) or "nothing"
                raise ConfigError(
                    f"--with-attached {name}: nothing is attached under this name", hint=f"attached: {there}"
                )
            path = schema.attached_path(name)
            require(context.run, path, reader="export --with-attached", force=force)
            shown = {
                column: f"{name}.{column}" if column in taken or column in self.types else column
                for column in columns
            }
            self.types |= {shown[column]: kind for column, kind in columns.items()}
            follow = Follow(context.run, path, schema.attached_table(columns), tuple(columns))
            self._follows.append((follow, shown))

    def take(self, image_id: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
        """The columns of the next images, which must be these.

        Raises:
            ArtifactInvalidError: other images, or fewer, come next.
        """
        found: dict[str, pa.ChunkedArray] = {}
        for follow, shown in self._follows:
            rows = follow.take(image_id)
            found |= {name: rows.column(column) for column, name in shown.items()}
        return found
