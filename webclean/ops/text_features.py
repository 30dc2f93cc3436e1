"""Sparse features of a crawl's own text: hashed character n-grams, weighted by TF-IDF.

Character n-grams need no dictionary and no language, and read through the words run together in URLs.
Each field is hashed with a prefix of its own, so that a word in a title and in a URL can mean different
things. Hashing keeps memory flat whatever the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NUM_HASHED = 2**18  # columns: collisions are rare below a million distinct n-grams
NGRAMS = (3, 5)


def text_features(fields: Sequence[Sequence[str]]) -> Any:
    """TF-IDF rows of several fields of N texts.

    Args:
        fields: each a list of N strings, "" where an image lacks the field.

    Returns:
        scipy CSR float64 (N, NUM_HASHED), rows of norm 1, or 0 where all fields are empty.

    Raises:
        ValueError: no field, or fields of different length.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.preprocessing import normalize

    if not fields or len({len(field) for field in fields}) != 1:
        raise ValueError("text features need fields of one length")
    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=NGRAMS, n_features=NUM_HASHED, alternate_sign=False, norm=None
    )
    total = None
    for number, field in enumerate(fields):
        counts = hashing.transform([text.casefold() for text in field])
        # The same n-gram of another field goes to another column: a fixed shift, no second table.
        counts.indices = (counts.indices + number * 97_003) % NUM_HASHED
        counts.has_sorted_indices = False
        counts.sum_duplicates()
        total = counts if total is None else total + counts
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(total)
    return normalize(weighted, copy=False)
