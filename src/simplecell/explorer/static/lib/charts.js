/** Charts as SVG: histograms, curves, points; bars as rows of a list. */

import { h, pointed, responsive, s } from "./dom.js";
import { clamp, count, extent, figure, logTicks, ticks } from "./numbers.js";
import { t } from "./words.js";

const LEFT = 56;
const BOTTOM = 34;
const TOP = 10;
const RIGHT = 10;

/** Axes: values to pixels, with lines at round numbers. `log` where the values are positive. */
class Axes {
  constructor(width, height, { x, y, log = false, top = TOP }) {
    Object.assign(this, { width, height, log, top });
    this.xs = spanned(x);
    this.ys = log ? spanned(y.map((value) => Math.log10(value)), true) : spanned(y);
  }

  x(value) {
    const [low, high] = this.xs;
    return LEFT + ((value - low) / (high - low)) * (this.width - LEFT - RIGHT);
  }

  y(value) {
    const [low, high] = this.ys;
    const at = this.log ? Math.log10(value) : value;
    return this.height - BOTTOM - ((at - low) / (high - low)) * (this.height - this.top - BOTTOM);
  }

  /** As many digits as tell neighbouring lines apart. */
  #write(values) {
    const span = Math.abs(values.at(-1) - values[0]) / Math.max(1, values.length - 1);
    const size = Math.max(...values.map(Math.abs));
    const digits = this.log || !span ? 3 : Math.max(3, Math.ceil(Math.log10(size / span)) + 1);
    return (value) => figure(value, Math.min(8, digits));
  }

  #heights() {
    if (!this.log) return ticks(...this.ys);
    const found = logTicks(...this.ys);
    return found.length > 1 ? found : ticks(...this.ys.map((value) => 10 ** value));
  }

  draw(xLabel, yLabel) {
    const { width, height } = this;
    const floor = height - BOTTOM;
    const heights = this.#heights();
    const write = this.#write(heights);
    const lines = heights.map((value) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: this.y(value), y2: this.y(value) }),
      s("text", { x: LEFT - 6, y: this.y(value) + 4, "text-anchor": "end" }, write(value)),
    ]);
    const marks = ticks(...this.xs, Math.max(2, Math.floor(width / 110))).map((value) =>
      s("text", { x: this.x(value), y: floor + 15, "text-anchor": "middle" }, figure(value)));
    return [
      lines, marks,
      s("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: floor, y2: floor }),
      s("text", { class: "name", x: width - RIGHT, y: height - 4, "text-anchor": "end" }, xLabel),
      yLabel && s("text", { class: "name", x: 4, y: 12 }, yLabel),
    ];
  }
}

/** Ends that differ; those of a linear axis of nothing negative are not below 0. */
function spanned([low, high], log = false) {
  if (high > low) return [low, high];
  const room = Math.abs(low) * 0.05 || 0.5;
  return [low < 0 || log ? low - room : Math.max(0, low - room), low + room];
}

function svg(width, height, label, ...children) {
  const box = { viewBox: `0 0 ${width} ${height}`, width, height };
  return s("svg", { class: "chart", role: "img", "aria-label": label, ...box }, s("title", {}, label), ...children);
}

/**
 * Counts between given edges; heights grow with the logarithm, as counts differ much.
 * @param {{edges: number[], counts: ArrayLike<number>, label: string, x: string}} wish
 */
export function histogram({ edges, counts, label, x }) {
  const height = 170;
  return responsive((width) => {
    const y = [0.7, Math.max(1, ...counts)];
    const axes = new Axes(width, height, { x: [edges[0], edges.at(-1)], y, log: true, top: 24 });
    const floor = height - BOTTOM;
    const bars = Array.from(counts, (many, k) => {
      if (!many) return null;
      const [left, right] = [axes.x(edges[k]), axes.x(edges[k + 1])];
      const top = axes.y(many);
      const told = t("chart.bar", { low: figure(edges[k]), high: figure(edges[k + 1]), n: count(many) });
      const box = { x: left, y: top, width: Math.max(1, right - left - 1), height: Math.max(1, floor - top) };
      return s("rect", { class: "bar", "data-tip": told, ...box });
    });
    return svg(width, height, label, axes.draw(x, t("chart.samples")), bars);
  });
}

/**
 * Lines over steps, with their values at the pointer.
 * @param {{series: {name: string, points: [number, number][], style: string}[], label: string,
 *   x: string, log?: boolean, height?: number, area?: (axes: Axes) => any, zero?: boolean}} wish
 */
