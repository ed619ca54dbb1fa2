/** All runs that are open: a table, and the plane of reconstruction against sparsity. */

import { scatter } from "../lib/charts.js";
import { fill, h, s, section, table, tableRow, term } from "../lib/dom.js";
import { count, figure, known } from "../lib/numbers.js";
import { spoken, t } from "../lib/words.js";

/** @param {import("../app.js").Context} context */
export async function showRuns(context) {
  const { runs, strange } = context;
  const head = ["run", "latents", "activation", "fvu", "pca", "l0", "samples", "status"];
  const names = head.map((key) =>
    spoken(`about.${key}`) ? term(t(`word.${key}`), t(`about.${key}`)) : t(`word.${key}`));
  const rows = runs.map((run) => tableRow(h("a", { href: context.link(`${run.name}/`) }, run.name), [
    count(run.n_latents), run.activation ?? "–", figure(run.fvu), byComponents(run), figure(run.l0),
    run.samples ? t(run.samples === "training" ? "word.training" : "word.held") : "–", statusOf(run.status),
  ]));
  fill(
    context.root,
    h("h1", { tabindex: "-1" }, t("runs.title")),
    strange && h("p", { class: "notice", role: "alert" }, t("error.norun", { name: strange })),
    h("p", { class: "lead" }, t("runs.lead")),
    h("div", { class: "card" }, h("div", { class: "scroll" }, table("figuretable", names, rows)),
      h("p", { class: "quiet" }, t("runs.samples"))),
    runs.length > 1 && h("p", {}, h("a", { href: context.link(comparable(runs)) }, t("runs.compare"))),
    section(t("compare.plane"), plane(context, runs, [])),
  );
}

/** The address that compares two runs over the same inputs, where there are such. */
function comparable(runs) {
  for (const one of runs) {
    const other = runs.find((run) => run !== one && overOf(run) === overOf(one));
    if (other) return `${one.name}/compare/${other.name}`;
  }
  return `${runs[0].name}/compare`;
}

/** Whether the codes of an activation have exact zeros, so that l0 counts what is not 0. */
export function isSparse(activation) {
  return !["sigmoid", "tanh", "identity", "gaussian"].includes(activation ?? "");
}

/**
 * What PCA leaves unexplained of the samples that a run's fvu is of: with as many components as latents are
 * active, or as there are where the codes have no l0.
 */
export function ofComponents(run) {
  const { samples, fvu: all } = run.pca ?? {};
  const one = Array.isArray(all) && samples === run.samples ? all[0] : null;
  return one && known(one.fvu) && known(one.components) ? one : null;
}

/** The same as a cell of a table. */
export function byComponents(run) {
  const found = ofComponents(run);
  return found ? t("runs.pca", { fvu: figure(found.fvu), n: count(found.components) }) : "–";
}

/** A run's status in words. */
export function statusOf(status) {
  return spoken(`status.${status}`) ? t(`status.${status}`) : status;
}

/**
 * Runs as points: the lower and the farther left, the better and the sparser.
 * @param {any[]} runs rows of the list of runs
 * @param {string[]} chosen names
 */
export function plane(context, runs, chosen) {
  const having = (key) => runs.filter((run) => known(run[key]) && known(run.fvu));
  const across = having("l0").length >= having("mean_activation").length ? "l0" : "mean_activation";
  const usable = having(across);
  if (!usable.length) return h("p", { class: "quiet" }, t("runs.noplane"));
  const groups = [...new Set(usable.map(overOf))];
  const points = usable.map((run) => ({
    x: run[across], y: run.fvu, name: run.name, href: context.link(`${run.name}/`), chosen: chosen.includes(run.name),
    hollow: across === "l0" && !isSparse(run.activation), group: groups.indexOf(overOf(run)), over: overOf(run),
  }));
  const x = t(across === "l0" ? "word.l0" : "word.mean");
  const left = runs.length - usable.length;
  return [
    h("p", { class: "quiet" }, t("runs.plane", { x })),
    scatter({ points, x, y: t("word.fvu"), label: t("compare.plane") }),
    keys(points, groups),
    groups.length > 1 && h("p", { class: "quiet" }, t("runs.groups")),
    left > 0 && h("p", { class: "quiet" }, t("runs.without", { n: left })),
  ];
}

/** What a run is over: so many inputs, of what look where it has an atlas. */
function overOf(run) {
  if (!run.look) return t("runs.unknown");
  const look = t(`look.${run.look}`);
  return typeof run.n_inputs === "number" ? t("runs.inputs", { look, n: run.n_inputs }) : look;
}

/** What colour and filling of the points mean. */
function keys(points, groups) {
  const dot = (look) => s("svg", { width: 18, height: 18, class: "chart key", "aria-hidden": "true" },
    s("g", { class: look }, look.includes("chosen") && s("circle", { cx: 9, cy: 9, r: 7, class: "around" }),
      s("circle", { cx: 9, cy: 9, r: look.includes("chosen") ? 4 : 6 })));
  const one = (look, words) => h("li", {}, dot(look), ` ${words}`);
  const hollow = points.some((point) => point.hollow);
  return h(
    "ul", { class: "keys" },
    groups.length > 1 && groups.map((words, k) => one(`group${k % 5}`, words)),
    hollow && one("group0 hollow", t("runs.hollow")),
    points.some((point) => point.chosen) && points.length > 2 && one("group0 chosen", t("runs.chosen")),
  );
}
