/** The map: samples or latents in two dimensions; pick some, and see what sets them apart. */

import { announce, button, fill, h, menu, section } from "../lib/dom.js";
import { clamp, count, figure, percent } from "../lib/numbers.js";
import { sampleFigure } from "../lib/sample.js";
import { spoken, t } from "../lib/words.js";
import { Answer } from "./answer.js";
import { Card, PointSamples } from "./card.js";
import { codesOf } from "./codes.js";
import { byClass, byNumber, plain, strongestLast } from "./colours.js";
import { fillLegend } from "./legend.js";
import { OTHERS, Picks, THESE, ranges } from "./picks.js";
import { Plot } from "./plot.js";

const SIDES = { [THESE]: [235, 120, 0, 255], [OTHERS]: [40, 120, 220, 255] };
const WAIT = 60; // milliseconds after a change of what is picked

/**
 * The section of the data page; null where the run has no map.
 * @param {import("../app.js").Context} context
 * @param {any[]} judged samples of the data page
 */
export function mapOf(context, judged) {
  return context.run.atlas.map ? new SampleMap(context, judged) : null;
}

class SampleMap {
  constructor(context, judged) {
    const { run } = context;
    Object.assign(this, { context, run, told: run.atlas.map, side: THESE, values: new Map() });
    this.judged = new Map(judged.map((one) => [one.sample.row, one]));
    this.layout = this.told.layouts[0].name;
    this.colour = { points: this.#first(), latents: run.columns.density ? "density" : run.atlas.columns[0] };
    this.picks = new Picks(this.told.n_points, () => this.#picked());
    this.samples = new PointSamples(run, new Map(judged.map((one) => [one.sample.row, one.sample])), null);
    this.card = new Card(this.samples);
    this.plot = new Plot({
      label: t("map.label"), help: t("map.keys"), way: context.query.get("draw"),
      point: (point, at) => this.#pointed(point, at),
      open: (point) => this.#open(point),
      tick: (point) => this.#tick(point),
      surround: (points) => this.#surrounded(points),
    });
    this.plot.element.append(this.card.element);
    this.answer = new Answer(context, this.picks, null);
    this.#build();
    this.ready = this.#load().catch((error) => fill(this.state, error.message));
  }

  #first() {
    const classes = this.told.fields.findIndex((field) => field.classes);
    return classes >= 0 ? `field:${classes}` : this.told.fields.length ? "field:0" : "none";
  }

  get latents() {
    return this.layout === "latents";
  }

  #build() {
    this.legend = h("div", { class: "map-legend" });
    this.counts = h("div", { class: "map-counts" });
    this.shown = h("div", { class: "map-sample" });
    this.state = h("p", { class: "quiet map-state", role: "status" });
    this.controls = h("div", { class: "choices map-controls" });
    this.tools = h("div", { class: "choices map-tools" });
    this.element = section(
      t("map.title"), h("p", { class: "quiet" }, t("map.lead")), this.controls, this.tools,
      h("div", { class: "map-sides" }, this.plot.element, h("div", { class: "map-aside" }, this.legend, this.counts, this.shown)),
      this.state, this.answer.element,
    );
    this.element.classList.add("map");
  }

  async #load() {
    if (this.told.rows) {
      this.samples.rows = new Uint32Array(await this.#file(this.told.rows));
      this.answer.rows = this.samples.rows;
    }
    await this.#lay();
    this.#picked();
  }

