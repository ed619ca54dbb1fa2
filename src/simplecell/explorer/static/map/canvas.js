/** Points on a plain canvas, pixel by pixel, where no graphics card draws: of many some, evenly chosen. */

import { h } from "../lib/dom.js";

const MOST = 400_000; // of 40 milliseconds
const PART = 8192; // points between two looks at the clock
const FAINT = 0.3;

/** @returns {import("./webgl.js").Painter} */
export function canvasPainter() {
  return new CanvasPainter(h("canvas", { class: "map-points", "aria-hidden": "true" }));
}

class CanvasPainter {
  constructor(canvas) {
    Object.assign(this, { canvas, pen: canvas.getContext("2d"), way: "canvas", fast: false, slices: true, most: MOST, groups: [] });
    this.places = new Float32Array(0);
    this.plain = new Uint32Array(0);
    this.faint = this.plain;
  }

  place(places) {
    this.places = places;
  }

  colour(colours, order) {
    this.order = order;
    this.plain = packed(colours, 1);
    this.faint = packed(colours, FAINT);
  }

  choose(groups) {
    this.groups = groups.filter(({ points }) => points.length);
  }

  *drawing(view, size) {
    const { width, height } = this.canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = this.pen.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(0);
    const ratio = width / view.width;
    const side = Math.max(1, Math.round(size * ratio));
    const colours = this.groups.length ? this.faint : this.plain;
    yield* this.#stamp(view, ratio, side, this.order, colours);
    for (const { points, colour } of this.groups) {
      yield* this.#stamp(view, ratio, side + 1, points, packed(Uint8Array.from(colour), 1));
    }
    this.pen.putImageData(this.image, 0, 0);
  }

  /** Put a square at each of some points, or of all where `points` is null; in one colour, or in one each. */
  *#stamp(view, ratio, side, points, colours) {
    const { pixels, places } = this;
    const { width, height } = this.canvas;
    const unit = view.unit * ratio;
    const left = width / 2 - view.x * unit - side / 2;
    const top = height / 2 + view.y * unit - side / 2;
    const count = points ? points.length : places.length / 2;
    const step = Math.max(1, Math.ceil(count / MOST));
    const insets = roundness(side);
    const one = colours.length === 1 ? colours[0] : null;
    for (let first = 0; first < count; first += step * PART) {
      const last = Math.min(count, first + step * PART);
      for (let k = first; k < last; k += step) {
        const i = points ? points[k] : k;
        const across = Math.round(left + places[2 * i] * unit);
        const down = Math.round(top - places[2 * i + 1] * unit);
        if (across < 0 || down < 0 || across + side > width || down + side > height) continue;
        const colour = one ?? colours[i];
        // Pixel by pixel: `fill` of so few takes twenty times as long.
        for (let row = 0, at = down * width + across; row < side; row += 1, at += width) {
          for (let column = insets[row]; column < side - insets[row]; column += 1) pixels[at + column] = colour;
        }
      }
      yield;
    }
  }

  close() {
    this.image = null;
  }
}

/** How far each row of a square stays back, so that it looks like a disc; small ones stay square. */
function roundness(side) {
  const half = side / 2;
  const back = (row) => Math.round(half - Math.sqrt(half * half - (row + 0.5 - half) ** 2));
  return Array.from({ length: side }, (_, row) => (side < 4 ? 0 : back(row)));
}

/** Four bytes of each point as one number, in the order of this machine. */
function packed(colours, strength) {
  const bytes = Uint8Array.from(colours);
  if (strength < 1) for (let k = 3; k < bytes.length; k += 4) bytes[k] *= strength;
  return new Uint32Array(bytes.buffer);
}
