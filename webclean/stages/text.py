"""text: the keywords of every image, and how much of them speaks of its category.

Legend: N images of a part, W distinct keywords, C categories, D dims, T categories kept of each image, R rivals: the
other senses of the names of categories whose sense a person has set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import TextConfig
from webclean.io import tables
from webclean.io.word_store import WordStore
from webclean.ops import keywords as words
from webclean.ops import senses as wording
from webclean.ops import text_mass
from webclean.stages import space
from webclean.stages.base import Context, Counts
from webclean.stages.rows import NO_CATEGORY, Categories
from webclean.stages.similarity import BY_PERSON, Sense, open_corpus, open_texts, read_senses

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.io.run_dir import RunDir
    from webclean.io.sentence import Encoder
    from webclean.io.wordnet import WordNet

_COLUMNS: Final = (
    *(schema.CATEGORY, schema.QUERY, schema.TITLE, schema.DESCRIPTION, schema.TAGS),
    *(schema.ALT_TEXT, schema.PAGE_URL, schema.FILE_NAME),
)
_ENCODED_AT_ONCE: Final = 4096  # distinct keywords whose vectors are in memory
_TASK_WORDS: Final = 512  # of one task of the engine: sixteen batches of the encoder
_WORTH_SPREADING: Final = (
    4096  # new keywords from which on workers pay, each of which loads the encoder for seconds
)
_CELLS: Final = 4_000_000  # images times categories that are in memory at once
_VALUE_BYTES: Final = 4  # float32

Row = tuple[Any, ...]  # the values of _COLUMNS


def run(config: TextConfig, ctx: Context) -> Counts:
    """Write `text`, one row for every image.

    First the keywords of all images are found and the distinct ones encoded, then each part's keywords are turned
    into masses. Workers find, encode and judge; memory here holds the vocabulary, a file its vectors.

    Raises:
        DependencyMissingError: WordNet or the sentence encoder is nowhere.
    """
    corpus = open_corpus(config.wordnet)
    compounds = "" if corpus is None else "\n".join(sorted(corpus.compounds))
    total = tables.num_rows(ctx.run, schema.IMAGES)
    with WordStore(ctx.run.scratch("text")) as store:
        find = partial(find_keywords, compounds=compounds.encode(), keep_own=config.keep_query_words)
        without = 0
        with ctx.progress(total=total, unit="images", label="keywords") as bar:
            for found in ctx.engine.map(find, _rows(ctx.run)):
                assert isinstance(found, list)
                store.add_part(found)
                without += sum(not one for one in found)
                bar.advance(len(found))
        encoder = open_texts(ctx, config)
        try:
            _write(ctx, config, store, encoder, corpus, total)
        finally:
            if encoder is not None:
                encoder.close()
        num_words = len(store.words)
    ctx.result.update(
        encoder=None if encoder is None else encoder.identity,
        images_without_text=without,
        distinct_keywords=num_words,
    )
    return Counts(total=total, forwarded=total)


def find_keywords(rows: Sequence[Row], *, compounds: bytes, keep_own: bool) -> list[tuple[str, ...]]:
    """Keywords of each row: a task of the engine.

    Args:
        rows: category, query, title, description, tags, alternative text, page URL and file name of each image.
        compounds: the nouns of several words, a line each, in UTF-8: bytes travel faster than sixty thousand words.
        keep_own: let the words of category and query count.
    """
    known = _compounds(compounds)
    return [
        words.keywords(
            words.ImageText(title, description, tags or (), alt_text, page_url, file_name),
            frozenset() if keep_own else _own_words(category, query),
            known,
        )
        for category, query, title, description, tags, alt_text, page_url, file_name in rows
    ]


@lru_cache(maxsize=1)
def _compounds(joined: bytes) -> frozenset[str]:
    return frozenset(joined.decode().split("\n")) if joined else frozenset()


@lru_cache(maxsize=4096)
def _own_words(category: str | None, query: str | None) -> frozenset[str]:
    return words.word_forms(name for name in (category, query) if name)


def _rows(run: RunDir) -> Iterator[list[Row]]:
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS):
        yield list(zip(*(part.column(name).to_pylist() for name in _COLUMNS), strict=True))


def _write(
    ctx: Context,
    config: TextConfig,
    store: WordStore,
    encoder: Encoder | None,
    corpus: WordNet | None,
    total: int,
) -> None:
    """Write the parts that are not there yet."""
    categories = Categories(ctx.run)
    senses = read_senses(ctx.run)
    ids_C = np.asarray([sense.category_id for sense in senses], dtype=np.int64)
    todo = [
        index
        for index in range(len(tables.part_names(ctx.run, schema.IMAGES)))
        if not tables.has_part(ctx.run, schema.TEXT, index)
    ]
    with ctx.progress(total=total, unit="images", label="text") as bar:
        meanings = None if encoder is None else _meanings(encoder, senses, corpus)
        all_judged = _judged(ctx, config, store, encoder, meanings, ids_C, todo)
        for index, judged in zip(todo, all_judged, strict=True):
            part = _labels(ctx.run, index)
            has_label_N = categories.encode(part.column(schema.CATEGORY)) != NO_CATEGORY
            rows = _columns(store, index, judged, has_label_N, ids_C)
            rows[schema.IMAGE_ID] = part.column(schema.IMAGE_ID)
            tables.write_part(ctx.run, schema.TEXT, index, rows, schema.TEXT_TABLE)
            bar.advance(part.num_rows)


def _labels(run: RunDir, index: int) -> pa.Table:
    columns = (schema.IMAGE_ID, schema.CATEGORY)
    return tables.read_part(run, schema.IMAGES, tables.part_name(index), schema.IMAGES_TABLE, columns)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the keywords of one part say; NaN in rows without text.

    Attributes:
        label_N, neighbor_N, kappa_N: float64, as in `ops.text_mass.TextMass`.
        top_NT: int64, places of the categories with the largest masses.
        mass_NT: float64, their masses.
    """

    label_N: NDArray[np.float64]
    neighbor_N: NDArray[np.float64]
    kappa_N: NDArray[np.float64]
    top_NT: NDArray[np.int64]
    mass_NT: NDArray[np.float64]


