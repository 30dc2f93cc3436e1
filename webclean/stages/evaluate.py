"""Evaluate: hold the decisions, or any score, against a table that says what each image truly shows.

An image is wrong where its true category is not its label, or where it is off topic. Images whose file
is bad are judged by their status alone; images that the truth calls uncertain are left out of every rate.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
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
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.ops import metrics, policies
from webclean.stages.base import Context, require
from webclean.stages.rows import floats

FORMAT_VERSION: Final = 1
PATH: Final = "path"
INDEX: Final = "index"

_TRUE_CATEGORY: Final = ("true_category", "true_label", "category", "label")
_KIND: Final = "kind"
_OF: Final = "of"
_UNCERTAIN: Final = "uncertain"
_OFF_TOPIC: Final = frozenset({"off-topic", "off_topic", "offtopic"})
_NEAR: Final = "near-duplicate"
_YES: Final = frozenset({"1", "true", "yes"})
_LISTED: Final = re.compile(r"\?\d+$")  # ingest's mark of a path that is listed again
_PREDICTED_AT_ONCE: Final = 64
_ABOUT_COPIES: Final = (schema.REASON_DUPLICATE, f"{schema.REASON_POLICY}:against")

# Columns that are probabilities that the label is right, so that their calibration can be measured.
_PROBABILITIES: Final = frozenset(
    {
        schema.CLEAN_SCORE, schema.P_RANK, schema.P_TEXT, schema.P_TEXT_JUDGE, schema.P_JUDGE,
        schema.P_NEIGHBORS, schema.P_TOPIC, schema.P_SOMNET, schema.LABEL_PROBABILITY,
    }
)  # fmt: skip

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Section:
    """A table for people: title, column names, rows of words and numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class _Truth:
    """The truth in image order; matched_N says which images it speaks of."""

    matched_N: Bools
    true_category: list[str | None]
    kind: list[str | None] | None
    of: list[str | None]
    uncertain_N: Bools
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
    view = _View(config, source, images, decisions, known)
    result: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "decisions": config.decisions,
        "score": config.score or schema.CLEAN_SCORE,
        "truth_sha256": checksums.file_sha256(truth_path),
        "rows": view.rows(),
        "ranking": view.ranking(),
        "decided": view.decided(),
        "by_reason": view.by_reason(),
        "by_category": view.by_category(),
        "by_kind": view.by_kind(),
        "duplicates": _duplicates(source, images, known),
        "bad_files": view.bad_files(),
        "model": None,
    }
    if config.test is not None and config.model is not None:
        result["model"] = _top1(source, config.model, Path(config.test))
    plain = _finite(result)
    assert isinstance(plain, dict)
    source.write_json(schema.EVALUATION, plain)
    return plain


# ---------------------------------------------------------------- joining


def _join(config: EvaluateConfig, images: Any, path: Path) -> _Truth:
    columns = truth.read_columns(path)
    names = _TRUE_CATEGORY if config.truth_column is None else (config.truth_column,)
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
        matched_N=matched_N,
        true_category=[None if v is None else str(v) for v in in_order(true_category)],
        kind=in_order(columns[_KIND]) if _KIND in columns else None,
        of=in_order(columns.get(_OF)),
        uncertain_N=np.asarray(
            [str(v).lower() in _YES for v in in_order(columns.get(_UNCERTAIN))], dtype=bool
        ),
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


