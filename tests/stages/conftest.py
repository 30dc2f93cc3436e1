"""What several tests of stages need."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch

from webclean.io import tables
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


@pytest.fixture
def killed_at_second_part(monkeypatch) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A block that ends as by a kill when it is about to write its second part; the first one stands."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        written = []

        def write_part(*args: object) -> None:
            written.append(args[2])
            if len(written) == 2:
                raise KeyboardInterrupt
            real(*args)

        real = tables.write_part
        monkeypatch.setattr(tables, "write_part", write_part)
        with pytest.raises(KeyboardInterrupt):
            yield
        monkeypatch.setattr(tables, "write_part", real)

    return block
