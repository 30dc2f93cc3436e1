"""The text judge: a cross-fitted head on the crawl's own titles, tags, descriptions and URLs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import JudgeTextConfig
from webclean.io import tables
from webclean.ops.text_features import Rarity, count_ngrams
from webclean.ops.text_heads import SparseHeads, fit_sparse, learnt_rows
from webclean.stages.base import Context, Counts
from webclean.stages.judged import Usable, fit_weights, read_usable
from webclean.stages.predictions import in_scratch, write_predictions
from webclean.stages.rows import is_usable

_WORDS = (schema.TITLE, schema.TAGS, schema.DESCRIPTION, schema.ALT_TEXT)
_PLACES = (schema.PAGE_URL, schema.FILE_NAME)
_SHARED = (
    20_000  # texts from which on workers count n-grams; fewer take no longer than it takes to start them
)


def run(config: JudgeTextConfig, context: Context) -> Counts:
    """Write predictions/text-r<k>: what each image's text says of its category, out of sample.

    An image without text gets no opinion, nor does one whose category has fewer images than folds. The head learns the crawl's own vocabulary from its noisy
    labels: it needs no category name and no language model.
    """
    usable = read_usable(context.run)
    artefact = schema.predictions_path(schema.JUDGE_TEXT, config.round)
    silent_N = np.concatenate([np.zeros(0, dtype=bool), *(text.is_silent() for text in _texts(context))])
    few_N = usable.too_few(config.judge_folds, ~silent_N) & ~silent_N
    unknown_N = silent_N | few_N
    counts = Counts(
        total=usable.num_images,
        forwarded=int((~unknown_N).sum()),
        dropped=usable.left_out | {"no_text": int(silent_N.sum()), "few_of_category": int(few_N.sum())},
    )
    if not usable.can_judge or unknown_N.all():
        write_predictions(context.run, artefact, usable, None, None, top=config.judge_top)
        reason = "no text" if silent_N.all() else "no two categories with enough different images"
        context.result["judge"] = f"none: {reason}"
        return counts
    fold_N = usable.folds(config.judge_folds, context.seed)
    heads, rarity = _learn(config, context, usable, silent_N, fold_N)

    def parts() -> Iterator[NDArray[np.float64]]:
        start = 0
        with context.progress(total=len(silent_N), unit="images", label="text judge") as bar:
            fields = ([text.words, text.places] for text in _texts(context))
            for counts in _counted(context, fields, len(silent_N)):
                rows = slice(start, start + counts.shape[0])
                start = rows.stop
                yield heads.log_probability(rarity.weigh(counts), fold_N[rows])
                bar.advance(counts.shape[0])

    write_predictions(
        context.run, artefact, usable, parts(), fold_N, top=config.judge_top, unknown_N=unknown_N
    )
    context.result |= {
        "judge": "ridge",
        "strength": heads.strength,
        "held_out_loss": round(heads.held_out_loss, 4),
    }
    return counts


def _learn(
    config: JudgeTextConfig,
    context: Context,
    usable: Usable,
    silent_N: NDArray[np.bool_],
    fold_N: NDArray[np.int64],
) -> tuple[SparseHeads, Rarity]:
    """Heads of all folds, and the rarity of n-grams that they go by."""
    from scipy import sparse

    row_M, times_M = learnt_rows(usable.label_N, ~silent_N)

    def chosen() -> Iterator[list[list[str]]]:
        start = 0
        for text in _texts(context):
            first, last = np.searchsorted(row_M, (start, start + len(text.words)))
            some = (row_M[first:last] - start).tolist()
            start += len(text.words)
            if some:
                yield [[text.words[i] for i in some], [text.places[i] for i in some]]

    counts = sparse.vstack(list(_counted(context, chosen(), len(row_M))), format="csr")
    rarity = Rarity.of(counts, len(row_M) * len(silent_N) / max(1, int((~silent_N).sum())))
    num_folds = int(fold_N.max()) + 1
    with context.progress(total=num_folds, unit="folds", label="text judge, learning") as bar:
        heads = fit_sparse(
            rarity.weigh(counts),
            usable.label_N[row_M],
            fold_N[row_M],
            times_M * fit_weights(context, config.round, usable)[row_M],
            num_folds,
            usable.num_categories,
            config.judge_strengths,
            lambda shape, kind: in_scratch(context.run, shape, kind),
            bar.advance,
        )
    return heads, rarity


def _counted(context: Context, fields: Iterable[list[list[str]]], num: int) -> Iterator[Any]:
    """N-grams of each part's texts, by the workers where there are so many texts that starting them pays."""
    count = partial(count_ngrams, dtype=np.float32)
    return context.engine.map(count, fields) if num > _SHARED else map(count, fields)


@dataclass(frozen=True)
class _Texts:
    """Words (title, tags, description, alternative text) and places (URL, file name) of one part's usable images."""

    words: list[str]
    places: list[str]

    def is_silent(self) -> NDArray[np.bool_]:
        return np.array([not (a or b) for a, b in zip(self.words, self.places, strict=True)], dtype=bool)


def _texts(context: Context) -> Iterator[_Texts]:
    from webclean.ops.keywords import is_machine_name

    columns = (schema.STATUS, *_WORDS, *_PLACES)
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        words: list[str] = []
        places: list[str] = []
        for row in part.filter(is_usable(part)).to_pylist():
            tags = " ".join(row[schema.TAGS] or ())
            words.append(
                " ".join(
                    filter(None, (row[schema.TITLE], tags, row[schema.DESCRIPTION], row[schema.ALT_TEXT]))
                ).strip()
            )
            name = "" if is_machine_name(row[schema.FILE_NAME]) else row[schema.FILE_NAME]
            places.append(" ".join(filter(None, (row[schema.PAGE_URL], name))).strip())
        yield _Texts(words, places)
