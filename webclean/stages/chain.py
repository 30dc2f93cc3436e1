"""The chain on one screen: every stage, what it reads and what it writes. Imports nothing heavy.

A name in braces is a field of the stage's config, one artefact for each where it has several values; `{previous}` is the round before, and an input
that names it drops out of the first round. `?` marks an input that is used where it is there.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stage:
    """One link: a module with `run(config, context)`, its inputs and its outputs."""

    name: str
    module: str
    command: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    draws: bool = False
    """Whether the stage draws random numbers; another seed makes only such stages run again."""

    def inputs(self, config: Any) -> dict[str, bool]:
        """Artefact -> whether it is required, for this config."""
        found: dict[str, bool] = {}
        for template in self.reads:
            for path in _filled(template.rstrip("?"), config):
                found[path] = not template.endswith("?")
        return found

    def outputs(self, config: Any) -> tuple[str, ...]:
        """Artefacts written, for this config."""
        return tuple(path for template in self.writes for path in _filled(template, config))


def _filled(template: str, config: Any) -> list[str]:
    """The paths that a template stands for: none where a field is not set, one for each value of a field of many."""
    values: dict[str, Any] = {}
    for _, field, _, _ in string.Formatter().parse(template):
        if field == "previous":
            if config.round <= 1:
                return []
            values[field] = config.round - 1
        elif field is not None:
            values[field] = getattr(config, field)
            if values[field] is None:
                return []
    many = next((field for field, value in values.items() if isinstance(value, tuple)), None)
    if many is None:
        return [template.format(**values)]
    return [template.format(**values | {many: value}) for value in values[many]]


CHAIN = (
    Stage("ingest", "webclean.stages.ingest", "ingest", (), ("images", "categories")),
    Stage("dedup", "webclean.stages.dedup", "ingest", ("images",), ("duplicates",)),
    Stage("quality", "webclean.stages.quality", "ingest", ("images", "duplicates"), ("quality",)),
    Stage("attach", "webclean.stages.attach", "attach", ("images",), ("attached/{name}",)),
    Stage("features", "webclean.stages.features", "weight", ("images",), ("features/{name}",)),
    Stage(
        "similarity",
        "webclean.stages.similarity",
        "weight",
        ("categories",),
        ("category_senses", "category_similarity", "category_neighbors"),
    ),
    Stage(
        "text",
        "webclean.stages.text",
        "weight",
        ("images", "categories", "category_senses", "category_similarity", "category_neighbors"),
        ("text",),
    ),
    Stage(
        "judge-text",
        "webclean.stages.judge_text",
        "weight",
        ("images", "categories", "duplicates", "beliefs/r{previous}"),
        ("predictions/text-r{round}",),
        draws=True,
    ),
    Stage(
        "judge-image",
        "webclean.stages.judge_image",
        "weight",
        ("images", "categories", "duplicates", "features/{features}", "beliefs/r{previous}"),
        ("predictions/image-r{round}", "inside/image-r{round}"),
        draws=True,
    ),
    Stage(
        "judge-model",
        "webclean.stages.judge_model",
        "weight",
        ("images", "models/{model}/predictions"),
        ("predictions/image-r{round}", "inside/image-r{round}"),
    ),
    Stage(
        "judge-neighbors",
        "webclean.stages.judge_neighbors",
        "weight",
        (
            "images",
            "categories",
            "duplicates",
            "features/{features}",
            "beliefs/r{previous}",
            "predictions/neighbors-r{previous}?",
        ),
        ("predictions/neighbors-r{round}",),
    ),
    Stage(
        "believe",
        "webclean.stages.believe",
        "weight",
        (
            "images",
            "categories",
            "duplicates",
            "predictions/image-r{round}?",
            "predictions/neighbors-r{round}?",
        ),
        ("beliefs/r{round}",),
    ),
    Stage(
        "stage1",
        "webclean.stages.stage1",
        "weight",
        (
            "images",
            "categories",
            "duplicates",
            "category_neighbors",
            "text?",
            "predictions/text-r1?",
            "features/{prototype_features}",
        ),
        ("weights/r{round}/stage1",),
    ),
    Stage(
        "stage2",
        "webclean.stages.stage2",
        "weight",
        (
            "images",
            "categories",
            "category_senses",
            "category_similarity",
            "weights/r{round}/stage1",
            "predictions/image-r{round}?",
            "inside/image-r{round}?",
            "features/{clip_features}",
            "beliefs/r{round}",
        ),
        ("weights/r{round}/stage2",),
    ),
    Stage(
        "train",
        "webclean.stages.train",
        "train",
        ("images", "categories", "duplicates", "weights/r{round}/stage1", "weights/r{round}/stage2"),
        ("models/{name}", "models/{name}/predictions", "models/{name}/rois", "models/{name}/memory"),
        draws=True,
    ),
    Stage(
        "decide",
        "webclean.stages.decide",
        "weight",
        (
            "images",
            "categories",
            "duplicates",
            "text?",
            "predictions/text-r{text_round}?",
            "predictions/image-r{round}?",
            "predictions/neighbors-r{round}?",
            "weights/r{round}/stage1?",
            "weights/r{round}/stage2?",
            "models/{model}/predictions?",
            "attached/{attached}",
        ),
        ("decisions/{name}",),
        draws=True,
    ),
)

BY_NAME = {stage.name: stage for stage in CHAIN}


def writer_of(artefact: str) -> Stage | None:
    """The stage that writes an artefact, by the shape of its path."""
    for stage in CHAIN:
        for template in stage.writes:
            if _matches(template, artefact):
                return stage
    return None


def _matches(template: str, artefact: str) -> bool:
    import re

    pattern = "".join(
        re.escape(text) + ("[^/]+" if field is not None else "")
        for text, field, _, _ in string.Formatter().parse(template)
    )
    return re.fullmatch(pattern, artefact) is not None
