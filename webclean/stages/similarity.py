"""similarity: which sense each category name has, how alike the categories are, and the nearest of each."""

from __future__ import annotations

import csv
import difflib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import LanguageConfig, SimilarityConfig
from webclean.errors import ConfigError, DependencyMissingError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import senses as choosing
from webclean.ops import similarity
from webclean.stages import category_sides
from webclean.stages.base import Context, Counts

if TYPE_CHECKING:
    from webclean.io.sentence import Encoder
    from webclean.io.wordnet import WordNet

NONE: Final = "none"
BY_PERSON: Final = "file"  # how a sense was chosen: by the --senses file
_PART_PAIRS: Final = 1_000_000  # rows of one part of the pair table: bounds memory for many categories
_ALL_PAIRS: Final = 2_000  # categories up to which every pair is written unless a person says otherwise
_SENSES_AT_ONCE: Final = 6_000  # open senses weighed against one another at once: 300 MB each matrix of them
_LISTS: Final = (schema.SYNSETS, schema.LEMMAS, schema.SENSES_FOUND)
_OWN_SHARE: Final = 0.3  # a sense's likeness to its own name and queries, beside that to the other categories


@dataclass(frozen=True, slots=True)
class Sense:
    """The sense of one category, as the table `category_senses` holds it."""

    category_id: int
    name: str
    queries: tuple[str, ...]
    synsets: tuple[str, ...] = ()
    lemmas: tuple[str, ...] = ()
    gloss: str | None = None
    parent: str | None = None
    senses_found: tuple[str, ...] = ()
    head_word: str | None = None
    chosen_by: str = NONE

    @property
    def synset(self) -> str | None:
        """The first of its senses, which is the only one unless a person's file names several."""
        return next(iter(self.synsets), None)

    @property
    def text(self) -> str:
        """What is encoded for the category."""
        return choosing.category_text(self.name, self.queries, self.lemmas, self.gloss)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The senses of the name that were not chosen, the most frequent first."""
        return tuple(synset for synset in self.senses_found if synset not in self.synsets)


def source_fingerprint(config: SimilarityConfig) -> str | None:
    """Content of the files that the knobs name: a change there makes the stage run again."""
    named = {
        name: path
        for name in ("senses", "taxonomy", "information_content", "category_vectors")
        if (path := getattr(config, name)) is not None
    }
    if not named:
        return None
    digest = hashlib.sha256()
    for name, path in named.items():
        digest.update(f"{name} {hashlib.sha256(_bytes(name, path)).hexdigest()}\n".encode())
    return digest.hexdigest()


def check(config: SimilarityConfig, ctx: Context) -> None:
    """Refuse files of a person before the relations that stand are touched.

    Raises:
        ConfigError, ColumnMissingError: a file names an unknown category or sense, or cannot be used.
    """
    categories = _categories(ctx.run)
    by_person = _read_senses(config.senses, categories)
    wordnet = open_corpus(config.wordnet) if by_person else None
    for synsets in by_person.values():
        for synset in synsets:
            if wordnet is not None:
                wordnet.synset(synset)
    if config.taxonomy is not None:
        category_sides.graph_side(config, categories, None)
    if config.category_vectors is not None:
        category_sides.text_side(config, categories, None)
    if config.information_content is not None:
        from webclean.io.information_content import read_information_content

        read_information_content(config.information_content)


def run(config: SimilarityConfig, ctx: Context) -> Counts:
    """Write category_senses, category_similarity (one row per ordered pair) and category_neighbors.

    Raises:
        ConfigError: a file that a knob names cannot be used.
        DependencyMissingError: WordNet or the sentence encoder is nowhere.
    """
    categories = _categories(ctx.run)
    wordnet = open_corpus(config.wordnet)
    encoder = open_texts(ctx, config)
    try:
        rows = choose(categories, wordnet, encoder, _read_senses(config.senses, categories))
        text = category_sides.text_side(config, rows, encoder)
    finally:
        if encoder is not None:
            encoder.close()
    graph = category_sides.graph_side(config, rows, wordnet)
    related = similarity.relate(
        len(rows),
        graph.scaled,
        text.scaled,
        text_share=config.text_share,
        theta=config.match_threshold,
        theta_quantile=config.match_quantile,
        normalize=config.normalize,
    )
    every = config.keep_pairs == "all" or (config.keep_pairs == "auto" and len(rows) <= _ALL_PAIRS)
    kept = _write(ctx, rows, related, graph.scale, every=every, num_neighbors=config.num_neighbors)
    ctx.result.update(
        wordnet=None if wordnet is None else wordnet.identity,
        encoder=None if encoder is None else encoder.identity,
        threshold=related.theta,
        pairs="all" if every else "related",
        pairs_kept=kept,
        senses={row.name: {"synset": row.synset, "chosen_by": row.chosen_by} for row in rows},
        without_sense=[row.name for row in rows if row.synset is None],
        without_place=list(graph.missing),
        without_vector=list(text.missing),
    )
    for note in (*graph.notes, *text.notes):
        ctx.note(note)
    return Counts(total=len(rows), forwarded=len(rows))


def open_corpus(setting: str | None) -> WordNet | None:
    """WordNet as the knob names it; None where the person goes without."""
    if setting == NONE:
        return None
    from webclean.io.wordnet import open_wordnet

    return open_wordnet(setting)


def open_texts(ctx: Context, config: LanguageConfig) -> Encoder | None:
    """The sentence encoder as the knob names it, with the person's cache; None where the person goes without.

    Raises:
        ConfigError: the cache that the person names cannot be written.
        DependencyMissingError: the encoder is nowhere.
    """
    if config.encoder == NONE:
        return None
    from webclean.io.sentence import open_encoder
    from webclean.io.text_cache import cache_folder

    cache = cache_folder(config.text_cache, ctx.run.scratch("sentence"))
    return open_encoder(config.encoder, cache=cache, num_threads=config.encoder_threads, note=ctx.note)


def choose(
    categories: Sequence[Sense],
    wordnet: WordNet | None,
    encoder: Encoder | None,
    by_person: Mapping[str, Sequence[str]],
) -> list[Sense]:
    """Settle the sense of every category.

    Args:
        categories: id, name and queries of each.
        wordnet: None leaves all without a sense.
        encoder: None takes the first of several senses.
        by_person: category name -> senses that the --senses file sets, none for no sense at all.
    """
    if wordnet is None:
        return list(categories)
    found = [wordnet.senses(category.name) for category in categories]
    chosen: list[tuple[tuple[str, ...], str]] = []
    for category, senses in zip(categories, found, strict=True):
        if category.name in by_person:
            given = dict.fromkeys(wordnet.synset(synset) for synset in by_person[category.name])
            chosen.append((tuple(given), BY_PERSON))
        elif len(senses.synsets) > 1:
            chosen.append(((), "open"))
        else:
            chosen.append((senses.synsets, "only") if senses.synsets else ((), NONE))
    certain = {
        synset
        for (synsets, how), senses in zip(chosen, found, strict=True)
        if how == BY_PERSON or senses.head is None
        for synset in synsets
    }
    left_C = choosing.without_taken([senses.synsets for senses in found], certain)
    settled = _by_context(categories, left_C, chosen, wordnet, encoder)
    rows = []
    for category, senses, left, (synsets, how), index in zip(
        categories, found, left_C, chosen, settled, strict=True
    ):
        if how == "open":
            synsets = (left[max(index, 0)],)
            how = "first" if index < 0 else "text"
        rows.append(
            Sense(
                category_id=category.category_id,
                name=category.name,
                queries=category.queries,
                synsets=synsets,
                lemmas=tuple(dict.fromkeys(word for synset in synsets for word in wordnet.lemmas(synset))),
                gloss="; ".join(wordnet.gloss(synset) for synset in synsets) if synsets else None,
                parent=next((above for synset in synsets for above in wordnet.parents(synset)), None),
                senses_found=senses.synsets,
                head_word=None if how == BY_PERSON else senses.head,
                chosen_by=how,
            )
        )
    return rows


def _by_context(
    categories: Sequence[Sense],
    left_C: Sequence[Sequence[str]],
    chosen: Sequence[tuple[Sequence[str], str]],
    wordnet: WordNet,
    encoder: Encoder | None,
) -> list[int]:
    """Index of the sense that fits the other categories and the queries; -1 where nothing speaks for one.

    Of many thousand categories, those that stand near in the list are weighed together: some thousand are context
    enough, and the matrix of all their senses would not fit into memory.
    """
    nothing = [-1] * len(categories)
    asked = any(query.casefold() != c.name.casefold() for c in categories for query in c.queries)
    alone = len(categories) < 2 and not asked
    if encoder is None or alone or all(how != "open" for _, how in chosen):
        return nothing
    senses = [
        list(synsets) if how != "open" else list(left)
        for (synsets, how), left in zip(chosen, left_C, strict=True)
    ]
    settled: list[int] = []
    for span in _groups([len(group) for group in senses]):
        is_open = [how == "open" for _, how in chosen[span]]
        settled += _weighed(categories[span], senses[span], is_open, wordnet, encoder)
    return settled


def _groups(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of categories with at most `_SENSES_AT_ONCE` senses together."""
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if total + size > _SENSES_AT_ONCE and index > start:
            yield slice(start, index)
            start, total = index, 0
        total += size
    yield slice(start, len(sizes))


