"""Keywords of an image from its title, description, tags, alternative text, page address and file name.

No language is assumed: a word is a run of letters of any script with its marks. Scripts that put no space between
words are cut into short overlapping pieces. What cameras, content systems, picture shops and addresses add is left
out, and so are the words of the query, which a search engine puts under every result, right or wrong.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import unquote, urlsplit

import regex

MAX_KEYWORDS: Final = 64  # of one image; a stuffed description does not become a novel
MAX_CHARS: Final = 20_000  # read of one field
_MAX_WORD: Final = 32
_LONGEST_COMPOUND: Final = 4
_REMEMBERED: Final = 2**17  # spellings whose words are kept; a crawl says the same ones again and again

# Words that say how a picture was made, stored, shared or sold, not what it shows.
_JUNK_TEXT: Final = """
    img dsc dscf dscn dcim pict mvimg pxl pano burst screenshot screenshots vlcsnap fullsizerender photo photos image
    images picture pictures pic pics photography file files media upload uploads uploaded download downloads thumb
    thumbs thumbnail thumbnails preview cache cached cdn static assets asset content wp node sites default styles
    public data src resize resized crop cropped scale scaled width height size original orig large medium small copy
    untitled unnamed final edit edited wallpaper wallpapers
    jpg jpeg jpe jfif png gif webp bmp tif tiff svg ico avif heic heif raw jp2
    http https www web html htm php asp aspx jsp cgi index main com net org edu gov info biz amp nbsp quot utm
    shutterstock gettyimages getty istockphoto istock alamy dreamstime depositphotos 123rf bigstock adobestock
    fotolia stockphoto unsplash pexels pixabay wikimedia wikipedia flickr pinterest instagram facebook twitter tumblr
    whatsapp snapchat youtube blogspot wordpress tripadvisor
    foto fotos fotografie fotografia fotografía bild bilder imagen imágenes immagine immagini imagem imagens
    фото фотография картинка картинки изображение 照片 图片 圖片 写真 画像 사진 이미지 صورة صور รูปภาพ चित्र फोटो
"""
# Words too common to tell anything, in the languages most pages are written in.
_STOP_TEXT: Final = """
    a an the of and or for with from to in on at by is are was be as it its this that these those you your our my we
    his her he she they their i not no do has have all more new free
    der die das und ein eine mit von für im am zu den dem les le la des du et un une en el los las y de con por para
    il lo gli di da che per del della e o os um uma
    и в на с по из для от во не это как و في من على إلى के का की में और से है पर 的 了 在 是 和 の は が を に で と も へ
