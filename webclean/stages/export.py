"""Export: the kept images, or all usable ones with their weights, as a folder that trainers read.

OUT holds the table (`images.csv`, `.jsonl` or `.parquet`), `dropped.csv` with the reason of every image
that is not in it, `manifest.json` (policy, counts, categories in order, what it was made from),
`SHA256SUMS`, and the images where they are copied or linked. The same run and flags give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

import webclean
from webclean import schema
from webclean.config import ExportConfig
from webclean.engines.base import Crash
from webclean.errors import ArtifactInvalidError, ConfigError
from webclean.io import checksums, tables
from webclean.io.readers import uris
from webclean.io.run_dir import RunDir
from webclean.io.writers import folder
from webclean.io.writers.image_files import NO_FILE, Placement, load_all, place_all
from webclean.io.writers.layout import Layout
from webclean.io.writers.table_files import EMBEDDED_COLUMN, EMBEDDED_TYPE, WRITERS, open_csv
from webclean.ops import policies
from webclean.ops.policies import Policy
from webclean.stages import removal, requirements, space
from webclean.stages.attached import AttachedColumns
from webclean.stages.base import Context, Counts, require
from webclean.stages.copies import CopyTable
from webclean.stages.removal import Removals
from webclean.stages.rows import NO_CATEGORY, Categories, Follow, flags, floats, is_usable

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
U = TypeVar("U")
_Problem = tuple[str, str]  # source_key of an image, and why it cannot be exported

TABLE_STEM: Final = "images"
DROPPED: Final = "dropped.csv"
FORMAT_VERSION: Final = 1

# Columns of an export that are none of `images` or `decisions`.
PATH: Final = "path"
SPLIT: Final = "split"
CRAWLED_CATEGORY: Final = "crawled_category"

_FROM_IMAGES: Final = (
    schema.IMAGE_ID, schema.SOURCE_KEY, schema.QUERY, schema.RANK, schema.TITLE, schema.TAGS, schema.SOURCE,
    schema.PAGE_URL, schema.SHA256,
)  # fmt: skip
_FROM_DECISIONS: Final = (schema.SUGGESTED_CATEGORY, schema.SUGGESTED_PROBABILITY)
TABLE_COLUMNS: Final = (
    PATH, schema.CATEGORY, schema.WEIGHT, schema.CLEAN_SCORE, schema.KEEP, schema.REASON,
    schema.SUGGESTED_CATEGORY, schema.SUGGESTED_PROBABILITY, CRAWLED_CATEGORY, SPLIT, schema.IMAGE_ID,
    schema.SOURCE_KEY, schema.QUERY, schema.RANK, schema.TITLE, schema.TAGS, schema.SOURCE, schema.PAGE_URL,
    schema.SHA256,
)  # fmt: skip
_ONLY_READ: Final = (schema.URI, schema.FILE_NAME, schema.FORMAT, schema.EXTRA)
_ZERO_WEIGHT: Final = f"{schema.REASON_POLICY}:zero-weight"  # kept, but nothing of it would reach a loss
_NAMED: Final = 5  # images, and reasons, that an error names
_TASK_IMAGES: Final = 32  # images per task of the engine: enough to hide the cost of a task


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: counts over all images of the run, and per category (kept, dropped)."""

    out: Path
    counts: Counts
    by_category: dict[str, tuple[int, int]]
    num_relabelled: int


@dataclass(frozen=True, slots=True)
class _Choice:
    """Per image of the run: is_out_N, keep_N bool; reason_N str; category_N int; weight_N, clean_score_N."""

    is_out_N: NDArray[np.bool_]
    keep_N: NDArray[np.bool_]
    reason_N: NDArray[np.str_]
    category_N: NDArray[np.int64]
    weight_N: NDArray[np.float64]
    clean_score_N: NDArray[np.float64]
    num_relabelled: int


