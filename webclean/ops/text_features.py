"""Sparse features of a crawl's own text: hashed character n-grams, weighted by TF-IDF.

Character n-grams need no dictionary and no language, and read through the words run together in URLs.
Each field is hashed with a prefix of its own, so that a word in a title and in a URL can mean different
things. Hashing keeps memory flat whatever the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_HASHED = 2**18  # columns: collisions are rare below a million distinct n-grams
NGRAMS = (3, 5)


def count_ngrams(fields: Sequence[Sequence[str]], dtype: Any = np.float64) -> Any:
    """How often each hashed n-gram stands in several fields of N texts, CSR (N, NUM_HASHED).

    Args:
        fields: each a list of N strings, "" where an image lacks the field.
        dtype: of the counts.

    Raises:
        ValueError: no field, or fields of different length.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    if not fields or len({len(field) for field in fields}) != 1:
        raise ValueError("text features need fields of one length")
    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=NGRAMS, n_features=NUM_HASHED, alternate_sign=False, norm=None,
        dtype=dtype,
    )  # fmt: skip
    total = None
    for number, field in enumerate(fields):
        counts = hashing.transform([text.casefold() for text in field])
        # The same n-gram of another field goes to another column: a fixed shift, no second table.
        counts.indices = (counts.indices + number * 97_003) % NUM_HASHED
        counts.has_sorted_indices = False
        counts.sum_duplicates()
        total = counts if total is None else total + counts
    return total


@dataclass(frozen=True)
class Rarity:
    """Inverse document frequency of each column, learnt from some texts, float64 (NUM_HASHED,)."""

    idf_D: NDArray[np.float64]

    @classmethod
    def of(cls, counts: Any, num_texts: float | None = None) -> Rarity:
        """From the counts of these texts: log((1 + N) / (1 + texts that have it)) + 1; N may count empty ones too."""
        num_D = np.bincount(counts.indices, minlength=counts.shape[1])
        num = counts.shape[0] if num_texts is None else num_texts
        return cls(np.log((1.0 + num) / (1.0 + num_D)) + 1.0)

    def weigh(self, counts: Any) -> Any:
        """TF-IDF rows of norm 1, or 0 where all fields are empty; the counts are overwritten."""
        from sklearn.preprocessing import normalize

        counts.data = ((np.log(counts.data) + 1.0) * self.idf_D[counts.indices]).astype(counts.dtype)
        return normalize(counts, copy=False)


def text_features(fields: Sequence[Sequence[str]]) -> Any:
    """TF-IDF rows of several fields of N texts, rare n-grams among these texts weighing more.

    Args:
        fields: each a list of N strings, "" where an image lacks the field.

    Returns:
        scipy CSR float64 (N, NUM_HASHED), rows of norm 1, or 0 where all fields are empty.

    Raises:
        ValueError: no field, or fields of different length.
    """
    counts = count_ngrams(fields)
    return Rarity.of(counts).weigh(counts)
