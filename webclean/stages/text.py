"""text: the keywords of every image, and how much of them speaks of its category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import TextConfig
from webclean.io import tables
from webclean.ops import keywords as words
from webclean.ops import text_mass
from webclean.stages.base import Context, Counts
from webclean.stages.rows import NO_CATEGORY, Categories
from webclean.stages.similarity import Sense, open_corpus, open_texts, read_senses

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.io.run_dir import RunDir
    from webclean.io.sentence import Encoder

_COLUMNS = (
    *(schema.IMAGE_ID, schema.CATEGORY, schema.QUERY, schema.TITLE, schema.DESCRIPTION, schema.TAGS),
    *(schema.ALT_TEXT, schema.PAGE_URL, schema.FILE_NAME),
)
_ENCODED_AT_ONCE = 4096  # distinct keywords; their vectors live in the encoder's cache, not in memory


def run(config: TextConfig, ctx: Context) -> Counts:
    """Write `text`, one row for every image.

    Two passes over `images`: the first counts in how many images each keyword stands and encodes the distinct
    keywords, the second turns each part's keywords into masses. Memory holds the keywords, not their vectors.

    Raises:
        DependencyMissingError: WordNet or the sentence encoder is nowhere.
    """
    corpus = open_corpus(config.wordnet)
    finder = _Finder(frozenset() if corpus is None else corpus.compounds, keep_own=config.keep_query_words)
    counts: dict[str, int] = {}
    total = without = 0
    for part in _parts(ctx.run):
        for found in finder.keywords(part):
            total += 1
            without += not found
            for word in found:
                counts[word] = counts.get(word, 0) + 1
    encoder = open_texts(ctx, config.encoder, config.encoder_threads)
    try:
        if encoder is not None:
            _encode_all(ctx, encoder, sorted(counts))
        judge = _Masses(ctx.run, config, encoder, counts, total)
        for index, part in enumerate(_parts(ctx.run)):
            if not tables.has_part(ctx.run, schema.TEXT, index):
                rows = judge.rows(part, finder.keywords(part))
                tables.write_part(ctx.run, schema.TEXT, index, rows, schema.TEXT_TABLE)
    finally:
        if encoder is not None:
            encoder.close()
    ctx.result.update(
        encoder=None if encoder is None else encoder.identity,
        images_without_text=without,
        distinct_keywords=len(counts),
    )
    return Counts(total=total, forwarded=total)


def _parts(run: RunDir) -> Iterator[pa.Table]:
    return tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, _COLUMNS)


def _encode_all(ctx: Context, encoder: Encoder, vocabulary: list[str]) -> None:
    with ctx.progress(total=len(vocabulary), unit="keywords", label="encode") as bar:
        for start in range(0, len(vocabulary), _ENCODED_AT_ONCE):
            some = vocabulary[start : start + _ENCODED_AT_ONCE]
            encoder.encode(some)
            bar.advance(len(some))


class _Finder:
    """Finds keywords; the words of each category and query are made once."""

    def __init__(self, compounds: frozenset[str], *, keep_own: bool) -> None:
        self._compounds = compounds
        self._keep_own = keep_own
        self._own: dict[tuple[str, str], frozenset[str]] = {}

    def keywords(self, part: pa.Table) -> list[tuple[str, ...]]:
        return [self._of(row) for row in part.to_pylist()]

    def _of(self, row: dict[str, Any]) -> tuple[str, ...]:
        names = (row[schema.CATEGORY], row[schema.QUERY])
        if names not in self._own:
            self._own[names] = frozenset() if self._keep_own else words.word_forms(names)
        text = words.ImageText(
            title=row[schema.TITLE],
            description=row[schema.DESCRIPTION],
            tags=row[schema.TAGS] or (),
            alt_text=row[schema.ALT_TEXT],
            page_url=row[schema.PAGE_URL],
            file_name=row[schema.FILE_NAME],
        )
        return words.keywords(text, self._own[names], self._compounds)


class _Masses:
    """Turns the keywords of one part into rows of `text`."""

    def __init__(
        self,
        run: RunDir,
        config: TextConfig,
        encoder: Encoder | None,
        counts: dict[str, int],
        num_images: int,
    ) -> None:
        self._config = config
        self._encoder = encoder
        self._counts = counts
        self._num_images = num_images
        self._categories = Categories(run)
        senses = read_senses(run)
        self._ids_C = np.asarray([sense.category_id for sense in senses], dtype=np.int64)
        self._match_CK, self._neighbors_CK = _relations(run, self._ids_C)
        self._texts_CD = None if encoder is None else _category_vectors(encoder, senses)

    def rows(self, part: pa.Table, found: list[tuple[str, ...]]) -> dict[str, Any]:
        import pyarrow as pa

        code_N = self._categories.encode(part.column(schema.CATEGORY))
        has_label_N = code_N != NO_CATEGORY
        label_N = np.searchsorted(self._ids_C, np.where(has_label_N, code_N, self._ids_C[0]))
        columns: dict[str, Any] = {
            schema.IMAGE_ID: part.column(schema.IMAGE_ID),
            schema.KEYWORDS: [list(one) for one in found],
            schema.NO_TEXT: [not one for one in found],
        }
        if self._encoder is None or self._texts_CD is None:
            nothing = pa.nulls(len(found), pa.float64())
            masses = dict.fromkeys((schema.LABEL_MASS, schema.NEIGHBOR_MASS, schema.TEXT_MASS), nothing)
            empty: list[list[int]] = [[] for _ in found]
            return {**columns, **masses, schema.TOP_CATEGORIES: empty, schema.TOP_MASSES: empty}
        mass = text_mass.text_mass(
            self._vectors(found, self._encoder, self._texts_CD),
            self._texts_CD,
            label_N,
            self._match_CK,
            self._neighbors_CK,
            tau=self._config.text_temperature,
        )
        for name, values_N in (
            (schema.LABEL_MASS, mass.label_N),
            (schema.NEIGHBOR_MASS, mass.neighbor_N),
            (schema.TEXT_MASS, mass.kappa_N),
        ):
            columns[name] = pa.array(values_N, mask=np.isnan(values_N) | ~has_label_N)
        top_NT = np.argsort(-mass.mass_NC, axis=1, kind="stable")[:, : self._config.text_top]
        columns[schema.TOP_CATEGORIES] = [
            self._ids_C[top].tolist() if one else [] for top, one in zip(top_NT, found, strict=True)
        ]
        columns[schema.TOP_MASSES] = [
            row[top].tolist() if one else []
            for row, top, one in zip(mass.mass_NC, top_NT, found, strict=True)
        ]
        return columns

    def _vectors(
        self, found: list[tuple[str, ...]], encoder: Encoder, texts_CD: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        vocabulary = sorted({word for one in found for word in one})
        row_of = {word: row for row, word in enumerate(vocabulary)}
        count_W = np.asarray([self._counts[word] for word in vocabulary], dtype=np.int64)
        vector_WD = encoder.encode(vocabulary)
        rarity_W = text_mass.inverse_frequency(count_W, self._num_images)
        return text_mass.text_vectors(
            np.asarray([row_of[word] for one in found for word in one], dtype=np.int64),
            np.repeat(np.arange(len(found)), [len(one) for one in found]),
            vector_WD,
            rarity_W * text_mass.relevance(vector_WD, texts_CD),
            len(found),
        )


def _category_vectors(encoder: Encoder, senses: Sequence[Sense]) -> NDArray[np.float64]:
    """v_c: unit mean of a category's bare name and its whole text; keywords are short, like names."""
    names_CD = encoder.encode([sense.name for sense in senses]).astype(np.float64)
    sum_CD = names_CD + encoder.encode([sense.text for sense in senses])
    return np.asarray(sum_CD / np.linalg.norm(sum_CD, axis=1, keepdims=True))


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
