"""Features of every usable image from a frozen, label-free backbone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from webclean import schema
from webclean.config import FeaturesConfig
from webclean.io import tables
from webclean.stages.base import Context, Counts
from webclean.stages.rows import not_usable

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASK_IMAGES = 64  # images of one task: whole batches, and a step of the progress bar every second or two
NO_FEATURES = "none"


def source_fingerprint(config: FeaturesConfig) -> str:
    """Network and weights that these settings lead to on this machine: other weights make features stale.

    Raises:
        ConfigError, DependencyMissingError, ArtifactInvalidError: as `nn.backbones.resolve`.
    """
    from webclean.nn import backbones

    spec = backbones.resolve(config.backbone, config.weights)
    return f"{spec.name} {spec.sha256}"


def run(config: FeaturesConfig, context: Context) -> Counts:
    """Write features/<name>: one vector per image of status ok, in parts that match those of `images`.

    Without pretrained weights nothing is written, and the result says so: random features judge nothing.

    Raises:
        ConfigError, DependencyMissingError, ArtifactInvalidError: as `nn.backbones.resolve`.
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    from webclean.nn import backbones

    spec = backbones.resolve(config.backbone, config.weights)
    context.note(f"features: {spec}")
    statuses = tables.read(context.run, schema.IMAGES, schema.IMAGES_TABLE, (schema.STATUS,))
    usable = statuses.column(schema.STATUS).to_pylist().count(schema.STATUS_OK)
    left_out = not_usable(context.run)
    context.result |= {
        "features": NO_FEATURES if not spec.has_weights else config.name,
        "backbone": spec.name,
        "weights": spec.source,
        "weights_sha256": spec.sha256,
        "label_free": True,
    }
    if not spec.has_weights:
        context.note("features: none, so images are judged by small networks trained on this crawl alone")
        return Counts(total=statuses.num_rows, forwarded=0, dropped=left_out | {"no_weights": usable})
    with context.progress(total=usable, unit="images", label="features") as bar:
        context.result["dim"] = _write(config, context, spec, bar.advance)
    return Counts(total=statuses.num_rows, forwarded=usable, dropped=left_out)


def _write(config: FeaturesConfig, context: Context, spec: Any, advance: Any) -> int:
    """Compute and write the parts that are not there yet; returns the length of a vector."""
    from webclean.engines.local import InlineEngine
    from webclean.nn import backbones, features
    from webclean.nn.threads import default_device

    dim = backbones.build(spec, pretrained=spec.name.startswith("st/")).features_dim(config.layers)
    table = schema.features_table(dim)
    artefact = schema.features_path(config.name)
    # One GPU is filled by one process; many would only share it.
    engine = InlineEngine() if default_device().type == "cuda" else context.engine
    extract = partial(
        features.extract,
        spec=spec,
        fit=config.fit,
        layers=config.layers,
        flip=config.flip,
        precision=config.precision,
    )
    pending = []
    for index, (image_ids, locations) in enumerate(_usable_parts(context)):
        if tables.has_part(context.run, artefact, index):
            advance(len(image_ids))
        else:
            pending.append((index, image_ids, locations))
    tasks = (
        locations[start : start + TASK_IMAGES]
        for _, _, locations in pending
        for start in range(0, len(locations), TASK_IMAGES)
    )
    results = engine.map(extract, tasks)
    for index, image_ids, _ in pending:
        vectors: list[NDArray[np.float32]] = []
        for _ in range(0, len(image_ids), TASK_IMAGES):
            vectors.append(next(results))  # type: ignore[arg-type]
            advance(len(vectors[-1]))
        features_ND = np.concatenate(vectors) if vectors else np.empty((0, dim), dtype=np.float32)
        tables.write_part(
            context.run,
            artefact,
            index,
            {schema.IMAGE_ID: image_ids, schema.VECTOR: _fixed_lists(features_ND)},
            table,
        )
    return dim


def _usable_parts(context: Context) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and uris of the usable images of each part of `images`."""
    columns = (schema.IMAGE_ID, schema.URI, schema.STATUS)
    for part in tables.iter_parts(context.run, schema.IMAGES, schema.IMAGES_TABLE, columns):
        rows = [row for row in part.to_pylist() if row[schema.STATUS] == schema.STATUS_OK]
        yield [row[schema.IMAGE_ID] for row in rows], [row[schema.URI] for row in rows]


def _fixed_lists(features_ND: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(features_ND.reshape(-1)), features_ND.shape[1])
