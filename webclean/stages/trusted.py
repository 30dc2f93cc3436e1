"""Trusted labels: the few images of which a person has said whether their label is right."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.errors import ArtifactInvalidError, ColumnMissingError, ConfigError, DataError
from webclean.io import row_tables, tables, truth
from webclean.io.run_dir import RunDir
from webclean.ops import trusted
from webclean.ops.clean_score import Score
from webclean.ops.evaluation import OFF_TOPIC
from webclean.stages import image_keys
from webclean.stages.base import require
from webclean.stages.rows import Categories, flags, floats, is_usable

RIGHT: Final = "right"
_ON: Final = (schema.IMAGE_ID, schema.SOURCE_KEY, image_keys.PATH)
_WHAT: Final = "the table of trusted labels"
_YES: Final = frozenset({"1", "true", "yes", "y", "right"})
_NO: Final = frozenset({"0", "false", "no", "n", "wrong"})
_NAMED: Final = 5  # rows and keys that a message names
_FEW: Final = 50  # docs/decisions/0017: with as many, a poor calibration error is halved
_ASK: Final = (
    f"columns: {', '.join(_ON)} (one of them), and true_category, or {RIGHT} with yes or no; to choose images:"
    " `webclean weight RUN --to-label FILE.csv`"
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Row of the table, and what it says: the true category, or only whether the label is right."""

    row: int
    category: str | None
    right: bool | None


@dataclass(frozen=True, slots=True)
class _Table:
    """The answers by the name of the image, and which kind of name that is."""

    on: str
    answer_of: dict[str, _Answer]
    num_blank: int


@dataclass(frozen=True, slots=True)
class Trusted:
    """What is known of N usable images.

    Attributes:
        known_N: bool, whether a person has looked at the image.
        right_N: bool, whether its label is right; False where not known.
        true_N: int64, its true category; -1 where not told, or none of the run.
    """

    known_N: NDArray[np.bool_]
    right_N: NDArray[np.bool_]
    true_N: NDArray[np.int64]

    def correct(self, score: Score) -> tuple[Score, trusted.Correction]:
        """The score as these labels correct it; of the trusted images themselves it is 1 or 0.

        What stood against the label is shared among the other categories as before; where the true category
        was told, it is the suggestion.
        """
        fit = trusted.fit(score.clean_N[self.known_N], self.right_N[self.known_N])
        corrected_N = fit.of(score.clean_N)
        corrected_N = np.where(self.known_N, self.right_N.astype(np.float64), corrected_N)
        against_N = 1.0 - score.clean_N
        share_N = np.divide(
            score.suggested_probability_N, against_N, out=np.zeros(len(against_N)), where=against_N > 0
        )
        told_N = self.known_N & ~self.right_N & (self.true_N >= 0)
        return dataclasses.replace(
            score,
            clean_N=corrected_N,
            suggested_N=np.where(told_N, self.true_N, score.suggested_N),
            suggested_probability_N=np.where(told_N, 1.0, share_N * (1.0 - corrected_N)),
            no_judge=False,  # what only ordered the images is a probability now
        ), fit


def source_fingerprint(path: str) -> str:
    """SHA-256 of the table.

    Raises:
        ArtifactMissingError, ArtifactInvalidError: it cannot be read.
    """
    from webclean.io.checksums import stream_sha256

    with row_tables.open_file(path, _WHAT) as file:
        return stream_sha256(file)


