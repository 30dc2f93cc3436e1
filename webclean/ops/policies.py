"""Which images are kept, and the one reason of each image that is not.

Shapes: N images. Scores are P(label right) in [0, 1]; NaN says that nothing is known of an image.
Ties are broken by index, that is by source_key, so that the answer depends on no order of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webclean import schema

DEFAULT_THRESHOLD = 0.5
"""Drop where the label is more likely wrong than right."""

NO_EVIDENCE = 0.5
"""Where images are put in order, an image without evidence stands between right and wrong."""

NO_GROUP = -1
"""Group of an image that has no copy."""

_EXCLUDED = f"{schema.REASON_POLICY}:excluded"
_AGAINST = f"{schema.REASON_POLICY}:against"
_FLAG = f"{schema.REASON_POLICY}:flag_"
_REQUIRE = f"{schema.REASON_POLICY}:require_"
_TARGET_PURITY = f"{schema.REASON_POLICY}:target-purity"
_KEEP_FRACTION = f"{schema.REASON_POLICY}:keep-fraction"
_MAX_PER_CATEGORY = f"{schema.REASON_POLICY}:max-per-category"

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What makes an image stay.

    Raises:
        ValueError: a value is out of its range, or min_per_category is above max_per_category.
    """

    threshold: float | None = DEFAULT_THRESHOLD
    """An image stays where clean_score >= threshold; None asks for no such bar."""
    target_purity: float | None = None
    """Keep the most images whose mean clean_score is at least this."""
    keep_fraction: float | None = None
    """Keep this part of each category's usable images, the highest clean_score first."""
    min_per_category: int = 0
    """Give a category back its best low scores until it has this many."""
    max_per_category: int | None = None
    """Keep at most this many of a category, the highest clean_score first."""
    drop_duplicates: bool = True
    """Keep one of each group of copies inside a category."""
    drop_against: bool = True
    """Drop copies of the images the crawl was compared against (the user's test set)."""
    drop_flags: tuple[str, ...] = ()
    """Drop images with one of these quality flags."""
    require: tuple[str, ...] = ()
    """What attached columns have to be, see `ops.requirements`."""

    def __post_init__(self) -> None:
        for name in ("threshold", "target_purity", "keep_fraction"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1]; got {value!r}")
        if self.min_per_category < 0:
            raise ValueError(f"min_per_category must be at least 0; got {self.min_per_category!r}")
        if self.max_per_category is not None and self.max_per_category < max(1, self.min_per_category):
            raise ValueError(
                f"max_per_category must be at least 1 and min_per_category ({self.min_per_category});"
                f" got {self.max_per_category!r}"
            )


@dataclass(frozen=True, slots=True)
class Verdicts:
    """keep_N: bool (N,); reason_N: str (N,), `ok` where kept."""

    keep_N: Bools
    reason_N: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Settled:
    """The copies that go: duplicate_drop_N inside one category, conflict_drop_N across categories."""

    duplicate_drop_N: Bools
    conflict_drop_N: Bools


@dataclass(frozen=True, slots=True)
class Relabelled:
    """Labels and scores after relabelling: category_N int, clean_score_N float64, changed_N bool."""

    category_N: Ints
    clean_score_N: Floats
    changed_N: Bools


