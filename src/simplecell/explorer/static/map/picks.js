/** Which points are picked: these, and those that they are held against. */

export const THESE = 1;
export const OTHERS = 2;

export class Picks {
  /** @param {number} count of points; @param {() => void} changed */
  constructor(count, changed) {
    this.side = new Uint8Array(count);
    this.changed = changed;
  }

  /** The points of a side, ascending. */
  of(side) {
    const found = [];
    this.side.forEach((one, point) => {
      if (one === side) found.push(point);
    });
    return Uint32Array.from(found);
  }

  /** Put points on a side, in the place of those there, or `more` beside them. */
  put(side, points, more = false) {
    if (!more) this.#clear(side);
    for (const point of points) this.side[point] = side;
    this.changed();
  }

  /** Put one point on a side, or take it off. */
  turn(side, point) {
    this.side[point] = this.side[point] === side ? 0 : side;
    this.changed();
  }

  clear(side) {
    this.#clear(side);
    this.changed();
  }

  #clear(side) {
    this.side.forEach((one, point) => {
      if (one === side) this.side[point] = 0;
    });
  }

  /** A bit a point, the first in the lowest bit of the first byte, in base64. */
  bits(side) {
    const bytes = new Uint8Array(Math.ceil(this.side.length / 8));
    for (const point of this.of(side)) bytes[point >> 3] |= 1 << (point & 7);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  }
}

/**
 * Row numbers as people write them, such as "5, 10-20".
 * @returns {number[][]|null} first and last of each range; null for anything else
 */
export function ranges(text) {
  const parts = text.split(",").map((part) => /^\s*(\d{1,9})\s*(?:[-–]\s*(\d{1,9})\s*)?$/.exec(part));
  if (parts.includes(null)) return null;
  return parts.map(([, first, last]) => [Number(first), Number(last ?? first)]);
}
