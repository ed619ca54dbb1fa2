/** The gallery: every latent of a run on one canvas. */

import { Board } from "./board.js";
import { announce, fill, h, recall, remember } from "../lib/dom.js";
import { Controls } from "./controls.js";
import { answer } from "./effects.js";
import { clamp, cosine, figure, percent } from "../lib/numbers.js";
import { overview } from "./overview.js";
import { SORTS, arrange, classes, memory, searchable, similarTo } from "./order.js";
import { askedOf, loadEffects, strengthOf, sureOf } from "../lib/targets.js";
import { drawTile, layoutOf } from "../lib/tiles.js";
import { t } from "../lib/words.js";

/** The size at which most latents are seen at once and still told apart. */
function sizeFor({ look, n_latents: n }) {
  if (look === "text" || look === "tokens") return n > 2000 ? 56 : 64;
  return n <= 150 ? 80 : n <= 600 ? 60 : 50;
}

/** The page of all latents. */
export async function showGallery(context) {
  const gallery = new Gallery(context);
  await gallery.start();
  return () => gallery.close();
}

class Gallery {
  constructor(context) {
    const { run } = context;
    Object.assign(this, { context, run });
    // what the histogram over all latents, and the filter of a range, are about
    const name = run.columns.density ? "density" : "mean";
    this.spread = { name, values: run.columns[name] };
    this.texts = searchable(run);
    this.asked = askedOf(run);
    this.sorts = [...SORTS.filter((name) => run.columns[name]), ...(this.asked.length ? ["effect"] : [])];
    this.wish = this.#read(context.query);
    this.size = Number(recall(`size.${run.atlas.look}`, "")) || sizeFor(run.atlas);
    this.classes = classes(this.spread.values);
  }

