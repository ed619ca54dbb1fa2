/** Rows of numbers as a table: what came, what was given back, and how far that is off. */

import { fill, h } from "../lib/dom.js";
import { figure } from "../lib/numbers.js";
import { t } from "../lib/words.js";

const WIDE = 32;
const SHOWN = 16;
const MOST_OUTPUTS = 256;
const DIGITS = 4;
const FULL = 2; // deviations that a whole bar stands for

/** Value, reconstruction, with changes, difference, for every column. */
export class Compared {
  /**
   * @param {string[]} names of the columns
   * @param {{deviation: number}[]} spreads of the columns over the kept samples
   */
  constructor(names, spreads) {
    Object.assign(this, { names, spreads });
    this.wide = names.length > WIDE;
    const heads = ["play.row.column", "play.figure.input", "play.figure.recon", "play.figure.turned"];
    const last = h("th", { scope: "col" }, t("play.figure.difference"),
      h("small", {}, t("play.row.deviations")));
    const [element, body] = table([...heads.map((key) => h("th", { scope: "col" }, t(key))), last]);
    this.told = h("p", { class: "hint" }, this.wide && t("play.row.largest", { shown: SHOWN, n: names.length }));
    this.element = h("div", { class: "play-compared" }, this.told, element);
    this.body = body;
    this.rows = names.slice(0, this.wide ? SHOWN : WIDE).map(() => this.row());
    fill(body, this.rows.map(({ element: one }) => one));
  }

  row() {
    const name = h("th", { scope: "row" });
    const cells = [h("td"), h("td"), h("td")];
    const bar = h("span", { class: "play-signed" });
    return { name, cells, bar, element: h("tr", {}, name, cells, h("td", {}, bar)) };
  }

  /** Which columns: all in order, or those that are farthest off. */
  order(off) {
    const places = this.names.map((_, at) => at);
    if (!this.wide) return places;
    return places.sort((a, b) => Math.abs(off[b]) - Math.abs(off[a])).slice(0, SHOWN);
  }

  /**
   * @param {Float32Array} x
   * @param {any} plain the answer without changes
   * @param {any} turned the answer with them
   */
  draw(x, plain, turned) {
    const off = this.spreads.map(({ deviation }, at) =>
      deviation > 0 ? (turned.recon[at] - x[at]) / deviation : NaN);
    this.body.parentElement.classList.toggle("plain", plain === turned);
    this.order(off.map((one) => one || 0)).forEach((at, place) => {
      const { name, cells, bar } = this.rows[place];
      name.textContent = this.names[at];
      const changed = plain === turned ? null : turned.recon[at];
      tell(cells, [x[at], plain.recon[at], changed]);
      const share = Math.min(1, (Math.abs(off[at]) || 0) / FULL);
      bar.textContent = figure(off[at], 2);
      bar.className = `play-signed ${off[at] < 0 ? "low" : "high"}`;
      bar.style.setProperty("--share", `${100 * share}%`);
    });
  }
}

/** What a transcoder gives: columns that have no names, beside no input of theirs. */
export class Targets {
  constructor() {
    const heads = ["play.row.column", "play.figure.recon", "play.figure.turned"];
    const [element, body] = table(heads.map((key) => h("th", { scope: "col" }, t(key))));
    this.told = h("p", { class: "hint" });
    this.body = body;
    this.rows = [];
    this.element = h("div", { class: "play-compared play-targets" }, this.told, element);
  }

  /**
   * @param {Float32Array} x
   * @param {any} plain the answer without changes
   * @param {any} turned the answer with them
   */
  draw(x, plain, turned) {
    const n = plain.recon.length;
    if (n > MOST_OUTPUTS) this.told.textContent = t("play.row.shown", { shown: MOST_OUTPUTS, n });
    while (this.rows.length < Math.min(n, MOST_OUTPUTS)) {
      const cells = [h("td"), h("td")];
      const name = t("play.row.output", { n: String(this.rows.length) });
      this.rows.push(cells);
      this.body.append(h("tr", {}, h("th", { scope: "row" }, name), cells));
    }
    this.rows.forEach((cells, at) =>
      tell(cells, [plain.recon[at], plain === turned ? null : turned.recon[at]]));
  }
}

function table(heads) {
  const body = h("tbody");
  const element = h("div", { class: "play-scroll", tabindex: "0", role: "group", "aria-label": t("play.output") },
    h("table", { class: "play-table" }, h("thead", {}, h("tr", {}, heads)), body));
  return [element, body];
}

function tell(cells, values) {
  values.forEach((value, at) => {
    cells[at].textContent = value === null ? "" : figure(value, DIGITS);
  });
}
