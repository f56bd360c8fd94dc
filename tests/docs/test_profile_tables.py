"""Tables of speed show the values of their files, and a call is taken apart as the page says."""

from __future__ import annotations

from pathlib import Path

import torch
from layer_times import IN_8_BITS, WHOLE, convolved, group_of
from profile_tables import batches_table, layers_table
from torch import nn

COLUMNS = "network,method,label,backend,precision,batch,image_ms_p50,speedup_vs_eager,speedup_lo,speedup_hi"


def profile(folder: Path, *rows: str) -> Path:
    folder.mkdir()
    (folder / "profile.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    return folder


def test_batches_of_two_profiles_stand_beside_each_other(tmp_path: Path) -> None:
    small = profile(
        tmp_path / "small",
        "a,-,one call,torch,fp32,1,40,,,",
        "a,thor,THOR,torch,fp32,1,500,,,",
        "a,-,one call,openvino,bf16,1,20,2,1.9,2.1",
        "b,-,one call,torch,fp32,1,7,,,",
    )
    large = profile(tmp_path / "large", "a,-,one call,torch,fp32,16,35.25,,,")
    assert batches_table([small, large]).splitlines() == [
        "| back end | ms/image, batch 1 | speed-up, batch 1 | ms/image, batch 16 | speed-up, batch 16 |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| torch fp32 | 40.0 | – | 35.2 | – |",
        "| openvino bf16 | 20.0 | 2.00 (1.90–2.10) | – | – |",
    ]


def test_layers_stand_a_precision_a_column(tmp_path: Path) -> None:
    rows = [
        "fp32,the call,0,43.84,,,5e-07",
        "fp32,convolutions,44,28.9,217,0.951,",
        "int8,the call,0,23.3,,,0.0083",
    ]
    (tmp_path / "t.csv").write_text(
        "\n".join(["precision,what,layers,ms,gflops,share_of_ceiling,error", *rows]) + "\n"
    )
    assert layers_table(tmp_path / "t.csv").splitlines() == [
        "| layers | fp32 | int8 |",
        "| --- | ---: | ---: |",
        "| the call | 43.8 | 23.3 |",
        "| convolutions | 28.9 (217 GFLOP/s, 95%) | – |",
        "| error | 5.0e-07 | 8.3e-03 |",
    ]


def test_convolutions_in_8_bits_are_a_group_of_their_own() -> None:
    assert group_of("Convolution", "brgconv_avx512_vnni_u8") == IN_8_BITS
    assert group_of("Convolution", "brgconv_avx512_f32") == WHOLE
    assert group_of("Subgraph", "jit_avx512_I8") == "element-wise and attention"
    assert group_of("Reorder", "ref_any_u8") == "moving data"


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.rest = nn.Sequential(nn.SiLU(), nn.Conv2d(3, 2, 1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.rest(self.first(x))  # type: ignore[no-any-return]


def test_a_convolutions_operations_are_two_for_each_product() -> None:
    pixels = 64 * 64
    assert convolved(Two(), torch.zeros(1, 1, 128, 128)) == {
        "first.weight": 2 * 9 * 3 * pixels,
        "rest.1.weight": 2 * 3 * 2 * pixels,
    }
