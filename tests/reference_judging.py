"""Slow literal versions of the judges' formulas, and small worlds in which the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class World:
    """N points of C categories with known wrong labels."""

    x_ND: np.ndarray
    true_N: np.ndarray
    label_N: np.ndarray

    @property
    def wrong_N(self) -> np.ndarray:
        return self.true_N != self.label_N


def world(
    num: int, categories: int, share: float, *, kind: str = "uniform", apart: float = 1.0, seed: int = 0
):
    """Gaussian blobs in 16 dimensions; `share` of the labels are wrong, anywhere or among siblings (c, c^1)."""
    rng = np.random.default_rng(seed)
    true_N = np.arange(num) % categories
    x_ND = apart * rng.normal(size=(categories, 16))[true_N] + rng.normal(size=(num, 16))
    label_N = true_N.copy()
    wrong = rng.permutation(num)[: round(share * num)]
    step = rng.integers(1, categories, len(wrong))
    label_N[wrong] = true_N[wrong] ^ 1 if kind == "sibling" else (true_N[wrong] + step) % categories
    return World(x_ND, true_N, label_N)


def judged(
    world: World, categories: int, *, sure: float = 4.0, spread: float = 1.5, seed: int = 1
) -> np.ndarray:
    """Log-probabilities (N, C) of a judge that gives the true category a logit N(sure, spread) above N(0, 1)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(world.true_N), categories))
    logits[np.arange(len(world.true_N)), world.true_N] = rng.normal(sure, spread, len(world.true_N))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def auroc(score_N: np.ndarray, right_N: np.ndarray) -> float:
    """P(a right image scores above a wrong one), ties counted half."""
    right, wrong = score_N[right_N], score_N[~right_N]
    above = (right[:, None] > wrong).mean() + 0.5 * (right[:, None] == wrong).mean()
    return float(above)


def log_margin(log_p: list[float], label: int) -> float:
    return log_p[label] - max(value for c, value in enumerate(log_p) if c != label)


def ridge(x, label, weight, x_test, num, strength):
    """Closed form (X'WX + strength I)^-1 X'W(Y - prior)."""
    onehot = np.eye(num)[label]
    prior = weight @ onehot / weight.sum()
    w = np.diag(weight)
    beta = np.linalg.solve(x.T @ w @ x + strength * np.eye(x.shape[1]), x.T @ w @ (onehot - prior))
    return x_test @ beta + prior


def vote(features, label, group, num, k, temperature, weight):
    """Votes of the k nearest images that are neither the image nor its copies, one image at a time."""
    unit = [row / np.linalg.norm(row) for row in features]
    rows = []
    likeness = []
    for i, own in enumerate(unit):
        others = [j for j in range(len(unit)) if j != i and (group[i] < 0 or group[j] != group[i])]
        near = sorted(others, key=lambda j: (-float(own @ unit[j]), j))[:k]
        votes = [weight[j] * math.exp((float(own @ unit[j]) - 1) / temperature) for j in near]
        share = np.full(num, max(0.01 * sum(votes) / max(1, len(votes)), 1e-300))
        for j, value in zip(near, votes, strict=True):
            share[label[j]] += value
        rows.append(np.log(share / share.sum()))
        likeness.append(np.mean([float(own @ unit[j]) for j in near[:10]]) if near else math.nan)
    return np.array(rows), np.array(likeness)
