"""The words of a crawl: each distinct one once in memory, the words of each image and their vectors in files."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_WORDS_FILE: Final = "words.i32"
_VECTORS_FILE: Final = "vectors.f32"


class WordStore:
    """Words of texts by number; memory holds the vocabulary, some 150 bytes a word.

    Attributes:
        words: the distinct words, by number.
        counts: of texts that have each word.
        num_texts: texts added.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number_of: dict[str, int] = {}
        self.words: list[str] = []
        self.counts = array("q")
        self.num_texts = 0
        self._places: list[tuple[int, NDArray[np.int32]]] = []  # of each part: where it begins, words a text
        self._end = 0
        self._file = (folder / _WORDS_FILE).open("w+b")
        self._vectors_WD: NDArray[np.float32] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors_WD = None
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_part(self, texts: Sequence[Sequence[str]]) -> None:
        """Add the texts of one part, each with its distinct words."""
        numbers = array("i")
        for text in texts:
            for word in text:
                number = self._number_of.get(word)
                if number is None:
                    number = self._number_of[word] = len(self.words)
                    self.words.append(word)
                    self.counts.append(0)
                self.counts[number] += 1
                numbers.append(number)
        self.num_texts += len(texts)
        self._places.append((self._end, np.asarray([len(text) for text in texts], dtype=np.int32)))
        self._file.seek(self._end)
        self._file.write(numbers.tobytes())
        self._end = self._file.tell()

    def part(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Numbers of the words of part `index`, text after text, and how many each text has; both int32."""
        start, length_N = self._places[index]
        self._file.seek(start)
        data = self._file.read(int(length_N.sum()) * array("i").itemsize)
        return np.frombuffer(data, dtype=np.int32), length_N

    def write_vectors(self, blocks: Iterable[NDArray[np.float32]], dim: int) -> None:
        """Write the vectors of all words in the order of their numbers: blocks of rows (B, D), with D `dim`."""
        path = self._folder / _VECTORS_FILE
        with path.open("wb") as file:
            for block_BD in blocks:
                file.write(np.ascontiguousarray(block_BD, dtype=np.float32).tobytes())
        shape = (len(self.words), dim)
        self._vectors_WD = (
            np.memmap(path, dtype=np.float32, mode="r", shape=shape)
            if self.words
            else np.zeros(shape, np.float32)
        )

    def vectors(self, number_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of the words of these numbers, (B, D), once they are written."""
        assert self._vectors_WD is not None
        return np.asarray(self._vectors_WD[number_B])
