"""What a trainer imports: an export as a torch Dataset with weights, categories and a sampler.

data = webclean.load_manifest("OUT", split="train", transform=transform)
loader = DataLoader(data, batch_size=64, shuffle=True)
for images, labels, weights in loader:
    loss = webclean.weighted_loss(model(images), labels, weights, normalised=True)

docs/training.md has the same for the Hugging Face Trainer and for timm.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

# This module is the border to torch and is loaded only when `webclean.load_manifest` is first used.
import torch  # noqa: TID253
from torch.utils.data import Dataset, WeightedRandomSampler  # noqa: TID253

from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ConfigError
from webclean.io import decode
from webclean.io.readers import uris
from webclean.io.writers import folder
from webclean.io.writers.table_files import EMBEDDED_COLUMN, read_table
from webclean.nn.losses import weighted_cross_entropy as weighted_loss

__all__ = ["ManifestDataset", "ManifestReader", "load_manifest", "weighted_loss"]

_PATH: Final = "path"
_CATEGORY: Final = "category"
_WEIGHT: Final = "weight"
_SPLIT: Final = "split"

Item = tuple[Any, int, float]


class ManifestDataset(Dataset[Item]):
    """Images of an export: (PIL RGB image or what `transform` made of it, class index, weight).

    Images are upright (EXIF) and RGB, transparency over white. Class index i is `categories[i]`; the
    categories are those of the run in their order, so that every export of it numbers them alike.
    """

    categories: tuple[str, ...]
    """Names of the classes, by class index."""
    paths: tuple[str, ...]
    """Where each image is: relative to the export's folder, or the source's own location."""
    labels: torch.Tensor
    """Class index of each image, int64 (N,)."""
    weights: torch.Tensor
    """Weight of each image, float64 (N,)."""
    is_inside: bool
    """Whether the images lie in the export; `paths` are relative to its folder then."""

    def __init__(
        self,
        out: str | os.PathLike[str],
        split: str | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.folder = Path(out)
        manifest = _read_manifest(self.folder)
        table = read_table(self.folder / manifest["table"])
        if split is not None and split not in manifest["splits"]:
            raise ConfigError(
                f"{self.folder} has no split {split!r}",
                hint=f"it has: {', '.join(manifest['splits']) or 'none'}",
            )
        self.transform = transform
        self.categories = tuple(manifest["categories"])
        index_of = {name: i for i, name in enumerate(self.categories)}
        splits = table.column(_SPLIT).to_pylist()
        self._rows = [i for i, own in enumerate(splits) if split is None or own == split]
        paths, names = table.column(_PATH).to_pylist(), table.column(_CATEGORY).to_pylist()
        weights = table.column(_WEIGHT).to_pylist()
        self.paths = tuple(paths[i] for i in self._rows)
        self.labels = torch.tensor([index_of[names[i]] for i in self._rows], dtype=torch.int64)
        self.weights = torch.tensor([float(weights[i]) for i in self._rows], dtype=torch.float64)
        self.is_inside = manifest["images"] != "none"
        self._embedded_in = (
            uris.of_path(str(self.folder / manifest["table"])) if manifest["embedded"] else None
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        image = decode.open_rgb(self._bytes(index))
        shown = image if self.transform is None else self.transform(image)
        return shown, int(self.labels[index]), float(self.weights[index])

    def _bytes(self, index: int) -> bytes:
        path = self.paths[index]
        try:
            if self._embedded_in is not None:
                return uris.read_bytes(uris.of_row(self._embedded_in, self._rows[index], EMBEDDED_COLUMN))
            return (self.folder / path).read_bytes() if self.is_inside else uris.read_bytes(path)
        except OSError as error:
            raise ArtifactMissingError(
                f"{path} cannot be read: {error.strerror or error}",
                context=f"image {index} of {self.folder}",
                hint=f"`webclean verify {self.folder}` lists what is gone; then export again",
            ) from error

    @staticmethod
    def collate(items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """A batch for the Hugging Face Trainer: `pixel_values`, `labels` and `weights`.

        Args:
            items: what the dataset gives, its `transform` having made tensors of the images.
        """
        images, labels, weights = zip(*items, strict=True)
        return {
            "pixel_values": torch.stack(images),
            "labels": torch.tensor(labels),
            "weights": torch.tensor(weights, dtype=torch.float32),
        }

    def reader(self) -> ManifestReader:
        """The same images as a reader for `timm.data.ImageDataset`."""
        return ManifestReader(self)

    def sampler(self, seed: int, *, balanced: bool = True) -> WeightedRandomSampler:
        """Draws len(self) images an epoch with replacement, in proportion to their weights.

        Balanced, every category is drawn equally often and the weights choose inside it (the rule of the
        two-stage method); otherwise the weights alone decide and large categories stay large. The sampler
        uses up the weights: a loss over its draws must not multiply by them again.

        Args:
            seed: of the draws; the same seed gives the same epochs.
            balanced: whether categories are drawn equally often.

        Raises:
            ConfigError: there is no image of positive weight.
        """
        weights = self.weights
        if balanced:
            sums = torch.zeros(len(self.categories), dtype=torch.float64).index_add_(0, self.labels, weights)
            weights = torch.where(weights > 0, weights / sums[self.labels], 0.0)
        if not bool((weights > 0).any()):
            raise ConfigError(f"{self.folder} has no image of positive weight to draw")
        generator = torch.Generator().manual_seed(seed)
        return WeightedRandomSampler(weights.tolist(), len(self), replacement=True, generator=generator)


class ManifestReader:
    """What timm asks of a reader: an open file and a class index by position, and the names of the files.

    timm numbers classes by the names of folders; here index i is `categories[i]` of the export.
    """

    def __init__(self, data: ManifestDataset) -> None:
        self._data = data
        self.class_to_idx = {name: i for i, name in enumerate(data.categories)}

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        return io.BytesIO(self._data._bytes(index)), int(self._data.labels[index])

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """Where an image is, as `ManifestDataset.paths` has it, by its last part, or from the root of the disk."""
        path = self._data.paths[index]
        if basename:
            return os.path.basename(path)
        return os.path.abspath(self._data.folder / path) if absolute and self._data.is_inside else path

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """`filename` of every image."""
        return [self.filename(index, basename, absolute) for index in range(len(self))]


def load_manifest(
    out: str | os.PathLike[str],
    split: str | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> ManifestDataset:
    """Open what `webclean export RUN OUT` wrote, whichever its shape, as a torch Dataset.

    Args:
        out: the folder OUT.
        split: only the images of this split; None for all.
        transform: applied to each PIL RGB image.

    Raises:
        ArtifactMissingError: the folder is no export.
        ArtifactInvalidError: its manifest cannot be read.
        ConfigError: it has no such split.
    """
    return ManifestDataset(out, split, transform)


def _read_manifest(out: Path) -> dict[str, Any]:
    path = out / folder.MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactMissingError(
            f"{path} does not exist", hint="give the folder that `webclean export RUN OUT` wrote"
        ) from error
    except ValueError as error:
        raise ArtifactInvalidError(f"{path} is not JSON: {error}") from error
    if not folder.is_ours(out):
        raise ArtifactInvalidError(f"{path} was not written by `{folder.PROGRAM}`")
    return dict(manifest)
