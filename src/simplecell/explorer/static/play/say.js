/** The playground speaks. */

import { en, zh } from "./words.js";
import { language } from "../lib/words.js";

/**
 * The words for a key; `{name}` in them is replaced by a value.
 * @param {string} key
 * @param {Record<string, string|number>} [values]
 * @returns {string}
 */
export function say(key, values = {}) {
  const text = { en, zh }[language()][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
