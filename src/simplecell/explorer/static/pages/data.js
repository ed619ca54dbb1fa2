/** The data page: what is reconstructed worst, and what the preparation does. */

import { curves, histogram } from "../lib/charts.js";
import { button, fill, h, menu, section, term } from "../lib/dom.js";
import { figure, known } from "../lib/numbers.js";
import { mapOf } from "../map/map.js";
import { columnsOfRun, errorTable, rowTables } from "./row-tables.js";
import { cutOut, pixels, sampleFigure } from "../lib/sample.js";
import { spoken, t } from "../lib/words.js";

const PAGE = 24;

/** @param {import("../app.js").Context} context */
export async function showData(context) {
  const { run } = context;
  const rows = run.atlas.look === "row";
  const [data, columns] = await Promise.all([context.store.get(`${run.name}/data`), rows && columnsOfRun(run)]);
  const map = mapOf(context, data.samples);
  const parts = {
    ...(map && { map: map.element }),
    errors: errors(data), samples: worst(context, run, data, columns, map), preparation: preparation(run, data),
  };
  context.root.append(
    h("h1", { tabindex: "-1" }, t("page.data")),
    h("p", { class: "lead" }, t("data.lead")),
    jumps(parts),
    ...Object.values(parts),
    remarks(data),
  );
  return () => map?.close();
}

/** Links to the parts of the page, which have no addresses of their own. */
function jumps(parts) {
  const jump = (element) => {
    const title = element.querySelector("h2") ?? element;
    title.tabIndex = -1;
    element.scrollIntoView();
    title.focus({ preventScroll: true });
  };
  return h("nav", { class: "jumps", "aria-label": t("data.parts") }, Object.entries(parts).map(([name, element]) =>
    button(t(`data.jump.${name}`), () => jump(element))));
}

function errors({ errors: table }) {
  if (!table) return h("p", { class: "notice" }, t("data.unmeasured"));
  const chart = histogram({ ...table, label: t("data.errors"), x: t("data.error") });
  return section(term(t("data.errors"), t("about.error")), chart);
}

function worst(context, run, { samples }, columns, map) {
  const list = h("div", { class: `samples compared ${run.atlas.look}` });
  const more = button("", () => grow());
  let group = "worst";
  let shown = 0;
  const chosen = () => (group === "all" ? samples : samples.filter((one) => one.group === group));
  const grow = () => {
    const rest = chosen();
    list.append(...rest.slice(shown, shown + PAGE).map((one) => judged(context, run, one, columns, map)));
    shown = Math.min(rest.length, shown + PAGE);
    more.hidden = shown >= rest.length;
    more.textContent = t("data.more", { n: rest.length - shown });
  };
  const choose = (chosenGroup) => {
    group = chosenGroup;
    shown = 0;
    fill(list);
    grow();
  };
  const groups = ["worst", "spread", "all"].map((value) => [value, t(`data.${value}`)]);
  const which = menu(groups, choose, { "aria-label": t("data.which") });
  grow();
  const erring = samples.some((one) => one.columns);
  const farthest = run.atlas.look === "row" && h("p", { class: "quiet" }, t(erring ? "data.erring" : "data.farthest"));
  return section(t("data.samples"), h("p", { class: "quiet" }, t("data.order"), " ", which), farthest, list, more);
}

/** A sample with its reconstruction and error beside it. */
function judged(context, run, one, columns, map) {
  const play = context.link(`${run.name}/playground?sample=${one.at}`);
  const tables = run.atlas.look === "row" ? rowTables(run, one, columns) : null;
  const size = 84;
  const { shape } = run.atlas;
  const error = known(one.error) && h(
    "p", { class: "error", "data-tip": t("data.share", { share: figure(one.share) }) },
    t("data.times", { share: figure(one.share) }), " ", h("span", { class: "quiet" }, `(${figure(one.error)})`),
  );
  const beside = (text, key) => text && h(
    "div", { class: "beside" }, pixels(text, shape, size, t(key)), h("span", {}, t(key)));
  return h(
    "div", { class: "judged" },
    sampleFigure(run, one.sample, { size, columns: tables, play: one.at !== undefined && play }),
    run.atlas.look === "picture" && one.recon && beside(one.recon, "data.recon"),
    error,
    map && tick(map, one.sample.row),
    !tables && one.columns && h("details", {}, h("summary", {}, t("data.columns")), errorTable(run, one)),
  );
}

/** A box that picks a sample for the question of the map. */
function tick(map, row) {
  const change = (event) => {
    event.target.checked = map.tickRow(row);
  };
  const name = `${t("map.tickrow")}: ${t("sample.row", { n: String(row) })}`;
  return h("label", { class: "tick" }, h("input", { type: "checkbox", "aria-label": name, on: { change } }), t("map.tickrow"));
}

function preparation(run, data) {
  const steps = data.steps.map(({ kind, ...rest }) => h(
    "li", {}, h("b", {}, kind === "whiten_1_over_f" ? t("data.whiten") : kind), " ",
    spoken(`step.${kind}`) ? t(`step.${kind}`) : "", settings(rest)));
  const chain = data.steps.length ? h("ol", { class: "steps" }, steps) : h("p", {}, t("data.nosteps"));
  const whitened = data.steps.some(({ kind }) => kind === "whiten_1_over_f");
  const pairs = data.samples.filter((one) => one.prepared).slice(-8);
  return section(
    t("data.jump.preparation"), chain,
    pairs.length > 0 && h("h3", {}, t("data.before")),
    pairs.length > 0 && h("div", { class: "pairs" }, pairs.map((one) => pair(run, one, whitened))),
    data.spectrum && spectrum(data.spectrum),
  );
}

function settings(rest) {
  const told = Object.entries(rest).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  if (!told.length) return "";
  const write = (value) => (typeof value === "number" ? figure(value) : String(value));
  return h("span", { class: "quiet" }, ` (${told.map(([name, value]) => `${name} = ${write(value)}`).join(", ")})`);
}

/** A sample before and after; where whole photographs were whitened, in its photograph as well. */
function pair(run, one, whitened) {
  const { shape } = run.atlas;
  const name = t("sample.row", { n: String(one.sample.row) });
  const arrow = () => h("span", { "aria-hidden": "true" }, "→");
  const photo = whitened && cutOut(run, one.sample.photo, 64, `${name}, ${t("data.photo")}`);
  return h(
    "div", { class: "pair" },
    photo && [photo, arrow()],
    pixels(one.sample.pixels, shape, 64, `${name}, ${t(whitened ? "data.whitened" : "data.raw")}`),
    arrow(),
    pixels(one.prepared, shape, 64, `${name}, ${t("data.prepared")}`),
  );
}

function spectrum({ raw, prepared }) {
  const points = (values) => values.map((value, k) => [k + 1, value]);
  const series = [
    { name: t("data.raw"), points: points(raw), style: "first" },
    { name: t("data.prepared"), points: points(prepared), style: "second" },
  ];
  const chart = curves({ series, label: t("data.spectrum"), x: t("data.direction"), log: true });
  return [h("h3", {}, term(t("data.spectrum"), t("about.spectrum"))), chart];
}

function remarks({ notes, skipped }) {
  if (!notes.length && !skipped.length) return "";
  return section(
    t("data.remarks"),
    notes.length > 0 && h("ul", {}, notes.map((note) => h("li", {}, note))),
    skipped.length > 0 && h("h3", {}, t("data.skipped", { n: skipped.length })),
    skipped.length > 0 && h("ul", {}, skipped.map(({ file, reason }) => h("li", {}, h("code", {}, file), ` ${reason}`))),
  );
}
