"""Evaluate: hold the decisions, or any score, against a table that says what each image truly shows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import EvaluateConfig
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError, DataError
from webclean.io import checksums, tables, truth
from webclean.io.run_dir import RunDir
from webclean.ops import evaluation
from webclean.ops.evidence import logit, sigmoid
from webclean.stages import predict
from webclean.stages.base import Context, require
from webclean.stages.copies import CopyTable
from webclean.stages.rows import floats

FORMAT_VERSION: Final = 1
PATH: Final = "path"
INDEX: Final = "index"

_OF: Final = "of"
_NEAR: Final = "near-duplicate"
_YES: Final = frozenset({"1", "true", "yes"})
_LISTED: Final = re.compile(r"\?\d+$")  # ingest's mark of a path that is listed again

# Columns that are probabilities that the label is right, so that their calibration can be measured.
_PROBABILITIES: Final = frozenset(
    {
        schema.CLEAN_SCORE, schema.P_RANK, schema.P_TEXT, schema.P_TEXT_JUDGE, schema.P_JUDGE,
        schema.P_NEIGHBORS, schema.P_TOPIC, schema.P_SOMNET, schema.LABEL_PROBABILITY,
    }
)  # fmt: skip

Floats = NDArray[np.float64]

_TINY: Final = 1e-12  # a probability of exactly 0 or 1 has no log-odds


@dataclass(frozen=True, slots=True)
class _Truth:
    """The truth in image order, `of` naming what a copy is one of, and what became of its rows."""

    of_images: evaluation.Known
    of: list[str | None]
    num_rows: int
    unmatched: list[str]
    key_index: dict[str, int]


def run(config: EvaluateConfig, context: Context, truth_path: Path, *, force: bool = False) -> dict[str, Any]:
    """Measure, write evaluation.json, and return what it holds.

    Args:
        config: the join, the score, the model.
        context: run folder.
        truth_path: .csv, .tsv, .jsonl or .parquet with the true category of each image.
        force: use decisions that are stale.

    Raises:
        ArtifactMissingError, ArtifactStaleError: the decisions have to be made (again).
        ColumnMissingError: a table lacks a column.
        DataError: no image is named by the truth, or one is named twice.
        ConfigError: --test without --model, or the other way round.
    """
    if (config.test is None) != (config.model is None):
        raise ConfigError("--test and --model go together: whose top-1, and on which images?")
    source = context.run
    require(source, schema.decisions_path(config.decisions), reader="evaluate", force=force)
    columns = [
        schema.IMAGE_ID,
        schema.SOURCE_KEY,
        schema.CATEGORY,
        schema.STATUS,
        schema.SHA256,
        schema.EXTRA,
    ]
    if config.on in schema.IMAGES_TABLE.column_names and config.on not in columns:
        columns.append(config.on)
    images = tables.read(source, schema.IMAGES, schema.IMAGES_TABLE, columns)
    decisions = tables.read(source, schema.decisions_path(config.decisions), schema.DECISIONS_TABLE)
    known = _join(config, images, truth_path)
    view = _view(config, source, images, decisions, known)
    if num := _num_left_out(view):
        context.note(
            f"{num} images with an empty true category are left out of the rates: the truth table has no column"
            f" `{truth.KIND}`, in which `off-topic` would say that they show no category of the run"
        )
    score = config.score or schema.CLEAN_SCORE
    result: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "decisions": config.decisions,
        "score": score,
        "truth_sha256": checksums.file_sha256(truth_path),
        "rows": _rows(view, known),
        "ranking": evaluation.ranking(view, is_probability=score.rpartition(":")[2] in _PROBABILITIES),
        "reliability": _reliability(view, decisions, score),
        "decided": evaluation.decided(view),
        "by_reason": evaluation.by_reason(view),
        "by_category": evaluation.by_category(view),
        "by_kind": evaluation.by_kind(view),
        "duplicates": _duplicates(source, images, known),
        "bad_files": evaluation.bad_files(view),
        "model": None,
    }
    if config.test is not None and config.model is not None:
        result["model"] = predict.top1(source, config.model, Path(config.test), note=context.note)
    plain = _finite(result)
    assert isinstance(plain, dict)
    source.write_json(schema.EVALUATION, plain)
    return plain


# ---------------------------------------------------------------- joining


def _join(config: EvaluateConfig, images: Any, path: Path) -> _Truth:
    columns = truth.read_columns(path)
    names = truth.TRUE_CATEGORY if config.truth_column is None else (config.truth_column,)
    true_category = truth.column(columns, names, path)
    keys = [None if key is None else _plain(key) for key in truth.column(columns, (config.on,), path)]
    index_of = _index_of(config.on, images)
    num_images = images.num_rows
    row_of = np.full(num_images, -1, dtype=np.int64)
    unmatched, key_index = [], {}
    for row, key in enumerate(keys):
        found = [] if key is None else index_of.get(key, [])
        if not found:
            unmatched.append(str(key))
            continue
        assert key is not None
        if key in key_index:
            raise DataError(f"{path} names {key!r} twice", hint="leave one row for each image")
        key_index[key] = found[0]
        row_of[found] = row
    matched_N = row_of >= 0
    if not matched_N.any():
        example = next((key for key in keys if key is not None), None)
        raise DataError(
            f"no row of {path} names an image of the run by {config.on!r}",
            context=f"the truth says {example!r}, the run {next(iter(index_of), None)!r}",
            hint="name the column that both share with --on",
        )

    def in_order(values: Sequence[Any] | None) -> list[Any]:
        return [values[row] if values is not None and row >= 0 else None for row in row_of.tolist()]

    categories = set(images.column(schema.CATEGORY).to_pylist())
    spoken = {value for value in in_order(true_category) if value is not None}
    if spoken and not spoken & categories:
        raise DataError(
            f"no true category of {path} is a category of the run",
            context=f"the truth says {sorted(map(str, spoken))[:3]}, the run {sorted(categories)[:3]}",
            hint="name the column of the true category with --truth-column",
        )
    return _Truth(
        of_images=evaluation.Known(
            matched_N=matched_N,
            uncertain_N=np.asarray(
                [str(v).lower() in _YES for v in in_order(columns.get(truth.UNCERTAIN))], dtype=bool
            ),
            category=[None if v is None else str(v) for v in in_order(true_category)],
            kind=in_order(columns[truth.KIND]) if truth.KIND in columns else None,
        ),
        of=in_order(columns.get(_OF)),
        num_rows=len(keys),
        unmatched=unmatched,
        key_index=key_index,
    )


def _plain(key: Any) -> str:
    return str(key).removeprefix("./")


def _index_of(on: str, images: Any) -> dict[str, list[int]]:
    """Key -> rows of `images` it names: a path that is listed again stands for each of its rows."""
    source_keys = images.column(schema.SOURCE_KEY).to_pylist()
    if on in (PATH, schema.SOURCE_KEY):
        whole = set(source_keys)
        # Only where the path without the mark is a row too is the mark ours and not part of a name.
        bare = (_LISTED.sub("", key) for key in source_keys)
        keys = [short if short in whole else key for key, short in zip(source_keys, bare, strict=True)]
    elif on in images.column_names:
        keys = images.column(on).to_pylist()
    else:
        extras = [json.loads(text) if text else {} for text in images.column(schema.EXTRA).to_pylist()]
        if any(on in extra for extra in extras):
            keys = [extra.get(on) for extra in extras]
        elif on == INDEX and all(key.rpartition("#")[2].isdigit() for key in source_keys):
            keys = [key.rpartition("#")[2] for key in source_keys]
        else:
            raise ColumnMissingError(
                f"neither `{schema.IMAGES}` nor the crawl's own manifest has a column {on!r}",
                hint=f"--on {PATH}, {INDEX}, or one of {', '.join(schema.IMAGES_TABLE.column_names[:8])}, ...",
            )
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(str(key), []).append(row)
    return rows


def _score(config: EvaluateConfig, run: RunDir, image_ids: Sequence[str], decisions: Any) -> Floats:
    """The judged column in image order, NaN where an image has no value."""
    name = config.score or schema.CLEAN_SCORE
    artefact, colon, column = name.rpartition(":")
    if not colon:
        if name not in decisions.column_names:
            raise ColumnMissingError(
                f"the decisions have no column {name!r}",
                hint=f"one of {', '.join(decisions.column_names)}, or ARTEFACT:COLUMN",
            )
        return _numbers(decisions.column(name), name)
    table = _table_of(artefact)
    if column not in table.column_names:
        raise ColumnMissingError(
            f"{artefact} has no column {column!r}", hint=f"one of {', '.join(table.column_names)}"
        )
    require(run, artefact, reader="evaluate --score", force=True)
    rows = tables.read(run, artefact, table, (schema.IMAGE_ID, column))
    values = _numbers(rows.column(column), name)
    value_of = dict(zip(rows.column(schema.IMAGE_ID).to_pylist(), values.tolist(), strict=True))
    return np.asarray([value_of.get(image_id, math.nan) for image_id in image_ids], dtype=np.float64)


def _numbers(column: Any, name: str) -> Floats:
    import pyarrow as pa

    try:
        return floats(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"--score {name} is no column of numbers") from error


def _table_of(artefact: str) -> schema.Table:
    shapes = (
        (rf"{schema.IMAGES}", schema.IMAGES_TABLE),
        (rf"{schema.TEXT}", schema.TEXT_TABLE),
        (rf"{schema.DECISIONS}/[^/]+", schema.DECISIONS_TABLE),
        (rf"{schema.PREDICTIONS}/[^/]+", schema.PREDICTIONS_TABLE),
        (rf"{schema.WEIGHTS}/r\d+/stage1", schema.STAGE1_TABLE),
        (rf"{schema.WEIGHTS}/r\d+/stage2", schema.STAGE2_TABLE),
        (rf"{schema.MODELS}/[^/]+/predictions", schema.MODEL_PREDICTIONS_TABLE),
    )
    for pattern, table in shapes:
        if re.fullmatch(pattern, artefact):
            return table
    raise ConfigError(
        f"no artefact {artefact!r} has one row an image",
        hint="as in predictions/image-r1:label_probability or weights/r1/stage2:weight",
    )


# ---------------------------------------------------------------- measuring


def _view(config: EvaluateConfig, run: RunDir, images: Any, decisions: Any, known: _Truth) -> evaluation.View:
    """The run's images with truth, score and decision side by side."""
    image_ids = images.column(schema.IMAGE_ID).to_pylist()
    if decisions.column(schema.IMAGE_ID).to_pylist() != image_ids:
        raise ArtifactInvalidError(
            f"{run.url}/{schema.decisions_path(config.decisions)} does not hold the images of"
            f" `{schema.IMAGES}` in their order",
            hint=f"run `webclean weight {run.url} --force`",
        )
    decided = evaluation.Decided(
        category=images.column(schema.CATEGORY).to_pylist(),
        status=images.column(schema.STATUS).to_pylist(),
        reason=decisions.column(schema.REASON).to_pylist(),
        keep_N=np.asarray(decisions.column(schema.KEEP).to_pylist(), dtype=bool),
        score_N=_score(config, run, image_ids, decisions),
    )
    return evaluation.View(decided, known.of_images)


