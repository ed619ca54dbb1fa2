/** Which points are near a place, or within a line drawn around them. */

const CELLS = 256;

/** Points sorted into square cells, to find the nearest one without looking at all. */
export class Cells {
  /** @param {Float32Array} places x and y of each point, from −1 to 1 */
  constructor(places) {
    this.places = places;
    const count = places.length / 2;
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    const own = new Uint16Array(count);
    for (let i = 0; i < count; i += 1) {
      own[i] = cell(places[2 * i]) + CELLS * cell(places[2 * i + 1]);
      this.starts[own[i] + 1] += 1;
    }
    for (let k = 0; k < CELLS * CELLS; k += 1) this.starts[k + 1] += this.starts[k];
    const next = this.starts.slice();
    this.points = new Uint32Array(count);
    for (let i = 0; i < count; i += 1) {
      this.points[next[own[i]]] = i;
      next[own[i]] += 1;
    }
  }

  /** The point nearest to a place, within a distance; −1 where there is none. */
  nearest(x, y, distance) {
    const { places, points, starts } = this;
    let found = -1;
    let least = distance * distance;
    const [left, right] = [cell(x - distance), cell(x + distance)];
    for (let row = cell(y - distance); row <= cell(y + distance); row += 1) {
      const last = starts[row * CELLS + right + 1];
      for (let k = starts[row * CELLS + left]; k < last; k += 1) {
        const i = points[k];
        const away = (places[2 * i] - x) ** 2 + (places[2 * i + 1] - y) ** 2;
        if (away <= least) [found, least] = [i, away];
      }
    }
    return found;
  }
}

/** The column or row of cells of a coordinate. */
function cell(value) {
  return Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));
}

/**
 * The points within a closed line, by the even-odd rule.
 * @param {Float32Array} places
 * @param {number[][]} line corners [x, y]
 */
export function within(places, line) {
  const found = [];
  const [left, right] = ends(line.map(([x]) => x));
  const [low, high] = ends(line.map(([, y]) => y));
  for (let i = 0; i < places.length / 2; i += 1) {
    const [x, y] = [places[2 * i], places[2 * i + 1]];
    if (x >= left && x <= right && y >= low && y <= high && inside(x, y, line)) found.push(i);
  }
  return Uint32Array.from(found);
}

function inside(x, y, line) {
  let odd = false;
  for (let k = 0, before = line.length - 1; k < line.length; before = k, k += 1) {
    const [ax, ay] = line[k];
    const [bx, by] = line[before];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function ends(values) {
  return [Math.min(...values), Math.max(...values)];
}
