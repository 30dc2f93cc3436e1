"""What a row of somebody's columns says of an image: a manifest's row, or the metadata in an archive."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from webclean import schema
from webclean.io.readers import columns
from webclean.io.readers.records import RANK_FROM_MANIFEST, Record

_TEXT_FIELDS: Final = (schema.TITLE, schema.DESCRIPTION, schema.ALT_TEXT, schema.SOURCE, schema.PAGE_URL)


class Fields:
    """Columns whose meaning is known, and what rows of them say."""

    def __init__(self, chosen: Mapping[str, str], *, not_extra: Collection[str | None] = ()) -> None:
        """Take over which column means what.

        Args:
            chosen: field -> column, from `columns.match`.
            not_extra: columns that are no field and do not go into `extra` either.
        """
        self._chosen = dict(chosen)
        self._used = {*chosen.values(), *not_extra}
        self._texts = [(field, chosen[field]) for field in _TEXT_FIELDS if field in chosen]

    def value(self, field: str, row: Mapping[Any, Any]) -> Any:
        """The cell of a field, None where no column is it or the row has none."""
        column = self._chosen.get(field)
        return None if column is None else row.get(column)

    def describe(self, record: Record, row: Mapping[Any, Any]) -> None:
        """Put what a row says of an image into its record: all but its place, its status and `extra`."""
        record.category = (columns.text(self.value(schema.CATEGORY, row)) or "").strip()
        record.query = (columns.text(self.value(schema.QUERY, row)) or record.category).strip()
        record.rank = columns.whole_number(self.value(schema.RANK, row))
        record.rank_source = None if record.rank is None else RANK_FROM_MANIFEST
        record.tags = columns.tags(self.value(schema.TAGS, row))
        for field, column in self._texts:
            setattr(record, field, columns.text(row.get(column)))

    def extra(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        """Cells that are no field and not empty; those without a column (beyond the header) under no name."""
        return {
            "" if name is None else name: value
            for name, value in row.items()
            if name not in self._used and value is not None and value != ""
        }
