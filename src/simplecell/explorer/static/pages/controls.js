/** The gallery's tool bar: sort, filter, search, size. */

import { button, h, menu } from "../lib/dom.js";
import { t } from "../lib/words.js";

const WAIT = 120;
const SMALLEST = 10;
const LARGEST = 160;

/** Reads and shows the gallery's wish; `change(part, final)` is called for each change. */
export class Controls {
  constructor(gallery, change) {
    this.gallery = gallery;
    this.change = change;
    this.sort = this.#menu("sort", [...gallery.sorts, "number", "similar"], (name) => t(`sort.${name}`));
    this.like = h("input", {
      type: "number", min: "0", max: gallery.run.size - 1, class: "like",
      "aria-label": t("controls.like"),
      on: { change: (event) => change({ like: Number(event.target.value) }, true) },
    });
    this.turn = button("", () => change({ down: !gallery.wish.down }, true), { class: "turn" });
    const kind = gallery.run.knowsDead ? "" : ".dense";
    this.show = this.#menu("show", ["all", "alive", "dead"], (name) => t(`show.${name}${kind}`));
    this.goes = this.#menu("goes", gallery.asked.map((_, place) => String(place)), (place) => gallery.asked[place].label);
    this.holds = h("input", { type: "checkbox", on: { change: () => change({ holds: this.holds.checked }, true) } });
    const holding = h("label", { class: "holding", "data-tip": t("about.holds") }, this.holds, t("controls.holds"));
    this.target = this.#field("controls.goes", this.goes, holding);
    this.search = this.#searchField();
    this.element = h(
      "div", { class: "controls", role: "search" },
      this.#field("controls.sort", this.sort, this.like, this.turn),
      this.target,
      (gallery.run.knowsDead || gallery.run.still > 0) && this.#field("controls.show", this.show),
      this.#field("controls.search", this.search),
      this.#field("controls.size", this.#slider()),
    );
  }

  #field(key, ...parts) {
    const [input] = parts;
    input.id = key.replace(".", "-");
    const label = h("label", { for: input.id }, t(key));
    return h("div", { class: `field ${input.id}` }, label, h("div", { class: "together" }, ...parts));
  }

  #menu(name, values, say) {
    const choose = (value) => {
      const part = { [name]: name === "goes" ? Number(value) : value };
      if (name === "sort") {
        part.down = part.sort !== "number";
        const { board, wish } = this.gallery;
        if (part.sort === "similar") part.like = board.place >= 0 ? board.order[board.place] : wish.like;
      }
      this.change(part, true);
    };
    return menu(values.map((value) => [value, say(value)]), choose);
  }

  #searchField() {
    const type = () => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.change({ text: this.search.value }, false), WAIT);
    };
    const hint = { placeholder: t("controls.hint"), autocomplete: "off", spellcheck: "false" };
    return h("input", { type: "search", ...hint, on: { input: type } });
  }

  #slider() {
    const slide = (event) => this.change({ size: Math.round(Number(event.target.value) ** 2) }, false);
    return h("input", {
      type: "range", min: Math.sqrt(SMALLEST), max: Math.sqrt(LARGEST), step: "0.05",
      value: Math.sqrt(this.gallery.size), on: { input: slide },
    });
  }

  /** Show the wish as it is now. */
  update() {
    const { wish } = this.gallery;
    this.sort.value = wish.sort;
    this.show.value = wish.show;
    this.target.hidden = wish.sort !== "effect";
    this.goes.value = String(wish.goes);
    this.holds.checked = wish.holds;
    this.like.hidden = wish.sort !== "similar";
    this.like.value = wish.like;
    this.turn.textContent = wish.down ? "↓" : "↑";
    const told = t(wish.down ? "controls.down" : "controls.up");
    this.turn.setAttribute("aria-label", told);
    this.turn.dataset.tip = told;
    if (this.search.value !== wish.text && document.activeElement !== this.search) {
      this.search.value = wish.text;
    }
  }

  /** Pixels that the bar covers while one scrolls. */
  stuck() {
    return getComputedStyle(this.element).position === "sticky" ? this.element.offsetHeight : 0;
  }

  close() {
    clearTimeout(this.waiting);
  }
}