def settle_groups(group_N: Ints, keeper_N: Bools, category_N: Ints, clean_score_N: Floats) -> Settled:
    """Choose the one member of each duplicate group that may stay.

    Inside one category that is the technical keeper, whatever the scores: the copies show the same
    picture under the same label, so they share its fate, and a copy never stands in for a keeper
    whose label is judged wrong. Where the labels of a group contradict each other at most one can be
    right: the member with the highest clean_score may stay (it still has to pass the policy), all
    others are conflicts, those that agree with it too.

    Args:
        group_N: int (N,), the group of each image, `NO_GROUP` without a copy.
        keeper_N: bool (N,), True for the technical keeper of a group inside one category. A group that
            has none (relabelling made it agree) is settled by clean_score.
        category_N: int (N,), the label.
        clean_score_N: float64 (N,), NaN counts as `NO_EVIDENCE`.

    Raises:
        ValueError: the lengths differ.
    """
    num_images = _same_length(
        group_N=group_N, keeper_N=keeper_N, category_N=category_N, clean_score_N=clean_score_N
    )
    duplicate_drop_N = np.zeros(num_images, dtype=bool)
    conflict_drop_N = np.zeros(num_images, dtype=bool)
    member_M = np.flatnonzero(group_N != NO_GROUP)
    score_N = _ordering(clean_score_N)
    # Members of one group side by side, the best score first, the smallest index first among equals.
    member_M = member_M[np.lexsort((member_M, -score_N[member_M], group_N[member_M]))]
    for members in (
        np.split(member_M, np.flatnonzero(np.diff(group_N[member_M])) + 1) if len(member_M) else ()
    ):
        agrees = bool((category_N[members] == category_N[members[0]]).all())
        keepers = members[np.asarray(keeper_N[members], dtype=bool)]
        winner = keepers.min() if agrees and len(keepers) else members[0]
        losers = members[members != winner]
        (duplicate_drop_N if agrees else conflict_drop_N)[losers] = True
    return Settled(duplicate_drop_N, conflict_drop_N)


def relabel(
    category_N: Ints,
    clean_score_N: Floats,
    suggested_N: Ints,
    suggested_probability_N: Floats,
    *,
    threshold: float,
) -> Relabelled:
    """Give images the suggested category where it is clearly the likelier one.

    That is where the suggested category's probability is at least `threshold` and above the
    probability that the label is right. The new label's probability becomes its clean_score.

    Args:
        category_N: int (N,), the label.
        clean_score_N: float64 (N,), P(label right), NaN without evidence (such an image keeps its label).
        suggested_N: int (N,), the suggested category, negative for none.
        suggested_probability_N: float64 (N,), P(suggested category right), NaN for none.
        threshold: bar in [0, 1] for the suggested probability.

    Raises:
        ValueError: the lengths differ or the threshold is outside [0, 1].
    """
    _same_length(
        category_N=category_N,
        clean_score_N=clean_score_N,
        suggested_N=suggested_N,
        suggested_probability_N=suggested_probability_N,
    )
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must lie in [0, 1]; got {threshold!r}")
    changed_N = (
        (suggested_N >= 0)
        & (suggested_N != category_N)
        & (suggested_probability_N >= threshold)  # False for NaN
        & (suggested_probability_N > clean_score_N)
    )
    return Relabelled(
        np.where(changed_N, suggested_N, category_N),
        np.where(changed_N, suggested_probability_N, clean_score_N),
        changed_N,
    )


