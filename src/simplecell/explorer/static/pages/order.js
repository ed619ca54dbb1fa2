/** Which latents are shown, and in which order: plain functions of columns. */

import { clamp, extent } from "../lib/numbers.js";
import { bytesOf } from "../lib/store.js";

/** Columns that a run may offer to sort by. */
export const SORTS = ["density", "mean", "max", "edge", "norm", "bias", "coherence"];

/** The gallery's last order, which a latent's page follows. */
export const memory = { run: "", order: null };

/**
 * Numbers of the latents that pass, in order.
 * @param {{sort: string, down: boolean, show: string, from: number, to: number, text: string}} wish
 * @param {{keys: Float32Array|null, texts: string[], spread: Float32Array|null, passes: Uint8Array|null}} known
 * @returns {Uint32Array}
 */
export function arrange(run, wish, known) {
  const found = filter(run, wish, known);
  sortBy(found, known.keys, wish.down);
  const exact = Number(wish.text);
  const place = wish.text.trim() === "" ? -1 : found.indexOf(exact);
  if (place > 0) {
    found.copyWithin(1, 0, place);
    found[0] = exact;
  }
  return found;
}

function filter(run, wish, known) {
  const needle = wish.text.trim().toLowerCase();
  const spread = known.spread;
  const found = new Uint32Array(run.size);
  let n = 0;
  for (let i = 0; i < run.size; i += 1) {
    if (wish.show !== "all" && run.isStill(i) !== (wish.show === "dead")) continue;
    if (known.passes && !known.passes[i]) continue;
    if (spread && !(spread[i] >= wish.from && spread[i] < wish.to)) continue;
    if (needle && !known.texts[i].includes(needle)) continue;
    found[n] = i;
    n += 1;
  }
  return found.slice(0, n);
}

/** Sort in place by a column; what has no number comes last either way, ties by number. */
function sortBy(latents, keys, down) {
  const sign = down ? -1 : 1;
  if (!keys) {
    latents.sort((a, b) => sign * (a - b));
    return;
  }
  latents.sort((a, b) => {
    const x = keys[a];
    const y = keys[b];
    if (x === y) return a - b;
    if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
    if (Number.isNaN(y)) return -1;
    return sign * (x - y);
  });
}

/** What a search looks through: number, name, tag and note of every latent, in small letters. */
export function searchable(run) {
  const texts = new Array(run.size);
  for (let i = 0; i < run.size; i += 1) texts[i] = `${i} ${run.nameOf(i)} ${run.atlas.tags[i] ?? ""}`.toLowerCase();
  for (const [latent, note] of Object.entries(run.notes)) {
    texts[Number(latent)] += ` ${note.text}`.toLowerCase();
  }
  return texts;
}

/**
 * Cosine of every latent's atom with one, from the decoder that the page holds, the server, or
 * the latents that its own page lists; those not known are NaN.
 * @returns {Promise<Float32Array>}
 */
export async function similarTo(run, latent) {
  const { store, name } = run;
  if (store.mode === "server") {
    const { cosines: text } = await store.get(`${name}/similar/${latent}`);
    return new Float32Array(bytesOf(text).buffer);
  }
  const play = await store.get(`${name}/playground`).catch(() => ({ here: false }));
  if (play.here) return cosines(play, await store.bytes(`${name}/files/weights.bin`), latent);
  const values = new Float32Array(run.size).fill(NaN);
  const { nearest } = await store.get(`${name}/latent/${latent}`);
  for (const one of nearest) values[one.latent] = one.cosine;
  values[latent] = 1;
  return values;
}

function cosines(play, bytes, latent) {
  const { at, shape } = play.tensors[play.layers.at(-1).decoder];
  const [m, width] = shape;
  const atoms = new Float32Array(bytes, at * 4, m * width);
  const found = new Float32Array(m);
  const mine = atoms.subarray(latent * width, (latent + 1) * width);
  const length = Math.sqrt(mine.reduce((sum, value) => sum + value * value, 0));
  for (let i = 0; i < m; i += 1) {
    let dot = 0;
    let square = 0;
    for (let j = 0; j < width; j += 1) {
      const value = atoms[i * width + j];
      dot += value * mine[j];
      square += value * value;
    }
    found[i] = dot / (Math.sqrt(square) * length || NaN);
  }
  return found;
}

/**
 * Logarithmic classes of a column of positive numbers.
 * @returns {{edges: number[], counts: number[], none: number}} `none`: values that are 0
 */
export function classes(values) {
  const positive = values.filter((value) => value > 0);
  const none = values.filter((value) => value === 0).length;
  if (!positive.length) return { edges: [], counts: [], none };
  const [least, largest] = extent(positive);
  const first = Math.floor(Math.log10(least) * 6);
  const last = Math.max(first + 1, Math.floor(Math.log10(largest) * 6 + 1e-6) + 1);
  const step = Math.max(1, Math.ceil((last - first) / 30));
  const edges = [];
  for (let k = first; k < last + step; k += step) edges.push(10 ** (k / 6));
  const counts = new Array(edges.length - 1).fill(0);
  const within = (k) => clamp(k, 0, counts.length - 1);
  for (const value of positive) {
    let k = within(Math.floor((Math.log10(value) * 6 - first) / step));
    if (value < edges[k]) k = within(k - 1);
    else if (value >= edges[k + 1]) k = within(k + 1);
    counts[k] += 1;
  }
  return { edges, counts, none };
}
