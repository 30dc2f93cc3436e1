import numpy as np
import pytest
import reference_somnet as reference
import torch
from torch.nn import functional

from webclean.errors import ConfigError
from webclean.nn.memory import LOGIT_LIMIT, MemoryOptions, SelfOrganizingMemory


def make(num_categories=4, dim=6, side=3, seed=0, **options):
    torch.manual_seed(seed)
    return SelfOrganizingMemory(num_categories, dim, MemoryOptions(side=side, **options))


def bags(num=10, dim=6, categories=4, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(num, dim, generator=draw), torch.randint(categories, (num,), generator=draw)


def test_losses_match_the_literal_version():
    memory = make(key_update="gradient", value_update="gradient")
    with torch.no_grad():
        memory.d_logits_CK.normal_()
        memory.r_logits_CK.normal_()
    x, y = bags()
    keys = memory.keys_KD.tolist()
    winners = [reference.winner(keys, row) for row in x.tolist()]
    assert memory.winners(x).tolist() == winners
    slow = reference.som_key_loss(keys, x.tolist(), 3, 1)
    d, r = reference.value_losses(
        memory.d_logits_CK.tolist(), memory.r_logits_CK.tolist(), y.tolist(), winners
    )
    assert float(memory.loss(x, y).detach()) == pytest.approx(slow + d + r, abs=1e-5)


def test_radius_zero_is_the_plain_key_loss():
    memory = make(key_update="gradient", radius=0)
    x, y = bags()
    best = memory.cosines(x).max(dim=1).values
    assert float(memory.loss(x, y).detach()) == pytest.approx(-float(best.detach().mean()), abs=1e-6)


def test_value_gradient_is_the_closed_form_and_touches_one_column_and_one_row():
    memory = make(value_update="gradient").double()
    with torch.no_grad():
        memory.d_logits_CK.normal_()
        memory.r_logits_CK.normal_()
    x, y = bags(num=1)
    memory.loss(x.double(), y).backward()
    z, label = int(memory.winners(x.double())[0]), int(y[0])
    for logits, gradient, target in (
        (memory.d_logits_CK[:, z], memory.d_logits_CK.grad[:, z], label),
        (memory.r_logits_CK[label], memory.r_logits_CK.grad[label], z),
    ):
        p = torch.softmax(logits.detach(), dim=0)
        s = p.norm()
        q = p**2 / s**2
        hot = functional.one_hot(torch.tensor(target), len(p))
        torch.testing.assert_close(gradient, -(p[target] / s) * (hot - q), atol=1e-12, rtol=0)
    memory.d_logits_CK.grad[:, z] = 0
    memory.r_logits_CK.grad[label] = 0
    assert not memory.d_logits_CK.grad.any()
    assert not memory.r_logits_CK.grad.any()


def test_gradient_descent_reaches_the_shares_of_the_counts():
    """The supplement's optimum: d = n / sum n, here for n = (7, 2, 1), and the same along a row."""
    logits = np.random.default_rng(3).normal(size=3)
    n = np.array([0.7, 0.2, 0.1])
    for _ in range(20_000):
        p = np.exp(logits) / np.exp(logits).sum()
        s = np.linalg.norm(p)
        # sum over y of n_y times the closed-form gradient, which autograd is compared with above
        logits = logits + n * p / s - (n * p).sum() / s * p**2 / s**2
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), n, atol=1e-4)


def test_optimum_value_is_minus_the_length_of_the_counts():
    n = np.array([7.0, 2.0, 1.0, 0.0])
    best = n / n.sum()
    assert -(n * best).sum() / np.linalg.norm(best) == pytest.approx(-7.34847, abs=1e-5)
    for other in np.random.default_rng(0).dirichlet(np.ones(4), size=200):
        assert -(n * other).sum() / np.linalg.norm(other) >= -np.linalg.norm(n)


def test_shares_of_the_counts_by_hand():
    memory = make(num_categories=3, side=2)
    memory.counts_CK.copy_(torch.tensor([[7.0, 0, 0, 0], [2, 3, 0, 0], [1, 0, 0, 0]]))
    np.testing.assert_allclose(memory.d_CK()[:, 0], [0.7, 0.2, 0.1])
    np.testing.assert_allclose(memory.d_CK()[:, 2], [1 / 3] * 3)  # never won: every category alike
    np.testing.assert_allclose(memory.r_CK()[1], [0.4, 0.6, 0, 0])


def test_counts_mode_is_the_table_of_winners():
    memory = make(decay=0.0, key_update="kmeans")
    x, y = bags(num=60)
    memory.update(x, y)
    table = np.zeros((4, 9))
    np.add.at(table, (y.numpy(), memory.winners(x).numpy()), 1)
    np.testing.assert_array_equal(memory.counts_CK.numpy(), table)
    np.testing.assert_array_equal(memory.visits_K.numpy(), table.sum(axis=0))
    d, r = reference.shares(table.tolist())
    np.testing.assert_allclose(memory.d_CK().numpy(), d)
    np.testing.assert_allclose(memory.r_CK().numpy(), r)
    twice = make(decay=0.0, key_update="kmeans")
    twice.update(torch.cat([x, x]), torch.cat([y, y]))
    torch.testing.assert_close(twice.d_CK(), memory.d_CK())


def test_recount_gives_the_same_as_counts():
    memory, other = make(decay=0.0, key_update="kmeans"), make(decay=0.9, key_update="kmeans")
    x, y = bags(num=40)
    memory.update(x, y)
    other.recount(other.winners(x), y)
    torch.testing.assert_close(memory.d_CK(), other.d_CK())
    torch.testing.assert_close(memory.r_CK(), other.r_CK())


