"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from webclean.io.run_dir import RunDir

PythonRunner = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """An empty run folder on the local disk."""
    run = RunDir(str(tmp_path / "run"))
    run.make()
    return run


@pytest.fixture
def fresh_python(tmp_path: Path) -> PythonRunner:
    """Runs code in a new Python, as a user's would be."""

    def run(code: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=timeout,
            check=False,
        )

    return run
