/** Inputs to begin with: one that excites a latent, or a typical one. */

import { bytesOf } from "../lib/store.js";

const IDLE = 0.01; // of the latent's largest code: less is no example of it

/**
 * Where an input is found: a place in a photograph, one of the kept samples, or its own numbers.
 *
 * @typedef {{photo?: any, sample?: number, x?: Float64Array}} Found
 */

/** Finds inputs that excite a latent. */
export class Exciting {
  /**
   * @param {{play: any, samples: Float32Array|Float64Array}} kept samples in input units
   * @param {{ask: Function, most: number}} answers
   */
  constructor(context, run, { play, samples }, answers) {
    Object.assign(this, { context, run, play, samples, answers });
    this.width = run.atlas.n_inputs;
  }

  /**
   * The input that excites a latent most.
   * @returns {Promise<Found|null>} null when no input that is at hand excites it
   */
  async of(latent) {
    const { store } = this.context;
    const details = await store.get(`${this.run.name}/latent/${latent}`).catch(() => null);
    const strongest = (details?.top ?? []).concat(details?.bottom ?? [])
      .reduce((best, one) => (best && Math.abs(best.value) >= Math.abs(one.value) ? best : one), null);
    const sample = strongest?.sample;
    if (sample?.photo && this.play.patch) return { photo: sample.photo };
    const place = sample ? this.play.samples.findIndex((one) => one.sample.row === sample.row) : -1;
    if (place >= 0) return { sample: place };
    const x = sample ? this.numbers(sample) : null;
    return x ? { x } : this.kept(latent);
  }

  /** A sample's values, where the atlas tells them all. */
  numbers({ pixels, values }) {
    const { low, high } = this.play;
    if (pixels) return Float64Array.from(bytesOf(pixels), (byte) => low + (byte / 255) * (high - low));
    return values?.length === this.width ? Float64Array.from(values, ([, value]) => value) : null;
  }

  /** Of the kept samples the one with the largest code. */
  async kept(latent) {
    this.codes ??= this.codesOfKept();
    const codes = await this.codes;
    let [best, largest] = [-1, IDLE * Math.abs(this.run.value("max", latent) || 0)];
    this.play.samples.forEach(({ at }, place) => {
      const value = this.run.atlas.signed ? Math.abs(codes[at]?.[latent] ?? 0) : codes[at]?.[latent] ?? 0;
      if (value > largest) [best, largest] = [place, value];
    });
    return best < 0 ? null : { sample: best };
  }

  async codesOfKept() {
    const { width, samples } = this;
    const [count, m] = [samples.length / width, this.run.size];
    const codes = [];
    for (let first = 0; first < count; first += this.answers.most) {
      const n = Math.min(this.answers.most, count - first);
      const { code } = await this.answers.ask(samples.slice(first * width, (first + n) * width), n, {});
      for (let row = 0; row < n; row += 1) codes.push(code.subarray(row * m, (row + 1) * m));
    }
    return codes;
  }
}

/** The place in play.samples of the median error, among samples that stand for the whole. */
export function typicalSample(play) {
  const all = play.samples.map(({ error, group }, place) => ({ error, group, place }));
  const usual = all.filter(({ group }) => group !== "worst");
  const sorted = (usual.length ? usual : all).sort((a, b) => a.error - b.error);
  return sorted[Math.floor(sorted.length / 2)]?.place ?? 0;
}
