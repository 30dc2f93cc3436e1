"""A commented webclean.toml: every setting with its meaning, default and range."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from webclean.config import IngestConfig, sections
from webclean.io.readers.listing import list_source

_WIDTH = 100


def compose(source: str) -> tuple[str, list[str]]:
    """The file's text, and one line per guessed column.

    Args:
        source: SOURCE as `webclean ingest` takes it.

    Raises:
        ImagesNotFoundError, ConfigError, DataError: SOURCE cannot be listed.
    """
    listing = list_source(IngestConfig(source=source))
    columns = dict(sorted(listing.found.columns.items()))
    guessed = [f"{field} = column {column!r}" for field, column in columns.items()]
    lines = [
        f"# Settings of webclean for {source.encode('unicode_escape').decode()}",
        "# A line that starts with # holds the default; take the # away to change it. Flags go before this file.",
    ]
    for name, kind in sections().items():
        fields = [f for f in dataclasses.fields(kind) if f.metadata.get("flag") != ""]
        if not fields:
            continue
        lines += ["", f"[{name}]"]
        for field in fields:
            lines += [f"# {line}" for line in textwrap.wrap(_help(field), _WIDTH)]
            column = columns.get(field.name.removesuffix("_column")) if kind is IngestConfig else None
            known = field.name.endswith("_column") and column is not None
            value = column if known else field.default
            lines.append(f"{'' if known else '# '}{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n", guessed


def _help(field: dataclasses.Field[Any]) -> str:
    meta = field.metadata
    choices = f" One of: {', '.join(meta['choices'])}." if meta.get("choices") else ""
    bounds = [
        f"{sign} {meta[key]}"
        for key, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if meta.get(key) is not None
    ]
    return f"{meta['help']}{choices}" + (f" ({', '.join(bounds)})" if bounds else "")


def _toml(value: Any) -> str:
    if value is None:
        return '""  # not set'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A TOML basic string: column names come from the crawl and may hold anything."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    shown = (escapes.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return '"' + "".join(shown) + '"'
