"""The small network: what is trained from scratch where no pretrained weights can be had."""

# N images, D feature dims, H W map cells
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 16
"""Sides of the input are multiples of it: a shortcut's pooling and the convolution beside it then halve alike."""

_STAGES = 4


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, identity mappings; pre-activation)."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim_in)
        self.conv1 = nn.Conv2d(dim_in, dim_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim_out)
        self.conv2 = nn.Conv2d(dim_out, dim_out, 3, padding=1, bias=False)
        self.shortcut = None if dim_in == dim_out else nn.Conv2d(dim_in, dim_out, 1, bias=False)
        self.stride = stride
        nn.init.zeros_(self.conv2.weight)  # every block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        changed: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        if self.shortcut is None:
            beside = x
        else:
            pooled = F.avg_pool2d(active, self.stride) if self.stride > 1 else active
            beside = self.shortcut(pooled)
        return changed + beside


class SmallNet(nn.Module):
    """A residual network of 1.2 million weights; its map is 1/16 of the input's side (128 px give 8 x 8).

    Args:
        width: channels of the first stage; each stage after it has twice as many.
        blocks: residual blocks of each stage.
    """

    def __init__(self, width: int = 32, blocks: tuple[int, int, int, int] = (1, 1, 1, 1)) -> None:
        super().__init__()
        if width < 1 or len(blocks) != _STAGES or min(blocks) < 1:
            raise ValueError(f"width and each of {_STAGES} stages must be at least 1; got {width}, {blocks}")
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        layers: list[nn.Module] = []
        dim = width
        for stage, num_blocks in enumerate(blocks):
            dim_out = width << stage
            for block in range(num_blocks):
                layers.append(_Block(dim, dim_out, stride=2 if stage and not block else 1))
                dim = dim_out
        self.body = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(dim)
        self.dim = dim

    def forward(self, inputs_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The last map (N, D, H/16, W/16) and its mean (N, D); sides are multiples of `STRIDE`."""
        map_NDHW = F.relu(self.norm(self.body(self.stem(inputs_NCHW))))
        return map_NDHW, map_NDHW.mean(dim=(2, 3))


class SmallClassifier(nn.Module):
    """The small network under a linear head."""

    def __init__(self, num_categories: int, width: int = 32) -> None:
        super().__init__()
        self.net = SmallNet(width)
        self.head = nn.Linear(self.net.dim, num_categories)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.head(self.net(inputs_NCHW)[1])
        return logits
