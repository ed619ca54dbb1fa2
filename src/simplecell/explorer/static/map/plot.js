/** Points that one moves over, comes nearer to, points at and draws a line around. */

import { arrow, h, s } from "../lib/dom.js";
import { canvasPainter } from "./canvas.js";
import { Fingers } from "./fingers.js";
import { Cells, within } from "./near.js";
import { Picture } from "./picture.js";
import { pointSize, View } from "./view.js";
import { webglPainter } from "./webgl.js";

const REACH = 12; // pixels around the pointer in which a point is meant
const FINGER = 22; // around a finger
const STEP = 60; // pixels that an arrow key moves
const CLICK = 4; // pixels that a click may move
const APART = 3; // pixels between corners of a line

/**
 * @typedef {object} PlotWishes
 * @property {string} label
 * @property {string} help what its keys do, for a screen reader
 * @property {string|null} way "webgl" even where the processor draws, "canvas" where a card would; null for the faster
 * @property {(point: number, at: number[]|null) => void} point a point is pointed at, or −1
 * @property {(point: number) => void} open a point is clicked
 * @property {(point: number) => void} tick a point is chosen by the keyboard
 * @property {(points: Uint32Array) => void} surround a line was drawn around points
 */
export class Plot {
  /** @param {PlotWishes} wish */
  constructor(wish) {
    this.wish = wish;
    this.view = new View();
    this.fingers = new Fingers();
    this.lasso = false;
    this.places = new Float32Array(0);
    this.line = s("polygon", {});
    this.ring = h("span", { class: "map-ring", hidden: true });
    this.cross = h("span", { class: "map-cross", "aria-hidden": "true" });
    const on = {
      pointerdown: (event) => this.#down(event), pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#up(event), pointercancel: (event) => this.#lift(event),
      pointerleave: () => this.#hover(-1), wheel: (event) => this.#wheel(event), keydown: (event) => this.#key(event),
    };
    this.element = h(
      "div", { class: "map-plot", tabindex: "0", role: "application", "aria-label": `${wish.label}. ${wish.help}`, on },
      s("svg", { class: "map-line", "aria-hidden": "true" }, this.line), this.ring, this.cross,
    );
    const lost = () => this.#begin(canvasPainter());
    const drawn = wish.way === "canvas" ? null : webglPainter(lost, wish.way === "webgl");
    this.#begin(drawn ?? canvasPainter());
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(this.element);
  }

