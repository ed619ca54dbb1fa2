/** Which part of a plane is seen: what lies in the middle, and how large. */

import { clamp } from "../lib/numbers.js";

const ROOM = 0.95; // of the shorter side, that everything fills at zoom 1
const FARTHEST = 4000;

/** Places are from −1 to 1; pixels are those of the style sheet. */
export class View {
  constructor() {
    this.width = 1;
    this.height = 1;
    this.whole();
  }

  /** See everything. */
  whole() {
    this.x = 0;
    this.y = 0;
    this.zoom = 1;
  }

  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
  }

  /** Pixels of one unit. */
  get unit() {
    return (this.zoom * ROOM * Math.min(this.width, this.height)) / 2;
  }

  /** Where a place is seen: [across, down]. */
  seen(x, y) {
    return [this.width / 2 + (x - this.x) * this.unit, this.height / 2 - (y - this.y) * this.unit];
  }

  /** The place that is seen at a pixel. */
  place(across, down) {
    return [this.x + (across - this.width / 2) / this.unit, this.y - (down - this.height / 2) / this.unit];
  }

  /** Move what is seen by pixels; the middle stays among the places. */
  pan(across, down) {
    this.x = clamp(this.x - across / this.unit, -1, 1);
    this.y = clamp(this.y + down / this.unit, -1, 1);
  }

  /** Come nearer by a factor, and keep what is at a pixel there. */
  nearer(factor, across = this.width / 2, down = this.height / 2) {
    const [x, y] = this.place(across, down);
    this.zoom = clamp(this.zoom * factor, 0.5, FARTHEST);
    const [nowX, nowY] = this.place(across, down);
    this.x = clamp(this.x + x - nowX, -1, 1);
    this.y = clamp(this.y + y - nowY, -1, 1);
  }
}

/** The diameter of a point in pixels: smaller where there are many, and growing as one comes nearer. */
export function pointSize(count, zoom) {
  const size = count <= 2000 ? 7 : count <= 20_000 ? 5 : count <= 200_000 ? 3 : 2;
  return Math.min(14, size * (1 + Math.max(0, Math.log2(zoom)) / 5));
}
