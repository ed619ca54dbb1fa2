/** A sample, drawn by what the data are: a picture in its photograph, a row, a text, tokens. */

import { button, h, tableRow, s, table } from "./dom.js";
import { clamp, figure, percent } from "./numbers.js";
import { paintPicture } from "./paint.js";
import { bytesOf } from "./store.js";
import { t } from "./words.js";

const SHOWN_COLUMNS = 6;
const LEAST = 6; // CSS pixels of a mark in a photograph
const TICK = 4;
const AROUND = 3; // times its own side that a part is shown with what lies around it

/**
 * Pixels as a canvas that is enlarged without smoothing.
 * @param {string} text base64 of uint8 h·w or h·w·3
 * @param {number[]} shape [h, w] or [h, w, 3]
 * @param {number} size the longer side in CSS pixels
 */
export function pixels(text, shape, size, label) {
  const [height, width, channels = 1] = shape;
  const zoom = size / Math.max(height, width);
  const style = { width: `${width * zoom}px`, height: `${height * zoom}px` };
  const canvas = h("canvas", { class: "pixels", width, height, style, role: "img", "aria-label": label });
  paintPicture(canvas, { height, width, channels, values: bytesOf(text) }, [0, 255]);
  return canvas;
}

/**
 * A sample as a figure.
 * @param {{value?: number, quantile?: number, size?: number, most?: number, first?: string[],
 *   play?: string, signed?: boolean, columns?: import("./dom.js").Child}} [told]
 *   code value, its quantile among those drawn, size of a picture, largest code, columns to
 *   show first, whether codes have signs, address of the playground with this sample, another table than a row's usual one
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

function captionOf(sample, { value, quantile, most, play, signed }) {
  const parts = [];
  if (value !== undefined) parts.push(h("b", {}, t("sample.code", { value: figure(value) })));
  if (quantile !== undefined) {
    const last = value >= most ? "sample.strongest" : "sample.last";
    const end = quantile >= 1 ? last : quantile <= 0 ? "sample.weakest" : "sample.quantile";
    const place = { "sample.quantile": "sample.above", "sample.weakest": "sample.lowest" }[end];
    parts.push(h("span", {}, t((signed && place) || end, { share: percent(quantile) })));
  }
  const about = aboutOf(sample);
  parts.push(h("span", { class: "about", "data-tip": about.long }, about.short));
  if (play) parts.push(h("a", { class: "play", href: play, "data-tip": t("about.play") }, t("sample.play")));
  return parts;
}

/** Names of fields that say which row this is: "id", "doc_id", "PassengerId", "gene name". */
const IDENTIFIER = /(^|[_\s.-])([Ii][Dd]|key|name|word|index|accession)$|[a-z](Id|ID)$/;

