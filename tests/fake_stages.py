"""A tiny chain for tests of `execute`: `numbers` -> `doubled`, which takes `extra` too where it is there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

from webclean.config import StageConfig, knob
from webclean.io import tables
from webclean.schema import Column, Table
from webclean.stages.base import Context, Counts
from webclean.stages.chain import Stage

TABLE = Table("numbers", (Column("id", "int64"), Column("value", "int64")), key=("id",))
NUM_PARTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeConfig(StageConfig):
    """Settings of all three stages."""

    factor: int = knob(2, "Factor.", ge=1)
    seconds: float = knob(1.0, "A limit that changes no result.", technical=True)


@dataclass
class World:
    """What the stages do, and how often they did it."""

    source: str = "first"
    runs: list[str] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    had_extra: bool | None = None
    die_after: int | None = None


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def install(world: World) -> None:
    """Make the stages' modules importable."""
    numbers, doubled, extra = (ModuleType(f"fake_{name}") for name in ("numbers", "doubled", "extra"))

    def write_numbers(config: FakeConfig, context: Context) -> Counts:
        world.runs.append("numbers")
        for index in range(NUM_PARTS):
            if tables.has_part(context.run, "images", index):
                continue
            if world.die_after is not None and index >= world.die_after:
                raise Killed
            world.parts.append(index)
            rows = {"id": [index], "value": [index * config.factor + context.seed + len(world.source)]}
            tables.write_part(context.run, "images", index, rows, TABLE)
        context.result["told"] = [config.factor]
        return Counts(total=4, forwarded=3, dropped={"bad_file:empty": 1})

    def write_doubled(config: FakeConfig, context: Context) -> Counts:
        world.runs.append("doubled")
        world.had_extra = context.has("text")
        for index, part in enumerate(tables.iter_parts(context.run, "images", TABLE)):
            values = [2 * v for v in part.column("value").to_pylist()]
            tables.write_part(
                context.run, "duplicates", index, {"id": part.column("id"), "value": values}, TABLE
            )
        return Counts(total=3, forwarded=3)

    def write_extra(config: FakeConfig, context: Context) -> Counts:
        world.runs.append("extra")
        tables.write_part(context.run, "text", 0, {"id": [0], "value": [config.factor]}, TABLE)
        return Counts(total=1, forwarded=1)

    numbers.run, numbers.source_fingerprint = write_numbers, lambda config: world.source  # type: ignore[attr-defined]
    doubled.run = write_doubled  # type: ignore[attr-defined]
    extra.run = write_extra  # type: ignore[attr-defined]
    for module in (numbers, doubled, extra):
        sys.modules[module.__name__] = module


# Real artefact names, so that the errors' commands can be looked up in the chain.
NUMBERS = Stage("numbers", "fake_numbers", "ingest", (), ("images", "categories"), draws=True)
EXTRA = Stage("extra", "fake_extra", "weight", ("images",), ("text",))
DOUBLED = Stage("doubled", "fake_doubled", "ingest", ("images", "text?"), ("duplicates",))
