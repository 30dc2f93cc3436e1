"""What decisions tell besides the score: what each part added, how much is wrong where, and at which ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.io import tables
from webclean.io.run_dir import RunDir
from webclean.ops.clean_score import Score
from webclean.ops.contributions import share_out
from webclean.ops.evidence import logit
from webclean.ops.rank_noise import by_band, depths
from webclean.ops.trusted import Correction
from webclean.ops.wrong_shares import wrong_shares
from webclean.stages.rows import Categories, Follow, floats, is_usable

Floats = NDArray[np.float64]

_TINY = 1e-12  # a probability of exactly 0 or 1 has no log-odds


def added(score: Score, correction: Correction | None) -> dict[str, Floats]:
    """Log-odds by column of what each part added to clean_score; they sum up to its log-odds.

    Args:
        score: before any correction by trusted labels.
        correction: by trusted labels.
    """
    num = len(score.clean_N)
    if score.no_judge:
        return {name: np.full(num, np.nan) for name in schema.ADDED}
    total_N = _log_odds(score.clean_N)
    alone = {
        schema.ADDED_RANK: score.p_rank_N,
        schema.ADDED_TEXT: score.p_mass_N,
        schema.ADDED_TEXT_JUDGE: score.p_text_judge_N,
        schema.ADDED_JUDGE: score.p_judge_N,
        schema.ADDED_NEIGHBORS: score.p_neighbors_N,
        schema.ADDED_SOMNET: score.p_somnet_N,
        **{f"{schema.ADDED_ATTACHED}:{name}": p_N for name, p_N in score.further.items()},
    }
    says = {name: _log_odds(p_N) - score.prior_odds for name, p_N in alone.items()}
    says[schema.ADDED_TOPIC] = np.log(np.maximum(score.p_topic_N, _TINY))  # a factor, so it only takes away
    parts = dict(
        zip(says, share_out(total_N - score.prior_odds, np.stack(list(says.values()), axis=1)).T, strict=True)
    )
    attached = [p_N for name, p_N in parts.items() if name.startswith(f"{schema.ADDED_ATTACHED}:")]
    found: dict[str, Floats] = {name: parts[name] for name in schema.ADDED if name in parts}
    found[schema.ADDED_ATTACHED] = np.nansum(attached, axis=0) if attached else np.full(num, np.nan)
    # Where no part is there, all there is to say is said without any.
    nothing_N = np.isnan(np.stack(list(says.values()))).all(axis=0)
    found[schema.ADDED_PRIOR] = np.where(nothing_N, total_N, score.prior_odds)
    found[schema.ADDED_TRUSTED] = (
        np.full(num, np.nan) if correction is None else _log_odds(correction.of(score.clean_N)) - total_N
    )
    return found


def _log_odds(p_N: Floats) -> Floats:
    return logit(np.clip(p_N, _TINY, 1.0 - _TINY))


def wrong(clean_N: Floats, label_N: NDArray[np.int64], categories: Categories) -> dict[str, Any]:
    """The estimated share of wrong labels in all and by category, with intervals."""
    found = wrong_shares(clean_N, label_N, categories.num)
    whole = wrong_shares(clean_N, np.zeros_like(label_N), 1)
    lows, highs = categories.by_name(found.low_C), categories.by_name(found.high_C)
    return {
        "wrong_share": round(float(whole.share_C[0]), 4),
        "wrong_share_interval": [round(float(whole.low_C[0]), 4), round(float(whole.high_C[0]), 4)],
        "wrong_share_by_category": categories.by_name(found.share_C),
        "wrong_share_interval_by_category": {name: [low, highs[name]] for name, low in lows.items()},
    }


def ranks(
    run: RunDir, stage1: str, clean_N: Floats, told: Mapping[str, Any], bar: float
) -> dict[str, Any] | None:
    """Estimated share of wrong labels by tenths of the result lists, and the depth worth keeping of each list.

    Where rank tells nothing on held-out images, the lists are worth keeping down to their end, and say so by
    `helps`. None without any rank.

    Args:
        run: run folder.
        stage1: the weights that hold each image's position.
        clean_N: P(label right) of the usable images.
        told: what was learnt of the rank.
        bar: share of right labels at which a position is still worth keeping.
    """
    follow = Follow(run, stage1, schema.STAGE1_TABLE, (schema.RANK_POSITION, schema.RANK_PERCENTILE))
    pieces: list[tuple[NDArray[Any], ...]] = []
    code_of: dict[tuple[str, str | None], int] = {}
    wanted = (schema.IMAGE_ID, schema.STATUS, schema.QUERY, schema.SOURCE)
    for part in tables.iter_parts(run, schema.IMAGES, schema.IMAGES_TABLE, wanted):
        usable_N = is_usable(part)
        weights = follow.take(part.column(schema.IMAGE_ID))
        pairs = zip(
            part.column(schema.QUERY).to_pylist(), part.column(schema.SOURCE).to_pylist(), strict=True
        )
        code_N = np.array([code_of.setdefault(pair, len(code_of)) for pair in pairs], dtype=np.int64)
        position_N = np.nan_to_num(floats(weights.column(schema.RANK_POSITION))).astype(np.int64)
        pieces.append(
            (code_N[usable_N], position_N[usable_N], floats(weights.column(schema.RANK_PERCENTILE))[usable_N])
        )
    list_N, position_N, percentile_N = (np.concatenate(one) for one in zip(*pieces, strict=True))
    if not (position_N > 0).any():
        return None
    bands = by_band(percentile_N, clean_N)
    list_of = list(code_of)
    helps = told.get("gain", 0.0) > 0
    found = depths(list_N, position_N, clean_N, bar)
    return {
        "helps": helps,
        "wrong_by_tenth": _rounded(bands.wrong_B),
        "fitted_by_tenth": _rounded(bands.fitted_B),
        "images_by_tenth": bands.count_B.tolist(),
        "bar": bar,
        "depths": [
            {
                "query": list_of[code][0],
                "source": list_of[code][1],
                "depth": depth if helps else length,
                "length": length,
            }
            for code, (depth, length) in sorted(found.items(), key=lambda item: str(list_of[item[0]]))
        ],
    }


def _rounded(value_B: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in value_B.tolist()]
