#!/usr/bin/env bash
# One plot of a finished run's page as a picture; it shows scores and no patient.
#   reports/results/plot.sh RUN TITLE OUTPUT.png     TITLE: how the plot's name begins, as in "Pareto front"
# Needs the extra dev (selenium) and Debian's chromium and chromium-driver.
set -euo pipefail
"${PYTHON:-python3}" docs/screenshot.py "$1/leaderboard.html" "$3" --width 560 --scale 2 --alone \
  --anchor "figure.plot:has(svg[aria-label^=\"$2\"])"
