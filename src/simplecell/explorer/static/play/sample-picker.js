/** Samples of the run to start from: small pictures, or a list of words. */

import { button, fill, h, menu } from "../lib/dom.js";
import { paintPicture } from "../lib/paint.js";
import { t } from "../lib/words.js";
import { bytesOf } from "../lib/store.js";

const AT_FIRST = 24;
const LONGEST = 80;
const MOST_OPTIONS = 200;

/**
 * @param {function(number): void} chosen called with the place in play.samples
 * @returns {{element: HTMLElement|null, mark: function(number|null): void}} mark: show which it is
 */
export function samplePicker(play, atlas, chosen) {
  const samples = inOrder(play.samples);
  if (!samples.length) return { element: null, mark: () => {} };
  return atlas.look === "picture" ? strip(samples, atlas.shape, chosen) : searched(samples, chosen);
}

/** Ordinary samples first, as they lie in the data: the worst are no good start. */
function inOrder(samples) {
  const numbered = samples.map((sample, place) => ({ ...sample, place }));
  const rest = numbered.filter(({ group }) => group !== "worst");
  rest.sort((a, b) => a.sample.row - b.sample.row);
  return [...rest, ...numbered.filter(({ group }) => group === "worst")];
}

function strip(samples, shape, chosen) {
  const box = h("div", { class: "play-strip" });
  const more = button(t("play.more"), () => grow(samples.length));
  let marked = null;
  const mark = (place) => {
    marked = place;
    for (const one of box.children) {
      one.setAttribute("aria-pressed", String(one.dataset.sample === String(place)));
    }
  };
  const grow = (count) => {
    fill(box, samples.slice(0, count).map((one) => thumbnail(one, shape, chosen)));
    more.hidden = count >= samples.length;
    mark(marked);
  };
  grow(AT_FIRST);
  return { element: h("div", {}, h("h3", {}, t("play.samples")), box, more), mark };
}

function thumbnail({ place, group, sample }, shape, chosen) {
  const [height, width, channels = 1] = shape;
  const canvas = h("canvas", { class: "pixels", "aria-hidden": "true" });
  paintPicture(canvas, { height, width, channels, values: bytesOf(sample.pixels) }, [0, 255]);
  const name = nameOf(sample) + (group === "worst" ? `, ${t("play.sample.worst")}` : "");
  const named = { class: "play-thumbnail", "aria-label": name, title: name, "data-sample": place };
  return button(canvas, () => chosen(place), named);
}

function nameOf(sample) {
  const about = Object.entries(sample.about ?? {})
    .filter(([, value]) => ["string", "number"].includes(typeof value))
    .map(([key, value]) => `${key} ${value}`);
  return [t("sample.row", { n: String(sample.row) }), ...about].join(", ").slice(0, LONGEST);
}

function searched(samples, chosen) {
  const select = menu([], (place) => chosen(Number(place)), { id: "play-sample" });
  const search = h("input", {
    type: "search", placeholder: t("play.sample.search"), "aria-label": t("play.sample.search"),
    on: { input: () => list(search.value) },
  });
  const texts = samples.map(({ sample }) => textOf(sample));
  const list = (asked) => {
    const wanted = asked.trim().toLowerCase();
    const found = samples.map((one, at) => ({ ...one, text: texts[at] }))
      .filter(({ text }) => text.toLowerCase().includes(wanted));
    const chosenNow = select.value;
    fill(select, found.slice(0, MOST_OPTIONS).map(({ place, text }) =>
      h("option", { value: place }, text)));
    select.value = chosenNow;
  };
  list("");
  const element = h("div", { class: "play-tools" },
    h("label", { for: "play-sample" }, t("play.sample.choose")), select, samples.length > 8 && search);
  return { element, mark: (place) => { select.value = place === null ? "" : String(place); } };
}

/** What tells a sample from others, in one line. */
function textOf(sample) {
  const { row, title, text, tokens, at, about = {} } = sample;
  const label = [about.label, about.title, about.topics].filter(Boolean).map(String);
  let words = [title, text].filter(Boolean).join(" · ");
  if (tokens) {
    words = tokens.map(([token], place) => (place === at ? `[${token}]` : token)).join("");
  } else if (!words && sample.values) {
    words = sample.values.slice(0, 4).map(([name, value]) => `${name} ${value}`).join(", ");
  }
  const line = [String(row), ...label, words].join(" · ").replace(/\s+/g, " ");
  return line.length > LONGEST ? `${line.slice(0, LONGEST)} …` : line;
}