/** Where a sample comes from: in short, and in full. */
function aboutOf(sample) {
  const about = { ...sample.about };
  const own = Object.keys(about).find((one) => IDENTIFIER.test(one) && write(about[one] ?? "") !== "");
  const name = about.file ? String(about.file).split(/[\\/]/).at(-1) : own ? write(about[own]) : null;
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

/** What a row was made of: the part of its picture with what is around it, and all of the picture. */
function part(run, sample, size = window.innerWidth < 640 ? 68 : 84) {
  const photo = run.atlas.photos?.[sample.photo?.photo];
  if (!photo) return null;
  if (isWhole(sample.photo)) return h("div", { class: "patch" }, photoButton(run, sample.photo, 1.4 * size));
  const label = t("sample.picture", { n: String(sample.row) });
  return h("div", { class: "patch" }, closeUp(run, photo, sample.photo, size, label), photoButton(run, sample.photo, size));
}

/** Whether a sample is all of a picture, and no part of one. */
function isWhole(place) {
  return place.top === undefined;
}

/** A part of a photograph, marked in a square of its surroundings. */
function closeUp(run, photo, place, size, label) {
  const { height = place.side, width = place.side } = place;
  const side = Math.min(AROUND * Math.max(height, width), Math.min(photo.width, photo.height));
  const top = clamp(place.top + (height - side) / 2, 0, photo.height - side);
  const left = clamp(place.left + (width - side) / 2, 0, photo.width - side);
  const cut = cutOut(run, { photo: place.photo, top, left, side }, size, label);
  const svg = marker(photo, place, size / side);
  Object.assign(svg.style, styleOf(cut.firstChild));
  cut.append(svg);
  return cut;
}

/** Where and how large the picture in a cut-out is. */
function styleOf(picture) {
  const { width, height, left, top } = picture.style;
  return { width, height, left, top };
}

/** The photograph with the patch marked; a click enlarges it. */
function photoButton(run, place, size) {
  const photo = run.atlas.photos?.[place.photo];
  if (!photo) return null;
  const name = isWhole(place) ? photo.name
    : t("sample.photo", { name: photo.name, top: String(place.top), left: String(place.left) });
  const show = () => enlarge(run, photo, place, name);
  const wide = Math.min(2, photo.width / photo.height) * size;
  const style = { width: `${wide}px`, height: `${size}px` };
  const scale = Math.min(wide / photo.width, size / photo.height);
  const face = [image(run, photo), !isWhole(place) && marker(photo, place, scale)];
  return button(face, show, { class: "photo", "aria-label": name, style });
}

function image(run, photo) {
  const src = run.store.imageUrl(`${run.name}/files/${photo.file}`);
  return h("img", { src, alt: "", loading: "lazy", decoding: "async" });
}

/** A patch as its photograph has it, before that was whitened; null where no photograph is kept. */
export function cutOut(run, place, size, label) {
  const photo = place && run.atlas.photos?.[place.photo];
  if (!photo) return null;
  const zoom = size / place.side;
  const picture = image(run, photo);
  Object.assign(picture.style, {
    width: `${photo.width * zoom}px`, height: `${photo.height * zoom}px`,
    left: `${-place.left * zoom}px`, top: `${-place.top * zoom}px`,
  });
  const style = { width: `${size}px`, height: `${size}px` };
  return h("span", { class: "cutout", role: "img", "aria-label": label, style }, picture);
}

function enlarge(run, photo, place, name) {
  const close = () => dialog.close();
  const style = { "aspectRatio": `${photo.width} / ${photo.height}` };
  const box = h("div", { class: "photo", style }, image(run, photo));
  const dialog = h(
    "dialog", { class: "enlarged", "aria-label": name, on: { click: close, close: () => dialog.remove() } },
    box,
    h("p", {}, name, " ", button(t("shell.close"), close)),
  );
  document.body.append(dialog);
  dialog.showModal();
  const scale = Math.min(box.clientWidth / photo.width, box.clientHeight / photo.height);
  if (!isWhole(place)) box.append(marker(photo, place, scale || 1));
}

/**
 * Where a patch lies in its photograph: a ring of its true size, or of the least that is seen.
 * @param {{width: number, height: number}} photo in pixels of the file
 * @param {{top: number, left: number, side?: number, height?: number, width?: number}} place
 * @param {number} scale CSS pixels per pixel of the file
 */
export function marker(photo, place, scale) {
  const { height = place.side, width = place.side } = place;
  const least = LEAST / scale;
  const [tall, wide] = [Math.max(height, least), Math.max(width, least)];
  const x = clamp(place.left + (width - wide) / 2, 0, photo.width - wide);
  const y = clamp(place.top + (height - tall) / 2, 0, photo.height - tall);
  const tiny = tall > height && wide > width;
  const shapes = (kind) => [
    s("rect", { class: kind, x, y, width: wide, height: tall }),
    tiny && s("path", { class: kind, d: ticks(x, y, wide, tall, TICK / scale) }),
  ];
  return s(
    "svg",
    { viewBox: `0 0 ${photo.width} ${photo.height}`, preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" },
    shapes("outline"), shapes("ring"),
  );
}

/** Short lines outwards from the corners, which say that the patch is smaller than the ring. */
function ticks(x, y, wide, tall, length) {
  return [[x, y, -1, -1], [x + wide, y, 1, -1], [x, y + tall, -1, 1], [x + wide, y + tall, 1, 1]]
    .map(([left, top, right, down]) => `M${left} ${top}l${right * length} ${down * length}`).join("");
}

function row(run, sample, { first = [], columns, size }) {
  const shown = part(run, sample, size);
  if (columns) return [shown, columns];
  const rank = new Map(first.map((name, k) => [name, k]));
  const place = ([name]) => rank.get(name) ?? rank.size;
  const values = [...(sample.values ?? [])].sort((a, b) => place(a) - place(b));
  const lines = values.map(([name, value]) => tableRow(name, [figure(value, run.digitsOf(name))]));
  if (!shown) return columnTables([], lines);
  // Numbers of a network's layer tell a person little, and the picture tells all.
  return [shown, h("details", {}, h("summary", {}, t("sample.numbers")), table("columns", [], lines))];
}

/**
 * A row's columns: a table of the first, and the others.
 * @param {string[]} names over the columns of the table
 * @param {HTMLElement[]} lines
 */
export function columnTables(names, lines) {
  const [shown, more] = [lines.slice(0, SHOWN_COLUMNS), lines.slice(SHOWN_COLUMNS)];
  return [table("columns", names, shown), moreColumns(names, more)];
}

/** The columns of a row that are not shown at first, as `columnTables` has them. */
export function moreColumns(names, lines) {
  const told = t("sample.more", { n: lines.length });
  return lines.length > 0 && h("details", {}, h("summary", {}, told), table("columns", names, lines));
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
    const share = clamp(value / largest, 0, 1);
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
