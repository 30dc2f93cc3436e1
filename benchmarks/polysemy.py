"""Words with two senses: does text mass tell titles of the sense that the senses file gives from those of the other?

    python benchmarks/polysemy.py [--out benchmarks/results/polysemy.md]

`polysemy.csv` holds ten words with five titles for each of two senses, written before anything was measured. All ten
are the categories of one run, the first sense of each given; then once more with the second sense, which for a name that
WordNet lacks is no sense (an empty synset). A title scores by its text mass; the words of the query are no evidence, as always. Beside it: the cosine of the
whole title to the bare word by the same sentence encoder, which knows of no senses.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from webclean import schema
from webclean.config import SimilarityConfig, TextConfig
from webclean.engines.local import InlineEngine
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.io.sentence import open_encoder
from webclean.stages import similarity, text
from webclean.stages.base import Context

TITLES = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class Title:
    """One title; `synset` is empty for a sense that WordNet lacks."""

    word: str
    synset: str
    text: str


@dataclass(frozen=True)
class Means:
    """Mean scores of one word's titles under the given sense."""

    word: str
    synset: str
    right: float
    wrong: float
    right_plain: float
    wrong_plain: float


def read_titles() -> list[Title]:
    """The committed titles; of each word, those of its first sense stand first."""
    with TITLES.open(newline="", encoding="utf-8") as file:
        return [Title(row["word"], row["synset"], row["title"]) for row in csv.DictReader(file)]


def measure(titles: list[Title], given: dict[str, str], folder: Path) -> list[Means]:
    """Means of every word under the sense given to it.

    Args:
        titles: of all words; those of words without a given sense are left out.
        given: word -> synset.
        folder: empty, for the run and the senses file.
    """
    titles = [title for title in titles if title.word in given]
    senses = folder / "senses.csv"
    senses.write_text("name,synset\n" + "".join(f"{word},{synset}\n" for word, synset in given.items()))
    run = RunDir(str(folder / "run"))
    run.make()
    blank = {column.name: None for column in schema.IMAGES_TABLE.columns}
    rows = [
        blank
        | {schema.IMAGE_ID: f"{i:033d}", schema.SOURCE_KEY: f"{i}.jpg", schema.URI: f"{i}.jpg"}
        | {schema.FILE_NAME: f"{i}.jpg", schema.STATUS: schema.STATUS_OK, schema.SOURCE: ""}
        | {schema.CATEGORY: title.word, schema.QUERY: title.word, schema.TITLE: title.text}
        for i, title in enumerate(titles)
    ]
    table = {name: [row[name] for row in rows] for name in schema.IMAGES_TABLE.column_names}
    tables.write_part(run, schema.IMAGES, 0, table, schema.IMAGES_TABLE)
    names = sorted(given)
    categories = {
        schema.CATEGORY_ID: list(range(len(names))),
        schema.NAME: names,
        schema.QUERIES: [[name] for name in names],
        schema.NUM_IMAGES: [sum(title.word == name for title in titles) for name in names],
    }
    tables.write_part(run, schema.CATEGORIES, 0, categories, schema.CATEGORIES_TABLE)
    context = Context(run, InlineEngine())
    similarity.run(SimilarityConfig(senses=str(senses)), context)
    text.run(TextConfig(), context)
    found = tables.read(run, schema.TEXT, schema.TEXT_TABLE, (schema.TEXT_MASS,))
    mass = np.array([np.nan if m is None else m for m in found.column(schema.TEXT_MASS).to_pylist()])
    with open_encoder() as encoder:
        title_ND = encoder.encode([title.text for title in titles])
        word_ND = encoder.encode([title.word for title in titles])
    plain = (title_ND * word_ND).sum(axis=1)
    means = []
    for word, synset in given.items():
        right = np.array([title.word == word and title.synset == synset for title in titles])
        wrong = np.array([title.word == word and title.synset != synset for title in titles])
        scores = [float(np.nanmean(values[rows])) for values in (mass, plain) for rows in (right, wrong)]
        means.append(Means(word, synset, *scores))
    return means


def main() -> None:
    """Measure with the first senses, then with the second ones; print a table of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    titles = read_titles()
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    for title in titles:
        first.setdefault(title.word, title.synset)
        if title.synset != first[title.word]:
            second[title.word] = title.synset
    lines = [
        "# Words with two senses\n",
        f"{datetime.date.today().isoformat()}. Ten words, five titles for each sense, ten categories in one run;",
        "`python benchmarks/polysemy.py`.\n",
    ]
    for which, given in (("first", first), ("second", second)):
        with tempfile.TemporaryDirectory() as folder:
            means = measure(titles, given, Path(folder))
        lines += [
            f"The {which} sense of each word is given; mean over five titles:\n",
            "| word | sense | text mass: right sense | wrong sense | | cosine to the word: right | wrong | |",
            "|---|---|--:|--:|---|--:|--:|---|",
        ]
        for m in means:
            marks = [
                "" if a > b else "missed" for a, b in ((m.right, m.wrong), (m.right_plain, m.wrong_plain))
            ]
            lines.append(
                f"| {m.word} | {m.synset or 'none of WordNet'} | {m.right:.3f} | {m.wrong:.3f} | {marks[0]} |"
                f" {m.right_plain:.3f} | {m.wrong_plain:.3f} | {marks[1]} |"
            )
        ours = sum(m.right > m.wrong for m in means)
        plain = sum(m.right_plain > m.wrong_plain for m in means)
        lines.append(
            f"\nRight above wrong: text mass {ours} of {len(means)}, cosine {plain} of {len(means)}.\n"
        )
    report = "\n".join(lines)
    print(report)
    if options.out is not None:
        options.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
