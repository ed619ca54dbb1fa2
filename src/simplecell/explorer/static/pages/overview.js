/** How often latents are active, over all of them: bars that filter the gallery. */

import { button, h, term } from "../lib/dom.js";
import { figure, percent } from "../lib/numbers.js";
import { t } from "../lib/words.js";

const ALL = { from: -Infinity, to: Infinity };

/**
 * @param {string} name of the column: "density" or "mean"
 * @param {{edges: number[], counts: number[], none: number}} classes as of order.js
 * @param {{from: number, to: number}} wish
 * @param {(range: {from: number, to: number}) => void} choose
 */
export function overview(run, name, classes, wish, choose) {
  const { edges, counts } = withNone(classes, name);
  const write = writer(run, name);
  const largest = Math.max(1, ...counts);
  const about = name === "density" && !run.knowsDead ? "about.density.dense" : `about.${name}`;
  let anchor = -1;
  const pick = (k, event) => {
    const pressed = bars.filter((bar) => bar.getAttribute("aria-pressed") === "true");
    if (!event.shiftKey && pressed.length === 1 && pressed[0] === bars[k]) {
      choose(ALL);
      return;
    }
    const other = event.shiftKey && anchor >= 0 ? anchor : k;
    if (!event.shiftKey) anchor = k;
    choose({ from: edges[Math.min(k, other)], to: edges[Math.max(k, other) + 1] });
  };
  const bars = counts.map((many, k) => {
    const never = edges[k] === 0;
    const ends = { low: write(edges[k]), high: write(edges[k + 1], true), n: many };
    const told = t(never ? `overview.${run.knowsDead ? "dead" : "still"}` : "overview.bar", ends);
    const look = { height: `${many ? Math.max(4, (many / largest) * 100) : 0}%` };
    const names = { "aria-label": told, "data-tip": told, "aria-pressed": "false", class: never && "never" };
    return button(h("span", { style: look }), (event) => pick(k, event), names);
  });
  const clear = button(t("overview.clear"), () => choose(ALL), { class: "quiet" });
  const title = term(t(`overview.${name}`), `${t(about)} ${t("overview.how")}`);
  const scale = h("div", { class: "scale", "aria-hidden": "true" }, ends(edges, write, counts.length));
  const element = h(
    "div", { class: "overview", role: "group", "aria-label": t(`overview.${name}`) },
    h("div", { class: "caption" }, title, clear),
    h("div", { class: "bars" }, bars), scale,
  );
  element.hidden = counts.length === 0;
  const update = ({ from, to }) => {
    const all = from === -Infinity && to === Infinity;
    clear.hidden = all;
    bars.forEach((bar, k) => {
      const inside = !all && edges[k] >= from * (1 - 1e-4) && edges[k + 1] <= to * (1 + 1e-4);
      bar.setAttribute("aria-pressed", String(inside));
    });
    element.classList.toggle("filtered", !all);
  };
  update(wish);
  return { element, update };
}

/** The classes with one of their own at the left for what is never active. */
function withNone({ edges, counts, none }, name) {
  if (name !== "density" || !none) return { edges, counts };
  return { edges: [0, ...(edges.length ? edges : [1])], counts: [none, ...counts] };
}

/** A number of the axis; a density is one that so many samples can have. */
function writer(run, name) {
  if (name !== "density") return figure;
  const { n_samples: n } = run.atlas;
  return (value, above = false) => {
    const least = Math.ceil(value * n * (1 - 1e-6));
    return percent(Math.min(1, (above ? Math.max(1, least - 1) : least) / n));
  };
}

function ends(edges, write, counts) {
  const never = edges[0] === 0;
  const some = never ? edges.slice(1) : edges;
  const share = 100 / Math.max(1, edges.length - 1);
  const first = never && h("span", { class: "never", style: { width: `calc(${share}% + 3px)` } }, t("overview.never"));
  if (counts < (never ? 2 : 1)) return [first];
  const middle = some[Math.floor(some.length / 2)];
  const told = [write(some[0]), write(middle), write(some.at(-1), true)];
  return [first, h("span", { class: "rest" }, told.map((words) => h("span", {}, words)))];
}