def _weighed(
    categories: Sequence[Sense],
    senses: Sequence[Sequence[str]],
    is_open: Sequence[bool],
    wordnet: WordNet,
    encoder: Encoder,
) -> list[int]:
    """Index of the chosen sense of each category of one run."""
    flat = [synset for group in senses for synset in group]
    if not flat:
        return [-1] * len(categories)
    texts = [f"{', '.join(wordnet.lemmas(synset))}: {wordnet.gloss(synset)}" for synset in flat]
    glosses_SD = encoder.encode(texts).astype(np.float64)
    similarity_SS = glosses_SD @ glosses_SD.T + wordnet.similarity(flat, "wup")
    context_S = np.zeros(len(flat))
    start = 0
    for category, group in zip(categories, senses, strict=True):
        span = slice(start, start + len(group))
        start += len(group)
        own_D = encoder.encode([category.name, *category.queries]).astype(np.float64).mean(axis=0)
        context_S[span] = _OWN_SHARE * (glosses_SD[span] @ own_D)
    settled = [
        0 if group and not unsettled else None for group, unsettled in zip(senses, is_open, strict=True)
    ]
    return choosing.choose_senses(similarity_SS, context_S, [len(group) for group in senses], settled)


def _write(
    ctx: Context,
    rows: Sequence[Sense],
    related: similarity.Relations,
    graph_scale: float,
    *,
    every: bool,
    num_neighbors: int,
) -> int:
    """Write the three tables, the pairs block by block; gives the number of pairs written."""
    columns = schema.SENSES_TABLE.column_names
    tables.write_part(
        ctx.run,
        schema.SENSES,
        0,
        {c: [getattr(row, c) for row in rows] for c in columns},
        schema.SENSES_TABLE,
    )
    ids_C = np.asarray([row.category_id for row in rows], dtype=np.int32)
    pairs = _Pairs(ctx.run, ids_C, graph_scale)
    near: list[dict[str, NDArray[Any]]] = []
    with ctx.progress(total=len(rows), unit="categories", label="relate") as bar:
        for block in related.blocks():
            rows_B = block.rows_B
            neighbors_BK = similarity.nearest_of(block.combined_BC, rows_B, num_neighbors)
            keep_BC = np.ones(block.combined_BC.shape, dtype=bool)
            if not every:
                keep_BC = block.match_BC > 0
                np.put_along_axis(keep_BC, neighbors_BK, True, axis=1)
            pairs.add(block, keep_BC)
            width = neighbors_BK.shape[1]
            near.append(
                {
                    schema.A: np.repeat(ids_C[rows_B], width),
                    schema.POSITION: np.tile(np.arange(1, width + 1, dtype=np.int32), len(rows_B)),
                    schema.B: ids_C[neighbors_BK.ravel()],
                    schema.COMBINED: np.take_along_axis(block.combined_BC, neighbors_BK, axis=1).ravel(),
                }
            )
            bar.advance(len(rows_B))
    pairs.close()
    joined: dict[str, Any] = {
        name: np.concatenate([part[name] for part in near]) if near else []
        for name in schema.NEIGHBORS_TABLE.column_names
    }
    tables.write_part(ctx.run, schema.CATEGORY_NEIGHBORS, 0, joined, schema.NEIGHBORS_TABLE)
    return pairs.num_written


