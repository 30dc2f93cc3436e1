"""Keywords of an image from its title, description, tags, alternative text, page address and file name.

No language is assumed: a word is a run of letters of any script. What cameras, content systems and addresses
add is left out, and so are the words of the query, which a search engine puts under every result, right or wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import unquote, urlsplit

MAX_KEYWORDS: Final = 64  # of one image; a stuffed description does not become a novel
MAX_CHARS: Final = 20_000  # read of one field
_MAX_WORD: Final = 32
_LONGEST_COMPOUND: Final = 4

# Words that say how a picture was stored or served, not what it shows.
_JUNK_TEXT: Final = """
    img dsc dscf dscn dcim pict mvimg pxl pano burst screenshot screenshots photo photos image images picture pictures
    pic pics file files media upload uploads uploaded download downloads thumb thumbs thumbnail thumbnails preview
    cache cached cdn static assets asset content wp node sites default styles public data src resize resized crop
    cropped scale scaled width height size original orig large medium small copy untitled unnamed final edit edited
    jpg jpeg jpe jfif png gif webp bmp tif tiff svg ico avif heic heif raw jp2
    http https www web html htm php asp aspx jsp cgi index main com net org edu gov info biz amp nbsp quot utm
"""
# Words too common to tell anything, in the languages most pages are written in.
_STOP_TEXT: Final = """
    a an the of and or for with from to in on at by is are was be as it its this that these those you your our my we
    his her he she they their i not no do has have all more new free
    der die das und ein eine mit von für im am zu den dem les le la des du et un une en el los las y de con por para
    il lo gli di da che per del della e o os um uma
"""
_JUNK: Final = frozenset(_JUNK_TEXT.split())
_STOP: Final = frozenset(_STOP_TEXT.split())
_RUN: Final = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*", re.UNICODE)
_SIZE: Final = re.compile(r"\d+x\d+|\d+px|x\d+|w\d+|h\d+|\d+w|\d+h", re.IGNORECASE)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_ENTITY: Final = re.compile(r"&(?:#\d+|#x[0-9a-f]+|\w+);", re.IGNORECASE)
_CONSONANTS: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
# Scripts that put no space between words: there the query is cut out of the run.
_UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class ImageText:
    """What a crawl says about one image; None or empty where it says nothing."""

    title: str | None = None
    description: str | None = None
    tags: Sequence[str] = ()
    alt_text: str | None = None
    page_url: str | None = None
    file_name: str | None = None


def keywords(
    text: ImageText, own_words: AbstractSet[str] = frozenset(), compounds: AbstractSet[str] = frozenset()
) -> tuple[str, ...]:
    """Distinct keywords in the order they first appear, lower case; empty means no text.

    Args:
        text: the fields.
        own_words: what `word_forms` gives for the category's name and the query; they are left out.
        compounds: nouns of several words (`polar bear`) that stay together; lower case with spaces.
    """
    found: dict[str, None] = {}
    for phrase in _phrases(text):
        for word in _joined(_words(phrase, own_words), own_words, compounds):
            found[word] = None
            if len(found) == MAX_KEYWORDS:
                return tuple(found)
    return tuple(found)


def word_forms(names: Iterable[str]) -> frozenset[str]:
    """The words of names and queries, with their plain singular and plural, to be left out of keywords."""
    forms = set()
    for name in names:
        words = _words(name, frozenset(), keep_common=True)
        for word in (*words, "".join(words)):
            forms.add(word)
            if word.isascii():
                forms.update({f"{word}s", f"{word}es", word.removesuffix("s"), word.removesuffix("es")})
                if word.endswith("ies"):
                    forms.add(f"{word[:-3]}y")
                if word.endswith("y"):
                    forms.add(f"{word[:-1]}ies")
    return frozenset(form for form in forms if form)


def _phrases(text: ImageText) -> Iterable[str]:
    for field in (text.title, text.alt_text, *text.tags, text.description):
        if field:
            yield _ENTITY.sub(" ", field[:MAX_CHARS])
    if text.page_url:
        yield from _url_words(text.page_url[:MAX_CHARS])
    if text.file_name:
        yield _stem(unquote(text.file_name))


def _url_words(url: str) -> Iterable[str]:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host = parts.hostname or ""
    except ValueError:  # a bracket that opens no IPv6 address: crawled addresses hold anything
        return
    labels = host.split(".")
    # The name that a site gave itself; the last label and short ones before it (co.uk) are registries.
    yield " ".join(label for label in labels[:-1] if len(label) > 3)
    for piece in unquote(parts.path).split("/"):
        yield _stem(piece)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and 0 < len(suffix) <= 5 and stem else name


def _words(phrase: str, own_words: AbstractSet[str], *, keep_common: bool = False) -> list[str]:
    words = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", phrase)):
        for piece in (run,) if keep_common else _pieces(run, own_words):
            word = piece.lower().removesuffix("'s").removesuffix("’s")
            if keep_common or _is_word(word):
                words.append(word)
    return words


def _pieces(run: str, own_words: AbstractSet[str]) -> list[str]:
    """A run of letters and digits as words; nothing where it is an id or a size."""
    if _SIZE.fullmatch(run) or run.isdigit() or _is_id(run):
        return []
    if _UNSPACED.search(run):
        for own in sorted(own_words, key=lambda word: (-len(word), word)):
            if _UNSPACED.search(own):
                run = run.replace(own, " ")
        return run.split()
    return _CAMEL.split(run)


def _is_id(run: str) -> bool:
    """Whether a run is a key and not a word: hex, base64, letters mixed with digits at length."""
    digits = sum(character.isdigit() for character in run)
    if digits and (len(run) > 10 or digits > 3 or (len(run) >= 6 and re.fullmatch(r"[0-9a-fA-F]+", run))):
        return True
    if not run.isascii():
        return False
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(run))
    turns = sum(a.islower() and b.isupper() for a, b in pairwise(run))
    pieces = _CAMEL.split(run)
    return changes > 1 or turns > len(pieces) - 1 or bool(_CONSONANTS.search(run.casefold()))


def _is_word(word: str) -> bool:
    if word in _JUNK or word in _STOP or len(word) > _MAX_WORD or word.isdigit():
        return False
    if not word.isascii():
        return True
    return len(word) > 2 and any(vowel in word for vowel in "aeiouy")


def _joined(words: list[str], own_words: AbstractSet[str], compounds: AbstractSet[str]) -> Iterable[str]:
    """Words with compounds joined; a word of the query goes, also where a compound holds nothing else."""
    start = 0
    while start < len(words):
        size = next(
            (
                n
                for n in range(min(_LONGEST_COMPOUND, len(words) - start), 1, -1)
                if _compound(words[start : start + n], compounds)
            ),
            1,
        )
        part = words[start : start + size]
        if not all(word in own_words for word in part) and "".join(part) not in own_words:
            if not any(word in own_words for word in part):
                yield " ".join(part)
            else:
                yield from (word for word in part if word not in own_words)
        start += size


def _compound(words: list[str], compounds: AbstractSet[str]) -> bool:
    joined = " ".join(words)
    return joined in compounds or joined.removesuffix("s") in compounds


def is_machine_name(name: str) -> bool:
    """Whether a file name holds no word: an id, a counter, a camera's name."""
    return not _words(_stem(name), frozenset())
