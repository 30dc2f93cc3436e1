"""All that a run knows of one image: where it comes from, what each stage says of it, and why it stays or goes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from webclean import schema
from webclean.errors import ConfigError
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops import policies
from webclean.stages import attach
from webclean.stages.base import committed, require, staleness

_MANY: Final = 5  # images that an error names
_UNSHOWN: Final = (schema.TINY,)  # pixels
_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image stands in `images`: the number of its part, and its id."""

    part: int
    image_id: str


def explain(run: RunDir, wanted: str) -> dict[str, Any]:
    """What is known of one image, by stage; what has not been made is null or empty.

    Only the parts that hold the image are read, beside the ids and keys of all images.

    Args:
        run: the run folder.
        wanted: an image_id, the beginning of one, or a source_key.

    Raises:
        ArtifactMissingError: nothing has been ingested.
        ConfigError: no image or more than one is meant.
    """
    require(run, schema.IMAGES, reader="explain", force=True)
    place = _find(run, wanted)
    image = _row(run, place, schema.IMAGES, schema.IMAGES_TABLE) or {}
    names = _category_names(run)
    copies, against = _copies(run, place)
    found: dict[str, Any] = {
        "run": run.url,
        "image": _shown(image),
        "copies": copies,
        "against": against,
        "flags": _flags(run, place),
        "attached": _attached(run, place),
        "text": _text(run, place, names),
        "rounds": _rounds(run, place, names),
        "models": _models(run, place, names),
        "decisions": _decisions(run, place, image, copies, against),
    }
    made = [schema.IMAGES, schema.DUPLICATES, schema.QUALITY, schema.TEXT]
    made += [schema.attached_path(name) for name in found["attached"]]
    made += [schema.decisions_path(name) for name in found["decisions"]]
    found["stale"] = {
        name: reason
        for name in made
        if committed(run, name) is not None and (reason := staleness(run, name)) is not None
    }
    return found


def _find(run: RunDir, wanted: str) -> _Place:
    import pyarrow.compute as pc

    begins: list[_Place] = []
    columns = (schema.IMAGE_ID, schema.SOURCE_KEY)
    parts = tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, columns)
    for index, part in enumerate(parts):
        ids, keys = (part.column(name) for name in columns)
        exact = part.filter(pc.or_(pc.equal(ids, wanted), pc.equal(keys, wanted)))
        if exact.num_rows:
            return _Place(index, exact.column(schema.IMAGE_ID)[0].as_py())
        if wanted:
            like = part.filter(pc.starts_with(ids, wanted)).column(schema.IMAGE_ID).to_pylist()
            begins += [_Place(index, image_id) for image_id in like]
    if len(begins) == 1:
        return begins[0]
    hint = f"the image_id, its beginning, or the source_key, as in `{schema.IMAGES}`"
    if not begins:
        raise ConfigError(f"{run.url} has no image {wanted!r}", hint=f"give {hint}")
    some = ", ".join(place.image_id for place in begins[:_MANY]) + (", ..." if len(begins) > _MANY else "")
    raise ConfigError(
        f"{len(begins)} images of {run.url} begin with {wanted!r}", context=some, hint=f"give {hint}"
    )


def _row(run: RunDir, place: _Place, artefact: str, table: schema.Table) -> _Row | None:
    """The image's row of a committed artefact, None where it has none."""
    return next(iter(_rows(run, place, artefact, table)), None)


def _rows(run: RunDir, place: _Place, artefact: str, table: schema.Table) -> list[_Row]:
    """The image's rows of a committed artefact in the parts of `images`; of other artefacts all parts are asked."""
    import pyarrow.compute as pc

    if committed(run, artefact) is None:
        return []
    parts = tables.part_names(run, artefact)
    if len(parts) == len(tables.part_names(run, schema.IMAGES)):
        parts = [parts[place.part]]
    for name in parts:
        ids = tables.read_part(run, artefact, name, table, (schema.IMAGE_ID,)).column(0)
        is_here = pc.equal(ids, place.image_id)
        if pc.any(is_here).as_py():
            rows: list[_Row] = tables.read_part(run, artefact, name, table).filter(is_here).to_pylist()
            return rows
    return []


def _shown(image: _Row) -> _Row:
    """A row of `images` for people and JSON: no pixels, the hash in hex, the crawl's other columns opened."""
    shown = {name: value for name, value in image.items() if name not in _UNSHOWN}
    if shown[schema.PHASH] is not None:
        shown[schema.PHASH] = f"{shown[schema.PHASH]:016x}"
    if shown[schema.EXTRA] is not None:
        shown[schema.EXTRA] = json.loads(shown[schema.EXTRA])
    return shown


