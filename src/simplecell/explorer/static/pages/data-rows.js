/** Rows of numbers on the data page: what errs most, and what is farthest from its mean. */

import { h } from "../lib/dom.js";
import { figure } from "../lib/numbers.js";
import { t } from "../lib/words.js";

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
 * The table of a sample that is a row: the columns that err most, or those farthest from their mean.
 * @param {any} run
 * @param {any} one a sample of the data page
 * @param {any} columns from `columnsOf`
 */
export function rowTable(run, one, columns) {
  const values = one.sample.values ?? [];
  // of wide rows only some columns are here, the farthest first
  const usual = values.length === run.atlas.n_inputs ? columns : null;
  const far = (k) => Math.abs(values[k][1] - usual.mean[k]) / Math.max(usual.deviation[k], 1e-12);
  const order = values.map((_, k) => k);
  if (usual) order.sort((a, b) => far(b) - far(a));
  const head = [t("data.column"), t("data.value"), usual && t("data.mean")];
  const line = (k) => {
    const [name, value] = values[k];
    return lineOf(name, h("td", {}, figure(value, 4)), usual && h("td", { class: "quiet" }, figure(usual.mean[k], 4)));
  };
  if (!one.columns) {
    return [table(head, order.slice(0, SHOWN).map(line)), rest(head, order.slice(SHOWN).map(line))];
  }
  const told = new Set(one.columns.map(([name]) => name));
  return [errorTable(one), rest(head, order.filter((k) => !told.has(values[k][0])).map(line))];
}

/**
 * The columns of a sample that err most: value, reconstruction, difference.
 * @param {any} one a sample of the data page; `columns`: [[name, value, reconstruction], …]
 */
export function errorTable({ columns }) {
  const head = ["data.column", "data.value", "data.recon", "data.difference"].map((key) => t(key));
  const known = (value) => typeof value === "number";
  return table(head, columns.map(([name, value, recon]) => {
    const difference = known(value) && known(recon) ? recon - value : null;
    return lineOf(name, [value, recon, difference].map((number) => h("td", {}, figure(number, 4))));
  }));
}

function lineOf(name, ...cells) {
  return h("tr", {}, h("th", { scope: "row" }, name), cells);
}

function table(head, lines) {
  const top = h("thead", {}, h("tr", {}, head.map((words) => words && h("th", { scope: "col" }, words))));
  return h("table", { class: "columns" }, top, h("tbody", {}, lines));
}

/** What is not shown at first. */
function rest(head, lines) {
  return lines.length > 0 && h(
    "details", {}, h("summary", {}, t("sample.more", { n: lines.length })), table(head, lines));
}
