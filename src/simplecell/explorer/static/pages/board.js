/** A tall list of tiles on one canvas as large as the window: only what is seen is drawn. */

import { h } from "../lib/dom.js";

/**
 * The canvas sticks below the tool bar while a spacer as tall as all rows scrolls natively.
 * `wish`: `label`, `draw(pen, latent, x, y)`, `plan()` gives {cellWidth, cellHeight, gap},
 * `open(latent, event)`, `point(latent|null)` for hover, `say(latent)` what a screen reader hears.
 */
export class Board {
  constructor(wish) {
    this.wish = wish;
    this.order = new Uint32Array(0);
    this.place = -1;
    this.drawn = null;
    this.option = h("div", { role: "option", id: "option", class: "hidden", "aria-selected": "true" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.frame = h("div", { class: "choice", "aria-hidden": "true", hidden: true });
    this.spot = h("div", { class: "choice pointed", "aria-hidden": "true", hidden: true });
    const label = { role: "listbox", tabindex: "0", "aria-label": wish.label };
    this.element = h("div", { class: "board", ...label }, this.canvas, this.spot, this.frame, this.option);
    this.pen = this.canvas.getContext("2d");
    this.stop = new AbortController();
    this.quiet = false;
    this.#listen();
  }

  #listen() {
    const { signal } = this.stop;
    window.addEventListener("scroll", () => this.soon(), { signal, passive: true });
    window.addEventListener("resize", () => this.resize(), { signal });
    window.addEventListener("beforeprint", () => this.print(), { signal });
    window.addEventListener("afterprint", () => this.resize(), { signal });
    const on = (name, act) => this.element.addEventListener(name, act, { signal });
    on("pointermove", (event) => this.#point(event.pointerType === "mouse" ? this.#hit(event) : -1));
    on("pointerleave", () => this.#point(-1));
    on("click", (event) => this.#open(this.#hit(event), event));
    on("auxclick", (event) => event.button === 1 && this.#open(this.#hit(event), event));
    on("keydown", (event) => this.#key(event));
    on("focus", () => this.#focus());
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.element);
  }

  /** Stop listening. */
  close() {
    this.stop.abort();
    this.watch.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  /** Show these latents. */
  show(order, latent = -1) {
    this.order = order;
    this.place = latent < 0 ? -1 : order.indexOf(latent);
    this.#point(-1);
    this.resize();
    this.#mark();
  }

  /** Measure again, then draw. */
  resize() {
    this.plan = this.wish.plan();
    const width = this.element.clientWidth;
    const { cellWidth, cellHeight, gap } = this.plan;
    this.perRow = Math.max(1, Math.floor((width + gap) / cellWidth));
    this.rows = Math.ceil(this.order.length / this.perRow);
    // full rows reach both edges
    this.step = this.rows > 1 ? (width + gap) / this.perRow : cellWidth;
    const total = Math.max(1, this.rows * cellHeight);
    this.element.style.height = `${total}px`;
    this.top = this.wish.top();
    this.#size(width, Math.min(window.innerHeight - this.top, total));
    this.canvas.style.top = `${this.top}px`;
    this.#mark();
    this.again();
  }

  /** Draw all that is seen anew. */
  again() {
    this.drawn = null;
    this.draw();
  }

  #size(width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.width = width;
    // whole pixels of the screen, so that what is shifted meets what is drawn
    this.height = Math.max(1, Math.floor(height * ratio) / ratio);
    this.canvas.style.height = `${this.height}px`;
    const [wide, tall] = [Math.round(width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== wide) this.canvas.width = wide;
    if (this.canvas.height !== tall) this.canvas.height = tall;
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** All rows for paper, as far as a canvas can be tall. */
  print() {
    const ratio = window.devicePixelRatio || 1;
    this.#size(this.width, Math.min(this.rows * this.plan.cellHeight, 8000 / ratio));
    this.drawn = null;
    this.draw(0);
  }

  /** Draw with the next frame, once for all that happens until then. */
  soon() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  /** Draw what the canvas lies over; while one scrolls, only what has come into view. */
  draw(from = this.#scrolled()) {
    const { pen, width, height, drawn } = this;
    const shift = drawn === null ? Infinity : from - drawn;
    this.drawn = from;
    if (shift === 0) return;
    if (Math.abs(shift) >= height) {
      pen.clearRect(0, 0, width, height);
      this.#rows(from, 0, height);
      return;
    }
    pen.save();
    pen.resetTransform();
    pen.globalCompositeOperation = "copy";
    pen.drawImage(this.canvas, 0, -Math.round(shift * (window.devicePixelRatio || 1)));
    pen.restore();
    if (shift > 0) this.#rows(from, height - shift, height);
    else this.#rows(from, 0, -shift);
  }

  /** How far the canvas lies below the first row, in whole pixels of the screen. */
  #scrolled() {
    const ratio = window.devicePixelRatio || 1;
    const from = Math.max(0, this.top - this.element.getBoundingClientRect().top);
    return Math.round(from * ratio) / ratio;
  }

  /** Draw the band between two heights of the canvas. */
  #rows(from, low, high) {
    const { pen, plan, perRow, order } = this;
    pen.save();
    pen.beginPath();
    pen.rect(0, low, this.width, high - low);
    pen.clip();
    const first = Math.floor((from + low) / plan.cellHeight);
    const last = Math.min(this.rows, Math.ceil((from + high) / plan.cellHeight));
    for (let row = first; row < last; row += 1) {
      const y = row * plan.cellHeight - from;
      const end = Math.min(order.length, (row + 1) * perRow);
      for (let k = row * perRow; k < end; k += 1) {
        this.wish.draw(pen, order[k], Math.round((k - row * perRow) * this.step), y, plan);
      }
    }
    pen.restore();
  }

  #hit(event) {
    const box = this.element.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.step);
    const row = Math.floor((event.clientY - box.top) / this.plan.cellHeight);
    const place = row * this.perRow + column;
    return column >= 0 && column < this.perRow && place < this.order.length ? place : -1;
  }

  /** Where a place lies, in CSS pixels of the board. */
  box(place) {
    const { cellWidth, cellHeight, gap } = this.plan;
    const row = Math.floor(place / this.perRow);
    const left = Math.round((place - row * this.perRow) * this.step);
    return { left, top: row * cellHeight, width: cellWidth - gap, height: cellHeight - gap };
  }

  /** Take the keys without choosing anything yet, unless somebody is at another field. */
  takeKeys() {
    const at = document.activeElement;
    if (at && at !== document.body && at.id !== "main") return;
    this.quiet = true;
    this.element.focus({ preventScroll: true });
    this.quiet = false;
  }

  /** The place of the first tile that is seen whole. */
  #first() {
    const seen = Math.max(0, this.top - this.element.getBoundingClientRect().top);
    const first = Math.ceil(seen / this.plan.cellHeight) * this.perRow;
    return Math.min(first, this.order.length - 1);
  }

  /** With the keyboard, something is chosen at once; a click chooses what it hits. */
  #focus() {
    if (this.quiet || !this.element.matches(":focus-visible")) return;
    this.choose(this.place >= 0 ? this.place : this.#first());
  }

  #point(place) {
    this.element.style.cursor = place < 0 ? "" : "pointer";
    this.#lay(this.spot, place);
    this.wish.point(place < 0 ? null : this.order[place], place < 0 ? null : this.box(place));
  }

  #open(place, event) {
    if (place < 0) return;
    this.choose(place, false);
    this.wish.open(this.order[place], event);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.order.length) return;
    const rows = Math.max(1, Math.floor(this.height / this.plan.cellHeight) - 1) * this.perRow;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.perRow, ArrowDown: this.perRow,
      PageUp: -rows, PageDown: rows, Home: -Infinity, End: Infinity,
    };
    const opens = event.key === "Enter" || event.key === " ";
    if (opens && this.place >= 0) this.#open(this.place, event);
    else if (event.key === " ") return;
    else if (opens || event.key in steps) {
      // the first key shows where one is
      const begins = this.place < 0 && /^(Arrow|Enter)/.test(event.key);
      const to = begins ? this.#first() : Math.max(0, this.place) + steps[event.key];
      this.choose(Math.max(0, Math.min(this.order.length - 1, to)));
    } else return;
    event.preventDefault();
  }

  /** Choose the latent at a place, and bring it into view. */
  choose(place, scroll = true) {
    if (!this.order.length) return;
    this.place = place;
    this.#mark();
    if (scroll) this.reveal();
    this.wish.point(this.order[place], this.box(place));
  }

  /** Scroll until the chosen latent is seen. */
  reveal() {
    if (this.place < 0) return;
    const { top, height } = this.box(this.place);
    const y = this.element.getBoundingClientRect().top + top;
    if (y < this.top) window.scrollBy(0, y - this.top - 8);
    else if (y + height > window.innerHeight) window.scrollBy(0, y + height - window.innerHeight + 8);
  }

  #mark() {
    this.#lay(this.frame, this.place);
    if (this.place < 0) {
      this.element.removeAttribute("aria-activedescendant");
      return;
    }
    this.element.setAttribute("aria-activedescendant", "option");
    this.option.textContent = this.wish.say(this.order[this.place]);
    this.option.setAttribute("aria-setsize", String(this.order.length));
    this.option.setAttribute("aria-posinset", String(this.place + 1));
  }

  #lay(frame, place) {
    frame.hidden = place < 0 || !this.plan;
    if (frame.hidden) return;
    const { left, top, width, height } = this.box(place);
    Object.assign(frame.style, { transform: `translate(${left - 3}px, ${top - 3}px)` });
    Object.assign(frame.style, { width: `${width + 6}px`, height: `${height + 6}px` });
  }
}
