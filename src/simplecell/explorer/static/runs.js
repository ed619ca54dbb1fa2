/** All runs that are open: a table, and the plane of reconstruction against sparsity. */

import { scatter } from "./charts.js";
import { h, section, term } from "./dom.js";
import { count, figure } from "./numbers.js";
import { t } from "./words.js";

/**
 * @param {any} context
 */
export async function showRuns(context) {
  const { runs } = context;
  const head = ["run", "latents", "activation", "fvu", "l0", "samples", "status"];
  const columns = head.map((key) => h("th", { scope: "col" }, ["run", "status"].includes(key)
    ? t(`word.${key}`) : term(t(`word.${key}`), t(`about.${key}`))));
  const rows = runs.map((run) => h(
    "tr", {},
    h("th", { scope: "row" }, h("a", { href: context.link(`${run.name}/`) }, run.name)),
    h("td", {}, count(run.n_latents)), h("td", {}, run.activation ?? "–"),
    h("td", {}, figure(run.fvu)), h("td", {}, figure(run.l0)),
    h("td", {}, run.samples ? t(run.samples === "training" ? "word.training" : "word.held") : "–"),
    h("td", {}, statusOf(run.status)),
  ));
  const top = h("thead", {}, h("tr", {}, columns));
  const table = h("table", { class: "figuretable" }, top, h("tbody", {}, rows));
  context.root.append(
    h("h1", { tabindex: "-1" }, t("runs.title")),
    h("p", { class: "lead" }, t("runs.lead")),
    h("div", { class: "card scroll" }, table),
    section(t("compare.plane"), plane(context, runs, [])),
  );
}

/**
 * A run's status in words.
 * @param {string} status
 */
export function statusOf(status) {
  const words = t(`status.${status}`);
  return words.startsWith("status.") ? status : words;
}

/**
 * Runs as points: the lower and the farther left, the better and the sparser.
 * @param {any} context
 * @param {any[]} runs
 * @param {string[]} chosen names
 */
export function plane(context, runs, chosen) {
  const known = (value) => typeof value === "number";
  const across = runs.filter((run) => known(run.l0) && known(run.fvu)).length
    >= runs.filter((run) => known(run.mean_activation) && known(run.fvu)).length ? "l0" : "mean_activation";
  const usable = runs.filter((run) => known(run[across]) && known(run.fvu));
  if (!usable.length) return h("p", { class: "quiet" }, t("runs.noplane"));
  const points = usable.map((run) => ({
    x: run[across], y: run.fvu, name: run.name, href: context.link(`${run.name}/`), chosen: chosen.includes(run.name),
  }));
  const x = t(across === "l0" ? "word.l0" : "word.mean");
  const left = runs.length - usable.length;
  return [
    h("p", { class: "quiet" }, t("runs.plane", { x })),
    scatter({ points, x, y: t("word.fvu"), label: t("compare.plane") }),
    left > 0 && h("p", { class: "quiet" }, t("runs.without", { n: left })),
  ];
}
