import pytest
import torch

from webclean.errors import ArtifactInvalidError, ArtifactMissingError
from webclean.io import checkpoints
from webclean.io.run_dir import RunDir


@pytest.fixture
def run(tmp_path):
    return RunDir(str(tmp_path))


def test_tensors_and_state_come_back(run):
    tensors = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(3, dtype=torch.int64)}
    state = {"epoch": 3, "history": [{"loss": 0.1 + 0.2}], "none": None}
    checkpoints.save_checkpoint(run, "c/x.safetensors", tensors, state)
    back, said = checkpoints.load_checkpoint(run, "c/x.safetensors")
    assert said == state
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_same_content_gives_the_same_bytes(run):
    one, two = {"a": torch.ones(3), "b": torch.zeros(2)}, {"b": torch.zeros(2), "a": torch.ones(3)}
    checkpoints.save_checkpoint(run, "1", one, {"x": 1, "y": 2})
    checkpoints.save_checkpoint(run, "2", two, {"y": 2, "x": 1})
    assert run.read_bytes("1") == run.read_bytes("2")
    checkpoints.save_weights(run, "3", one)
    checkpoints.save_weights(run, "4", two)
    assert run.read_bytes("3") == run.read_bytes("4")
    assert torch.equal(checkpoints.load_weights(run, "3")["a"], torch.ones(3))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimiser_goes_on_as_if_never_stopped(run, kind):
    def steps(layer, optimiser, num):
        for _ in range(num):
            optimiser.zero_grad()
            layer(torch.ones(2, 3)).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    options = {"lr": 0.01, "weight_decay": 0.1} | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    optimiser = kind(layer.parameters(), **options)
    steps(layer, optimiser, 3)
    tensors, packed = checkpoints.pack_optimiser(optimiser)
    checkpoints.save_checkpoint(run, "x", {**tensors, **layer.state_dict()}, {"optimiser": packed})
    steps(layer, optimiser, 3)

    other = torch.nn.Linear(3, 2)
    resumed = kind(other.parameters(), **options)
    tensors, state = checkpoints.load_checkpoint(run, "x")
    other.load_state_dict({name: tensors[name] for name in ("weight", "bias")})
    checkpoints.unpack_optimiser(resumed, tensors, state["optimiser"])
    steps(other, resumed, 3)
    assert torch.equal(layer.weight, other.weight)


def test_broken_files_are_named(run):
    with pytest.raises(ArtifactMissingError, match="does not exist"):
        checkpoints.load_checkpoint(run, "none")
    checkpoints.save_checkpoint(run, "x", {"a": torch.ones(100)}, {})
    run.write_bytes("cut", run.read_bytes("x")[:-50])
    with pytest.raises(ArtifactInvalidError, match="not a checkpoint"):
        checkpoints.load_checkpoint(run, "cut")
    checkpoints.save_weights(run, "bare", {"a": torch.ones(1)})
    with pytest.raises(ArtifactInvalidError, match="not a checkpoint"):
        checkpoints.load_checkpoint(run, "bare")
    with pytest.raises(ArtifactInvalidError, match="not a safetensors"):
        checkpoints.load_weights(run, "cut")


def test_an_optimiser_of_another_network_is_refused():
    one = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
    two = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    tensors, packed = checkpoints.pack_optimiser(one)
    with pytest.raises(ArtifactInvalidError, match="another optimiser"):
        checkpoints.unpack_optimiser(two, tensors, packed)
