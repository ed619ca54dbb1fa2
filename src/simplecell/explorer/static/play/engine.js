import { ACTIVATIONS, OUTPUTS, mapped } from "./activations.js";
import { Exact } from "./exact.js";

/**
 * The mathematics of a run in the browser: prepare, encode, decode, invert.
 * The truth is the Python package's preprocess, affine, model and activations.
 *
 * @typedef {{code: Float32Array, recon: Float64Array, prepared: Float32Array,
 *   preparedRecon: Float32Array}} Answer
 */

/** A model that answers; all arrays are rows after rows, `n` of them. */
export class Engine {
  /** @param {ArrayBuffer} weights what weights.bin holds */
  constructor(play, weights) {
    const tensor = (name) => tensorOf(play, weights, name);
    this.steps = play.steps.map((step) => stepOf(step, tensor));
    this.targets = play.target_steps ? play.target_steps.map((step) => stepOf(step, tensor)) : null;
    this.layers = play.layers.map((layer) => layerOf(layer, tensor));
    this.inner = this.layers.at(-1);
    /** What finds exact codes, where the run has them here. */
    this.exact = play.exact ? new Exact(this.inner, play.exact) : null;
    this.codes = "encoder";
    this.nInputs = inputsOf(this.steps, this.layers[0].encoder.columns);
    this.last = null;
  }

  /**
   * Raw rows as the model sees them, and each row's own mean for every `remove_dc`. In double
   * precision until it is done: of 1.7e9 and one second more, 32 bits make the same.
   */
  prepare(x, n) {
    const apply = (rows, step) => (step.kind === "affine" ? affine(step, rows, n) : removeMean(rows, n));
    const { x: prepared, ...rest } = this.steps.reduce(apply, { x, width: this.nInputs, means: [] });
    return { ...rest, x: Float32Array.from(prepared) };
  }

  /** Rows that the model gave, in input units (a transcoder's: in those of its targets). */
  invert(x, n, means) {
    const left = this.targets ? [] : [...means];
    return (this.targets ?? this.steps).reduceRight((rows, step) => {
      if (step.kind === "affine") return affineBack(step, rows, n);
      return left.length ? addMean(rows, n, left.pop()) : rows;
    }, x);
  }

  /** Codes of the "encoder" or "exact" ones from now on. */
  choose(codes) {
    this.codes = codes;
    this.last = null;
  }

  /** From the innermost layer's sums to prepared rows. */
  outward(sums, n) {
    const outer = this.layers.slice(0, -1);
    const finish = ({ output }, rows) => mapped(rows, OUTPUTS[output]);
    return outer.reduceRight((rows, layer) => finish(layer, sumsOf(layer, rows, n)), finish(this.inner, sums));
  }

  /**
   * All at once. A second call with the same array only decodes: sliders stay fluid.
   * @param {Float32Array|Float64Array} x raw rows [n, D]; changed values need a new array
   * @param {Object<string, number>} scales what codes are multiplied by: {"17": 0}
   * @returns {Answer} `code` is that of the input, before scaling
   */
  run(x, n, scales = {}) {
    if (x.length !== n * this.nInputs) {
      throw new RangeError(`${x.length} numbers came for ${n} samples of ${this.nInputs}`);
    }
    const known = this.last && this.last.x === x ? this.last : this.remember(x, n);
    const { code, prepared, sums } = known;
    const preparedRecon = this.outward(scaled(this.inner, sums, code, n, scales), n);
    const recon = this.invert(preparedRecon, n, prepared.means);
    return { code, recon, prepared: prepared.x, preparedRecon };
  }

  remember(x, n) {
    const prepared = this.prepare(x, n);
    const code = this.codes === "exact"
      ? this.exact.encode(prepared.x, n)
      : this.layers.reduce((rows, layer) => encodeLayer(layer, rows, n), prepared.x);
    const sums = sumsOf(this.inner, code, n);
    this.last = { x, prepared, code, sums };
    return this.last;
  }
}

/** A matrix {rows, columns, axes, values}; vectors are one row, numbers one by one. */
function tensorOf(play, weights, name) {
  if (name === null || name === undefined) return null;
  const { at, shape } = play.tensors[name];
  const columns = shape.length ? shape[shape.length - 1] : 1;
  const rows = shape.length > 1 ? shape[0] : 1;
  const values = new Float32Array(weights, 4 * at, rows * columns);
  return { rows, columns, axes: shape.length, values };
}

function stepOf(step, tensor) {
  if (step.kind !== "affine") return step;
  const [mean, rest, matrix, inverse] = [step.mean, step.rest, step.matrix, step.inverse].map(tensor);
  const values = Float64Array.from(mean.values, (value, at) => value + (rest?.values[at] ?? 0));
  return { ...step, mean: { ...mean, values }, matrix, inverse };
}

