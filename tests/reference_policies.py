"""Keep and drop, one image at a time, as the words of the design say it."""

from __future__ import annotations

import math
from fractions import Fraction


def settle_groups(group, keeper, category, score):
    """(duplicate, conflict) lists, group by group."""
    duplicate, conflict = [False] * len(group), [False] * len(group)
    for g in sorted(set(group) - {-1}):
        members = [i for i in range(len(group)) if group[i] == g]
        best = max(members, key=lambda i: (0.5 if math.isnan(score[i]) else score[i], -i))
        if len({category[i] for i in members}) == 1:
            keepers = [i for i in members if keeper[i]]
            stays = keepers[0] if keepers else best
            for i in members:
                duplicate[i] = i != stays
        else:
            for i in members:
                conflict[i] = i != best
    return duplicate, conflict


def decide_keep(score, category, status, duplicate, conflict, against, policy, flagged=()):
    """(keep, reason) lists."""
    n = len(score)
    reason = ["ok"] * n
    order = [0.5 if math.isnan(s) else s for s in score]
    for i in range(n):
        usable = status[i] == "ok"
        if status[i] == "excluded":
            reason[i] = "excluded"
        elif not usable:
            reason[i] = f"bad_file:{status[i]}"
        elif duplicate[i] and policy.drop_duplicates:
            reason[i] = "duplicate"
        elif conflict[i]:
            reason[i] = "label_conflict"
        elif against[i] and policy.drop_against:
            reason[i] = "policy:against"
        else:
            for name in policy.drop_flags:
                if reason[i] == "ok" and flagged[name][i]:
                    reason[i] = f"policy:flag_{name}"
    eligible = [i for i in range(n) if reason[i] == "ok"]
    if policy.threshold is not None:
        for i in eligible:
            if score[i] < policy.threshold:
                reason[i] = "low_score"
    categories = sorted(set(category))
    if policy.keep_fraction is not None:
        for c in categories:
            inside = sorted((i for i in eligible if category[i] == c), key=lambda i: (-order[i], i))
            # A flag's 0.7 means seven tenths, whatever the nearest binary number is.
            room = math.ceil(Fraction(str(policy.keep_fraction)) * len(inside))
            for i in inside[room:]:
                if reason[i] == "ok":
                    reason[i] = "policy:keep-fraction"
    if policy.target_purity is not None:
        left = sorted(
            (i for i in eligible if reason[i] == "ok" and not math.isnan(score[i])),
            key=lambda i: (-score[i], i),
        )
        take = max(
            k
            for k in range(len(left) + 1)
            if k == 0 or sum(score[i] for i in left[:k]) / k >= policy.target_purity - 1e-12
        )
        for i in left[take:]:
            reason[i] = "policy:target-purity"
    for c in categories:
        members = sorted((i for i in range(n) if category[i] == c), key=lambda i: (-order[i], i))
        if policy.max_per_category is not None:
            for i in [i for i in members if reason[i] == "ok"][policy.max_per_category :]:
                reason[i] = "policy:max-per-category"
        missing = policy.min_per_category - sum(reason[i] == "ok" for i in members)
        for i in [i for i in members if i in eligible and reason[i] != "ok"][: max(missing, 0)]:
            reason[i] = "ok"
    return [r == "ok" for r in reason], reason
