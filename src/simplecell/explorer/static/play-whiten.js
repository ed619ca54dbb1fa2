/** 1/f whitening in the browser, as `simplecell.data.images.whiten_1_over_f` has it. */

/**
 * Flat spectrum: filtered by f·exp(−(f/cutoff)⁴), then mean 0 and standard deviation 1; a constant
 * picture becomes 0. Colours are whitened one by one.
 * @param {import("./pictures.js").Picture} picture at most some hundred pixels a side
 * @param {number} cutoff cycles per pixel
 * @returns {import("./pictures.js").Picture}
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
  const half = Math.floor(width / 2) + 1;
  const spectrum = rowsForward(plane, height, width, half);
  columns(spectrum, height, half, -1);
  for (let row = 0; row < height; row += 1) {
    const down = Math.min(row, height - row) / height;
    for (let column = 0; column < half; column += 1) {
      const f = Math.hypot(down, column / width);
      const factor = f * Math.exp(-((f / cutoff) ** 4));
      spectrum.real[row * half + column] *= factor;
      spectrum.imaginary[row * half + column] *= factor;
    }
  }
  columns(spectrum, height, half, 1);
  rowsBack(spectrum, plane, height, width, half);
  standardise(plane, true);
}

function standardise(plane, spread) {
  const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
  for (let at = 0; at < plane.length; at += 1) plane[at] -= mean;
  if (!spread) return;
  const std = Math.sqrt(plane.reduce((sum, value) => sum + value * value, 0) / plane.length);
  for (let at = 0; at < plane.length; at += 1) plane[at] /= std || 1;
}

/** Cosine and sine of all angles 2π·t/n. */
function circle(n) {
  const angle = (_, t) => (2 * Math.PI * t) / n;
  const angles = Array.from({ length: n }, angle);
  return { cos: Float64Array.from(angles, Math.cos), sin: Float64Array.from(angles, Math.sin) };
}

function rowsForward(plane, height, width, half) {
  const { cos, sin } = circle(width);
  const real = new Float64Array(height * half);
  const imaginary = new Float64Array(height * half);
  for (let row = 0; row < height; row += 1) {
    for (let k = 0; k < half; k += 1) {
      let [a, b, angle] = [0, 0, 0];
      for (let t = row * width; t < (row + 1) * width; t += 1) {
        a += plane[t] * cos[angle];
        b -= plane[t] * sin[angle];
        angle += k;
        if (angle >= width) angle -= width;
      }
      real[row * half + k] = a;
      imaginary[row * half + k] = b;
    }
  }
  return { real, imaginary };
}

/** Transform down the columns in place; sign −1 is forward, 1 back (without the division). */
function columns({ real, imaginary }, height, half, sign) {
  const { cos, sin } = circle(height);
  const [a, b] = [new Float64Array(height), new Float64Array(height)];
  for (let column = 0; column < half; column += 1) {
    for (let row = 0; row < height; row += 1) {
      a[row] = real[row * half + column];
      b[row] = imaginary[row * half + column];
    }
    for (let k = 0; k < height; k += 1) {
      let [re, im, angle] = [0, 0, 0];
      for (let row = 0; row < height; row += 1) {
        const turn = sign * sin[angle];
        re += a[row] * cos[angle] - b[row] * turn;
        im += a[row] * turn + b[row] * cos[angle];
        angle += k;
        if (angle >= height) angle -= height;
      }
      real[k * half + column] = re;
      imaginary[k * half + column] = im;
    }
  }
}

/** Real rows again: what lies beyond `half` is the mirror of what lies before. */
function rowsBack({ real, imaginary }, plane, height, width, half) {
  const { cos, sin } = circle(width);
  for (let row = 0; row < height; row += 1) {
    for (let t = 0; t < width; t += 1) {
      let [sum, angle] = [0, 0];
      for (let k = 0; k < half; k += 1) {
        const twice = k === 0 || 2 * k === width ? 1 : 2;
        const at = row * half + k;
        sum += twice * (real[at] * cos[angle] - imaginary[at] * sin[angle]);
        angle += t;
        if (angle >= width) angle -= width;
      }
      plane[row * width + t] = sum / (height * width);
    }
  }
}
