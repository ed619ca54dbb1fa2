/** 1/f whitening in the browser, as `simplecell.data.images.whiten_1_over_f` has it. */

import { columnsOf } from "../lib/columns.js";
import { fourier } from "./fourier.js";

/**
 * Flat spectrum: filtered by f·exp(−(f/cutoff)⁴), then mean 0 and standard deviation 1; a constant
 * picture becomes 0. Colours are whitened one by one.
 * @param {import("./pictures.js").Picture} picture at most some hundred pixels a side
 * @param {number} cutoff cycles per pixel
 */
export function whitened(picture, cutoff) {
  const { height, width, channels, values } = picture;
  const out = new Float32Array(values.length);
  for (let channel = 0; channel < channels; channel += 1) {
    const one = new Float64Array(height * width);
    for (let at = 0; at < one.length; at += 1) one[at] = values[at * channels + channel];
    whitenPlane(one, height, width, cutoff);
    for (let at = 0; at < one.length; at += 1) out[at * channels + channel] = one[at];
  }
  return { height, width, channels, values: out };
}

function whitenPlane(plane, height, width, cutoff) {
  if (plane.every((value) => value === plane[0])) {
    plane.fill(0);
    return;
  }
  standardise(plane, false);
  const imaginary = new Float64Array(plane.length);
  along(plane, imaginary, height, width, -1);
  for (let row = 0; row < height; row += 1) {
    const down = Math.min(row, height - row) / height;
    for (let column = 0; column < width; column += 1) {
      const f = Math.hypot(down, Math.min(column, width - column) / width);
      const factor = f * Math.exp(-((f / cutoff) ** 4));
      plane[row * width + column] *= factor;
      imaginary[row * width + column] *= factor;
    }
  }
  along(plane, imaginary, height, width, 1);
  standardise(plane, true);
}

/** Transform along rows and columns, in place; only the scale is not kept. */
function along(re, im, height, width, sign) {
  const [ofRow, ofColumn] = [fourier(width), fourier(height)];
  for (let row = 0; row < height; row += 1) {
    const part = [row * width, (row + 1) * width];
    ofRow(re.subarray(...part), im.subarray(...part), sign);
  }
  const [a, b] = [new Float64Array(height), new Float64Array(height)];
  for (let column = 0; column < width; column += 1) {
    for (let row = 0; row < height; row += 1) {
      a[row] = re[row * width + column];
      b[row] = im[row * width + column];
    }
    ofColumn(a, b, sign);
    for (let row = 0; row < height; row += 1) {
      re[row * width + column] = a[row];
      im[row * width + column] = b[row];
    }
  }
}

function standardise(plane, spread) {
  const [{ mean, deviation }] = columnsOf(plane, 1);
  const scale = spread && deviation ? deviation : 1;
  for (let at = 0; at < plane.length; at += 1) plane[at] = (plane[at] - mean) / scale;
}
