"""Features of every usable image from a frozen, label-free backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from webclean import schema
from webclean.config import FeaturesConfig
from webclean.io import tables
from webclean.stages import aside, known_features, space
from webclean.stages.base import Context, Counts, committed
from webclean.stages.known_features import NOT_KNOWN, KnownFeatures
from webclean.stages.rows import is_usable, not_usable

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

TASK_IMAGES = 64  # images of one task: whole batches, and a step of the progress bar every second or two
NO_FEATURES = "none"
_VALUE_BYTES = 4  # float32, which no packing makes smaller


def source_fingerprint(config: FeaturesConfig) -> str:
    """Network and weights that these settings lead to on this machine: other weights make features stale.

    Raises:
        ConfigError, DependencyMissingError, ArtifactInvalidError: as `nn.backbones.resolve`.
    """
    from webclean.nn import backbones

    spec = backbones.resolve(config.backbone, config.weights)
    return f"{spec.name} {spec.sha256}"


def check(config: FeaturesConfig, context: Context) -> None:
    """Keep the set that stands where its vectors can be taken over."""
    artefact = schema.features_path(config.name)
    if context.force:
        aside.forget(context.run, known_features.FOLDER)
    elif known_features.is_same(config, source_fingerprint(config), committed(context.run, artefact)):
        aside.keep(context.run, artefact, known_features.FOLDER)


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
    total = tables.num_rows(context.run, schema.IMAGES)
    left_out = not_usable(context.run)
    usable = total - sum(left_out.values())
    context.result |= {
        "features": NO_FEATURES if not spec.has_weights else config.name,
        "backbone": spec.name,
        "weights": spec.source,
        "weights_sha256": spec.sha256,
        "label_free": True,
    }
    if not spec.has_weights:
        aside.forget(context.run, known_features.FOLDER)
        context.note("features: none, so images are judged by small networks trained on this crawl alone")
        return Counts(total=total, forwarded=0, dropped=left_out | {"no_weights": usable})
    with context.progress(total=usable, unit="images", label="features") as bar:
        context.result["dim"] = _write(config, context, spec, usable, bar.advance)
    aside.forget(context.run, known_features.FOLDER)
    return Counts(total=total, forwarded=usable, dropped=left_out)


def _write(config: FeaturesConfig, context: Context, spec: Any, usable: int, advance: Any) -> int:
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
    space.require(context, usable * dim * _VALUE_BYTES, f"features of {usable:,} images, {dim} numbers each,")
    known = _known(config, context, dim)
    images = tables.part_names(context.run, schema.IMAGES)
    todo = []  # numbers of parts; what they hold is read when it is wanted
    for index, name in enumerate(images):
        if tables.has_part(context.run, artefact, index):
            advance(len(_usable(context, name)))
        else:
            todo.append(index)
    places: dict[int, NDArray[np.int64]] = {}  # of known vectors, of each part
    if known is not None:
        for index in todo:
            places[index] = known.find(_strings(_usable(context, images[index]), schema.IMAGE_ID))

    def locations(index: int) -> list[str]:
        return _strings(_usable(context, images[index]), schema.URI)

    if known is not None and not _agree(
        known, places, locations, lambda some: next(iter(engine.map(extract, [some])))
    ):
        context.note("features: vectors differ from those of before to the last bit; all are computed anew")
        known, places = None, {}

    def unknown(index: int, num: int) -> NDArray[np.int64]:
        """Rows of a part to compute."""
        return np.flatnonzero(places[index] == NOT_KNOWN) if index in places else np.arange(num)

    def tasks() -> Iterator[list[str]]:
        for index in todo:
            uris = locations(index)
            rows = unknown(index, len(uris))
            for start in range(0, len(rows), TASK_IMAGES):
                yield [uris[row] for row in rows[start : start + TASK_IMAGES]]

    results = engine.map(extract, tasks())
    num_known = 0
    for index in todo:
        image_ids = _strings(_usable(context, images[index]), schema.IMAGE_ID)
        rows = unknown(index, len(image_ids))
        features_ND = np.empty((len(image_ids), dim), dtype=np.float32)
        if known is not None:
            is_known_N = places[index] != NOT_KNOWN
            features_ND[is_known_N] = known.take(places[index][is_known_N])
            num_known += int(is_known_N.sum())
            advance(int(is_known_N.sum()))
        for start in range(0, len(rows), TASK_IMAGES):
            features_ND[rows[start : start + TASK_IMAGES]] = next(results)  # type: ignore[assignment]
            advance(len(rows[start : start + TASK_IMAGES]))
        tables.write_part(
            context.run,
            artefact,
            index,
            {schema.IMAGE_ID: image_ids, schema.VECTOR: _fixed_lists(features_ND)},
            table,
        )
    if num_known:
        context.note(
            f"features: {num_known} vectors are taken over, their images have the same content still"
        )
    return dim


def _known(config: FeaturesConfig, context: Context, dim: int) -> KnownFeatures | None:
    """The vectors that were kept aside, by this run of the stage or one that was killed."""
    kept = aside.Aside(context.run, known_features.FOLDER)
    if not known_features.is_same(config, source_fingerprint(config), kept.record):
        return None
    return KnownFeatures(kept, dim)


def _agree(
    known: KnownFeatures,
    places: dict[int, NDArray[np.int64]],
    locations: Callable[[int], list[str]],
    extract: Callable[[list[str]], Any],
) -> bool:
    """Whether vectors computed now, in other company, are those of before to the last bit.

    On the machines that this was tried on a network's answer for one image does not depend on the others of
    its batch. Nothing promises that, so it is seen to before it is relied on.
    """
    todo = list(places)
    some = [(todo[part], row) for part, row in known_features.sample(list(places.values()))]
    if not some:
        return True
    uris = {index: locations(index) for index in {index for index, _ in some}}
    now = extract([uris[index][row] for index, row in some])
    then = known.take(np.array([places[index][row] for index, row in some]))
    return bool(np.array_equal(now, then))


def _usable(context: Context, name: str) -> pa.Table:
    """Ids and uris of the usable images of one part of `images`."""
    columns = (schema.IMAGE_ID, schema.URI, schema.STATUS)
    part = tables.read_part(context.run, schema.IMAGES, name, schema.IMAGES_TABLE, columns)
    return part.filter(is_usable(part))


def _strings(part: pa.Table, column: str) -> list[str]:
    values: list[str] = part.column(column).to_pylist()
    return values


def _fixed_lists(features_ND: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(features_ND.reshape(-1)), features_ND.shape[1])
