"""The scripts that rebuild slices from public volumes: run as printed, downloads and registration replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.volumes import save

from uadbench.bench.commands.data import command
from uadbench.datasets.sources import SOURCES

# Tools by name, each a line of shell. Registration copies a volume that is in MNI space already.
COPY = 'while [ $# -gt 0 ]; do case $1 in -i) in=$2;; -o) out=$2;; esac; shift; done; cp "$in" "$out"'
REGISTER = COPY.replace("-i)", "-m)").replace('"$out"', '"${out}Warped.nii.gz"')
TOOLS = {
    "curl": "exit 22",
    "aws": 'echo "$@" > aws.txt',
    "python": f'exec {sys.executable} "$@"',
    "N4BiasFieldCorrection": COPY,
    "antsApplyTransforms": COPY,
    "mri_synthstrip": COPY,
    "antsRegistrationSyNQuick.sh": REGISTER,
}
MNI = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
HEIGHT = 18 + 72


def rebuild(name: str, folder: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script as a user would, with stand-ins first on the PATH."""
    printed = CliRunner().invoke(command, ["fetch", name, "--script"])
    assert printed.exit_code == 0, printed.output
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for tool, line in TOOLS.items():
        (tools / tool).write_text(f"#!/bin/bash\n{line}\n")
        (tools / tool).chmod(0o755)
    if without:
        (tools / without).unlink()
    (folder / "script.sh").write_text(printed.stdout)
    path = f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin"
    arguments = ["bash", folder / "script.sh", folder]
    return subprocess.run(arguments, env={"PATH": path}, capture_output=True, text=True, check=False)


def head(height: int = HEIGHT) -> np.ndarray:
    """A volume on the template's grid with one bright slice, a dot in front and a dot on the patient's left."""
    voxels = np.zeros((197, 233, 189), dtype=np.uint8)
    voxels[40:150, 40:190, height] = 100
    voxels[98, 180, height] = 200
    voxels[50, 100, height] = 150
    return voxels


def test_ixi_slices_are_cut_at_18_mm_with_anterior_on_top_and_a_second_run_does_nothing(
    tmp_path: Path,
) -> None:
    save(tmp_path / "ixi" / "IXI002-Guys-0828-T1.nii.gz", head(), MNI)
    done = rebuild("ixi-midaxial", tmp_path)
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(tmp_path / "ixi-midaxial" / "png" / "sub-IXI002.png"))
    assert (pixels.shape, pixels.dtype) == ((233, 197), np.uint8)
    assert (pixels[232 - 180, 98], pixels[232 - 100, 50]) == (255, round(150 / 200 * 255))
    assert done.stdout.startswith("1 slices in")
    assert rebuild("ixi-midaxial", tmp_path).stderr == ""


def test_soop_slices_and_masks_are_cut_alike_and_listed(tmp_path: Path) -> None:
    mask = np.zeros((197, 233, 189), dtype=np.uint8)
    mask[98, 180, HEIGHT - 1 : HEIGHT + 1] = 1
    data = tmp_path / "ds004889"
    save(data / "sub-7" / "anat" / "sub-7_FLAIR.nii.gz", head(), MNI)
    save(data / "sub-7" / "dwi" / "sub-7_rec-TRACE_dwi.nii.gz", head(), MNI)
    save(data / "derivatives/lesion_masks/sub-7/dwi/sub-7_space-TRACE_desc-lesion_mask.nii.gz", mask, MNI)
    save(data / "sub-8" / "anat" / "sub-8_FLAIR.nii.gz", head(), MNI)
    done = rebuild("soop-flair", tmp_path)
    assert done.returncode == 0, done.stderr
    image, lesion = (
        np.asarray(Image.open(tmp_path / "soop-flair" / kind / "sub-0007.png"))
        for kind in ("images", "masks")
    )
    assert image.shape == lesion.shape == (189, 157)
    place = tuple(int(n[0]) for n in np.nonzero(lesion))
    assert image[place] == 255, "the brightest voxel is where the mask is"
    rows = (tmp_path / "soop-flair" / "index.csv").read_text().splitlines()
    assert rows[0] == "case,lesion_px_in_slice,lesion_vox_in_volume,nonzero_px"
    assert rows[1].startswith("sub-0007,1,2,")
    assert len(rows) == 2, "a patient without a mask is left out"
    assert "s3://openneuro.org/ds004889" in (tmp_path / "aws.txt").read_text()
    again = rebuild("soop-flair", tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "soop-flair" / "index.csv").read_text().splitlines() == rows


@pytest.mark.parametrize("name", sorted(name for name, source in SOURCES.items() if source.script))
def test_a_script_says_which_tool_lacks(tmp_path: Path, name: str) -> None:
    done = rebuild(name, tmp_path, without="antsRegistrationSyNQuick.sh")
    assert done.returncode == 2
    assert "antsRegistrationSyNQuick.sh is not on the PATH" in done.stderr


def test_a_source_without_a_script_says_which_have_one() -> None:
    done = CliRunner().invoke(command, ["fetch", "stroke-masks", "--script"])
    assert done.exit_code == 2
    assert "choose from ixi-midaxial, soop-flair" in done.stderr
