"""One frozen dataclass per stage: flags, TOML keys and the comments of `webclean init` come from it."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import operator
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

from webclean.errors import ConfigError
from webclean.schema import FLAGS


def knob(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: int | None = None,
    choices: tuple[str, ...] | None = None,
    words: tuple[str, ...] = (),
    flag: str | None = None,
    technical: bool = False,
    names_artefact: bool = False,
    repeats: bool = False,
) -> Any:
    """A config field with its meaning, unit and range in one place.

    Args:
        default: value where neither a flag nor the TOML file names another.
        help: one sentence: meaning, unit, where the default comes from.
        ge, gt, le, lt: bounds of a number, checked on construction.
        multiple_of: what a whole number must be divisible by, checked likewise.
        choices: the words a string may be.
        words: words that may stand in a number's place, such as auto.
        flag: a flag's name where it is not the field's with dashes; empty: the command itself decides the
            value, and neither a flag nor the TOML file can.
        technical: True where the value cannot change a result (workers, time limits); such a field
            is left out of the fingerprint, so that changing it makes nothing stale.
        names_artefact: True where the text becomes the name of a folder in the run: it must be one name,
            and not lead elsewhere.
        repeats: True where the flag may be given several times, and commas belong to the text.
    """
    metadata = {
        "help": help, "ge": ge, "gt": gt, "le": le, "lt": lt, "multiple_of": multiple_of,
        "choices": choices, "words": words, "flag": flag, "technical": technical,
        "names_artefact": names_artefact, "repeats": repeats,
    }  # fmt: skip
    if isinstance(default, list | dict | set):
        raise TypeError("a default must be immutable")
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """Base of the stage configs: checks every knob's range when it is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(type(self).section(), field, getattr(self, field.name))

    @classmethod
    def section(cls) -> str:
        """Name of the TOML table: the class name without `Config`, in lower case, words joined by dashes."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__.removesuffix("Config")).lower()

    def fingerprint_fields(self) -> dict[str, Any]:
        """The fields that can change a result, as plain JSON values."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata.get("technical")
        }


_BOUNDS = (
    ("ge", "at least", operator.ge),
    ("gt", "above", operator.gt),
    ("le", "at most", operator.le),
    ("lt", "below", operator.lt),
)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check(section: str, field: dataclasses.Field[Any], value: Any) -> None:
    meta = field.metadata
    if value is None or value in meta.get("words", ()):
        return
    where = f"[{section}] {field.name}"
    choices = meta.get("choices")
    if choices is not None:
        for word in value if isinstance(value, tuple) else (value,):
            if word not in choices:
                raise ConfigError(f"{where} must be one of {', '.join(choices)}; got {word!r}")
    if meta.get("names_artefact") and value != field.default:
        _check_name(where, value)
    for key, words, holds in _BOUNDS:
        bound = meta.get(key)
        if bound is not None and not holds(value, bound):
            raise ConfigError(f"{where} must be {words} {bound}; got {value!r}")
    step = meta.get("multiple_of")
    if step is not None and value % step:
        raise ConfigError(f"{where} must be a multiple of {step}; got {value!r}")


_SEPARATORS = re.compile(r"[/\\\x00-\x1f\x7f]")
_MAX_NAME_BYTES = 200  # of the 255 of most file systems; a suffix is added here and there


def _check_name(where: str, name: str) -> None:
    bad = not name.strip() or name.startswith(".") or _SEPARATORS.search(name) is not None
    if bad or len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        raise ConfigError(
            f"{where} must be the name of one folder; got {name!r}",
            hint="a name without / and \\ that does not start with a dot, such as trial-2",
        )


def from_mapping(kind: type[StageConfig], values: dict[str, Any]) -> StageConfig:
    """Build a config from names and values; an unknown name is an error that offers the nearest one.

    Raises:
        ConfigError: unknown key, wrong type or value out of range.
    """
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    clean: dict[str, Any] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"[{kind.section()}] has no setting {raw!r}", hint=hint)
        if known[name].metadata.get("repeats") and isinstance(value, str):
            value = [value]
        words = known[name].metadata.get("words", ())
        clean[name] = value if value in words else _coerce(kind.section(), name, hints[name], value, words)
    return kind(**clean)


def _coerce(section: str, name: str, hint: Any, value: Any, words: tuple[str, ...] = ()) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if (value is None or value == "") and type(None) in args:
            return None  # TOML has no null: an empty text stands for "not set"
        hint = next(a for a in args if a is not type(None))
        origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"[{section}] {name} must be a list; got {value!r}")
        return tuple(_coerce(section, name, args[0], part) for part in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float) and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value) if hint is float else int(value)
    if hint in (int, float, str, bool) and (
        not isinstance(value, hint) or (hint is not bool and isinstance(value, bool))
    ):
        wanted = " or ".join((hint.__name__, *words))
        raise ConfigError(f"[{section}] {name} must be {wanted}; got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"[{section}] {name} must be a finite number; got {value!r}")
    return value


def sections() -> dict[str, type[StageConfig]]:
    """TOML section -> config class of every stage, in the order of this file."""
    kinds = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, StageConfig)]
    bases = {base for kind in kinds for base in kind.__mro__[1:]}
    return {kind.section(): kind for kind in kinds if kind not in bases}


