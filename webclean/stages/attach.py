"""Attach: columns made elsewhere, joined to the images of a run."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from webclean import schema
from webclean.config import AttachConfig
from webclean.errors import ColumnMissingError, DataError
from webclean.io import row_store, row_tables, tables
from webclean.io.checksums import stream_sha256
from webclean.io.row_store import RowStore
from webclean.io.run_dir import RunDir
from webclean.stages import image_keys
from webclean.stages.base import Context, Counts, committed, require

COLUMNS: Final = "columns"
_WHAT: Final = "the table to attach"
_NO_ROW: Final = "no_row"
_NAMED: Final = 5  # rows and keys that a message names


def source_fingerprint(config: AttachConfig) -> str:
    """SHA-256 of the table.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: it cannot be read.
    """
    with row_tables.open_file(config.table, _WHAT) as file:
        return stream_sha256(file)


def run(config: AttachConfig, context: Context) -> Counts:
    """Write attached/<name>: one row for every image, null where the table has none for it.

    The table is spread once over a file in the scratch folder, in which the images of each part are looked up:
    neither is held whole.

    Raises:
        ColumnMissingError: the table lacks a column that was asked for, or has none besides the key.
        DataError: two rows differ on the same image, or no row names any.
    """
    folder = context.run.scratch("attach")
    with row_store.fresh(folder / "rows.sqlite") as store:
        table = _fill(store, config, context)
        matched = _write(store, config, context, table)
        context.result |= {
            "on": config.on,
            COLUMNS: {column.name: column.type for column in table.columns[1:]},
            "rows": store.num_rows,
            "repeated_rows": store.num_repeated,
            "unmatched_rows": store.num_unused(),
        }
        _tell(store, config, context, matched)
    total = tables.num_rows(context.run, schema.IMAGES)
    return Counts(total, matched, {_NO_ROW: total - matched} if total > matched else {})


def _fill(store: RowStore, config: AttachConfig, context: Context) -> schema.Table:
    """Put the rows of the table into the store; gives the columns with the types that hold all their cells."""
    kinds: dict[str, str | None] = dict.fromkeys(config.columns)
    from_text = config.table.lower().endswith((".csv", ".tsv"))
    without_key, odd, conflicts = 0, Counter[str](), []
    number, met = 0, set[str]()
    wanted = (config.on, *config.columns) if config.columns else None
    for number, row in row_tables.iter_rows(config.table, _WHAT, wanted):
        met.update(row)
        key = row.pop(config.on, None)
        if not config.columns:
            kinds |= {name: None for name in row if name not in kinds}
        if key is None:
            without_key += 1
            continue
        cells = []
        for name in kinds:
            cells.append(row.get(name))
            kind = _kind(row.get(name), from_text)
            odd[name] += kind == _ODD
            kinds[name] = _wider(kinds[name], None if kind == _ODD else kind)
        if not store.add(image_keys.key(key), number, cells):
            conflicts.append(f"{key} in rows {store.number_of(image_keys.key(key))} and {number}")
            if len(conflicts) > _NAMED:
                break
    _refuse(config, number, met, kinds, conflicts)
    if without_key:
        context.note(f"{without_key} of {number} rows have nothing in {config.on!r} and are left out")
    if num := sum(num for name, num in odd.items() if kinds[name] in _NUMBERS):
        context.note(f"{num} cells are no finite numbers and count as empty")
    return schema.attached_table({name: kind or "string" for name, kind in kinds.items()})


def _refuse(
    config: AttachConfig, number: int, met: set[str], kinds: Mapping[str, str | None], conflicts: list[str]
) -> None:
    if missing := [name for name in (config.on, *config.columns) if name not in met]:
        raise ColumnMissingError(
            f"{config.table} has no column {missing[0]!r}" if number else f"{config.table} has no rows",
            context=f"columns found: {', '.join(sorted(met)) or 'none'}",
            hint="name the column that says which image is meant with --on, and those to bring in with --columns",
        )
    if not kinds or schema.IMAGE_ID in kinds:
        raise ColumnMissingError(
            f"{config.table} has no column to attach besides {config.on!r}"
            if not kinds
            else f"{config.table}: a column to attach may not be called {schema.IMAGE_ID}",
            hint=f"join by it (--on {schema.IMAGE_ID}), or name the columns to bring in with --columns"
            if kinds
            else "bring a table with one column more",
        )
    if conflicts:
        more = ", ..." if len(conflicts) > _NAMED else ""
        raise DataError(
            f"{config.table} says different things of the same image: {', '.join(conflicts[:_NAMED])}{more}",
            context=f"rows are joined by {config.on!r}; rows that are equal in all columns count once",
            hint="leave one row for each image in the table, or choose with --columns what they agree in",
        )


_WHOLE: Final = re.compile(r"[+-]?(0|[1-9]\d{0,17})")  # a leading zero is no number's: it is part of a name
_DECIMAL: Final = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")
_NOT_FINITE: Final = frozenset({"nan", "inf", "infinity"})
_LARGEST: Final = 2**63 - 1
_NUMBERS: Final = ("int64", "float64")
_ODD: Final = "odd"  # nan and inf: empty in a column of numbers, else text


def _kind(value: Any, from_text: bool) -> str | None:
    """The type that a cell asks for; a CSV's text is what it looks like."""
    if value is None:
        return None
    if isinstance(value, str):
        plain = value.strip().lower() if from_text else ""
        if plain in ("true", "false"):
            return "bool"
        if plain.lstrip("+-") in _NOT_FINITE:
            return _ODD
        if _WHOLE.fullmatch(plain):
            return "int64"
        is_number = _DECIMAL.fullmatch(plain) is not None and any(c.isdecimal() for c in plain)
        return "float64" if is_number and math.isfinite(float(plain)) else "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if abs(value) <= _LARGEST else "string"
    return "float64" if math.isfinite(value) else _ODD