class _View:
    """The run's images with truth, score and decision side by side, all in image order."""

    def __init__(
        self, config: EvaluateConfig, run: RunDir, images: Any, decisions: Any, known: _Truth
    ) -> None:
        image_ids = images.column(schema.IMAGE_ID).to_pylist()
        if decisions.column(schema.IMAGE_ID).to_pylist() != image_ids:
            raise ArtifactInvalidError(
                f"{run.url}/{schema.decisions_path(config.decisions)} does not hold the images of"
                f" `{schema.IMAGES}` in their order",
                hint=f"run `webclean weight {run.url} --force`",
            )
        self.known = known
        self.score_name = config.score or schema.CLEAN_SCORE
        self.category = np.asarray(images.column(schema.CATEGORY).to_pylist(), dtype=object)
        self.status = images.column(schema.STATUS).to_pylist()
        self.keep_N = np.asarray(decisions.column(schema.KEEP).to_pylist(), dtype=bool)
        self.reason = np.asarray(decisions.column(schema.REASON).to_pylist(), dtype=object)
        self.score_N = _score(config, run, image_ids, decisions)
        self.ok_N = np.asarray([status == schema.STATUS_OK for status in self.status], dtype=bool)
        kinds = known.kind or [None] * len(image_ids)
        off_topic_N = np.asarray([kind in _OFF_TOPIC for kind in kinds], dtype=bool)
        true = np.asarray(known.true_category, dtype=object)
        is_said_N = off_topic_N | np.asarray([value is not None for value in known.true_category], dtype=bool)
        self.judged_N = known.matched_N & self.ok_N & is_said_N & ~known.uncertain_N
        self.wrong_N = self.judged_N & (off_topic_N | (true != self.category))
        self.right_N = self.judged_N & ~self.wrong_N
        self.ranked_N = self.judged_N & ~np.isnan(self.score_N)
        # A copy is dropped whether its label is right or wrong: that says nothing of the label.
        about_copies_N = np.isin(self.reason.astype(np.str_), _ABOUT_COPIES)
        self.label_N = self.judged_N & ~about_copies_N

    def rows(self) -> dict[str, Any]:
        known = self.known
        return {
            "images": len(self.keep_N),
            "truth": known.num_rows,
            "matched": int(known.matched_N.sum()),
            "truth_unmatched": len(known.unmatched),
            "truth_unmatched_first": known.unmatched[:5],
            "bad_files": int((known.matched_N & ~self.ok_N).sum()),
            "uncertain": int((known.matched_N & self.ok_N & known.uncertain_N).sum()),
            "judged": int(self.judged_N.sum()),
            "without_score": int((self.judged_N & ~self.ranked_N).sum()),
        }

    def ranking(self) -> dict[str, Any]:
        """How well low scores find wrong images; the rates drop as many images as the decisions do."""
        ranked_N = self.ranked_N
        among_N = self.ranked_N & self.label_N
        share = float((~self.keep_N[self.label_N]).mean()) if self.label_N.any() else 0.0
        taken = metrics.highest(-self.score_N[among_N], round(share * int(among_N.sum())))
        rates = metrics.detection(self.wrong_N[among_N], taken)
        measured = {
            "auroc": metrics.auroc(self.wrong_N[ranked_N], -self.score_N[ranked_N]),
            "average_precision": metrics.average_precision(self.wrong_N[ranked_N], -self.score_N[ranked_N]),
            "kept_fraction": 1.0 - share,
            "precision": rates.precision,
            "recall": rates.recall,
            "calibration_error": None,
        }
        if self.score_name.rpartition(":")[2] in _PROBABILITIES:
            measured["calibration_error"] = metrics.expected_calibration_error(
                self.right_N[ranked_N], np.clip(self.score_N[ranked_N], 0, 1)
            )
        return measured

    def decided(self) -> dict[str, Any]:
        """What the decisions did to right and wrong images; rates of finding leave dropped copies aside."""
        rates = metrics.detection(self.wrong_N[self.label_N], ~self.keep_N[self.label_N])
        num_right, num_wrong = int(self.right_N.sum()), int(self.wrong_N.sum())
        right_label_N, kept_N = self.right_N & self.label_N, self.judged_N & self.keep_N
        return {
            "right": num_right,
            "wrong": num_wrong,
            "right_dropped": int((self.right_N & ~self.keep_N).sum()),
            "right_dropped_for_label": int((right_label_N & ~self.keep_N).sum()),
            "right_kept_for_label": _mean(self.keep_N[right_label_N]),
            "wrong_dropped": int((self.wrong_N & ~self.keep_N).sum()),
            "precision": rates.precision,
            "recall": rates.recall,
            "purity_before": num_right / (num_right + num_wrong) if num_right + num_wrong else math.nan,
            "purity_after": _mean(self.right_N[kept_N]),
        }

    def by_reason(self) -> dict[str, dict[str, int]]:
        return {
            reason: {
                "images": int((self.reason == reason).sum()),
                "right": int((self.right_N & (self.reason == reason)).sum()),
                "wrong": int((self.wrong_N & (self.reason == reason)).sum()),
            }
            for reason in sorted(set(self.reason.tolist()))
        }

    def by_category(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "judged": int((self.judged_N & (self.category == name)).sum()),
                **self._part(self.category == name),
                "auroc": self._auroc(self.ranked_N & (self.category == name)),
            }
            for name in sorted(set(self.category.tolist()))
        }

    def by_kind(self) -> dict[str, dict[str, Any]] | None:
        """Each kind of fault: its wrong images are ranked against all right ones."""
        if self.known.kind is None:
            return None
        kinds = np.asarray([kind or "" for kind in self.known.kind], dtype=object)
        found = {}
        for name in sorted(set(kinds[self.known.matched_N].tolist())):
            is_kind_N = self.known.matched_N & (kinds == name)
            wrong_N = is_kind_N & self.wrong_N
            found[name] = {
                "images": int(is_kind_N.sum()),
                "bad_files": int((is_kind_N & ~self.ok_N).sum()),
                **self._part(is_kind_N),
                "auroc": self._auroc(self.ranked_N & (wrong_N | self.right_N)) if wrong_N.any() else None,
            }
        return found

    def bad_files(self) -> dict[str, Any]:
        kinds = self.known.kind or [None] * len(self.status)
        by_kind = Counter(
            (kind or "", status) for kind, status in zip(kinds, self.status, strict=True) if status != "ok"
        )
        return {
            "by_status": dict(sorted(Counter(s for s in self.status if s != schema.STATUS_OK).items())),
            "by_kind": [{"kind": k, "status": s, "images": n} for (k, s), n in sorted(by_kind.items())],
        }

    def _part(self, is_in_N: Bools) -> dict[str, int]:
        return {
            "right": int((self.right_N & is_in_N).sum()),
            "wrong": int((self.wrong_N & is_in_N).sum()),
            "right_dropped": int((self.right_N & is_in_N & ~self.keep_N).sum()),
            "wrong_dropped": int((self.wrong_N & is_in_N & ~self.keep_N).sum()),
        }

    def _auroc(self, among_N: Bools) -> float:
        return metrics.auroc(self.wrong_N[among_N], -self.score_N[among_N])


