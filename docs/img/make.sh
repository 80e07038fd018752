#!/bin/sh
# Makes report.png, the picture in README.md, from the recording that the sample beside it is made from.
# Needs an installed opsdoc (OPSDOC=…) and chromium. Run it after a change of the HTML report.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${OPSDOC:-opsdoc}" cpu --replay "$here/../../tests/recordings/cpu/jvm-hot" --exit-zero -q -o "$work/report.html"
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1362 \
	--user-data-dir="$work/browser" --screenshot="$here/report.png" "file://$work/report.html" >"$work/log" 2>&1