def _num_left_out(view: evaluation.View) -> int:
    """Usable images whose true category is empty where the truth knows no kinds that would say why."""
    known = view.known
    if known.kind is not None:
        return 0
    return int((known.matched_N & view.ok_N & ~known.uncertain_N & ~view.judged_N).sum())


def _reliability(view: evaluation.View, decisions: Any, score: str) -> dict[str, Any] | None:
    """Curves of a probability, without the images whose label the score was told.

    Where trusted labels corrected clean_score, the curve before stands beside it.
    """
    if score.rpartition(":")[2] not in _PROBABILITIES:
        return None
    free_N = ~np.asarray(decisions.column(schema.TRUSTED).to_pylist(), dtype=bool)
    p_N = np.clip(view.decided.score_N, 0.0, 1.0)
    found = {score: evaluation.reliability(view, p_N, free_N)}
    added_N = floats(decisions.column(schema.ADDED_TRUSTED))
    if score == schema.CLEAN_SCORE and np.isfinite(added_N).any():
        inner_N = np.clip(p_N, _TINY, 1.0 - _TINY)
        before_N = sigmoid(logit(inner_N) - added_N)
        found["without trusted labels"] = evaluation.reliability(view, before_N, free_N)
    return found


def draw(result: dict[str, Any], target: Path) -> None:
    """Write the reliability curves of an evaluation as a PNG.

    Raises:
        ConfigError: the score that was judged is no probability, or the file does not end in .png.
        DataError: the file cannot be written.
    """
    from webclean.io.curve_picture import reliability_picture

    curves = result["reliability"]
    if curves is None:
        raise ConfigError(
            f"{result['score']} is no probability, so it has no reliability curve",
            hint="leave --reliability out",
        )
    if target.suffix.lower() != ".png":
        raise ConfigError(
            f"--reliability draws a PNG, and {target} ends otherwise", hint="--reliability curve.png"
        )
    picture = reliability_picture(
        {
            f"{name} (error {curve['error']:.4f})": [(one["said"], one["right"]) for one in curve["bins"]]
            for name, curve in curves.items()
            if curve["bins"]
        }
    )
    try:
        target.write_bytes(picture)
    except OSError as error:
        raise DataError(
            f"--reliability {target} cannot be written: {error.strerror}",
            hint="name a file in a folder that is there and may be written to",
        ) from error


