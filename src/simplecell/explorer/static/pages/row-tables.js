/** Rows of numbers on the data page: what errs most, and what is farthest from its mean. */

import { columnsOf } from "../lib/columns.js";
import { h, table, tableRow } from "../lib/dom.js";
import { figure, known } from "../lib/numbers.js";
import { columnTables, moreColumns } from "../lib/sample.js";
import { t } from "../lib/words.js";

/** The columns over the samples that are kept; null where those are not here. */
export async function columnsOfRun(run) {
  const bytes = await run.store.bytes(`${run.name}/files/samples.bin`).catch(() => null);
  const x = new Float32Array(bytes ?? 0);
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
  const mean = (k) => h("span", { class: "quiet" }, figure(usual[k].mean, 4));
  const line = (k) => tableRow(values[k][0], [figure(values[k][1], 4), ...(usual ? [mean(k)] : [])]);
  if (!one.columns) return columnTables(names, order.map(line));
  const told = new Set(one.columns.map(([name]) => name));
  return [errorTable(one), moreColumns(names, order.filter((k) => !told.has(values[k][0])).map(line))];
}

/**
 * The columns of a sample that err most: value, reconstruction, difference.
 * @param {any} one a sample of the data page; `columns`: [[name, value, reconstruction], …]
 */
export function errorTable({ columns }) {
  const names = ["data.column", "data.value", "data.recon", "data.difference"].map((key) => t(key));
  return table("columns", names, columns.map(([name, value, recon]) => {
    const difference = known(value) && known(recon) ? recon - value : null;
    return tableRow(name, [value, recon, difference].map((number) => figure(number, 4)));
  }));
}
