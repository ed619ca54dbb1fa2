/** A row of numbers to edit: each column a field and a slider. */

import { fill, h } from "../lib/dom.js";
import { t } from "../lib/words.js";

const WIDE = 32;
const SHOWN = 16;

/** The columns as a table; `given` gets the whole row after each edit. */
export class Row {
  /**
   * @param {string[]} names of the inputs
   * @param {{low: number, high: number}[]} ranges of the inputs over the run's samples
   * @param {function(Float32Array): void} given
   */
  constructor(names, ranges, given) {
    Object.assign(this, { names, ranges, given });
    this.x = new Float32Array(names.length);
    this.rows = new Map();
    this.body = h("tbody");
    this.told = h("p", { class: "hint" });
    this.search = h("input", {
      type: "search", placeholder: t("play.row.search"), "aria-label": t("play.row.search"),
      on: { input: () => this.list() },
    });
    const heads = [t("play.row.column"), t("play.figure.input")];
    this.element = h("div", { class: "play-rowbox" },
      names.length > WIDE && h("div", { class: "play-tools" }, this.search, this.told),
      h("div", { class: "play-scroll" }, h("table", { class: "play-table play-edits" },
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), this.body)));
    this.list();
  }

  /** Another row of numbers in all fields. */
  set(x) {
    this.x = Float32Array.from(x);
    for (const [at, row] of this.rows) row.set(this.x[at]);
  }

  /** The columns that are searched for; of wide rows the first few. */
  list() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.names.map((_, at) => at).filter((at) =>
      this.names[at].toLowerCase().includes(wanted));
    const shown = this.names.length > WIDE ? found.slice(0, SHOWN) : found;
    this.rows = new Map(shown.map((at) => [at, this.rows.get(at) ?? this.row(at)]));
    fill(this.body, [...this.rows.values()].map(({ element }) => element));
    this.told.textContent = t("play.row.shown", { shown: shown.length, n: this.names.length });
  }

  row(at) {
    const name = this.names[at];
    const { low, high } = this.ranges[at];
    const edit = (event) => {
      const value = Number(event.target.value);
      if (event.target.value === "" || !Number.isFinite(value)) return;
      this.x[at] = value;
      (event.target === field ? slider : field).value = String(value);
      this.given(Float32Array.from(this.x));
    };
    const field = h("input", { type: "number", step: "any", "aria-label": name, on: { input: edit } });
    const slider = h("input", {
      type: "range", min: low, max: high, step: (high - low) / 200 || 1, tabindex: "-1",
      "aria-label": t("play.row.slider", { name }), on: { input: edit },
    });
    const set = (value) => {
      field.value = String(Number(value.toPrecision(5)));
      slider.value = String(value);
    };
    const element = h("tr", {}, h("th", { scope: "row" }, name),
      h("td", { class: "play-edit" }, field, slider));
    set(this.x[at]);
    return { element, set };
  }
}
