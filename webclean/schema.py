"""The one spelling of every artefact, column and vocabulary.

A `Table` is data about data: `io.tables` turns it into an Arrow schema and checks it on every
write and read. Types are Arrow's names; `list<...>` nests; `extra` is a JSON object as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# ---------------------------------------------------------------- artefact paths inside RUN
IMAGES: Final = "images"
CATEGORIES: Final = "categories"
DUPLICATES: Final = "duplicates"
QUALITY: Final = "quality"
ATTACHED: Final = "attached"  # attached/<name>
FEATURES: Final = "features"  # features/<name>
SENSES: Final = "category_senses"
CATEGORY_SIMILARITY: Final = "category_similarity"
CATEGORY_NEIGHBORS: Final = "category_neighbors"
TEXT: Final = "text"
PREDICTIONS: Final = "predictions"  # predictions/<judge>-r<k>
INSIDE: Final = "inside"  # inside/<judge>-r<k>
BELIEFS: Final = "beliefs"  # beliefs/r<k>
WEIGHTS: Final = "weights"  # weights/r<k>/stage1, weights/r<k>/stage2
MODELS: Final = "models"  # models/<name>
ROIS: Final = "rois"  # models/<name>/rois
DECISIONS: Final = "decisions"  # decisions/<name>
FOLDERS: Final = (
    IMAGES, CATEGORIES, DUPLICATES, QUALITY, ATTACHED, FEATURES, SENSES, CATEGORY_SIMILARITY, CATEGORY_NEIGHBORS, TEXT,
    PREDICTIONS, WEIGHTS, MODELS, DECISIONS,
)  # fmt: skip
EVALUATION: Final = "evaluation.json"
RUN_JSON: Final = "run.json"
LOG_FILE: Final = "webclean.log"


def features_path(name: str) -> str:
    """Path of a feature set inside the run folder."""
    return f"{FEATURES}/{name}"


def attached_path(name: str) -> str:
    """Path of columns that a person brought in, inside the run folder."""
    return f"{ATTACHED}/{name}"


def predictions_path(judge: str, round_: int) -> str:
    """Path of one judge's out-of-sample predictions of one round (1-based)."""
    return f"{PREDICTIONS}/{judge}-r{round_}"


def inside_path(judge: str, round_: int) -> str:
    """Path of what a judge of one round says of some of the images that it was trained on: a table of predictions."""
    return f"{INSIDE}/{judge}-r{round_}"


def stage1_path(round_: int) -> str:
    """Path of the stage-1 weights of one round (1-based)."""
    return f"{WEIGHTS}/r{round_}/stage1"


def stage2_path(round_: int) -> str:
    """Path of the stage-2 weights of one round (1-based)."""
    return f"{WEIGHTS}/r{round_}/stage2"


def beliefs_path(round_: int) -> str:
    """Path of what the image judges of one round (1-based) make of the labels."""
    return f"{BELIEFS}/r{round_}"


def decisions_path(name: str) -> str:
    """Path of one set of decisions."""
    return f"{DECISIONS}/{name}"


def model_path(name: str) -> str:
    """Folder of one trained model."""
    return f"{MODELS}/{name}"


def model_rois_path(name: str) -> str:
    """The regions that one trained model looked at."""
    return f"{MODELS}/{name}/{ROIS}"


def model_predictions_path(name: str) -> str:
    """What one trained model says of every usable image."""
    return f"{MODELS}/{name}/{PREDICTIONS}"


# ---------------------------------------------------------------- vocabularies
STATUS_OK: Final = "ok"
STATUS_EXCLUDED: Final = "excluded"
STATUSES: Final = (
    "ok", "missing", "empty", "unreadable", "not_image", "truncated", "corrupt", "too_large",
    "timeout", "crashed", "unsupported", "not_downloaded", "excluded",
)  # fmt: skip

RETRIABLE: Final = ("missing", "unreadable", "timeout", "crashed", "not_downloaded")
"""Statuses that say something about the moment as well as about the file."""

