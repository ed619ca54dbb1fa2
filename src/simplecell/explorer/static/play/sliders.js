/** The code: its strongest latents, each with a slider and a switch. */

import { button, fill, h } from "../lib/dom.js";
import { figure } from "../lib/numbers.js";
import { t } from "../lib/words.js";
import { tileLink } from "../lib/tiles.js";

const AT_FIRST = 12;
const MORE = 24;
const MOST_SCALE = 3;

/** Shows codes, and holds what they are multiplied by: `scales`, {latent: factor}. */
export class Sliders {
  constructor(context, run, scales, changed) {
    Object.assign(this, { context, run, scales, changed });
    this.shown = AT_FIRST;
    this.rows = new Map();
    this.code = new Float32Array(run.size);
    this.list = h("ol", { class: run.atlas.sprites ? "play-latents" : "play-latents worded" });
    this.told = h("p", { class: "play-changed" });
    this.more = button(t("play.more"), () => this.showMore());
    this.reset = button(t("play.latents.reset"), () => this.undo());
    this.element = h("div", {}, h("p", { class: "hint" }, t("play.latents.hint")),
      h("div", { class: "play-tools" }, this.adding(), this.reset), this.told, this.list, this.more);
  }

  adding() {
    const number = h("input", {
      type: "number", min: "0", max: this.run.size - 1, step: "1", inputmode: "numeric",
      id: "play-add", placeholder: t("sort.number"), "aria-describedby": "play-add-told",
    });
    const told = h("span", { class: "play-told", id: "play-add-told", role: "alert" });
    const submit = (event) => {
      event.preventDefault();
      const known = number.value !== "" && number.validity.valid;
      told.textContent = known ? "" : t("play.latents.which", { last: String(this.run.size - 1) });
      if (!known) {
        number.focus();
        return;
      }
      this.turn(Number(number.value), 0);
      this.build();
      this.rows.get(Number(number.value))?.slider.focus();
    };
    return h("form", { class: "play-add", novalidate: true, on: { submit } },
      h("label", { for: "play-add" }, t("play.latents.add")), number,
      h("button", { type: "submit" }, t("play.latents.addbutton")), told);
  }

  showMore() {
    this.shown += MORE;
    this.build();
  }

  undo() {
    this.scales = {};
    this.build();
    this.changed();
  }

  /** Another code [M], of this input; rows are made anew. */
  show(code) {
    this.code = code;
    this.build();
  }

  /** Sliders with a changed strength first, then by how much they are excited. */
  order() {
    const rest = this.run.atlas.bounds ? this.run.atlas.bounds[0] : null;
    const excited = (latent) => (rest === null ? Math.abs(this.code[latent]) : this.code[latent] - rest);
    const changed = Object.keys(this.scales).map(Number);
    const others = Array.from(this.code.keys())
      .filter((latent) => !(latent in this.scales) && excited(latent) > 0)
      .sort((a, b) => excited(b) - excited(a));
    return { changed, others };
  }

  build() {
    const { changed, others } = this.order();
    const latents = [...changed, ...others.slice(0, this.shown)];
    this.largest = Math.max(...latents.map((latent) => Math.abs(this.code[latent])), 1e-12);
    const kept = this.rows;
    this.rows = new Map(latents.map((latent) => [latent, kept.get(latent) ?? this.row(latent)]));
    const elements = [...this.rows.values()].map(({ element }) => element);
    // a slider that is held must stay where it is in the document
    if (!same(elements, [...this.list.children])) fill(this.list, elements);
    this.more.hidden = others.length <= this.shown;
    this.update();
  }

  /** What the sliders and bars say, without new rows. */
  update() {
    for (const [latent, row] of this.rows) {
      const scale = this.scales[latent] ?? 1;
      const [plain, turned] = [this.code[latent], this.code[latent] * scale];
      row.slider.value = String(scale);
      row.slider.setAttribute("aria-valuetext", `× ${figure(scale)}`);
      row.off.setAttribute("aria-pressed", String(scale === 0));
      const value = scale === 1 ? figure(plain) : `${figure(plain)} → ${figure(turned)}`;
      row.value.textContent = t("sample.code", { value });
      row.factor.textContent = `× ${figure(scale)}`;
      row.bar.style.width = this.width(turned);
      row.base.style.width = this.width(plain);
      row.bar.classList.toggle("negative", turned < 0);
      row.element.classList.toggle("changed", scale !== 1);
    }
    const list = Object.entries(this.scales).map(([latent, scale]) => `${latent} × ${figure(scale)}`);
    const none = this.rows.size ? "" : t("play.latents.zero");
    this.told.textContent = list.length ? t("play.latents.changed", { list: list.join(", ") }) : none;
    this.reset.disabled = !list.length;
  }

  width(value) {
    return `${Math.min(100, (100 * Math.abs(value)) / this.largest)}%`;
  }

  /** Multiply a latent's code from now on. */
  turn(latent, scale) {
    if (!Number.isInteger(latent) || latent < 0 || latent >= this.run.size) return;
    if (scale === 1) delete this.scales[latent];
    else this.scales[latent] = scale;
    this.update();
    this.changed();
  }

  /** A latent's words; labels are called so, or a digit would look like a number of ours. */
  tag(latent) {
    const called = this.run.nameOf(latent);
    if (called) return called;
    const { labels, tags } = this.run.atlas;
    const labelled = tags[latent] && labels && tags[latent].split(" · ").every((one) => labels.values.includes(one));
    return labelled ? `${labels.name} ${tags[latent]}` : tags[latent];
  }

  row(latent) {
    const n = String(latent);
    const slider = h("input", {
      type: "range", min: "0", max: String(MOST_SCALE), step: "0.05", value: "1",
      "aria-label": t("play.latents.scale", { n }),
      on: { input: (event) => this.turn(latent, Number(event.target.value)) },
    });
    const flip = () => this.turn(latent, this.scales[latent] === 0 ? 1 : 0);
    const named = { class: "play-off", "aria-label": t("play.latents.offname", { n }) };
    const off = button(t("play.latents.off"), flip, named);
    const parts = {
      slider, off, bar: h("span", { class: "play-bar" }), base: h("span", { class: "play-base" }),
      value: h("span", { class: "play-value" }), factor: h("span", { class: "play-factor" }),
    };
    const tag = this.run.atlas.sprites ? this.tag(latent) : "";
    const link = tileLink(this.context, this.run, latent, "", 40);
    const element = h("li", { "data-latent": n }, link,
      h("div", { class: "play-strength" }, tag && h("span", { class: "play-tag" }, tag), parts.value,
        h("span", { class: "play-track" }, parts.base, parts.bar)),
      h("div", { class: "play-turn" }, slider, parts.factor, off));
    return { element, ...parts };
  }
}

function same(a, b) {
  return a.length === b.length && a.every((one, at) => one === b[at]);
}