def decide_keep(
    clean_score_N: Floats,
    category_N: Ints,
    status_N: Sequence[str],
    duplicate_drop_N: Bools,
    conflict_drop_N: Bools,
    against_N: Bools,
    policy: Policy,
    flagged: Mapping[str, Bools] | None = None,
    excluded_N: Bools | None = None,
    unmet: Sequence[tuple[str, Bools]] = (),
) -> Verdicts:
    """Keep or drop each image, with one reason each.

    The first of these that holds is the reason: `excluded`, `bad_file:<status>`, `policy:excluded`, `duplicate`,
    `label_conflict`, `policy:against`, `policy:flag_<flag>`, `policy:require_<column>`,
    `low_score` (under `policy.threshold`), `policy:<name>`, `ok`.
    Images with no evidence (NaN) fall under no threshold and no purity target.

    Args:
        clean_score_N: float64 (N,), P(label right), NaN without evidence.
        category_N: int (N,), the label.
        status_N: N words of `schema.STATUSES`.
        duplicate_drop_N: bool (N,), copies inside one category that give way (see `settle_groups`).
        conflict_drop_N: bool (N,), copies across categories that give way.
        against_N: bool (N,), copies of the images the crawl was compared against.
        policy: the rules.
        flagged: flag -> bool (N,), of each flag that the policy drops.
        excluded_N: bool (N,), images that somebody has asked to remove; not given: none.
        unmet: column -> bool (N,), where it is not what a requirement of the policy asks for.

    Raises:
        ValueError: the lengths differ.
    """
    flagged = flagged or {}
    given = {} if excluded_N is None else {"excluded_N": excluded_N}
    given |= {f"unmet {place}": where_N for place, (_, where_N) in enumerate(unmet)}
    num_images = _same_length(
        clean_score_N=clean_score_N,
        category_N=category_N,
        status_N=status_N,
        duplicate_drop_N=duplicate_drop_N,
        conflict_drop_N=conflict_drop_N,
        against_N=against_N,
        **flagged,
        **given,
    )
    status = np.asarray(status_N, dtype=np.str_)
    reason_N = np.full(num_images, schema.REASON_OK, dtype=object)

    def mark(where_N: Bools, reason: str) -> None:
        reason_N[np.asarray(where_N, dtype=bool) & (reason_N == schema.REASON_OK)] = reason

    for word in np.unique(status[status != schema.STATUS_OK]):
        mark(status == word, status_reason(str(word)))
    if excluded_N is not None:
        mark(excluded_N, _EXCLUDED)
    if policy.drop_duplicates:
        mark(duplicate_drop_N, schema.REASON_DUPLICATE)
    mark(conflict_drop_N, schema.REASON_LABEL_CONFLICT)
    if policy.drop_against:
        mark(against_N, _AGAINST)
    for name in policy.drop_flags:
        mark(flagged[name], f"{_FLAG}{name}")
    for column, where_N in unmet:
        mark(where_N, f"{_REQUIRE}{column}")

    # From here on only scores speak, so what they drop is what `min_per_category` may give back.
    eligible_N = reason_N == schema.REASON_OK
    if policy.threshold is not None:
        mark(clean_score_N < policy.threshold, schema.REASON_LOW_SCORE)
    if policy.keep_fraction is not None:
        room_N = _part(policy.keep_fraction, _category_sizes(category_N, eligible_N))
        mark(_position_in_category(clean_score_N, category_N, eligible_N) >= room_N, _KEEP_FRACTION)
    if policy.target_purity is not None:
        within_N = reason_N == schema.REASON_OK
        mark(within_N & ~_purest(clean_score_N, within_N, policy.target_purity), _TARGET_PURITY)
    if policy.max_per_category is not None:
        place_N = _position_in_category(clean_score_N, category_N, reason_N == schema.REASON_OK)
        mark(place_N >= policy.max_per_category, _MAX_PER_CATEGORY)
    if policy.min_per_category > 0:
        kept_N = reason_N == schema.REASON_OK
        given_up_N = eligible_N & ~kept_N
        missing_N = policy.min_per_category - _category_sizes(category_N, kept_N)
        back_N = given_up_N & (_position_in_category(clean_score_N, category_N, given_up_N) < missing_N)
        reason_N[back_N] = schema.REASON_OK

    return Verdicts((reason_N == schema.REASON_OK).astype(bool), reason_N.astype(np.str_))


def status_reason(status: str) -> str:
    """The reason of an image that is not usable: `excluded`, else `bad_file:<status>`."""
    if status == schema.STATUS_EXCLUDED:
        return schema.REASON_EXCLUDED
    return f"{schema.REASON_BAD_FILE}:{status}"


def net_weight(clean_score_N: Floats) -> Floats:
    """Training weight max(0, 2 P - 1) of a label that is right with probability P, float64 in [0, 1].

    P(right) - P(wrong): what the label teaches on balance. It is exactly 0 from an even chance down, 1 for
    a certain label; an image that nobody judged (NaN) weighs 1.
    """
    return np.where(np.isnan(clean_score_N), 1.0, np.maximum(0.0, 2.0 * clean_score_N - 1.0))