export function curves({ series, label, x, log = false, height = 230, area = null, zero = false }) {
  const usable = series.map((one) => ({
    ...one, points: one.points.filter(([, v]) => Number.isFinite(v) && (!log || v > 0)),
  })).filter((one) => one.points.length);
  const readout = h("p", { class: "readout" }, legend(usable));
  if (!usable.length) return h("p", { class: "quiet" }, t("chart.nothing"));
  const all = usable.flatMap((one) => one.points);
  const ends = (k) => extent(all.map((point) => point[k]));
  const box = responsive((width) => {
    const axes = new Axes(width, height, { x: ends(0), y: zero ? [0, ends(1)[1]] : ends(1), log });
    const lines = usable.map((one) => s("path", { class: `line ${one.style}`, d: path(one.points, axes) }));
    const cursor = s("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    const picture = svg(width, height, label, axes.draw(x, ""), area?.(axes), lines, cursor);
    follow(picture, axes, cursor, usable, readout, x);
    return picture;
  });
  return h("div", { class: "curves" }, box, readout);
}

function path(points, axes) {
  return points.map(([x, y], k) => `${k ? "L" : "M"}${axes.x(x).toFixed(1)} ${axes.y(y).toFixed(1)}`).join("");
}

function legend(series, at) {
  return series.map((one) => {
    const near = at === undefined ? one.points.at(-1) : nearest(one.points, at);
    const key = s("svg", { width: 22, height: 8, "aria-hidden": "true" },
      s("line", { class: `line ${one.style}`, x1: 0, x2: 22, y1: 4, y2: 4 }));
    return h("span", {}, key, ` ${one.name} `, h("b", {}, figure(near[1])));
  });
}

function nearest(points, x) {
  return points.reduce((found, point) => Math.abs(point[0] - x) < Math.abs(found[0] - x) ? point : found);
}

function follow(picture, axes, cursor, series, readout, name) {
  picture.addEventListener("pointermove", (event) => {
    const [low, high] = axes.xs;
    const share = (pointed(event, picture)[0] * axes.width - LEFT) / (axes.width - LEFT - RIGHT);
    const [x] = nearest(series[0].points, low + clamp(share, 0, 1) * (high - low));
    for (const side of ["x1", "x2"]) cursor.setAttribute(side, String(axes.x(x)));
    cursor.setAttribute("visibility", "visible");
    readout.replaceChildren(h("span", {}, `${name} ${count(x)}`), ...legend(series, x));
  });
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    readout.replaceChildren(...legend(series));
  });
}

/**
 * Points with names, each a link.
 * @param {{points: {x: number, y: number, name: string, href: string, chosen?: boolean,
 *   hollow?: boolean, group?: number, over?: string}[],
 *   x: string, y: string, label: string}} wish `over`: what a point belongs to
 */
export function scatter({ points, x, y, label }) {
  const height = 320;
  return responsive((width) => {
    const span = (key) => {
      const [low, high] = extent(points.map((point) => point[key]));
      const extra = (high - low) * 0.08 || Math.abs(low) * 0.1 || 0.5;
      return [low < 0 ? low - extra : Math.max(0, low - extra), high + extra];
    };
    const axes = new Axes(width, height, { x: span("x"), y: span("y"), top: 24 });
    const crowded = points.length > 12;
    const dots = points.map((point) => {
      const at = { cx: axes.x(point.x), cy: axes.y(point.y), r: 6 };
      const figures = `${point.name}: ${x} ${figure(point.x)}, ${y} ${figure(point.y)}`;
      const told = [figures, point.over, point.hollow && t("runs.hollow")].filter(Boolean).join(", ");
      const look = [`group${(point.group ?? 0) % 5}`, point.chosen && "chosen", point.hollow && "hollow"];
      const room = point.chosen ? 16 : 11;
      const late = at.cx > width * 0.7;
      const side = { x: at.cx + (late ? -room : room), y: at.cy + 4, "text-anchor": late ? "end" : "start" };
      return s(
        "a", { href: point.href, "aria-label": told, "data-tip": told, class: look.filter(Boolean).join(" ") },
        point.chosen && s("circle", { ...at, r: 10, class: "around" }), s("circle", at),
        (!crowded || point.chosen) && s("text", { class: "point", ...side }, point.name),
      );
    });
    const picture = svg(width, height, label, axes.draw(x, y), dots);
    // links inside must stay reachable, which they are not within a picture
    picture.setAttribute("role", "group");
    return picture;
  });
}

/**
 * Signed bars, one row each: orange to the right of zero, blue to the left.
 * @param {{name: import("./dom.js").Child, value: number, told?: string}[]} items
 */
export function bars(items, label) {
  const largestOf = Math.max(1e-12, ...items.map(({ value }) => Math.abs(value)));
  const signed = items.some(({ value }) => value < 0);
  const rows = items.map(({ name, value, told }) => {
    const width = `${(Math.abs(value) / largestOf) * (signed ? 50 : 100)}%`;
    const left = signed ? (value < 0 ? `calc(50% - ${width})` : "50%") : "0";
    const kind = value < 0 ? "less" : "more";
    return h(
      "tr", told ? { "data-tip": told } : {},
      h("th", { scope: "row" }, name),
      h("td", { class: signed ? "track signed" : "track" }, h("i", { class: kind, style: { width, left } })),
      h("td", { class: "value" }, figure(value)),
    );
  });
  return h("table", { class: "bartable", "aria-label": label }, h("tbody", {}, rows));
}
