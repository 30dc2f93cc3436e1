import numpy as np
import pytest
import torch

from webclean.errors import DataError
from webclean.nn.roi_features import CachedRois, LiveRois, Reducer, RunningScaler, roi_features
from webclean.ops.proposals import grid_rois, whole_image


class Cells(torch.nn.Module):
    """A backbone whose map is the image itself."""

    def forward(self, images):
        return images, images.mean(dim=(2, 3))


def test_an_roi_is_the_mean_of_its_part_of_the_map():
    image = torch.zeros(1, 2, 8, 8)
    image[:, 0, :4, :4] = 1.0  # upper left quarter
    image[:, 1, :, 4:] = 2.0  # right half
    rois = torch.tensor([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0, 1, 1], [0.0, 0.5, 0.5, 1.0]])
    found = roi_features(Cells(), image, rois)
    assert found.shape == (1, 4, 2)
    torch.testing.assert_close(found[0, 0], torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(found[0, 1, 0], torch.tensor(1.0), atol=0.1, rtol=0)
    torch.testing.assert_close(found[0, 2, 1], torch.tensor(2.0), atol=0.15, rtol=0)
    torch.testing.assert_close(found[0, 3], torch.zeros(2), atol=0.25, rtol=0)


def test_an_even_map_gives_every_roi_the_same():
    image = torch.full((2, 3, 10, 10), 1.5)
    found = roi_features(Cells(), image, torch.from_numpy(grid_rois()).float())
    torch.testing.assert_close(found, torch.full((2, 23, 3), 1.5))


def test_the_image_alone_needs_no_pooling():
    image = torch.randn(2, 3, 5, 5)
    found = roi_features(Cells(), image, torch.from_numpy(whole_image()).float())
    torch.testing.assert_close(found[:, 0], image.mean(dim=(2, 3)))


def test_gradients_reach_the_backbone():
    live = LiveRois(torch.nn.Sequential(), 3, grid_rois())
    live.backbone = Scaled()
    live(torch.rand(4, 3, 8, 8)).square().sum().backward()
    assert live.backbone.scale.grad.abs() > 0
    assert live(torch.rand(4, 3, 8, 8), 1).shape == (4, 1, 3)


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images.relu() ** self.scale, None


def test_reducer_standardises_and_keeps_the_largest_directions():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 2)) * [3, 1]
    x = (hidden @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(500, 6)) + 5).astype(np.float32)
    reducer = Reducer(6, 2)
    reducer.fit(x)
    z = reducer(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-3)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    assert (z**2).sum() == pytest.approx((standard**2).sum(), rel=0.01)  # two directions carry it all
    assert z[:, 0].var() >= z[:, 1].var()
    again = Reducer(6, 2)
    again.fit(x)
    assert torch.equal(again.basis_DE, reducer.basis_DE)


def test_reducer_survives_dead_dimensions_and_single_images():
    reducer = Reducer(3, 2)
    reducer.fit(np.array([[1.0, 0.0, 2.0], [2.0, 0.0, 1.0]], dtype=np.float32))
    assert torch.isfinite(reducer(torch.ones(4, 3))).all()
    reducer.fit(np.ones((1, 3), dtype=np.float32))
    assert torch.isfinite(reducer(torch.ones(4, 3))).all()
    with pytest.raises(DataError, match="finite"):
        reducer.fit(np.full((2, 3), np.nan, dtype=np.float32))


def test_running_scaler_moves_in_training_only_and_is_saved():
    scaler = RunningScaler(3, momentum=0.5)
    x = torch.randn(64, 2, 3) * 4 + 10
    first = scaler(x)
    assert first[:, 0].mean().abs() < 0.1
    before = scaler.mean_D.clone()
    scaler.eval()
    scaler(x + 100)
    assert torch.equal(scaler.mean_D, before)
    other = RunningScaler(3)
    other.load_state_dict(scaler.state_dict())
    other.eval()
    torch.testing.assert_close(other(x), scaler(x))


def test_cached_rows_pass_through():
    rows = torch.randn(2, 5, 3).half()
    assert CachedRois()(rows).dtype == torch.float32
    assert CachedRois()(rows, 1).shape == (2, 1, 3)
