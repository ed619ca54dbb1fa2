/** Values on a canvas: in grey or colour, or signed in blue and orange. */

const BLUE = [31, 95, 168];
const ORANGE = [199, 92, 0];
const MIDDLE = [247, 247, 247];
const FRAME = "#ff9a2e";

/**
 * Paint a picture with whole squares for its pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {import("../play/pictures.js").Picture} picture
 * @param {[number, number]} range what is black, what is white
 */
export function paintPicture(canvas, picture, [low, high]) {
  const scale = 255 / (high - low || 1);
  const { channels, values } = picture;
  paint(canvas, picture, (data, at, to) => {
    for (let channel = 0; channel < 3; channel += 1) {
      const from = channels === 1 ? at : at * channels + channel;
      data[to + channel] = (values[from] - low) * scale;
    }
  });
}

/** Paint differences: orange above 0, blue below, full at ±limit; colours by their mean. */
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
 * A frame around a part of what is painted.
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number, number, number]} box left, top, width, height in its pixels
 */
export function paintFrame(canvas, [left, top, width, height], thick) {
  const pen = canvas.getContext("2d");
  Object.assign(pen, { strokeStyle: FRAME, lineWidth: thick });
  pen.strokeRect(left + thick / 2, top + thick / 2, width - thick, height - thick);
}
