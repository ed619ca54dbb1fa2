/** Points on a plain canvas, pixel by pixel, where there is no WebGL: some of them, evenly chosen. */

import { h } from "../lib/dom.js";

const MOST = 100_000;
const FAINT = 0.3;

/** @returns {import("./webgl.js").Painter} */
export function canvasPainter() {
  return new CanvasPainter(h("canvas", { class: "map-points", "aria-hidden": "true" }));
}

class CanvasPainter {
  constructor(canvas) {
    Object.assign(this, { canvas, pen: canvas.getContext("2d"), way: "canvas", most: MOST, groups: [] });
    this.places = new Float32Array(0);
    this.plain = new Uint32Array(0);
    this.faint = this.plain;
  }

  place(places) {
    this.places = places;
    this.step = Math.max(1, Math.ceil(places.length / 2 / MOST));
  }

  colour(colours) {
    this.plain = packed(colours, 1);
    this.faint = packed(colours, FAINT);
  }

  choose(groups) {
    this.groups = groups.filter(({ points }) => points.length);
  }

  draw(view, size) {
    const { canvas, pen, places, step } = this;
    const { width, height } = canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = pen.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(0);
    const colours = this.groups.length ? this.faint : this.plain;
    const ratio = width / view.width;
    const stamp = this.#stamp(view, ratio, Math.max(1, Math.round(size * ratio)));
    for (let i = 0; i < colours.length; i += step) stamp(places[2 * i], places[2 * i + 1], colours[i]);
    for (const { points, colour } of this.groups) {
      const bold = this.#stamp(view, ratio, Math.max(2, Math.round((size + 1) * ratio)));
      const [one] = packed(Uint8Array.from(colour), 1);
      const every = Math.max(1, Math.ceil(points.length / MOST));
      for (let k = 0; k < points.length; k += every) bold(places[2 * points[k]], places[2 * points[k] + 1], one);
    }
    pen.putImageData(this.image, 0, 0);
  }

  /** Puts a square of a colour at a place. */
  #stamp(view, ratio, side) {
    const { pixels } = this;
    const { width, height } = this.canvas;
    const unit = view.unit * ratio;
    const left = width / 2 - view.x * unit - side / 2;
    const top = height / 2 + view.y * unit - side / 2;
    return (x, y, colour) => {
      const across = Math.round(left + x * unit);
      const down = Math.round(top - y * unit);
      if (across < 0 || down < 0 || across + side > width || down + side > height) return;
      for (let row = down * width + across, last = row + side * width; row < last; row += width) {
        pixels.fill(colour, row, row + side);
      }
    };
  }

  close() {
    this.image = null;
  }
}

/** Four bytes of each point as one number, in the order of this machine. */
function packed(colours, strength) {
  const bytes = Uint8Array.from(colours);
  if (strength < 1) for (let k = 3; k < bytes.length; k += 4) bytes[k] *= strength;
  return new Uint32Array(bytes.buffer);
}
