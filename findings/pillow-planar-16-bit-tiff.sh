#!/usr/bin/env bash
# A colour TIFF of 16 bits whose planes are stored one behind the other (as scanners and tifffile's
# planarconfig="separate" write them) opens in Pillow as an ordinary 8-bit RGB picture, without an
# error or a warning, and every number in it is wrong: the bytes of each plane are taken for pixels,
# so that low and high byte of one value stand side by side as two pixels, and the lower half of the
# picture is never read. The same picture stored pixel by pixel opens as the upper byte of each
# value, which is at least a coarser version of it.
#
# Seen with Pillow 13.0.0, tifffile 2026.3.3, NumPy 2.4.6 on Python 3.11. Expected: a refusal, as for
# other modes that Pillow has no room for. Here: such files are read by tifffile, or refused by name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
venv/bin/python -W error - <<'PYTHON'
import numpy as np
import tifffile
from PIL import Image

planes = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16) * 60
pixels = np.moveaxis(planes, 0, -1)
tifffile.imwrite("planes.tif", planes, photometric="rgb", planarconfig="separate")
tifffile.imwrite("pixels.tif", pixels, photometric="rgb")

with Image.open("planes.tif") as picture:
    found, mode = np.asarray(picture), picture.mode
print("by plane:", mode, found.dtype, "equal to the upper bytes:", (found == pixels // 256).mean())
assert (mode, found.dtype) == ("RGB", np.uint8)
assert (found == pixels // 256).mean() < 0.05
for channel in range(3):
    as_bytes = np.frombuffer(planes[channel].tobytes(), np.uint8)[:256].reshape(16, 16)
    assert (found[..., channel] == as_bytes).all()

with Image.open("pixels.tif") as picture:
    assert (np.asarray(picture) == pixels // 256).all()
print("by pixel: the upper byte of each value")
assert (tifffile.imread("planes.tif") == planes).all()
print("tifffile reads both as they were written")
PYTHON
