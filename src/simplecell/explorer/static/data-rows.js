/** A row of numbers on the data page: the columns that are farthest from their mean. */

import { h } from "./dom.js";
import { figure } from "./numbers.js";
import { t } from "./words.js";

const SHOWN = 6;

/**
 * Mean and standard deviation of every column, over the samples that are kept.
 * @param {any} run
 * @returns {Promise<{mean: Float64Array, deviation: Float64Array}|null>} null where they are not here
 */
export async function columnsOf(run) {
  const { n_inputs: width } = run.atlas;
  const bytes = await run.store.bytes(`${run.name}/files/samples.bin`).catch(() => null);
  const x = bytes && new Float32Array(bytes);
  const n = x ? Math.floor(x.length / width) : 0;
  if (n < 2) return null;
  const [mean, deviation] = [new Float64Array(width), new Float64Array(width)];
  for (let k = 0; k < n * width; k += 1) mean[k % width] += x[k] / n;
  for (let k = 0; k < n * width; k += 1) deviation[k % width] += (x[k] - mean[k % width]) ** 2 / n;
  return { mean, deviation: deviation.map(Math.sqrt) };
}

/**
 * The table of a sample.
 * @param {any} run
 * @param {any} one a sample of the data page; `recon`: its reconstruction, [[column, value], …]
 * @param {any} columns from `columnsOf`
 */
export function rowTable(run, one, columns) {
  const values = one.sample.values ?? [];
  const recon = new Map(Array.isArray(one.recon) ? one.recon : []);
  // of wide rows only some columns are here, the farthest first
  const usual = values.length === run.atlas.n_inputs ? columns : null;
  const far = (k) => Math.abs(values[k][1] - usual.mean[k]) / Math.max(usual.deviation[k], 1e-12);
  const order = values.map((_, k) => k);
  if (usual) order.sort((a, b) => far(b) - far(a));
  const head = [t("data.column"), t("data.value"), recon.size > 0 && t("data.recon"), usual && t("data.mean")];
  const line = (k) => {
    const [name, value] = values[k];
    return h(
      "tr", {}, h("th", { scope: "row" }, name), h("td", {}, figure(value, 4)),
      recon.size > 0 && h("td", {}, figure(recon.get(name), 4)), usual && h("td", { class: "quiet" }, figure(usual.mean[k], 4)),
    );
  };
  const table = (some, top) => h("table", { class: "columns" }, top, h("tbody", {}, some.map(line)));
  const top = h("thead", {}, h("tr", {}, head.map((words) => words && h("th", { scope: "col" }, words))));
  const rest = order.slice(SHOWN);
  return [
    table(order.slice(0, SHOWN), top),
    rest.length > 0 && h(
      "details", {}, h("summary", {}, t("sample.more", { n: rest.length })), table(rest)),
  ];
}
