/** What stands between sums and codes, and between sums and reconstructions. */

const sigmoid = (value) => 1 / (1 + Math.exp(-value));
const relu = (value) => (value > 0 ? value : 0);

/**
 * Each turns one sample's sums before the activation into its code, in place. Beside them comes what
 * the activation's class in Python names as `page`: numbers, and arrays with one for each latent.
 */
export const ACTIVATIONS = {
  identity: () => {},
  sigmoid: (pre) => mapped(pre, sigmoid, pre),
  tanh: (pre) => mapped(pre, Math.tanh, pre),
  relu: (pre) => mapped(pre, relu, pre),
  topk: (pre, { k }) => keepLargest(pre, k, (value) => value, relu),
  abstopk: (pre, { k }) => keepLargest(pre, k, Math.abs, (value) => value),
  batchtopk: (pre, { threshold }) => mapped(pre, (value) => (value > threshold ? relu(value) : 0), pre),
  jumprelu: (pre, { threshold }) => mapped(pre, (value, at) => (value > threshold[at] ? value : 0), pre),
  gated: (pre, { gate_bias, magnitude_bias, log_scale }) =>
    mapped(pre, (z, at) =>
      z + gate_bias[at] > 0 ? relu(Math.exp(log_scale[at]) * z + magnitude_bias[at]) : 0, pre),
};

/** What turns a layer's sums into what it gives back. */
export const OUTPUTS = { linear: (value) => value, sigmoid, tanh: Math.tanh, relu };

/**
 * What the rule gives; the language's own `from` and `map` are slower.
 * @param {Float32Array|Float64Array} values
 * @param {function(number, number): number} rule of a value and its place
 * @param {Float32Array|Float64Array} [out] where it goes, which may be the values themselves
 */
export function mapped(values, rule, out = new Float32Array(values.length)) {
  for (let at = 0; at < values.length; at += 1) out[at] = rule(values[at], at);
  return out;
}

/** The k of largest strength stay, as `code` has them. */
function keepLargest(pre, k, strength, code) {
  const strengths = Float32Array.from(pre, strength);
  const least = Float32Array.from(strengths).sort()[pre.length - k];
  let equals = k; // values equal to the last one kept: only as many as there is room for
  for (const value of strengths) if (value > least) equals -= 1;
  for (let at = 0; at < pre.length; at += 1) {
    const kept = strengths[at] > least || (strengths[at] === least && equals-- > 0);
    pre[at] = kept ? code(pre[at]) : 0;
  }
}
