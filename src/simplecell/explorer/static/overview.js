/** How often latents are active, over all of them: bars that filter the gallery. */

import { h, term } from "./dom.js";
import { figure, percent } from "./numbers.js";
import { t } from "./words.js";

/**
 * @param {any} run
 * @param {string} name of the column: "density" or "mean"
 * @param {{edges: number[], counts: number[], none: number}} classes
 * @param {any} wish
 * @param {(range: {from: number, to: number}) => void} choose
 */
export function overview(run, name, classes, wish, choose) {
  const { edges, counts } = classes;
  const write = (value) => (name === "density" ? percent(Math.min(1, value)) : figure(value));
  const largest = Math.max(1, ...counts);
  const about = name === "density" && !run.knowsDead ? "about.density.dense" : `about.${name}`;
  let anchor = -1;
  const pick = (k, event) => {
    const chosen = bars[k].getAttribute("aria-pressed") === "true" && !event.shiftKey;
    if (chosen && bars.filter((bar) => bar.getAttribute("aria-pressed") === "true").length === 1) {
      choose({ from: -Infinity, to: Infinity });
      return;
    }
    const other = event.shiftKey && anchor >= 0 ? anchor : k;
    if (!event.shiftKey) anchor = k;
    choose({ from: edges[Math.min(k, other)], to: edges[Math.max(k, other) + 1] });
  };
  const bars = counts.map((many, k) => {
    const told = t("overview.bar", { low: write(edges[k]), high: write(edges[k + 1]), n: many });
    const look = { height: `${many ? Math.max(4, (many / largest) * 100) : 0}%` };
    const names = { type: "button", "aria-label": told, "data-tip": told, "aria-pressed": "false" };
    const fill = h("span", { style: look });
    return h("button", { ...names, on: { click: (event) => pick(k, event) } }, fill);
  });
  const clear = h(
    "button",
    { type: "button", class: "quiet", on: { click: () => choose({ from: -Infinity, to: Infinity }) } },
    t("overview.clear"),
  );
  const title = term(t(`overview.${name}`), `${t(about)} ${t("overview.how")}`);
  const scale = h("div", { class: "scale", "aria-hidden": "true" }, ends(edges, write));
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

function ends(edges, write) {
  if (!edges.length) return [];
  const middle = edges[Math.floor(edges.length / 2)];
  return [edges[0], middle, edges.at(-1)].map((edge) => h("span", {}, write(edge)));
}
