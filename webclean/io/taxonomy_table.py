"""A person's own is-a graph: a table with columns child and parent."""

from __future__ import annotations

import difflib
from typing import Final

from webclean.errors import ColumnMissingError, ConfigError
from webclean.io import row_tables
from webclean.ops import ancestry

CHILD: Final = "child"
PARENT: Final = "parent"
_WHAT: Final = "the taxonomy"
_SHOWN: Final = 12  # names of a ring that a message lists


def read_taxonomy(path: str) -> dict[str, tuple[str, ...]]:
    """Name -> parents of every name in the table, in the order of its rows.

    A name may have several parents. A row with an empty parent declares a root; where the table declares none,
    every parent without a row of its own is one.

    Raises:
        ColumnMissingError: the table has no columns child and parent.
        ConfigError: a row without a child or twice, a parent that is not in the table beside declared roots, or
            names that are above one another in a ring.
        ArtifactMissingError, ArtifactInvalidError: it is not there, or cannot be read as a table.
    """
    where = f"--taxonomy {path}"
    row_of: dict[tuple[str, str], int] = {}
    number = 0
    for number, row in row_tables.iter_rows(path, _WHAT):
        if missing := [name for name in (CHILD, PARENT) if name not in row]:
            raise ColumnMissingError(
                f"{where} has no column {' and '.join(missing)}",
                context=f"its columns: {', '.join(map(str, row)) or 'none'}",
                hint="the first line must name child and parent, as `child,parent`",
            )
        child, parent = (_name(row[name]) for name in (CHILD, PARENT))
        if not child:
            raise ConfigError(
                f"{where}, row {number}, has no child", hint="give each row a child, or remove the row"
            )
        if (child, parent) in row_of:
            told = f"{child!r} under {parent!r}" if parent else f"{child!r} as a root"
            raise ConfigError(
                f"{where}: row {number} repeats row {row_of[child, parent]}: {told}",
                hint=f"remove row {number} (counted without the heading)",
            )
        row_of[child, parent] = number
    if not row_of:
        raise ConfigError(f"{where} has no rows", hint="give it lines of child,parent below the heading")
    parents: dict[str, tuple[str, ...]] = {}
    for child, parent in row_of:
        parents[child] = (*parents.get(child, ()), *((parent,) if parent else ()))
    declared = any(not parent for _, parent in row_of)
    for (child, parent), number in row_of.items():
        if parent and parent not in parents and declared:
            raise ConfigError(
                f"{where}, row {number}: the parent {parent!r} of {child!r} is nowhere a child",
                context="the table declares its roots by rows with an empty parent, and this is none of them",
                hint=_repair(parent, list(parents)),
            )
    for _, parent in row_of:
        if parent:
            parents.setdefault(parent, ())
    ring = ancestry.find_cycle(parents)
    if ring is not None:
        shown = ring if len(ring) <= _SHOWN else [*ring[: _SHOWN - 1], "...", ring[-1]]
        last = row_of[ring[-2], ring[-1]]
        raise ConfigError(
            f"{where} goes round in a ring: {' under '.join(shown)}",
            hint=f"remove one of these rows, such as row {last}: {ring[-2]},{ring[-1]}",
        )
    return parents


def _name(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _repair(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"did you mean {near[0]!r}? Or add a row `{name},`"
        if near
        else f"add a row `{name},` to make it a root"
    )