def _duplicates(run: RunDir, images: Any, known: _Truth) -> dict[str, Any]:
    """Copies found: groups of equal bytes, planted near copies, and pairs that no truth explains."""
    image_ids = images.column(schema.IMAGE_ID).to_pylist()
    source_keys = images.column(schema.SOURCE_KEY).to_pylist()
    ok = [status == schema.STATUS_OK for status in images.column(schema.STATUS).to_pylist()]
    index_of = {image_id: i for i, image_id in enumerate(image_ids)}
    group_N = np.full(len(image_ids), policies.NO_GROUP, dtype=np.int64)
    if tables.part_names(run, schema.DUPLICATES):
        rows = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE, (schema.IMAGE_ID, schema.GROUP))
        members = [index_of[image_id] for image_id in rows.column(schema.IMAGE_ID).to_pylist()]
        group_N[members] = rows.column(schema.GROUP).to_pylist()

    code_of: dict[str, int] = {}
    content_N = np.full(len(image_ids), -1, dtype=np.int64)
    for i, sha256 in enumerate(images.column(schema.SHA256).to_pylist()):
        if ok[i] and sha256 is not None:
            content_N[i] = code_of.setdefault(sha256, len(code_of))
    sizes = np.bincount(content_N[content_N >= 0], minlength=len(code_of))
    equal = [np.flatnonzero(content_N == code) for code in np.flatnonzero(sizes > 1)]
    found_in = [set(group_N[same].tolist()) for same in equal]
    together = [len(groups) == 1 and policies.NO_GROUP not in groups for groups in found_in]

    planted = [
        (i, known.key_index[_plain(of)])
        for i, (kind, of) in enumerate(zip(known.kind or [], known.of, strict=bool(known.kind)))
        if kind is not None and kind.startswith(_NEAR) and of is not None and _plain(of) in known.key_index
    ] if known.kind else []  # fmt: skip
    usable = [(a, b) for a, b in planted if ok[a] and ok[b]]
    recovery = metrics.pair_recovery(group_N, np.asarray(usable, dtype=np.int64).reshape(-1, 2), content_N)
    missed = [pair for pair, found in zip(usable, recovery.is_found_P.tolist(), strict=True) if not found]
    grouped = np.unique(group_N[group_N != policies.NO_GROUP], return_counts=True)[1]
    return {
        "groups": int((grouped > 1).sum()),
        "images_in_groups": int(grouped[grouped > 1].sum()),
        "equal_groups": len(equal),
        "equal_groups_found": sum(together),
        "near_planted": len(usable),
        "near_found": int(recovery.is_found_P.sum()),
        "near_missed": [[source_keys[a], source_keys[b]] for a, b in missed],
        "pairs_unexplained": [[source_keys[a], source_keys[b]] for a, b in recovery.outside_Q2.tolist()],
    }


# ---------------------------------------------------------------- a trained model on clean images