REASON_OK: Final = "ok"
REASON_BAD_FILE: Final = "bad_file"  # bad_file:<status>
REASON_DUPLICATE: Final = "duplicate"
REASON_LABEL_CONFLICT: Final = "label_conflict"
REASON_LOW_SCORE: Final = "low_score"
REASON_POLICY: Final = "policy"  # policy:<name>
REASON_EXCLUDED: Final = "excluded"

KIND_EXACT: Final = "exact"
KIND_NEAR: Final = "near"

JUDGE_IMAGE: Final = "image"
JUDGE_TEXT: Final = "text"
JUDGE_NEIGHBORS: Final = "neighbors"

# ---------------------------------------------------------------- column names
IMAGE_ID: Final = "image_id"
SOURCE_KEY: Final = "source_key"
URI: Final = "uri"
CATEGORY: Final = "category"
QUERY: Final = "query"
RANK: Final = "rank"
RANK_SOURCE: Final = "rank_source"
TITLE: Final = "title"
DESCRIPTION: Final = "description"
TAGS: Final = "tags"
ALT_TEXT: Final = "alt_text"
SOURCE: Final = "source"
PAGE_URL: Final = "page_url"
FILE_NAME: Final = "file_name"
EXTRA: Final = "extra"
WIDTH: Final = "width"
HEIGHT: Final = "height"
FORMAT: Final = "format"
MODE: Final = "mode"
FRAMES: Final = "frames"
EXIF_ORIENTATION: Final = "exif_orientation"
NBYTES: Final = "nbytes"
SHA256: Final = "sha256"
PHASH: Final = "phash"
BRIGHTNESS: Final = "brightness"
CONTRAST: Final = "contrast"
SHARPNESS: Final = "sharpness"
ENTROPY: Final = "entropy"
ASPECT: Final = "aspect"
IS_GRAY: Final = "is_gray"
TINY: Final = "tiny"
STATUS: Final = "status"
ERROR: Final = "error"

CATEGORY_ID: Final = "category_id"
NAME: Final = "name"
QUERIES: Final = "queries"
NUM_IMAGES: Final = "num_images"

SYNSET: Final = "synset"
SYNSETS: Final = "synsets"
GLOSS: Final = "gloss"
PARENT: Final = "parent"
LEMMAS: Final = "lemmas"
SENSES_FOUND: Final = "senses_found"
HEAD_WORD: Final = "head_word"
CHOSEN_BY: Final = "chosen_by"

GROUP: Final = "group"
KEEPER_ID: Final = "keeper_id"
KIND: Final = "kind"
VIEW: Final = "view"
DISTANCE: Final = "distance"
CROSSES_CATEGORY: Final = "crosses_category"
AGAINST: Final = "against"

TOO_SMALL: Final = "too_small"
ODD_ASPECT: Final = "odd_aspect"
BLURRY: Final = "blurry"
DARK: Final = "dark"
LIGHT: Final = "light"
LOW_INFORMATION: Final = "low_information"
GRAY: Final = "gray"
GRAPHIC: Final = "graphic"
PLACEHOLDER: Final = "placeholder"
FLAGS: Final = (
    TOO_SMALL, ODD_ASPECT, BLURRY, DARK, LIGHT, LOW_INFORMATION, GRAY, GRAPHIC, PLACEHOLDER,
)  # fmt: skip

VECTOR: Final = "vector"

A: Final = "a"
B: Final = "b"
WORDNET: Final = "wordnet"
TEXT_SIMILARITY: Final = "text"
COMBINED: Final = "combined"
MATCH: Final = "match"
POSITION: Final = "position"

KEYWORDS: Final = "keywords"
NO_TEXT: Final = "no_text"
LABEL_MASS: Final = "label_mass"
NEIGHBOR_MASS: Final = "neighbor_mass"
TEXT_MASS: Final = "text_mass"
TOP_CATEGORIES: Final = "top_categories"
TOP_MASSES: Final = "top_masses"

FOLD: Final = "fold"
TOP_PROBABILITIES: Final = "top_probabilities"
LABEL_PROBABILITY: Final = "label_probability"
LOG_MARGIN: Final = "log_margin"
SUGGESTED: Final = "suggested"
SIMILARITY: Final = "similarity"
IN_SAMPLE: Final = "in_sample"

