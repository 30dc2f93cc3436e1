"""Choosing one sense of each category name, so that the chosen ones speak of the same things.

Legend: C categories, S senses of all categories one after the other, D dims.

Relaxation labelling (Rosenfeld, Hummel & Zucker, 1976): every category holds a distribution over its senses;
in each step a sense is supported by how alike it is to the senses that the other categories hold at the moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Fixed on 110 ambiguous names of 19 sets (CIFAR-10, Clothing1M, Caltech objects, sports, clothes, animals, tools,
# food, scenes and others): 103 right, where the first sense is right for 75; level between 0.04 and 0.08.
RARE_PENALTY: Final = 0.06  # times log(1 + place of the sense); WordNet lists frequent senses first
TEMPERATURE: Final = 0.05
_STEPS: Final = 20


def choose_senses(
    similarity_SS: NDArray[np.float64],
    context_S: NDArray[np.float64],
    sizes_C: Sequence[int],
    settled_C: Sequence[int | None],
) -> list[int]:
    """Index of the chosen sense inside each category; -1 where a category has none.

    Args:
        similarity_SS: how alike two senses are, from glosses and the is-a graph; any finite scale near 1.
        context_S: support from elsewhere: a category's own name and queries.
        sizes_C: number of senses of each category, in the order of the rows of `similarity_SS`; may be 0.
        settled_C: index of the sense that is certain, None where it is open.

    Raises:
        ValueError: shapes that do not fit together.
    """
    start_C = np.concatenate(([0], np.cumsum(sizes_C)))
    num_senses = int(start_C[-1])
    if similarity_SS.shape != (num_senses, num_senses) or context_S.shape != (num_senses,):
        raise ValueError(f"{num_senses} senses, but matrices of {similarity_SS.shape} and {context_S.shape}")
    owner_S = np.repeat(np.arange(len(sizes_C)), sizes_C)
    place_S = np.arange(num_senses) - start_C[owner_S]
    others = max(1, int(np.count_nonzero(sizes_C)) - 1)
    support_SS = np.where(owner_S[:, None] == owner_S[None, :], 0.0, similarity_SS) / others
    base_S = context_S - RARE_PENALTY * np.log1p(place_S)
    held_S = np.zeros(num_senses)
    for category, (size, settled) in enumerate(zip(sizes_C, settled_C, strict=True)):
        span = slice(start_C[category], start_C[category + 1])
        held_S[span] = 1.0 / max(size, 1)
        if settled is not None:
            held_S[span] = np.arange(size) == settled
    open_C = [
        c for c, (size, done) in enumerate(zip(sizes_C, settled_C, strict=True)) if size and done is None
    ]
    for _ in range(_STEPS):
        score_S = base_S + support_SS @ held_S
        for category in open_C:
            span = slice(start_C[category], start_C[category + 1])
            raised = np.exp((score_S[span] - score_S[span].max()) / TEMPERATURE)
            held_S[span] = raised / raised.sum()
    return [
        int(np.argmax(held_S[start_C[c] : start_C[c + 1]])) if sizes_C[c] else -1 for c in range(len(sizes_C))
    ]


def without_taken(names_C: Sequence[Sequence[str]], certain: AbstractSet[str]) -> list[list[str]]:
    """The senses left to each category once those that other categories hold for certain are gone; never none.

    Two categories of one crawl are two things: beside `ice hockey`, `hockey` is the one on a field.

    Args:
        names_C: sense names of each category.
        certain: senses that some category holds for certain: its only one, or the one that a person set.
    """
    left_C = []
    for names in names_C:
        left = [name for name in names if name not in certain] if len(names) > 1 else list(names)
        left_C.append(left or list(names))
    return left_C


def meaning_text(name: str, lemmas: Sequence[str], gloss: str) -> str:
    """A sense without the name that several senses share: `its other words: gloss`."""
    others = [word for word in dict.fromkeys(lemmas) if word.casefold() != name.casefold()]
    return f"{', '.join(others)}: {gloss}" if others else gloss


def category_text(name: str, queries: Sequence[str], lemmas: Sequence[str], gloss: str | None) -> str:
    """What stands for a category as text: `name: lemmas. gloss`, or its name and queries without a synset."""
    words = lemmas if gloss is not None else queries
    others = [word for word in dict.fromkeys(words) if word.casefold() != name.casefold()]
    text = f"{name}: {', '.join(others)}" if others else name
    return f"{text}. {gloss}" if gloss else text
