"""The papers' denoiser: MONAI's DiffusionModelUNet behind our interface, 18.5 M parameters as it stands.

MONAI (Apache-2.0) is imported when a network is built and never before: it takes seconds and is an extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from uadbench.engine.networks.unet import check_sizes

__all__ = ["DiffusionUNet", "DiffusionUNetConfig", "MissingPackageError", "monai_blocks"]

LARGEST = {"channels": 4096, "blocks": 16, "head_channels": 4096, "groups": 4096}
LEVELS = 8


class MissingPackageError(ImportError):
    """A network needs a package that is not installed; the message names the remedy."""


@dataclass(frozen=True)
class DiffusionUNetConfig:
    """Shape of the network; stored in every checkpoint's card. The defaults are THOR's and AutoDDPM's.

    projection : attention ends in a linear layer, as in MONAI; the authors' code has the layer and never applies it
    fused_attention : scaled_dot_product_attention in place of einsum; the same weights and, but for rounding, result
    """

    channels: tuple[int, ...] = (128, 256, 256)
    attention: tuple[bool, ...] = (False, True, True)
    blocks: int = 1
    head_channels: int = 256
    groups: int = 32
    projection: bool = True
    fused_attention: bool = True

    def __post_init__(self) -> None:
        check_sizes(self, LARGEST)
        if not 1 <= len(self.channels) <= LEVELS:
            raise ValueError(f"channels has {len(self.channels)} levels; 1 to {LEVELS} are allowed")
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} entries for {len(self.channels)} levels")
        # The lowest level's middle attends in any case.
        attending = {c for c, a in zip(self.channels, self.attention, strict=True) if a} | {self.channels[-1]}
        if any(c % self.groups for c in self.channels) or any(c % self.head_channels for c in attending):
            raise ValueError(
                f"channels {self.channels} must divide by {self.groups}, where there is attention "
                f"also by {self.head_channels}"
            )


class DiffusionUNet(nn.Module):
    """Predicts the noise in an image.

    forward(x, timesteps): x float32 [B, 1, H, W], H and W multiples of 2 ** (levels - 1); timesteps int64 [B], counted
    from 0 (level t is timestep t - 1); returns eps, same shape as x.
    Raises MissingPackageError where MONAI or einops is not installed.
    """

    def __init__(self, config: DiffusionUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiffusionUNetConfig()
        self.unet = _monai_unet()(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=config.channels,
            attention_levels=config.attention,
            num_res_blocks=config.blocks,
            num_head_channels=config.head_channels,
            norm_num_groups=config.groups,
            include_fc=config.projection,
            use_flash_attention=config.fused_attention,
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        return self.unet(x, timesteps)


def monai_blocks() -> tuple[type, type, type]:
    """MONAI's classes of what this network is made of: residual block, attention, upsampling."""
    from monai.networks.blocks import SpatialAttentionBlock
    from monai.networks.nets import diffusion_model_unet as monai

    return monai.DiffusionUNetResnetBlock, SpatialAttentionBlock, monai.WrappedUpsample


def _monai_unet() -> Any:
    """The class of MONAI's network."""
    try:
        import einops  # noqa: F401 (MONAI needs it and says so only deep inside)
        from monai.networks.nets import DiffusionModelUNet
    except ImportError as error:
        raise MissingPackageError(
            f"the network diffusion-unet needs monai and einops ({error}); `pip install 'uadbench[paper]'`"
        ) from error
    return DiffusionModelUNet
