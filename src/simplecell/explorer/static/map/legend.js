/** What the colours of a map mean; and picking by them. */

import { button, fill, h } from "../lib/dom.js";
import { count, figure } from "../lib/numbers.js";
import { t } from "../lib/words.js";
import { css, ramp } from "./colours.js";

const SHOWN = 16;

/**
 * The lines of a legend.
 * @param {{name: string, field?: any, colours: import("./colours.js").Colours}} colour
 * @param {{value: (value: number) => void, range: (low: number, high: number) => void}|null} pick
 *   picks points by a class, or by numbers; null where nothing can be picked
 */
export function fillLegend(box, { name, field, colours }, pick) {
  const { keys, ends } = colours;
  const lines = keys.map((key) => h("li", {}, classButton(key, pick)));
  const rare = [["map.other", field?.other], ["map.unknown", field?.unknown]].filter(([, n]) => n > 0);
  fill(
    box,
    name && h("h3", {}, name),
    lines.length > 0 && h("ul", { class: "map-keys" }, lines.slice(0, SHOWN)),
    lines.length > SHOWN && h("details", {}, h("summary", {}, t("map.classes", { n: lines.length - SHOWN })),
      h("ul", { class: "map-keys" }, lines.slice(SHOWN))),
    ends && scale(ends),
    ends && pick && range(ends, pick),
    rare.map(([key, n]) => h("p", { class: "quiet" }, t(key, { n: count(n) }))),
  );
}

function classButton({ words, colour, count: n, value }, pick) {
  const face = [h("i", { style: { backgroundColor: css(colour) } }), h("span", {}, words), h("small", {}, count(n))];
  if (!pick) return h("span", { class: "map-key" }, face);
  return button(face, () => pick.value(value), { class: "map-key", "data-tip": t("map.pickclass", { words }) });
}

function scale([low, high]) {
  const stops = Array.from({ length: 9 }, (_, k) => css(ramp(k / 8))).join(", ");
  return h("div", { class: "map-scale" },
    h("i", { style: { backgroundImage: `linear-gradient(to right, ${stops})` } }),
    h("span", {}, figure(low)), h("span", {}, figure(high)));
}

/** Picks points whose number lies between two. */
function range(ends, pick) {
  const field = (key, value) => h("input", { type: "number", step: "any", value: String(value), "aria-label": t(key) });
  const [low, high] = [field("map.from", ends[0]), field("map.to", ends[1])];
  const take = () => pick.range(Number(low.value), Number(high.value));
  return h("p", { class: "map-range" }, low, "–", high, button(t("map.pickrange"), take));
}
