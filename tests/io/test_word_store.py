from __future__ import annotations

from pathlib import Path

import numpy as np

from webclean.io.word_store import WordStore


def test_words_counts_parts_and_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    with WordStore(folder) as store:
        store.add_part([("cat", "dog"), (), ("dog", "eel")])
        store.add_part([])
        store.add_part([("eel",), ("fox", "cat")])
        assert store.words == ["cat", "dog", "eel", "fox"]
        assert list(store.counts) == [2, 2, 2, 1]
        assert store.num_texts == 5
        parts = [[values.tolist() for values in store.part(index)] for index in (2, 0, 1)]
        assert parts == [[[2, 3, 0], [1, 2]], [[0, 1, 1, 2], [2, 0, 2]], [[], []]]
        store.write_vectors((np.full((2, 3), i) for i in range(2)), dim=3)
        vectors = store.vectors(np.array([3, 0, 3]))
        assert vectors.dtype == np.float32
        assert vectors.tolist() == [[1] * 3, [0] * 3, [1] * 3]
    assert not folder.exists()


def test_no_words(tmp_path: Path) -> None:
    with WordStore(tmp_path) as store:
        store.add_part([(), ()])
        store.write_vectors([], dim=4)
        assert store.vectors(np.zeros(0, dtype=np.int64)).shape == (0, 4)
        assert store.part(0)[1].tolist() == [0, 0]