"""
_JUNK: Final = frozenset(_JUNK_TEXT.split())
_STOP: Final = frozenset(_STOP_TEXT.split())

# Letters keep their marks (vowel signs, accents) and the joiners inside a word.
_RUN: Final = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}\u200c\u200d]*(?:['’]\p{L}+)*")
# What stands on either side of these is not one name: `ice, hockey`.
_BREAK: Final = regex.compile(
    r"[,;:!?|()\[\]{}<>/\\\"“”„»«•·…。、，；：！？「」『』।]+|\.(?=\s|$)|\s[-–—]+\s"
)
_DIGIT: Final = regex.compile(r"\d")
_SIZE: Final = regex.compile(r"\d+x\d+|\d+px|x\d+|w\d+|h\d+|\d+w|\d+h", regex.IGNORECASE)
_CAMEL: Final = regex.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_ENTITY: Final = regex.compile(r"&(?:#\d+|#x[0-9a-f]+|\w+);", regex.IGNORECASE)
_CONSONANTS: Final = regex.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
_HEX: Final = regex.compile(r"[0-9a-fA-F]+")
_ADDRESS: Final = regex.compile(
    r"""\b(?:https?|ftp)://\S+ | \bwww\.\S+ | \S+@[\w-]+\.\w+
    | (?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|info|biz|edu|gov|co\.uk|de|fr|it|es|nl|ru|cn|jp|br|in|io)(?:/\S*)?(?![\w.])""",
    regex.IGNORECASE | regex.VERBOSE,
)
_NAMED_BY_MACHINE: Final = regex.compile(
    r"""\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | (?<![a-z])(?:sam|dji|gopr|gp|hpim|cimg|kimg|imag|mvi|mov|wp|img|mg|dsc[fn]?|pict|p|vid|snap|scan)[_-]?\d{3,}(?!\p{L})
    | \bat\s\d+\.\d+\.\d+""",
    regex.IGNORECASE | regex.VERBOSE,
)
# Each word may be said of a picture's subject; together they are said of its sale.
_SOLD: Final = regex.compile(
    r"""\bstock[\s-]+(?:photo\w*|image\w*|picture\w*|illustration\w*|vector\w*|footage|pics?)\b
    | \b(?:vector|photo|image)\s+stock\b | \b(?:royalty|copyright|watermark)[\s-]+free\b
    | \brights[\s-]+managed\b | \bhigh[\s-]+(?:resolution|res|quality)\b | \bfree\s+download\b
    | \b(?:full\s+hd|hd|4k)\s+(?:wallpaper|background|photo|image|picture)s?\b""",
    regex.IGNORECASE | regex.VERBOSE,
)
_SOLD_WORDS: Final = ("stock", "free", "managed", "high", "hd", "4k")  # one of them is in each such phrase

# Scripts that put no space between words: Chinese and Japanese, then the mainland of South-East Asia.
_UNSPACED: Final = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
_KINDS: Final = regex.compile(
    r"(?P<han>[\p{Han}々]+)|(?P<katakana>[\p{Katakana}ー]+)|(?P<hiragana>\p{Hiragana}+)"
    r"|(?P<syllables>[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]+)"
    r"|(?P<rest>[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]+)"
)
_LETTER: Final = regex.compile(r"\X")
_HAN_WORD: Final = 2  # most Chinese words have two characters
_SYLLABLES: Final = 3  # letters with their marks; most Thai words have two to four
_PARTICLE: Final = 2  # hiragana this short joins words and names nothing


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
    text: ImageText, own_words: AbstractSet[str] = frozenset(), compounds: frozenset[str] = frozenset()
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
        words = [_lower(run) for run in _RUN.findall(unicodedata.normalize("NFKC", name))]
        for word in (*words, "".join(words)):
            plain = _plain(word)
            forms |= {word, plain}
            if plain.isascii():
                forms.update({f"{plain}s", f"{plain}es", plain.removesuffix("s"), plain.removesuffix("es")})
                if plain.endswith("ies"):
                    forms.add(f"{plain[:-3]}y")
                if plain.endswith("y"):
                    forms.add(f"{plain[:-1]}ies")
    return frozenset(form for form in forms if form)


def is_machine_name(name: str) -> bool:
    """Whether a file name holds no word: an id, a counter, a camera's name."""
    return not any(is_word for _, is_word in _words(_stem(name), frozenset()))


def _phrases(text: ImageText) -> Iterator[str]:
    for field in (text.title, text.alt_text, *text.tags, text.description):
        if field:
            yield from _BREAK.split(_without_trade(field[:MAX_CHARS]))
    if text.page_url:
        yield from _url_words(text.page_url[:MAX_CHARS])
    if text.file_name:
        yield _stem(unquote(text.file_name))


def _without_trade(field: str) -> str:
    """A field without entities, addresses and phrases of picture shops; each is looked for where it can be."""
    if "&" in field:
        field = _ENTITY.sub(" ", field)
    if "." in field or "@" in field or "://" in field:
        field = _ADDRESS.sub(" ", field)
    lower = field.lower()
    return _SOLD.sub(" , ", field) if any(word in lower for word in _SOLD_WORDS) else field


def _url_words(url: str) -> Iterator[str]:
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


def _words(phrase: str, own_words: AbstractSet[str]) -> list[tuple[str, bool]]:
    """Words of a phrase in order, and whether each says something by itself."""
    words: list[tuple[str, bool]] = []
    phrase = phrase if phrase.isascii() else unicodedata.normalize("NFKC", phrase)
    for run in _RUN.findall(_NAMED_BY_MACHINE.sub(" ", phrase) if _DIGIT.search(phrase) else phrase):
        if not run.isascii() and _UNSPACED.search(run):
            words.extend(_cut(run, own_words))
        else:
            words.extend(_known(run))
    return words