def check_file(content: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """Check every section and key of a settings file, also those that a command does not use.

    Raises:
        ConfigError: an unknown section or key, a wrong type, or a value out of range.
    """
    known = sections()
    for name, values in content.items():
        if name not in known or not isinstance(values, dict):
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean [{near[0]}]?" if near else f"known sections: {', '.join(sorted(known))}"
            raise ConfigError(f"{path}: no section [{name}]", hint=hint)
        try:
            from_mapping(known[name], values)
        except ConfigError as error:
            raise ConfigError(error.message, context=path, hint=error.hint) from error
        fixed = {field.name for field in dataclasses.fields(known[name]) if field.metadata.get("flag") == ""}
        for key in values:
            if key.replace("-", "_") in fixed:
                raise ConfigError(f"[{name}] {key} cannot be set: the command decides it", context=path)
    return content


def type_hints(kind: type[StageConfig]) -> dict[str, Any]:
    """Resolved type of each field (the module uses postponed annotations)."""
    return typing.get_type_hints(kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralConfig(StageConfig):
    """What all commands share."""

    workers: int | None = knob(
        None, "Worker processes; none given: one per core; 0: this process alone.", ge=0, technical=True
    )
    engine: str = knob(
        "local",
        "Where tasks run: local processes, or a Ray cluster (the same results).",
        choices=("local", "ray"),
        technical=True,
    )
    address: str | None = knob(
        None,
        "Address of a running Ray cluster: auto or ray://HOST:PORT; none given: Ray on this machine alone.",
        technical=True,
    )
    seed: int = knob(0, "Seed of every random draw.", ge=0)

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if self.engine == "ray" and self.workers == 0:
            raise ConfigError("[general] workers 0 means no other process, which Ray cannot do")
        if self.address is not None and self.engine != "ray":
            raise ConfigError("[general] address belongs to --engine ray", hint="add --engine ray")


# ---------------------------------------------------------------- the stages, in the order of the chain


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(StageConfig):
    """Where the crawl is, what its columns mean, and what one image may cost."""

    source: str = knob(
        "",
        "Folder tree, archive, known data set, img2dataset's output, or CSV, JSONL or Parquet manifest: a local path "
        "or an fsspec URL.",
        flag="",
    )
    format: str = knob(
        "auto",
        "Layout of SOURCE; auto: by the file's ending, the one manifest.* in the folder, the lists of a known data "
        "set or what the folder holds, else the tree.",
        choices=(
            *("auto", "folder", "csv", "jsonl", "parquet", "webvision", "clothing1m", "food101n"),
            *("img2dataset", "webdataset", "zip", "huggingface", "imagefolder", "downloads"),
        ),
    )
    image_root: str | None = knob(
        None, "Folder that the paths of a manifest or list start from; none given: where it lies itself."
    )
    meta_root: str | None = knob(
        None, "WebVision: folder above google/q*.json and flickr/q*.json; none given: looked for in SOURCE."
    )
    path_column: str | None = knob(None, "Column with the image's path.")
    category_column: str | None = knob(None, "Column with the label.")
    query_column: str | None = knob(None, "Column with the search query; alone it is the label too.")
    rank_column: str | None = knob(None, "Column with the search rank.")
    title_column: str | None = knob(None, "Column with the title.")
    description_column: str | None = knob(None, "Column with the description or caption.")
    tags_column: str | None = knob(None, "Column with tags: a list, or text split at ; or | or commas.")
    alt_text_column: str | None = knob(None, "Column with the alternative text.")
    source_column: str | None = knob(None, "Column with the search engine or site.")
    page_url_column: str | None = knob(None, "Column with the address of the page.")
    bytes_column: str | None = knob(
        None,
        "Parquet column with the image's bytes, binary or struct{bytes, path}; of WebDataset the ending of the images.",
    )
    category_map: str | None = knob(
        None, "CSV, TSV or JSON of `from,to`: renames and merges categories; an empty `to` excludes them."
    )
    allow_outside: bool = knob(False, "Open files and URLs that a manifest or a link names outside SOURCE.")
    exclude: str | None = knob(
        None,
        "List of images that have to go (removal requests): a text file of source_keys, image_ids, SHA-256 digests or"
        " URLs, one a line, or a table with such a column. They stay in `images`, as excluded.",
    )
    limit: int | None = knob(
        None, "At most so many records: a fixed sample of all, spread over the crawl.", ge=1
    )
    max_bad: float | None = knob(
        None, "Stop with exit 3 when more files are bad: a number, or a fraction below 1.", ge=0
    )
    max_pixels: int = knob(
        100_000_000, "Width times height above which an image is not decoded (too_large).", ge=1
    )
    max_bytes: int = knob(256 << 20, "File size in bytes above which a file is not read (too_large).", ge=1)
    decode_seconds: float = knob(20.0, "Wall time of one decode in seconds (timeout); 0 for no limit.", ge=0)
    retry_failed: bool = knob(
        False,
        "Look again at what was missing, unreadable, not downloaded, timed out or crashed; take all other rows"
        " over as they are.",
        technical=True,
    )
    update: bool = knob(
        False,
        "Read only what is new or changed since the last ingest into RUN, or lies elsewhere now; take all other rows"
        " over. After a move: `webclean ingest NEW RUN --update`.",
        technical=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupConfig(StageConfig):
    """When two images are copies of each other."""

    radius: int = knob(
        12, "Hash bits, of 64, in which a candidate may differ under its best flip or turn.", ge=0, le=20
    )
    correlation: float = knob(
        0.9, "Grey correlation of the 16 x 16 copies from which a candidate is a near copy.", ge=0, le=1
    )
    cutout_residual: float = knob(
        0.06,
        "The same for cut-outs on a plain ground, whose outlines are all alike: largest difference of the "
        "16 x 16 copies, relative to what stands out from the ground.",
        ge=0,
        le=1,
    )
    second_pass: bool = knob(
        False,
        "Read every image once more, small, and also find crops and copies with a box, a text or a logo laid over.",
    )
    against: str | None = knob(
        None, "Your own test set (folder or manifest): images that are copies of its images are marked."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityConfig(StageConfig):
    """When a picture is flagged; flags delete nothing, `export --drop-flag` does."""

    small_side: int = knob(32, "too_small: the shorter side has fewer pixels than this.", ge=0)
    aspect_limit: float = knob(
        3.0, "odd_aspect: the longer side is more than this many times the shorter.", ge=1
    )
    blur_limit: float = knob(
        0.12,
        "blurry: sharpness over contrast is below this, on the copy of 128 pixels; a blur of 1 % of the longer"
        " side lies near it.",
        ge=0,
    )
    dark_limit: float = knob(
        0.32, "dark: brightness plus contrast (mean plus two deviations) is below this.", ge=0
    )
    light_limit: float = knob(0.9, "light: brightness minus contrast is above this.", le=1)
    information_limit: float = knob(
        0.8, "low_information: the entropy of the grey levels is below this, bits.", ge=0
    )
    line_sharpness: float = knob(
        0.9,
        "graphic: thin lines or letters, sharpness over contrast above this with entropy below 4.5 bits.",
        ge=0,
    )
    drawn_colors: float = knob(
        0.35,
        "graphic: or flat colours, fewer different ones than this share of the cells of the 16 x 16 copy that are"
        " no ground, with entropy below 3 bits.",
        ge=0,
        le=1,
    )
    placeholder_queries: int = knob(
        3, "placeholder: the image or copies of it stand under at least so many queries.", ge=2
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachConfig(StageConfig):
    """Which table of columns made elsewhere belongs to which images."""

    table: str = knob("", "CSV, TSV, JSONL or Parquet table.", flag="")
    on: str = knob(
        "path",
        "Column of the table that names the image: path (as source_key), any column of `images` such as image_id or"
        " sha256, or of the crawl's own manifest.",
    )
    name: str = knob(
        "", "Name of what is attached; none given: the table's own, without its ending.", names_artefact=True
    )
    columns: tuple[str, ...] = knob((), "Columns to bring in, by comma; none given: all others.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig(StageConfig):
    """What the stages that compare words share."""

    wordnet: str | None = knob(
        None, "Folder of WordNet's files, or none to go without; not given: where it is usually found."
    )
    encoder: str | None = knob(
        None,
        "Sentence encoder: a folder, a model's name on the hub, or none to go without; not given: all-MiniLM-L6-v2.",
    )
    encoder_threads: int = knob(
        1, "Compute threads of the sentence encoder; part of the result, so not taken from the machine.", ge=1
    )
    text_cache: str | None = knob(
        None,
        "Folder for the vectors of texts, which all runs share, or none to keep them for this command only; not"
        " given: WEBCLEAN_TEXT_CACHE, else the person's cache folder.",
        technical=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityConfig(LanguageConfig):
    """How alike the categories are: WordNet and the text of their names, blended."""

    senses: str | None = knob(
        None,
        "CSV file (name,synset) that sets the WordNet sense of categories; an empty synset means none, several"
        " lines of one name several senses.",
    )
    taxonomy: str | None = knob(
        None,
        "Table (CSV, TSV, JSONL or Parquet) with columns child and parent that stands in for WordNet's is-a graph;"
        " categories are found in it by name.",
    )
    measure: str = knob(
        "path",
        "Similarity of two places in the graph: path (shortest path), wup (Wu-Palmer), lch (Leacock-Chodorow), lin"
        " (Lin) or jcn (Jiang-Conrath); the last two need --information-content.",
        choices=("path", "wup", "lch", "lin", "jcn"),
    )
    information_content: str | None = knob(
        None, "Information-content file for lin and jcn, as in NLTK's wordnet_ic corpus (ic-brown.dat)."
    )
    category_vectors: str | None = knob(
        None,
        "Table with a vector for each category that stands in for the sentence encoder: name, and vector or one"
        " column for each number.",
    )
    normalize: str = knob(
        "minmax",
        "How graph and text are brought to one scale: minmax stretches the pairs' values to 0..1, rank takes the"
        " share of pairs that are less alike.",
        choices=("minmax", "rank"),
    )
    text_share: float = knob(
        0.5, "Share of the text in the blend (lambda); half is SINet's sum of both.", ge=0, le=1
    )
    match_threshold: float = knob(
        0.3, "Blended similarity (theta) up to which two categories do not match at all.", ge=0, lt=1
    )
    match_quantile: float | None = knob(
        None, "Take this quantile of the pairs' similarities as the threshold instead.", ge=0, le=1
    )
    num_neighbors: int = knob(5, "Nearest categories kept of each (K); CAPro uses five beside itself.", ge=0)
    keep_pairs: str = knob(
        "auto",
        "Pairs that are written: all, related (nearest, or above the threshold), or auto: all up to 2,000"
        " categories.",
        choices=("auto", "all", "related"),
    )

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        by_graph = self.wordnet != "none" or self.taxonomy is not None
        by_text = self.encoder != "none" or self.category_vectors is not None
        if not (by_graph or by_text):
            raise ConfigError(
                "[similarity] wordnet and encoder cannot both be none: nothing would be left to compare by",
                hint="bring a graph with --taxonomy or vectors with --category-vectors, or leave one `none` out",
            )
        if (self.information_content is not None) != (self.measure in ("lin", "jcn")):
            raise ConfigError(
                f"[similarity] measure is {self.measure} and information_content is"
                f" {self.information_content or 'not given'}",
                hint="lin and jcn need an --information-content file, path, wup and lch use none",
            )
        if self.information_content is not None and (self.taxonomy is not None or self.wordnet == "none"):
            raise ConfigError(
                f"[similarity] {self.measure} counts mentions of WordNet's synsets, and WordNet's graph is not used",
                hint="choose --measure path, wup or lch, or leave --taxonomy and --wordnet none out",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig(LanguageConfig):
    """How much of each image's text speaks of its category."""

    text_temperature: float = knob(
        0.05, "Temperature of the softmax over categories, in units of cosine (tau).", gt=0
    )
    keep_query_words: bool = knob(
        False,
        "Let the words of the category and the query count too; search engines put them under wrong results as"
        " well, a shop's own catalogue does not.",
    )
    text_top: int = knob(5, "Categories kept of each image's text mass, the largest first.", ge=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage1Config(StageConfig):
    """Stage-1 weights: search rank times text match, inside each category."""

    round: int = knob(1, "Round of judging and weighting, from 1.", ge=1, flag="")
    stage1_method: str = knob(
        "rank-text",
        "What weighs an image before any model: its rank and text, or its features' likeness to the"
        " prototype of the category's best-ranked images.",
        choices=("rank-text", "prototype"),
    )
    rank_model: str = knob(
        "linear",
        "How a search rank fades: linear, log, exp, or calibrated on the text judge's agreement.",
        choices=("linear", "log", "exp", "calibrated"),
    )
    rank_floor: float = knob(
        0.3,
        "Worth of the last result of a query, for linear and exp: a low rank is weak evidence.",
        ge=0,
        le=1,
    )
    rank_power: float = knob(1.0, "Shape of linear and exp; above 1 only the first results count.", gt=0)
    text_evidence: str = knob(
        "both",
        "What tells whether the text fits the label: its keywords' mass, the text judge, or both (their"
        " geometric mean).",
        choices=("mass", "judge", "both"),
    )
    stage1_minimum_mean: float = knob(
        0.05, "Smallest mean weight of a category, so that no category vanishes from training.", ge=0, le=1
    )
    prototype_features: str | None = knob(None, "Feature set of the prototype method.", names_artefact=True)
    prototype_top: int = knob(50, "Results of each query that make up a category's prototype.", ge=1)
    prototype_temperature: float = knob(0.1, "Softness of the prototype method, in units of cosine.", gt=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage2Config(StageConfig):
    """Stage-2 weights: stage 1 times how well the judge's prediction matches the label."""

    round: int = knob(1, "Round of judging and weighting, from 1.", ge=1, flag="")
    match_score: str = knob(
        "expected",
        "Score of a prediction: the expected match of its best categories with the label, or SINet's"
        " consistency (kl).",
        choices=("expected", "kl"),
    )
    match_by: str = knob(
        "relation",
        "What makes two categories match: their thresholded relation (WordNet and text), the keywords of their own"
        " texts, or nothing (label: only the label itself counts). imagetext asks a CLIP model (--clip) instead of the"
        " judge: image against the categories' texts.",
        choices=("relation", "keywords", "label", "imagetext"),
    )
    match_top: int = knob(5, "Predicted categories that count, the best first.", ge=1)
    match_keywords: int = knob(20, "Keywords kept of each category's text.", ge=1)
    match_temperature: float | str = knob(
        "auto",
        "Softens (above 1) or sharpens (below 1) the judge's probabilities for the expected match; auto: as they foretell"
        " the labels best, each counted as far as it is believed.",
        gt=0,
        words=("auto",),
    )
    match_minimum: float = knob(0.05, "Scores below it become exactly 0.", ge=0, le=1)
    kl_norm: str = knob("softmax", "How rows are made comparable for kl.", choices=("softmax", "l2"))
    kl_temperature: float = knob(0.1, "Temperature of that softmax.", gt=0)
    kl_epsilon: float = knob(1.0, "Added to the divergence; the best score is epsilon to the -gamma.", gt=0)
    kl_gamma: float = knob(1.0, "How steeply the score falls with the divergence.", gt=0)
    clip_features: str | None = knob(None, "Feature set of imagetext.", flag="", names_artefact=True)
    stage2_minimum_mean: float = knob(
        0.05,
        "Smallest mean match score of a category, so that no category vanishes from training.",
        ge=0,
        le=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(StageConfig):
    """What is exported, in which shape; without a policy flag the decisions are taken as they stand."""

    to: str = knob(
        "imagefolder",
        "Shape of OUT: one folder per category, or a table.",
        choices=("imagefolder", "csv", "jsonl", "parquet"),
    )
    mode: str = knob(
        "clean",
        "clean: the images that are kept. weighted: also those that a stricter policy than an even chance drops for"
        " their score, with their weight.",
        choices=("clean", "weighted"),
    )
    decisions: str = knob("default", "Name of the decisions to export.", names_artefact=True)
    images: str | None = knob(
        None,
        "How OUT holds the images: none (the table names the source files), copy, hardlink or symlink."
        " none given: copy for imagefolder, none for tables.",
        choices=("none", "copy", "hardlink", "symlink"),
    )
    embed: bool = knob(False, "Put the images' bytes into the Parquet file, column `image`.")
    threshold: float | None = knob(
        None,
        "Keep where clean_score is at least this; none given: 0.5, or no bar beside --target-purity or"
        " --keep-fraction.",
        ge=0,
        le=1,
    )
    target_purity: float | None = knob(
        None, "Keep the most images whose mean clean_score is at least this.", gt=0, le=1
    )
    keep_fraction: float | None = knob(
        None, "Keep this part of each category's usable images, the best clean_score first.", gt=0, le=1
    )
    min_per_category: int = knob(
        0, "Give a category back its best low scores until it has this many images.", ge=0
    )
    max_per_category: int | None = knob(
        None, "Keep at most this many images of a category, the best clean_score first.", ge=1
    )
    drop_duplicates: bool = knob(True, "Keep one image of each group of copies inside a category.")
    drop_against: bool = knob(True, "Drop copies of the images that ingest compared the crawl against.")
    drop_flag: tuple[str, ...] = knob(
        (), "Drop images with one of these quality flags, by comma.", choices=FLAGS
    )
    exclude: str | None = knob(
        None,
        "List of images that have to go (removal requests), as of ingest; copies of equal bytes go with them.",
    )
    require: tuple[str, ...] = knob(
        (),
        "Keep only images whose attached column is so: COLUMN OPERATOR VALUE, with >= > <= < = !=, or in and not in"
        " before values by comma; `or null` at the end lets images without a value stay. May be given several times.",
        repeats=True,
    )
    with_attached: tuple[str, ...] = knob(
        (), "Add the columns attached under these names to the table, by comma."
    )
    relabel: bool = knob(
        False, "Give images the suggested category where it is the likelier one, with weight 2 P - 1."
    )
    relabel_threshold: float = knob(
        0.5,
        "Probability of the suggested category from which --relabel moves an image; from an even chance on a move"
        " teaches more than it misleads.",
        ge=0,
        le=1,
    )
    split_column: str = knob(
        "split", "Column of the crawl's own manifest that names each image's split, where it has one."
    )
    overwrite: bool = knob(
        False, "Replace a folder OUT that webclean did not write, with all it holds.", technical=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(StageConfig):
    """Which truth the run is held against, and which of its columns is judged."""

    on: str = knob(
        "path",
        "Column of the truth table that names the image: path (relative to SOURCE), any column of `images` or"
        " of the crawl's own manifest, or index (0-based row of a record file).",
    )
    truth_column: str | None = knob(
        None, "Column that holds the true category; none given: true_category, true_label, category or label."
    )
    score: str | None = knob(
        None,
        "Column to judge instead of clean_score, higher = label right: a column of the decisions, or"
        " ARTEFACT:COLUMN as in weights/r1/stage2:weight.",
    )
    decisions: str = knob("default", "Name of the decisions to judge.", names_artefact=True)
    test: str | None = knob(None, "Table of clean test images (path, category) for the top-1 of --model.")
    model: str | None = knob(None, "Trained model whose top-1 on --test is measured.", names_artefact=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeaturesConfig(StageConfig):
    """Frozen features of the images, from a network that never saw this crawl's labels."""

    name: str = knob(
        "default",
        "Name of the feature set; with --precision bf16 it ends in -bf16.",
        flag="features-name",
        names_artefact=True,
    )
    backbone: str = knob(
        "auto",
        "Network: a torchvision classifier (resnet50), timm/NAME, st/NAME (a CLIP model), small, or auto.",
    )
    weights: str = knob(
        "auto",
        "Pretrained weights: auto (cached, else the offline package's, else a download, else none), default"
        " (the network's own, or an error), none, or a file that was not trained on this crawl's labels.",
    )
    fit: str = knob(
        "squash",
        "How an image becomes a square: squash (all of it, aspect lost), crop (its middle), pad (all of it,"
        " on grey).",
        choices=("squash", "crop", "pad"),
    )
    layers: str = knob(
        "mid+last",
        "What is taken of the network: its last layer, or that beside mean and maximum of two stages before"
        " it, which tells small and unusual images better apart.",
        choices=("last", "mid+last"),
    )
    flip: bool = knob(False, "Average with the features of the mirrored image; takes twice the time.")
    precision: str = knob(
        "float32",
        "Arithmetic inside the network; bf16 is faster on some machines and not the same across machines.",
        choices=("float32", "bf16"),
    )

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)  # super() does not know a class with slots
        if self.precision == "bf16" and not self.name.endswith("-bf16"):
            object.__setattr__(self, "name", f"{self.name}-bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(StageConfig):
    """A noise-robust classifier: SOMNet, or the image-level baseline."""

    name: str = knob("", "Name of the model; none given: its method.", flag="model-name", names_artefact=True)
    method: str = knob(
        "somnet",
        "somnet: bags of images whose regions are weighted by a self-organizing memory; plain: image-level"
        " cross entropy with the same weights.",
        choices=("somnet", "plain"),
    )
    round: int = knob(1, "Round whose weights are used where they are there.", ge=1, flag="")
    backbone: str = knob(
        "auto", "Network: a torchvision classifier (resnet50), timm/NAME, small (from scratch), or auto."
    )
    weights: str = knob("auto", "Pretrained weights: auto, default, none, or a file.")
    tune: str = knob(
        "auto",
        "What learns: head (the backbone frozen, its region features cached), all, or auto: head on a CPU with"
        " pretrained weights, else all.",
        choices=("auto", "head", "all"),
    )
    image_side: int | None = knob(
        None,
        "Side of the square input in pixels; none given: the network's own times 10/7 where most images have"
        " that many pixels and the backbone is frozen, the network's own otherwise, 64 for small, which takes"
        " multiples of 16 only.",
        ge=32,
    )
    roi_dim: int = knob(
        256, "Dimensions kept of the frozen backbone's features (principal directions).", ge=2
    )

    proposals: str = knob(
        "grid",
        "Regions of an image: windows of three scales on a grid, random windows, or none (the image alone).",
        choices=("grid", "random", "none"),
    )
    num_proposals: int = knob(20, "Windows of an image, for random proposals.", ge=1)
    images_per_bag: int = knob(4, "Images of one category in a bag; larger bags resist more noise.", ge=1)
    memory_side: int = knob(
        12, "The memory is a grid of so many slots squared (SOMNet: 12 on Clothing1M).", ge=1
    )
    memory_radius: int = knob(
        1, "Neighbours of the winning slot that learn with it, in steps; 0: none.", ge=0
    )
    cluster: str = knob(
        "som", "What forms the slots: the self-organizing memory, or K-means after each epoch.",
        choices=("som", "kmeans"),
    )  # fmt: skip
    key_update: str = knob(
        "means",
        "Keys learn as running means or by the gradient of their loss.",
        choices=("means", "gradient"),
    )
    value_update: str = knob(
        "counts",
        "d- and r-values: running counts (the losses' exact optimum) or the gradient of their losses.",
        choices=("counts", "gradient"),
    )
    memory_decay: float = knob(0.99, "Share of running counts and means that one step keeps.", ge=0, lt=1)
    memory_weight: float = knob(0.1, "Weight of the memory's loss beside the classifier's (beta).", ge=0)
    image_loss: float = knob(
        1.0,
        "Weight of the cross entropy of a bag's whole images, one by one, beside the bag's own; 0: SOMNet's"
        " loss.",
        ge=0,
    )
    memory_rate: float = knob(0.05, "Learning rate of keys and values that learn by gradient.", gt=0)
    memory_to_backbone: bool = knob(False, "Let the memory's loss reach the backbone after the warm-up.")
    roi_score: str = knob(
        "d", "A region's score: discriminative, representative or both.", choices=("d", "r", "d*r")
    )
    area_score: bool = knob(True, "Scale a region's score by its area over the largest proposal's.")
    keep_start: float = knob(10.0, "Percent of a bag's regions kept in the first round.", gt=0, le=100)
    keep_step: float = knob(5.0, "Percent added each round.", ge=0)
    keep_last: float = knob(100.0, "Percent at most; with keep-start 100 nothing is selected.", gt=0, le=100)
    stop_above: float = knob(
        40.0, "Percent kept above which a fall of the validation accuracy ends the training.", ge=0, le=100
    )
    validation: float = knob(
        0.0, "Share of the images held out for that accuracy; 0: all epochs are run.", ge=0, lt=1
    )

    warmup_epochs: int = knob(2, "Epochs on whole images before regions are weighted.", ge=1)
    epochs_per_round: int = knob(1, "Epochs of a round of the curriculum.", ge=1)
    epochs: int | None = knob(
        None, "Epochs in all; none given: 8 for a head, 15 where the backbone learns.", ge=1
    )
    batch_images: int = knob(128, "Images of one step.", ge=1)
    learning_rate: float | None = knob(
        None, "Of AdamW; none given: 0.005 for a head, 0.0002 for all, 0.002 from scratch.", gt=0
    )
    weight_decay: float = knob(0.01, "Decoupled weight decay where the backbone learns.", ge=0)
    head_penalty: float = knob(
        0.03,
        "Half the squared norm of a frozen backbone's head counts so much: more keeps noise from being learnt,"
        " less tells categories apart that look alike.",
        ge=0,
    )
    schedule: str = knob("cosine", "Learning rate over the epochs.", choices=("cosine", "constant"))
    normalised_loss: bool = knob(True, "Divide a step's loss by the sum of its weights, not by its size.")
    folds: int | None = knob(
        None,
        "Folds whose images are judged by models that never saw them; 0: judged by the one model, in sample;"
        " none given: 5 for a head, 0 where the backbone learns.",
        ge=0,
    )
    repeats: int = knob(
        3,
        "Times the folds are drawn anew; predictions are averaged (sports: 1 to 3 gives .969 to .983).",
        ge=1,
    )
    judge_top: int = knob(100, "Most likely categories stored for each image.", ge=2)
    threads: int | None = knob(
        None,
        "Compute threads; none given: 1 for a head, whose matrices are small, else 2. Part of the result, so"
        " not taken from the machine.",
        ge=1,
    )
    checkpoint_epochs: int = knob(1, "Epochs between checkpoints.", ge=1, technical=True)

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if not self.name:
            object.__setattr__(self, "name", self.method)
        if self.folds == 1:
            raise ConfigError("[train] folds must be 0 (in sample) or at least 2; got 1")
        if self.keep_start > self.keep_last:
            raise ConfigError(
                f"[train] keep_start must be at most keep_last; got {self.keep_start} and {self.keep_last}",
                hint="the share of regions that is kept grows: lower keep_start, or raise keep_last",
            )


_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig(StageConfig):
    """What the judges share."""

    round: int = knob(1, "Round of judging and weighting, from 1.", ge=1, flag="")
    judge_folds: int = knob(
        5, "Folds of cross-fitting: each image is judged by a head that never saw it.", ge=2
    )
    judge_top: int = knob(100, "Most likely categories stored for each image.", ge=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig(JudgeConfig):
    """What the judges that fit a head share."""

    judge_strengths: tuple[float, ...] = knob(
        _STRENGTHS,
        "Regularisations to choose from, by inner validation on the noisy labels: the penalty of ridge, C of"
        " logistic.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldsConfig(HeadConfig):
    """The judge for crawls without pretrained features: small networks trained from scratch."""

    folds_side: int = knob(
        64, "Side of the square that images become, pixels, a multiple of 16.", ge=16, multiple_of=16
    )
    folds_width: int = knob(32, "Channels of the network's first stage; time grows with its square.", ge=4)
    folds_images: int = knob(
        45_000, "Images each network is shown, counting repeats; more is slower and memorises more.", ge=1
    )
    folds_batch: int = knob(64, "Images of a training step.", ge=2)
    folds_rate: float = knob(0.05, "Highest learning rate.", gt=0)
    folds_mixup: float = knob(0.3, "Shape of mixup's beta distribution; larger mixes more.", gt=0)
    folds_average: float = knob(0.98, "Decay of the running mean of weights that predicts.", ge=0, lt=1)
    folds_patches: int = knob(
        800,
        "Common patches learnt from the crawl, which a head beside the networks looks for in each image; 0: networks alone.",
        ge=0,
    )
    patch_weight: float = knob(
        1.0, "How much that head's log-probabilities count beside the networks'.", ge=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeTextConfig(HeadConfig):
    """The judge of the crawl's own text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeImageConfig(FoldsConfig):
    """The judge of the images: a head on frozen features, or networks from scratch where there are none."""

    features: str | None = knob(
        None, "Feature set; none: networks from scratch.", flag="", names_artefact=True
    )
    head: str = knob(
        "ridge",
        "Head on frozen features: ridge (least squares on one-hot labels) or logistic.",
        choices=("ridge", "logistic"),
    )
    ridge_folds: int = knob(
        20,
        "Folds of the ridge head: they cost little, and with more of them each head has more to learn from.",
        ge=2,
    )
    judge_dims: int = knob(512, "Leading principal directions of the features that the head sees.", ge=2)
    scratch_folds: int = knob(3, "Folds, and networks, of a judge from scratch.", ge=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeModelConfig(StageConfig):
    """A trained model in the image judge's place."""

    model: str = knob("", "The model.", flag="", names_artefact=True)
    round: int = knob(
        2, "Round that it judges: the one after the weights that it was trained on.", ge=2, flag=""
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeNeighborsConfig(JudgeConfig):
    """The judge of the nearest images."""

    # Votes need no folds; the number is the same so that all judges are silent on the same categories.
    judge_folds: int = knob(
        5, "Fewest different images of a category whose images are judged; the heads' number of folds.", ge=2
    )
    features: str = knob("default", "Feature set.", flag="", names_artefact=True)
    neighbors: int = knob(50, "Nearest images that vote.", ge=1)
    neighbors_temperature: float = knob(0.07, "Softness of the votes, in cosine.", gt=0)


def _neighbor_weight() -> Any:
    return knob(0.5, "Weight of the neighbours' log-probabilities beside the judge's.", ge=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class BelieveConfig(StageConfig):
    """How far the labels are believed from one round to the next."""

    round: int = knob(1, "Round of judging and weighting, from 1.", ge=1, flag="")
    neighbor_weight: float = _neighbor_weight()


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightConfig(StageConfig):
    """How often the labels are judged and weighed."""

    rounds: int | None = knob(
        None,
        "Rounds at most: judge, then judge again by the labels as far as they are believed. None given: 3 on features,"
        " 1 of networks from scratch.",
        ge=1,
        le=20,
    )
    judge: str = knob(
        "auto",
        "Image judge: auto (a head on features, or networks from scratch), or model:NAME, a trained model whose"
        " out-of-sample predictions judge one round more.",
    )
    clip: str | None = knob(
        None,
        "CLIP model for --match-by imagetext: a folder of sentence-transformers, or a name on the hub; none given: the"
        " network of --backbone st/NAME.",
    )
    round_tolerance: float = knob(
        0.02,
        "Rounds stop when a round moves P(label right) by less than this part of the share of wrong labels, in the mean.",
        ge=0,
    )


EVIDENCES = ("image", "judge", "neighbors", "topic", "rank", "text", "mass", "text-judge", "somnet")
_GROUPS = {"image": ("judge", "neighbors", "topic"), "text": ("mass", "text-judge")}
_ATTACHED = "attached:"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecideConfig(StageConfig):
    """One score from all evidence, and the default policy."""

    name: str = knob(
        "",
        "Name of the decisions; none given: default, or the evidences'.",
        flag="decisions",
        names_artefact=True,
    )
    round: int = knob(1, "Round whose judges are used.", ge=1, flag="")
    evidence: tuple[str, ...] = knob(
        (),
        "What may take part, by comma; none given: all there is but what is attached. One of "
        + ", ".join(EVIDENCES)
        + ", or attached:NAME.COLUMN, a column of numbers that `attach` brought in. image = judge, neighbors, topic;"
        " text = mass, text-judge.",
    )
    model: str = knob(
        "somnet", "Trained model whose score takes part.", flag="score-model", names_artefact=True
    )
    neighbor_weight: float = _neighbor_weight()
    topic_middle: float = knob(
        -4.0,
        "Likeness to the nearest images, in robust deviations, at which an image is half off topic.",
        lt=0,
    )
    trusted: str | None = knob(
        None,
        "Table of images that somebody has looked at, 50 to a few hundred (image_id, source_key or path; true_category,"
        " or right with yes or no): corrects clean_score. --to-label FILE chooses images to look at.",
    )
    keep_threshold: float = knob(0.5, "Keep where P(label right) is at least this.", ge=0, le=1)
    weight_by: str = knob(
        "net",
        "Training weight of a kept image: net (P(right) - P(wrong), so 2 clean_score - 1), the stage-1 weight (rank"
        " times text), the two-stage weight (stages), or net times that (product).",
        choices=("net", "stage1", "stages", "product"),
    )

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        for word in self.evidence:
            name, _, column = word.removeprefix(_ATTACHED).rpartition(".")
            if word not in EVIDENCES and not (word.startswith(_ATTACHED) and name and column):
                raise ConfigError(
                    f"[decide] evidence must be one of {', '.join(EVIDENCES)}, or {_ATTACHED}NAME.COLUMN; got {word!r}"
                )
        if not self.name:
            name = "-".join(self.evidence).replace(":", "-").replace("/", "-").replace("\\", "-")
            object.__setattr__(self, "name", name or "default")

    @property
    def wanted(self) -> frozenset[str]:
        """The single evidences that may take part, but for what is attached."""
        if not self.evidence:
            return frozenset({"judge", "neighbors", "topic", "rank", "mass", "text-judge", "somnet"})
        return frozenset(part for name in self.evidence for part in _GROUPS.get(name, (name,)))

    @property
    def text_round(self) -> int:
        """The round whose text judge speaks: the first, which no image has told anything, where images have no say."""
        return 1 if self.wanted.isdisjoint(("judge", "neighbors")) else self.round

    @property
    def attached_evidence(self) -> tuple[tuple[str, str], ...]:
        """Name and column of each evidence that was attached; a name may hold dots, a column not."""
        found = (
            word.removeprefix(_ATTACHED).rpartition(".")
            for word in self.evidence
            if word.startswith(_ATTACHED)
        )
        return tuple((name, column) for name, _, column in found)

    @property
    def attached(self) -> tuple[str, ...]:
        """Names of what is attached that takes part."""
        return tuple(dict.fromkeys(name for name, _ in self.attached_evidence))
