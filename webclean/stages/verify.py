"""Verify: read every file of an export again and hold it against its checksum."""

from __future__ import annotations

from pathlib import Path

from webclean.errors import ArtifactInvalidError
from webclean.io import checksums
from webclean.io.checksums import Verification

_SHOWN = 20


def run(out: Path) -> Verification:
    """Check all files that OUT's checksum list names, those of the source among them.

    Raises:
        ArtifactMissingError: OUT has no checksum list.
        ArtifactInvalidError: a file is gone or differs; the message lists them.
    """
    found = checksums.verify(out)
    if not found.is_ok:
        lines = [f"differs: {path}" for path in found.differing] + [f"gone: {path}" for path in found.missing]
        more = len(lines) - _SHOWN
        raise ArtifactInvalidError(
            f"{len(lines)} of {found.num_files} files of {out} are not what was exported:\n"
            + "\n".join(f"  {line}" for line in lines[:_SHOWN])
            + (f"\n  ... and {more} more" if more > 0 else ""),
            hint="export again",
        )
    return found