@lru_cache(maxsize=_REMEMBERED)
def _known(run: str) -> tuple[tuple[str, bool], ...]:
    """A run of letters and digits as words; nothing where it is junk, an id or a size."""
    if run.lower() in _JUNK or _SIZE.fullmatch(run) or run.isdigit() or _is_id(run):
        return ()
    return tuple((word, _is_word(word)) for word in map(_lower, _CAMEL.split(run)))


def _cut(run: str, own_words: AbstractSet[str]) -> Iterator[tuple[str, bool]]:
    """Pieces of a run without spaces: characters two by two, katakana whole, other syllables three by three."""
    for own in sorted(own_words, key=lambda word: (-len(word), word)):
        if _UNSPACED.search(own):
            run = run.replace(own, " ")
    for gap in _UNSPACED_GAPS:
        run = run.replace(gap, " ")
    for found in _KINDS.finditer(run):
        piece = found[0]
        if found.lastgroup == "rest":
            for inner in _RUN.findall(piece):
                yield from _known(inner)
        elif found.lastgroup == "han":
            for word in _grams(list(piece), _HAN_WORD):
                yield word, word not in _STOP
        elif found.lastgroup == "syllables":
            for word in _grams(_LETTER.findall(piece), _SYLLABLES):
                yield word, word not in _STOP
        else:
            shortest = _PARTICLE + 1 if found.lastgroup == "hiragana" else 2
            yield piece, shortest <= len(piece) <= _MAX_WORD


def _grams(letters: Sequence[str], size: int) -> Iterator[str]:
    for start in range(max(1, len(letters) - size + 1)):
        yield "".join(letters[start : start + size])


def _lower(run: str) -> str:
    return run.lower().removesuffix("'s").removesuffix("’s")


def _plain(word: str) -> str:
    """A word without its accents where Latin letters are left; else the word."""
    if word.isascii():
        return word
    bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    return bare if bare.isascii() and bare else word


def _is_id(run: str) -> bool:
    """Whether a run is a key and not a word: hex, base64, letters mixed with digits at length."""
    digits = sum(character.isdigit() for character in run)
    if digits and (
        len(run) > 10
        or digits > 3
        or (digits == 3 and len(run) == 4)
        or (len(run) >= 6 and _HEX.fullmatch(run))
    ):
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


def _joined(
    words: Sequence[tuple[str, bool]], own_words: AbstractSet[str], compounds: frozenset[str]
) -> Iterator[str]:
    """Words with compounds joined; a word of the query goes, also where a compound holds nothing else."""
    is_own = [word in own_words or (not word.isascii() and _plain(word) in own_words) for word, _ in words]
    heads = _heads(compounds)
    start = 0
    while start < len(words):
        compound, size = None, 1
        if words[start][0] in heads:
            compound, size = _compound(
                [word for word, _ in words[start : start + _LONGEST_COMPOUND]], compounds
            )
        part = range(start, start + size)
        if "".join(words[i][0] for i in part) not in own_words:
            if compound is not None and not any(is_own[i] for i in part):
                yield compound
            else:
                yield from (words[i][0] for i in part if words[i][1] and not is_own[i])
        start += size


@lru_cache(maxsize=2)
def _heads(compounds: frozenset[str]) -> frozenset[str]:
    """What compounds begin with: few words do."""
    return frozenset(compound.partition(" ")[0] for compound in compounds)


def _compound(words: Sequence[str], compounds: frozenset[str]) -> tuple[str | None, int]:
    """The longest compound that the words begin with, in its singular, and its number of words; None and 1 for none."""
    for size in range(len(words), 1, -1):
        joined = " ".join(words[:size])
        for form in (joined, joined.removesuffix("s")):
            if form in compounds:
                return form, size
    return None, 1


# Cut out of a run: words about the picture, and two particles that are hardly ever part of a word.
_UNSPACED_GAPS: Final = (*sorted(word for word in _JUNK if _UNSPACED.search(word)), "的", "了")