@pytest.mark.parametrize("value_update", ["counts", "gradient"])
def test_columns_of_d_and_rows_of_r_sum_to_one(value_update):
    memory = make(value_update=value_update)
    x, y = bags()
    with torch.no_grad():
        memory.d_logits_CK.normal_(std=20)
    memory.update(x, y)
    assert float(memory.d_logits_CK.detach().abs().max()) <= LOGIT_LIMIT
    d_CK, r_CK = memory.d_CK().detach().double(), memory.r_CK().detach().double()
    torch.testing.assert_close(d_CK.sum(dim=0), torch.ones(9, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(r_CK.sum(dim=1), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_slot_that_never_won_says_nothing():
    memory = make(side=5)
    x = torch.ones(8, 6)
    memory.update(x, torch.zeros(8, dtype=torch.int64))
    used = memory.is_used_K()
    assert int(used.sum()) == 1
    d, r = memory.scores()
    assert (d[:, ~used] == 0.25).all()
    assert (r[:, ~used] == 0).all()
    assert float(d[0, used]) == 1.0


def test_one_gradient_step_moves_the_winner_and_its_neighbours_only():
    memory = make(side=5, key_update="gradient")
    x, y = bags(num=1)
    z = int(memory.winners(x)[0])
    near = [slot for slot in range(25) if reference.geo(5, z, slot) <= 1]
    before = memory.cosines(x).detach()[0]
    keys = memory.keys_KD.detach().clone()
    memory.loss(x, y).backward()
    along = (memory.keys_KD.grad * memory.keys_KD).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(25), atol=1e-6, rtol=0)  # at right angles to the key
    with torch.no_grad():
        memory.keys_KD -= 0.1 * memory.keys_KD.grad
    memory.update(x, y)
    moved = (memory.keys_KD - keys).abs().amax(dim=1) > 1e-6
    assert torch.nonzero(moved)[:, 0].tolist() == sorted(near)
    assert (memory.cosines(x).detach()[0] > before)[near].all()
    torch.testing.assert_close(memory.keys_KD.norm(dim=1), torch.ones(25))


def test_running_means_reach_the_weighted_mean_of_unit_bags():
    """Oracle: for fixed winners the best unit key is the normalised sum of eta * x / |x|."""
    memory = make(num_categories=2, side=1, decay=0.5)
    x, _ = bags(num=7)
    y = torch.zeros(7, dtype=torch.int64)
    for _ in range(60):
        memory.update(x, y)
    best = functional.normalize(functional.normalize(x, dim=1).sum(dim=0), dim=0)
    torch.testing.assert_close(memory.keys_KD[0].detach(), best, atol=1e-5, rtol=0)


def test_scale_of_features_does_not_matter():
    x, y = bags()
    one, other = make(), make()
    one.update(x, y)
    other.update(7.5 * x, y)
    torch.testing.assert_close(one.keys_KD, other.keys_KD)
    torch.testing.assert_close(one.counts_CK, other.counts_CK)


def test_permuting_categories_permutes_the_scores():
    x, y = bags(num=50)
    order = torch.tensor([2, 0, 3, 1])
    one, other = make(), make()
    one.update(x, y)
    other.update(x, order[y])
    torch.testing.assert_close(other.d_CK()[order], one.d_CK())
    torch.testing.assert_close(other.r_CK()[order], one.r_CK())


@pytest.mark.slow
def test_neighbourhood_uses_more_slots_than_none():
    """Spec oracle 13, shortened: keys start on the far side of six clusters on the sphere."""
    used = {0: [], 1: []}
    for radius, found in used.items():
        for seed in range(3):
            rng = np.random.default_rng(seed)
            centres = rng.normal(size=(6, 16)) + 4 * np.eye(16)[0]
            centres /= np.linalg.norm(centres, axis=1, keepdims=True)
            memory = make(num_categories=6, dim=16, side=5, radius=radius, decay=0.7, seed=seed)
            memory.set_keys(torch.from_numpy(rng.normal(size=(25, 16)) - 4 * np.eye(16)[0]).float())
            wins = np.zeros(25)
            for step in range(1500):
                label = int(rng.integers(6))
                x = torch.from_numpy(centres[label] + 0.05 * rng.normal(size=16)).float()[None]
                memory.update(x, torch.tensor([label]))
                if step >= 1000:
                    wins[int(memory.winners(x)[0])] += 1
            found.append(int((wins > 0).sum()))
    assert np.mean(used[1]) >= 10
    assert np.mean(used[1]) > 3 * np.mean(used[0])


def test_state_survives_saving():
    memory, other = make(), make(seed=9)
    x, y = bags()
    memory.update(x, y)
    other.load_state_dict(memory.state_dict())
    memory.update(x, y)
    other.update(x, y)
    for name, value in memory.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_degenerate_inputs():
    memory = make()
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    memory.update(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    assert all(torch.equal(before[name], value) for name, value in memory.state_dict().items())
    assert memory.winners(torch.zeros(2, 6)).tolist() == [0, 0]
    memory.update(torch.zeros(2, 6), torch.tensor([0, 1]))
    assert torch.isfinite(memory.keys_KD).all()


@pytest.mark.parametrize(
    ("options", "words"), [({"key_update": "x"}, "updated by"), ({"decay": 1.0}, "decay")]
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        MemoryOptions(**options)


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="needs categories"):
        SelfOrganizingMemory(0, 3, MemoryOptions())