  #read(query) {
    const number = (name, otherwise) => {
      const text = query.get(name);
      return text === null || Number.isNaN(Number(text)) ? otherwise : Number(text);
    };
    const known = [...this.sorts, "number", "similar"];
    const sort = known.includes(query.get("sort")) ? query.get("sort") : known[0];
    const down = query.has("down") ? query.get("down") === "1" : sort !== "number";
    const show = ["alive", "dead"].includes(query.get("show")) ? query.get("show") : "all";
    const range = { from: number("from", -Infinity), to: number("to", Infinity) };
    const goes = clamp(Math.round(number("goes", 0)), 0, Math.max(0, this.asked.length - 1));
    const target = { goes, holds: query.get("holds") === "1" };
    return { sort, down, show, ...range, ...target, text: query.get("q") ?? "", like: number("like", 0) };
  }

  /** The address that shows the same again. */
  #address(latent) {
    const { sort, down, show, from, to, text, like, goes, holds } = this.wish;
    const query = new URLSearchParams({ sort, down: down ? "1" : "0" });
    if (show !== "all") query.set("show", show);
    if (from > -Infinity) query.set("from", String(Number(from.toPrecision(6))));
    if (to < Infinity) query.set("to", String(Number(to.toPrecision(6))));
    if (text) query.set("q", text);
    if (sort === "similar") query.set("like", String(like));
    if (sort === "effect") query.set("goes", String(goes));
    if (sort === "effect" && holds) query.set("holds", "1");
    if (latent >= 0) query.set("at", String(latent));
    return `${this.run.name}/?${query}`;
  }

  async start() {
    const { run, context } = this;
    this.write = null;
    this.card = h("div", { class: "peek", hidden: true, "aria-hidden": "true" });
    this.shown = h("p", { class: "shown", role: "status" });
    this.answer = h("div", { class: "answer", hidden: true });
    this.board = new Board(this.#boardWishes());
    this.board.element.append(this.card);
    this.controls = new Controls(this, (change, final) => this.change(change, final));
    this.overview = overview(run, this.spread.name, this.classes, this.wish, (range) =>
      this.change(range, true));
    const guide = [t(`gallery.guide.${run.pictured ? "parts" : run.atlas.look}`), " ", t("gallery.guide")];
    context.root.append(
      h("h1", { class: "hidden", tabindex: "-1" }, t("gallery.title")),
      h("div", { class: "overhead" }, this.overview.element, h("p", { class: "guide" }, guide)),
      this.controls.element,
      this.answer,
      this.shown,
      this.board.element,
    );
    await this.#keys();
    const at = context.query.has("at") ? Number(context.query.get("at")) : -1;
    this.apply(at);
    this.board.takeKeys();
    if (at >= 0 && !context.restored) this.board.reveal();
    run.loadSheets(() => this.board.again());
    this.keydown = (event) => this.#shortcut(event);
    document.addEventListener("keydown", this.keydown);
  }

  #boardWishes() {
    const { run } = this;
    return {
      label: t("gallery.title"),
      plan: () => ({ ...layoutOf(run, this.size, Boolean(this.write)), write: this.write }),
      top: () => this.controls?.stuck() ?? 0,
      draw: (pen, latent, x, y, plan) => drawTile(pen, run, latent, x, y, plan),
      open: (latent, event) => this.open(latent, event),
      point: (latent, box) => this.#peek(latent, box),
      say: (latent) => this.#lines(latent).join(", "),
    };
  }

  open(latent, event) {
    const path = `${this.run.name}/latent/${latent}`;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1) {
      window.open(this.context.link(path), "_blank");
      return;
    }
    memory.run = this.run.name;
    memory.order = this.board.order;
    this.context.replace(this.#address(latent));
    this.context.go(path);
  }

  #lines(latent) {
    const { run } = this;
    const called = run.nameOf(latent);
    const lines = [t("latent.name", { n: String(latent) }) + (called && `: ${called}`)];
    if (run.columns.density) {
      const density = run.value("density", latent);
      const told = run.knowsDead ? "gallery.active" : "gallery.above";
      const never = run.knowsDead ? "gallery.isdead" : "word.still";
      lines.push(run.isStill(latent) ? t(never) : t(told, { share: percent(density) }));
    }
    lines.push(t("gallery.mean", { value: figure(run.value("mean", latent)) }));
    const column = this.shownKeys && !["density", "mean"].includes(this.wish.sort);
    const by = this.wish.sort === "effect" ? this.asked[this.wish.goes].label : t(`sort.${this.wish.sort}`);
    if (column) lines.push(`${by}: ${this.write(latent)}`);
    if (run.atlas.tags[latent]) lines.push(run.atlas.tags[latent]);
    if (run.notes[latent]) lines.push(`✎ ${run.notes[latent].text.slice(0, 120)}`);
    return lines;
  }

  #peek(latent, box) {
    this.card.hidden = latent === null;
    if (latent === null) return;
    const [title, ...rest] = this.#lines(latent);
    this.card.replaceChildren(h("strong", {}, title), ...rest.map((line) => h("span", {}, line)));
    const room = this.board.element.clientWidth;
    const left = Math.max(0, Math.min(box.left, room - this.card.offsetWidth));
    const { top } = this.board.element.getBoundingClientRect();
    const below = box.top + box.height + 8;
    const fits = top + below + this.card.offsetHeight < window.innerHeight;
    const y = fits ? below : Math.max(0, box.top - this.card.offsetHeight - 8);
    this.card.style.transform = `translate(${left}px, ${y}px)`;
  }

  /** The column that the sort goes by, and the same as it is shown; an opposite atom is alike. */
  async #keys() {
    const { sort, like } = this.wish;
    this.passes = null;
    if (sort === "effect") {
      await this.#effect();
      return;
    }
    const similar = sort === "similar";
    const shown = similar ? await similarTo(this.run, this.#known(like)) : this.run.columns[sort];
    this.shownKeys = sort === "number" ? null : shown;
    this.keys = similar ? shown.map(Math.abs) : this.shownKeys;
    const tell = sort === "density" ? percent : similar || sort === "coherence" ? cosine : figure;
    this.write = this.shownKeys && ((latent) => tell(shown[latent]));
    this.answer.hidden = true;
  }

  /** By the strength of the effect on the chosen target, with the answer above. */
  async #effect() {
    const figures = await loadEffects(this.run);
    const asked = this.asked[this.wish.goes];
    const shown = figures(asked, asked.main);
    this.shownKeys = shown;
    this.keys = strengthOf(shown, asked);
    this.write = (latent) => cosine(shown[latent]);
    this.passes = this.wish.holds ? sureOf(figures, asked).holding : null;
    fill(this.answer, answer(this.run, asked, figures));
    this.answer.hidden = false;
  }

  #known(latent) {
    return clamp(Math.round(latent) || 0, 0, this.run.size - 1);
  }

  /** Take a change of the wish in; a final one may be gone back from. */
  async change(change, final) {
    if ("size" in change) {
      this.size = change.size;
      remember(`size.${this.run.atlas.look}`, String(this.size));
      this.board.resize();
      return;
    }
    const bySort = ["sort", "like", "goes", "holds"].some((name) => name in change);
    this.wish = { ...this.wish, ...change };
    if (bySort) await this.#keys();
    this.apply();
    this.context[final ? "push" : "replace"](this.#address(-1));
  }

  apply(latent = -1) {
    const { wish, run } = this;
    const ranged = wish.from > -Infinity || wish.to < Infinity;
    const spread = ranged ? this.spread.values : null;
    const known = { keys: this.keys, texts: this.texts, spread, passes: this.passes };
    const started = performance.now();
    const order = arrange(run, wish, known);
    this.took = performance.now() - started;
    const told = order.length === run.size ? "gallery.all" : "gallery.some";
    this.shown.textContent = t(told, { n: order.length, of: run.size });
    if (!order.length) this.shown.textContent = t("gallery.none");
    this.board.element.dataset.sorted = this.took.toFixed(1);
    this.controls.update();
    this.overview.update(wish);
    this.board.show(order, latent);
    if (latent < 0) this.#rise();
  }

  /** After a new order, its beginning is what one wants to see. */
  #rise() {
    const top = this.board.element.getBoundingClientRect().top - this.board.top;
    if (top < 0) window.scrollBy(0, top - 1);
  }

  #shortcut(event) {
    const typing = event.target.closest("input, textarea, select, dialog");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      this.controls.search.focus();
    } else if (event.target === this.controls.search && ["Enter", "ArrowDown"].includes(event.key)) {
      if (!this.board.order.length) return;
      event.preventDefault();
      this.board.place = 0;
      this.board.element.focus();
      announce(this.#lines(this.board.order[0]).join(", "));
    }
  }

  close() {
    this.board.close();
    this.controls.close();
    document.removeEventListener("keydown", this.keydown);
  }
}
