/** A drawing surface, and its ink brought to where the data have theirs. */

import { button, h, pointed } from "../lib/dom.js";
import { clamp, extent } from "../lib/numbers.js";
import { paintPicture } from "../lib/paint.js";
import { t } from "../lib/words.js";
import { cut, resized } from "./pictures.js";

const SURFACE = 280;
const BRUSH = 22;
const INK = 0.1; // less is the edge of a stroke
const INK_SHARE = 20 / 28;
const DIMMED = 0.5;

/**
 * Ink centred and scaled as in MNIST: its box in the middle 20 of 28 pixels, its centre of mass in
 * the middle.
 * @param {import("./pictures.js").Picture} ink 0 where nothing is drawn, up to 1
 * @returns {Float32Array|null} side × side; null when nothing is drawn
 */
export function centred(ink, side) {
  const box = boxOf(ink);
  if (!box) return null;
  const { height, width } = box;
  const scale = (side * INK_SHARE) / Math.max(height, width);
  const size = [height, width].map((length) => Math.max(1, Math.round(length * scale)));
  const small = resized(cut(ink, box.top, box.left, height, width), ...size);
  const [row, column] = middleOf(small);
  const place = (middle, length) => clamp(Math.round((side - 1) / 2 - middle), 0, side - length);
  const [top, left] = [place(row, size[0]), place(column, size[1])];
  const out = new Float32Array(side * side);
  for (let down = 0; down < small.height; down += 1) {
    out.set(cut(small, down, 0, 1, small.width).values, (top + down) * side + left);
  }
  return out;
}

function boxOf({ width, values }) {
  const inked = Array.from(values.keys()).filter((at) => values[at] >= INK);
  if (!inked.length) return null;
  const [top, bottom] = extent(inked.map((at) => Math.floor(at / width)));
  const [left, right] = extent(inked.map((at) => at % width));
  return { top, left, height: bottom - top + 1, width: right - left + 1 };
}

function middleOf({ width, values }) {
  let [row, column, sum] = [0, 0, 0];
  values.forEach((value, at) => {
    row += value * Math.floor(at / width);
    column += value * (at % width);
    sum += value;
  });
  return [row / sum, column / sum];
}

/** A surface for mouse, pen and finger; it shows the chosen sample, dimmed, until one draws. */
export class DrawingSurface {
  /** @param {function(import("./pictures.js").Picture): void} drawn called while drawing */
  constructor(drawn) {
    this.canvas = h("canvas", {
      class: "play-draw", width: SURFACE, height: SURFACE, role: "img",
      "aria-label": t("play.draw.label"),
    });
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.replace = h("span", { "aria-hidden": "true", hidden: true }, t("play.draw.replace"));
    const begin = () => !this.replace.hidden && this.clear();
    listen(this.canvas, this.pen, begin, () => drawn(inkOf(this.pen)));
    this.clear();
    const empty = () => {
      this.clear();
      drawn(inkOf(this.pen));
    };
    this.element = h("div", { class: "play-drawing" },
      h("div", { class: "play-pad" }, this.canvas, this.replace),
      h("div", { class: "play-beside" }, h("p", { class: "hint" }, t("play.draw.hint")),
        button(t("play.draw.clear"), empty)));
  }

  clear() {
    const { pen } = this;
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, SURFACE, SURFACE);
    Object.assign(pen, { strokeStyle: "#fff", lineWidth: BRUSH, lineCap: "round", lineJoin: "round" });
    this.replace.hidden = true;
  }

  /**
   * Another input, dimmed: the next stroke replaces it.
   * @param {import("./pictures.js").Picture} picture
   * @param {{low: number, high: number}} range of black and white
   */
  show(picture, { low, high }) {
    this.clear();
    const small = h("canvas");
    paintPicture(small, picture, [low, high]);
    this.pen.imageSmoothingEnabled = false;
    this.pen.globalAlpha = DIMMED;
    this.pen.drawImage(small, 0, 0, SURFACE, SURFACE);
    this.pen.globalAlpha = 1;
    this.replace.hidden = false;
  }
}

function listen(canvas, pen, begin, changed) {
  let last = null;
  let waiting = 0;
  const soon = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      changed();
    });
  };
  const place = (event) => pointed(event, canvas).map((share) => share * SURFACE);
  const stroke = (event) => {
    const next = place(event);
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...next);
    pen.stroke();
    last = next;
    soon();
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    begin();
    last = place(event);
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => last && stroke(event));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      last = null;
    });
  }
}

function inkOf(pen) {
  const { data } = pen.getImageData(0, 0, SURFACE, SURFACE);
  const values = new Float32Array(SURFACE * SURFACE);
  for (let at = 0; at < values.length; at += 1) values[at] = data[4 * at] / 255;
  return { height: SURFACE, width: SURFACE, channels: 1, values };
}
