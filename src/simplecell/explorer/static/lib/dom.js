/**
 * Elements without a library: what comes from data only ever becomes text.
 *
 * @typedef {Node|string|number|null|undefined|false|Child[]} Child null, undefined, false are left away
 */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "readOnly"]);

/**
 * An HTML element. `attributes`: names to values; `class`; `on: {click: f}`; `style: {…}`;
 * false, null and undefined leave an attribute away, true sets it empty.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Child} children
 */
export function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** An SVG element, as `h`. */
export function s(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  const isProperty = (name) => PROPERTIES.has(name) && name in element && element.namespaceURI !== SVG;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listen] of Object.entries(value)) element.addEventListener(event, listen);
    } else if (name === "style") Object.assign(element.style, value);
    else if (!isProperty(name)) element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  // a select's value exists only once its options do
  for (const name of Object.keys(attributes).filter(isProperty)) element[name] = attributes[name];
  return element;
}

function append(element, children) {
  const given = (child) => child !== null && child !== undefined && child !== false;
  element.append(...children.flat(Infinity).filter(given));
}

/** Replace what is in an element, by children as of `h`. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A word with an explanation: on hover, on focus, and for a screen reader. */
export function term(word, explanation) {
  return h(
    "span",
    { class: "term", tabindex: "0", "data-tip": explanation, role: "note" },
    word,
    h("span", { class: "hidden" }, ` (${explanation})`),
  );
}

/** A section with a heading of its own. */
export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/** A button; `click` is called with the event. */
export function button(face, click, attributes = {}) {
  return h("button", { type: "button", on: { click }, ...attributes }, face);
}

/**
 * A menu of values.
 * @param {[string|number, string][]} options values and words
 * @param {(value: string) => void} choose
 */
export function menu(options, choose, attributes = {}) {
  const change = (event) => choose(event.target.value);
  const lines = options.map(([value, words]) => h("option", { value }, words));
  return h("select", { on: { change }, ...attributes }, lines);
}

/**
 * A table, under a line of column names where there are some; "" is over no column but the names of
 * the lines, and a false one is left away.
 * @param {string} look its class
 * @param {Child[]} names
 * @param {HTMLElement[]} lines as of `tableRow`
 */
export function table(look, names, lines) {
  const head = names.map((name) => (name === "" ? h("td") : name && h("th", { scope: "col" }, name)));
  const top = names.length > 0 && h("thead", {}, h("tr", {}, head));
  return h("table", { class: look }, top, h("tbody", {}, lines));
}

/** A line of a table. */
export function tableRow(name, cells) {
  return h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)));
}

/** Where the pointer is in an element: [across, down], as shares of its width and height. */
export function pointed(event, element) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
}

/** The way of an arrow key, which then does nothing else: [down, right]; null for another key. */
export function arrow(event) {
  const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!(event.key in ways)) return null;
  event.preventDefault();
  return ways[event.key];
}

/**
 * Draw again whenever the width of a box changes.
 * @param {(width: number) => Child} draw gives the content for a width in pixels
 */
export function responsive(draw) {
  const box = h("div", { class: "responsive" });
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = Math.floor(box.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      fill(box, draw(width));
    }
  });
  observer.observe(box);
  return box;
}

/** A setting that the browser keeps, or `fallback`; some browsers keep nothing for files. */
export function recall(name, fallback) {
  try {
    return localStorage.getItem(`simplecell.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Have the browser keep a setting. */
export function remember(name, value) {
  try {
    localStorage.setItem(`simplecell.${name}`, value);
  } catch {
    // the setting then holds for this page alone
  }
}

/** Say something to a screen reader. */
export function announce(sentence) {
  document.getElementById("live").textContent = sentence;
}