def _category_names(run: RunDir) -> dict[int, str]:
    rows = tables.read(run, schema.CATEGORIES, schema.CATEGORIES_TABLE, (schema.CATEGORY_ID, schema.NAME))
    return {row[schema.CATEGORY_ID]: row[schema.NAME] for row in rows.to_pylist()}


def _copies(run: RunDir, place: _Place) -> tuple[list[_Row], str | None]:
    """The other members of the image's group, and its copy in the user's own test set."""
    import pyarrow.compute as pc

    if committed(run, schema.DUPLICATES) is None:
        return [], None
    rows = tables.read(run, schema.DUPLICATES, schema.DUPLICATES_TABLE)
    own = rows.filter(pc.equal(rows.column(schema.IMAGE_ID), place.image_id)).to_pylist()
    if not own:
        return [], None
    group = rows.filter(pc.equal(rows.column(schema.GROUP), own[0][schema.GROUP])).to_pylist()
    member_of = {row[schema.IMAGE_ID]: row for row in group if row[schema.IMAGE_ID] != place.image_id}
    told = (schema.KIND, schema.VIEW, schema.DISTANCE)
    copies = [
        image
        | {name: member_of[image[schema.IMAGE_ID]][name] for name in told}
        | {"is_keeper": image[schema.IMAGE_ID] == own[0][schema.KEEPER_ID]}
        for image in _named(run, set(member_of))
    ]
    return copies, own[0][schema.AGAINST]


