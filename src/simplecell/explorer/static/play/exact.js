/**
 * Exact codes: what a dictionary can say of a sample, found by optimisation. The truth is the Python
 * package's model.exact: the lasso chooses latents, least squares says how much of each.
 */

const SWEEPS = 400; // over the latents in use, between two looks at all
const LOOKS = 60;
const STILL = 1e-7; // of a step, beside the sample's length
const STEPS = 200; // of conjugate gradients
const FLAT = 1e-12; // of a squared gradient, beside ‖x‖²

/** Codes of samples on the atoms of one layer with a linear output. */
export class Exact {
  /**
   * @param {{decoder: {rows: number, columns: number, values: Float32Array}, offset: Float32Array}} layer
   * @param {{alpha: number, signed: boolean}} told
   */
  constructor({ decoder, offset }, { alpha, signed }) {
    Object.assign(this, { alpha, signed, offset, size: decoder.rows, width: decoder.columns });
    this.atoms = Float64Array.from(decoder.values);
    this.lengths = new Float64Array(this.size);
    for (let at = 0; at < this.size; at += 1) this.lengths[at] = this.#unit(this.#atom(at));
  }

  /** Codes [n, M] of prepared samples x [n, D]. */
  encode(x, n) {
    const code = new Float32Array(n * this.size);
    for (let row = 0; row < n; row += 1) {
      const own = x.subarray(row * this.width, (row + 1) * this.width);
      const rest = Float64Array.from(own, (value, at) => value - this.offset[at]);
      const found = this.#refitted(rest, this.#lasso(rest));
      for (const [latent, value] of found) code[row * this.size + latent] = value / this.lengths[latent];
    }
    return code;
  }

  #atom(at) {
    return this.atoms.subarray(at * this.width, (at + 1) * this.width);
  }

  /** Bring an atom to length 1; its length before. One of length 0 stays, and is never used. */
  #unit(atom) {
    const length = Math.sqrt(dot(atom, atom));
    if (length > 0) for (let i = 0; i < atom.length; i += 1) atom[i] /= length;
    return length;
  }

  /** Which latents are active: min ½‖r − Σ s_i u_i‖² + α Σ |s_i|, one latent after another. */
  #lasso(rest) {
    const code = new Float64Array(this.size);
    const left = Float64Array.from(rest);
    const still = STILL * Math.sqrt(dot(rest, rest));
    const used = Array.from(code.keys()).filter((latent) => this.lengths[latent] > 0);
    for (let look = 0; look < LOOKS; look += 1) {
      if (this.#sweep(used, code, left) <= still) break;
      const active = used.filter((latent) => code[latent] !== 0);
      for (let turn = 0; turn < SWEEPS && this.#sweep(active, code, left) > still; turn += 1);
    }
    return used.filter((latent) => code[latent] !== 0);
  }

  /** The best value of each of some latents in turn; how far the farthest moved. */
  #sweep(latents, code, left) {
    let farthest = 0;
    for (const latent of latents) {
      const atom = this.#atom(latent);
      const before = code[latent];
      const pull = dot(atom, left) + before;
      const size = Math.max((this.signed ? Math.abs(pull) : pull) - this.alpha, 0);
      const after = pull < 0 ? -size : size;
      if (after === before) continue;
      code[latent] = after;
      for (let i = 0; i < left.length; i += 1) left[i] -= (after - before) * atom[i];
      farthest = Math.max(farthest, Math.abs(after - before));
    }
    return farthest;
  }

  /** Least squares over the active; where codes have no signs, those below 0 leave, and again. */
  #refitted(rest, active) {
    for (let latents = active; ;) {
      const values = leastSquares(latents.map((latent) => this.#atom(latent)), rest);
      const stay = latents.filter((_, at) => this.signed || values[at] >= 0);
      if (stay.length === latents.length) return latents.map((latent, at) => [latent, values[at]]);
      latents = stay;
    }
  }
}

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i += 1) sum += one[i] * other[i];
  return sum;
}

/** The weights of rows whose sum comes nearest to a vector: by conjugate gradients. */
function leastSquares(rows, wanted) {
  const gram = rows.map((row) => rows.map((other) => dot(row, other)));
  const weights = new Float64Array(rows.length);
  const left = Float64Array.from(rows, (row) => dot(row, wanted));
  const way = Float64Array.from(left);
  let size = dot(left, left);
  const enough = FLAT * dot(wanted, wanted);
  for (let step = 0; step < STEPS && size > enough; step += 1) {
    const bent = Float64Array.from(gram, (row) => dot(row, way));
    const length = size / dot(way, bent);
    for (let i = 0; i < weights.length; i += 1) {
      weights[i] += length * way[i];
      left[i] -= length * bent[i];
    }
    const before = size;
    size = dot(left, left);
    for (let i = 0; i < way.length; i += 1) way[i] = left[i] + (size / before) * way[i];
  }
  return weights;
}
