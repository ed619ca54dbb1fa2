/** A row of numbers: its columns to edit, and tables of what is given back and how far that is off. */

import { fill, h, table, tableRow } from "../lib/dom.js";
import { figure } from "../lib/numbers.js";
import { t } from "../lib/words.js";

const WIDE = 32;
const SHOWN = 16;
const MOST_OUTPUTS = 256;
const DIGITS = 4;
const DIGITS_TO_EDIT = 5;
const FULL = 2; // deviations that a whole bar stands for

/** Every column a field and a slider; `given` gets the whole row after each edit. */
export class EditedRow {
  /**
   * @param {import("../lib/atlas.js").Run} run
   * @param {string[]} names of the inputs
   * @param {import("../lib/columns.js").Column[]} columns of the run's samples
   */
  constructor(run, names, columns, given) {
    Object.assign(this, { run, names, columns, given });
    this.x = new Float64Array(names.length);
    this.rows = new Map();
    this.told = h("p", { class: "hint" });
    this.search = h("input", {
      type: "search", placeholder: t("play.row.search"), "aria-label": t("play.row.search"),
      on: { input: () => this.list() },
    });
    this.table = table("play-table play-edits", [t("play.row.column"), t("play.figure.input")], []);
    this.element = h("div", { class: "play-rowbox" },
      names.length > WIDE && h("div", { class: "play-tools" }, this.search, this.told),
      h("div", { class: "play-scroll" }, this.table));
    this.list();
  }

  /** Another row of numbers in all fields. */
  set(x) {
    this.x = Float64Array.from(x);
    for (const [at, row] of this.rows) row.set(this.x[at]);
  }

  /** The columns that are searched for; of wide rows the first few. */
  list() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.names.map((_, at) => at).filter((at) =>
      this.names[at].toLowerCase().includes(wanted));
    const shown = this.names.length > WIDE ? found.slice(0, SHOWN) : found;
    this.rows = new Map(shown.map((at) => [at, this.rows.get(at) ?? this.row(at)]));
    fill(this.table.tBodies[0], [...this.rows.values()].map(({ element }) => element));
    this.told.textContent = t("play.row.shown", { shown: shown.length, n: this.names.length });
  }

  row(at) {
    const name = this.names[at];
    const { low, high } = this.columns[at];
    const edit = (event) => {
      const value = Number(event.target.value);
      if (event.target.value === "" || !Number.isFinite(value)) return;
      this.x[at] = value;
      (event.target === field ? slider : field).value = String(value);
      this.given(Float64Array.from(this.x));
    };
    const digits = Math.max(DIGITS_TO_EDIT, this.run.digitsOf(name));
    const style = { minWidth: `calc(${digits}ch + 3.5rem)` };
    const field = h("input", { type: "number", step: "any", "aria-label": name, style, on: { input: edit } });
    const slider = h("input", {
      type: "range", min: low, max: high, step: (high - low) / 200 || 1, tabindex: "-1",
      "aria-label": t("play.row.slider", { name }), on: { input: edit },
    });
    const set = (value) => {
      field.value = String(Number(value.toPrecision(digits)));
      slider.value = String(value);
    };
    const element = tableRow(name, [h("span", { class: "play-edit" }, field, slider)]);
    set(this.x[at]);
    return { element, set };
  }
}

/** Value, reconstruction, with changes, difference, for every column. */
export class Compared {
  /**
   * @param {import("../lib/atlas.js").Run} run
   * @param {string[]} names of the columns
   * @param {import("../lib/columns.js").Column[]} spreads of the kept samples
   */
  constructor(run, names, spreads) {
    Object.assign(this, { run, names, spreads, wide: names.length > WIDE });
    const heads = ["play.row.column", "play.figure.input", "play.figure.recon", "play.figure.turned"];
    const last = [t("play.figure.difference"), h("small", {}, t("play.row.deviations"))];
    this.table = table("play-table", [...heads.map((key) => t(key)), last], []);
    const told = this.wide && t("play.row.largest", { shown: SHOWN, n: names.length });
    this.element = h("div", { class: "play-compared" }, h("p", { class: "hint" }, told), scrolling(this.table));
  }

  /** Which columns: all in order, or those that are farthest off. */
  order(off) {
    const places = this.names.map((_, at) => at);
    if (!this.wide) return places;
    return places.sort((a, b) => Math.abs(off[b]) - Math.abs(off[a])).slice(0, SHOWN);
  }

  /**
   * @param {Float32Array|Float64Array} x
   * @param {import("./engine.js").Answer} plain without changes
   * @param {import("./engine.js").Answer} turned with them
   */
  draw(x, plain, turned) {
    const off = this.spreads.map(({ deviation }, at) =>
      deviation > 0 ? (turned.recon[at] - x[at]) / deviation : NaN);
    this.table.classList.toggle("plain", plain === turned);
    fill(this.table.tBodies[0], this.order(off.map((one) => one || 0)).map((at) => {
      const digits = this.run.digitsOf(this.names[at]);
      const cells = [figure(x[at], digits), ...given(plain, turned, at, digits), signed(off[at])];
      return tableRow(this.names[at], cells);
    }));
  }
}

/** What a transcoder gives: columns that have no names, beside no input of theirs. */
export class Targets {
  constructor() {
    const heads = ["play.row.column", "play.figure.recon", "play.figure.turned"];
    this.table = table("play-table", heads.map((key) => t(key)), []);
    this.told = h("p", { class: "hint" });
    this.element = h("div", { class: "play-compared play-targets" }, this.told, scrolling(this.table));
  }

  /** As `Compared` does. */
  draw(x, plain, turned) {
    const n = plain.recon.length;
    if (n > MOST_OUTPUTS) this.told.textContent = t("play.row.shown", { shown: MOST_OUTPUTS, n });
    fill(this.table.tBodies[0], Array.from({ length: Math.min(n, MOST_OUTPUTS) }, (_, at) =>
      tableRow(t("play.row.output", { n: String(at) }), given(plain, turned, at, DIGITS))));
  }
}

/** What is given back in a column, without changes and with them, if there are any. */
function given(plain, turned, at, digits) {
  return [plain, turned === plain ? null : turned].map((one) => one ? figure(one.recon[at], digits) : "");
}

/** How far a column is off, with a bar. */
function signed(off) {
  const look = `play-signed ${off < 0 ? "low" : "high"}`;
  const bar = h("span", { class: look }, figure(off, 2));
  bar.style.setProperty("--share", `${100 * Math.min(1, (Math.abs(off) || 0) / FULL)}%`);
  return bar;
}

function scrolling(element) {
  const told = { tabindex: "0", role: "group", "aria-label": t("play.output") };
  return h("div", { class: "play-scroll", ...told }, element);
}