def _named(run: RunDir, ids: set[str]) -> Iterator[_Row]:
    """Id, key and category of these images, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = (schema.IMAGE_ID, schema.SOURCE_KEY, schema.CATEGORY)
    left, values = len(ids), pa.array(sorted(ids), pa.string())
    parts = tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, wanted) if ids else iter(())
    for part in parts:
        rows = part.filter(pc.is_in(part.column(schema.IMAGE_ID), value_set=values)).to_pylist()
        yield from rows
        left -= len(rows)
        if not left:
            return


def _flags(run: RunDir, place: _Place) -> dict[str, bool] | None:
    """Flag -> whether it is set; None where it is not known."""
    row = _row(run, place, schema.QUALITY, schema.QUALITY_TABLE)
    if row is None or row[schema.FLAGS[0]] is None:
        return None
    return {name: row[name] for name in schema.FLAGS}


def _attached(run: RunDir, place: _Place) -> dict[str, _Row]:
    """What was attached under each name; a row of nulls where its table says nothing of the image."""
    found = {}
    for name in attach.names(run):
        table = schema.attached_table(attach.columns_of(run, name))
        row = _row(run, place, schema.attached_path(name), table)
        if row is not None:
            found[name] = _without(row)
    return found


def _text(run: RunDir, place: _Place, names: dict[int, str]) -> _Row | None:
    row = _row(run, place, schema.TEXT, schema.TEXT_TABLE)
    if row is None:
        return None
    top = _top(row, names, schema.TOP_MASSES, "mass")
    return _without(row, schema.TOP_CATEGORIES, schema.TOP_MASSES) | {"top": top}


def _rounds(run: RunDir, place: _Place, names: dict[int, str]) -> list[_Row]:
    """Weights and judges of each round that was made."""
    found = []
    rounds = {int(name[1:]) for name in run.folders(schema.WEIGHTS) if name[1:].isdecimal()}
    judges = [name.rpartition("-r") for name in run.folders(schema.PREDICTIONS)]
    rounds |= {int(number) for _, _, number in judges if number.isdecimal()}
    for number in sorted(rounds):
        stage1 = _row(run, place, schema.stage1_path(number), schema.STAGE1_TABLE)
        stage2 = _row(run, place, schema.stage2_path(number), schema.STAGE2_TABLE)
        of_judge = {
            name: _predicted(row, names)
            for name, _, its in judges
            if its == str(number)
            and (row := _row(run, place, schema.predictions_path(name, number), schema.PREDICTIONS_TABLE))
        }
        found.append(
            {
                "round": number,
                "judges": of_judge,
                "stage1": stage1 and _without(stage1),
                "stage2": stage2 and _without(stage2),
            }
        )
    return found


def _models(run: RunDir, place: _Place, names: dict[int, str]) -> dict[str, _Row]:
    """What each trained model says, with the regions it looked at."""
    found = {}
    for name in run.folders(schema.MODELS):
        row = _row(run, place, schema.model_predictions_path(name), schema.MODEL_PREDICTIONS_TABLE)
        if row is not None:
            rois = _rows(run, place, schema.model_rois_path(name), schema.ROIS_TABLE)
            found[name] = _predicted(row, names) | {schema.ROIS: [_without(roi) for roi in rois]}
    return found


def _predicted(row: _Row, names: dict[int, str]) -> _Row:
    top = _top(row, names, schema.TOP_PROBABILITIES, "probability")
    suggested = row[schema.SUGGESTED]
    return _without(row, schema.TOP_CATEGORIES, schema.TOP_PROBABILITIES) | {
        "top": top,
        schema.SUGGESTED: None if suggested is None else names.get(suggested),
    }


def _top(row: _Row, names: dict[int, str], values: str, word: str) -> list[_Row]:
    pairs = zip(row[schema.TOP_CATEGORIES], row[values], strict=True)
    return [{"category": names.get(code), word: value} for code, value in pairs]


def _without(row: _Row, *columns: str) -> _Row:
    return {name: value for name, value in row.items() if name not in (schema.IMAGE_ID, *columns)}


def _decisions(
    run: RunDir, place: _Place, image: _Row, copies: Sequence[_Row], against: str | None
) -> dict[str, _Row]:
    """Each set of decisions with its verdict in words."""
    found = {}
    for name in run.folders(schema.DECISIONS):
        path = schema.decisions_path(name)
        row = _row(run, place, path, schema.DECISIONS_TABLE)
        record = committed(run, path)
        if row is not None and record is not None:
            threshold = record["config"].get("keep_threshold", policies.DEFAULT_THRESHOLD)
            judged = not record["result"].get("no_judge", False)
            found[name] = _without(row) | {
                "why": in_words(row, image, copies, against, threshold, judged=judged)
            }
    return found


def in_words(
    decision: _Row,
    image: _Row,
    copies: Sequence[_Row],
    against: str | None,
    threshold: float,
    *,
    judged: bool = True,
) -> str:
    """Why an image was kept or dropped, in one sentence.

    Args:
        decision: its row of the decisions.
        image: its row of `images`.
        copies: the other members of its group, as `explain` gives them.
        against: its copy in the user's own test set.
        threshold: the decisions' bar for clean_score.
        judged: whether a judge took part; without one a score only puts the images in order.
    """
    reason, score = decision[schema.REASON], decision[schema.CLEAN_SCORE]
    if decision[schema.TRUSTED] and reason in (schema.REASON_OK, schema.REASON_LOW_SCORE):
        kept = reason == schema.REASON_OK
        return f"{'kept' if kept else 'dropped'}: a trusted label says that it is {'right' if score else 'wrong'}"
    if reason == schema.REASON_OK:
        if score is None:
            return "kept: nothing was there to judge it by"
        if not judged:
            return f"kept: no judge took part, and its score of {score:.3f} only orders the images"
        return f"kept: its label is right with probability {score:.3f}, at least {threshold:g}"
    if reason == schema.REASON_LOW_SCORE:
        likelier = decision[schema.SUGGESTED_CATEGORY]
        other = decision[schema.SUGGESTED_PROBABILITY]
        more = "" if likelier is None else f"; {likelier} is likelier ({other:.3f})"
        return f"dropped: its label is right with probability {score:.3f}, below {threshold:g}{more}"
    if reason == schema.REASON_DUPLICATE:
        keeper = next((copy[schema.SOURCE_KEY] for copy in copies if copy["is_keeper"]), None)
        return "dropped: a copy of " + (f"{keeper}, which stands for both" if keeper else "another image")
    if reason == schema.REASON_LABEL_CONFLICT:
        others = sorted({copy[schema.CATEGORY] for copy in copies} - {image[schema.CATEGORY]})
        return (
            f"dropped: the same picture stands under {', '.join(others) or 'another category'} too;"
            " at most the likeliest of them may stay"
        )
    if reason == schema.REASON_EXCLUDED:
        return f"left out: {image[schema.ERROR] or 'excluded'}"
    kind, _, detail = reason.partition(":")
    if kind == schema.REASON_BAD_FILE:
        return f"left out: the file is {detail}: {image[schema.ERROR]}"
    if detail == "against":
        return f"dropped: a copy of {against} of your test set"
    return f"dropped: {reason}"
