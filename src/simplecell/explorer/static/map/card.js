/** A sample of the map: beside the pointer in few words, and below the legend whole. */

import { fill, h } from "../lib/dom.js";
import { figure } from "../lib/numbers.js";
import { sampleFigure } from "../lib/sample.js";
import { portrait } from "../lib/tiles.js";
import { t } from "../lib/words.js";

const WAIT = 90; // milliseconds at a point before its sample is asked for
const KEPT = 500;

/** Samples of a map, by their points: those of the data page, or asked of the server. */
export class PointSamples {
  /** @param {Map<number, any>} known samples of the data page by row */
  constructor(run, known, rows) {
    Object.assign(this, { run, known, rows, asked: new Map() });
  }

  row(point) {
    return this.rows?.[point] ?? point;
  }

  /** The sample; rejects where it is not to be had. */
  get(point) {
    const known = this.known.get(this.row(point));
    if (known) return Promise.resolve(known);
    if (this.run.store.mode !== "server") return Promise.reject(new Error(t("map.nosample")));
    if (!this.asked.has(point)) {
      if (this.asked.size >= KEPT) this.asked.clear();
      const asked = this.run.store.get(`${this.run.name}/map/sample/${point}`);
      this.asked.set(point, asked);
      asked.catch(() => this.asked.delete(point));
    }
    return this.asked.get(point);
  }
}

/** A few words at the pointer. */
export class Card {
  constructor(samples) {
    this.samples = samples;
    this.element = h("div", { class: "peek map-card", hidden: true, "aria-hidden": "true" });
  }

  /** @param {string[]} lines @param {number[]} at pixels @param {boolean} latent */
  show(point, lines, at, latent) {
    clearTimeout(this.timer);
    this.element.hidden = point < 0;
    if (point < 0) return;
    const { run } = this.samples;
    const [title, ...rest] = lines;
    const face = h("span", { class: "map-face" }, latent && run.atlas.sprites ? portrait(run, point, 72) : null);
    fill(this.element, h("strong", {}, title), rest.map((line) => h("span", {}, line)), face);
    this.#lay(at);
    if (latent) return;
    this.timer = setTimeout(async () => {
      const sample = await this.samples.get(point).catch(() => null);
      if (!sample || this.element.hidden || title !== this.element.firstChild.textContent) return;
      fill(face, small(run, sample));
      this.#lay(at);
    }, WAIT);
  }

  #lay([x, y]) {
    const { element } = this;
    const { clientWidth: width, clientHeight: height } = element.parentElement;
    const left = x + 16 + element.offsetWidth > width ? x - 16 - element.offsetWidth : x + 16;
    const top = Math.min(y + 12, height - element.offsetHeight - 4);
    element.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
  }
}

/** Of a sample what fits beside a pointer. */
function small(run, sample) {
  if (run.atlas.look === "picture") return sampleFigure(run, { ...sample, photo: null }, { size: 72 }).firstChild;
  if (run.pictured && sample.photo) return sampleFigure(run, sample, { size: 72 }).firstChild;
  if (run.atlas.look === "row") {
    const values = (sample.values ?? []).slice(0, 5);
    return values.map(([name, value]) => h("span", {}, `${name} ${figure(value, run.digitsOf(name))}`));
  }
  if (run.atlas.look === "tokens") return h("span", {}, sample.tokens.map(([word]) => word).join(""));
  return h("span", {}, [sample.title, sample.text].filter(Boolean).join(" · ").slice(0, 160));
}
