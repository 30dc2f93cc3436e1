"""One frozen dataclass per stage: flags, TOML keys and the comments of `webclean init` come from it."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass
from typing import Any

from webclean.errors import ConfigError


def knob(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
    flag: str | None = None,
    technical: bool = False,
) -> Any:
    """A config field with its meaning, unit and range in one place.

    Args:
        default: value where neither a flag nor the TOML file names another.
        help: one sentence: meaning, unit, where the default comes from.
        ge, gt, le, lt: bounds of a number, checked on construction.
        choices: the words a string may be.
        flag: a flag's name where it is not the field's with dashes.
        technical: True where the value cannot change a result (workers, time limits); such a field
            is left out of the fingerprint, so that changing it makes nothing stale.
    """
    metadata = {
        "help": help, "ge": ge, "gt": gt, "le": le, "lt": lt,
        "choices": choices, "flag": flag, "technical": technical,
    }  # fmt: skip
    if isinstance(default, list | dict | set):
        raise TypeError("a default must be immutable")
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """Base of the stage configs: checks every knob's range when it is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(type(self).section(), field, getattr(self, field.name))

    @classmethod
    def section(cls) -> str:
        """Name of the TOML table: the class name without `Config`, in lower case."""
        return cls.__name__.removesuffix("Config").lower()

    def fingerprint_fields(self) -> dict[str, Any]:
        """The fields that can change a result, as plain JSON values."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata.get("technical")
        }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check(section: str, field: dataclasses.Field[Any], value: Any) -> None:
    if value is None:
        return
    where = f"[{section}] {field.name}"
    meta = field.metadata
    choices = meta.get("choices")
    if choices is not None:
        for word in value if isinstance(value, tuple) else (value,):
            if word not in choices:
                raise ConfigError(f"{where} must be one of {', '.join(choices)}; got {word!r}")
    tests = (
        ("ge", "at least", lambda v, b: v >= b),
        ("gt", "above", lambda v, b: v > b),
        ("le", "at most", lambda v, b: v <= b),
        ("lt", "below", lambda v, b: v < b),
    )
    for key, words, holds in tests:
        bound = meta.get(key)
        if bound is not None and not holds(value, bound):
            raise ConfigError(f"{where} must be {words} {bound}; got {value!r}")


def from_mapping(kind: type[StageConfig], values: dict[str, Any]) -> StageConfig:
    """Build a config from names and values; an unknown name is an error that offers the nearest one.

    Raises:
        ConfigError: unknown key, wrong type or value out of range.
    """
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    clean: dict[str, Any] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"[{kind.section()}] has no setting {raw!r}", hint=hint)
        clean[name] = _coerce(kind.section(), name, hints[name], value)
    return kind(**clean)


def _coerce(section: str, name: str, hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(a for a in args if a is not type(None))
        origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(_coerce(section, name, args[0], part) for part in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float) and isinstance(value, str):
        try:
            return hint(value)
        except ValueError:
            pass
    if hint in (int, float, str, bool) and (
        not isinstance(value, hint) or (hint is not bool and isinstance(value, bool))
    ):
        raise ConfigError(f"[{section}] {name} must be {hint.__name__}; got {value!r}")
    return value


def type_hints(kind: type[StageConfig]) -> dict[str, Any]:
    """Resolved type of each field (the module uses postponed annotations)."""
    return typing.get_type_hints(kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralConfig(StageConfig):
    """What all commands share."""

    workers: int | None = knob(
        None, "Worker processes; none given: one per core; 0: this process alone.", ge=0, technical=True
    )
    seed: int = knob(0, "Seed of every random draw.", ge=0)


# ---------------------------------------------------------------- the stages, in the order of the chain
