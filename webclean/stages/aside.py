"""An artefact kept aside in the run's scratch folder while its stage makes it anew from parts of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from webclean import schema
from webclean.io.run_dir import RunDir
from webclean.stages.base import committed

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS: Final = "rows"


class Aside:
    """What is kept aside under one name; of a stage that was killed it is still there."""

    def __init__(self, run: RunDir, name: str) -> None:
        self._folder = run.scratch(name)
        self._aside = RunDir(str(self._folder))

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """The run.json of the artefact, None where nothing is kept."""
        path = f"{_ROWS}/{schema.RUN_JSON}"
        found: dict[str, Any] | None = self._aside.read_json(path) if self._aside.exists(path) else None
        return found

    def num_parts(self) -> int:
        """How many parts are kept."""
        from webclean.io import tables

        return len(tables.part_names(self._aside, _ROWS))

    def part(self, index: int, table: schema.Table, columns: Sequence[str] | None = None) -> pa.Table:
        """One part."""
        from webclean.io import tables

        return tables.read_part(self._aside, _ROWS, tables.part_name(index), table, columns)

    def parts(self, table: schema.Table, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts in order; none where nothing is kept."""
        for index in range(self.num_parts()):
            yield self.part(index, table, columns)


def keep(run: RunDir, artefact: str, name: str) -> None:
    """Link or copy the parts of a committed artefact; without one, what was kept before stays."""
    from webclean.io import tables

    if committed(run, artefact) is None:
        return
    folder = run.scratch(name)
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for file in (*tables.part_names(run, artefact), schema.RUN_JSON):
        source = run.local_path(f"{artefact}/{file}")
        try:
            if source is None:
                raise OSError("it lies in a store")
            os.link(source, new / file)  # a part is never written to, only replaced
        except OSError:
            (new / file).write_bytes(run.read_bytes(f"{artefact}/{file}"))
    shutil.rmtree(folder / _ROWS, ignore_errors=True)
    new.rename(folder / _ROWS)


def forget(run: RunDir, name: str) -> None:
    """Remove what is kept."""
    shutil.rmtree(run.scratch(name))