RANK_POSITION: Final = "rank_position"
RANK_PERCENTILE: Final = "rank_percentile"
RANK_WEIGHT: Final = "rank_weight"
TEXT_MATCH: Final = "text_match"
P_TEXT_JUDGE_STAGE1: Final = "text_judge"
WEIGHT: Final = "weight"
SAMPLING: Final = "sampling"
MISSING_RANK: Final = "missing_rank"
MISSING_TEXT: Final = "missing_text"

MATCH_SCORE: Final = "match_score"
STAGE1_WEIGHT: Final = "stage1_weight"
NO_JUDGE: Final = "no_judge"

BOX: Final = "box"
ROI: Final = "roi"
D_SCORE: Final = "d"
R_SCORE: Final = "r"
SLOT: Final = "slot"
VISITS: Final = "visits"
SOMNET_SCORE: Final = "somnet_score"

KEEP: Final = "keep"
CLEAN_SCORE: Final = "clean_score"
P_RIGHT: Final = "p_right"
P_RANK: Final = "p_rank"
P_TEXT: Final = "p_text"
P_TEXT_JUDGE: Final = "p_text_judge"
P_JUDGE: Final = "p_judge"
P_NEIGHBORS: Final = "p_neighbors"
P_TOPIC: Final = "p_topic"
P_SOMNET: Final = "p_somnet"
REASON: Final = "reason"
ADDED_PRIOR: Final = "added_prior"
ADDED_RANK: Final = "added_rank"
ADDED_TEXT: Final = "added_text"
ADDED_TEXT_JUDGE: Final = "added_text_judge"
ADDED_JUDGE: Final = "added_judge"
ADDED_NEIGHBORS: Final = "added_neighbors"
ADDED_TOPIC: Final = "added_topic"
ADDED_SOMNET: Final = "added_somnet"
ADDED_ATTACHED: Final = "added_attached"
ADDED_TRUSTED: Final = "added_trusted"
ADDED: Final = (
    ADDED_PRIOR, ADDED_RANK, ADDED_TEXT, ADDED_TEXT_JUDGE, ADDED_JUDGE, ADDED_NEIGHBORS, ADDED_TOPIC, ADDED_SOMNET,
    ADDED_ATTACHED, ADDED_TRUSTED,
)  # fmt: skip
TRUSTED: Final = "trusted"
SUGGESTED_CATEGORY: Final = "suggested_category"
SUGGESTED_PROBABILITY: Final = "suggested_probability"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, Arrow type as text, and whether it may be null."""

    name: str
    type: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of artefact: its columns in order, and the columns that are unique together."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order they are written."""
        return tuple(column.name for column in self.columns)


def _null(name: str, type_: str) -> Column:
    return Column(name, type_, nullable=True)


IMAGES_TABLE: Final = Table(
    IMAGES,
    (
        Column(IMAGE_ID, "string"),
        Column(SOURCE_KEY, "string"),
        Column(URI, "string"),
        Column(CATEGORY, "string"),
        Column(QUERY, "string"),
        _null(RANK, "int64"),
        _null(RANK_SOURCE, "string"),  # manifest, file_name, json, json-place; null without a rank
        _null(TITLE, "string"),
        _null(DESCRIPTION, "string"),
        _null(TAGS, "list<string>"),
        _null(ALT_TEXT, "string"),
        _null(SOURCE, "string"),
        _null(PAGE_URL, "string"),
        Column(FILE_NAME, "string"),
        _null(EXTRA, "string"),
        _null(WIDTH, "int32"),
        _null(HEIGHT, "int32"),
        _null(FORMAT, "string"),
        _null(MODE, "string"),
        _null(FRAMES, "int32"),
        _null(EXIF_ORIENTATION, "int32"),
        _null(NBYTES, "int64"),
        _null(SHA256, "string"),
        _null(PHASH, "uint64"),
        _null(BRIGHTNESS, "float32"),
        _null(CONTRAST, "float32"),
        _null(SHARPNESS, "float32"),
        _null(ENTROPY, "float32"),
        _null(ASPECT, "float32"),
        _null(IS_GRAY, "bool"),
        _null(TINY, "binary"),  # 16 x 16 x RGB of the upright image, 768 bytes
        Column(STATUS, "string"),
        _null(ERROR, "string"),
    ),
    key=(IMAGE_ID,),
)

