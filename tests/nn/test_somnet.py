from dataclasses import replace

import numpy as np
import pytest
import torch
from som_world import CATEGORIES, ROIS, make_learner, make_world
from torch.nn import functional

from webclean.nn import loop
from webclean.nn.loop import LoopOptions
from webclean.nn.plain import plain_options
from webclean.nn.somnet import SomnetOptions, judge
from webclean.ops.roi_weights import Curriculum

OPTIONS = LoopOptions(epochs=6, learning_rate=0.02)


@pytest.fixture(scope="module")
def world():
    return make_world()


def train(learner, epochs=6):
    return loop.fit(learner.net, learner, replace(OPTIONS, epochs=epochs))


def auroc(right, wrong):
    return float(np.mean(right[:, None] > wrong[None]) + 0.5 * np.mean(right[:, None] == wrong[None]))


def test_warm_up_bags_of_one_are_ordinary_cross_entropy(world):
    learner = make_learner(world, images_per_bag=1, warmup_epochs=5, memory_epochs=1)
    with torch.no_grad():
        learner.net.head.weight.normal_()
    batch = learner.batches(0)[0]
    loss, parts = learner.loss(batch, 0)
    whole = world.rows.take(batch.images_BG[:, 0])[:, 0].float()
    expected = functional.cross_entropy(learner.net.head(whole), torch.from_numpy(batch.category_B))
    torch.testing.assert_close(loss, expected)
    assert set(parts) == {"classification"}


def test_a_bag_is_the_mean_of_its_images_in_the_warm_up(world):
    learner = make_learner(world, images_per_bag=3)
    batch = learner.batches(0)[0]
    seen = learner._look(batch, None)
    whole = world.rows.take(batch.images_BG.reshape(-1))[:, 0].float().reshape(*batch.images_BG.shape, -1)
    torch.testing.assert_close(seen.bag_BE, whole.mean(dim=1))
    np.testing.assert_allclose(seen.weight_BM.reshape(-1, 3, ROIS)[:, :, 0], 1 / 3)


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_images_own_loss_is_weighted_cross_entropy_of_whole_images(world, epoch):
    rng = np.random.default_rng(5)
    weighted = replace(world, labels=replace(world.labels, loss_N=rng.random(len(world.labels.loss_N))))
    learner = make_learner(weighted, images_per_bag=3, warmup_epochs=2, image_loss=0.5)
    train(learner, epochs=2)
    batch = learner.batches(epoch)[0]
    loss, parts = learner.loss(batch, epoch)
    images = batch.images_BG.reshape(-1)
    whole = learner.rows.take(images)[:, 0].float()
    logs = torch.log_softmax(learner.net.head(whole), dim=1)
    picked = logs[torch.arange(len(images)), torch.from_numpy(weighted.labels.category_N[images])]
    weights = torch.from_numpy(weighted.labels.loss_N[images]).float()
    expected = float((-(weights * picked).sum() / weights.sum()).detach())
    assert parts["images"] == pytest.approx(expected, rel=1e-5)
    rest = parts["classification"] + learner.options.beta * parts.get("memory", 0.0)
    assert float(loss.detach()) == pytest.approx(rest + 0.5 * expected, rel=1e-5)


def test_bags_do_not_depend_on_the_order_of_images_or_rois(world):
    learner = make_learner(world, images_per_bag=2)
    train(learner, epochs=3)
    batch = learner.batches(3)[0]
    turned = replace(batch, images_BG=batch.images_BG[:, ::-1])
    # All ROIs stay: where only some do, those of equal score are told apart by their index.
    one, two = learner._look(batch, 100.0).bag_BE, learner._look(turned, 100.0).bag_BE
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["counts", "gradient", "kmeans", "gradient-keys"])
def test_background_weighs_nothing_and_flipped_labels_score_low(world, kind):
    memory = {
        "counts": {}, "gradient": {"value_update": "gradient"}, "kmeans": {"key_update": "kmeans"},
        "gradient-keys": {"key_update": "gradient"},
    }[kind]  # fmt: skip
    learner = make_learner(world, memory=memory, kmeans=kind == "kmeans", beta=1.0)
    options = replace(OPTIONS, epochs=10, memory_rate=0.3)
    loop.fit(learner.net, learner, options)
    images = np.arange(len(world.is_wrong_N))
    judged = judge(learner.net, world.rows, images, world.labels.category_N)
    background_d = judged.d_NR[world.is_background_NR]
    object_d = judged.d_NR[~world.is_wrong_N, 1:3]
    assert object_d.mean() > background_d.mean() + 0.15
    score_N = judged.d_NR.mean(axis=1)
    assert auroc(score_N[~world.is_wrong_N], score_N[world.is_wrong_N]) > 0.75
    batch = learner.batches(50)[0]
    weight_BM = learner._look(batch, 20.0).weight_BM
    share = weight_BM.reshape(len(weight_BM), 2, ROIS)[:, :, 3:].sum() / weight_BM.sum()
    assert share < 0.2
    np.testing.assert_allclose(weight_BM.sum(axis=1), 1.0)


def test_training_lowers_the_loss_and_reports_the_memory(world):
    learner = make_learner(world)
    fitted = train(learner)
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"]
    assert [row["percent"] for row in fitted.history] == [None, None, 10, 15, 20, 25]
    assert 1 <= fitted.history[-1]["used_slots"] <= 16
    assert fitted.history[-1]["usefulness"] > 1.5


