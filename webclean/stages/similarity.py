"""similarity: which sense each category name has, how alike the categories are, and the nearest of each."""

from __future__ import annotations

import csv
import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import SimilarityConfig
from webclean.errors import ConfigError, DependencyMissingError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import senses as choosing
from webclean.ops import similarity
from webclean.ops.taxonomy import max_lch
from webclean.stages.base import Context, Counts

if TYPE_CHECKING:
    from webclean.io.sentence import Encoder
    from webclean.io.wordnet import WordNet

NONE: Final = "none"
_PART_PAIRS: Final = 1_000_000  # rows of one part of the pair table: bounds memory for many categories
_OWN_SHARE: Final = 0.3  # a sense's likeness to its own name and queries, beside that to the other categories


@dataclass(frozen=True, slots=True)
class Sense:
    """The sense of one category, as the table `category_senses` holds it."""

    category_id: int
    name: str
    queries: tuple[str, ...]
    synset: str | None = None
    lemmas: tuple[str, ...] = ()
    gloss: str | None = None
    parent: str | None = None
    senses_found: tuple[str, ...] = ()
    head_word: str | None = None
    chosen_by: str = NONE

    @property
    def text(self) -> str:
        """What is encoded for the category."""
        return choosing.category_text(self.name, self.queries, self.lemmas, self.gloss)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The senses of the name that were not chosen, the most frequent first."""
        return tuple(synset for synset in self.senses_found if synset != self.synset)


def source_fingerprint(config: SimilarityConfig) -> str | None:
    """Content of the --senses file: a change there makes the stage run again."""
    if config.senses is None:
        return None
    return hashlib.sha256(_senses_bytes(config.senses)).hexdigest()


def check(config: SimilarityConfig, ctx: Context) -> None:
    """Refuse a --senses file before the senses that stand are touched.

    Raises:
        ConfigError: the file names an unknown category or sense.
    """
    by_person = _read_senses(config.senses, _categories(ctx.run))
    wordnet = open_corpus(config.wordnet) if by_person else None
    for synset in by_person.values():
        if wordnet is not None and synset is not None:
            wordnet.synset(synset)


def run(config: SimilarityConfig, ctx: Context) -> Counts:
    """Write category_senses, category_similarity (one row per ordered pair) and category_neighbors.

    Raises:
        ConfigError: the --senses file names an unknown category or sense.
        DependencyMissingError: WordNet or the sentence encoder is nowhere.
    """
    categories = _categories(ctx.run)
    wordnet = open_corpus(config.wordnet)
    encoder = open_texts(ctx, config.encoder, config.encoder_threads)
    try:
        rows = choose(categories, wordnet, encoder, _read_senses(config.senses, categories))
        text_CC = None
        if encoder is not None:
            text_CC = similarity.cosine_similarity(encoder.encode([row.text for row in rows]))
    finally:
        if encoder is not None:
            encoder.close()
    wordnet_CC, scale = _wordnet_similarity(rows, wordnet, config.measure)
    related = similarity.blend(
        None if wordnet_CC is None else wordnet_CC / scale,
        text_CC,
        text_share=config.text_share,
        theta=config.match_threshold,
        theta_quantile=config.match_quantile,
    )
    neighbors_CK = similarity.nearest(related.combined_CC, config.num_neighbors)
    _write(ctx.run, rows, wordnet_CC, text_CC, related, neighbors_CK)
    ctx.result.update(
        wordnet=None if wordnet is None else wordnet.identity,
        encoder=None if encoder is None else encoder.identity,
        threshold=related.theta,
        senses={row.name: {"synset": row.synset, "chosen_by": row.chosen_by} for row in rows},
        without_sense=[row.name for row in rows if row.synset is None],
    )
    if wordnet is not None and ctx.result["without_sense"]:
        missing = ctx.result["without_sense"]
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        ctx.note(f"{len(missing)} categories are not in WordNet and are compared by text alone: {shown}")
    return Counts(total=len(rows), forwarded=len(rows))


def open_corpus(setting: str | None) -> WordNet | None:
    """WordNet as the knob names it; None where the person goes without."""
    if setting == NONE:
        return None
    from webclean.io.wordnet import open_wordnet

    return open_wordnet(setting)


def open_texts(ctx: Context, setting: str | None, threads: int) -> Encoder | None:
    """The sentence encoder as the knob names it, with the person's cache; None where the person goes without."""
    if setting == NONE:
        return None
    from webclean.io.sentence import cache_folder, open_encoder

    return open_encoder(setting, cache=cache_folder(ctx.run.scratch("sentence")), num_threads=threads)


def choose(
    categories: Sequence[Sense],
    wordnet: WordNet | None,
    encoder: Encoder | None,
    by_person: dict[str, str | None],
) -> list[Sense]:
    """Settle the sense of every category.

    Args:
        categories: id, name and queries of each.
        wordnet: None leaves all without a sense.
        encoder: None takes the first of several senses.
        by_person: category name -> sense that the --senses file sets, None for no sense at all.
    """
    if wordnet is None:
        return list(categories)
    found = [wordnet.senses(category.name) for category in categories]
    chosen: list[tuple[str | None, str]] = []
    for category, senses in zip(categories, found, strict=True):
        if category.name in by_person:
            given = by_person[category.name]
            chosen.append((None if given is None else wordnet.synset(given), "file"))
        elif len(senses.synsets) > 1:
            chosen.append((None, "open"))
        else:
            chosen.append((senses.synsets[0], "only") if senses.synsets else (None, NONE))
    certain = {
        synset
        for (synset, how), senses in zip(chosen, found, strict=True)
        if synset is not None and (how == "file" or senses.head is None)
    }
    left_C = choosing.without_taken([senses.synsets for senses in found], certain)
    settled = _by_context(categories, left_C, chosen, wordnet, encoder)
    rows = []
    for category, senses, left, (synset, how), index in zip(
        categories, found, left_C, chosen, settled, strict=True
    ):
        if how == "open":
            synset = left[max(index, 0)]
            how = "first" if index < 0 else "text"
        rows.append(
            Sense(
                category_id=category.category_id,
                name=category.name,
                queries=category.queries,
                synset=synset,
                lemmas=() if synset is None else wordnet.lemmas(synset),
                gloss=None if synset is None else wordnet.gloss(synset),
                parent=None if synset is None else next(iter(wordnet.parents(synset)), None),
                senses_found=senses.synsets,
                head_word=None if how == "file" else senses.head,
                chosen_by=how,
            )
        )
    return rows


