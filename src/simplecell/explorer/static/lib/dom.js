/** Elements without a library: what comes from data only ever becomes text. */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "readOnly"]);

/**
 * An HTML element. `attributes`: names to values; `class`; `on: {click: f}`; `style: {…}`;
 * false, null and undefined leave an attribute away, true sets it empty.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children nodes, texts, lists of them; null and false are left away
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  return /** @type {HTMLElement} */ (dress(document.createElement(tag), attributes, children));
}

/**
 * An SVG element, as `h`.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {SVGElement}
 */
export function s(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (dress(document.createElementNS(SVG, tag), attributes, children));
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listen] of Object.entries(value)) element.addEventListener(event, listen);
    } else if (name === "style") Object.assign(element.style, value);
    else if (PROPERTIES.has(name) && name in element && element.namespaceURI !== SVG) continue;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  // a select's value exists only once its options do
  for (const name of PROPERTIES) {
    if (name in attributes && name in element && element.namespaceURI !== SVG) {
      element[name] = attributes[name];
    }
  }
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/**
 * Replace what is in an element.
 * @param {Element} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/**
 * A word with an explanation: on hover, on focus, and for a screen reader.
 * @param {string} word
 * @param {string} explanation
 */
export function term(word, explanation) {
  return h(
    "span",
    { class: "term", tabindex: "0", "data-tip": explanation, role: "note" },
    word,
    h("span", { class: "hidden" }, ` (${explanation})`),
  );
}

/**
 * A section with a heading of its own.
 * @param {any} title
 * @param {...any} children
 */
export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/**
 * Draw again whenever the width of a box changes.
 * @param {(width: number) => any} draw gives the content for a width in pixels
 * @returns {HTMLElement}
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

/**
 * A setting that the browser keeps, or `fallback`; some browsers keep nothing for files.
 * @param {string} name
 * @param {string} fallback
 */
export function recall(name, fallback) {
  try {
    return localStorage.getItem(`simplecell.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`simplecell.${name}`, value);
  } catch {
    // the setting then holds for this page alone
  }
}

/**
 * Say something to a screen reader.
 * @param {string} sentence
 */
export function announce(sentence) {
  const live = document.getElementById("live");
  if (live) live.textContent = sentence;
}