def predict_model(run: RunDir, model: str, locations: Sequence[str]) -> list[str]:
    """The trained model's most likely category of each image, by name.

    Args:
        run: the run folder.
        model: name of the model.
        locations: uris of the images.

    Raises:
        ArtifactMissingError: the run has no such model.
        ArtifactStaleError: an image cannot be read.
    """
    from webclean.io import pixels
    from webclean.nn import recipe

    require(run, schema.model_path(model), reader="evaluate --model", force=True)
    trained = recipe.load_model(run, schema.model_path(model))
    names: list[str] = []
    for start in range(0, len(locations), _PREDICTED_AT_ONCE):
        squares_NSSC = pixels.load_squares(locations[start : start + _PREDICTED_AT_ONCE], side=trained.side)
        names += [trained.names[best] for best in trained.log_probabilities(squares_NSSC).argmax(axis=1)]
    return names


def _top1(run: RunDir, model: str, test_path: Path) -> dict[str, Any]:
    columns = truth.read_columns(test_path)
    true = truth.column(columns, ("category", "label", *_TRUE_CATEGORY), test_path)
    if test_path.suffix == ".parquet" and PATH not in columns:
        # The table holds the images themselves.
        locations = [uris.of_row(uris.of_path(str(test_path)), row) for row in range(len(true))]
    else:
        paths = truth.column(columns, (PATH, "file_name", "file"), test_path)
        locations = [uris.of_path(str(test_path.parent / path)) for path in paths]
    predicted = predict_model(run, model, locations)
    hit = np.asarray([t == p for t, p in zip(true, predicted, strict=True)], dtype=bool)
    label = np.asarray(true, dtype=object)
    return {
        "model": model,
        "test_sha256": checksums.file_sha256(test_path),
        "images": len(hit),
        "top1": _mean(hit),
        "by_category": {
            str(name): {"images": int((label == name).sum()), "top1": _mean(hit[label == name])}
            for name in sorted(set(true))
        },
    }


def _mean(flag: Bools) -> float:
    return float(flag.mean()) if len(flag) else math.nan


def _finite(value: Any) -> Any:
    """Plain JSON: a rate that does not exist becomes null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------- for people


def sections(result: dict[str, Any]) -> tuple[Section, ...]:
    """An evaluation as tables for people."""
    ranking, decided, copies = result["ranking"], result["decided"], result["duplicates"]
    shown = [
        Section(
            f"Finding wrong images by {result['score']}",
            ("measure", "value"),
            (
                ("images judged", result["rows"]["judged"]),
                ("wrong among them", decided["wrong"]),
                ("AUROC", ranking["auroc"]),
                ("average precision", ranking["average_precision"]),
                ("part of the images kept", ranking["kept_fraction"]),
                ("precision, dropping as many", ranking["precision"]),
                ("recall, dropping as many", ranking["recall"]),
                ("calibration error", ranking["calibration_error"]),
            ),
        ),
        Section(
            f"What the decisions '{result['decisions']}' did",
            ("measure", "value"),
            (
                ("right images", decided["right"]),
                ("right images dropped", decided["right_dropped"]),
                ("... for their label, not as copies", decided["right_dropped_for_label"]),
                ("wrong images dropped", decided["wrong_dropped"]),
                ("precision of dropping", decided["precision"]),
                ("recall of dropping", decided["recall"]),
                ("labels right before", decided["purity_before"]),
                ("labels right after", decided["purity_after"]),
            ),
        ),
        _listing("By reason", "reason", result["by_reason"]),
        _listing("By category", "category", result["by_category"]),
    ]
    if result["by_kind"] is not None:
        shown.append(_listing("By kind of fault", "kind", result["by_kind"]))
    shown.append(
        Section(
            "Copies",
            ("measure", "value"),
            (
                (
                    "groups of equal bytes found",
                    f"{copies['equal_groups_found']} of {copies['equal_groups']}",
                ),
                ("planted near copies found", f"{copies['near_found']} of {copies['near_planted']}"),
                ("pairs that the truth does not explain", len(copies["pairs_unexplained"])),
                *(("  " + a, b) for a, b in copies["pairs_unexplained"][:10]),
            ),
        )
    )
    statuses = result["bad_files"]["by_status"]
    if statuses:
        shown.append(Section("Bad files", ("status", "images"), tuple(statuses.items())))
    if result["model"] is not None:
        model = result["model"]
        rows = [(name, row["images"], row["top1"]) for name, row in model["by_category"].items()]
        shown.append(
            Section(
                f"Top-1 of {model['model']} on the test images",
                ("category", "images", "top-1"),
                (*rows, ("all", model["images"], model["top1"])),
            )
        )
    return tuple(shown)


def _listing(title: str, first: str, rows: dict[str, dict[str, Any]]) -> Section:
    names = next(iter(rows.values()), {})
    columns = (first, *(name.replace("_", " ") for name in names))
    return Section(title, columns, tuple((key, *(row[name] for name in names)) for key, row in rows.items()))
