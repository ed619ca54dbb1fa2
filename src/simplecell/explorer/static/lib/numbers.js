/** Numbers for people: three significant digits, units in words; "–" where there is none. */

import { language, t } from "./words.js";

const APART = "\u00a0"; // a space at which no line ends
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const formats = new Map();

function write(value, options) {
  const key = language() + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language(), options));
  return formats.get(key).format(value).replace("-", "−");
}

/** Whether there is a number, and a finite one. */
export function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** The value, or the end of a range that it lies beyond. */
export function clamp(value, low, high) {
  return Math.max(low, Math.min(value, high));
}

/** The least and the largest of some numbers. */
export function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** A number to so many significant digits; a whole one with all of its own. */
export function figure(value, digits = 3) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= Math.max(1e6, 10 ** digits))) return power(value, digits);
  if (Number.isInteger(value)) return count(value);
  return write(value, { maximumSignificantDigits: digits });
}

function power(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const raised = [...String(Math.abs(Number(exponent)))].map((d) => SUPERSCRIPTS[Number(d)]).join("");
  const sign = Number(exponent) < 0 ? "⁻" : "";
  if (Number(mantissa) === 1) return `10${sign}${raised}`;
  return `${Number(mantissa)} × 10${sign}${raised}`.replace("-", "−");
}

/** A whole number, its thousands apart. */
export function count(value) {
  if (!known(value)) return "–";
  return write(value, { maximumFractionDigits: 0 });
}

/** A fraction 0–1 as a percentage. */
export function percent(share) {
  if (!known(share)) return "–";
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 0.001) return `${power(value, 2)}${APART}%`;
  const options =
    Math.abs(value) >= 99.95 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return `${write(value, options)}${APART}%`;
}

/** A cosine or a correlation: always two places, to stand in columns. */
export function cosine(value) {
  if (!known(value)) return "–";
  return write(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** Seconds in words. */
export function duration(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 90) return t("unit.seconds", { n: figure(seconds) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return t("unit.minutes", { n: count(minutes) });
  return t("unit.hours", { n: figure(seconds / 3600) });
}

/** Round numbers between two powers of ten, given by their exponents. */
export function logTicks(low, high) {
  const within = (steps) => {
    const found = [];
    for (let k = Math.floor(low); k <= high; k += 1) {
      for (const m of steps) {
        const at = k + Math.log10(m);
        if (at >= low - 1e-9 && at <= high + 1e-9) found.push(Number(`${m}e${k}`));
      }
    }
    return found;
  };
  const found = [[1, 2, 5], [1, 3]].map(within).find(({ length }) => length <= 5) ?? within([1]);
  const stride = Math.ceil(found.length / 6);
  return found.filter((_, i) => i % stride === 0);
}

/** Round numbers between two ends, about `most` of them. */
export function ticks(low, high, most = 4) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((one) => span / one <= most) ?? 10 * unit;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + span * 1e-9; k += 1) {
    found.push(k === 0 ? 0 : k * step);
  }
  return found;
}
