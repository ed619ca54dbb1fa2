/** A region of a photograph, whitened where the run's were, as a grid of patches. */

import { fill, h } from "../lib/dom.js";
import { paintPicture } from "./paint.js";
import { t } from "../lib/words.js";
import { PictureError, cut, resized, shrunk, toGrey, toPatches } from "./pictures.js";
import { whitened } from "./whiten.js";

const LARGEST = 640;
const LARGEST_WHITENED = 640; // of a side: what an atlas keeps of photographs; half a second
const SIZES = [1, 2, 4, 6, 8, 10, 12];

/** A photograph with a frame that moves; `given` gets patches whenever it did. */
export class Region {
  /**
   * @param {any} patch of playground.json: side, color, whiten, cutoff
   * @param {{low: number, high: number, spread: number}} data range and standard deviation
   * @param {number} most patches at once
   * @param {function({x: Float32Array, n: number, across: number}, number|null): void} given also
   *   the patch to choose, if there is one
   */
  constructor(patch, data, most, given) {
    Object.assign(this, { patch, data, given, source: null, picture: null, top: 0, left: 0 });
    this.sizes = SIZES.filter((size) => size * size <= most);
    this.size = Math.min(8, this.sizes[this.sizes.length - 1]);
    this.canvas = h("canvas", {
      class: "play-photo", tabindex: "0", role: "img", "aria-label": t("play.region"),
      on: { pointerdown: (event) => this.click(event), keydown: (event) => this.key(event) },
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.click(event));
    this.whiten = patch.whiten;
    this.element = h("div", { class: "play-region", hidden: true }, this.canvas,
      h("div", { class: "play-beside" }, h("p", { class: "hint" }, t("play.region")), this.menus()));
  }

  menus() {
    this.sizeMenu = h("select", { id: "play-size", on: { change: (event) => {
      this.size = Number(event.target.value);
      this.moved();
    } } });
    const whitening = h("select", { id: "play-whiten", on: { change: (event) => {
      this.whiten = event.target.value;
      if (this.source) this.open(this.source, this.whole);
    } } }, h("option", { value: "none" }, t("play.region.none")), h("option", { value: "1/f" }, "1/f"));
    whitening.value = this.whiten;
    return h("div", { class: "play-tools" },
      h("span", {}, h("label", { for: "play-size" }, t("play.region.size")), " ", this.sizeMenu),
      h("span", {}, h("label", { for: "play-whiten" }, t("play.region.whiten")), " ", whitening));
  }

  /**
   * Another photograph, in colour and 0…1.
   * @param {import("./pictures.js").Picture} picture
   * @param {{height: number, width: number}} whole its size when the model saw it, if that is known:
   *   whitening is of frequencies, so the scale matters
   * @param {{down: number, across: number, chosen: boolean}|null} middle of a patch to be seen, in
   *   shares of the picture's sides, and whether it is chosen; null: the region is in the middle
   * @throws {PictureError} for one smaller than a patch
   */
  open(picture, whole = picture, middle = null) {
    const { side, color } = this.patch;
    const flat = this.whiten === "1/f";
    this.whole = whole;
    const toSize = flat && whole.width < picture.width ? resized(picture, whole.height, whole.width) : picture;
    const small = shrunk(color === "grey" ? toGrey(toSize) : toSize, flat ? LARGEST_WHITENED : LARGEST);
    if (Math.min(small.height, small.width) < side) throw new PictureError("play.file.small", { side });
    this.source = picture;
    this.picture = small;
    this.prepare();
    this.element.hidden = false;
    const fits = this.sizes.filter((size) => size * side <= Math.min(small.height, small.width));
    if (!fits.includes(this.size)) this.size = fits[fits.length - 1];
    fill(this.sizeMenu, fits.map((size) => h("option", { value: size }, `${size} × ${size}`)));
    if (middle) {
      this.around(middle);
      return;
    }
    this.top = Math.floor((small.height - this.size * side) / 2);
    this.left = Math.floor((small.width - this.size * side) / 2);
    this.moved();
  }

  /** Move so that a place is the whole of one patch, not parts of several. */
  around({ down, across, chosen }) {
    const { side } = this.patch;
    const start = (share, length) => {
      const first = Math.min(Math.max(Math.round(share * length - side / 2), 0), length - side);
      const room = Math.floor((length - first) / side);
      const before = Math.min(Math.floor(this.size / 2), Math.floor(first / side));
      const patch = Math.max(before, this.size - room);
      return [first - patch * side, patch];
    };
    const [[top, row], [left, column]] = [start(down, this.picture.height), start(across, this.picture.width)];
    Object.assign(this, { top, left });
    this.moved(chosen ? row * this.size + column : null);
  }

  /** The picture in the data's units. */
  prepare() {
    const { low, high, spread } = this.data;
    if (this.whiten === "1/f") {
      const flat = whitened(this.picture, this.patch.cutoff);
      // data that came whitened already have a deviation of their own
      const factor = this.patch.whiten === "1/f" ? 1 : spread;
      this.values = { ...flat, values: flat.values.map((value) => value * factor) };
    } else if (low < 0 || high > 1) {
      const values = this.picture.values.map((value) => low + value * (high - low));
      this.values = { ...this.picture, values };
    } else this.values = this.picture;
  }

  moved(patch = null) {
    const length = this.size * this.patch.side;
    const within = (value, most) => Math.min(Math.max(Math.round(value), 0), most - length);
    this.top = within(this.top, this.picture.height);
    this.left = within(this.left, this.picture.width);
    this.sizeMenu.value = String(this.size);
    paintPicture(this.canvas, this.picture, { low: 0, high: 1 });
    const pen = this.canvas.getContext("2d");
    pen.lineWidth = 1.5;
    pen.strokeStyle = "#ff9a2e";
    pen.strokeRect(this.left + 0.75, this.top + 0.75, length - 1.5, length - 1.5);
    const region = cut(this.values, this.top, this.left, length, length);
    const x = toPatches(region, this.patch.side);
    this.given({ x, n: this.size * this.size, across: this.size }, patch);
  }

  click(event) {
    if (!this.picture) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    const box = this.canvas.getBoundingClientRect();
    const half = (this.size * this.patch.side) / 2;
    this.top = ((event.clientY - box.top) / box.height) * this.picture.height - half;
    this.left = ((event.clientX - box.left) / box.width) * this.picture.width - half;
    this.moved();
  }

  key(event) {
    const { side } = this.patch;
    const move = {
      ArrowUp: [-side, 0], ArrowDown: [side, 0], ArrowLeft: [0, -side], ArrowRight: [0, side],
    }[event.key];
    if (!move || !this.picture) return;
    event.preventDefault();
    this.top += move[0];
    this.left += move[1];
    this.moved();
  }
}
