"""WordNet's nouns, read through NLTK from a folder or archive wherever it stands."""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.data import PathPointer
from numpy.typing import NDArray

from webclean.errors import ConfigError
from webclean.io import wordnet_fetch
from webclean.io.information_content import InformationContent
from webclean.ops import ancestry, taxonomy
from webclean.ops.taxonomy import Rows

MEASURES: Final = ("path", "wup", "lch", "lin", "jcn")
_WNID = re.compile(r"n(\d{8})(?!\d)")
_SYNSET = re.compile(r"[^\s]+\.n\.\d+")
_ALTERNATIVES = re.compile(r"[,;/|()]+")
_BETWEEN = re.compile(r"[\s_]+")
_SQUASHED = re.compile(r"[^a-z0-9]+")
_OF = frozenset(
    ("of", "with", "for", "in", "on", "at", "from", "to", "by")
)  # the head of a noun phrase stands before these


@dataclass(frozen=True)
class Senses:
    """What WordNet knows of a category name.

    Attributes:
        synsets: names of the candidate senses, the most frequent first; empty where the name is unknown.
        head: None where the whole name is in WordNet, else the part of it that was looked up instead.
    """

    synsets: tuple[str, ...]
    head: str | None = None


class _Folder(PathPointer):  # type: ignore[misc]
    """A WordNet folder or archive that the user has named or a package manager has installed.

    NLTK 3.10 and later opens corpora only below `nltk.data.path`; system dictionaries and --wordnet are
    elsewhere. Only the file names of NLTK's own literal list are ever asked for.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self._place = path
        self._name = name

    def join(self, fileid: str) -> _Folder:
        return _Folder(self._place, fileid)

    def read(self) -> bytes:
        if self._place.suffix == ".zip":
            with zipfile.ZipFile(self._place) as archive:
                return archive.read(f"wordnet/{self._name}")
        return (self._place / self._name).read_bytes()

    def open(self, encoding: str | None = None) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self.read()), encoding=encoding or "utf-8")

    def file_size(self) -> int:
        return len(self.read())


class _Reader(WordNetCorpusReader):  # type: ignore[misc]
    """NLTK's reader over such a folder, with the `lexnames` file that Debian's package leaves out."""

    def __init__(self, folder: _Folder) -> None:
        # An object stands in for the multilingual corpus, which is never asked; None would warn.
        super().__init__(folder, omw_reader=object())

    def open(self, file: str) -> io.TextIOWrapper:
        if file == "lexnames":
            return io.TextIOWrapper(io.BytesIO(wordnet_fetch.lexnames().encode()), encoding="utf-8")
        return self._root.join(file).open("utf-8")  # type: ignore[no-any-return]

    def map_wn(self, version: str = "wordnet") -> None:
        """No mapping to other versions: it serves the multilingual corpus alone."""


def open_wordnet(directory: str | None = None) -> WordNet:
    """Open WordNet from a folder, or from where it is usually found.

    Tried in order: `directory`, NLTK's own data, the system's dictionaries, this environment's share/wordnet,
    `nltk.download`.

    Raises:
        ConfigError: `directory` does not hold WordNet.
        DependencyMissingError: WordNet is nowhere; the hint lists the ways to get it.
    """
    if directory is not None:
        place = Path(directory).expanduser()
        if not wordnet_fetch.is_wordnet(place):
            raise ConfigError(
                f"--wordnet {directory} does not hold WordNet",
                hint="name the folder with data.noun and index.noun, or NLTK's wordnet.zip",
            )
        return WordNet(place)
    found = wordnet_fetch.find_wordnet() or wordnet_fetch.download_with_nltk()
    if found is None:
        raise wordnet_fetch.missing()
    return WordNet(found)


class WordNet:
    """The noun half of WordNet: senses of a name, their texts, their places in the is-a graph.

    Synsets are spoken of by name (`cricket.n.02`).
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._reader = _Reader(_Folder(place))

    @cached_property
    def identity(self) -> str:
        """Version and content of the data, the same on every machine that has the same WordNet."""
        digest = hashlib.sha256(_Folder(self.place, "data.noun").read()).hexdigest()
        return f"WordNet {self._reader.get_version()} data.noun sha256:{digest[:16]}"

    def synset(self, name: str) -> str:
        """The name under which WordNet itself lists a sense: `car.n.01`, `n02958343`, `auto.n.01`.

        Raises:
            ConfigError: there is no such noun sense.
        """
        found = self._exact(name.strip())
        if found is None:
            raise ConfigError(f"WordNet has no noun sense {name!r}", hint="senses look like cricket.n.02")
        return found

    def senses(self, name: str) -> Senses:
        """Candidate noun senses of a category name.

        Understood: ids (`n02958343 car`), sense names, several words, plurals, hyphens and underscores or none
        of them (`tshirts`), alternatives (`tench, Tinca tinca`: the senses common to both, else of the first).
        Where the whole name is unknown, its longest known ending is looked up (`sports shoes`: shoes) and
        returned as `head`: the category is then a kind of that.
        """
        exact = self._exact(name.strip())
        if exact is not None:
            return Senses((exact,))
        parts = [part for part in map(_form, _ALTERNATIVES.split(name)) if part]
        found = [senses for senses in map(self._lookup, parts) if senses]
        if found:
            common = [s for s in found[0] if all(s in other for other in found[1:])]
            return Senses(tuple(common or found[0]))
        for part in parts:
            words = part.split("_")
            stop = next((i for i, word in enumerate(words) if i and word in _OF), len(words))
            for start in range(stop):
                head = "_".join(words[start:stop])
                if (start or stop < len(words)) and (senses := self._lookup(head)):
                    return Senses(tuple(senses), head=head.replace("_", " "))
        return Senses(())

    def lemmas(self, synset: str) -> tuple[str, ...]:
        """The words of a sense, with spaces."""
        return tuple(str(name).replace("_", " ") for name in self._get(synset).lemma_names())

    def gloss(self, synset: str) -> str:
        """The definition of a sense, without examples."""
        return str(self._get(synset).definition())

    def parents(self, synset: str) -> tuple[str, ...]:
        """The kinds that a sense is one of (hypernyms, also of instances), in WordNet's order."""
        node = self._get(synset)
        return tuple(str(above.name()) for above in (*node.hypernyms(), *node.instance_hypernyms()))

    def taxonomy(self, synsets: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The is-a graph above some senses: sense -> parents, closed upward."""
        graph: dict[str, tuple[str, ...]] = {}
        pending = list(synsets)
        while pending:
            synset = pending.pop()
            if synset not in graph:
                graph[synset] = self.parents(synset)
                pending.extend(graph[synset])
        return graph

    @cached_property
    def noun_depth(self) -> int:
        """Edges of the longest way from a noun to the root: 19 in WordNet 3.0."""
        _, high = ancestry.depths(self._all_parents, sorted(self._all_parents))
        return max(high.values())

    @cached_property
    def _all_parents(self) -> dict[str, tuple[str, ...]]:
        # Straight from the data file: NLTK would build 82,115 synset objects for the one number asked for.
        graph = {}
        for line in _Folder(self.place, "data.noun").read().decode().splitlines():
            if not line.startswith(" "):
                fields = line.split("|", 1)[0].split()
                at = 4 + 2 * int(fields[3], 16)
                pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
                above = zip(pointers[::4], pointers[1::4], strict=True)
                graph[fields[0]] = tuple(offset for kind, offset in above if kind in ("@", "@i"))
        return graph

    def similarity(
        self, synsets: Sequence[str], measure: str = "path", *, kind_of: Sequence[bool] | None = None
    ) -> NDArray[np.float64]:
        """Similarity of senses by their places in the is-a graph: float64 (C, C), symmetric.

        Arguments as `relation`.
        """
        return self.relation(synsets, measure, kind_of=kind_of)(np.arange(len(synsets)))

    def relation(
        self,
        synsets: Sequence[str],
        measure: str = "path",
        *,
        kind_of: Sequence[bool] | None = None,
        information: InformationContent | None = None,
    ) -> Rows:
        """Rows of the matrix of similarities, for as many senses as a crawl has categories.

        Args:
            synsets: C sense names.
            measure: `path` (in (0, 1]), `wup` (in (0, 1]), `lch` (up to log(2 depth)), `lin` (in [0, 1]) or `jcn`.
            kind_of: True where the category is only a kind of its synset; it then hangs one edge below it,
                so that two kinds of shoe are siblings and not the same thing. Half of the synset's mentions
                are taken to be its own.
            information: what `lin` and `jcn` go by.

        Raises:
            ConfigError: the information content is that of another WordNet.
        """
        if measure not in MEASURES:
            raise ValueError(f"measure must be one of {MEASURES}, not {measure!r}")
        graph = self.taxonomy(synsets)
        nodes = list(synsets)
        for index, is_kind in enumerate(kind_of or ()):
            if is_kind:
                nodes[index] = f"{synsets[index]} > {index}"
                graph[nodes[index]] = (synsets[index],)
        climbed = ancestry.climb(graph, nodes)
        if measure == "path":
            return taxonomy.path_rows(climbed)
        if measure == "wup":
            return taxonomy.wu_palmer_rows(climbed)
        if measure == "lch":
            return taxonomy.leacock_chodorow_rows(climbed, self.noun_depth)
        if information is None:
            raise ValueError(f"measure {measure!r} needs information content")
        known = {name: information.of(self.offset(name)) for name in graph if " > " not in name}
        if any(known[name] == taxonomy.UNSEEN for name, above in graph.items() if not above):
            raise ConfigError(
                "the --information-content file counts nothing at the top of this WordNet",
                context=self.identity,
                hint="name a file that was made for the same version: ic-*.dat of NLTK's wordnet_ic are for 3.0",
            )
        for index, node in enumerate(nodes):
            if node not in known:
                known[node] = min(known[synsets[index]] + math.log(2.0), taxonomy.UNSEEN)
        rows = taxonomy.lin_rows if measure == "lin" else taxonomy.jiang_conrath_rows
        return rows(climbed, known)

    def offset(self, synset: str) -> int:
        """Where a sense stands in data.noun, which is its number in `n02958343`."""
        return int(self._get(synset).offset())

    @cached_property
    def compounds(self) -> frozenset[str]:
        """Nouns of several words, in lower case with spaces: `polar bear`."""
        return frozenset(
            str(lemma).replace("_", " ") for lemma in self._reader._lemma_pos_offset_map if "_" in lemma
        )

    def _get(self, synset: str) -> Any:
        return self._reader.synset(synset)

    def _exact(self, name: str) -> str | None:
        from nltk.corpus.reader.wordnet import WordNetError

        if match := _WNID.match(name):
            if match[1] in self._all_parents:
                return str(self._reader.synset_from_pos_and_offset("n", int(match[1])).name())
        elif _SYNSET.fullmatch(name):
            try:
                return str(self._get(name.lower()).name())
            except WordNetError:
                return None
        return None

    def _lookup(self, form: str) -> list[str]:
        for variant in (form, form.replace("-", "_"), form.replace("_", "-"), form.replace("_", "")):
            found = self._reader.synsets(variant, pos="n")
            if found:
                return list(dict.fromkeys(str(synset.name()) for synset in found))
        squashed = _SQUASHED.sub("", form)
        endings = self._reader.MORPHOLOGICAL_SUBSTITUTIONS["n"]
        stems = [squashed.removesuffix(old) + new for old, new in endings if squashed.endswith(old)]
        for stem in (squashed, *stems):
            lemmas = self._squashed.get(stem, ())
            found = [synset for lemma in lemmas for synset in self._reader.synsets(lemma, pos="n")]
            if found:
                return list(dict.fromkeys(str(synset.name()) for synset in found))
        return []

    @cached_property
    def _squashed(self) -> dict[str, list[str]]:
        """`tshirt` -> `t-shirt`: lemmas with a joint, without it."""
        lemmas: dict[str, list[str]] = {}
        for lemma in self._reader._lemma_pos_offset_map:
            key = _SQUASHED.sub("", lemma)
            if len(key) > 3 and key != lemma:  # shorter ones are initials: `u.s.` is not the word us
                lemmas.setdefault(key, []).append(lemma)
        return lemmas


def _form(name: str) -> str:
    return _BETWEEN.sub("_", name.strip(" \t\n\"'").lower()).strip("_")