def test_the_memory_moves_only_in_its_epochs(world):
    learner = make_learner(world, warmup_epochs=3, memory_epochs=1)
    keys = learner.net.memory.keys_KD.clone()
    train(learner, epochs=2)
    assert torch.equal(learner.net.memory.keys_KD, keys)
    assert not learner.net.memory.counts_CK.any()
    train(learner, epochs=3)
    assert learner.net.memory.counts_CK.any()


def test_memory_gradient_reaches_the_encoder_only_when_asked(world):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(12))

        def forward(self, rows, num_rois=None):
            return rows[:, :num_rois].float() * self.scale

    def gradient(epoch, reach):
        learner = make_learner(
            world, memory={"key_update": "gradient"}, beta=1.0, memory_to_encoder=reach, warmup_epochs=2
        )
        learner.net.encoder = Scaled()
        batches = learner.batches(epoch)
        learner.start_epoch(0, batches)
        learner.net.head.weight.requires_grad_(False)  # zero weights: the classifier sends no gradient
        learner.net.head.bias.requires_grad_(False)
        loss, _ = learner.loss(batches[0], epoch)
        loss.backward()
        return learner.net.encoder.scale.grad

    assert not gradient(0, reach=True).any()
    assert gradient(5, reach=True).any()
    assert not gradient(5, reach=False).any()


def test_image_weights_reach_the_loss_through_the_rois(world):
    loss_N = np.where(world.is_wrong_N, 0.0, 1.0)
    weighted = replace(world, labels=replace(world.labels, loss_N=loss_N))
    learner = make_learner(weighted)
    batch = learner.batches(0)[0]
    seen = learner._look(batch, None)
    np.testing.assert_allclose(
        learner._loss_weights(batch, seen.weight_BM, seen.bag_BE).numpy(),
        loss_N[batch.images_BG].mean(axis=1),
    )


def test_images_left_out_are_never_drawn_and_gaps_are_reported(world):
    sampling = np.where(world.labels.category_N == 1, 0.0, 1.0)
    sampling[np.flatnonzero(world.labels.category_N == 2)[1:]] = 0.0
    learner = make_learner(replace(world, labels=replace(world.labels, sampling_N=sampling)))
    assert learner.empty_categories.tolist() == [1]
    assert learner.short_categories.tolist() == [2]
    drawn = np.concatenate([batch.images_BG.reshape(-1) for batch in learner.batches(0)])
    assert (sampling[drawn] > 0).all()
    assert sum(len(batch.category_B) for batch in learner.batches(0)) > 0
    assert len(learner.batches(0)) == learner.steps_per_epoch


def test_curriculum_stops_on_a_fall_of_the_validation_accuracy(world):
    held_out = np.zeros(len(world.is_wrong_N), dtype=bool)
    held_out[::9] = True
    curriculum = Curriculum(start=50, step=5, stop_above=40)
    learner = make_learner(
        replace(world, labels=replace(world.labels, held_out_N=held_out)),
        curriculum=curriculum,
        epochs_per_round=2,
    )
    drawn = np.concatenate([batch.images_BG.reshape(-1) for batch in learner.batches(0)])
    assert not held_out[drawn].any()
    history = [{"accuracy": a} for a in (0.1, 0.2, 0.9, 0.9, 0.5, 0.8)]
    assert not learner.is_over(2, history[:3])  # inside a round
    assert not learner.is_over(3, history[:4])  # first round
    assert learner.is_over(5, history)
    fitted = train(learner, epochs=3)
    assert 0.3 < fitted.history[-1]["accuracy"] <= 1.0


def test_plain_is_the_same_training_on_single_images(world):
    options = plain_options(SomnetOptions(images_per_bag=4, batch_bags=8))
    assert (options.images_per_bag, options.batch_bags) == (1, 32)
    learner = make_learner(world, with_memory=False, area=np.ones(1), images_per_bag=1, batch_bags=16)
    fitted = train(learner)
    assert set(fitted.history[-1]) >= {"loss", "classification", "percent"}
    assert "used_slots" not in fitted.history[-1]
    judged = judge(learner.net, world.rows, np.arange(20), world.labels.category_N[:20])
    assert judged.d_NR.shape == (20, 0)
    np.testing.assert_allclose(np.exp(judged.log_probability_NC).sum(axis=1), 1.0)


def test_judging_reads_the_memory_at_each_roi(world):
    learner = make_learner(world)
    train(learner, epochs=3)
    images = np.array([7, 3, 100])
    judged = judge(learner.net, world.rows, images, world.labels.category_N[images])
    d_CK, _ = learner.net.memory.scores()
    slots = learner.net.memory.winners(world.rows.take(images).float().reshape(-1, 12)).reshape(3, ROIS)
    np.testing.assert_array_equal(judged.slot_NR, slots)
    label = torch.from_numpy(world.labels.category_N[images])[:, None]
    np.testing.assert_allclose(judged.d_NR, d_CK[label, slots])
    assert judged.log_probability_NC.shape == (3, CATEGORIES)
    assert judge(learner.net, world.rows, images[:0], images[:0]).log_probability_NC.shape == (0, CATEGORIES)