def _rows(view: evaluation.View, known: _Truth) -> dict[str, Any]:
    return {
        "images": len(view.ok_N),
        "truth": known.num_rows,
        "truth_unmatched": len(known.unmatched),
        "truth_unmatched_first": known.unmatched[:5],
        **evaluation.counts(view),
    }


def _duplicates(run: RunDir, images: Any, known: _Truth) -> dict[str, Any]:
    """Copies found: groups of equal bytes, planted near copies, and pairs that no truth explains."""
    image_ids = images.column(schema.IMAGE_ID).to_pylist()
    source_keys = images.column(schema.SOURCE_KEY).to_pylist()
    ok = [status == schema.STATUS_OK for status in images.column(schema.STATUS).to_pylist()]
    group_N = CopyTable(run).of(image_ids).group_N

    code_of: dict[str, int] = {}
    content_N = np.full(len(image_ids), -1, dtype=np.int64)
    for i, sha256 in enumerate(images.column(schema.SHA256).to_pylist()):
        if ok[i] and sha256 is not None:
            content_N[i] = code_of.setdefault(sha256, len(code_of))

    kinds = known.of_images.kind
    planted = [
        (i, known.key_index[_plain(of)])
        for i, (kind, of) in enumerate(zip(kinds, known.of, strict=True))
        if kind is not None and kind.startswith(_NEAR) and of is not None and _plain(of) in known.key_index
    ] if kinds else []  # fmt: skip
    usable = [(a, b) for a, b in planted if ok[a] and ok[b]]
    found = evaluation.copies(group_N, content_N, np.asarray(usable, dtype=np.int64).reshape(-1, 2))
    missed = [pair for pair, is_found in zip(usable, found.is_found_P.tolist(), strict=True) if not is_found]
    return {
        "groups": found.groups,
        "images_in_groups": found.images_in_groups,
        "equal_groups": found.equal_groups,
        "equal_groups_found": found.equal_groups_found,
        "near_planted": len(usable),
        "near_found": int(found.is_found_P.sum()),
        "near_missed": [[source_keys[a], source_keys[b]] for a, b in missed],
        "pairs_unexplained": [[source_keys[a], source_keys[b]] for a, b in found.outside_Q2.tolist()],
    }


def _finite(value: Any) -> Any:
    """Plain JSON: a rate that does not exist becomes null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
