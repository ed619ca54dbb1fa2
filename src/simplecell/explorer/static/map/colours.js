/**
 * What points are coloured by: classes, numbers, or nothing.
 *
 * @typedef {{words: string, colour: number[], count: number, value: number|null}} Key a line of the legend
 * @typedef {{bytes: Uint8Array, keys: Key[], ends: [number, number]|null}} Colours
 */

import { extent } from "../lib/numbers.js";

/** Told apart by people who see few colours too, for as many classes as that goes. */
const CLASSES = [
  [31, 95, 168], [230, 120, 0], [10, 125, 108], [204, 68, 110], [129, 70, 180], [150, 120, 30],
  [60, 160, 215], [120, 60, 30], [90, 140, 40], [225, 100, 190], [70, 80, 200], [130, 130, 130],
];
/** Dark blue over green to yellow: of one lightness order, so that more is brighter. */
const RAMP = [[52, 44, 125], [44, 95, 150], [30, 140, 140], [75, 180, 105], [165, 205, 55], [250, 225, 60]];
const NOTHING = [140, 150, 165];
const OPAQUE = 205;

/** One colour for all. */
export function plain(count) {
  return { bytes: filled(count, () => CLASSES[0]), keys: [], ends: null };
}

/** @param {Uint16Array} values numbers of classes; @param {string[]} classes */
export function byClass(values, classes, counts) {
  const shade = classes.map((_, k) => CLASSES[k] ?? turned(k));
  const bytes = filled(values.length, (i) => shade[values[i]] ?? NOTHING);
  const keys = classes.map((words, k) => ({ words, colour: shade[k], count: counts[k], value: k }));
  return { bytes, keys, ends: null };
}

/** @param {Float32Array} values */
export function byNumber(values, ends = extent(values)) {
  const span = ends[1] - ends[0] || 1;
  const step = (value) => STEPS[Math.round(255 * Math.max(0, Math.min(1, (value - ends[0]) / span)))];
  const shade = (i) => (Number.isNaN(values[i]) ? NOTHING : step(values[i]));
  return { bytes: filled(values.length, shade), keys: [], ends: Number.isFinite(ends[0]) ? ends : null };
}

/**
 * The points in an order in which strong ones are drawn over weak ones, and all over those not known.
 * @param {Float32Array} values
 */
export function strongestLast(values) {
  const most = Math.max(...extent(values).map(Math.abs)) || 1;
  const step = (value) => (Number.isNaN(value) ? 0 : 1 + Math.round((254 * Math.abs(value)) / most));
  const next = new Uint32Array(257);
  for (let i = 0; i < values.length; i += 1) next[step(values[i]) + 1] += 1;
  for (let k = 0; k < 256; k += 1) next[k + 1] += next[k];
  const order = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const k = step(values[i]);
    order[next[k]] = i;
    next[k] += 1;
  }
  return order;
}

/** The colour of a share, 0 to 1. */
export function ramp(share) {
  const at = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const k = Math.min(RAMP.length - 2, Math.floor(at));
  return RAMP[k].map((part, c) => Math.round(part + (RAMP[k + 1][c] - part) * (at - k)));
}

const STEPS = Array.from({ length: 256 }, (_, k) => ramp(k / 255));

/** Hues that lie as far apart as can be, for classes beyond the first twelve. */
function turned(k) {
  const turn = (k * 0.618034) % 1;
  return [0, 1 / 3, 2 / 3].map((third) => Math.round(140 + 95 * Math.cos(2 * Math.PI * (turn - third))));
}

function filled(count, shade) {
  const bytes = new Uint8Array(4 * count);
  for (let i = 0; i < count; i += 1) {
    const [red, green, blue] = shade(i);
    bytes[4 * i] = red;
    bytes[4 * i + 1] = green;
    bytes[4 * i + 2] = blue;
    bytes[4 * i + 3] = OPAQUE;
  }
  return bytes;
}

/** A colour as style sheets write it. */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}