def read(path: str, run: RunDir, note: Any = lambda text: None) -> Trusted:
    """What a table says of the usable images, in their order.

    Args:
        path: CSV, TSV, JSONL or Parquet, local or a URL.
        run: run folder with `images`.
        note: takes what a person should know: rows without an answer, rows that name no image.

    Raises:
        ArtifactMissingError, ArtifactInvalidError, ColumnMissingError: the table cannot be read, or says neither.
        DataError: a cell is neither yes nor no, two rows differ on an image, or no row names one.
    """
    table = _read_table(path)
    found, used, unusable = _join(table, run)
    categories = set(Categories(run).name_of.values())
    said = {found_one.category for found_one, _ in found if found_one is not None}
    spoken = {name for name in said if name is not None}
    if not used:
        example = next(iter(table.answer_of), None)
        raise DataError(
            f"no row of {path} names an image of {run.url} by {table.on!r}",
            context=f"its first row has {example!r}",
            hint="take image_id or source_key from `images`, or from `webclean weight RUN --to-label FILE.csv`",
        )
    if spoken and not spoken & categories:
        raise DataError(
            f"no true category of {path} is a category of the run",
            context=f"the table says {sorted(spoken)[:3]}, the run {sorted(categories)[:3]}",
            hint=f"spell categories as in the run, or use a column `{RIGHT}` with yes or no",
        )
    if lost := [name for name in table.answer_of if name not in used]:
        note(f"{len(lost)} of {len(table.answer_of)} trusted rows name no image of the run: {_some(lost)}")
    if unusable:
        note(f"{unusable} trusted rows are about images that cannot be used and tell nothing")
    if table.num_blank:
        note(f"{table.num_blank} rows of {path} have no answer yet")
    if strange := sorted(spoken - categories):
        note(
            f"trusted rows name categories that the run does not have, so those labels are wrong: {_some(strange)}"
        )
    known_N = np.array([answer is not None for answer, _ in found], dtype=bool)
    right_N = np.array(
        [answer is not None and _is_right(answer, label) for answer, label in found], dtype=bool
    )
    code_of = {name: code for code, name in Categories(run).name_of.items()}
    true_N = np.array(
        [
            -1 if answer is None or answer.category is None else code_of.get(answer.category, -1)
            for answer, _ in found
        ],
        dtype=np.int64,
    )
    if not known_N.any():
        raise DataError(
            f"all images that {path} names cannot be used", hint="look at other ones: --to-label names some"
        )
    if known_N.sum() < _FEW:
        note(
            f"{int(known_N.sum())} trusted labels are few: with {_FEW} or more the correction can be relied on"
        )
    return Trusted(known_N, right_N, true_N)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _is_right(answer: _Answer, label: str) -> bool:
    return answer.category == label if answer.right is None else answer.right


def _join(table: _Table, run: RunDir) -> tuple[list[tuple[_Answer | None, str]], set[str], int]:
    """Answer and label of every usable image, the names that were met, and the answers about other images."""
    found: list[tuple[_Answer | None, str]] = []
    used: set[str] = set()
    unusable = 0
    wanted = dict.fromkeys(
        (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS, *image_keys.columns_for(table.on))
    )
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, tuple(wanted)):
        labels = part.column(schema.CATEGORY).to_pylist()
        rows = zip(image_keys.keys(part, table.on), labels, is_usable(part).tolist(), strict=True)
        for names, label, usable in rows:
            name = next((name for name in names if name in table.answer_of), None)
            if name is not None:
                used.add(name)
                unusable += not usable
            if usable:
                found.append((None if name is None else table.answer_of[name], label))
    return found, used, unusable


def _read_table(path: str) -> _Table:
    on: str | None = None
    category_column: str | None = None
    answer_of: dict[str, _Answer] = {}
    blank = number = 0
    for number, row in row_tables.iter_rows(path, _WHAT):
        if on is None:
            on, category_column = _columns(path, row)
        name = row.get(on)
        if name is None:
            raise DataError(f"{path}, row {number}: nothing in {on!r}", hint="say which image is meant")
        answer = _answer(path, number, row, category_column)
        if answer is None:
            blank += 1
            continue
        before = answer_of.setdefault(image_keys.key(name), answer)
        if (before.category, before.right) != (answer.category, answer.right):
            raise DataError(
                f"{path} says different things of {name} in rows {before.row} and {number}",
                hint="leave one row for each image",
            )
    if on is None:
        raise ArtifactInvalidError(f"{path} has no rows", context=_WHAT, hint=_ASK)
    if not answer_of:
        raise DataError(f"{path}: none of its {number} rows has an answer", hint=_ASK)
    return _Table(on, answer_of, blank)


