/** Values on a canvas: in grey or colour, or signed in blue and orange. */

const BLUE = [31, 95, 168];
const ORANGE = [199, 92, 0];
const MIDDLE = [247, 247, 247];

/**
 * Paint a picture with whole squares for its pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./pictures.js").Picture} picture
 * @param {{low: number, high: number}} range what is black, what is white
 */
export function paintPicture(canvas, picture, { low, high }) {
  const scale = 255 / (high - low || 1);
  const { channels, values } = picture;
  paint(canvas, picture, (data, at, to) => {
    for (let channel = 0; channel < 3; channel += 1) {
      const from = channels === 1 ? at : at * channels + channel;
      data[to + channel] = (values[from] - low) * scale;
    }
  });
}

/**
 * Paint differences: orange above 0, blue below, full at ±limit; colours by their mean.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./pictures.js").Picture} picture
 * @param {number} limit
 */
export function paintSigned(canvas, picture, limit) {
  const { channels, values } = picture;
  paint(canvas, picture, (data, at, to) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) sum += values[at * channels + channel];
    const value = sum / channels;
    const share = Math.min(1, Math.abs(value) / (limit || 1));
    const end = value > 0 ? ORANGE : BLUE;
    for (let channel = 0; channel < 3; channel += 1) {
      data[to + channel] = MIDDLE[channel] + share * (end[channel] - MIDDLE[channel]);
    }
  });
}

function paint(canvas, { height, width }, color) {
  const pixels = new ImageData(width, height);
  for (let at = 0; at < height * width; at += 1) {
    color(pixels.data, at, 4 * at);
    pixels.data[4 * at + 3] = 255;
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/**
 * The least and the greatest of values.
 * @param {Float32Array} values
 * @returns {{low: number, high: number}}
 */
export function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}
