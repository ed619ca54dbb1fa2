/** Fingers on a map, two at most: how they move apart, and where their middle goes. */
export class Fingers {
  constructor() {
    this.places = new Map();
  }

  get count() {
    return this.places.size;
  }

  /** A finger comes; false for a third one. */
  down(id, at) {
    if (this.count === 2 && !this.places.has(id)) return false;
    this.places.set(id, at);
    return true;
  }

  /**
   * A finger moves.
   * @returns {{factor: number, by: number[], middle: number[]}|null} of two: how much farther apart they
   *   are, how far their middle went and where it is; null for one
   */
  move(id, at) {
    if (!this.places.has(id)) return null;
    const before = this.count === 2 && between(...this.places.values());
    this.places.set(id, at);
    if (!before) return null;
    const now = between(...this.places.values());
    const by = [now.middle[0] - before.middle[0], now.middle[1] - before.middle[1]];
    return { factor: now.apart / before.apart, by, middle: now.middle };
  }

  /** A finger goes; false for one that was not counted. */
  up(id) {
    return this.places.delete(id);
  }

  /** Where the only finger is that is left; null for none. */
  get last() {
    return this.count === 1 ? [...this.places.values()][0] : null;
  }
}

function between([ax, ay], [bx, by]) {
  // fingers that touch are still some pixels apart
  return { middle: [(ax + bx) / 2, (ay + by) / 2], apart: Math.max(8, Math.hypot(ax - bx, ay - by)) };
}
