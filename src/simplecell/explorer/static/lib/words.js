/** Every visible word, in English and Chinese. */

import { recall, remember } from "./dom.js";
import { EFFECTS } from "./words-effects.js";
import { MAP } from "./words-map.js";
import { PAGES } from "./words-pages.js";
import { PLAYGROUND } from "./words-playground.js";
import { SHELL } from "./words-shell.js";

const LANGUAGES = ["en", "zh"];
const WORDS = { ...SHELL, ...PAGES, ...EFFECTS, ...MAP, ...PLAYGROUND };
let now = "";

/** The language in use: "en" or "zh". */
export function language() {
  if (!now) {
    const asked = recall("language", (navigator.language || "en").slice(0, 2));
    now = LANGUAGES.includes(asked) ? asked : "en";
  }
  return now;
}

/** Speak another language, "en" or "zh", from now on. */
export function setLanguage(code) {
  now = code;
  remember("language", code);
}

/** Whether there are words for a key. */
export function spoken(key) {
  return key in WORDS;
}

/**
 * The words for a key; `{name}` in them is replaced by a value. Where `n` is 1, those for
 * `key.one`, if there are any.
 */
export function t(key, values = {}) {
  const one = values.n === 1 || values.n === "1" ? WORDS[`${key}.one`] : null;
  const pair = one ?? WORDS[key];
  if (!pair) return key;
  const text = pair[LANGUAGES.indexOf(language())];
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? new Intl.NumberFormat(language()).format(value) : value;
  });
}
