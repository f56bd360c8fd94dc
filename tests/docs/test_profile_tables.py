"""Tables of speed show the values of their files, and a call is taken apart as the page says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from layer_times import ALL, CALL, EAGER, GROUPS, IN_8_BITS, WHOLE, convolved, group_of
from profile_tables import batches_table, layers_table
from support.pages import page
from support.places import ROOT
from torch import nn

COLUMNS = "network,method,label,backend,precision,batch,image_ms_p50,speedup_vs_eager,speedup_lo,speedup_hi,stability"


def profile(folder: Path, *rows: str) -> Path:
    folder.mkdir()
    (folder / "profile.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    return folder


def test_batches_of_two_profiles_stand_beside_each_other(tmp_path: Path) -> None:
    small = profile(
        tmp_path / "small",
        "a,-,one call,torch,fp32,1,40,,,,stable",
        "a,thor,THOR,torch,fp32,1,500,,,,stable",
        "a,-,one call,openvino,bf16,1,20,2,1.9,2.1,noisy",
        "b,-,one call,torch,fp32,1,7,,,,stable",
    )
    large = profile(tmp_path / "large", "a,-,one call,torch,fp32,16,35.25,,,,stable")
    assert batches_table([small, large]).splitlines() == [
        "| back end | ms/image, batch 1 | speed-up, batch 1 | ms/image, batch 16 | speed-up, batch 16 |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| torch fp32 | 40.0 | – | 35.2 | – |",
        "| openvino bf16 | 20.0, noisy | 2.00 (1.90–2.10) | – | – |",
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
        self.rest = nn.Sequential(nn.SiLU(), nn.Conv2d(3, 2, 1), nn.ConvTranspose2d(2, 1, 4, 2, 1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.rest(self.first(x))  # type: ignore[no-any-return]


def test_a_convolutions_operations_are_two_for_each_product() -> None:
    pixels = 64 * 64
    assert convolved(Two(), torch.zeros(1, 1, 128, 128)) == {
        "first.weight": 2 * 9 * 3 * pixels,
        "rest.1.weight": 2 * 3 * 2 * pixels,
        "rest.2.weight": 2 * 16 * 2 * pixels,  # each input reaches 16 outputs
    }


def test_what_is_said_of_a_calls_layers_is_what_was_counted() -> None:
    text = " ".join(page("backends.md").split())
    frame = pd.read_csv(ROOT / "docs" / "results" / "layer-times.csv").set_index(["precision", "what"])
    ms, share, rate = frame["ms"], frame["share_of_ceiling"], frame["gflops"]
    whole = {arm: f"{ms[arm, WHOLE] / ms[arm, ALL]:.0%}".removesuffix("%") for arm in ("fp32", "bf16")}
    ceilings = [f"{share[arm, WHOLE]:.0%}".removesuffix("%") for arm in ("fp32", "bf16")]
    assert f"convolutions are {whole['fp32']} and {whole['bf16']} % of all layers' time" in text
    assert f"run at {ceilings[0]} and {ceilings[1]} % of the ceiling" in text
    eager, best = ms[EAGER, CALL], ms["bf16", WHOLE]
    told = f"call would take {best:.1f} ms, {eager / best:.2f} times as fast as eager torch fp32, whose call took"
    assert f"{told} {eager:.1f} in the same turns;" in text
    assert (
        f"leave {eager / 2.2 - best:.1f} ms for all else, which takes {ms['bf16', CALL] - best:.1f}." in text
    )
    in_8_bits = ms["int8", IN_8_BITS]
    work = {what: ms["int8", what] * rate["int8", what] for what in (WHOLE, IN_8_BITS)}
    assert (
        f"{100 * work[IN_8_BITS] / sum(work.values()):.0f} % of the convolutions' operations are in 8 bits"
        in text
    )
    assert f"and take {100 * in_8_bits / ms['int8', ALL]:.0f} % of the time" in text
    assert f"attention take {100 * ms['int8', GROUPS['Subgraph']] / in_8_bits:.0f} % as long as" in text
    assert f"(first, last, 1 x 1) {100 * ms['int8', WHOLE] / in_8_bits:.0f} % as long." in text
    assert f"Three times eager fp32 leave {eager / 3:.1f} ms" in text
    mixed, error = "int8-bf16", frame["error"]
    assert f"{100 * (1 - ms[mixed, CALL] / ms['int8', CALL]):.0f} % less time than int8" in text
    assert f"with {error[mixed, CALL] / error['int8', CALL]:.2f} times the error" in text
    means = frame.xs("means of norms", level="what")
    assert f"are {means['layers'].iloc[0]} layers, but {means['ms'].max():.1f} ms" in text
    assert means["layers"].nunique() == 1
