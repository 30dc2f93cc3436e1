"""Files that need no more than a name."""

from __future__ import annotations

from pathlib import Path


def files(folder: Path, *names: str) -> Path:
    """Write files that hold their own names into a folder, and give it back."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder
