"""ROI features of a frozen backbone, computed once, reduced and kept as a memory map in the run's scratch folder.

One pass of the backbone an image; what training reads afterwards is N x R x E half floats on disk, so its
memory does not grow with the crawl.

# N images, R ROIs of an image, D dims of the map, E dims kept, S side in pixels
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from webclean.io import pixels
from webclean.io.run_dir import RunDir
from webclean.nn import backbones
from webclean.nn.backbones import Backbone, BackboneSpec
from webclean.nn.roi_features import Reducer, roi_features
from webclean.nn.threads import default_device, repeatable

TASK_IMAGES = 64
SAMPLE_IMAGES = 1024  # evenly spread; they fix mean, spread and directions of largest variance
_BATCH_CPU, _BATCH_CUDA = 8, 64

MapItems = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class RoiCache:
    """The cached features and how they were reduced.

    Attributes:
        features_NRE: float16 memory map.
        reducer: the projection from the backbone's D to E.
    """

    features_NRE: NDArray[np.float16]
    reducer: Reducer


def roi_cache(
    run: RunDir,
    image_ids: Sequence[str],
    locations: Sequence[str],
    *,
    spec: BackboneSpec,
    side: int,
    rois_R4: NDArray[np.float64],
    dim: int,
    map_items: MapItems = map,
    advance: Callable[[int], None] = lambda steps: None,
) -> RoiCache:
    """Features of all ROIs of all images; made once, taken up where it was killed.

    Args:
        image_ids: ids of the images, which name the content.
        locations: their uris.
        spec: a backbone with weights.
        side: side of the square that an image becomes, pixels.
        rois_R4: xyxy shares, row 0 the whole image.
        dim: E; at most the backbone's D.
        map_items: how tasks are spread over workers (`engine.map`).
        advance: told how many images are done.

    Raises:
        ArtifactStaleError: a file is gone or cannot be decoded any more.
    """
    key = json.dumps(
        [spec.name, spec.sha256, side, rois_R4.tolist(), dim, default_device().type, list(image_ids)]
    )
    folder = run.scratch("rois") / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    num = len(image_ids)
    sample = np.unique(np.linspace(0, num - 1, min(num, SAMPLE_IMAGES)).round().astype(np.int64))
    rest = np.setdiff1d(np.arange(num), sample)
    boxes = tuple(map(tuple, rois_R4.tolist()))
    extract = partial(extract_rois, spec=spec, side=side, rois=boxes)
    reduced, fixed, mark = folder / "features.npy", folder / "reducer.npz", folder / "done.json"
    shape = (num, len(rois_R4), dim)

    if not fixed.exists():
        chunks = list(map_items(extract, _tasks(sample, locations, advance)))
        raw_NRD = np.concatenate(chunks)
        reducer = Reducer(raw_NRD.shape[2], dim)
        reducer.fit(raw_NRD[:, 0].astype(np.float32))
        mapped = np.lib.format.open_memmap(reduced, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(sample), TASK_IMAGES):
            mapped[sample[start : start + TASK_IMAGES]] = _reduce(
                reducer, raw_NRD[start : start + TASK_IMAGES]
            )
        mapped.flush()
        mark.unlink(missing_ok=True)
        _write_whole(fixed, reducer)
    else:
        advance(len(sample))
    reducer = _read_reducer(fixed)
    done = int(json.loads(mark.read_text())) if mark.exists() else 0
    if done < len(rest):
        advance(done)
        mapped = np.lib.format.open_memmap(reduced, mode="r+")
        todo = rest[done:]
        values = tuple(value.numpy() for value in reducer.state_dict().values())
        tasks = _tasks(todo, locations, lambda steps: None)
        for features_BRE in map_items(partial(extract, reduce_by=values), tasks):
            mapped[rest[done : done + len(features_BRE)]] = features_BRE
            mapped.flush()
            done += len(features_BRE)
            _write_text(mark, str(done))
            advance(len(features_BRE))
        del mapped
    return RoiCache(np.load(reduced, mmap_mode="r"), reducer)


def _tasks(
    images: NDArray[np.int64], locations: Sequence[str], advance: Callable[[int], None]
) -> Iterator[list[str]]:
    for start in range(0, len(images), TASK_IMAGES):
        chunk = images[start : start + TASK_IMAGES]
        yield [locations[i] for i in chunk]
        advance(len(chunk))


def extract_rois(
    locations: Sequence[str],
    *,
    spec: BackboneSpec,
    side: int,
    rois: tuple[tuple[float, ...], ...],
    reduce_by: tuple[NDArray[np.float32], ...] | None = None,
) -> NDArray[np.float16]:
    """ROI features of the images at these uris: a task for any engine, the same bytes in any process.

    Args:
        reduce_by: the values of a `Reducer`'s state; None leaves the features as the backbone gives them.

    Returns:
        float16 (N, R, E), or (N, R, D) unreduced.
    """
    device = default_device()
    with repeatable(num_threads=1, seed=0):
        backbone = _backbone(spec, str(device))
        squares_NSSC = pixels.load_squares(locations, side=side)
        features = pooled_rois(backbone, squares_NSSC, np.array(rois), device)
        if reduce_by is None:
            return features.astype(np.float16)
        reducer = Reducer(features.shape[2], reduce_by[2].shape[1])
        reducer.load_state_dict(
            dict(zip(reducer.state_dict(), map(torch.from_numpy, reduce_by), strict=True))
        )
        # Through half floats first, as the sample that the reducer was fitted on.
        return _reduce(reducer, features.astype(np.float16))


@torch.inference_mode()
def pooled_rois(
    backbone: Backbone, squares_NSSC: NDArray[np.uint8], rois_R4: NDArray[np.float64], device: torch.device
) -> NDArray[np.float32]:
    """ROI features (N, R, D) float32 in batches of one size, the last one filled up with black and cut."""
    size = _BATCH_CUDA if device.type == "cuda" else _BATCH_CPU
    boxes = torch.from_numpy(rois_R4).float().to(device)
    found = []
    for start in range(0, len(squares_NSSC), size):
        taken = squares_NSSC[start : start + size]
        full_BSSC = np.zeros((size, *squares_NSSC.shape[1:]), dtype=np.uint8)
        full_BSSC[: len(taken)] = taken
        inputs = backbone.normalize(torch.from_numpy(full_BSSC).to(device))
        found.append(roi_features(backbone.module, inputs, boxes)[: len(taken)].float().cpu().numpy())
    return np.concatenate(found)


@torch.inference_mode()
def _reduce(reducer: Reducer, features_NRD: NDArray[np.float16]) -> NDArray[np.float16]:
    reduced: NDArray[np.float16] = (
        reducer(torch.from_numpy(features_NRD.astype(np.float32))).numpy().astype(np.float16)
    )
    return reduced


@lru_cache(maxsize=1)
def _backbone(spec: BackboneSpec, device: str) -> Backbone:
    backbone = backbones.build(spec, fused=True)
    backbone.module.to(device)
    return backbone


def _write_whole(path: Path, reducer: Reducer) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **{name: value.numpy() for name, value in reducer.state_dict().items()})
    temporary.replace(path)


def _read_reducer(path: Path) -> Reducer:
    with np.load(path, allow_pickle=False) as stored:
        values = {name: torch.from_numpy(stored[name]) for name in stored.files}
    reducer = Reducer(*values["basis_DE"].shape)
    reducer.load_state_dict(values)
    return reducer


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


class CachedRows:
    """Rows of a `CachedRois` encoder: features from the memory map."""

    def __init__(self, features_NRE: NDArray[np.float16], device: torch.device) -> None:
        self.features_NRE, self.device = features_NRE, device

    def take(self, images: NDArray[np.int64], rng: np.random.Generator | None = None) -> torch.Tensor:
        """Features (B, R, E) of these images; a frozen backbone's features are not augmented."""
        return torch.from_numpy(np.asarray(self.features_NRE[images])).to(self.device)


class PixelRows:
    """Rows of a `LiveRois` encoder: normalised squares, in training mirrored and shifted at random."""

    SHIFT = 8  # by up to an eighth of the side, the border mirrored

    def __init__(self, squares_NSSC: NDArray[np.uint8], backbone: Backbone, device: torch.device) -> None:
        self.squares_NSSC, self.backbone, self.device = squares_NSSC, backbone, device

    def take(self, images: NDArray[np.int64], rng: np.random.Generator | None = None) -> torch.Tensor:
        """Inputs (B, 3, S, S) of these images."""
        squares_BSSC = np.asarray(self.squares_NSSC[images])
        if rng is not None:
            squares_BSSC = _augmented(squares_BSSC, rng, squares_BSSC.shape[1] // self.SHIFT)
        return self.backbone.normalize(torch.from_numpy(squares_BSSC).to(self.device))


def _augmented(squares_BSSC: NDArray[np.uint8], rng: np.random.Generator, reach: int) -> NDArray[np.uint8]:
    side = squares_BSSC.shape[1]
    mirror_B = rng.random(len(squares_BSSC)) < 0.5
    shift_B2 = rng.integers(0, 2 * reach + 1, size=(len(squares_BSSC), 2))
    out = np.empty_like(squares_BSSC)
    for index, square in enumerate(squares_BSSC):
        wide = np.pad(square, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        top, left = shift_B2[index]
        cut = wide[top : top + side, left : left + side]
        out[index] = cut[:, ::-1] if mirror_B[index] else cut
    return out
