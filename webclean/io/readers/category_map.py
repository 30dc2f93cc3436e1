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


def apply(table: pa.Table, map_file: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Records under their new categories, and the names of the map that no record has.

    Raises:
        ConfigError: as `read_category_map`.
    """
    names = read_category_map(map_file)
    old = table.column(schema.CATEGORY).to_pylist()
    new = [names.get(name, name) for name in old]
    status = table.column(schema.STATUS).to_pylist()
    error = table.column(schema.ERROR).to_pylist()
    for index, name in enumerate(new):
        if not name and old[index]:
            new[index] = old[index]
            status[index], error[index] = schema.STATUS_EXCLUDED, "the category map excludes this category"
    for column, values in ((schema.CATEGORY, new), (schema.STATUS, status), (schema.ERROR, error)):
        index = table.schema.get_field_index(column)
        table = table.set_column(index, RECORD_SCHEMA.field(index), pa.array(values, pa.string()))
    return table, tuple(sorted(set(names) - set(old)))


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
