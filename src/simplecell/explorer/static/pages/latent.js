/** The page of one latent. */

import { bars, curves, histogram } from "../lib/charts.js";
import { h, section, term } from "../lib/dom.js";
import { effects } from "./effects.js";
import { nameField, noteField } from "./note.js";
import { cosine, count, figure, percent } from "../lib/numbers.js";
import { memory } from "./order.js";
import { sampleFigure } from "../lib/sample.js";
import { loadEffects } from "../lib/targets.js";
import { portrait, tileLink } from "../lib/tiles.js";
import { t } from "../lib/words.js";

const DRAWN = 64;
const FIGURES = ["mean", "max", "bias", "norm", "coherence", "edge"];

/** @param {import("../app.js").Context} context args: [number] */
export async function showLatent(context) {
  const { run } = context;
  const latent = Number(context.args[0]);
  const known = /^\d+$/.test(context.args[0] ?? "") && latent < run.size;
  if (!known) {
    context.root.append(unknown(context, run));
    return;
  }
  const told = run.atlas.targets?.tested.length ? loadEffects(run) : null;
  const [details, kept, figures] = await Promise.all([
    context.store.get(`${run.name}/latent/${latent}`), keptOf(run), told]);
  context.root.classList.add("latent");
  context.root.append(
    heading(context, run, latent),
    h("div", { class: "sides" }, aside(context, run, latent, details), samples(context, run, details, latent, kept, figures)),
  );
  const listen = (event) => step(context, run, latent, event);
  document.addEventListener("keydown", listen);
  return () => document.removeEventListener("keydown", listen);
}

/** A number that no latent has. */
function unknown(context, run) {
  const words = t("error.nolatent", { n: context.args[0] ?? "", of: run.size });
  return h("div", {}, h("h1", { tabindex: "-1" }, t("latent.name", { n: context.args[0] ?? "" })),
    h("p", { class: "notice", role: "alert" }, words, " ",
      h("a", { href: context.link(`${run.name}/`) }, t("error.alllatents"))));
}

/** The samples that the playground has: row to number. Those of text have no playground here. */
function keptOf(run) {
  run.kept ??= run.store.get(`${run.name}/data`).then(
    ({ samples }) => new Map(samples.map((one, k) => [one.sample.row, one.at ?? k])), () => new Map());
  return run.kept;
}

/** The order that "next" follows: the gallery's last one if this latent is in it. */
function neighbours(run, latent) {
  const ours = memory.run === run.name && memory.order.includes(latent);
  const order = ours ? memory.order : Uint32Array.from({ length: run.size }, (_, k) => k);
  const place = order.indexOf(latent);
  const at = (k) => order[k] ?? null;
  return { previous: at(place - 1), next: at(place + 1), place, size: order.length, ours };
}

function heading(context, run, latent) {
  const { previous, next, place, size, ours } = neighbours(run, latent);
  const turn = (to, key, sign) => {
    const label = t(`latent.${key}`);
    const face = [h("span", { "aria-hidden": "true" }, sign), h("span", { class: "hidden" }, label)];
    if (to === null) return h("span", { class: "turn off", "aria-hidden": "true" }, sign);
    return h("a", { class: "turn", rel: key, href: context.link(`${run.name}/latent/${to}`), "data-tip": label }, face);
  };
  const called = run.nameOf(latent);
  const tag = run.atlas.tags[latent];
  return h(
    "div", { class: "heading" },
    turn(previous, "prev", "‹"), h("h1", { tabindex: "-1" }, t("latent.name", { n: String(latent) }),
      h("span", { class: "called" }, called && `: ${called}`)),
    turn(next, "next", "›"),
    tag && h("span", { class: "tag" }, tag),
    ours && h("span", { class: "quiet" }, t("latent.place", { place: place + 1, of: size })),
  );
}

function step(context, run, latent, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const ways = { j: "next", ArrowRight: "next", k: "previous", ArrowLeft: "previous" };
  const to = ways[event.key] ? neighbours(run, latent)[ways[event.key]] : null;
  if (to === null) return;
  event.preventDefault();
  context.go(`${run.name}/latent/${to}`);
}

function aside(context, run, latent, details) {
  const words = !run.atlas.sprites || run.strip > 0;
  const likes = details.inputs.length > 0 && !reads(run);
  return h(
    "div", { class: "aside" },
    section(
      t(words || run.atlas.look === "row" ? "latent.about" : "latent.likes"),
      !words && h("div", { class: "large" }, portrait(run, latent, run.atlas.look === "row" ? 132 : 264)),
      !words && run.atlas.look === "picture" && h("p", { class: "quiet" }, t("latent.picture")),
      figuresOf(run, latent),
      links(context, run, latent),
    ),
    likes && (details.curve ? spectrum(run, details) : columns(details)),
    reads(run) && labelsOf(run, details),
    section(t("latent.called"), nameField(context, run, latent, details.name)),
    section(t("latent.note"), noteField(context, run, latent, details.note)),
  );
}

/** Whether its samples are there to be read, and say more than numbered columns. */
function reads(run) {
  return run.atlas.look === "text" || run.atlas.look === "tokens";
}

