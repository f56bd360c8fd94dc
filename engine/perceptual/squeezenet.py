"""The feature layers of SqueezeNet 1.1, cut into the seven stages that LPIPS compares.

Iandola et al. 2016, doi:10.48550/arXiv.1602.07360; version 1.1 is the authors' later, cheaper variant. Parameters
carry torchvision's names (``features.N.*``), so its ImageNet weights load as they are. Plain tensor code: it can be
exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SMALLEST_SIDE", "STAGE_CHANNELS", "Fire", "SqueezeNetStages"]

# Width of each stage's output, and the layer that ends it.
STAGE_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
STAGE_ENDS = (1, 4, 7, 9, 10, 11, 12)
# Below this side (pixels) some stage has no pixel left.
SMALLEST_SIDE = 17


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1 x 1 and 3 x 3 convolutions side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x : [B, channels, H, W]; returns [B, 2 * expand, H, W] >= 0."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class SqueezeNetStages(nn.Module):
    """Layers 0 .. 12 of SqueezeNet 1.1; the outputs after layers 1, 4, 7, 9, 10, 11 and 12."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 3, stride=2),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2, ceil_mode=True),
                Fire(64, 16, 64),
                Fire(128, 16, 64),
                nn.MaxPool2d(3, stride=2, ceil_mode=True),
                Fire(128, 32, 128),
                Fire(256, 32, 128),
                nn.MaxPool2d(3, stride=2, ceil_mode=True),
                Fire(256, 48, 192),
                Fire(384, 48, 192),
                Fire(384, 64, 256),
                Fire(512, 64, 256),
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x : [B, 3, H, W]; returns seven maps >= 0 of about 1/2, 1/4, 1/8 and four times 1/16 of the side."""
        stages = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in STAGE_ENDS:
                stages.append(x)
        return tuple(stages)