class _Pairs:
    """Writes pairs in parts of at most `_PART_PAIRS` rows, as many rows of the matrix in each as fit."""

    def __init__(self, run: RunDir, ids_C: NDArray[np.int32], graph_scale: float) -> None:
        self._run, self._ids_C, self._graph_scale = run, ids_C, graph_scale
        self._step = max(1, _PART_PAIRS // max(len(ids_C), 1))
        self._waiting: list[dict[str, Any]] = []
        self._num_waiting = self._part = self.num_written = 0

    def add(self, block: similarity.RelationBlock, keep_BC: NDArray[np.bool_]) -> None:
        """Take the pairs of a block that are to be kept."""
        for start in range(0, len(block.rows_B), self._step):
            span = slice(start, start + self._step)
            row, column = np.nonzero(keep_BC[span])
            if self._num_waiting and self._num_waiting + len(row) > _PART_PAIRS:
                self._flush()
            graph_P, text_P = (
                np.full(len(row), np.nan) if side is None else side[span][row, column]
                for side in (block.graph_BC, block.text_BC)
            )
            self._waiting.append(
                {
                    schema.A: self._ids_C[block.rows_B[span]][row],
                    schema.B: self._ids_C[column],
                    schema.WORDNET: graph_P * self._graph_scale,
                    schema.TEXT_SIMILARITY: text_P,
                    schema.COMBINED: block.combined_BC[span][row, column],
                    schema.MATCH: block.match_BC[span][row, column],
                }
            )
            self._num_waiting += len(row)

    def close(self) -> None:
        """Write what waits; a crawl without categories has one part without rows."""
        if self._waiting or not self._part:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        data: dict[str, Any] = {
            name: np.concatenate([part[name] for part in self._waiting]) if self._waiting else []
            for name in schema.SIMILARITY_TABLE.column_names
        }
        for name in (schema.WORDNET, schema.TEXT_SIMILARITY):
            values = np.asarray(data[name], dtype=np.float64)
            data[name] = pa.array(values, mask=np.isnan(values))
        tables.write_part(self._run, schema.CATEGORY_SIMILARITY, self._part, data, schema.SIMILARITY_TABLE)
        self.num_written += self._num_waiting
        self._part += 1
        self._waiting, self._num_waiting = [], 0


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One of the nearest categories of a category, and why: NaN where a side knows nothing."""

    position: int
    name: str
    synset: str | None
    wordnet: float
    text: float
    combined: float
    match: float


def neighbors_of(run: RunDir, category: str) -> list[Neighbor]:
    """The nearest categories of one, best first, with the scores behind the choice.

    Raises:
        ConfigError: there is no such category.
        ArtifactMissingError: the similarity stage has not run.
    """
    import pyarrow.compute as pc

    senses = tables.read(run, schema.SENSES, schema.SENSES_TABLE).to_pylist()
    by_name = {row[schema.NAME]: row for row in senses}
    if category not in by_name:
        raise _no_category(category, list(by_name))
    by_id = {row[schema.CATEGORY_ID]: row for row in senses}
    own = by_name[category][schema.CATEGORY_ID]
    pairs = {}
    for part in tables.iter_parts(run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE):
        for row in part.filter(pc.equal(part.column(schema.A), own)).to_pylist():
            pairs[row[schema.B]] = row
    near = tables.read(run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE)
    found = []
    for row in near.filter(pc.equal(near.column(schema.A), own)).to_pylist():
        pair, other = pairs[row[schema.B]], by_id[row[schema.B]]
        found.append(
            Neighbor(
                position=row[schema.POSITION],
                name=other[schema.NAME],
                synset=other[schema.SYNSET],
                wordnet=_or_nan(pair[schema.WORDNET]),
                text=_or_nan(pair[schema.TEXT_SIMILARITY]),
                combined=pair[schema.COMBINED],
                match=pair[schema.MATCH],
            )
        )
    return sorted(found, key=lambda neighbor: neighbor.position)


def read_senses(run: RunDir) -> list[Sense]:
    """The settled senses, by category_id, with the categories' queries."""
    queries = {category.category_id: category.queries for category in _categories(run)}
    rows: list[dict[str, Any]] = tables.read(run, schema.SENSES, schema.SENSES_TABLE).to_pylist()
    found = []
    for row in sorted(rows, key=lambda row: row[schema.CATEGORY_ID]):
        row.pop(schema.SYNSET)
        lists: dict[str, Any] = {name: tuple(row.pop(name)) for name in _LISTS}
        found.append(Sense(**row, **lists, queries=queries[row[schema.CATEGORY_ID]]))
    return found


def sense_of(run: RunDir, category: str) -> Sense:
    """The settled sense of one category.

    Raises:
        ConfigError: there is no such category.
        ArtifactMissingError: the similarity stage has not run.
    """
    by_name = {sense.name: sense for sense in read_senses(run)}
    if category not in by_name:
        raise _no_category(category, list(by_name))
    return by_name[category]


def glosses(synsets: Sequence[str], corpus: str | None) -> list[str | None]:
    """What WordNet says of each sense; None where WordNet is not at hand.

    Args:
        synsets: names of senses.
        corpus: as the knob `wordnet`.
    """
    try:
        wordnet = open_corpus(corpus) if synsets else None
    except DependencyMissingError:
        wordnet = None
    return [None if wordnet is None else wordnet.gloss(synset) for synset in synsets]


def _no_category(name: str, known: list[str]) -> ConfigError:
    return ConfigError(f"no category {name!r}", hint=_nearest_name(name, known))


def _categories(run: RunDir) -> list[Sense]:
    rows: list[dict[str, Any]] = tables.read(run, schema.CATEGORIES, schema.CATEGORIES_TABLE).to_pylist()
    rows.sort(key=lambda row: row[schema.CATEGORY_ID])
    return [Sense(row[schema.CATEGORY_ID], row[schema.NAME], tuple(row[schema.QUERIES])) for row in rows]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _nearest_name(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"categories are {', '.join(known[:10])}"


def _bytes(knob: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"--{knob.replace('_', '-')} {path} cannot be read: {error.strerror}") from error


def _read_senses(path: str | None, categories: Sequence[Sense]) -> dict[str, tuple[str, ...]]:
    """Senses that a person sets: category name -> its senses in the order of the lines, none for no sense."""
    if path is None:
        return {}
    try:
        lines = list(csv.reader(_bytes("senses", path).decode("utf-8-sig").splitlines()))
    except UnicodeDecodeError as error:
        raise ConfigError(f"--senses {path} is not UTF-8") from error
    first = 1
    if lines and [cell.strip().lower() for cell in lines[0]] == [schema.NAME, schema.SYNSET]:
        lines, first = lines[1:], 2
    known = {category.name for category in categories}
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, first):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != 2:
            raise ConfigError(f"--senses {path}: a line must be name,synset; got {','.join(line)!r}")
        name, synset = (cell.strip() for cell in line)
        if name not in known:
            raise ConfigError(
                f"--senses {path} names no category {name!r}", hint=_nearest_name(name, sorted(known))
            )
        if name in found and (not synset or not found[name] or synset in found[name]):
            raise ConfigError(
                f"--senses {path}, line {number}: {name!r} has a line before that this one repeats or contradicts",
                hint="give each sense of a category one line, or the category one line with an empty synset",
            )
        found[name] = (*found.get(name, ()), *((synset,) if synset else ()))
    return found