def run(config: ExportConfig, context: Context, out: Path, *, force: bool = False) -> Exported:
    """Write OUT, whole or not at all.

    Args:
        config: shape, mode, policy.
        context: run folder and engine.
        out: the folder to make.
        force: use decisions that are stale.

    Raises:
        ArtifactMissingError, ArtifactStaleError: the decisions have to be made (again).
        ArtifactInvalidError: source images are gone or have changed since ingest, or cannot be linked.
        ConfigError: flags that do not go together, or OUT holds other things.
        StorageFullError: no space is left; nothing is left behind.
    """
    how = _how(config)
    source = context.run
    record = require(source, schema.decisions_path(config.decisions), reader="export", force=force)
    decided_by = Policy(threshold=record["config"].get("keep_threshold", policies.DEFAULT_THRESHOLD))
    policy = _policy(config, decided_by)
    categories = Categories(source)
    if policy.drop_flags:
        require(source, schema.QUALITY, reader="export --drop-flag", force=force)
    removals = None if config.exclude is None else removal.find(config.exclude, context)
    unmet = requirements.unmet(policy.require, context, force=force)
    attached = AttachedColumns(context, config.with_attached, taken=TABLE_COLUMNS, force=force)
    choice = _choose(config, policy, decided_by, source, categories, removals, unmet)
    if not choice.is_out_N.any():
        reasons = Counter(choice.reason_N.tolist()).most_common()
        raise ConfigError(
            "no image is left to export",
            context=", ".join(f"{n} {reason}" for reason, n in reasons),
            hint="choose a policy that keeps more, such as --threshold 0.3 or --keep-fraction 0.5",
        )
    if how == "copy" or config.embed:
        _require_room(choice, context, out, force=force)
    with folder.replacing(out, overwrite=config.overwrite, beside=_read_folders(source)) as new:
        writer = _Writer(config, how, context, categories, choice, attached, new)
        sums = writer.write()
        counts = _counts(choice)
        by_category = _by_category(choice, categories)
        manifest = {
            folder.MADE_BY: folder.PROGRAM,
            "format": FORMAT_VERSION,
            "version": webclean.__version__,
            "to": config.to,
            "mode": config.mode,
            "images": how,
            "embedded": config.embed,
            "table": writer.table_name,
            "categories": [categories.name_of[code] for code in sorted(categories.name_of)],
            "splits": writer.splits,
            "policy": asdict(policy) | {"relabel_threshold": config.relabel_threshold if config.relabel else None}
            | {"exclude": None if removals is None else removals.told},
            "decisions": {
                "name": config.decisions, "fingerprint": record["fingerprint"], "digest": record["digest"],
            },
            "counts": {
                "total": counts.total,
                "exported": counts.forwarded,
                "dropped": counts.dropped,
                "relabelled": choice.num_relabelled,
                "by_category": {name: {"exported": a, "dropped": b} for name, (a, b) in by_category.items()},
            },
        }  # fmt: skip
        _seal(new, manifest, sums)
    return Exported(out, counts, by_category, choice.num_relabelled)


def _require_room(choice: _Choice, context: Context, out: Path, *, force: bool) -> None:
    """Refuse a copy of the images that the disk of OUT cannot hold."""
    sizes = tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.NBYTES,)).column(0)
    nbytes_N = np.nan_to_num(floats(sizes))
    num = int(choice.is_out_N.sum())
    context.force = force
    space.require_at(
        out,
        int(nbytes_N[choice.is_out_N].sum()),
        f"copies of {num:,} images",
        context,
        next_step="name an OUT on another disk, or link them: --images hardlink",
    )


def _read_folders(run: RunDir) -> tuple[Path, ...]:
    """Folders on this machine that the export reads and that must not be replaced by it."""
    found: dict[str, None] = {}
    if (run_folder := run.local_path("")) is not None:
        found[str(run_folder)] = None
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, (schema.URI,)):
        for uri in part.column(schema.URI).to_pylist():
            if (path := uris.container_path(uri)) is not None:
                found[str(path.parent)] = None
    return tuple(Path(path) for path in found)


