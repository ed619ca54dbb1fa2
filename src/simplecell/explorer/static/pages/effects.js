/** What latents have to do with a target, in words: over the gallery, and on a latent's page. */

import { h, section, table, tableRow, term } from "../lib/dom.js";
import { figure, known } from "../lib/numbers.js";
import { askedOf, commandFor, sureOf } from "../lib/targets.js";
import { t } from "../lib/words.js";

const APART = "\u00a0";
const MOST = 5; // classes of one target that a latent's page shows at first
const PROBES = [["raw", "probe.inputs"], ["principal", "probe.components"], ["codes", "probe.codes"], ["best", "probe.best"]];

/**
 * The answer over the gallery: whether the data predict the target, and how many latents go with it.
 * @param {import("../lib/targets.js").Asked} asked
 */
export function answer(run, asked, figures) {
  const { target } = asked;
  const { found, holding } = sureOf(figures, asked);
  const sum = (flags) => flags.reduce((all, one) => all + one, 0);
  const about = t(target.kind === "number" ? "answer.number" : "answer.class", { name: asked.label, n: target.n_seen });
  const counts = { of: run.size, holding: sum(holding), held: target.n_held_out, apart: APART };
  return [
    h("p", {}, verdict(run, asked)),
    h("p", {}, about, " ", t("answer.found", { ...counts, n: sum(found) })),
    ...remarks(run, asked),
  ];
}

/** Whether the data predict the target at all; the command that says it where that takes long. */
function verdict(run, asked) {
  const { verdict: told, name, kind } = asked.target;
  if (!told) return [t("answer.ask"), " ", h("code", {}, commandFor(run, asked))];
  if (!told.yes) return h("b", {}, t("answer.no", { name }));
  const score = kind === "number" ? "R²" : "AUC";
  const [, key] = PROBES.find(([word]) => told.probe.includes(word)) ?? PROBES[0];
  const probe = t(key, { n: Number(told.probe.match(/\d+/)?.[0] ?? 0) });
  return h("b", {}, t("answer.yes", { name, score, value: figure(told.score), probe }));
}

/** What else a reader must know: samples that were not looked at, fields that were left out. */
function remarks(run, { target }) {
  const { n_samples: n, left_out: left, notes } = run.atlas.targets;
  const of = run.atlas.n_samples;
  const { group } = run.atlas;
  const kept = group && t("answer.group", { name: group });
  const all = [n < of && t("answer.part", { n, of }), kept, ...target.notes, ...notes].filter(Boolean);
  const names = left.map(({ name, why }) => h("li", {}, h("b", {}, name), `: ${why}`));
  return [
    ...all.map((words) => h("p", { class: "quiet" }, words)),
    left.length > 0 && h("details", {}, h("summary", {}, t("answer.left", { n: left.length })), h("ul", {}, names)),
  ].filter(Boolean);
}

/** The section of a latent's page: what it goes with, of all targets. */
export function effects(context, run, latent, figures) {
  const all = askedOf(run).filter((asked) => known(figures(asked, asked.main)[latent]));
  const title = term(t("effects.title"), t("about.effects"));
  if (!all.length) return section(title, h("p", { class: "quiet" }, t("effects.none")));
  const surest = all.reduce((best, asked) => (figures(asked, "q")[latent] < figures(best, "q")[latent] ? asked : best));
  const of = (kind) => all.filter(({ target }) => target.kind === kind);
  return section(
    title,
    ofNumbers(context, run, latent, of("number"), figures),
    ofClasses(context, run, latent, of("classes"), figures),
    h("p", { class: "quiet" }, t("effects.ask"), " ", h("code", {}, commandFor(run, surest))),
  );
}

function ofNumbers(context, run, latent, all, figures) {
  if (!all.length) return null;
  const read = reader(latent, figures);
  const differs = all[0].target.figures.includes("difference");
  const second = differs ? "difference" : "correlation";
  const lines = strongest(all, read).map((asked) => line(context, run, asked, read, [
    [read(asked, "rank_correlation"), null, read(asked, "held_out_rank_correlation")],
    [read(asked, second), interval(read, asked, second), read(asked, `held_out_${second}`)],
  ]));
  return listed(["effects.rank", `effects.${second}`], lines);
}

function ofClasses(context, run, latent, all, figures) {
  if (!all.length) return null;
  const read = reader(latent, figures);
  const lifts = all[0].target.figures.includes("lift");
  const targets = [...new Set(all.map(({ target }) => target))];
  const chosen = targets.map((target) => strongest(all.filter((one) => one.target === target), read));
  const write = (asked) => line(context, run, asked, read, [
    [read(asked, "auc"), interval(read, asked, "auc"), read(asked, "held_out_auc")],
    ...(lifts ? [[read(asked, "lift"), null, read(asked, "held_out_lift")]] : []),
  ]);
  const heads = ["effects.auc", ...(lifts ? ["effects.lift"] : [])];
  const rest = chosen.flatMap((ones) => ones.slice(MOST));
  return [
    listed(heads, chosen.flatMap((ones) => ones.slice(0, MOST)).map(write)),
    rest.length > 0 && h(
      "details", {}, h("summary", {}, t("effects.more", { n: rest.length })), listed(heads, rest.map(write))),
  ];
}

/** A figure of one latent by name; NaN where there is none. */
function reader(latent, figures) {
  return (asked, name) => figures(asked, name)?.[latent] ?? NaN;
}

function strongest(all, read) {
  const size = (asked) => Math.abs(read(asked, asked.main) - asked.middle);
  return [...all].sort((a, b) => size(b) - size(a));
}

function interval(read, asked, name) {
  const ends = [read(asked, `${name}_low`), read(asked, `${name}_high`)];
  return ends.every(known) ? `[${ends.map((end) => figure(end, 2)).join(", ")}]` : null;
}

function listed(heads, lines) {
  const names = ["", ...heads.map((key) => t(key)), t("effects.q"), t("effects.holds")];
  return h("div", { class: "scroll" }, table("figuretable effects", names, lines));
}

/** A line: each figure with its interval, and below it the same on held-out samples. */
function line(context, run, asked, read, values) {
  const { target, at, place, label } = asked;
  const q = read(asked, "q");
  const sure = q <= 0.05;
  const cells = values.map(([value, ends, held]) => [
    h("b", {}, figure(value)), ends && ` ${ends}`,
    h("small", {}, t("effects.held", { value: figure(held) })),
  ]);
  const link = context.link(`${run.name}/?sort=effect&down=1&goes=${place}`);
  const holds = sure && read(asked, "holds") === 1;
  const told = q < 1e-4 ? t("effects.tiny") : figure(q, 2);
  const row = tableRow(
    h("a", { href: link }, target.classes.length ? label : target.name),
    [...cells, told, t(holds ? "effects.yes" : "effects.no")]);
  row.classList.toggle("unsure", !sure);
  row.dataset.target = `${target.name}.${at}`;
  return row;
}