  #file(name) {
    return this.run.store.bytes(`${this.run.name}/files/${name}`);
  }

  /** Show the layout that is chosen. */
  async #lay() {
    this.turn = (this.turn ?? 0) + 1;
    const { turn } = this;
    const layout = this.latents ? this.told.latents : this.told.layouts.find(({ name }) => name === this.layout);
    const places = new Float32Array(await this.#file(layout.file));
    const coloured = await this.#coloured(places.length / 2);
    if (turn !== this.turn) return; // another layout was chosen meanwhile
    this.plot.show(places, coloured.colours.bytes, coloured.order);
    this.plot.element.setAttribute("data-layout", this.layout);
    this.#legend(coloured);
    this.#controls();
    this.plot.lasso &&= !this.latents;
    this.#tools();
    this.#stand();
    this.#say(layout, places.length / 2);
  }

  #say(layout, total) {
    const share = layout.shares && t("map.shares", { share: percent(layout.shares.reduce((sum, one) => sum + one, 0)) });
    const { drawn } = this.plot;
    const some = drawn < total && t("map.some", { n: count(drawn), of: count(total) });
    const points = this.told.rows && !this.latents && t("map.thinned", { n: count(total), of: count(this.run.atlas.n_samples) });
    fill(this.state, [points, share, some].filter(Boolean).join(" "));
  }

  #controls() {
    const layouts = [...this.told.layouts.map(({ name }) => name), "latents"].map((name) => [name, t(`map.layout.${name}`)]);
    const lay = (name) => {
      this.layout = name;
      this.plot.mark(-1);
      this.plot.view.whole();
      this.#lay().catch((error) => fill(this.state, error.message));
    };
    const colours = this.latents
      ? this.run.atlas.columns.filter((name) => spoken(`sort.${name}`)).map((name) => [name, t(`sort.${name}`)])
      : [["none", t("map.plain")], ...this.told.fields.map((field, k) => [`field:${k}`, nameOf(field)]), ["latent", t("map.latentcode")]];
    const kind = this.latents ? "latents" : "points";
    const paint = (value) => {
      this.colour[kind] = value;
      this.#paint();
    };
    fill(this.controls,
      h("label", {}, t("map.show"), menu(layouts, lay, { value: this.layout, class: "map-layout" })),
      h("label", {}, t("map.colour"), menu(colours, paint, { value: this.colour[kind], class: "map-colour" })),
      !this.latents && this.colour.points === "latent" && this.#whichLatent());
  }

  #whichLatent() {
    const change = (event) => {
      this.latent = clamp(Math.round(Number(event.target.value)) || 0, 0, this.run.size - 1);
      this.#paint();
    };
    const attributes = { type: "number", min: 0, max: this.run.size - 1, value: String(this.latent ?? 0), class: "map-number", on: { change } };
    return h("label", {}, t("map.number"), h("input", attributes));
  }

  #tools() {
    const { plot } = this;
    const draw = button(t("map.lasso"), () => {
      plot.lasso = !plot.lasso;
      draw.setAttribute("aria-pressed", String(plot.lasso));
    }, { class: "map-lasso", "aria-pressed": String(plot.lasso), "data-tip": t("about.lasso") });
    const sides = [[THESE, t("map.these")], [OTHERS, t("map.others")]];
    const rows = h("input", { type: "text", class: "map-rows", placeholder: t("map.rows"), "aria-label": t("map.rows") });
    const take = (event) => {
      event.preventDefault();
      this.#pickRows(rows.value);
    };
    fill(this.tools,
      h("span", { class: "together" },
        button("+", () => plot.nearer(1.5), { "aria-label": t("map.nearer") }),
        button("−", () => plot.nearer(1 / 1.5), { "aria-label": t("map.farther") }),
        button(t("map.whole"), () => plot.whole())),
      !this.latents && [
        h("span", { class: "together" }, draw,
          menu(sides, (side) => { this.side = Number(side); }, { value: this.side, "aria-label": t("map.side"), class: "map-side" })),
        h("form", { class: "together", on: { submit: take } }, rows, h("button", { type: "submit" }, t("map.pickrows"))),
      ]);
  }

  /** Colour the points anew. */
  async #paint() {
    const coloured = await this.#coloured(this.plot.places.length / 2).catch((error) => {
      fill(this.state, error.message);
      return null;
    });
    if (!coloured) return;
    this.plot.colour(coloured.colours.bytes, coloured.order);
    this.plot.element.setAttribute("data-colour", coloured.name);
    this.#legend(coloured);
    this.#controls();
  }

  /** Values and colours of the points: {name, field, values, colours, order}. */
  async #coloured(total) {
    const found = await this.#valued(total);
    const { field, values } = found;
    const colours = !values ? plain(total) : field?.classes ? byClass(values, field.classes, field.counts) : byNumber(values);
    const order = found.codes ? strongestLast(values) : null;
    this.now = { ...found, colours, order };
    return this.now;
  }

  async #valued() {
    if (this.latents) {
      const name = this.colour.latents;
      return { name: t(`sort.${name}`), values: this.run.columns[name] };
    }
    if (this.colour.points === "none") return { name: "", values: null };
    if (this.colour.points === "latent") {
      this.latent ??= 0;
      const { latent } = this;
      const values = await codesOf(this.run, latent, this.told.n_points);
      const unknown = values.reduce((sum, value) => sum + Number.isNaN(value), 0);
      return { name: t("latent.name", { n: String(latent) }), field: { unknown }, values, codes: true };
    }
    const field = this.told.fields[Number(this.colour.points.slice(6))];
    const bytes = await this.#file(field.file);
    return { name: nameOf(field), field, values: field.classes ? new Uint16Array(bytes) : new Float32Array(bytes) };
  }

  #legend(coloured) {
    const { values } = coloured;
    const where = (fits) => Uint32Array.from({ length: values.length }, (_, k) => k).filter((k) => fits(values[k]));
    const pick = this.latents ? null : {
      value: (value) => this.#put(where((one) => one === value)),
      range: (low, high) => this.#put(where((one) => one >= low && one <= high)),
    };
    fillLegend(this.legend, coloured, pick);
  }

  #put(points, more = false) {
    this.picks.put(this.side, points, more);
  }

  #surrounded(points) {
    if (!this.latents) this.#put(points);
  }

  /** Pick rows by their numbers. */
  #pickRows(text) {
    const asked = ranges(text);
    const { rows } = this.samples;
    if (!asked) {
      fill(this.state, t("map.norows"));
      return;
    }
    const points = [];
    for (let point = 0; point < this.told.n_points; point += 1) {
      const row = rows ? rows[point] : point;
      if (asked.some(([first, last]) => row >= first && row <= last)) points.push(point);
    }
    this.#put(points);
  }

  /** Pick a row that stands elsewhere on the page, or put it back; whether it is picked now. */
  tickRow(row) {
    const point = this.samples.rows ? this.samples.rows.indexOf(row) : row;
    if (point < 0 || point >= this.told.n_points) return false;
    this.picks.turn(THESE, point);
    return this.picks.side[point] === THESE;
  }

  #tick(point) {
    if (this.latents) return;
    this.picks.turn(this.side, point);
    const key = this.picks.side[point] ? "map.ticked" : "map.unticked";
    announce(t(key, { n: String(this.samples.row(point)) }));
  }

  /** What is picked has changed. */
  #picked() {
    this.#stand();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.answer.ask(), WAIT);
    const line = (side, key) => {
      const n = this.picks.of(side).length;
      return n > 0 && h("p", {}, h("i", { class: key }), t(`map.${key}.n`, { n: count(n) }), " ",
        button(t("map.clear"), () => this.picks.clear(side), { "aria-label": `${t("map.clear")}: ${t(`map.${key}`)}` }));
    };
    fill(this.counts, line(THESE, "these"), line(OTHERS, "others"));
  }

  /** Let what is picked stand out, of samples. */
  #stand() {
    const groups = [THESE, OTHERS].map((side) => ({ points: this.picks.of(side), colour: SIDES[side] }));
    this.plot.choose(this.latents ? [] : groups);
  }

  #pointed(point, at) {
    this.plot.mark(point >= 0 ? point : this.opened ?? -1);
    this.card.show(point, point < 0 ? [] : this.#lines(point), at, this.latents);
  }

  #lines(point) {
    const { name, field, values } = this.now;
    const told = values && this.#word(field, values[point]);
    const rest = [told && `${name}: ${told}`];
    if (!this.latents) return [t("sample.row", { n: String(this.samples.row(point)) }), ...rest].filter(Boolean);
    const words = this.run.nameOf(point) || this.run.notes[point]?.text || this.run.atlas.tags[point];
    return [t("latent.name", { n: String(point) }), words, ...rest].filter(Boolean);
  }

  #word(field, value) {
    if (field?.classes) return field.classes[value] ?? t("map.unsaid");
    return Number.isNaN(value) ? t("map.unsaid") : figure(value);
  }

  /** A click: the latent's page, or the sample beside the map. */
  async #open(point) {
    if (this.latents) {
      this.context.go(`${this.run.name}/latent/${point}`);
      return;
    }
    this.opened = point;
    this.plot.mark(point);
    const row = this.samples.row(point);
    announce(this.#lines(point).join(", "));
    const title = h("h3", {}, t("sample.row", { n: String(row) }));
    const tick = button(t("map.tick"), () => this.picks.turn(this.side, point));
    fill(this.shown, title, tick);
    try {
      const sample = await this.samples.get(point);
      if (this.opened !== point) return;
      const at = this.judged.get(row)?.at;
      const play = at !== undefined && this.context.link(`${this.run.name}/playground?sample=${at}`);
      fill(this.shown, title, sampleFigure(this.run, sample, { play }), tick, about(sample));
    } catch (error) {
      if (this.opened === point) fill(this.shown, title, h("p", { class: "quiet" }, error.message), tick);
    }
  }

  close() {
    clearTimeout(this.timer);
    this.plot.close();
  }
}

function nameOf(field) {
  return field.own ? t("data.errors") : field.name;
}

/** All that the records say of a sample. */
function about({ about: told }) {
  const write = (value) => (value === null || typeof value === "object" ? JSON.stringify(value) : String(value));
  const lines = Object.entries(told ?? {}).filter(([name]) => name !== "row");
  return lines.length > 0 && h("dl", { class: "facts map-about" }, lines.map(([name, value]) => [h("dt", {}, name), h("dd", {}, write(value))]));
}
