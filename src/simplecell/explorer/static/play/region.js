/** A region of a photograph, whitened where the run's were, as a grid of patches. */

import { arrow, fill, h, menu, pointed } from "../lib/dom.js";
import { clamp } from "../lib/numbers.js";
import { paintFrame, paintPicture } from "../lib/paint.js";
import { t } from "../lib/words.js";
import { PictureError, cut, inRange, resized, shrunk, toGrey, toPatches } from "./pictures.js";
import { whitened } from "./whiten.js";

const LARGEST = 640; // of a side: what an atlas keeps of photographs; whitening takes half a second
const SIZES = [1, 2, 4, 6, 8, 10, 12];

/** A photograph with a frame that moves; `given` gets patches whenever it did. */
export class Region {
  /**
   * @param {any} play what playground.json holds: patch, low, high
   * @param {number} spread standard deviation of the data
   * @param {number} most patches at once
   * @param {function({x: Float32Array, n: number, across: number}, number|null): void} given also
   *   the patch to choose, if there is one
   */
  constructor(play, spread, most, given) {
    const { patch } = play;
    Object.assign(this, { play, patch, spread, given, source: null, picture: null, top: 0, left: 0 });
    this.sizes = SIZES.filter((size) => size * size <= most);
    this.size = Math.min(8, this.sizes[this.sizes.length - 1]);
    this.canvas = h("canvas", {
      class: "play-photo", tabindex: "0", role: "img", "aria-label": t("play.region"),
      on: {
        pointerdown: (event) => this.click(event),
        pointermove: (event) => event.buttons && this.click(event),
        keydown: (event) => this.key(event),
      },
    });
    this.whiten = patch.whiten;
    this.element = h("div", { class: "play-region", hidden: true }, this.canvas,
      h("div", { class: "play-beside" }, h("p", { class: "hint" }, t("play.region")), this.menus()));
  }

  menus() {
    this.sizeMenu = menu([], (size) => {
      this.size = Number(size);
      this.moved();
    }, { id: "play-size" });
    const whitening = menu([["none", t("play.region.none")], ["1/f", "1/f"]], (whiten) => {
      this.whiten = whiten;
      if (this.source) this.open(this.source, this.whole);
    }, { id: "play-whiten", value: this.whiten });
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
    const small = shrunk(color === "grey" ? toGrey(toSize) : toSize, LARGEST);
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
      const first = clamp(Math.round(share * length - side / 2), 0, length - side);
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
    if (this.whiten === "1/f") {
      const flat = whitened(this.picture, this.patch.cutoff);
      // data that came whitened already have a deviation of their own
      const factor = this.patch.whiten === "1/f" ? 1 : this.spread;
      this.values = { ...flat, values: flat.values.map((value) => value * factor) };
    } else if (this.play.low < 0 || this.play.high > 1) {
      this.values = { ...this.picture, values: inRange(this.picture.values, this.play) };
    } else this.values = this.picture;
  }

  moved(patch = null) {
    const length = this.size * this.patch.side;
    const within = (value, most) => clamp(Math.round(value), 0, most - length);
    this.top = within(this.top, this.picture.height);
    this.left = within(this.left, this.picture.width);
    this.sizeMenu.value = String(this.size);
    paintPicture(this.canvas, this.picture, [0, 1]);
    paintFrame(this.canvas, [this.left, this.top, length, length], 1.5);
    const region = cut(this.values, this.top, this.left, length, length);
    const x = toPatches(region, this.patch.side);
    this.given({ x, n: this.size * this.size, across: this.size }, patch);
  }

  click(event) {
    if (!this.picture) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    const [across, down] = pointed(event, this.canvas);
    const half = (this.size * this.patch.side) / 2;
    this.top = down * this.picture.height - half;
    this.left = across * this.picture.width - half;
    this.moved();
  }

  key(event) {
    const move = this.picture && arrow(event);
    if (!move) return;
    this.top += move[0] * this.patch.side;
    this.left += move[1] * this.patch.side;
    this.moved();
  }
}
