/** Rows of numbers on the data page: what errs most, and what is farthest from its mean. */

import { columnsOf } from "../lib/columns.js";
import { h, table, tableRow } from "../lib/dom.js";
import { figure, known } from "../lib/numbers.js";
import { columnTables, moreColumns } from "../lib/sample.js";
import { t } from "../lib/words.js";

/** The columns over the samples that are kept; null where those are not here. */
export async function columnsOfRun(run) {
  const bytes = await run.store.bytes(`${run.name}/files/samples.bin`).catch(() => null);
  const x = run.samplesOf(bytes);
  return x.length >= 2 * run.atlas.n_inputs ? columnsOf(x, run.atlas.n_inputs) : null;
}

/**
 * The tables of a sample that is a row: the columns that err most, or those farthest from their mean.
 * @param {any} one a sample of the data page
 * @param {import("../lib/columns.js").Column[]|null} columns
 */
export function rowTables(run, one, columns) {
  const values = one.sample.values ?? [];
  // of wide rows only some columns are here, the farthest first
  const usual = values.length === run.atlas.n_inputs ? columns : null;
  const far = (k) => Math.abs(values[k][1] - usual[k].mean) / Math.max(usual[k].deviation, 1e-12);
  const order = values.map((_, k) => k);
  if (usual) order.sort((a, b) => far(b) - far(a));
  const names = [t("data.column"), t("data.value"), usual && t("data.mean")];
  const told = (k, value) => figure(value, run.digitsOf(values[k][0]));
  const mean = (k) => h("span", { class: "quiet" }, told(k, usual[k].mean));
  const line = (k) => tableRow(values[k][0], [told(k, values[k][1]), ...(usual ? [mean(k)] : [])]);
  if (!one.columns) return columnTables(names, order.map(line));
  const first = new Set(one.columns.map(([name]) => name));
  return [errorTable(run, one), moreColumns(names, order.filter((k) => !first.has(values[k][0])).map(line))];
}

/**
 * The columns of a sample that err most: value, reconstruction, difference.
 * @param {any} one a sample of the data page; `columns`: [[name, value, reconstruction], …]
 */
export function errorTable(run, { columns }) {
  const names = ["data.column", "data.value", "data.recon", "data.difference"].map((key) => t(key));
  return table("columns", names, columns.map(([name, value, recon]) => {
    const difference = known(value) && known(recon) ? recon - value : null;
    const digits = run.digitsOf(name);
    return tableRow(name, [figure(value, digits), figure(recon, digits), figure(difference, 4)]);
  }));
}
