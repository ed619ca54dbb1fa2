#!/usr/bin/env bash
# tifffile packs samples of 12 bits (bitspersample=12) into a TIFF. With byteorder="<" what it writes
# is read back as it was; with byteorder=">" tifffile itself reads other numbers back, without a
# warning. TIFF packs bits from the most significant one on whatever the byte order of the file, so
# that one of the two files does not hold what was given.
#
# Seen with tifffile 2026.3.3, imagecodecs 2026.3.6, NumPy 2.4.6 on Python 3.11. Expected: both round
# trips exact. For whoever makes test files: write packed samples in little-endian TIFFs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
venv/bin/python -W error - <<'PYTHON'
import numpy as np
import tifffile

values = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
same = {}
for order in "<>":
    tifffile.imwrite("packed.tif", values, bitspersample=12, byteorder=order)
    same[order] = float((tifffile.imread("packed.tif") == values).mean())
print("share of values that come back:", same)
assert same["<"] == 1.0
assert same[">"] < 0.1
PYTHON