def _judged(
    ctx: Context,
    config: TextConfig,
    store: WordStore,
    encoder: Encoder | None,
    meanings: _Meanings | None,
    ids_C: NDArray[np.int64],
    todo: Sequence[int],
) -> Iterator[Judged | None]:
    """What is to be written of each part; None for all of them without an encoder."""
    if encoder is None or meanings is None:
        yield from [None] * len(todo)
        return
    weight_W = _encode_all(ctx, encoder, store, np.concatenate((meanings.text_CD, meanings.rival_RD)))
    match_CK, neighbors_CK = _relations(ctx.run, ids_C)
    categories = Categories(ctx.run)

    def tasks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        for index in todo:
            code_N = categories.encode(_labels(ctx.run, index).column(schema.CATEGORY))
            label_N = np.searchsorted(ids_C, np.where(code_N == NO_CATEGORY, ids_C[0], code_N))
            yield _text_vectors(store, index, weight_W), label_N

    judge = partial(
        judge_part,
        meanings=meanings,
        match_CK=match_CK,
        neighbors_CK=neighbors_CK,
        tau=config.text_temperature,
        top=config.text_top,
    )
    for judged in ctx.engine.map(judge, tasks()):
        assert isinstance(judged, Judged)
        yield judged


def _encode_all(
    ctx: Context, encoder: Encoder, store: WordStore, texts_CD: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Encode the distinct keywords and write their vectors into the store; the weight of each, float64 (W,).

    A keyword weighs by its rarity among the images and by how near it comes to any category.
    """
    vocabulary = store.words
    dim = texts_CD.shape[1]
    what = f"vectors of {len(vocabulary):,} keywords"
    space.require(ctx, len(vocabulary) * dim * _VALUE_BYTES, what, in_scratch=True)
    relevance_W = np.empty(len(vocabulary))
    blocks = [
        vocabulary[start : start + _ENCODED_AT_ONCE] for start in range(0, len(vocabulary), _ENCODED_AT_ONCE)
    ]
    _spread(ctx, encoder, blocks)

    def vectors() -> Iterator[NDArray[np.float32]]:
        with ctx.progress(total=len(vocabulary), unit="keywords", label="encode") as bar:
            start = 0
            for block in blocks:
                vector_BD = encoder.encode(block)
                with _one_thread():
                    relevance_W[start : start + len(block)] = text_mass.relevance(vector_BD, texts_CD)
                start += len(block)
                bar.advance(len(block))
                yield vector_BD

    store.write_vectors(vectors(), dim)
    rarity_W = text_mass.inverse_frequency(np.asarray(store.counts, dtype=np.int64), store.num_texts)
    return rarity_W * relevance_W


def _spread(ctx: Context, encoder: Encoder, blocks: Sequence[list[str]]) -> None:
    """Let the engine's workers encode what is new, where it is much; the cache then has it."""
    if ctx.engine.num_workers == 0 or encoder.on_accelerator:
        return
    if sum(map(len, blocks)) < _WORTH_SPREADING:
        return
    new = [word for block in blocks for word in encoder.missing(block)]
    if len(new) < _WORTH_SPREADING:
        return
    under_way: deque[list[str]] = deque()

    def tasks() -> Iterator[list[str]]:
        for start in range(0, len(new), _TASK_WORDS):
            under_way.append(new[start : start + _TASK_WORDS])
            yield under_way[-1]

    with ctx.progress(total=len(new), unit="keywords", label="encode") as bar:
        for vectors_BD in ctx.engine.map(encoder.task, tasks()):
            some = under_way.popleft()
            encoder.keep(some, vectors_BD)  # type: ignore[arg-type]
            bar.advance(len(some))


def _text_vectors(store: WordStore, index: int, weight_W: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors of the texts of one part, (N, D)."""
    number_P, length_N = store.part(index)
    number_B, row_P = np.unique(number_P.astype(np.int64), return_inverse=True)
    return text_mass.text_vectors(
        row_P,
        np.repeat(np.arange(len(length_N)), length_N),
        store.vectors(number_B),
        weight_W[number_B],
        len(length_N),
    )


def judge_part(
    task: tuple[NDArray[np.float64], NDArray[np.int64]],
    *,
    meanings: _Meanings,
    match_CK: NDArray[np.float64],
    neighbors_CK: NDArray[np.int64],
    tau: float,
    top: int,
) -> Judged:
    """Masses of the images of one part: a task of the engine, the same in any process.

    Args:
        task: unit vectors of the texts (N, D), zero without text, and the place of each label (N,).
        meanings, match_CK, neighbors_CK, tau: as for `ops.text_mass.text_mass`.
        top: T, at most C are kept.
    """
    text_ND, label_N = task
    step = max(1, _CELLS // len(meanings.text_CD))
    parts = []
    with _one_thread():
        for start in range(0, max(1, len(text_ND)), step):
            rows = slice(start, start + step)
            mass = text_mass.text_mass(
                text_ND[rows],
                meanings.text_CD,
                label_N[rows],
                match_CK,
                neighbors_CK,
                tau=tau,
                rival_RD=meanings.rival_RD,
                owner_R=meanings.owner_R,
            )
            top_NT = text_mass.largest(mass.mass_NC, top)
            mass_NT = np.take_along_axis(mass.mass_NC, top_NT, axis=1)
            parts.append((mass.label_N, mass.neighbor_N, mass.kappa_N, top_NT, mass_NT))
    return Judged(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _one_thread() -> Any:
    """Sums in one compute thread, as in workers: how they are split decides their last bits."""
    return _controller().limit(limits=1)


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _columns(
    store: WordStore,
    index: int,
    judged: Judged | None,
    has_label_N: NDArray[np.bool_],
    ids_C: NDArray[np.int64],
) -> dict[str, Any]:
    """The columns of one part but for the ids of the images."""
    import pyarrow as pa

    number_P, length_N = store.part(index)
    end_N = np.concatenate(([0], np.cumsum(length_N)))
    has_text_N = length_N > 0
    found = pa.array([store.words[number] for number in number_P.tolist()], type=pa.string())
    columns: dict[str, Any] = {
        schema.KEYWORDS: pa.ListArray.from_arrays(pa.array(end_N, type=pa.int32()), found),
        schema.NO_TEXT: pa.array(~has_text_N),
    }
    num = len(length_N)
    if judged is None:
        nothing = pa.nulls(num, pa.float64())
        empty: list[list[int]] = [[] for _ in range(num)]
        masses = dict.fromkeys((schema.LABEL_MASS, schema.NEIGHBOR_MASS, schema.TEXT_MASS), nothing)
        return {**columns, **masses, schema.TOP_CATEGORIES: empty, schema.TOP_MASSES: empty}
    for name, values_N in (
        (schema.LABEL_MASS, judged.label_N),
        (schema.NEIGHBOR_MASS, judged.neighbor_N),
        (schema.TEXT_MASS, judged.kappa_N),
    ):
        columns[name] = pa.array(values_N, mask=np.isnan(values_N) | ~has_label_N)
    width_N = np.where(has_text_N, judged.top_NT.shape[1], 0)
    offsets = pa.array(np.concatenate(([0], np.cumsum(width_N))), type=pa.int32())
    kept_NT = np.broadcast_to(has_text_N[:, None], judged.top_NT.shape)
    columns[schema.TOP_CATEGORIES] = pa.ListArray.from_arrays(
        offsets, pa.array(ids_C[judged.top_NT[kept_NT]])
    )
    columns[schema.TOP_MASSES] = pa.ListArray.from_arrays(offsets, pa.array(judged.mass_NT[kept_NT]))
    return columns


@dataclass(frozen=True, slots=True)
class _Meanings:
    """What stands for the categories, and for what their names mean besides.

    Attributes:
        text_CD: float64, unit vectors of the categories.
        rival_RD: float64, unit vectors of the other senses of names whose sense a person has set.
        owner_R: int64, place of the category of each rival.
    """

    text_CD: NDArray[np.float64]
    rival_RD: NDArray[np.float64]
    owner_R: NDArray[np.int64]


def _meanings(encoder: Encoder, senses: Sequence[Sense], corpus: WordNet | None) -> _Meanings:
    """v_c: unit mean of a category's bare name and its whole text; keywords are short, like names.

    Where a person has set the sense, the name is what misleads: the meaning stands without it, and the other senses
    of the name take their part of the images under it.
    """
    names_CD = encoder.encode([sense.name for sense in senses]).astype(np.float64)
    sum_CD = names_CD + encoder.encode([sense.text for sense in senses])
    rivals, owners = [], []
    for place, sense in enumerate(senses):
        if corpus is None or sense.chosen_by != BY_PERSON:
            continue
        if sense.gloss is not None:
            text = wording.meaning_text(sense.name, sense.lemmas, sense.gloss)
            sum_CD[place] = encoder.encode([text])[0]
        for synset in sense.alternatives:
            rivals.append(wording.meaning_text(sense.name, corpus.lemmas(synset), corpus.gloss(synset)))
            owners.append(place)
    return _Meanings(
        np.asarray(sum_CD / np.linalg.norm(sum_CD, axis=1, keepdims=True)),
        encoder.encode(rivals).astype(np.float64),
        np.asarray(owners, dtype=np.int64),
    )


def _relations(run: RunDir, ids_C: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The K nearest of each category by place among the categories, and S-bar of each with them: both (C, K)."""
    num = len(ids_C)
    near = tables.read(run, schema.CATEGORY_NEIGHBORS, schema.NEIGHBORS_TABLE)
    width = near.num_rows // max(num, 1)
    neighbors_CK = np.zeros((num, width), dtype=np.int64)
    a, place, b = (near.column(name).to_numpy() for name in (schema.A, schema.POSITION, schema.B))
    neighbors_CK[np.searchsorted(ids_C, a), place - 1] = np.searchsorted(ids_C, b)
    key_P = (np.arange(num)[:, None] * num + neighbors_CK).ravel()
    match_P = np.zeros(len(key_P))
    columns = (schema.A, schema.B, schema.MATCH)
    for part in tables.iter_parts(run, schema.CATEGORY_SIMILARITY, schema.SIMILARITY_TABLE, columns):
        a, b, match = (part.column(name).to_numpy() for name in columns)
        key = np.searchsorted(ids_C, a) * num + np.searchsorted(ids_C, b)
        if len(key):
            sorted_P = np.argsort(key)  # as written, but for a table from elsewhere
            at = sorted_P[np.minimum(np.searchsorted(key, key_P, sorter=sorted_P), len(key) - 1)]
            found = key[at] == key_P
            match_P[found] = match[at[found]]
    return match_P.reshape(num, width), neighbors_CK
