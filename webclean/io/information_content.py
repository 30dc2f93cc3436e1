"""Information-content files: how often texts mention each noun synset and what is below it.

The format of the WordNet::Similarity project, which NLTK's `wordnet_ic` corpus holds: a heading line, then
`OFFSETn COUNT` and a third field ROOT where a synset stands at the top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from webclean.errors import ConfigError
from webclean.ops.taxonomy import UNSEEN


@dataclass(frozen=True, slots=True)
class InformationContent:
    """Mentions of noun synsets.

    Attributes:
        count_of: offset in data.noun -> mentions of the synset and of all below it, above 0.
        total: mentions of all roots together.
    """

    count_of: dict[int, float]
    total: float

    def of(self, offset: int) -> float:
        """-log of a synset's share of all mentions; `UNSEEN` where no text mentions it."""
        count = self.count_of.get(offset, 0.0)
        return -math.log(count / self.total) if count else UNSEEN


def read_information_content(path: str) -> InformationContent:
    """Read the nouns of an information-content file.

    Raises:
        ConfigError: the file cannot be read, or is not of this format.
    """
    where = f"--information-content {path}"
    try:
        lines = Path(path).expanduser().read_text("ascii").splitlines()
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _not_one(f"{where} is no text") from error
    count_of: dict[int, float] = {}
    total = 0.0
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        try:
            offset, count = int(fields[0][:-1]), float(fields[1])
        except (IndexError, ValueError) as error:
            raise _not_one(f"{where}, line {number}: expected OFFSETn COUNT, got {line[:60]!r}") from error
        if not (math.isfinite(count) and count >= 0):
            raise _not_one(f"{where}, line {number}: a count must be a number from 0, got {fields[1]}")
        if fields[0][-1] != "n":
            continue
        if fields[2:] == ["ROOT"]:
            total += count
        if count:
            count_of[offset] = count
    if not total:
        raise _not_one(f"{where} counts no noun root")
    return InformationContent(count_of, total)


def _not_one(message: str) -> ConfigError:
    return ConfigError(
        message,
        hint="name a file of NLTK's wordnet_ic corpus, such as ic-brown.dat, made for the same WordNet",
    )