function layerOf(layer, tensor) {
  const { kind, ...numbers } = layer.activation;
  for (const [name, value] of Object.entries(numbers)) {
    if (typeof value === "string") numbers[name] = tensor(value).values;
  }
  const [encoder, decoder] = [layer.encoder, layer.decoder].map(tensor);
  const vectors = [layer.bias, layer.center, layer.offset].map(tensor);
  const [bias, center, offset] = vectors.map((vector) => vector?.values);
  const activation = { kind, ...numbers };
  return { encoder, bias, center, decoder, offset, output: layer.output, activation };
}

/** D of raw rows: what the first full matrix takes, or what comes out of a chain without one. */
function inputsOf(steps, prepared) {
  const full = steps.find((step) => step.kind === "affine" && step.matrix.axes === 2);
  return full ? full.matrix.columns : prepared;
}

function removeMean({ x, width, means }, n) {
  const out = new Float64Array(x.length);
  const mean = new Float64Array(n);
  for (let row = 0; row < n; row += 1) {
    let sum = 0;
    const start = row * width;
    for (let at = start; at < start + width; at += 1) sum += x[at];
    mean[row] = sum / width;
    for (let at = start; at < start + width; at += 1) out[at] = x[at] - mean[row];
  }
  return { x: out, width, means: [...means, mean] };
}

function addMean(x, n, mean) {
  const width = x.length / n;
  return mapped(x, (value, at) => value + mean[Math.floor(at / width)], new Float64Array(x.length));
}

function affine(step, { x, width, means }, n) {
  const { mean, matrix, low, clip } = step;
  const less = (value, at) => value - mean.values[mean.axes ? at % width : 0];
  const shifted = mapped(x, less, new Float64Array(x.length));
  const within = clip ? (value) => Math.min(Math.max(value, clip[0]), clip[1]) : (value) => value;
  const product = times(matrix, shifted, n);
  const out = mapped(product, (value) => within(value + low), product);
  return { x: out, width: out.length / n, means };
}

function affineBack({ mean, inverse, low }, x, n) {
  const shifted = mapped(x, (value) => value - low, new Float64Array(x.length));
  const out = times(inverse, shifted, n);
  const width = out.length / n;
  return mapped(out, (value, at) => value + mean.values[mean.axes ? at % width : 0], out);
}

/** rows [n, width] @ matrixᵀ, or (in place) times a diagonal or a number. */
function times(matrix, rows, n) {
  const width = rows.length / n;
  if (matrix.axes < 2) {
    return mapped(rows, (value, at) => value * matrix.values[matrix.axes ? at % width : 0], rows);
  }
  const out = new Float64Array(n * matrix.rows);
  for (let row = 0; row < n; row += 1) {
    const own = rows.subarray(row * width, (row + 1) * width);
    for (let at = 0; at < matrix.rows; at += 1) out[row * matrix.rows + at] = dot(matrix, at, own);
  }
  return out;
}

/** Row `at` of the matrix times a vector; four sums at a time keep the processor busy. */
function dot({ values, columns }, at, x) {
  let [a, b, c, d] = [0, 0, 0, 0];
  const start = at * columns;
  const whole = columns - (columns % 4);
  for (let i = 0; i < whole; i += 4) {
    a += values[start + i] * x[i];
    b += values[start + i + 1] * x[i + 1];
    c += values[start + i + 2] * x[i + 2];
    d += values[start + i + 3] * x[i + 3];
  }
  for (let i = whole; i < columns; i += 1) a += values[start + i] * x[i];
  return a + b + (c + d);
}

function encodeLayer({ encoder, bias, center, activation }, x, n) {
  const { rows: m, columns: width } = encoder;
  const less = (value, at) => value - (center ? center[at % width] : 0);
  const sums = times(encoder, mapped(x, less, new Float64Array(x.length)), n);
  const code = mapped(sums, (sum, at) => sum + (bias ? bias[at % m] : 0));
  for (let row = 0; row < n; row += 1) {
    ACTIVATIONS[activation.kind](code.subarray(row * m, (row + 1) * m), activation);
  }
  return code;
}

/** code @ decoder + offset, in double precision. */
function sumsOf({ decoder, offset }, code, n) {
  const width = decoder.columns;
  const sums = new Float64Array(n * width);
  for (let row = 0; row < n; row += 1) {
    if (offset) sums.set(offset, row * width);
    for (let at = 0; at < decoder.rows; at += 1) {
      addAtom(decoder, at, code[row * decoder.rows + at], sums, row * width);
    }
  }
  return sums;
}

function addAtom({ values, columns }, at, value, sums, start) {
  if (value === 0) return;
  const from = at * columns;
  for (let i = 0; i < columns; i += 1) sums[start + i] += value * values[from + i];
}

/** The sums again with some codes multiplied: only their atoms are added or taken away. */
function scaled({ decoder }, sums, code, n, scales) {
  const out = Float64Array.from(sums);
  for (const [latent, scale] of Object.entries(scales)) {
    const at = Number(latent);
    for (let row = 0; row < n; row += 1) {
      const value = code[row * decoder.rows + at];
      addAtom(decoder, at, (scale - 1) * value, out, row * decoder.columns);
    }
  }
  return out;
}