def export_weights(decided_N: Floats, is_decided_N: Bools, clean_score_N: Floats) -> Floats:
    """Weight of each image in training, in [0, 1] where the decided weights are.

    The decided weight where there is one for the label that the image is exported with; the net weight of
    its score where the decisions dropped the image or it was relabelled.

    Args:
        decided_N: float64 (N,), weights of the decisions.
        is_decided_N: bool (N,), images that the decisions kept and that have their label still.
        clean_score_N: float64 (N,), P(label right) under the label it is exported with, NaN without evidence.

    Raises:
        ValueError: the lengths differ.
    """
    _same_length(decided_N=decided_N, is_decided_N=is_decided_N, clean_score_N=clean_score_N)
    return np.where(np.asarray(is_decided_N, dtype=bool), decided_N, net_weight(clean_score_N))


def is_score_reason(reason: str) -> bool:
    """Whether an image was dropped for its score alone, so that a softer use may still weigh it."""
    soft = (schema.REASON_LOW_SCORE, _TARGET_PURITY, _KEEP_FRACTION)
    return reason in soft


def _same_length(**arrays: Sequence[str] | NDArray[np.generic]) -> int:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"one value an image is needed in each array; got lengths {lengths}")
    return next(iter(lengths.values()))


def _ordering(clean_score_N: Floats) -> Floats:
    return np.where(np.isnan(clean_score_N), NO_EVIDENCE, clean_score_N)


def _part(fraction: float, count_N: NDArray[np.int64]) -> NDArray[np.int64]:
    # Float dust goes before rounding up: 0.07 * 100 is 7.000000000000001 and means 7.
    return np.asarray(np.ceil(fraction * count_N - 1e-9), dtype=np.int64)


def _category_sizes(category_N: Ints, among_N: Bools) -> NDArray[np.int64]:
    """For each image, how many images of its category are in `among_N`."""
    _, inverse_N = np.unique(category_N, return_inverse=True)
    sizes_C = np.bincount(inverse_N[among_N], minlength=int(inverse_N.max(initial=-1)) + 1)
    return np.asarray(sizes_C[inverse_N], dtype=np.int64)


def _position_in_category(clean_score_N: Floats, category_N: Ints, among_N: Bools) -> NDArray[np.int64]:
    """0-based place by falling score among the images of `among_N` in one category; -1 elsewhere."""
    position_N = np.full(len(category_N), -1, dtype=np.int64)
    index_M = np.flatnonzero(among_N)
    order_M = index_M[np.lexsort((index_M, -_ordering(clean_score_N)[index_M], category_N[index_M]))]
    if len(order_M):
        new_M = np.r_[True, np.diff(category_N[order_M]) != 0]
        start_M = np.maximum.accumulate(np.where(new_M, np.arange(len(order_M)), 0))
        position_N[order_M] = np.arange(len(order_M)) - start_M
    return position_N


def _purest(clean_score_N: Floats, among_N: Bools, target: float) -> Bools:
    """The most images of `among_N` whose mean score is at least `target`; those without a score stay.

    The running mean over falling scores never rises, so the longest prefix that reaches the target
    is the largest such set.
    """
    known_M = np.flatnonzero(among_N & ~np.isnan(clean_score_N))
    order_M = known_M[np.lexsort((known_M, -clean_score_N[known_M]))]
    mean_M = np.cumsum(clean_score_N[order_M]) / np.arange(1, len(order_M) + 1)
    reached = np.flatnonzero(mean_M >= target - 1e-12)  # a mean of equal numbers may lose the last bit
    pure_N = among_N & np.isnan(clean_score_N)
    pure_N[order_M[: reached[-1] + 1 if len(reached) else 0]] = True
    return pure_N
