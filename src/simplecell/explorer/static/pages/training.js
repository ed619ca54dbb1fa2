/** The training page: curves, live while the run goes on. */

import { curves } from "../lib/charts.js";
import { fill, h, s, section, term } from "../lib/dom.js";
import { count, duration, extent, figure, known } from "../lib/numbers.js";
import { statusOf } from "./runs.js";
import { t } from "../lib/words.js";

const POLL = 2000;
const STYLES = ["first", "dotted", "third", "broken"];
const FALL = 0.95;

/** @param {import("../app.js").Context} context */
export async function showTraining(context) {
  const place = h("div", {});
  const state = { skip: true, told: null };
  const line = h("p", { class: "lead", role: "status" });
  const check = (id) => h("input", { type: "checkbox", id, checked: true, on: { change: () => flip() } });
  const [box, skip] = [check("log"), check("skip")];
  const from = h("span", { class: "quiet" });
  const choice = h(
    "p", { class: "choices" }, box, h("label", { for: "log" }, t("training.log")),
    skip, h("label", { for: "skip" }, t("training.skip")), from,
  );
  context.root.append(h("h1", { tabindex: "-1" }, t("page.training")), line, choice, place);
  const draw = () => {
    line.textContent = progress(state.told);
    const first = settled(state.told.records);
    skip.disabled = first === null;
    skip.checked = state.skip && first !== null;
    const shown = skip.checked ? first : null;
    from.textContent = shown === null ? t("training.whole") : t("training.from", { n: count(shown), apart: "\u00a0" });
    fill(place, charts(state.told, box.checked, shown ?? 0));
  };
  const flip = () => {
    if (!skip.disabled) state.skip = skip.checked;
    draw();
  };
  let timer = 0;
  let left = false;
  const look = async () => {
    const told = await context.store.get(`${context.name}/training`);
    if (left) return;
    const news = !state.told || told.records.length !== state.told.records.length || told.running !== state.told.running
      || told.n_iter !== state.told.n_iter;
    state.told = told;
    if (news) draw();
    if (told.running && context.store.mode === "server") timer = setTimeout(again, POLL);
  };
  const again = () => look().catch(() => {
    line.textContent = t("error.noanswer");
  });
  await look();
  return () => {
    left = true;
    clearTimeout(timer);
  };
}

function progress({ running, status, n_iter: done, steps, seconds }) {
  const values = { n: count(done), of: count(steps), time: duration(seconds) };
  if (running) return t("training.running", values);
  if (status === "converted") return t("training.converted");
  return t(status === "finished" ? "training.finished" : "training.stopped", { ...values, status: statusOf(status) });
}

/** The step from which the cost has done nearly all of its fall; null where that is late, or none. */
function settled(records) {
  const usable = records.filter(({ cost }) => known(cost));
  if (usable.length < 8) return null;
  const [least] = extent(usable.map(({ cost }) => cost));
  const low = usable[0].cost - FALL * (usable[0].cost - least);
  const place = usable.findIndex(({ cost }) => cost <= low);
  return place > 0 && place <= usable.length / 2 ? usable[place].step : null;
}

function charts(whole, log, first) {
  const told = { ...whole, records: whole.records.filter(({ step }) => step >= first) };
  const { records, target } = told;
  if (!records.length) return h("p", { class: "notice" }, t("training.none"));
  const line = (pick) => records.map((record) => [record.step, pick(record) ?? NaN]);
  const x = t("training.step");
  return [
    section(term(t("training.cost"), t("about.cost")), curves({ series: [
      { name: t("training.cost"), points: line((r) => r.cost), style: "first" },
      { name: t("training.held"), points: line((r) => r.held_out_cost), style: "second" },
    ], label: t("training.cost"), x, log })),
    terms(told, line, x, log),
    activity(records, line, target, x),
    records.some((r) => known(r.l0)) && section(
      term(t("word.l0"), t("about.l0")), single(t("word.l0"), line((r) => r.l0), { x })),
    rate(records, x),
  ];
}

/** A chart of one line, which has its name. */
function single(name, points, { style = "first", ...more }) {
  return curves({ series: [{ name, points, style }], label: name, ...more });
}

/** Every term by itself: their units differ. */
function terms({ records, weights }, line, x, log) {
  const names = Object.keys(records.at(-1).terms ?? {});
  const boxes = names.map((name, k) => {
    const style = STYLES[k % STYLES.length];
    const weight = weights?.[name];
    const told = weight !== undefined && t("training.weight", { w: figure(weight) });
    return h(
      "div", {}, h("h3", {}, name, told && h("span", { class: "quiet" }, ` · ${told}`)),
      single(name, line((r) => r.terms?.[name]), { style, x, log, height: 170 }),
    );
  });
  return names.length > 0 && section(term(t("training.terms"), t("about.terms")), h("div", { class: "grid" }, boxes));
}

/** Mean activation: the mean over latents as a line, from least to largest as a band. */
function activity(records, line, target, x) {
  if (!records.some((r) => r.mean_activation)) return null;
  const get = (key) => line((r) => r.mean_activation?.[key]);
  const series = [
    { name: t("training.largest"), points: get("max"), style: "thin" },
    { name: t("training.mean"), points: get("mean"), style: "first" },
    { name: t("training.least"), points: get("min"), style: "thin" },
  ];
  if (known(target)) series.push({ name: t("training.target"), points: line(() => target), style: "dashed" });
  const all = series.flatMap((one) => one.points.map(([, y]) => y));
  const log = all.every((y) => y > 0 || Number.isNaN(y));
  const chart = curves({ series, label: t("training.activity"), x, log, area: (axes) => band(records, axes) });
  return section(term(t("training.activity"), t("about.activity")), chart);
}

function band(records, axes) {
  const usable = records.filter(({ mean_activation: m }) => m && (!axes.log || m.min > 0));
  const at = (r, key) => `${axes.x(r.step).toFixed(1)} ${axes.y(r.mean_activation[key]).toFixed(1)}`;
  const there = usable.map((r) => at(r, "max"));
  const back = usable.map((r) => at(r, "min")).reverse();
  return usable.length > 1 && s("path", { class: "band", d: `M${[...there, ...back].join("L")}Z` });
}

function rate(records, x) {
  const points = [];
  const stride = Math.max(1, Math.floor(records.length / 100));
  for (let k = stride; k < records.length; k += stride) {
    const [a, b] = [records[k - stride], records[k]];
    const took = b.seconds - a.seconds;
    if (took > 0) points.push([b.step, (b.step - a.step) / took]);
  }
  if (points.length < 2) return null;
  return section(t("training.rate"), single(t("training.rate"), points, { x, height: 170, zero: true }));
}
