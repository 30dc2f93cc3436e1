"""What a round's image judges make of the labels: how far the next round's judges shall believe each of them.

Only the images speak here. So text and rank stay a view of their own, and what they are worth can be learnt
on the image view in every round.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from webclean import schema
from webclean.config import BelieveConfig
from webclean.io import tables
from webclean.ops.clean_score import image_view, rows_of
from webclean.ops.label_noise import calibrate
from webclean.stages.base import Context, Counts
from webclean.stages.judged import read_usable
from webclean.stages.predictions import Judgement, read_predictions, rows_in_scratch


def run(config: BelieveConfig, context: Context) -> Counts:
    """Write beliefs/r<k>: P(label right) of every usable image, as its looks tell it.

    Images that no judge has an opinion of are believed as the crawl is in the mean.
    """
    usable = read_usable(context.run)

    def judge(name: str) -> Judgement | None:
        artefact = schema.predictions_path(name, config.round)
        if not context.has(artefact):
            return None
        found = read_predictions(context.run, artefact, usable)
        return found if found.known_N.any() else None

    judges = [judge(schema.JUDGE_IMAGE), judge(schema.JUDGE_NEIGHBORS)]
    num = len(usable.label_N)
    known_N = np.zeros(num, dtype=bool)
    for one in judges:
        if one is not None:
            known_N |= one.known_N
    head_NC, neighbors_NC = (None if one is None else one.log_probability_NC for one in judges)
    room = partial(rows_in_scratch, context.run)
    view_NC = image_view(head_NC, neighbors_NC, config.neighbor_weight, room)
    p_right_N: NDArray[np.float64] = np.ones(num)
    share: float | None = None
    if view_NC is not None:
        found = calibrate(rows_of(view_NC, known_N, room), usable.label_N[known_N])
        share = round(1.0 - float(found.p_right_N.mean()), 4)
        p_right_N[:] = found.p_right_N.mean()
        p_right_N[known_N] = found.p_right_N
    start = 0
    for index, size in enumerate(usable.part_sizes):
        rows = slice(start, start + size)
        start += size
        part = {schema.IMAGE_ID: usable.image_ids.slice(rows.start, size), schema.P_RIGHT: p_right_N[rows]}
        tables.write_part(context.run, schema.beliefs_path(config.round), index, part, schema.BELIEFS_TABLE)
    context.result |= {"wrong_share": share, "judged": int(known_N.sum())}
    return Counts(total=usable.num_images, forwarded=num, dropped=usable.left_out)
