"""How alike categories are: all pairs by ancestor arithmetic beside NLTK's loop over pairs, and 21,000 categories.

    python benchmarks/category_similarity.py [--categories 1000] [--loop 30000] [--many 21000]
        [--out benchmarks/results/category_similarity.md]

Categories are noun synsets drawn at random. Both sides use the same WordNet, opened before the clock starts; webclean's
seconds include reading the graph. NLTK goes through --loop of the pairs, evenly spaced, and its time is scaled up to all;
every value that it gives is compared. --many runs the similarity stage in a process of its own:
WordNet ids as names, a random vector for each that agrees with the graph, K = 5, pairs above 0.5 kept.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory import peak_bytes

from webclean import schema
from webclean.config import SimilarityConfig
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.io.wordnet import WordNet, open_wordnet
from webclean.stages import similarity
from webclean.stages.base import Context

SEED = 7
MEASURES = ("path", "lch", "wup")


def main() -> None:
    """Run both sides, and the stage on many categories; print a table of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--categories", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=30_000, help="pairs that NLTK goes through")
    parser.add_argument("--many", type=int, default=21_000, help="0 leaves it out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # a folder: the stage in this process
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(many(options.one, options.many)))
        return
    lines = [
        f"# Category similarity\n\n{datetime.date.today().isoformat()}.\n",
        f"{options.categories:,} categories, {options.categories * (options.categories - 1) // 2:,} pairs:\n",
        "| measure | webclean, all pairs, s | NLTK's loop, s | pairs looped | largest difference | times faster |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    for row in side_by_side(options.categories, options.loop):
        lines.append(row)
        print(row, flush=True)
    if options.many:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", folder, "--many", str(options.many)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
        more = [
            f"\n{options.many:,} categories, the whole similarity stage with 384-d vectors:\n",
            "| seconds | of them opening WordNet | peak memory, GiB | pairs kept | on disk, MiB |",
            "|--:|--:|--:|--:|--:|",
        ]
        kept = f"{found['gibibytes']:.2f} | {found['pairs']:,} | {found['mebibytes']:.0f}"
        more.append(f"| {found['seconds']:.0f} | {found['opening']:.0f} | {kept} |")
        print("\n".join(more))
        lines += more
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def nouns(wordnet: WordNet, num: int) -> list[str]:
    """Offsets of noun synsets, drawn at random."""
    return sorted(
        np.random.default_rng(SEED).choice(sorted(wordnet._all_parents), num, replace=False).tolist()
    )


def side_by_side(num: int, loop: int) -> list[str]:
    """A row of the table for each measure."""
    wordnet = open_wordnet()
    names = [wordnet.senses(f"n{offset}").synsets[0] for offset in nouns(wordnet, num)]
    synsets = [wordnet._get(name) for name in names]
    wordnet._reader._max_depth["n", False] = wordnet.noun_depth  # NLTK would look for it first, for a minute
    pairs = list(itertools.combinations(range(num), 2))
    rows = []
    for measure in MEASURES:
        fresh = WordNet(wordnet.place)  # NLTK keeps what it has read; a new one has read nothing
        assert fresh.noun_depth == wordnet.noun_depth  # known to both sides before the clock starts
        start = time.perf_counter()
        found_CC = fresh.similarity(names, measure)
        ours = time.perf_counter() - start
        some = pairs[:: max(1, len(pairs) // loop)]
        theirs_P = np.empty(len(some))
        start = time.perf_counter()
        for index, (i, j) in enumerate(some):
            theirs_P[index] = getattr(synsets[i], f"{measure}_similarity")(synsets[j])
        seconds = (time.perf_counter() - start) * len(pairs) / len(some)
        if measure == "wup":  # of the two directions the larger counts
            back = [synsets[j].wup_similarity(synsets[i]) for i, j in some]
            theirs_P = np.maximum(theirs_P, back)
        worst = float(np.abs(found_CC[tuple(np.array(some).T)] - theirs_P).max())
        rows.append(
            f"| {measure} | {ours:.2f} | {seconds:.0f} | {len(some):,} | {worst:.1e} | {seconds / ours:,.0f} |"
        )
    return rows


def many(folder: Path, num: int) -> dict[str, float]:
    """Run the stage on many categories and measure it."""
    start = time.perf_counter()
    wordnet = open_wordnet()
    similarity.open_corpus = lambda setting: wordnet  # opened once, and timed apart
    opening = time.perf_counter() - start
    offsets = nouns(wordnet, num)
    rng = np.random.default_rng(SEED)
    direction = {offset: rng.normal(size=384) for offset in sorted(wordnet._all_parents)}
    vectors = []
    for offset in offsets:  # the own direction and those of all above
        vector, above = direction[offset].copy(), wordnet._all_parents[offset]
        while above:
            vector += direction[above[0]]
            above = wordnet._all_parents[above[0]]
        vectors.append(vector.astype(np.float32))
    names = [f"n{offset}" for offset in offsets]
    file = folder / "vectors.parquet"
    pq.write_table(pa.table({"name": names, "vector": vectors}), file)
    run = RunDir(str(folder / "run"))
    categories = {
        "category_id": list(range(num)), "name": names, "queries": [[name] for name in names], "num_images": [1] * num,
    }  # fmt: skip
    tables.write_part(run, schema.CATEGORIES, 0, categories, schema.CATEGORIES_TABLE)
    del vectors, direction
    context = Context(run=run, engine=None)
    config = SimilarityConfig(encoder="none", category_vectors=str(file), match_threshold=0.5)
    start = time.perf_counter()
    similarity.run(config, context)
    seconds = time.perf_counter() - start
    size = sum(part.stat().st_size for part in (folder / "run").rglob("part-*.parquet"))
    return {
        "seconds": seconds + opening,
        "opening": opening,
        "gibibytes": peak_bytes() / 2**30,
        "pairs": context.result["pairs_kept"],
        "mebibytes": size / 2**20,
    }


if __name__ == "__main__":
    main()