function columns({ inputs }) {
  return section(
    term(t("latent.inputs"), t("about.inputs")),
    bars(inputs.map(({ input, weight }) => ({ name: input, value: weight })), t("latent.inputs")),
  );
}

/** The weights of inputs that have places on a line, such as wavelengths. */
function spectrum(run, { curve }) {
  const points = curve.map((weight, at) => [Number(run.atlas.input_names[at]), weight]);
  const series = [{ name: t("latent.weight"), points, style: "first" }];
  const label = t("latent.inputs.all");
  return section(term(label, t("about.inputs.all")), curves({ series, label, x: t("latent.input"), height: 200 }));
}

function links(context, run, latent) {
  const like = `${run.name}/?sort=similar&down=1&like=${latent}`;
  return h(
    "p", { class: "links" },
    h("a", { class: "button", href: context.link(`${run.name}/playground?off=${latent}`) }, t("latent.off")),
    h("a", { class: "button", href: context.link(like) }, t("latent.alike")),
  );
}

function figuresOf(run, latent) {
  const line = (name, value, about = name) => [
    h("dt", {}, term(t(`sort.${name}`), t(`about.${about}`))), h("dd", {}, value)];
  const density = run.knowsDead ? "density" : "density.dense";
  const write = (name) => (name === "coherence" ? cosine : figure)(run.value(name, latent));
  return h(
    "dl", { class: "facts" },
    run.columns.density && line("density", percent(run.value("density", latent)), density),
    FIGURES.filter((name) => run.columns[name]).map((name) => line(name, write(name))),
  );
}

function samples(context, run, details, latent, kept, figures) {
  const dead = run.isDead(latent);
  const most = Math.max(...[details.top, details.bottom ?? []].map((ends) => Math.abs(ends[0]?.value ?? 0)));
  const first = details.inputs.map(({ input }) => input);
  const plain = run.atlas.look === "picture" && !run.atlas.photos?.length ? " plain" : "";
  const { signed } = run.atlas;
  const play = ({ row }) => kept.has(row) && context.link(`${run.name}/playground?sample=${kept.get(row)}`);
  const grid = (examples) => h("div", { class: `samples ${run.atlas.look}${plain}` }, examples.map(
    ({ value, quantile, sample }) => sampleFigure(run, sample, { value, quantile, most, first, signed, play: play(sample) })));
  return h(
    "div", { class: "body" },
    dead && h("p", { class: "notice" }, t("latent.dead")),
    details.top.length > 0 && section(t(signed ? "latent.top.signed" : "latent.top"), grid(details.top)),
    details.bottom?.length > 0 && section(
      term(t("latent.bottom"), t("about.bottom")), grid(details.bottom)),
    figures && !dead && effects(context, run, latent, figures),
    distribution(run, latent),
    details.spread.length > 0 && section(
      term(t(signed ? "latent.spread.signed" : "latent.spread"), t("about.spread")), drawn(run, latent), grid([...details.spread].reverse())),
    relatives(context, run, details),
    reads(run) && details.inputs.length > 0 && columns(details),
  );
}

/** How many samples the spread ones were chosen from. */
function drawn(run, latent) {
  const n = Math.min(DRAWN, run.histogram(latent).reduce((sum, one) => sum + one, 0));
  return h("p", { class: "quiet" }, t(run.atlas.sparse ? "latent.drawn" : "latent.drawn.all", { n }));
}

function distribution(run, latent) {
  const counts = run.histogram(latent);
  const [low, high] = [run.value("low", latent), run.value("high", latent)];
  if (!(high > low)) return null;
  const edges = Array.from({ length: counts.length + 1 }, (_, k) => low + ((high - low) * k) / counts.length);
  const total = counts.reduce((sum, one) => sum + one, 0);
  const told = t(run.atlas.sparse ? "latent.active" : "latent.all", { n: count(total) });
  const chart = histogram({ edges, counts, label: t("latent.histogram"), x: t("word.code") });
  return section(term(t("latent.histogram"), t("about.histogram")), chart, h("p", { class: "quiet" }, told));
}

/** The cosine of an atom with a near one. */
function likeness(value) {
  return value < 0 ? t("latent.opposite", { cosine: cosine(value) }) : cosine(value);
}

function labelsOf(run, { labels }) {
  return labels.length > 0 && section(
    term(t("latent.labels", { name: run.atlas.labels?.name ?? "" }), t("about.labels")),
    bars(labels.map(({ label, correlation, mean, count: n }) => ({
      name: label, value: correlation,
      told: t("latent.label", { label, mean: figure(mean), n, correlation: figure(correlation) }),
    })), t("about.labels")),
  );
}

function relatives(context, run, details) {
  const { together } = details;
  const nearest = [...details.nearest].sort((a, b) => Math.abs(b.cosine) - Math.abs(a.cosine));
  const group = (items, key, of) => items.length > 0 && section(
    term(t(`latent.${key}`), t(`about.${key}`)),
    h("div", { class: "tiles" }, items.map((one) =>
      tileLink(context, run, one.latent, (of === "cosine" ? likeness : cosine)(one[of]), 64))),
  );
  return h("div", { class: "relatives" }, group(nearest, "nearest", "cosine"),
    group(together, "together", "correlation"), !reads(run) && labelsOf(run, details));
}
