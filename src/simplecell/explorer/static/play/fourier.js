/** The discrete Fourier transform of any length, in place. Source: Bluestein 1970; Cooley & Tukey 1965. */

/**
 * @returns {(re: Float64Array, im: Float64Array, sign: 1 | -1) => void} sign −1 is forward; 1 is
 *   back, without the division by n
 */
export function fourier(n) {
  const power = (n & (n - 1)) === 0;
  return power ? powerOfTwo(n) : bluestein(n);
}

function powerOfTwo(n) {
  const cos = Float64Array.from({ length: n / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / n));
  const sin = Float64Array.from({ length: n / 2 }, (_, k) => Math.sin((2 * Math.PI * k) / n));
  const mirrored = new Uint32Array(n);
  for (let at = 1; at < n; at += 1) mirrored[at] = (mirrored[at >> 1] >> 1) | (at & 1 ? n >> 1 : 0);
  return (re, im, sign) => {
    for (let at = 0; at < n; at += 1) {
      const other = mirrored[at];
      if (other <= at) continue;
      [re[at], re[other]] = [re[other], re[at]];
      [im[at], im[other]] = [im[other], im[at]];
    }
    for (let half = 1; half < n; half *= 2) {
      const stride = n / (2 * half);
      for (let first = 0; first < n; first += 2 * half) {
        for (let k = 0; k < half; k += 1) {
          const [a, b] = [first + k, first + k + half];
          const [c, s] = [cos[k * stride], sign * sin[k * stride]];
          const [x, y] = [re[b] * c - im[b] * s, re[b] * s + im[b] * c];
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
  };
}

/** As a convolution with a chirp, which powers of two can do. */
function bluestein(n) {
  const size = 2 ** Math.ceil(Math.log2(2 * n - 1));
  const transform = powerOfTwo(size);
  const angle = (_, k) => (Math.PI * ((k * k) % (2 * n))) / n;
  const angles = Array.from({ length: n }, angle);
  const [cos, sin] = [Float64Array.from(angles, Math.cos), Float64Array.from(angles, Math.sin)];
  const [chirpRe, chirpIm] = [new Float64Array(size), new Float64Array(size)];
  for (let k = 0; k < n; k += 1) {
    const mirror = (size - k) % size;
    chirpRe[k] = chirpRe[mirror] = cos[k];
    chirpIm[k] = chirpIm[mirror] = sin[k];
  }
  transform(chirpRe, chirpIm, -1);
  const [a, b] = [new Float64Array(size), new Float64Array(size)];
  return (re, im, sign) => {
    a.fill(0);
    b.fill(0);
    for (let k = 0; k < n; k += 1) {
      const y = -sign * im[k]; // back is forward of the conjugate, conjugated
      a[k] = re[k] * cos[k] + y * sin[k];
      b[k] = y * cos[k] - re[k] * sin[k];
    }
    transform(a, b, -1);
    for (let k = 0; k < size; k += 1) {
      const x = a[k] * chirpRe[k] - b[k] * chirpIm[k];
      b[k] = a[k] * chirpIm[k] + b[k] * chirpRe[k];
      a[k] = x;
    }
    transform(a, b, 1);
    for (let k = 0; k < n; k += 1) {
      re[k] = (a[k] * cos[k] + b[k] * sin[k]) / size;
      im[k] = (-sign * (b[k] * cos[k] - a[k] * sin[k])) / size;
    }
  };
}
