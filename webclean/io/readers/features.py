"""What Hugging Face's `datasets` notes about a table: which column is the image, what integer labels are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_KEY: Final = b"huggingface"
_UNLABELLED: Final = -1


@dataclass(frozen=True, slots=True)
class Features:
    """The columns that mean something.

    Attributes:
        images: names of the columns of images.
        labels: column of integer labels -> their names, in the order of the numbers; none where it has none.
    """

    images: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def label(self, column: str, value: Any) -> Any:
        """A cell of a column of labels as its name: -1 is None, what has no name stays as it is."""
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if value == _UNLABELLED:
            return None
        names = self.labels[column]
        return names[value] if 0 <= value < len(names) else value


def of_metadata(metadata: Mapping[bytes, bytes] | None) -> Features:
    """Features from the metadata of an Arrow schema; none where another program wrote it."""
    try:
        return _of_columns(json.loads((metadata or {})[_KEY])["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Features()


def _of_columns(columns: Any) -> Features:
    if not isinstance(columns, dict):
        return Features()
    kinds = {name: f for name, f in columns.items() if isinstance(f, dict)}
    return Features(
        images=tuple(name for name, f in kinds.items() if f.get("_type") == "Image"),
        labels={name: _names(f) for name, f in kinds.items() if f.get("_type") == "ClassLabel"},
    )


def _names(label: dict[str, Any]) -> tuple[str, ...]:
    names = label.get("names")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
