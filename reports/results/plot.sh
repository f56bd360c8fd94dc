#!/usr/bin/env bash
# One plot of a finished run's or profile's page as a picture; it shows scores or speeds and no patient.
#   reports/results/plot.sh FOLDER TITLE OUTPUT.png     TITLE: how the plot's name begins, as in "Pareto front"
# Needs the extra dev (selenium) and Debian's chromium and chromium-driver.
set -euo pipefail
page=$1/leaderboard.html
[ -f "$page" ] || page=$1/profile.html
"${PYTHON:-python3}" docs/screenshot.py "$page" "$3" --width 560 --scale 2 --alone \
  --anchor "figure.plot:has(svg[aria-label^=\"$2\"])"
