"""The perceptual distances by name; nothing heavy is imported here, so that names can be listed at once."""

from __future__ import annotations

__all__ = ["PERCEPTUALS"]

PERCEPTUALS: dict[str, str] = {
    "brain-squeeze": "SqueezeNet trained here on brain slices, self-supervised (shipped)",
    "lpips-squeeze": "LPIPS with ImageNet SqueezeNet 1.1 (`bench data fetch lpips-squeeze`)",
    "lpips-alex": "LPIPS with ImageNet AlexNet, by the package lpips (extra `lpips`; you bring the weights)",
    "lpips-vgg": "LPIPS with ImageNet VGG-16, by the package lpips (extra `lpips`; you bring the weights)",
}
