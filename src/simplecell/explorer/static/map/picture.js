/** The points as they were drawn last: moved and scaled while one moves, and drawn anew soon after. */

const BESIDE = 0.25; // of the width and the height, drawn beyond each edge of what is seen
const EARLY = 0.5; // of what lies beyond an edge: with less left of it, points are drawn anew
const BLURRED = 1.25; // how far a picture is scaled before points are drawn anew
const REST = 150; // milliseconds without a move after which points are drawn where they are
const SLICE = 6; // milliseconds of a frame that drawing may take
const HURRIED = 12; // where an edge is uncovered

/**
 * A painter that takes long draws more than is seen. While one moves, its canvas is moved; points
 * are drawn anew by and by, in slices of frames, when an edge comes near. A fast one draws each frame.
 */
export class Picture {
  /** @param {import("./webgl.js").Painter} painter */
  constructor(painter) {
    this.painter = painter;
    this.beside = [0, 0];
    this.drawings = 0;
  }

  /** @param {import("./view.js").View} view @param {number} ratio pixels of the screen to one of the style sheet */
  resize(view, ratio) {
    const { canvas, fast } = this.painter;
    const [across, down] = this.beside = fast ? [0, 0] : [view.width, view.height].map((side) => Math.round(side * BESIDE));
    this.ratio = ratio;
    canvas.width = Math.round((view.width + 2 * across) * ratio);
    canvas.height = Math.round((view.height + 2 * down) * ratio);
    Object.assign(canvas.style, {
      left: `${-across}px`, top: `${-down}px`, width: `${view.width + 2 * across}px`, height: `${view.height + 2 * down}px`,
    });
  }

  /** Draw all points now. */
  draw(view, size) {
    this.#begin(view, size);
    this.#go(Infinity);
    this.#lay(view);
  }

  /**
   * Show the view by what is drawn, and draw on for a part of a frame where that is needed.
   * @param {number} still milliseconds since the last move
   * @returns {boolean} whether it wants the next frame too
   */
  follow(view, size, still) {
    if (this.painter.fast || !this.shown) {
      this.draw(view, size);
      return false;
    }
    const room = this.#room(view);
    if (!this.steps && this.#stale(view, room, still)) this.#begin(view, size);
    if (this.steps) this.#go(performance.now() + (room < 0 ? HURRIED : SLICE));
    this.#lay(view);
    return Boolean(this.steps) || !same(this.shown, view);
  }

  #stale(view, room, still) {
    const scale = view.unit / this.shown.unit;
    if (room < (this.painter.slices ? EARLY : 0) || Math.max(scale, 1 / scale) > BLURRED) return true;
    return still > REST && !same(this.shown, view);
  }

  #begin(view, size) {
    const { x, y, unit } = view;
    const [across, down] = this.beside;
    this.coming = { x, y, unit, width: view.width + 2 * across, height: view.height + 2 * down };
    this.steps = this.painter.drawing(this.coming, size);
  }

  #go(until) {
    do {
      if (this.steps.next().done) {
        this.steps = null;
        this.shown = this.coming;
        this.drawings += 1;
        return;
      }
    } while (performance.now() < until);
  }

  /** How much is left beyond the edge that is nearest, as a part of all that lies beyond; below 0 an edge is uncovered. */
  #room(view) {
    const { shown } = this;
    const [right, below] = this.#moved(view);
    const left = ((shown.width * view.unit) / shown.unit - view.width) / 2 - Math.abs(right);
    const above = ((shown.height * view.unit) / shown.unit - view.height) / 2 - Math.abs(below);
    return Math.min(left / this.beside[0], above / this.beside[1]);
  }

  #moved(view) {
    return [(this.shown.x - view.x) * view.unit, (view.y - this.shown.y) * view.unit];
  }

  #lay(view) {
    const scale = view.unit / this.shown.unit;
    // whole pixels of the screen, or all points blur
    const whole = (value) => (scale === 1 ? Math.round(value * this.ratio) / this.ratio : value);
    const [right, below] = this.#moved(view).map(whole);
    this.painter.canvas.style.transform = same(this.shown, view) ? "" : `translate(${right}px, ${below}px) scale(${scale})`;
  }
}

function same(one, other) {
  return one.x === other.x && one.y === other.y && one.unit === other.unit;
}