  /** Draw by another painter from now on. */
  #begin(painter) {
    this.painter?.canvas.remove();
    this.painter = painter;
    this.picture = new Picture(painter);
    this.element.prepend(painter.canvas);
    this.element.dataset.way = painter.way;
    painter.place(this.places);
    if (this.bytes) painter.colour(this.bytes, this.order);
    painter.choose(this.groups ?? []);
    this.#resize();
  }

  /** How many points are drawn: of many, a plain canvas draws some only. */
  get drawn() {
    const count = this.places.length / 2;
    return Math.ceil(count / Math.max(1, Math.ceil(count / this.painter.most)));
  }

  /**
   * @param {Float32Array} places
   * @param {Uint8Array} bytes red, green, blue, opacity of each
   * @param {Uint32Array|null} order in which they are drawn
   */
  show(places, bytes, order) {
    this.places = places;
    this.cells = null;
    this.painter.place(places);
    this.colour(bytes, order);
  }

  colour(bytes, order) {
    Object.assign(this, { bytes, order });
    this.painter.colour(bytes, order);
    this.again();
  }

  /** Let some points stand out. */
  choose(groups) {
    this.groups = groups;
    this.painter.choose(groups);
    this.again();
  }

  whole() {
    this.view.whole();
    this.move();
  }

  nearer(factor) {
    this.view.nearer(factor);
    this.move();
  }

  /** Mark a point, or none. */
  mark(point) {
    this.marked = point;
    this.#lay();
  }

  /** Points have changed: draw them in the next frame. */
  again() {
    this.changed = true;
    this.#ask();
  }

  /** What is seen has changed: show it in the next frame. */
  move() {
    this.moved = performance.now();
    this.#ask();
  }

  #ask() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.closed) this.#show();
    });
  }

  #show() {
    const size = pointSize(this.places.length / 2, this.view.zoom);
    if (this.changed) this.picture.draw(this.view, size);
    else if (this.picture.follow(this.view, size, performance.now() - this.moved)) this.#ask();
    this.changed = false;
    this.element.dataset.drawings = this.picture.drawings;
    this.#lay();
    if (this.places.length && !this.element.dataset.ready) this.element.dataset.ready = performance.now().toFixed(0);
  }

  #lay() {
    const shown = this.marked >= 0 && 2 * this.marked < this.places.length;
    this.ring.hidden = !shown;
    if (!shown) return;
    const [x, y] = this.seen(this.marked);
    this.ring.style.transform = `translate(${x - 8}px, ${y - 8}px)`;
  }

  /** Where a point is seen, in pixels. */
  seen(point) {
    return this.view.seen(this.places[2 * point], this.places[2 * point + 1]);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.view.resize(width, height);
    this.picture.resize(this.view, window.devicePixelRatio || 1);
    this.changed = true;
    this.#show(); // at once: a canvas is empty after a new size
  }

  #at(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    const at = this.#at(event);
    if (event.button !== 0 || !this.fingers.down(event.pointerId, at)) return;
    this.element.setPointerCapture(event.pointerId);
    this.element.focus({ preventScroll: true });
    this.#hover(-1);
    this.#release(); // a second finger ends what the first one began
    if (this.fingers.count === 1) this.#hold(at, this.lasso || event.shiftKey ? [this.view.place(...at)] : null);
  }

  /** A pointer holds the map, to move it or to draw a line. */
  #hold(at, line, moved = false) {
    this.drag = { at, from: at, moved, line };
  }

  #move(event) {
    const at = this.#at(event);
    const pinch = this.fingers.move(event.pointerId, at);
    if (pinch) {
      this.view.pan(...pinch.by);
      this.view.nearer(pinch.factor, ...pinch.middle);
      this.move();
    } else if (this.drag) this.#drag(at);
    else if (!this.fingers.count) this.#hover(this.#nearest(at), at);
  }

  #drag(at) {
    const { drag } = this;
    const [across, down] = [at[0] - drag.at[0], at[1] - drag.at[1]];
    drag.moved ||= Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > CLICK;
    if (!drag.moved || (drag.line && Math.hypot(across, down) < APART)) return;
    drag.at = at;
    if (drag.line) {
      drag.line.push(this.view.place(...at));
      this.line.setAttribute("points", drag.line.map((place) => this.view.seen(...place).join(",")).join(" "));
      return;
    }
    this.view.pan(across, down);
    this.move();
  }

  #up(event) {
    const { drag } = this;
    if (!this.#lift(event) || !drag) return;
    if (!drag.moved) {
      const point = this.#nearest(this.#at(event), event.pointerType === "touch" ? FINGER : REACH);
      if (point >= 0) this.wish.open(point);
    } else if (drag.line?.length > 2) this.wish.surround(within(this.places, drag.line));
  }

  /** A pointer lets go, of those that hold; the finger that is left of two moves the map. */
  #lift(event) {
    if (!this.fingers.up(event.pointerId)) return false;
    this.#release();
    if (this.fingers.last) this.#hold(this.fingers.last, null, true);
    return true;
  }

  #release() {
    this.drag = null;
    this.line.setAttribute("points", "");
  }

  #nearest(at, reach = REACH) {
    this.cells ??= new Cells(this.places);
    return this.cells.nearest(...this.view.place(...at), reach / this.view.unit);
  }

  #hover(point, at = null) {
    if (point === this.pointed && point < 0) return;
    this.pointed = point;
    this.element.classList.toggle("map-pointed", point >= 0);
    this.wish.point(point, at);
  }

  /** The wheel scrolls the page until the map was clicked. */
  #wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.element) return;
    event.preventDefault();
    this.view.nearer(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.#at(event));
    this.#hover(-1);
    this.move();
  }

  #key(event) {
    if (event.target !== this.element || event.altKey || event.ctrlKey || event.metaKey) return;
    const nearer = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
    const middle = () => this.#nearest([this.view.width / 2, this.view.height / 2]);
    if (nearer) this.nearer(nearer);
    else if (event.key === "0") this.whole();
    else if (event.key === "Enter" && middle() >= 0) this.wish.open(middle());
    else if (event.key === " " && middle() >= 0) this.wish.tick(middle());
    else {
      const way = arrow(event);
      if (!way) return;
      this.view.pan(-way[1] * STEP, -way[0] * STEP);
      this.move();
      this.#hover(middle(), [this.view.width / 2, this.view.height / 2]);
    }
    event.preventDefault();
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
    this.painter.close();
  }
}
