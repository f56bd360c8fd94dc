#!/usr/bin/env bash
# The README's pictures, from a finished run on the phantom (generated slices: nothing here shows a patient).
#   reports/results/pictures.sh RUN [RUN_ON_PHANTOM_WRIST]
# Needs the extra dev (selenium) and Debian's chromium and chromium-driver.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
page=$1/leaderboard.html
shot() { "${PYTHON:-python3}" docs/screenshot.py "$page" "$@"; }
case=$(grep -o 'phantom-[0-9]*-test-large: large lesion, [0-9]* px, rank 2 ' "$page" | head -n 1 | cut -d: -f1)
shot "$here/case.png" --width 1280 --height 1150 --case "$case" --anchor 'article.case:not([hidden]) .panels'
shot "$here/page.png" --width 1280 --height 1750
shot "$here/page-phone.png" --width 390 --height 844 --scale 2
shot "$here/page-dark.png" --width 1280 --height 900 --dark
[ $# -lt 2 ] || "${PYTHON:-python3}" docs/screenshot.py "$2/leaderboard.html" "$here/phantom-wrist/case.png" --width 1280 \
  --height 590 --case wrist-079-test-periostealreaction --anchor 'article.case:not([hidden]) .panels'
