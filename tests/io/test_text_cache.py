"""The cache of text vectors: shared by programs, damaged, full, killed in the middle, named by flag or environment."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from webclean.errors import ConfigError
from webclean.io.text_cache import ENVIRONMENT, VectorCache, cache_files, cache_folder

WRITER = """
import sys
import numpy as np
from pathlib import Path
from webclean.io.text_cache import VectorCache
said = []
cache = VectorCache(Path(sys.argv[1]), "k", said.append)
first, num = int(sys.argv[2]), int(sys.argv[3])
for start in range(first, first + num, 10):
    cache.keep({f"word {i}": np.full(4, i, dtype=np.float32) for i in range(start, start + 10)})
    print(start, flush=True)
assert not said
"""


def vectors(*numbers: int) -> dict[str, np.ndarray]:
    return {f"word {i}": np.full(4, i, dtype=np.float32) for i in numbers}


def test_what_was_kept_is_found_to_the_bit(tmp_path: Path) -> None:
    kept = {
        "a": np.float32([0.1, -2.5e-8]),
        "\ud800": np.float32([1, np.pi]),
    }  # a lone surrogate is text, too
    first = VectorCache(tmp_path / "new", "k")
    first.keep(kept)
    first.close()
    found = VectorCache(tmp_path / "new", "k").find(["a", "b", "\ud800"])
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[text], kept[text]) for text in kept)
    assert VectorCache(tmp_path / "new", "other").find(["a"]) == {}


def test_programs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(first), "300"], stdout=subprocess.DEVNULL
        )
        for first in (0, 150, 1000)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    numbers = [*range(450), *range(1000, 1300)]
    found = VectorCache(tmp_path, "k").find([f"word {i}" for i in numbers])
    assert [found[f"word {i}"][0] for i in numbers] == numbers


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "0", "1000000"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    done = [int(writer.stdout.readline()) for _ in range(5)]
    time.sleep(0.05)
    writer.kill()
    writer.wait(30)
    writer.stdout.close()
    cache = VectorCache(tmp_path, "k", pytest.fail)
    found = cache.find([f"word {i}" for i in range(2000)])
    assert set(found) >= {f"word {i}" for i in range(done[-1] + 10)}
    assert len(found) % 10 == 0
    cache.keep(vectors(5000))
    assert cache.find(["word 5000"])


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "sentence-k.sqlite").write_bytes(b"no database" * 1000)
    said: list[str] = []
    cache = VectorCache(tmp_path, "k", said.append)
    assert "was damaged" in said.pop()
    cache.keep(vectors(1))
    cache.close()
    again = VectorCache(tmp_path, "k", pytest.fail)
    assert again.find(["word 1"])
    again.keep(vectors(*range(2000)))
    again.close()
    path = tmp_path / "sentence-k.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
    damaged = VectorCache(tmp_path, "k", said.append)
    assert damaged.find([f"word {i}" for i in range(2000)]) == {}
    assert "was damaged" in said.pop()
    damaged.keep(vectors(7))
    assert damaged.find(["word 7"])["word 7"].tolist() == [7] * 4


def test_a_file_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webclean.io.text_cache._PATIENCE", 0.1)
    VectorCache(tmp_path, "k").close()
    holder = sqlite3.connect(tmp_path / "sentence-k.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    said: list[str] = []
    cache = VectorCache(tmp_path, "k", said.append)
    cache.keep(vectors(1, 2))
    assert "kept for this command only" in said.pop()
    assert cache.find(["word 1", "word 3"]).keys() == {"word 1"}
    holder.close()
    (tmp_path / "file").touch()
    nowhere = VectorCache(tmp_path / "file" / "inside", "k", said.append)
    nowhere.keep(vectors(1))
    assert nowhere.find(["word 1"])
    assert "kept for this command only" in said.pop()


def test_without_a_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = VectorCache(None, "k", pytest.fail)
    cache.keep(vectors(*range(1001)))
    assert len(cache.find([f"word {i}" for i in range(1200)])) == 1001
    assert list(tmp_path.iterdir()) == []


def test_who_says_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder(None, tmp_path / "run") == tmp_path / "cache" / "webclean"
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "by-env"))
    assert cache_folder(None, tmp_path / "run") == tmp_path / "by-env"
    assert cache_folder(str(tmp_path / "by-flag"), tmp_path / "run") == tmp_path / "by-flag"
    assert cache_folder("none", tmp_path / "run") is None
    monkeypatch.setenv(ENVIRONMENT, "none")
    assert cache_folder(None, tmp_path / "run") is None
    assert cache_folder(str(tmp_path / "by-flag"), tmp_path / "run") == tmp_path / "by-flag"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--text-cache .*file is no folder"):
        cache_folder(str(tmp_path / "file"), tmp_path)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=f"{ENVIRONMENT} .*file is no folder"):
        cache_folder(None, tmp_path)
    monkeypatch.delenv(ENVIRONMENT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder(None, tmp_path / "run") == tmp_path / "run"


def test_files_of_the_cache_are_listed(tmp_path: Path) -> None:
    for key in ("b", "a"):
        VectorCache(tmp_path, key).close()
    (tmp_path / "other.sqlite").touch()
    assert [path.name for path in cache_files(tmp_path)] == ["sentence-a.sqlite", "sentence-b.sqlite"]
