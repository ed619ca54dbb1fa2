/** Input, reconstruction, reconstruction with changes, difference: side by side. */

import { arrow, fill, h, pointed } from "../lib/dom.js";
import { clamp, extent, figure, percent } from "../lib/numbers.js";
import { paintFrame, paintPicture, paintSigned } from "../lib/paint.js";
import { t } from "../lib/words.js";
import { fromPatches } from "./pictures.js";

const KINDS = ["input", "recon", "difference", "turned", "effect"];
const LEGENDS = { difference: "play.figure.legend", effect: "play.figure.effect.legend" };
const OF_CHANGES = ["turned", "effect"];

/** Pictures of answers; a patch of a grid can be chosen in them. */
export class Figures {
  /**
   * @param {number[]} shape of a sample: [h, w] or [h, w, 3]
   * @param {function(number|null): void} chosen called with the number of a patch, or null
   */
  constructor(shape, chosen) {
    [this.height, this.width] = shape;
    this.channels = shape[2] ?? 1;
    this.chosen = chosen;
    this.patch = null;
    this.canvases = Object.fromEntries(KINDS.map((kind) => [kind, this.canvas()]));
    this.captions = Object.fromEntries(KINDS.map((kind) => [kind, h("figcaption")]));
    this.element = h("div", { class: "play-figures" }, KINDS.map((kind) =>
      h("figure", { class: `play-${kind}` }, this.canvases[kind], this.captions[kind])));
  }

  canvas() {
    const on = { click: (event) => this.click(event), keydown: (event) => this.key(event) };
    return h("canvas", { class: "play-picture", role: "img", width: 1, height: 1, on });
  }

  /** The picture that rows make: one sample, or the patches of a grid. */
  picture(rows, { across }) {
    const { height, width, channels } = this;
    return across ? fromPatches(rows, height, across, channels) : { height, width, channels, values: rows };
  }

  /**
   * @param {{x: Float32Array|Float64Array, n: number, across: number}} input across: patches side by side, or 0
   * @param {import("./engine.js").Answer} plain without changes
   * @param {import("./engine.js").Answer} turned with them
   * @param {[number, number]|null} range of black and white; null is the input's own
   */
  draw(input, plain, turned, range) {
    this.input = input;
    const ends = range ?? extent(input.x);
    const limit = (ends[1] - ends[0]) / 2;
    const less = (from) => turned.recon.map((value, at) => value - from[at]);
    const shown = { input: input.x, recon: plain.recon, turned: turned.recon };
    const signed = { difference: less(input.x), effect: less(plain.recon) };
    for (const [kind, rows] of Object.entries(shown)) {
      paintPicture(this.canvases[kind], this.picture(rows, input), ends);
    }
    for (const [kind, rows] of Object.entries(signed)) {
      paintSigned(this.canvases[kind], this.picture(rows, input), limit);
    }
    this.name(plain !== turned, limit);
    for (const canvas of Object.values(this.canvases)) this.mark(canvas);
  }

  /** Names below the pictures; those of changes keep their place empty until there are any. */
  name(changed, limit) {
    const full = t("play.figure.full", { value: figure(limit) });
    const grid = this.input.across > 0;
    for (const kind of KINDS) {
      const name = t(`play.figure.${kind}`);
      const lines = LEGENDS[kind] ? [t(LEGENDS[kind]), full] : [];
      fill(this.captions[kind], h("b", {}, name), lines.map((line) => h("span", {}, line)));
      this.canvases[kind].setAttribute("aria-label", grid ? `${name}. ${t("play.patch.pick")}` : name);
      this.canvases[kind].tabIndex = grid ? 0 : -1;
    }
    for (const kind of OF_CHANGES) this.canvases[kind].parentElement.classList.toggle("waiting", !changed);
    this.element.classList.toggle("patches", grid);
  }

  /** A frame around the chosen patch, in the pixels around it. */
  mark(canvas) {
    if (this.patch === null || !this.input.across) return;
    const [row, column] = this.place(this.patch);
    const { width, height } = this;
    paintFrame(canvas, [column * width, row * height, width, height], 1);
  }

  place(patch) {
    return [Math.floor(patch / this.input.across), patch % this.input.across];
  }

  click(event) {
    if (!this.input?.across) return;
    const { across, n } = this.input;
    const [right, down] = pointed(event, event.target);
    const patch = Math.floor(down * (n / across)) * across + Math.floor(right * across);
    this.chosen(patch === this.patch ? null : patch);
  }

  key(event) {
    if (!this.input?.across) return;
    if (event.key === "Escape") this.chosen(null);
    const move = arrow(event);
    if (!move) return;
    const { across, n } = this.input;
    const [row, column] = this.place(this.patch ?? 0);
    const [down, right] = this.patch === null ? [0, 0] : move;
    this.chosen(clamp(row + down, 0, n / across - 1) * across + clamp(column + right, 0, across - 1));
  }
}

/** What is lost, in words: squared error a sample, share of the variance, the run's usual. */
export class Errors {
  /** @param {any} play with its samples @param {any} figures of the atlas */
  constructor(play, figures) {
    const known = play.samples.find(({ error, share }) => error > 0 && share > 0);
    this.usual = known ? known.error / known.share : null;
    this.variance = this.usual && figures?.fvu > 0 ? this.usual / figures.fvu : null;
    // what is typed or drawn is new: samples that were learned from say little about it
    const held = figures?.held_out?.fvu;
    this.fresh = this.variance && held > 0;
    if (this.fresh) this.usual = this.variance * held;
    this.element = h("p", { class: "play-error", role: "status" });
  }

  /** Of answers without and with changes; `patch` is which is meant, null the mean over all. */
  tell(plain, turned, n, patch) {
    const before = squared(plain, n, patch);
    const after = plain === turned ? null : squared(turned, n, patch);
    const large = this.variance && Math.max(before, after ?? 0) > this.variance;
    const parts = [
      t("play.error", { error: this.words(before, large) }),
      after !== null && t("play.error.turned", { error: this.words(after, large) }),
      this.usual && !large && t(this.fresh ? "play.error.new" : "play.error.usual", { error: figure(this.usual) }),
    ].filter(Boolean);
    this.element.textContent = parts.join(t("play.error.comma")) + t("play.error.stop");
  }

  /** An error, and what it is measured by: the variance; where it is larger, the usual error. */
  words(error, large) {
    if (!this.variance) return figure(error);
    const share = large
      ? t("play.error.times", { times: figure(error / this.usual, 2) })
      : t("play.error.share", { share: percent(error / this.variance) });
    return t("play.error.measured", { error: figure(error), share });
  }
}

/** Σ (prepared − its reconstruction)², of one sample or the mean over all. */
function squared({ prepared, preparedRecon }, n, patch) {
  const width = prepared.length / n;
  const [start, end] = patch === null ? [0, prepared.length] : [patch * width, (patch + 1) * width];
  let sum = 0;
  for (let at = start; at < end; at += 1) sum += (prepared[at] - preparedRecon[at]) ** 2;
  return patch === null ? sum / n : sum;
}
