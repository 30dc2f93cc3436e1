"""An evaluation as tables for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Section:
    """A table for people: title, column names, rows of words and numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


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
        *_reliability(result["reliability"]),
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


def _reliability(curves: dict[str, Any] | None) -> tuple[Section, ...]:
    """How often labels are right where the score says so, in bins of as many images each."""
    return tuple(
        Section(
            f"Reliability of {name}: calibration error {curve['error']:.4f}, trusted images left out",
            ("said", "right", "images"),
            tuple((one["said"], one["right"], one["images"]) for one in curve["bins"]),
        )
        for name, curve in (curves or {}).items()
        if curve["bins"]
    )


def _listing(title: str, first: str, rows: dict[str, dict[str, Any]]) -> Section:
    names = next(iter(rows.values()), {})
    columns = (first, *(name.replace("_", " ") for name in names))
    return Section(title, columns, tuple((key, *(row[name] for name in names)) for key, row in rows.items()))
