import numpy as np
import pytest
import reference_somnet as reference
import torch
from torch.nn import functional

from webclean.nn.losses import value_loss, weighted_cross_entropy


def batch(seed=0, size=6, categories=4):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, categories, generator=draw, dtype=torch.float64).requires_grad_()
    target = torch.randint(categories, (size,), generator=draw)
    return logits, target, torch.rand(size, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("normalised", [False, True])
def test_matches_the_literal_version(normalised):
    logits, target, weight = batch()
    slow = reference.weighted_cross_entropy(logits.tolist(), target.tolist(), weight.tolist(), normalised)
    loss = weighted_cross_entropy(logits, target, weight, normalised=normalised)
    assert float(loss.detach()) == pytest.approx(slow)


@pytest.mark.parametrize("normalised", [False, True])
def test_weight_one_is_cross_entropy(normalised):
    logits, target, _ = batch()
    loss = weighted_cross_entropy(logits, target, torch.ones(6, dtype=torch.float64), normalised=normalised)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, target))


def test_a_rows_gradient_is_its_weight_times_its_own():
    logits, target, weight = batch()
    weight[2] = 0.0
    (gradient,) = torch.autograd.grad(weighted_cross_entropy(logits, target, weight), logits)
    (plain,) = torch.autograd.grad(functional.cross_entropy(logits, target), logits)
    torch.testing.assert_close(gradient, weight[:, None] * plain)
    assert not gradient[2].any()


def test_normalised_form_does_not_see_the_scale():
    logits, target, weight = batch()
    one = weighted_cross_entropy(logits, target, weight, normalised=True)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, 9.0 * weight, normalised=True), one)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_batch_without_weight_has_loss_zero(normalised):
    logits, target, weight = batch()
    loss = weighted_cross_entropy(logits, target, 0 * weight, normalised=normalised)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not logits.grad.any()


def test_value_loss_by_hand():
    p = torch.tensor([[0.6, 0.8 * 0.5, 0.0]])
    expected = -0.6 / np.hypot(0.6, 0.4)
    assert float(value_loss(p, torch.tensor([0]))) == pytest.approx(expected)
    assert float(value_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))) == -1.0
