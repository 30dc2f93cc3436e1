"""No leak: an encoder that memorised the labels is refused, and one trained fold by fold finds the wrong ones.

40 % of the labels are random. A judge that has seen a label repeats it, however wrong, so a wrong label
looks as sure as a right one; the same network without the image's own fold does not.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference_judging as reference
import torch
from judged_run import JudgedRun

from webclean.config import JudgeImageConfig
from webclean.errors import ConfigError
from webclean.ops.folds import grouped_folds
from webclean.ops.heads import cross_fit, log_margin, log_softmax, ridge

N, C, SHARE = 400, 4, 0.4


@pytest.fixture(scope="module")
def world():
    return reference.world(N, C, SHARE, apart=0.8, seed=3)


@pytest.fixture(scope="module")
def fold_N(world):
    return grouped_folds(world.label_N, np.full(N, -1), 5, np.random.default_rng(0))


def _encoded(world, train_N, *, steps):
    """Logits of all images by a small network trained on some of the noisy labels."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(16, 256), torch.nn.ReLU(), torch.nn.Linear(256, C))
    x = torch.tensor(world.x_ND, dtype=torch.float32)
    y = torch.tensor(world.label_N)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    rows = torch.tensor(np.flatnonzero(train_N))
    for _ in range(steps):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        adam.step()
    with torch.no_grad():
        return net(x).numpy().astype(np.float64)


@pytest.fixture(scope="module")
def memorised(world):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logits_NC = _encoded(world, np.ones(N, bool), steps=250)
    torch.set_num_threads(threads)
    assert (logits_NC.argmax(axis=1) == world.label_N).mean() > 0.97  # it knows the random labels by heart
    return logits_NC


def test_a_head_on_memorised_features_finds_next_to_nothing(world, fold_N, memorised):
    """Why such features are refused: folds of the head alone do not undo what the encoder has seen."""
    fit = cross_fit(memorised, world.label_N, fold_N, C, ridge, (1.0, 10.0))
    leaked = reference.auroc(log_margin(fit.log_probability_NC, world.label_N), ~world.wrong_N)
    clean = cross_fit(world.x_ND, world.label_N, fold_N, C, ridge, (1.0, 10.0, 100.0))
    found = reference.auroc(log_margin(clean.log_probability_NC, world.label_N), ~world.wrong_N)
    assert leaked < 0.75
    assert found > 0.93


def test_the_stage_refuses_them(world, memorised, tmp_path):
    made = JudgedRun(tmp_path, world)
    made.features(memorised, label_free=False)
    with pytest.raises(ConfigError, match="trained on these labels") as caught:
        made.execute("judge-image", JudgeImageConfig(features="default"))
    assert caught.value.exit_code == 2
    assert not made.run.exists("predictions/image-r1/run.json")


def test_an_encoder_trained_fold_by_fold_finds_the_wrong_labels(world, fold_N):
    """The judge from scratch works like this: each network never saw the fold that it judges."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logits_NC = np.empty((N, C))
    for fold in range(5):
        logits_NC[fold_N == fold] = _encoded(world, fold_N != fold, steps=30)[fold_N == fold]
    torch.set_num_threads(threads)
    found = reference.auroc(log_margin(log_softmax(logits_NC), world.label_N), ~world.wrong_N)
    assert found > 0.83


def test_copies_in_two_folds_would_leak_so_they_share_one(world, tmp_path):
    """Each image stands twice: a copy with the same wrong label must not vouch for it."""
    doubled = reference.World(*(np.repeat(a, 2, axis=0) for a in (world.x_ND, world.true_N, world.label_N)))
    scores = {}
    for name, groups in (("apart", []), ("together", [(2 * i, 2 * i + 1) for i in range(N)])):
        made = JudgedRun(tmp_path / name, doubled, groups=groups, part_rows=2 * N)
        made.features()
        made.judge(text=False, weights=False)
        found = [made.predictions(judge)["log_margin"].astype(float) for judge in ("image", "neighbors")]
        fold = made.predictions("image")["fold"].reshape(-1, 2)
        assert (fold[:, 0] == fold[:, 1]).all() == (name == "together")
        scores[name] = [reference.auroc(margin, ~doubled.wrong_N) for margin in found]
    assert min(scores["together"]) > 0.88
    assert scores["apart"][1] < scores["together"][1]