def _policy(config: ExportConfig, decided_by: Policy) -> Policy:
    own_bar = config.target_purity is not None or config.keep_fraction is not None
    threshold = config.threshold
    if threshold is None and not own_bar:
        threshold = decided_by.threshold
    try:
        return Policy(
            threshold=threshold,
            target_purity=config.target_purity,
            keep_fraction=config.keep_fraction,
            min_per_category=config.min_per_category,
            max_per_category=config.max_per_category,
            drop_duplicates=config.drop_duplicates,
            drop_against=config.drop_against,
            drop_flags=tuple(flag for flag in schema.FLAGS if flag in config.drop_flag),
            require=config.require,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _how(config: ExportConfig) -> str:
    how = config.images or ("copy" if config.to == "imagefolder" else "none")
    if config.to == "imagefolder" and how == "none":
        raise ConfigError("an image folder holds images: --images copy, hardlink or symlink")
    if config.embed and config.to != "parquet":
        raise ConfigError(f"--embed goes with --to parquet; got --to {config.to}")
    if config.embed and how != "none":
        raise ConfigError(f"--embed already holds the images; leave out --images {how}")
    return how


def _choose(
    config: ExportConfig,
    policy: Policy,
    decided_by: Policy,
    run: RunDir,
    categories: Categories,
    removals: Removals | None,
    unmet: Sequence[tuple[str, NDArray[np.bool_]]],
) -> _Choice:
    """Who is exported: as decided where the policy is the decisions' own, else decided anew from their scores."""
    images = tables.read(
        run, schema.IMAGES, schema.IMAGES_TABLE, (schema.IMAGE_ID, schema.CATEGORY, schema.STATUS)
    )
    path = schema.decisions_path(config.decisions)
    wanted = (schema.IMAGE_ID, schema.CLEAN_SCORE, schema.WEIGHT, schema.KEEP, schema.REASON)
    suggested = _FROM_DECISIONS if config.relabel else ()
    decisions = tables.read(run, path, schema.DECISIONS_TABLE, (*wanted, *suggested))
    if not decisions.column(schema.IMAGE_ID).equals(images.column(schema.IMAGE_ID)):
        raise ArtifactInvalidError(
            f"{run.url}/{path} does not hold the images of `{schema.IMAGES}` in their order",
            hint=f"run `webclean weight {run.url} --force`",
        )
    category_N = categories.encode(images.column(schema.CATEGORY))
    clean_score_N = floats(decisions.column(schema.CLEAN_SCORE))
    decided_N = floats(decisions.column(schema.WEIGHT))
    keep_N = flags(decisions.column(schema.KEEP))
    reason_N = _shared(decisions.column(schema.REASON))
    was_kept_N = keep_N
    changed_N = np.zeros(images.num_rows, dtype=bool)
    if policy != decided_by or config.relabel or removals is not None:
        if config.relabel:
            id_of = {name: code for code, name in categories.name_of.items()}
            names = decisions.column(schema.SUGGESTED_CATEGORY).to_pylist()
            moved = policies.relabel(
                category_N,
                clean_score_N,
                np.asarray([id_of.get(name, -1) for name in names], dtype=np.int64),
                floats(decisions.column(schema.SUGGESTED_PROBABILITY)),
                threshold=config.relabel_threshold,
            )
            category_N = moved.category_N.astype(np.int64)
            clean_score_N, changed_N = moved.clean_score_N, moved.changed_N
        copies = CopyTable(run).of(images.column(schema.IMAGE_ID))
        excluded_N = np.zeros(images.num_rows, dtype=bool) if removals is None else removals.is_excluded_N
        settled = copies.settle(is_usable(images) & ~excluded_N, category_N, clean_score_N)
        verdicts = policies.decide_keep(
            clean_score_N,
            category_N,
            images.column(schema.STATUS).to_pylist(),
            settled.duplicate_drop_N,
            settled.conflict_drop_N,
            copies.is_against_N,
            policy,
            _flagged(run, policy, images.column(schema.IMAGE_ID)),
            excluded_N,
            unmet,
        )
        keep_N, reason_N = verdicts.keep_N, verdicts.reason_N
    weight_N = policies.export_weights(decided_N, was_kept_N & ~changed_N, clean_score_N)
    is_out_N = keep_N
    if config.mode == "weighted":
        is_soft_N = np.asarray([policies.is_score_reason(reason) for reason in reason_N.tolist()], dtype=bool)
        has_weight_N = weight_N > 0
        is_out_N = (keep_N | is_soft_N) & has_weight_N
        reason_N = np.where(keep_N & ~has_weight_N, _ZERO_WEIGHT, reason_N)
    return _Choice(
        is_out_N, keep_N, reason_N, category_N, weight_N, clean_score_N, int((changed_N & is_out_N).sum())
    )


def _shared(words: pa.ChunkedArray) -> NDArray[np.str_]:
    """Words as objects, equal ones the same object: 8 bytes each, however long they are."""
    encoded = words.combine_chunks().dictionary_encode()
    each = np.array(encoded.dictionary.to_pylist(), dtype=np.object_)
    shared: NDArray[Any] = each[encoded.indices.to_numpy()]
    return shared


def _flagged(run: RunDir, policy: Policy, image_id: pa.ChunkedArray) -> dict[str, NDArray[np.bool_]]:
    """The flags that the policy drops, of every image; a file without pixels has none."""
    import pyarrow.compute as pc

    if not policy.drop_flags:
        return {}
    rows = Follow(run, schema.QUALITY, schema.QUALITY_TABLE, policy.drop_flags).take(image_id)
    return {name: flags(pc.fill_null(rows.column(name), False)) for name in policy.drop_flags}


def _counts(choice: _Choice) -> Counts:
    left = ~choice.is_out_N
    reasons = Counter(choice.reason_N[left].tolist())
    return Counts(len(left), int(choice.is_out_N.sum()), dict(sorted(reasons.items())))


def _by_category(choice: _Choice, categories: Categories) -> dict[str, tuple[int, int]]:
    out_C = np.bincount(choice.category_N[choice.is_out_N], minlength=categories.num)
    has_category_N = choice.category_N != NO_CATEGORY  # an excluded row has none, and is in `dropped`
    all_C = np.bincount(choice.category_N[has_category_N], minlength=categories.num)
    return {
        name: (int(out_C[code]), int(all_C[code] - out_C[code]))
        for code, name in sorted(categories.name_of.items())
    }


def _seal(new: Path, manifest: dict[str, Any], sums: dict[str, str]) -> None:
    """Write manifest.json and the checksum list, which covers it."""
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    folder.write_synced(new / folder.MANIFEST, text.encode())
    for name in (folder.MANIFEST, str(manifest["table"]), DROPPED):
        sums[name] = checksums.file_sha256(new / name)
    folder.write_synced(new / checksums.FILE_NAME, checksums.dump(sums))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one exported image is: as the table says it, as the checksum list does, and its name."""

    path: str
    listed: str | None
    name: str


class _Writer:
    """Streams the chosen images into the new folder, one part of `images` at a time."""

    def __init__(
        self,
        config: ExportConfig,
        how: str,
        context: Context,
        categories: Categories,
        choice: _Choice,
        attached: AttachedColumns,
        new: Path,
    ) -> None:
        self._config, self._how, self._context = config, how, context
        self._categories, self._choice, self._new = categories, choice, new
        self._attached = attached
        self._kind = "csv" if config.to == "imagefolder" else config.to
        self.table_name = f"{TABLE_STEM}.{self._kind}"
        self.splits = self._find_splits()
        self._layout = Layout(
            prefix="" if config.to == "imagefolder" else f"{TABLE_STEM}/",
            has_splits=bool(self.splits),
            reserved=(folder.MANIFEST, checksums.FILE_NAME, DROPPED, self.table_name),
        )

    def write(self) -> dict[str, str]:
        """Write table, dropped.csv and images; returns path -> sha256 of the images."""
        sums: dict[str, str] = {}
        problems: list[_Problem] = []
        with ExitStack() as stack:
            bar = stack.enter_context(
                self._context.progress(total=int(self._choice.is_out_N.sum()), unit="images", label="export")
            )
            write = stack.enter_context(WRITERS[self._kind](self._new / self.table_name, self._schema()))
            write_dropped = stack.enter_context(open_csv(self._new / DROPPED, _dropped_schema()))
            for start, images, decisions in self._parts():
                brought = self._attached.take(images.column(schema.IMAGE_ID))
                here = slice(start, start + images.num_rows)
                write_dropped(self._dropped_rows(images, here))
                is_out = self._choice.is_out_N[here]
                if not is_out.any():
                    continue
                chosen = images.filter(is_out)
                index_M = start + np.flatnonzero(is_out)
                places = self._locate(chosen, index_M)
                problems += self._place(chosen, places)
                sums |= {
                    place.listed: sha256
                    for place, sha256 in zip(places, chosen.column(schema.SHA256).to_pylist(), strict=True)
                    if place.listed is not None
                }
                data = self._load(chosen, problems) if self._config.embed else None
                extra = {name: column.filter(is_out) for name, column in brought.items()}
                write(self._rows(chosen, decisions.filter(is_out), index_M, places, data, extra))
                bar.advance(len(index_M))
        if problems:
            raise ArtifactInvalidError(
                f"{len(problems)} of {int(self._choice.is_out_N.sum())} images could not be exported",
                context=_told(problems),
                hint="add --images copy"
                if all(why == NO_FILE for _, why in problems)
                else f"if the images moved: `webclean ingest NEW {self._context.run.url} --update`, where NEW is the place"
                " in which SOURCE lies now, and export again; ingest the source again where it has changed, or choose"
                " another --images",
            )
        return sums

    def _parts(self) -> Iterator[tuple[int, pa.Table, pa.Table]]:
        """(index of the first row, rows of `images`, rows of the decisions), part by part."""
        columns = (*_FROM_IMAGES, *_ONLY_READ, schema.CATEGORY)
        follow = Follow(
            self._context.run,
            schema.decisions_path(self._config.decisions),
            schema.DECISIONS_TABLE,
            (schema.SUGGESTED_CATEGORY, schema.SUGGESTED_PROBABILITY),
        )
        start = 0
        for part in tables.iter_parts(self._context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
            yield start, part, follow.take(part.column(schema.IMAGE_ID))
            start += part.num_rows

    def _find_splits(self) -> list[str]:
        found: set[str] = set()
        start = 0
        for part in tables.iter_parts(self._context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.EXTRA,)):
            is_out = self._choice.is_out_N[start : start + part.num_rows]
            found.update(s for s in self._splits_of(part.filter(is_out)) if s is not None)
            start += part.num_rows
        return sorted(found)

    def _splits_of(self, images: pa.Table) -> list[str | None]:
        extras = (json.loads(text) if text else {} for text in images.column(schema.EXTRA).to_pylist())
        values = (extra.get(self._config.split_column) for extra in extras)
        return [None if value in (None, "") else str(value) for value in values]

    def _locate(self, chosen: pa.Table, index_M: NDArray[np.int64]) -> list[_Place]:
        places = []
        for index, split, image_id, file_name, format_name, uri in zip(
            index_M,
            self._splits_of(chosen),
            *(
                chosen.column(c).to_pylist()
                for c in (schema.IMAGE_ID, schema.FILE_NAME, schema.FORMAT, schema.URI)
            ),
            strict=True,
        ):
            category = self._categories.name_of[int(self._choice.category_N[index])]
            # The second half of an image_id is the hash of its source_key: the same on every export.
            mark = image_id.rpartition("-")[2][:8]
            name = self._layout.path(category, split, file_name, format_name, mark)
            if self._how == "none":
                local = uris.local_path(uri)
                listed = None if self._config.embed or local is None else str(local)
                places.append(_Place(uri, listed, name))
            else:
                places.append(_Place(name, name, name))
        return places

    def _place(self, chosen: pa.Table, places: list[_Place]) -> list[_Problem]:
        """Copy or link the images, or check those that a table only names; says which could not be."""
        if self._config.embed:
            return []
        if self._how != "none":
            for parent in sorted({(self._new / place.name).parent for place in places}):
                parent.mkdir(parents=True, exist_ok=True)
        tasks = [
            Placement(uri, sha256, str(self._new / place.name), self._how)
            for uri, sha256, place in zip(
                chosen.column(schema.URI).to_pylist(),
                chosen.column(schema.SHA256).to_pylist(),
                places,
                strict=True,
            )
        ]
        results = self._map(place_all, tasks)
        return _problems(chosen, results)

    def _load(self, chosen: pa.Table, problems: list[_Problem]) -> list[bytes | None]:
        tasks = list(
            zip(chosen.column(schema.URI).to_pylist(), chosen.column(schema.SHA256).to_pylist(), strict=True)
        )
        loaded = self._map(load_all, tasks)
        problems += _problems(chosen, [one.problem for one in loaded])
        return [one.data for one in loaded]

    def _map(self, function: Callable[[Sequence[T]], list[U]], tasks: list[T]) -> list[U]:
        groups = [tasks[i : i + _TASK_IMAGES] for i in range(0, len(tasks), _TASK_IMAGES)]
        found: list[U] = []
        for result in self._context.engine.map(function, groups):
            assert not isinstance(result, Crash)  # crashes are raised here
            found += result
        return found

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        stored = {c.name: c.type for c in (*schema.IMAGES_TABLE.columns, *schema.DECISIONS_TABLE.columns)}
        own = {PATH: "string", SPLIT: "string", CRAWLED_CATEGORY: "string"}
        fields = [pa.field(name, tables.arrow_type((own | stored)[name])) for name in TABLE_COLUMNS]
        fields += [pa.field(name, tables.arrow_type(kind)) for name, kind in self._attached.types.items()]
        if self._config.embed:
            fields.append(pa.field(EMBEDDED_COLUMN, EMBEDDED_TYPE))
        return pa.schema(fields)

    def _rows(
        self,
        chosen: pa.Table,
        decisions: pa.Table,
        index_M: NDArray[np.int64],
        places: list[_Place],
        data: list[bytes | None] | None,
        extra: dict[str, Any],
    ) -> pa.Table:
        import pyarrow as pa

        choice = self._choice
        columns: dict[str, Any] = {name: chosen.column(name) for name in _FROM_IMAGES}
        columns |= {name: decisions.column(name) for name in _FROM_DECISIONS}
        columns |= {
            PATH: [place.path for place in places],
            schema.CATEGORY: [self._categories.name_of[int(code)] for code in choice.category_N[index_M]],
            schema.WEIGHT: choice.weight_N[index_M],
            schema.CLEAN_SCORE: pa.array(choice.clean_score_N[index_M], from_pandas=True),
            schema.KEEP: choice.keep_N[index_M],
            schema.REASON: choice.reason_N[index_M].tolist(),
            CRAWLED_CATEGORY: chosen.column(schema.CATEGORY),
            SPLIT: self._splits_of(chosen),
        } | extra
        if data is not None:
            names = [place.name.rpartition("/")[2] for place in places]
            columns[EMBEDDED_COLUMN] = [{"bytes": d, "path": n} for d, n in zip(data, names, strict=True)]
        arrow = self._schema()
        arrays = [
            column if isinstance(column, pa.ChunkedArray) else pa.array(column, type=field.type)
            for field, column in ((field, columns[field.name]) for field in arrow)
        ]
        return pa.table(arrays, schema=arrow)

    def _dropped_rows(self, images: pa.Table, here: slice) -> pa.Table:
        import pyarrow as pa

        is_left = ~self._choice.is_out_N[here]
        left = images.filter(is_left)
        return pa.table(
            [
                left.column(schema.IMAGE_ID),
                left.column(schema.SOURCE_KEY),
                left.column(schema.CATEGORY),
                pa.array(self._choice.reason_N[here][is_left].tolist(), type=pa.string()),
                pa.array(self._choice.clean_score_N[here][is_left], from_pandas=True),
            ],
            schema=_dropped_schema(),
        )


def _dropped_schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    names = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY, schema.REASON)
    return pa.schema([*((name, text) for name in names), (schema.CLEAN_SCORE, number)])


def _problems(chosen: pa.Table, results: Sequence[str | None]) -> list[_Problem]:
    keys = chosen.column(schema.SOURCE_KEY).to_pylist()
    return [(key, problem) for key, problem in zip(keys, results, strict=True) if problem is not None]


def _told(problems: Sequence[_Problem]) -> str:
    """Each reason once, after the first images that it holds for."""
    keys_of: dict[str, list[str]] = {}
    for key, why in problems:
        keys_of.setdefault(why, []).append(key)
    told = []
    for why, keys in keys_of.items():
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        told.append(f"{', '.join(keys[:_NAMED])}{more}: {why}")
    return "; ".join(told[:_NAMED]) + ("; ..." if len(told) > _NAMED else "")
