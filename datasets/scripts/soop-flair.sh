#!/usr/bin/env bash
# Rebuilds soop-flair/ from OpenNeuro ds004889: FLAIR in MNI space without skull, the lesion mask, which was drawn on the DWI,
# moved along, axial slice z = +18 mm, 189 x 157 pixels of 1 mm, anterior on top.
#
#   bench data fetch soop-flair --script > soop-flair.sh
#   bash soop-flair.sh [FOLDER]      # the current folder by default; about 5 minutes a patient; run again, it goes on
#
# Needs the AWS command line, ANTs (antsRegistrationSyNQuick.sh, antsApplyTransforms), FreeSurfer's mri_synthstrip, and python
# with nibabel, numpy, pillow, nilearn. The slices that uadbench's results are of were registered by the authors of the data
# with SPM12: these are alike, not the same to the byte.
set -euo pipefail
cd "${1:-.}"
for tool in aws python antsRegistrationSyNQuick.sh antsApplyTransforms mri_synthstrip; do
  command -v "$tool" >/dev/null || { echo "error: $tool is not on the PATH; install it (see the top of this script)" >&2; exit 2; }
done
mkdir -p work/soop soop-flair/images soop-flair/masks

aws s3 sync --no-sign-request s3://openneuro.org/ds004889 ds004889 --exclude '*' --include 'sub-*_FLAIR.nii.gz' \
  --include 'sub-*_rec-TRACE_dwi.nii.gz' --include 'derivatives/lesion_masks/*_space-TRACE_desc-lesion_mask.nii.gz'
template=$(python -c "from importlib.util import find_spec as f; print(f('nilearn').submodule_search_locations[0])")
template=$template/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz

cat > work/slice.py <<'PYTHON'
"""slice.py FLAIR MASK CASE: cuts z = +18 mm, x -78 to 78 mm, y -112 to 76 mm, and adds the case to index.csv."""
import sys
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

flair, mask, case = sys.argv[1:]
volumes = [nibabel.as_closest_canonical(nibabel.load(path)) for path in (flair, mask)]
starts = [[round((mm - v.affine[axis, 3]) / v.affine[axis, axis]) for axis, mm in enumerate((-78, -112, 18))] for v in volumes]
arrays = [np.asarray(volume.dataobj, dtype=np.float64) for volume in volumes]
image, lesion = (np.rot90(a[x : x + 157, y : y + 189, z]) for a, (x, y, z) in zip(arrays, starts))
assert image.shape == lesion.shape == (189, 157), f"{case}: the volumes do not cover the slice"
scaled = 255 * np.clip(image, 0, None) / max(image.max(), 1e-9)
row = f"{case},{int((lesion > 0).sum())},{int((arrays[1] > 0).sum())},{int((scaled >= 0.5).sum())}\n"
Image.fromarray(np.rint(scaled).astype(np.uint8)).save(f"soop-flair/images/{case}.png")
Image.fromarray(np.where(lesion > 0, 255, 0).astype(np.uint8)).save(f"soop-flair/masks/{case}.png")
index = Path("soop-flair/index.csv")
if not index.exists():
    index.write_text("case,lesion_px_in_slice,lesion_vox_in_volume,nonzero_px\n")
with index.open("a") as stream:
    stream.write(row)
PYTHON

for flair in ds004889/sub-*/anat/sub-*_FLAIR.nii.gz; do
  subject=$(basename "$flair" _FLAIR.nii.gz)
  trace=ds004889/$subject/dwi/${subject}_rec-TRACE_dwi.nii.gz
  mask=ds004889/derivatives/lesion_masks/$subject/dwi/${subject}_space-TRACE_desc-lesion_mask.nii.gz
  [ -s "$trace" ] && [ -s "$mask" ] || continue
  case_id=$(printf 'sub-%04d' "$((10#${subject#sub-}))")
  grep -q "^$case_id," soop-flair/index.csv 2>/dev/null && continue
  echo "$case_id" >&2
  antsRegistrationSyNQuick.sh -d 3 -t r -f "$flair" -m "$trace" -o "work/soop/trace-" >"work/soop/$case_id.log"
  antsRegistrationSyNQuick.sh -d 3 -t a -f "$template" -m "$flair" -o "work/soop/flair-" >>"work/soop/$case_id.log"
  antsApplyTransforms -d 3 -n GenericLabel -i "$mask" -r "$template" -o work/soop/mask.nii.gz \
    -t work/soop/flair-0GenericAffine.mat -t work/soop/trace-0GenericAffine.mat
  mri_synthstrip -i work/soop/flair-Warped.nii.gz -o work/soop/brain.nii.gz >>"work/soop/$case_id.log"
  python work/slice.py work/soop/brain.nii.gz work/soop/mask.nii.gz "$case_id"
  rm -f work/soop/*.nii.gz
done
echo "$(ls soop-flair/images | wc -l) slices in $PWD/soop-flair"