CATEGORIES_TABLE: Final = Table(
    CATEGORIES,
    (
        Column(CATEGORY_ID, "int32"),
        Column(NAME, "string"),
        Column(QUERIES, "list<string>"),
        Column(NUM_IMAGES, "int64"),
    ),
    key=(CATEGORY_ID,),
)

DUPLICATES_TABLE: Final = Table(
    DUPLICATES,
    (
        Column(IMAGE_ID, "string"),
        Column(GROUP, "int64"),
        _null(KEEPER_ID, "string"),
        Column(KIND, "string"),  # how this image hangs in its group: exact, near
        Column(VIEW, "int32"),  # 0..7, the flip or turn that matched
        Column(DISTANCE, "int32"),  # Hamming bits
        Column(CROSSES_CATEGORY, "bool"),
        _null(AGAINST, "string"),  # path of the copy in the --against set
    ),
    key=(IMAGE_ID,),
)

QUALITY_TABLE: Final = Table(
    QUALITY,
    (Column(IMAGE_ID, "string"), *(_null(flag, "bool") for flag in FLAGS)),  # null where there are no pixels
    key=(IMAGE_ID,),
)


def features_table(dim: int) -> Table:
    """Features of `dim` float32 numbers an image, usable images only, in image order."""
    return Table(
        FEATURES,
        (Column(IMAGE_ID, "string"), Column(VECTOR, f"fixed_list<float32,{dim}>")),
        key=(IMAGE_ID,),
    )


def attached_table(columns: Mapping[str, str]) -> Table:
    """Columns that a person brought in, by name, with their types; one row for every image."""
    return Table(
        ATTACHED,
        (Column(IMAGE_ID, "string"), *(_null(name, type_) for name, type_ in columns.items())),
        key=(IMAGE_ID,),
    )


SENSES_TABLE: Final = Table(
    SENSES,
    (
        Column(CATEGORY_ID, "int32"),
        Column(NAME, "string"),
        _null(SYNSET, "string"),  # the first of synsets
        Column(SYNSETS, "list<string>"),  # all that stand for the category; several only by a person's file
        Column(LEMMAS, "list<string>"),
        _null(GLOSS, "string"),
        _null(PARENT, "string"),
        Column(SENSES_FOUND, "list<string>"),
        _null(HEAD_WORD, "string"),  # the part of the name that WordNet knows; the category is a kind of it
        Column(CHOSEN_BY, "string"),  # file, only, text, first, none
    ),
    key=(CATEGORY_ID,),
)

SIMILARITY_TABLE: Final = Table(
    CATEGORY_SIMILARITY,
    (
        Column(A, "int32"),
        Column(B, "int32"),
        _null(WORDNET, "float64"),
        _null(TEXT_SIMILARITY, "float64"),
        Column(COMBINED, "float64"),
        Column(MATCH, "float64"),  # thresholded, exact zeros
    ),
    key=(A, B),
)

NEIGHBORS_TABLE: Final = Table(
    CATEGORY_NEIGHBORS,
    (Column(A, "int32"), Column(POSITION, "int32"), Column(B, "int32"), Column(COMBINED, "float64")),
    key=(A, POSITION),
)

TEXT_TABLE: Final = Table(
    TEXT,
    (
        Column(IMAGE_ID, "string"),
        Column(KEYWORDS, "list<string>"),
        Column(NO_TEXT, "bool"),
        _null(LABEL_MASS, "float64"),
        _null(NEIGHBOR_MASS, "float64"),
        _null(TEXT_MASS, "float64"),  # kappa: the label and its neighbours, weighted by match
        Column(TOP_CATEGORIES, "list<int32>"),
        Column(TOP_MASSES, "list<float32>"),
    ),
    key=(IMAGE_ID,),
)

