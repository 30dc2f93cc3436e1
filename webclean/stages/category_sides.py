"""The two sides of the category relations: places in an is-a graph, and vectors of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from webclean.config import SimilarityConfig
from webclean.errors import ConfigError
from webclean.ops import ancestry, similarity, taxonomy
from webclean.ops.taxonomy import Rows

if TYPE_CHECKING:
    from webclean.io.sentence import Encoder
    from webclean.io.wordnet import WordNet
    from webclean.stages.similarity import Sense

_SHOWN: Final = 5  # names that a message lists
_NOTHING: Final = "like no other category"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the blend.

    Attributes:
        written: rows as the table holds them; None where the person goes without.
        scaled: the same in [0, 1].
        missing: names of categories that it does not know.
        notes: what a person should hear of it.
    """

    written: Rows | None = None
    scale: float = 1.0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def scaled(self) -> Rows | None:
        """The rows in [0, 1]."""
        written, scale = self.written, self.scale
        return written if written is None or scale == 1.0 else lambda rows_B: written(rows_B) / scale


def graph_side(config: SimilarityConfig, rows: Sequence[Sense], wordnet: WordNet | None) -> Side:
    """Likeness by places in the graph: the --taxonomy file's, else WordNet's.

    Raises:
        ConfigError: the taxonomy or the information content cannot be used.
    """
    if config.taxonomy is not None:
        return _own_graph(config, config.taxonomy, rows)
    if wordnet is None:
        return Side()
    missing = tuple(row.name for row in rows if not row.synsets)
    notes = (f"{_counted(missing)} not in WordNet and {_by_text(config)}",) if missing else ()
    places = [synset for row in rows for synset in row.synsets]
    if not places:
        return Side(_unknown(len(rows)), missing=missing, notes=notes)
    information = None
    if config.information_content is not None:
        from webclean.io.information_content import read_information_content

        information = read_information_content(config.information_content)
    kinds = [row.head_word is not None for row in rows for _ in row.synsets]
    likeness = wordnet.relation(places, config.measure, kind_of=kinds, information=information)
    if config.measure == "jcn":
        likeness = _bounded(likeness)
    scale = taxonomy.max_lch(wordnet.noun_depth) if config.measure == "lch" else 1.0
    return Side(
        similarity.grouped_rows(likeness, [len(row.synsets) for row in rows], scale), scale, missing, notes
    )


def text_side(config: SimilarityConfig, rows: Sequence[Sense], encoder: Encoder | None) -> Side:
    """Likeness by vectors: the --category-vectors file's, else the encoder's of the categories' texts.

    Raises:
        ConfigError: the vectors cannot be used.
    """
    if config.category_vectors is None:
        if encoder is None:
            return Side()
        return Side(similarity.cosine_rows(encoder.encode([row.text for row in rows])))
    from webclean.io.category_vectors import read_category_vectors

    where = f"--category-vectors {config.category_vectors}"
    found = read_category_vectors(config.category_vectors)
    keys = places_of([row.name for row in rows], found)
    if not any(key is not None for key in keys):
        raise _nothing_fits(where, found, rows)
    nothing_D = np.zeros_like(next(iter(found.values())))
    vector_CD = np.asarray([nothing_D if key is None else found[key] for key in keys])
    missing = tuple(row.name for row, key in zip(rows, keys, strict=True) if key is None)
    by_graph = "compared by the graph alone" if config.wordnet != "none" or config.taxonomy else _NOTHING
    notes = [f"{_counted(missing)} not in {where} and {by_graph}"] if missing else []
    if unused := sorted(found.keys() - set(keys)):
        notes.append(f"{where}: no category of this run is called {_listed(unused)}")
    known_C = np.asarray([key is not None for key in keys])
    return Side(similarity.cosine_rows(vector_CD, known_C), missing=missing, notes=tuple(notes))


def places_of(names: Sequence[str], known: Iterable[str]) -> list[str | None]:
    """The name under which a person's table has each category: as it is, else with case and joints forgiven.

    Where two names of the table differ in these alone, neither is taken for the other.
    """
    exact = set(known)
    folded: dict[str, list[str]] = {}
    for name in sorted(exact):
        folded.setdefault(_fold(name), []).append(name)
    found: list[str | None] = []
    for name in names:
        near = folded.get(_fold(name), [])
        found.append(name if name in exact else near[0] if len(near) == 1 else None)
    return found


def _own_graph(config: SimilarityConfig, path: str, rows: Sequence[Sense]) -> Side:
    from webclean.io.taxonomy_table import read_taxonomy

    parents = read_taxonomy(path)
    where = f"--taxonomy {path}"
    keys = places_of([row.name for row in rows], parents)
    places = [key for key in keys if key is not None]
    if not places:
        raise _nothing_fits(where, parents, rows)
    climbed = ancestry.climb(parents, places)
    scale = 1.0
    if config.measure == "lch":
        # A table of roots alone has no depth; one edge is the least that log(2 depth) makes sense of.
        depth = max(1, *ancestry.depths(parents, sorted(parents))[1].values())
        likeness, scale = taxonomy.leacock_chodorow_rows(climbed, depth), taxonomy.max_lch(depth)
    else:
        likeness = (
            taxonomy.wu_palmer_rows(climbed) if config.measure == "wup" else taxonomy.path_rows(climbed)
        )
    missing = tuple(row.name for row, key in zip(rows, keys, strict=True) if key is None)
    notes = [f"{_counted(missing)} not in {where} and {_by_text(config)}"] if missing else []
    roots = sorted(name for name, above in parents.items() if not above)
    if len(roots) > 1:
        notes.append(
            f"{where} has {len(roots)} roots, and nothing below one is like what is below another: {_listed(roots)}"
        )
    sizes = [key is not None for key in keys]
    return Side(similarity.grouped_rows(likeness, sizes, scale), scale, missing, tuple(notes))


def _by_text(config: SimilarityConfig) -> str:
    has_text = config.encoder != "none" or config.category_vectors is not None
    return "compared by text alone" if has_text else _NOTHING


def _bounded(likeness: Rows) -> Rows:
    """1 / distance as 1 / (1 + distance): Jiang-Conrath's value has no upper bound, the blend has."""

    def rows(rows_B: NDArray[np.int64]) -> NDArray[np.float64]:
        value_BC = likeness(rows_B)
        return np.asarray(np.clip(value_BC / (1.0 + value_BC), 0.0, 1.0))

    return rows


def _unknown(num: int) -> Rows:
    return lambda rows_B: np.full((len(rows_B), num), np.nan)


def _fold(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _nothing_fits(where: str, known: Mapping[str, object], rows: Sequence[Sense]) -> ConfigError:
    return ConfigError(
        f"{where} names none of the run's categories",
        context=f"it has {_listed(sorted(known))}; the run has {_listed([row.name for row in rows])}",
        hint="names must be those of the categories; case, _ and - do not matter",
    )


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} {'category is' if len(names) == 1 else 'categories are'} ({_listed(names)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
