/** Input, reconstruction, reconstruction with changes, difference: side by side. */

import { fill, h } from "../lib/dom.js";
import { figure, percent } from "../lib/numbers.js";
import { paintPicture, paintSigned, rangeOf } from "./paint.js";
import { t } from "../lib/words.js";
import { fromPatches } from "./pictures.js";

const KINDS = ["input", "recon", "difference", "turned", "effect"];
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
    this.canvases = Object.fromEntries(KINDS.map((kind) => [kind, this.canvas(kind)]));
    this.captions = Object.fromEntries(KINDS.map((kind) => [kind, h("figcaption")]));
    this.element = h("div", { class: "play-figures" }, KINDS.map((kind) =>
      h("figure", { class: `play-${kind}` }, this.canvases[kind], this.captions[kind])));
  }

  canvas(kind) {
    const canvas = h("canvas", { class: "play-picture", role: "img", width: 1, height: 1 });
    canvas.addEventListener("click", (event) => this.click(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    return canvas;
  }

  /** The picture that rows make: one sample, or the patches of a grid. */
  picture(rows, { across }) {
    const { height, width, channels } = this;
    return across ? fromPatches(rows, height, across, channels) : { height, width, channels, values: rows };
  }

  /**
   * @param {{x: Float32Array, n: number, across: number}} input across: patches side by side, or 0
   * @param {any} plain the answer without changes
   * @param {any} turned the answer with them
   * @param {{low: number, high: number}|null} range of black and white; null is the input's own
   */
  draw(input, plain, turned, range) {
    this.input = input;
    const ends = range ?? rangeOf(input.x);
    paintPicture(this.canvases.input, this.picture(input.x, input), ends);
    paintPicture(this.canvases.recon, this.picture(plain.recon, input), ends);
    paintPicture(this.canvases.turned, this.picture(turned.recon, input), ends);
    const difference = turned.recon.map((value, at) => value - input.x[at]);
    const limit = (ends.high - ends.low) / 2;
    paintSigned(this.canvases.difference, this.picture(difference, input), limit);
    const effect = turned.recon.map((value, at) => value - plain.recon[at]);
    paintSigned(this.canvases.effect, this.picture(effect, input), limit);
    this.name(plain !== turned, limit);
    for (const canvas of Object.values(this.canvases)) this.mark(canvas);
  }

  /** Names below the pictures; those of changes keep their place empty until there are any. */
  name(changed, limit) {
    const full = t("play.figure.full", { value: figure(limit) });
    const remarks = { difference: t("play.figure.legend"), effect: t("play.figure.effect.legend") };
    const names = {
      input: t("play.figure.input"), recon: t("play.figure.recon"),
      difference: t("play.figure.difference"), turned: t("play.figure.turned"),
      effect: t("play.figure.effect"),
    };
    const grid = this.input.across > 0;
    for (const kind of KINDS) {
      const name = names[kind];
      const lines = remarks[kind] ? [remarks[kind], full] : [];
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
    const pen = canvas.getContext("2d");
    pen.strokeStyle = "#ff9a2e";
    pen.lineWidth = 1;
    pen.strokeRect(column * this.width + 0.5, row * this.height + 0.5, this.width - 1, this.height - 1);
  }

  place(patch) {
    return [Math.floor(patch / this.input.across), patch % this.input.across];
  }

  click(event) {
    if (!this.input?.across) return;
    const box = event.target.getBoundingClientRect();
    const down = this.input.n / this.input.across;
    const row = Math.floor(((event.clientY - box.top) / box.height) * down);
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.input.across);
    const patch = row * this.input.across + column;
    this.chosen(patch === this.patch ? null : patch);
  }

  key(event) {
    if (!this.input?.across) return;
    if (event.key === "Escape") this.chosen(null);
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const { across, n } = this.input;
    const [row, column] = this.place(this.patch ?? 0);
    const [down, right] = this.patch === null ? [0, 0] : move;
    const within = (value, most) => Math.min(Math.max(value, 0), most - 1);
    this.chosen(within(row + down, n / across) * across + within(column + right, across));
  }
}

/** What is lost, in words: squared error a sample, share of the variance, the run's usual. */
export class Errors {
  /** @param {any} play with its samples @param {any} figures of the atlas */
  constructor(play, figures) {
    const known = (play.samples ?? []).find(({ error, share }) => error > 0 && share > 0);
    this.usual = known ? known.error / known.share : null;
    this.variance = this.usual && figures?.fvu > 0 ? this.usual / figures.fvu : null;
    // what is typed or drawn is new: samples that were learned from say little about it
    const held = figures?.held_out?.fvu;
    this.fresh = this.variance && held > 0;
    if (this.fresh) this.usual = this.variance * held;
    this.element = h("p", { class: "play-error", role: "status" });
  }

  /**
   * @param {any} plain
   * @param {any} turned
   * @param {number} n
   * @param {number|null} patch the one that is meant; null: the mean over all
   */
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