PREDICTIONS_TABLE: Final = Table(
    PREDICTIONS,
    (
        Column(IMAGE_ID, "string"),
        Column(FOLD, "int32"),  # -1 where the judge had nothing to go by
        Column(TOP_CATEGORIES, "list<int32>"),
        Column(TOP_PROBABILITIES, "list<float32>"),
        _null(LABEL_PROBABILITY, "float64"),
        _null(LOG_MARGIN, "float64"),  # log p_label - log max of the others
        _null(SUGGESTED, "int32"),  # the most likely category other than the label
        _null(SIMILARITY, "float64"),  # mean cosine to the nearest images of any label
        Column(IN_SAMPLE, "bool"),
    ),
    key=(IMAGE_ID,),
)

BELIEFS_TABLE: Final = Table(
    BELIEFS,
    (Column(IMAGE_ID, "string"), Column(P_RIGHT, "float64")),  # of the usable images
    key=(IMAGE_ID,),
)

STAGE1_TABLE: Final = Table(
    "stage1",
    (
        Column(IMAGE_ID, "string"),
        _null(RANK_POSITION, "int64"),
        _null(RANK_PERCENTILE, "float64"),
        Column(RANK_WEIGHT, "float64"),
        Column(TEXT_MATCH, "float64"),
        _null(P_TEXT_JUDGE_STAGE1, "float64"),
        Column(WEIGHT, "float64"),
        Column(SAMPLING, "float64"),  # class-balanced sampling probability, sums to 1
        Column(MISSING_RANK, "bool"),
        Column(MISSING_TEXT, "bool"),
    ),
    key=(IMAGE_ID,),
)

STAGE2_TABLE: Final = Table(
    "stage2",
    (
        Column(IMAGE_ID, "string"),
        Column(STAGE1_WEIGHT, "float64"),
        Column(MATCH_SCORE, "float64"),
        Column(WEIGHT, "float64"),
        Column(NO_JUDGE, "bool"),
    ),
    key=(IMAGE_ID,),
)

MODEL_PREDICTIONS_TABLE: Final = Table(
    "model_predictions",
    (
        *PREDICTIONS_TABLE.columns,
        _null(SOMNET_SCORE, "float64"),  # mean d-score of the image's ROIs under its label
    ),
    key=(IMAGE_ID,),
)

ROIS_TABLE: Final = Table(
    ROIS,
    (
        Column(IMAGE_ID, "string"),
        Column(ROI, "int32"),  # 0 is the whole image
        Column(BOX, "fixed_list<float32,4>"),  # xyxy pixels of the upright image, half-open
        Column(WEIGHT, "float64"),
        Column(D_SCORE, "float64"),
        Column(R_SCORE, "float64"),
        Column(SLOT, "int32"),
    ),
    key=(IMAGE_ID, ROI),
)

MEMORY_TABLE: Final = Table(
    "memory",
    (
        Column(SLOT, "int32"),
        Column(CATEGORY_ID, "int32"),
        Column(D_SCORE, "float64"),
        Column(R_SCORE, "float64"),
        Column(VISITS, "float64"),
    ),
    key=(SLOT, CATEGORY_ID),
)

DECISIONS_TABLE: Final = Table(
    DECISIONS,
    (
        Column(IMAGE_ID, "string"),
        Column(KEEP, "bool"),
        Column(WEIGHT, "float64"),
        _null(CLEAN_SCORE, "float64"),
        _null(P_RANK, "float64"),
        _null(P_TEXT, "float64"),
        _null(P_TEXT_JUDGE, "float64"),
        _null(P_JUDGE, "float64"),
        _null(P_NEIGHBORS, "float64"),
        _null(P_TOPIC, "float64"),
        _null(P_SOMNET, "float64"),
        *(_null(name, "float64") for name in ADDED),  # log-odds that sum up to those of clean_score
        Column(TRUSTED, "bool"),  # a person has said whether the label is right
        Column(REASON, "string"),
        _null(SUGGESTED_CATEGORY, "string"),
        _null(SUGGESTED_PROBABILITY, "float64"),
    ),
    key=(IMAGE_ID,),
)
