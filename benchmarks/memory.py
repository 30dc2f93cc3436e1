"""How much memory a process holds: the kernel's own marks, which nothing that it was started from can raise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resident:
    """Resident memory, bytes: the most so far, and what is held now as memory of its own and as pages of files."""

    peak: int = 0
    anonymous: int = 0
    file: int = 0

    def most(self, other: Resident) -> Resident:
        """The larger of each."""
        return Resident(
            max(self.peak, other.peak), max(self.anonymous, other.anonymous), max(self.file, other.file)
        )


_NAMES = {"VmHWM": "peak", "RssAnon": "anonymous", "RssFile": "file"}


def resident(pid: int | str = "self") -> Resident:
    """What a process holds; nothing where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return Resident()
    pairs = (line.split(":", 1) for line in status.splitlines())
    return Resident(**{_NAMES[name]: int(value.split()[0]) * 1024 for name, value in pairs if name in _NAMES})


def peak_bytes(pid: int | str = "self") -> int:
    """Most resident memory of a process so far (VmHWM), bytes; 0 where it is gone."""
    return resident(pid).peak


def forget_peak(pid: int) -> None:
    """Let the most so far begin again with what the process holds now."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # it has ended
        return
