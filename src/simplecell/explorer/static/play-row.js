/** A row of numbers: each column a field and a slider, beside what became of it. */

import { fill, h } from "./dom.js";
import { figure } from "./numbers.js";
import { say } from "./play-say.js";

const WIDE = 32;
const SHOWN = 16;
const MOST_OUTPUTS = 256;

/** The columns as a table; `given` gets the whole row after each edit. */
export class Row {
  /**
   * @param {string[]} names of the inputs
   * @param {{low: number, high: number}[]} ranges of the inputs over the run's samples
   * @param {boolean} transcoder whether something else than the inputs is given back
   * @param {function(Float32Array): void} given
   */
  constructor(names, ranges, transcoder, given) {
    Object.assign(this, { names, ranges, transcoder, given });
    this.outputs = [];
    this.x = new Float32Array(names.length);
    this.rows = new Map();
    this.body = h("tbody");
    this.told = h("p", { class: "hint" });
    this.search = h("input", {
      type: "search", placeholder: say("play.row.search"), "aria-label": say("play.row.search"),
      on: { input: () => this.list() },
    });
    const heads = [say("play.row.column"), say("play.row.value"), ...this.heads()];
    this.element = h("div", { class: "play-rowbox" },
      names.length > WIDE && h("div", { class: "play-tools" }, this.search, this.told),
      h("div", { class: "play-scroll" }, h("table", { class: "play-table" },
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), this.body)));
    this.result = transcoder ? this.targets() : null;
    this.list();
  }

  heads() {
    if (this.transcoder) return [];
    const kinds = ["play.figure.recon", "play.figure.turned", "play.figure.difference"];
    return kinds.map((key) => say(key));
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
    this.told.textContent = say("play.row.shown", { shown: shown.length, n: this.names.length });
    if (this.answers) this.draw(...this.answers);
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
      "aria-label": say("play.row.slider", { name }), on: { input: edit },
    });
    const set = (value) => {
      field.value = String(Number(value.toPrecision(5)));
      slider.value = String(value);
    };
    const cells = this.transcoder ? [] : [h("td"), h("td"), h("td", {}, h("span", { class: "play-signed" }))];
    const element = h("tr", {}, h("th", { scope: "row" }, name),
      h("td", { class: "play-edit" }, field, slider), cells);
    set(this.x[at]);
    return { element, set, cells };
  }

  /** The table of what a transcoder gives, empty until its first answer. */
  targets() {
    this.outputBody = h("tbody");
    const heads = [say("play.row.column"), say("play.figure.recon"), say("play.figure.turned")];
    this.outputTold = h("p", { class: "hint" });
    const head = h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)));
    return h("div", {}, this.outputTold, h("div", { class: "play-scroll play-targets", tabindex: "0" },
      h("table", { class: "play-table" }, h("thead", {}, head), this.outputBody)));
  }

  drawTargets(plain, turned) {
    const n = plain.recon.length;
    const missing = Math.min(n, MOST_OUTPUTS) - this.outputs.length;
    if (n > MOST_OUTPUTS) this.outputTold.textContent = say("play.row.shown", { shown: MOST_OUTPUTS, n });
    for (let k = 0; k < missing; k += 1) {
      const cells = [h("td"), h("td")];
      const name = say("play.row.output", { n: this.outputs.length });
      this.outputs.push(cells);
      this.outputBody.append(h("tr", {}, h("th", { scope: "row" }, name), cells));
    }
    this.outputs.forEach((cells, at) => tell(cells, [plain.recon[at], turned.recon[at]]));
  }

  /**
   * @param {any} plain the answer without changes
   * @param {any} turned the answer with them
   */
  draw(plain, turned) {
    this.answers = [plain, turned];
    if (this.transcoder) {
      this.drawTargets(plain, turned);
      return;
    }
    for (const [at, { cells }] of this.rows) {
      tell(cells, [plain.recon[at], turned.recon[at]]);
      const { low, high } = this.ranges[at];
      const share = (turned.recon[at] - this.x[at]) / (high - low || 1);
      const bar = cells[2].firstChild;
      bar.textContent = figure(turned.recon[at] - this.x[at]);
      bar.className = `play-signed ${share < 0 ? "low" : "high"}`;
      bar.style.setProperty("--share", `${Math.min(100, 100 * Math.abs(share))}%`);
    }
  }
}

function tell(cells, values) {
  values.forEach((value, at) => {
    cells[at].textContent = figure(value);
  });
}
