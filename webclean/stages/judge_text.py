"""The text judge: a cross-fitted head on the crawl's own titles, tags, descriptions and URLs."""

from __future__ import annotations

import numpy as np

from webclean import schema
from webclean.config import JudgeTextConfig
from webclean.io import tables
from webclean.ops.heads import cross_fit, ridge
from webclean.ops.text_features import text_features
from webclean.stages.base import Context, Counts
from webclean.stages.judged import Usable, fit_weights, read_usable
from webclean.stages.predictions import write_predictions

_WORDS = (schema.TITLE, schema.TAGS, schema.DESCRIPTION, schema.ALT_TEXT)
_PLACES = (schema.PAGE_URL, schema.FILE_NAME)


def run(config: JudgeTextConfig, context: Context) -> Counts:
    """Write predictions/text-r<k>: what each image's text says of its category, out of sample.

    An image without text gets no opinion, nor does one whose category has fewer images than folds. The head learns the crawl's own vocabulary from its noisy
    labels: it needs no category name and no language model.
    """
    usable = read_usable(context.run)
    artefact = schema.predictions_path(schema.JUDGE_TEXT, config.round)
    words, places = _texts(context, usable)
    silent_N = np.array([not (a or b) for a, b in zip(words, places, strict=True)], dtype=bool)
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
    weight_N = np.where(silent_N, 0.0, fit_weights(context, config.round, usable))
    x = text_features([words, places])
    with context.progress(total=int(fold_N.max()) + 1, unit="folds", label="text judge") as bar:
        fit = cross_fit(
            x,
            usable.label_N,
            fold_N,
            usable.num_categories,
            ridge,
            config.judge_strengths,
            weight_N,
            bar.advance,
        )
    write_predictions(
        context.run,
        artefact,
        usable,
        fit.log_probability_NC,
        fold_N,
        top=config.judge_top,
        unknown_N=unknown_N,
    )
    context.result |= {
        "judge": "ridge",
        "strength": fit.strength,
        "held_out_loss": round(fit.held_out_loss, 4),
    }
    return counts


def _texts(context: Context, usable: Usable) -> tuple[list[str], list[str]]:
    """Each usable image's words (title, tags, description, alternative text) and places (URL, file name).

    Held whole: the head is fitted on all of them at once.
    """
    from webclean.ops.keywords import is_machine_name

    words: list[str] = []
    places: list[str] = []
    columns = (schema.STATUS, *_WORDS, *_PLACES)
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        for row in part.to_pylist():
            if row[schema.STATUS] != schema.STATUS_OK:
                continue
            tags = " ".join(row[schema.TAGS] or ())
            words.append(
                " ".join(
                    filter(None, (row[schema.TITLE], tags, row[schema.DESCRIPTION], row[schema.ALT_TEXT]))
                ).strip()
            )
            name = "" if is_machine_name(row[schema.FILE_NAME]) else row[schema.FILE_NAME]
            places.append(" ".join(filter(None, (row[schema.PAGE_URL], name))).strip())
    return words, places
