"""What several tests of stages need."""

from __future__ import annotations

import pytest
import torch

from webclean.nn import backbones


@pytest.fixture
def weights(tmp_path):
    """A checkpoint of a network that is quick to run."""
    import torchvision

    torch.manual_seed(0)
    path = tmp_path / "mobilenet.pth"
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), path)
    backbones.resolve.cache_clear()
    return str(path)
