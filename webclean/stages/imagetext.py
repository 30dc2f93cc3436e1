"""The match score `imagetext`: is an image nearer to the text of its category than to the others', in a CLIP model's eyes?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import FeaturesConfig, Stage2Config, WeightConfig
from webclean.errors import ArtifactStaleError, ConfigError, DependencyMissingError
from webclean.io import tables
from webclean.ops import match_scores
from webclean.stages.base import Context, committed
from webclean.stages.judged import features_dim
from webclean.stages.rows import Follow

if TYPE_CHECKING:
    import pyarrow as pa

    from webclean.stages.plan import Builder

NAME: Final = "imagetext"
"""Of --match-by, and of the set of features of the model that --clip names."""

_CLIP: Final = "st/"  # backbones with a text tower
_HINT: Final = (
    "--clip DIR: the folder of a sentence-transformers CLIP model such as clip-ViT-B-32, or --backbone st/DIR"
)


def features_config(
    settings: Builder, config: Stage2Config, general: WeightConfig, judged: FeaturesConfig
) -> FeaturesConfig | None:
    """Which features `imagetext` compares with texts: None where it is not asked for.

    Args:
        settings: what the person asked for.
        config: whose `match_by` tells whether.
        general: whose `clip` names the model.
        judged: the features that heads are fitted on, which do where their network is a CLIP model.

    Raises:
        ConfigError: no CLIP model is named, or the folder that is named holds none.
        DependencyMissingError: the named model is not on this machine and the hub is not reached.
    """
    from webclean.nn import backbones

    if config.match_by != NAME:
        return None
    if config.match_score != "expected":
        raise ConfigError(
            f"--match-by {NAME} and --match-score {config.match_score} are two scores: choose one"
        )
    if general.clip is None:
        spec = backbones.resolve(judged.backbone, judged.weights)
        if not (spec.name.startswith(_CLIP) and spec.has_weights):
            raise ConfigError(
                f"--match-by {NAME} compares images with texts and needs a CLIP model", hint=_HINT
            )
        return judged
    folder = Path(general.clip).expanduser()
    if folder.is_dir():
        if not (folder / "modules.json").is_file():
            raise ConfigError(
                f"--clip {general.clip} is not a sentence-transformers model",
                hint="the folder must hold modules.json and the model's weights",
            )
    elif general.clip.count("/") > 1 or general.clip.startswith((".", "~", "/")):
        raise ConfigError(f"--clip {general.clip}: no such folder", hint=_HINT)
    backbone = f"{_CLIP}{folder if folder.is_dir() else general.clip}"
    try:
        backbones.resolve(backbone, backbones.DEFAULT)
    except DependencyMissingError as error:
        raise DependencyMissingError(
            f"the CLIP model {general.clip} is not on this machine and cannot be downloaded",
            context=error.context or error.message,
            hint="copy its folder from a machine with a network and name it: --clip DIR",
        ) from error
    return settings.build(
        FeaturesConfig,
        name=NAME,
        backbone=backbone,
        weights=backbones.DEFAULT,
        layers="last",
        precision="float32",
    )


class ImageText:
    """Match scores from a set of features, part after part."""

    def __init__(self, ctx: Context, name: str, num_categories: int) -> None:
        from webclean.nn import backbones, clip_text

        self._ctx, self._artefact = ctx, schema.features_path(name)
        record = committed(ctx.run, self._artefact)
        assert record is not None, "an input of the stage"
        config = record["config"]
        spec = backbones.resolve(config["backbone"], config["weights"])
        if spec.sha256 != record["result"]["weights_sha256"]:
            raise ArtifactStaleError(
                f"{ctx.run.url}/{self._artefact} is of other weights than {spec.name} has now",
                hint=f"run `webclean weight {ctx.run.url}` again",
            )
        self._table = schema.features_table(features_dim(ctx.run, name))
        self._texts = clip_text.text_vectors(spec, _prompts(ctx, num_categories))
        self._rows = Follow(ctx.run, self._artefact, self._table, (schema.VECTOR,))

    def log_probability(self, vectors: pa.ChunkedArray) -> NDArray[np.float64]:
        """float64 (N, C) of a column of features."""
        flat = vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        image_ND = flat.reshape(len(vectors), -1)
        return match_scores.image_text(image_ND, self._texts.vector_CD, self._texts.scale)

    def of_part(self, name: str) -> Any:
        """Ids and vectors of one part by its name."""
        columns = (schema.IMAGE_ID, schema.VECTOR)
        return tables.read_part(self._ctx.run, self._artefact, name, self._table, columns)

    def following(
        self, image_id: pa.ChunkedArray, label_N: NDArray[np.int64], temperature: float, minimum: float
    ) -> NDArray[np.float64]:
        """Scores of the next usable images."""
        vectors = self._rows.take(image_id).column(schema.VECTOR)
        if not len(image_id):
            return np.zeros(0)
        return match_scores.label_match(
            self.log_probability(vectors), label_N, temperature=temperature, minimum=minimum
        )


def _prompts(ctx: Context, num_categories: int) -> list[str]:
    """A caption of each category, by category_id: its name and what WordNet says of it."""
    columns = (schema.CATEGORY_ID, schema.NAME, schema.GLOSS)
    texts = [""] * num_categories
    for row in tables.read(ctx.run, schema.SENSES, schema.SENSES_TABLE, columns).to_pylist():
        gloss = f", {row[schema.GLOSS]}" if row[schema.GLOSS] else ""
        texts[row[schema.CATEGORY_ID]] = f"a photo of {row[schema.NAME].replace('_', ' ')}{gloss}"
    return texts