def _columns(path: str, row: Mapping[str, Any]) -> tuple[str, str | None]:
    """Columns that name the image, and its true category if there is one."""
    on = next((name for name in _ON if name in row), None)
    # Beside a yes or no, `category` is the label that was looked at, as --to-label writes it.
    names = truth.TRUE_CATEGORY[:2] if RIGHT in row else truth.TRUE_CATEGORY
    category = next((name for name in names if name in row), None)
    if on is None or (category is None and RIGHT not in row):
        raise ColumnMissingError(
            f"{path} does not say {'which image is meant' if on is None else 'whether its labels are right'}",
            context=f"columns found: {', '.join(row) or 'none'}",
            hint=_ASK,
        )
    return on, category


def _answer(path: str, number: int, row: Mapping[str, Any], category_column: str | None) -> _Answer | None:
    """What a row says; None where it says nothing, or that nobody knows."""
    if str(row.get(truth.UNCERTAIN)).lower() in _YES:
        return None
    if row.get(truth.KIND) in OFF_TOPIC:
        return _Answer(number, None, False)
    said, category = row.get(RIGHT), None if category_column is None else row.get(category_column)
    if said is None and category is None:
        return None
    if said is None:
        return _Answer(number, str(category), None)
    word = str(said).strip().lower()
    if word not in _YES | _NO:
        raise DataError(
            f"{path}, row {number}: {RIGHT} is {said!r}", hint="write yes or no, or leave the cell empty"
        )
    return _Answer(number, None if category is None else str(category), word in _YES)


# ---------------------------------------------------------------- which images to look at


def to_label(run: RunDir, decisions: str, num: int, seed: int) -> bytes:
    """A CSV of images that are worth a look, with empty cells for the answers.

    Raises:
        ArtifactMissingError, ArtifactStaleError: there are no decisions, or they are old.
        ConfigError: none of the images has a score.
    """
    artefact = schema.decisions_path(decisions)
    require(run, artefact, reader="--to-label")
    told = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.URI, schema.CATEGORY)
    rows = tables.read(run, artefact, schema.DECISIONS_TABLE, (schema.CLEAN_SCORE, schema.TRUSTED))
    score_N = floats(rows.column(schema.CLEAN_SCORE))
    score_N = np.where(flags(rows.column(schema.TRUSTED)), np.nan, score_N)
    if not np.isfinite(score_N).any():
        raise ConfigError(
            f"no image of {run.url}/{artefact} has a score to choose by",
            hint=f"run `webclean weight {run.url}` first",
        )
    chosen = trusted.choose(score_N, num, np.random.default_rng(seed))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*told, schema.CLEAN_SCORE, RIGHT, truth.TRUE_CATEGORY[0]))
    start = 0
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, told):
        here = chosen[(chosen >= start) & (chosen < start + part.num_rows)]
        for row, score in zip(part.take(here - start).to_pylist(), score_N[here].tolist(), strict=True):
            writer.writerow((*(row[name] for name in told), f"{score:.4f}", "", ""))
        start += part.num_rows
    return text.getvalue().encode()


def write_to_label(run: RunDir, path: str, decisions: str, num: int, seed: int) -> int:
    """Write that CSV; gives the number of its images.

    Raises:
        ConfigError: FILE is there already, or does not end in .csv.
    """
    target = Path(path)
    if target.suffix.lower() != ".csv":
        raise ConfigError(f"--to-label writes CSV, and {path} ends otherwise", hint="--to-label labels.csv")
    if target.exists():
        raise ConfigError(f"{path} is there already", hint="it may hold answers; name another file")
    data = to_label(run, decisions, num, seed)
    try:
        target.write_bytes(data)
    except OSError as error:
        raise DataError(
            f"--to-label {path} cannot be written: {error.strerror}",
            hint="name a file in a folder that is there and may be written to",
        ) from error
    return data.count(b"\n") - 1
