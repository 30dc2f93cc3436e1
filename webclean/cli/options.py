"""Flags from config dataclasses: one knob, one flag, one TOML key, one line of help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from webclean.cli import console
from webclean.config import GeneralConfig, StageConfig, check_file, from_mapping, type_hints
from webclean.errors import ConfigError

C = TypeVar("C", bound=StageConfig)
_CONFIG_FILE = "webclean.toml"
_MAKE_RUNS = ("ingest", "run")  # the commands that may start a run folder


@dataclass
class Settings:
    """What the person asked for: flags over TOML over defaults."""

    flags: dict[str, Any]
    toml: dict[str, dict[str, Any]]
    quiet: bool
    json: bool
    force: bool
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """What the person asked for, by flag and by settings file, for the log."""
        flags = {name: value for name, value in self.flags.items() if value not in (None, [])}
        flags |= {"force": True} if self.force else {}
        found = {"arguments": self.arguments, "flags": flags, "file": self.toml}
        return {name: values for name, values in found.items() if values}

    def build(self, kind: type[C], **fixed: Any) -> C:
        """A stage's config; `fixed` values are what the command itself decides.

        Raises:
            ConfigError: an unknown key, or a value out of its range.
        """
        values = dict(self.toml.get(kind.section(), {}))
        for field in dataclasses.fields(kind):
            given = self.flags.get(_parameter(kind, field))
            if given not in (None, []) and field.metadata.get("flag") != "":
                values[field.name] = given
        values.update(fixed)
        return typing.cast(C, from_mapping(kind, values))

    @property
    def note(self) -> Callable[[str], None]:
        """Where notes to the person go."""
        return console.quiet if self.quiet else console.note


def configurable(*kinds: type[StageConfig]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the knobs of `kinds` and the common flags to a command; it gets them as `settings`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "settings"
        ]
        own_names = {p.name for p in own}
        knobs: dict[str, inspect.Parameter] = {}
        for kind in (*kinds, GeneralConfig):
            for parameter in _knob_parameters(kind):
                if parameter.name not in own_names:
                    knobs.setdefault(parameter.name, parameter)

        @functools.wraps(function)
        def command(**values: Any) -> None:
            flags = {name: values.pop(name) for name in knobs}
            config = values.pop("config_file")
            settings = Settings(
                flags=flags,
                toml=_read_toml(config, values.get("run")),
                quiet=values.pop("quiet"),
                json=values.pop("json_output"),
                force=values.pop("force"),
                arguments=values,
            )
            for kind in (*kinds, GeneralConfig):
                settings.build(kind)  # a value out of range is said now, not when its stage's turn comes
            function(**values, settings=settings)

        command.__signature__ = inspect.Signature([*own, *knobs.values(), *_COMMON])  # type: ignore[attr-defined]
        return command

    return decorate


def _option(type_: Any, *flags: str, help: str, panel: str | None) -> Any:
    return Annotated[type_, typer.Option(*flags, help=help, rich_help_panel=panel, show_default=False)]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_COMMON = (
    _keyword(
        "config_file",
        _option(
            Path | None,
            "--config",
            help="TOML file; default RUN/webclean.toml, then ./webclean.toml.",
            panel=None,
        ),
        None,
    ),
    _keyword(
        "json_output", _option(bool, "--json", help="Print the result as JSON on stdout.", panel=None), False
    ),
    _keyword("quiet", _option(bool, "--quiet", "-q", help="No notes on stderr.", panel=None), False),
    _keyword(
        "force",
        _option(
            bool,
            "--force",
            help="Run although nothing changed, and use stale inputs as they are.",
            panel=None,
        ),
        False,
    ),
)


def _parameter(kind: type[StageConfig], field: dataclasses.Field[Any]) -> str:
    flag = field.metadata.get("flag")
    return str(flag).replace("-", "_") if flag else field.name


def _knob_parameters(kind: type[StageConfig]) -> Iterator[inspect.Parameter]:
    hints = type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.metadata.get("flag") == "":
            continue
        name = _parameter(kind, field)
        flag = "--" + name.replace("_", "-")
        shown = _shown(field.default)
        choices = field.metadata.get("choices")
        words = f" One of {', '.join(choices)}." if choices else ""
        text = f"{field.metadata['help']}{words}" + (f" [default: {shown}]" if shown else "")
        base = list[str] if field.metadata.get("repeats") else _flag_type(hints[field.name])
        spelling = (f"{flag}/--no-{flag[2:]}",) if base is bool else (flag,)
        annotation = _option(base | None, *spelling, help=_plain(text), panel=kind.section())
        yield _keyword(name, annotation, None)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")  # rich would read square brackets as markup


def _flag_type(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kinds = [a for a in typing.get_args(hint) if a is not type(None)]
        hint = str if str in kinds else kinds[0]  # a word may stand in a number's place
    return str if typing.get_origin(hint) is tuple else hint


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(str(v) for v in default)
    return str(default)


def _read_toml(given: Path | None, run: str | None) -> dict[str, dict[str, Any]]:
    candidates = [given] if given else [Path(run) / _CONFIG_FILE] if run and "://" not in run else []
    if not given:
        candidates.append(Path(_CONFIG_FILE))
    path = next((p for p in candidates if p is not None and p.is_file()), None)
    if path is None:
        if given:
            raise ConfigError(f"{given} does not exist", hint="webclean init SOURCE writes one")
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    return check_file(content, str(path))


@contextmanager
def writing(run_url: str, command: str, settings: Settings, source: str | None = None) -> Iterator[Any]:
    """Hold the run folder's lock and give the `Context` that stages run in.

    Args:
        run_url: the run folder.
        command: who holds the lock.
        settings: what the person asked for.
        source: the crawl that the command reads, where it reads one.

    Raises:
        ConfigError: RUN is a file, or the crawl would lie among what the stages write.
        ArtifactMissingError: there is no such run folder, and this command does not make one.
        RunLockedError: another process writes it.
    """
    from webclean.engines.make import make_engine
    from webclean.errors import ArtifactMissingError
    from webclean.io.lock import hold
    from webclean.io.run_dir import RunDir
    from webclean.stages import log
    from webclean.stages.base import Context

    general = settings.build(GeneralConfig)
    run = RunDir(run_url)
    if source is not None:
        run.refuse_source(source)
    if command not in _MAKE_RUNS and not run.exists():
        raise ArtifactMissingError(
            f"{run.url} does not exist",
            context=f"webclean {command} works on a run folder",
            hint=f"run `webclean ingest SOURCE {run.url}` first",
        )
    engine = make_engine(general)
    try:
        with (
            hold(run, f"webclean {command}", settings.note),
            log.command(run, command, given=settings.given, note=settings.note) as told,
        ):
            yield Context(
                run=run,
                engine=engine,
                seed=general.seed,
                progress=console.progress,
                note=told.note,
                log=told.stage,
            )
    finally:
        engine.close()
