"""`--category-map`: renames and merges categories, or leaves them out."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa

from webclean import schema
from webclean.errors import ConfigError
from webclean.io.readers import uris
from webclean.io.readers.records import RECORD_SCHEMA


class CategoryMap:
    """The new names of categories, and which of the old ones have been met."""

    def __init__(self, map_file: str) -> None:
        """Read the map.

        Raises:
            ConfigError: as `read_category_map`.
        """
        self._names = read_category_map(map_file)
        self._met: set[str] = set()

    def apply(self, table: pa.Table) -> pa.Table:
        """Records under their new categories."""
        old = table.column(schema.CATEGORY).to_pylist()
        self._met.update(self._names.keys() & set(old))
        new = [self._names.get(name, name) for name in old]
        status = table.column(schema.STATUS).to_pylist()
        error = table.column(schema.ERROR).to_pylist()
        for index, name in enumerate(new):
            if not name and old[index]:
                new[index] = old[index]
                status[index], error[index] = (
                    schema.STATUS_EXCLUDED,
                    "the category map excludes this category",
                )
        for column, values in ((schema.CATEGORY, new), (schema.STATUS, status), (schema.ERROR, error)):
            index = table.schema.get_field_index(column)
            table = table.set_column(index, RECORD_SCHEMA.field(index), pa.array(values, pa.string()))
        return table

    def unknown(self) -> tuple[str, ...]:
        """The names of the map that no record had, sorted."""
        return tuple(sorted(self._names.keys() - self._met))


def read_category_map(path: str) -> dict[str, str]:
    """`from` -> `to` from a CSV or TSV of two columns (a header `from,to` may stand above) or a JSON object.

    Raises:
        ConfigError: the file is missing, has other columns, or maps one name twice.
    """
    try:
        raw = uris.read_bytes(path if uris.is_remote(path) else uris.of_path(path)).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"the category map {path} cannot be read: {error.strerror or error}",
            context="--category-map names it",
            hint="give a CSV with lines of from,to, or a JSON object",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the category map {path} is not UTF-8 text",
            context=f"byte {error.start} cannot be decoded",
            hint="save it as UTF-8: a CSV with lines of from,to, or a JSON object",
        ) from error
    if path.lower().endswith(".json"):
        try:
            value = json.loads(raw)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the category map {path} is not JSON: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(v, str | None) for v in value.values()):
            raise ConfigError(f"the category map {path} must be an object of texts")
        return {str(k).strip(): (v or "").strip() for k, v in value.items()}
    rows = list(csv.reader(io.StringIO(raw), delimiter="\t" if path.lower().endswith(".tsv") else ","))
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [cell.lower() for cell in cells] == ["from", "to"]):
            continue
        if len(cells) != 2 or not cells[0]:
            raise ConfigError(f"the category map {path}, line {number}, must be `from,to`; got {row}")
        if found.get(cells[0], cells[1]) != cells[1]:
            raise ConfigError(f"the category map {path} maps {cells[0]!r} twice")
        found[cells[0]] = cells[1]
    return found
