"""Stage 1 of a drawn crawl after its vocabulary is encoded: text masses, then rank, text match and normalisation.

    python benchmarks/text_scale.py --work DIR [--rows 100000] [--categories 14 1000] [--words 100000] [--workers 0]
        [--out FILE]

Keywords and their vectors are drawn (384 numbers each), so that nothing is measured but what comes after the encoder: the
vectors of all texts, their likeness to all categories, the artefact `text`, and stage 1 with what it writes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawn_crawl import Crawl
from memory import peak_bytes
from numpy.typing import NDArray

DIM = 384
KEYWORDS = 6  # of an image


class DrawnEncoder:
    """Unit vectors out of nowhere, the same for the same word."""

    identity = "drawn"
    on_accelerator = False

    def __init__(self) -> None:
        self._pool_PD = np.random.default_rng(3).standard_normal((8_191, DIM), dtype=np.float32)
        self._pool_PD /= np.linalg.norm(self._pool_PD, axis=1, keepdims=True)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 (N, 384)."""
        return self._pool_PD[[sum(map(ord, text)) * 31 % len(self._pool_PD) for text in texts]]

    def missing(self, texts: Sequence[str]) -> list[str]:
        """All is known."""
        return []


class Clock:
    """Says when the words were encoded: the bars of a stage tell."""

    def __init__(self) -> None:
        self.marks: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def __call__(self, *, total: int, unit: str, label: str) -> Iterator[Any]:
        """A bar that notes its end."""
        yield self
        self.marks[label] = (time.perf_counter(), time.process_time())

    def advance(self, steps: int = 1) -> None:
        """Nothing is shown."""

    def describe(self, text: str) -> None:
        """Nothing is shown."""


def measure(folder: Path, rows: int, categories: int, num_words: int, workers: int) -> str:
    """A row of the table: text masses and stage 1, in this process."""
    from webclean import config, schema
    from webclean.engines.local import InlineEngine, LocalEngine
    from webclean.io.word_store import WordStore
    from webclean.stages import text
    from webclean.stages.base import Context, execute
    from webclean.stages.chain import BY_NAME

    crawl = Crawl(folder, rows, categories, DIM)
    crawl.images(texts=False)
    crawl.run.remove(schema.TEXT)
    engine = LocalEngine(workers) if workers else InlineEngine()
    clock = Clock()
    context = Context(crawl.run, engine, progress=clock)
    names = np.array([f"w{number}" for number in range(num_words)])
    with WordStore(crawl.run.scratch("text")) as store:
        for _, row_N, rng in crawl.parts():
            word_NK = np.minimum(rng.zipf(1.2, (len(row_N), KEYWORDS)) - 1, num_words - 1)
            spread = rng.random(word_NK.shape) < 0.3  # so that all words occur
            word_NK = np.where(spread, rng.integers(0, num_words, word_NK.shape), word_NK)
            store.add_part([tuple(dict.fromkeys(row)) for row in names[word_NK].tolist()])
        text._write(context, config.TextConfig(), store, DrawnEncoder(), None, rows)  # type: ignore[arg-type]
        found = len(store.words)
    wall, cpu = (
        after - before for before, after in zip(clock.marks["encode"], clock.marks["text"], strict=True)
    )
    crawl.commit(schema.TEXT)
    before = time.process_time()
    stage1 = execute(BY_NAME["stage1"], config.Stage1Config(), context, force=True)
    spent = time.process_time() - before
    if isinstance(engine, LocalEngine):
        engine.close()
    return (
        f"| {rows:,} | {categories:,} | {found:,} | {workers} | {wall:.1f} | {cpu:.1f} | {stage1.seconds:.1f} | {spent:.1f} |"
        f" {wall + stage1.seconds:.1f} | {peak_bytes() / 2**20:.0f} |"
    )


def main() -> None:
    """Each size in a process of its own; prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs, which are kept")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--categories", type=int, nargs="+", default=[14, 1000])
    parser.add_argument("--words", type=int, default=100_000)
    parser.add_argument(
        "--workers", type=int, default=0, help="processes besides this one; not in CPU and peak"
    )
    parser.add_argument("--out", type=Path, help="file to which the table is added")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        rows, categories = options.one
        folder = options.work / f"{rows}-{categories}-words"
        print(measure(folder, rows, categories, options.words, options.workers))
        return
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    lines = [
        f"{datetime.date.today()}, {options.machine}, OMP_NUM_THREADS {threads}, load {os.getloadavg()[0]:.1f}.",
        "",
        f"    python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}",
        "",
        "| rows | categories | distinct keywords | workers | masses: seconds | CPU | stage 1: seconds | CPU | both: seconds | peak, MiB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for rows in options.rows:
        for categories in options.categories:
            one = ["--one", str(rows), str(categories)]
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], *one], stdout=subprocess.PIPE, text=True, check=True
            )
            lines.append(done.stdout.strip())
            print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n\n")


if __name__ == "__main__":
    main()