def _wider(one: str | None, other: str | None) -> str | None:
    """The type that holds cells of both."""
    if one is None or other is None or one == other:
        return one or other
    return "float64" if {one, other} == {"int64", "float64"} else "string"


def _write(store: RowStore, config: AttachConfig, context: Context, table: schema.Table) -> int:
    """Write the parts; gives the number of images that have a row."""
    columns = image_keys.columns_for(config.on)
    matched = 0
    with context.progress(
        total=tables.num_rows(context.run, schema.IMAGES), unit="images", label="attach"
    ) as bar:
        for index, part in enumerate(
            tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, *columns))
        ):
            keys = list(image_keys.keys(part, config.on))
            found = store.take(sorted({key for own in keys for key in own}))
            rows = [next((found[key] for key in own if key in found), None) for own in keys]
            matched += sum(row is not None for row in rows)
            data: dict[str, Any] = {schema.IMAGE_ID: part.column(schema.IMAGE_ID)}
            for place, column in enumerate(table.columns[1:]):
                cells = (None if row is None or place >= len(row) else row[place] for row in rows)
                data[column.name] = [_as(cell, column.type) for cell in cells]
            tables.write_part(context.run, schema.attached_path(config.name), index, data, table)
            bar.advance(part.num_rows)
    return matched


def _as(value: Any, kind: str) -> Any:
    """A cell as the column's type."""
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value)
    if kind == "bool":
        return value if isinstance(value, bool) else value.strip().lower() == "true"
    if kind == "int64" and _kind(value, from_text=True) != _ODD:
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _tell(store: RowStore, config: AttachConfig, context: Context, matched: int) -> None:
    unused = store.num_unused()
    some = ", ".join(store.some_unused(_NAMED)) + (", ..." if unused > _NAMED else "")
    if matched == 0:
        part = next(
            tables.iter_parts(
                context.run,
                schema.IMAGES,
                schema.IMAGES_TABLE,
                (schema.IMAGE_ID, *image_keys.columns_for(config.on)),
            )
        )
        own = next((keys[0] for keys in image_keys.keys(part, config.on) if keys), None)
        raise DataError(
            f"no row of {config.table} names an image of {context.run.url} by {config.on!r}",
            context=f"the table has {some or 'nothing'}; an image has {own if own is not None else 'no such value'}",
            hint="choose the column that names the image with --on: path, image_id, sha256, or one of the crawl's own",
        )
    if store.num_repeated:
        context.note(f"{store.num_repeated} rows say again what another row says")
    if unused:
        context.note(f"{unused} of {store.num_rows} rows name no image of the run: {some}")


def default_name(table: str) -> str:
    """The name of what is attached where none is given: the table's own, without its ending."""
    return os.path.splitext(os.path.basename(table.rstrip("/")))[0]


def columns_of(run: RunDir, name: str) -> dict[str, str]:
    """Column -> type of what is attached under a name; nothing where nothing is."""
    record = committed(run, schema.attached_path(name))
    return {} if record is None else dict(record["result"][COLUMNS])


def names(run: RunDir) -> list[str]:
    """Names under which columns are attached, sorted."""
    return [name for name in run.folders(schema.ATTACHED) if columns_of(run, name)]


def locate(run: RunDir, wanted: str, *, reader: str, force: bool = False) -> tuple[str, str, str]:
    """Where a column is attached: name, column and type, from COLUMN or NAME.COLUMN.

    Raises:
        ColumnMissingError: no such column is attached, or several are.
        ArtifactStaleError: it was attached to older images.
    """
    all_columns = [
        (name, column, kind) for name in names(run) for column, kind in columns_of(run, name).items()
    ]
    found = [one for one in all_columns if wanted in (one[1], f"{one[0]}.{one[1]}")]
    if len(found) > 1:
        found = [one for one in found if f"{one[0]}.{one[1]}" == wanted] or found
    if len(found) != 1:
        shown = found or all_columns
        raise ColumnMissingError(
            f"{run.url} has {'several columns' if found else 'no attached column'} {wanted!r}",
            context=f"attached: {', '.join(f'{name}.{column}' for name, column, _ in shown) or 'nothing'}",
            hint="name it as NAME.COLUMN"
            if found
            else f"webclean attach {run.url} TABLE --on path brings columns in",
        )
    require(run, schema.attached_path(found[0][0]), reader=reader, force=force)
    return found[0]
