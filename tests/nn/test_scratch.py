"""The judge from scratch: it learns, it never sees what it judges, and a kill changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from webclean.config import FoldsConfig
from webclean.nn import scratch
from webclean.nn.small import SmallClassifier, SmallNet

TINY = FoldsConfig(folds_width=4, folds_images=180, folds_batch=16, folds_rate=0.1, folds_average=0.8)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Networks this small only lose time to a second thread."""
    monkeypatch.setattr(scratch, "_NUM_THREADS", 1)


@pytest.fixture
def crawl():
    """60 squares of two kinds, bright above or bright below, in three folds."""
    rng = np.random.default_rng(0)
    label_N = np.arange(60) % 2
    images = rng.integers(0, 90, size=(60, 16, 16, 3)).astype(np.uint8)
    for image, label in zip(images, label_N, strict=True):
        image[slice(0, 8) if label else slice(8, 16)] += 150
    return images, label_N.astype(np.int64), (np.arange(60) // 2 % 3).astype(np.int64)


def _judge(crawl, **kwargs):
    return scratch.fold_predictions(*crawl, 2, TINY, **kwargs).logits_NC


def test_it_learns_and_finds_the_wrong_label(crawl):
    images, label_N, fold_N = crawl
    crawled_N = label_N.copy()
    crawled_N[[4, 17, 30]] ^= 1
    config = FoldsConfig(folds_width=4, folds_images=1500, folds_batch=16, folds_rate=0.1, folds_average=0.9)
    logits_NC = scratch.fold_predictions(images, crawled_N, fold_N, 2, config).logits_NC
    assert logits_NC.shape == (60, 2)
    assert logits_NC.dtype == np.float32
    rows = np.arange(60)
    margin_N = logits_NC[rows, crawled_N] - logits_NC[rows, 1 - crawled_N]
    assert set(np.argsort(margin_N)[:3]) == {4, 17, 30}


def test_same_seed_same_bytes_other_seed_other(crawl):
    first = _judge(crawl, seed=1)
    assert _judge(crawl, seed=1).tobytes() == first.tobytes()
    assert _judge(crawl, seed=2).tobytes() != first.tobytes()


def test_what_is_judged_is_never_learnt_from(crawl):
    """Turning all labels of a fold around changes nothing of that fold's own predictions."""
    images, label_N, fold_N = crawl
    before = _judge(crawl)
    turned_N = np.where(fold_N == 1, 1 - label_N, label_N)
    after = _judge((images, turned_N, fold_N))
    assert after[fold_N == 1].tobytes() == before[fold_N == 1].tobytes()
    assert after[fold_N == 0].tobytes() != before[fold_N == 0].tobytes()


def test_weight_zero_is_as_good_as_absent_labels(crawl):
    """An image of weight 0 stays in the batches, yet its label tells the network nothing."""
    images, label_N, fold_N = crawl
    weight_N = np.ones(60)
    weight_N[:10] = 0
    turned_N = label_N.copy()
    turned_N[:10] ^= 1
    a = _judge(crawl, weight_N=weight_N)
    b = _judge((images, turned_N, fold_N), weight_N=weight_N)
    np.testing.assert_array_equal(a, b)


def test_killed_anywhere_it_ends_with_the_same_bytes(crawl, tmp_path):
    whole = _judge(crawl)
    steps = 0

    def dies_at(limit):
        def advance(num):
            nonlocal steps
            steps += num
            if steps >= limit:
                raise KeyboardInterrupt

        return advance

    for limit in (130, 300, 350):  # inside an epoch of fold 0, of fold 1, and again
        steps = 0
        with pytest.raises(KeyboardInterrupt):
            _judge(crawl, checkpoint_dir=tmp_path, advance=dies_at(limit))
    told: list[int] = []
    assert _judge(crawl, checkpoint_dir=tmp_path, advance=told.append).tobytes() == whole.tobytes()
    assert sum(told) == scratch.training_images(crawl[2], TINY)
    assert _judge(crawl, checkpoint_dir=tmp_path).tobytes() == whole.tobytes()


def test_images_are_also_judged_by_a_network_that_was_shown_them(crawl, tmp_path):
    """The network that holds fold 0 back has seen fold 1: it says of an image there what it says of its copy in fold 0."""
    images, label_N, fold_N = crawl
    shown, held = np.flatnonzero(fold_N == 1)[:3], np.flatnonzero(fold_N == 0)[:3]
    images[shown] = images[held]
    found = scratch.fold_predictions(images, label_N, fold_N, 2, TINY, seen_M=shown, checkpoint_dir=tmp_path)
    np.testing.assert_allclose(found.seen_MC, found.logits_NC[held], atol=1e-5)
    assert not np.allclose(found.seen_MC, found.logits_NC[shown], atol=1e-3)
    again = scratch.fold_predictions(images, label_N, fold_N, 2, TINY, seen_M=shown, checkpoint_dir=tmp_path)
    assert again.seen_MC.tobytes() == found.seen_MC.tobytes()


def test_other_labels_do_not_take_up_a_checkpoint(crawl, tmp_path):
    images, label_N, fold_N = crawl
    _judge(crawl, checkpoint_dir=tmp_path)
    turned = (images, 1 - label_N, fold_N)
    assert _judge(turned, checkpoint_dir=tmp_path).tobytes() == _judge(turned).tobytes()


def test_an_empty_fold_and_a_category_without_images(crawl):
    images, label_N, fold_N = crawl
    gap_N = np.where(fold_N == 1, 3, fold_N)
    logits_NC = scratch.fold_predictions(images, label_N, gap_N, 5, TINY).logits_NC
    assert logits_NC.shape == (60, 5)
    assert np.isfinite(logits_NC).all()


def test_inputs_that_do_not_fit(crawl):
    images, label_N, fold_N = crawl
    with pytest.raises(ValueError, match="at least two folds"):
        _judge((images, label_N, np.zeros(60, dtype=np.int64)))
    with pytest.raises(ValueError, match="multiple of 16"):
        _judge((images[:, :10, :10], label_N, fold_N))
    with pytest.raises(ValueError, match="as many labels"):
        _judge((images, label_N[:5], fold_N))
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1"):
        _judge((images, label_N + 1, fold_N))


def test_augmented_images_stay_near_their_range():
    generator = torch.Generator().manual_seed(0)
    flat = torch.ones(32, 3, 16, 16)
    changed = scratch.augment(flat, generator)
    assert changed.shape == flat.shape
    # an even image stays even: only its colours change
    np.testing.assert_allclose(changed.amax(dim=(2, 3)), changed.amin(dim=(2, 3)), atol=1e-5)
    assert 0 < changed.min()
    assert changed.max() < 2


def test_half_of_the_augmented_images_are_mirrored():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-1, 1, 16).expand(400, 3, 16, 16)
    changed = scratch.augment(ramp, generator)
    mirrored = (changed[..., -1] - changed[..., 0]).mean(dim=(1, 2)) < 0
    assert 0.4 < mirrored.float().mean() < 0.6


def test_small_network_starts_as_its_shortcuts_and_halves_four_times():
    net = SmallNet(4).eval()
    map_NDHW, pooled_ND = net(torch.rand(2, 3, 64, 64))
    assert map_NDHW.shape == (2, 32, 4, 4)
    assert pooled_ND.shape == (2, net.dim)
    assert SmallClassifier(7, 4)(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="at least 1"):
        SmallNet(0)