def _by_context(
    categories: Sequence[Sense],
    left_C: Sequence[Sequence[str]],
    chosen: Sequence[tuple[str | None, str]],
    wordnet: WordNet,
    encoder: Encoder | None,
) -> list[int]:
    """Index of the sense that fits the other categories and the queries; -1 where nothing speaks for one."""
    nothing = [-1] * len(categories)
    asked = any(query.casefold() != c.name.casefold() for c in categories for query in c.queries)
    alone = len(categories) < 2 and not asked
    if encoder is None or alone or all(how != "open" for _, how in chosen):
        return nothing
    senses = [
        [synset] if how != "open" and synset is not None else list(left) if how == "open" else []
        for (synset, how), left in zip(chosen, left_C, strict=True)
    ]
    flat = [synset for group in senses for synset in group]
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
    settled = [0 if how != "open" and group else None for (_, how), group in zip(chosen, senses, strict=True)]
    return choosing.choose_senses(similarity_SS, context_S, [len(group) for group in senses], settled)


def _wordnet_similarity(
    rows: Sequence[Sense], wordnet: WordNet | None, measure: str
) -> tuple[NDArray[np.float64] | None, float]:
    """S_w with NaN where a category has no synset, and the value that stands for identity."""
    if wordnet is None:
        return None, 1.0
    full_CC = np.full((len(rows), len(rows)), np.nan)
    known = [index for index, row in enumerate(rows) if row.synset is not None]
    synsets = [row.synset for row in rows if row.synset is not None]
    if known:
        kinds = [rows[index].head_word is not None for index in known]
        full_CC[np.ix_(known, known)] = wordnet.similarity(synsets, measure, kind_of=kinds)
    return full_CC, max_lch(wordnet.noun_depth) if measure == "lch" else 1.0


def _write(
    run: RunDir,
    rows: Sequence[Sense],
    wordnet_CC: NDArray[np.float64] | None,
    text_CC: NDArray[np.float64] | None,
    related: similarity.CategorySimilarity,
    neighbors_CK: NDArray[np.int64],
) -> None:
    import pyarrow as pa

    columns = schema.SENSES_TABLE.column_names
    tables.write_part(
        run, schema.SENSES, 0, {c: [getattr(row, c) for row in rows] for c in columns}, schema.SENSES_TABLE
    )
    ids_C = np.asarray([row.category_id for row in rows], dtype=np.int32)
    num = len(rows)
    step = max(1, _PART_PAIRS // max(num, 1))
    for part, start in enumerate(range(0, max(num, 1), step)):
        span = slice(start, start + step)
        size = len(ids_C[span])
        sides = {
            name: pa.nulls(size * num, pa.float64())
            if side is None
            else pa.array(side[span].ravel(), mask=np.isnan(side[span].ravel()))
            for name, side in ((schema.WORDNET, wordnet_CC), (schema.TEXT_SIMILARITY, text_CC))
        }
        pairs = {
            schema.A: np.repeat(ids_C[span], num),
            schema.B: np.tile(ids_C, size),
            **sides,
            schema.COMBINED: related.combined_CC[span].ravel(),
            schema.MATCH: related.match_CC[span].ravel(),
        }
        tables.write_part(run, schema.CATEGORY_SIMILARITY, part, pairs, schema.SIMILARITY_TABLE)
    width = neighbors_CK.shape[1]
    near = {
        schema.A: np.repeat(ids_C, width),
        schema.POSITION: np.tile(np.arange(1, width + 1, dtype=np.int32), num),
        schema.B: ids_C[neighbors_CK.ravel()],
        schema.COMBINED: np.take_along_axis(related.combined_CC, neighbors_CK, axis=1).ravel(),
    }
    tables.write_part(run, schema.CATEGORY_NEIGHBORS, 0, near, schema.NEIGHBORS_TABLE)


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
        lists: dict[str, Any] = {name: tuple(row.pop(name)) for name in (schema.LEMMAS, schema.SENSES_FOUND)}
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


def _senses_bytes(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"--senses {path} cannot be read: {error.strerror}") from error


def _read_senses(path: str | None, categories: Sequence[Sense]) -> dict[str, str | None]:
    if path is None:
        return {}
    try:
        lines = list(csv.reader(_senses_bytes(path).decode("utf-8-sig").splitlines()))
    except UnicodeDecodeError as error:
        raise ConfigError(f"--senses {path} is not UTF-8") from error
    if lines and [cell.strip().lower() for cell in lines[0]] == [schema.NAME, schema.SYNSET]:
        lines = lines[1:]
    known = [category.name for category in categories]
    found: dict[str, str | None] = {}
    for line in lines:
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != 2:
            raise ConfigError(f"--senses {path}: a line must be name,synset; got {','.join(line)!r}")
        name, synset = (cell.strip() for cell in line)
        if name not in known:
            raise ConfigError(f"--senses {path} names no category {name!r}", hint=_nearest_name(name, known))
        found[name] = synset or None
    return found
