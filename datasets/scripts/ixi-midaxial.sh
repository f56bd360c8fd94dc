#!/usr/bin/env bash
# Rebuilds ixi-midaxial/png/sub-IXInnn.png from the public IXI T1 volumes: bias field, affine registration to MNI152, skull kept,
# axial slice z = +18 mm, 233 x 197 pixels of 1 mm, anterior on top.
#
#   bench data fetch ixi-midaxial --script > ixi-midaxial.sh
#   bash ixi-midaxial.sh [FOLDER]      # the current folder by default; about 5 GB, 3 minutes a volume; run again, it goes on
#
# Needs curl, ANTs (N4BiasFieldCorrection, antsRegistrationSyNQuick.sh), and python with nibabel, numpy, pillow, nilearn.
# The published slices were registered by other software: these are alike, not the same to the byte.
set -euo pipefail
cd "${1:-.}"
for tool in curl tar python N4BiasFieldCorrection antsRegistrationSyNQuick.sh; do
  command -v "$tool" >/dev/null || { echo "error: $tool is not on the PATH; install it (see the top of this script)" >&2; exit 2; }
done
mkdir -p ixi work/ixi ixi-midaxial/png

if ! compgen -G "ixi/IXI*-T1.nii.gz" >/dev/null; then
  curl -fL -C - -o work/IXI-T1.tar http://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/IXI-T1.tar
  tar -xf work/IXI-T1.tar -C ixi
fi
# The template that nilearn brings, ICBM 2009a symmetric with skull, is on the slices' grid of 197 x 233 x 189.
template=$(python -c "from importlib.util import find_spec as f; print(f('nilearn').submodule_search_locations[0])")
template=$template/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz

cat > work/slice.py <<'PYTHON'
"""slice.py VOLUME PNG: the axial slice z = +18 mm of a volume in MNI space, as a grey PNG with anterior on top."""
import sys

import nibabel
import numpy as np
from PIL import Image

image = nibabel.as_closest_canonical(nibabel.load(sys.argv[1]))
position = round((18 - image.affine[2, 3]) / image.affine[2, 2])
plane = np.rot90(np.asarray(image.dataobj, dtype=np.float64)[:, :, position])
scaled = 255 * np.clip(plane, 0, None) / plane.max()
Image.fromarray(np.rint(scaled).astype(np.uint8)).save(sys.argv[2])
PYTHON

for volume in ixi/IXI*-T1.nii.gz; do
  name=$(basename "$volume"); subject=${name%%-*}
  png=ixi-midaxial/png/sub-$subject.png
  [ -s "$png" ] && continue
  echo "$subject" >&2
  N4BiasFieldCorrection -d 3 -i "$volume" -o "work/ixi/$subject.nii.gz"
  antsRegistrationSyNQuick.sh -d 3 -t a -f "$template" -m "work/ixi/$subject.nii.gz" -o "work/ixi/$subject-" >"work/ixi/$subject.log"
  python work/slice.py "work/ixi/$subject-Warped.nii.gz" "work/ixi/$subject.png"
  mv "work/ixi/$subject.png" "$png"
  rm -f "work/ixi/$subject"*.nii.gz
done
echo "$(ls ixi-midaxial/png | wc -l) slices in $PWD/ixi-midaxial/png"
