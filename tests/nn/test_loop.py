import json
from pathlib import Path

import pytest
import torch
from som_world import make_learner, make_world

from webclean.errors import ArtifactInvalidError
from webclean.io.run_dir import RunDir
from webclean.nn import loop
from webclean.nn.loop import LoopOptions
from webclean.nn.threads import repeatable

GOLDEN = Path(__file__).parents[1] / "golden" / "somnet_losses.json"
OPTIONS = LoopOptions(epochs=4, learning_rate=0.02, weight_decay=0.01)
METHODS = {
    "counts": {},
    "gradient": {"memory": {"key_update": "gradient", "value_update": "gradient"}, "beta": 1.0},
    "kmeans": {"memory": {"key_update": "kmeans"}, "kmeans": True},
}


def learner(method="counts"):
    return make_learner(make_world(), warmup_epochs=1, memory_epochs=1, **METHODS[method])


def first_losses(method, num=20):
    """The first losses of a training on the made-up world: what the golden file holds."""
    with repeatable(num_threads=1, seed=0):
        made = learner(method)
        return loop.fit(made.net, made, OPTIONS, max_steps=num).losses


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [5, 12])
def test_resumed_training_is_the_unbroken_one(tmp_path, method, cut):
    """Ten (or 24) steps are five (twelve), save, load, and the rest: losses, memory and history alike."""
    run, whole = RunDir(str(tmp_path)), learner(method)
    assert whole.steps_per_epoch == 12
    unbroken = loop.fit(whole.net, whole, OPTIONS, max_steps=2 * cut)
    first = learner(method)
    begun = loop.fit(first.net, first, OPTIONS, run=run, checkpoint="c", max_steps=cut)
    assert not begun.is_finished
    torch.manual_seed(999)
    second = learner(method)
    resumed = loop.fit(second.net, second, OPTIONS, run=run, checkpoint="c", max_steps=cut)
    assert begun.losses + resumed.losses == unbroken.losses
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name
    without_clock = [{k: v for k, v in row.items() if k != "clock"} for row in unbroken.history]
    assert [{k: v for k, v in row.items() if k != "clock"} for row in resumed.history] == without_clock


def test_a_finished_training_is_only_loaded(tmp_path):
    run, first, second = RunDir(str(tmp_path)), learner(), learner()
    seen = []
    done = loop.fit(first.net, first, OPTIONS, run=run, checkpoint="c")
    again = loop.fit(
        second.net, second, OPTIONS, run=run, checkpoint="c", on_step=lambda n, loss: seen.append(n)
    )
    assert done.is_finished
    assert again.is_finished
    assert again.losses == []
    assert seen == [4 * 12]
    assert again.history == done.history
    assert not second.net.training


@pytest.mark.parametrize("method", METHODS)
def test_first_losses_are_the_golden_ones(method):
    stored = json.loads(GOLDEN.read_text())
    same = stored["torch"] == torch.__version__
    losses = first_losses(method)
    assert losses == pytest.approx(stored["losses"][method], rel=1e-6 if same else 1e-3, abs=1e-7)


def test_cosine_schedule_ends_at_zero_and_constant_does_not():
    made = learner()
    optimiser = loop.make_optimiser(made.net, OPTIONS)
    loop._set_rates(optimiser, OPTIONS, 0, 48)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.02)
    loop._set_rates(optimiser, OPTIONS, 24, 48)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.01)
    loop._set_rates(optimiser, LoopOptions(epochs=1, learning_rate=0.02, schedule="constant"), 47, 48)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.02)


def test_what_the_memory_learns_by_gradient_has_a_rate_of_its_own_and_no_decay():
    made = learner("gradient")
    groups = loop.make_optimiser(made.net, OPTIONS).param_groups
    assert [len(group["params"]) for group in groups] == [2, 3]
    assert groups[1]["lr"] == OPTIONS.memory_rate
    assert groups[1]["weight_decay"] == 0.0
    assert len(loop.make_optimiser(learner().net, OPTIONS).param_groups) == 1


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run = RunDir(str(tmp_path))
    made = learner()
    loop.fit(made.net, made, OPTIONS, run=run, checkpoint="c", max_steps=1)
    other = make_learner(make_world(), memory={"side": 3})
    with pytest.raises(ArtifactInvalidError, match="another network"):
        loop.fit(other.net, other, OPTIONS, run=run, checkpoint="c")
