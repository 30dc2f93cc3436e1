"""What is known of one image as tables for people."""

from __future__ import annotations

import json
from typing import Any, Final

from webclean import schema
from webclean.cli.evaluation_tables import Section

_SAID: Final = (
    schema.QUERY, schema.RANK, schema.TITLE, schema.DESCRIPTION, schema.TAGS, schema.ALT_TEXT, schema.PAGE_URL,
    schema.SOURCE, schema.EXTRA,
)  # fmt: skip
_MEASURED: Final = (schema.BRIGHTNESS, schema.CONTRAST, schema.SHARPNESS, schema.ENTROPY)
_PARTS: Final = (
    schema.P_JUDGE, schema.P_NEIGHBORS, schema.P_TOPIC, schema.P_RANK, schema.P_TEXT, schema.P_TEXT_JUDGE,
    schema.P_SOMNET,
)  # fmt: skip


def sections(found: dict[str, Any]) -> tuple[Section, ...]:
    """What `stages.explain.explain` found, one table below the other; what is not known is left out."""
    shown = [
        _image(found),
        _copies(found),
        _attached(found),
        _text(found),
        _judges(found),
        _weights(found),
        _decisions(found),
    ]
    return tuple(section for section in shown if section.rows)


def _image(found: dict[str, Any]) -> Section:
    image, flags = found["image"], found["flags"]
    rows: list[tuple[Any, ...]] = [
        (name, image[name]) for name in (schema.IMAGE_ID, schema.SOURCE_KEY, schema.URI, schema.CATEGORY)
    ]
    rows += [(name, _words(image[name])) for name in _SAID if image[name] not in (None, [])]
    rows.append(("file", _file(image)))
    if image[schema.ENTROPY] is not None:
        rows.append(("measures", ", ".join(f"{name} {image[name]:.3f}" for name in _MEASURED)))
    if flags is not None:
        rows.append(("flags", ", ".join(name for name, is_set in flags.items() if is_set) or "none"))
    rows.append((schema.STATUS, image[schema.STATUS]))
    if image[schema.ERROR] is not None:
        rows.append((schema.ERROR, image[schema.ERROR]))
    if found["against"] is not None:
        rows.append(("copy in the test set", found["against"]))
    return Section("Image", ("what", "value"), tuple(rows))


def _file(image: dict[str, Any]) -> str:
    parts = []
    if image[schema.WIDTH] is not None:
        parts.append(f"{image[schema.WIDTH]} x {image[schema.HEIGHT]}")
    parts += [image[name] for name in (schema.FORMAT, schema.MODE) if image[name] is not None]
    if (frames := image[schema.FRAMES]) is not None and frames > 1:
        parts.append(f"{frames} frames")
    if image[schema.NBYTES] is not None:
        parts.append(f"{image[schema.NBYTES]:,} bytes")
    if image[schema.SHA256] is not None:
        parts.append(f"sha256 {image[schema.SHA256]}")
    return ", ".join(parts) or "-"


def _words(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, dict) else value


def _copies(found: dict[str, Any]) -> Section:
    columns = (schema.SOURCE_KEY, schema.CATEGORY, schema.KIND, schema.DISTANCE, "is_keeper", schema.IMAGE_ID)
    rows = tuple(tuple(copy[name] for name in columns) for copy in found["copies"])
    return Section("Copies of it", ("image", "category", "kind", "bits", "keeper", "image_id"), rows)


def _attached(found: dict[str, Any]) -> Section:
    rows = [(name, column, value) for name, row in found["attached"].items() for column, value in row.items()]
    return Section("Attached", ("name", "column", "value"), tuple(rows))


def _text(found: dict[str, Any]) -> Section:
    text = found["text"]
    if text is None:
        return Section("Text", (), ())
    rows = (
        ("keywords", "; ".join(text[schema.KEYWORDS]) or "none"),
        ("on its category", text[schema.LABEL_MASS]),
        ("on the categories next to it", text[schema.NEIGHBOR_MASS]),
        ("nearest categories", _likely(text["top"], "mass")),
    )
    return Section("Its words against the categories", ("what", "value"), rows)


def _judges(found: dict[str, Any]) -> Section:
    rows = [
        (
            f"{name}, round {each['round']}",
            said[schema.LABEL_PROBABILITY],
            _likely(said["top"], "probability"),
        )
        for each in found["rounds"]
        for name, said in each["judges"].items()
    ]
    for name, said in found["models"].items():
        judged = f"model {name}" + (", trained on it" if said[schema.IN_SAMPLE] else "")
        rows.append((judged, said[schema.LABEL_PROBABILITY], _likely(said["top"], "probability")))
        rows += [
            (f"  region {roi[schema.ROI]}", roi[schema.WEIGHT], _box(roi[schema.BOX])) for roi in said["rois"]
        ]
    return Section("Judges", ("judge", "its category", "most likely categories"), tuple(rows))


def _box(box: list[float]) -> str:
    left, top, right, bottom = box
    return f"weight of the box {left:.0f}, {top:.0f} to {right:.0f}, {bottom:.0f}"


def _likely(top: list[dict[str, Any]], word: str) -> str:
    return ", ".join(f"{each['category']} {each[word]:.3f}" for each in top) or "-"


def _weights(found: dict[str, Any]) -> Section:
    rows = []
    for each in found["rounds"]:
        stage1, stage2 = each["stage1"] or {}, each["stage2"] or {}
        rows.append(
            (
                each["round"],
                stage1.get(schema.RANK_POSITION),
                stage1.get(schema.RANK_WEIGHT),
                stage1.get(schema.TEXT_MATCH),
                stage1.get(schema.WEIGHT),
                stage2.get(schema.MATCH_SCORE),
                stage2.get(schema.WEIGHT),
            )
        )
    columns = ("round", "place", "rank weight", "text match", "stage 1", "match score", "stage 2")
    return Section("Weights", columns, tuple(rows) if any(row[1:] != (None,) * 6 for row in rows) else ())


def _decisions(found: dict[str, Any]) -> Section:
    rows = []
    for name, row in found["decisions"].items():
        parts = ", ".join(
            f"{part.removeprefix('p_')} {row[part]:.3f}" for part in _PARTS if row[part] is not None
        )
        added = ", ".join(
            f"{part.removeprefix('added_')} {row[part]:+.2f}"
            for part in schema.ADDED
            if row[part] is not None
        )
        rows.append(
            (
                name,
                "keep" if row[schema.KEEP] else "drop",
                row[schema.CLEAN_SCORE],
                row[schema.WEIGHT],
                parts,
                added,
            )
        )
    return Section(
        "Decisions",
        ("name", "verdict", "clean score", "weight", "each evidence alone", "log-odds that each added"),
        tuple(rows),
    )
