/** One sample, drawn by what the data are: a picture in its photograph, a row, a text, tokens. */

import { h } from "./dom.js";
import { marker } from "./marker.js";
import { figure, percent } from "./numbers.js";
import { bytesOf } from "./store.js";
import { t } from "./words.js";

const SHOWN_COLUMNS = 6;

/**
 * Pixels as a canvas that is enlarged without smoothing.
 * @param {string} text base64 of uint8 h·w or h·w·3
 * @param {number[]} shape [h, w] or [h, w, 3]
 * @param {number} size the longer side in CSS pixels
 * @param {string} label
 */
export function pixels(text, shape, size, label) {
  const [height, width, channels = 1] = shape;
  const bytes = bytesOf(text);
  const picture = new ImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      picture.data[i * 4 + c] = bytes[i * channels + (channels === 3 ? c : 0)];
    }
    picture.data[i * 4 + 3] = 255;
  }
  const zoom = size / Math.max(height, width);
  const style = { width: `${width * zoom}px`, height: `${height * zoom}px` };
  const canvas = h("canvas", { class: "pixels", width, height, style, role: "img", "aria-label": label });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/**
 * A sample as a figure.
 * @param {any} run
 * @param {any} sample
 * @param {{value?: number, quantile?: number, size?: number, most?: number, first?: string[], play?: string,
 *   table?: any}} [told]
 *   code value, its quantile among those drawn, size of a picture, largest code, columns to
 *   show first, address of the playground with this sample, another table than a row's usual one
 */
export function sampleFigure(run, sample, told = {}) {
  const { look } = run.atlas;
  const draw = { picture, row, text, tokens }[look];
  return h(
    "figure", { class: `sample ${look}` },
    draw(run, sample, told),
    h("figcaption", {}, captionOf(sample, told)),
  );
}

function captionOf(sample, { value, quantile, most, play }) {
  const parts = [];
  if (value !== undefined) parts.push(h("b", {}, t("sample.code", { value: figure(value) })));
  if (quantile !== undefined) {
    const last = value >= most ? "sample.strongest" : "sample.last";
    const end = quantile >= 1 ? last : quantile <= 0 ? "sample.weakest" : "sample.quantile";
    parts.push(h("span", {}, t(end, { share: percent(quantile) })));
  }
  const about = aboutOf(sample);
  parts.push(h("span", { class: "about", "data-tip": about.long }, about.short));
  if (play) parts.push(h("a", { class: "play", href: play, "data-tip": t("about.play") }, t("sample.play")));
  return parts;
}

/** Where a sample comes from: in short, and in full. */
function aboutOf(sample) {
  const about = { ...sample.about };
  const name = about.file ? String(about.file).split(/[\\/]/).at(-1) : null;
  const key = ["label", "topics", "topic", "class"].find((one) => write(about[one] ?? "") !== "");
  const short = [key && `${key === "label" ? t("sample.label") : key} ${write(about[key])}`, name];
  const number = t("sample.row", { n: String(sample.row) });
  const long = [number, ...Object.entries(about).map(([key, value]) => `${key}: ${write(value)}`)];
  return { short: short.filter(Boolean).join(" · ") || number, long: long.join("\n") };
}

function write(value) {
  if (Array.isArray(value)) return value.map(write).join(", ");
  if (typeof value === "number") return String(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function picture(run, sample, { size = window.innerWidth < 640 ? 68 : 84 }) {
  const { shape } = run.atlas;
  const label = t("sample.picture", { n: String(sample.row) });
  const patch = sample.pixels ? pixels(sample.pixels, shape, size, label) : null;
  if (!sample.photo) return patch;
  return h("div", { class: "patch" }, patch, photoButton(run, sample.photo, size));
}

/** The photograph with the patch marked; a click enlarges it. */
function photoButton(run, place, size) {
  const photo = run.atlas.photos?.[place.photo];
  if (!photo) return null;
  const name = t("sample.photo", { name: photo.name, top: String(place.top), left: String(place.left) });
  const show = () => enlarge(run, photo, place, name);
  const wide = Math.min(2, photo.width / photo.height) * size;
  const style = { width: `${wide}px`, height: `${size}px` };
  const scale = Math.min(wide / photo.width, size / photo.height);
  return h(
    "button", { type: "button", class: "photo", "aria-label": name, style, on: { click: show } },
    image(run, photo), marker(photo, place, scale),
  );
}

function image(run, photo) {
  const src = run.store.imageUrl(`${run.name}/files/${photo.file}`);
  return h("img", { src, alt: "", loading: "lazy", decoding: "async" });
}

function enlarge(run, photo, place, name) {
  const close = () => dialog.close();
  const style = { "aspectRatio": `${photo.width} / ${photo.height}` };
  const box = h("div", { class: "photo", style }, image(run, photo));
  const dialog = h(
    "dialog", { class: "enlarged", "aria-label": name, on: { click: close, close: () => dialog.remove() } },
    box,
    h("p", {}, name, " ", h("button", { type: "button", on: { click: close } }, t("shell.close"))),
  );
  document.body.append(dialog);
  dialog.showModal();
  const scale = Math.min(box.clientWidth / photo.width, box.clientHeight / photo.height);
  box.append(marker(photo, place, scale || 1));
}

function row(run, sample, { first = [], table }) {
  if (table) return table;
  const rank = new Map(first.map((name, k) => [name, k]));
  const place = ([name]) => rank.get(name) ?? Infinity;
  const values = [...(sample.values ?? [])];
  if (first.length) values.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
  const lines = (some) => some.map(([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, figure(value, 4))));
  const rest = values.slice(SHOWN_COLUMNS);
  return [
    h("table", { class: "columns" }, h("tbody", {}, lines(values.slice(0, SHOWN_COLUMNS)))),
    rest.length > 0 && h(
      "details", {}, h("summary", {}, t("sample.more", { n: rest.length })),
      h("table", { class: "columns" }, h("tbody", {}, lines(rest))),
    ),
  ];
}

function text(run, sample) {
  return [
    sample.title && h("h3", {}, sample.title),
    h("p", { class: "body", tabindex: "0" }, sample.text ?? ""),
  ];
}

function tokens(run, sample, { most }) {
  const largest = most || Math.max(1e-9, ...sample.tokens.map(([, value]) => value));
  const parts = sample.tokens.map(([word, value], k) => {
    const share = Math.max(0, Math.min(1, value / largest));
    const own = k === sample.at;
    const glow = `color-mix(in srgb, var(--glow) ${Math.round(share * 100)}%, transparent)`;
    const look = share > 0 ? { backgroundColor: glow } : {};
    const tip = value ? { "data-tip": t("sample.code", { value: figure(value) }) } : {};
    return h(own ? "mark" : "span", { class: own ? "token own" : "token", style: look, ...tip }, visible(word));
  });
  return h("p", { class: "context", dir: "auto" }, parts);
}

/** Tokens of nothing but space would not be seen. */
function visible(word) {
  if (word === "") return "∅";
  return word.replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
