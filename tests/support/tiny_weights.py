"""Real files of untrained networks that are quick to run, and pictures to run them on."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from uadbench.engine.networks.checkpoint import save_checkpoint, sha256_of
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.perceptual.squeezenet import STAGE_CHANNELS, SqueezeNetStages

__all__ = ["features", "make_pictures", "make_weights"]


def make_weights(folder: Path) -> list[str]:
    """Options that name a tiny untrained network and an untrained perceptual net, written into the folder."""
    torch.manual_seed(0)
    tiny = UNet(UNetConfig(fold=4, channels=(16,), attention=(False,), head_channels=16, embedding=16))
    save_checkpoint(folder / "tiny.safetensors", tiny, {"steps": 0})
    tensors = {f"features.{k}": v for k, v in features().items()}
    tensors |= {f"head{k}": torch.ones(channels) for k, channels in enumerate(STAGE_CHANNELS)}
    save_file(tensors, folder / "net.safetensors")
    digest = sha256_of((folder / "net.safetensors").read_bytes())
    (folder / "net.json").write_text(json.dumps({"sha256": digest}))
    return [
        *("--set", f"checkpoints.unet-gaussian={folder / 'tiny.safetensors'}"),
        *("--set", f"perceptual_weights={folder / 'net.safetensors'}"),
    ]


def features() -> dict[str, torch.Tensor]:
    """The perceptual net's parameters under the names of its files."""
    return {key.removeprefix("features."): value for key, value in SqueezeNetStages().state_dict().items()}


def make_pictures(folder: Path, n_test: int) -> None:
    """A `folder` data set: 2 training, 2 validation and n_test test slices, the latter but the first with a lesion."""
    folder.mkdir()
    lines = ["case_id,image,mask,split,subject"]
    for i, split in enumerate(["train"] * 2 + ["val"] * 2 + ["test"] * n_test):
        Image.linear_gradient("L").resize((64, 64)).rotate(13 * i).save(folder / f"c{i}.png")
        lines.append(f"c{i},c{i}.png,{'m.png' if i > 4 else ''},{split},s{i}")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    mask.save(folder / "m.png")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
