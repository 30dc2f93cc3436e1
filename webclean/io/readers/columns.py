"""Which column of a manifest means what: one literal table, and the rules for guessing with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webclean import schema
from webclean.config import IngestConfig
from webclean.errors import ColumnMissingError, ConfigError

PATH: Final = "path"

NAMES: Final[dict[str, tuple[str, ...]]] = {
    PATH: ("path", "file_path", "filepath", "image_path", "img_path", "local_path", "file_name", "filename",
           "file", "image", "img"),
    schema.CATEGORY: ("category", "label", "class", "category_name", "label_name", "class_name", "target"),
    schema.QUERY: ("query", "search_query", "search_term", "keyword"),
    schema.RANK: ("rank", "search_rank", "result_rank", "position"),
    schema.TITLE: ("title", "image_title", "headline"),
    schema.DESCRIPTION: ("description", "caption", "snippet", "text"),
    schema.TAGS: ("tags", "keywords", "hashtags"),
    schema.ALT_TEXT: ("alt_text", "alt", "alt_description"),
    schema.SOURCE: ("source", "engine", "search_engine", "provider", "site"),
    schema.PAGE_URL: ("page_url", "page", "source_url", "landing_url", "origin_url", "url"),
}  # fmt: skip
"""Field of `images` -> names that a manifest may give it, the better ones first (docs/formats.md)."""

_SEPARATORS: Final = (";", "|", ",")
_WORD: Final = re.compile(r"[\s\-.]+")


def match(
    columns: Sequence[str],
    config: IngestConfig,
    *,
    bytes_column: str | None,
    where: str,
    labels: Sequence[str] = (),
    category_needed: bool = True,
    known: Mapping[str, str] | None = None,
    has_paths: bool = True,
) -> dict[str, str]:
    """Field -> column, from the flags first and from the table of names for the rest.

    Names are compared without case; blanks, dashes and dots count as underscores. A query column alone
    is the category too. What the table itself calls a label settles between several, or where no name fits.

    Args:
        columns: the manifest's, in its order.
        config: holds the flags (`path_column` and so on).
        bytes_column: a column of image bytes, which is not a path.
        where: the manifest, for messages.
        labels: columns that the table itself calls labels.
        category_needed: whether there has to be a label.
        known: field -> column, where the layout says what a column is; a flag overrules it.
        has_paths: False where the layout itself says where the images are: no column is a path.

    Raises:
        ConfigError: two columns could be the label.
        ColumnMissingError: a named column is not there, or none could be the path or the label.
    """
    fields = [field for field in NAMES if has_paths or field != PATH]
    chosen: dict[str, str] = dict(known or {})
    for field in fields:
        wanted = getattr(config, f"{field}_column")
        if wanted is None:
            continue
        chosen[field] = _named(wanted, columns, where)
    free = [c for c in columns if c not in chosen.values() and c != bytes_column]
    plain = {_plain(column): column for column in reversed(free)}
    for field in fields:
        if field in chosen:
            continue
        found = [plain[name] for name in NAMES[field] if name in plain]
        if field == schema.CATEGORY and len(found) != 1:
            called = [label for label in labels if label in (found or free)]
            found = called if len(called) == 1 else found
        if field == schema.CATEGORY and len(found) > 1:
            raise ConfigError(
                f"{len(found)} columns could be the label: {', '.join(found)}",
                context=where,
                hint=f"choose with --category-column {found[0]} or --category-column {found[1]}",
            )
        if found:
            chosen[field] = found[0]
    if schema.CATEGORY not in chosen and schema.QUERY in chosen:
        chosen[schema.CATEGORY] = chosen[schema.QUERY]
    _require(chosen, PATH, bytes_column is not None or not has_paths, columns, where, "path")
    _require(chosen, schema.CATEGORY, not category_needed, columns, where, "category")
    return chosen


def _named(wanted: str, columns: Sequence[str], where: str) -> str:
    """The column that a flag names: spelled the same, else the only one that is the same but for case."""
    if wanted in columns:
        return wanted
    found = [column for column in columns if _plain(column) == _plain(wanted)]
    if len(found) != 1:
        raise ColumnMissingError(
            f"there is no column {wanted!r}",
            context=where,
            hint=f"columns: {', '.join(found or columns)}",
        )
    return found[0]


def _plain(column: str) -> str:
    return _WORD.sub("_", column.strip().lower())


def _require(
    chosen: dict[str, str], field: str, waived: bool, columns: Sequence[str], where: str, flag: str
) -> None:
    if field not in chosen and not waived:
        raise ColumnMissingError(
            f"no column could be the {flag}",
            context=f"{where}: {', '.join(columns)}",
            hint=f"name it with --{flag}-column; known names: {', '.join(NAMES[field])}",
        )


def text(value: Any) -> str | None:
    """A cell as text, None where it is empty; what is not UTF-8 becomes U+FFFD."""
    if isinstance(value, str) and value.isascii():  # most are, and Python knows it without looking
        return value if value.strip() else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    value = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return value if value.strip() else None


def tags(value: Any) -> list[str] | None:
    """Tags from a list, a JSON list as text, or text split at semicolons, else bars, else commas."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            pass  # a tag may begin with a bracket
    if isinstance(value, str):
        separator = next((s for s in _SEPARATORS if s in value), ",")
        value = value.split(separator)
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        value = [value]
    words = [word.strip() for item in value if (word := text(item)) is not None]
    return words or None


def whole_number(value: Any) -> int | None:
    """A rank as found: an int, a float or text that is a whole number; anything else is None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.isascii() and stripped.isdigit() and len(stripped) < 19:
            return int(stripped)
        if not re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", stripped, re.ASCII):
            return None
        return int(stripped.split(".")[0])
    if isinstance(value, int):
        return value if abs(value) < 1 << 62 else None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    return None
