/**
 * Where a page's data come from: a server, script files beside it, or the page itself.
 *
 * @typedef {object} Store
 * @property {"server"|"export"|"page"} mode
 * @property {string} base of the addresses that a server answers
 * @property {boolean} writable
 * @property {(path: string) => Promise<any>} get what an address answers, as JSON
 * @property {(path: string) => Promise<ArrayBuffer>} bytes
 * @property {(path: string) => string} imageUrl
 * @property {(path: string, body: object) => Promise<any>} post
 */

import { h } from "./dom.js";
import { t } from "./words.js";

const known = new Map();
const loading = new Map();

/* Signs that nobody sees: controls, and what turns the order of the text around it; as unseen.py. */
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u180e\\u200b\\u2028-\\u202e"
  + "\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e007f}]", "gu");
const taken = new Set();

/** What came, with every such sign in a text written out, as `\u202e`. */
function seen(value) {
  if (typeof value === "string") return value.replace(UNSEEN, written);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) if (typeof value[i] !== "number") value[i] = seen(value[i]);
  } else if (value !== null && typeof value === "object") {
    for (const [name, one] of Object.entries(value)) if (typeof one !== "number") value[name] = seen(one);
  }
  return value;
}

function written(sign) {
  const code = sign.codePointAt(0).toString(16);
  if (code.length > 4) return `\\U${code.padStart(8, "0")}`;
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
}

/** Take data in: `{path: object, or base64 string of bytes}`. */
function take(data) {
  for (const [path, value] of Object.entries(data)) known.set(path, value);
}

/**
 * @param {HTMLElement} root the document's element: data-base, data-mode
 * @returns {Store}
 */
export function createStore(root) {
  const mode = root.dataset.mode || "server";
  const base = root.dataset.base || "/";
  globalThis.simplecellData = take;
  for (const data of globalThis.simplecellGiven ?? []) take(data);
  return mode === "server" ? served(base) : given(mode);
}

function served(base) {
  const headers = { Accept: "application/json" };
  const ask = async (path, options) => {
    let answer;
    try {
      answer = await fetch(base + path, options);
    } catch {
      throw new Error(t("error.noanswer"));
    }
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || `${answer.status} ${answer.statusText}`);
  };
  return {
    mode: "server",
    base,
    writable: true,
    get: async (path) => seen(await (await ask(path, { headers })).json()),
    bytes: async (path) => (await ask(path, {})).arrayBuffer(),
    imageUrl: (path) => base + path,
    post: async (path, body) => {
      const options = { method: "POST", body: JSON.stringify(body) };
      const kind = { ...headers, "Content-Type": "application/json" };
      return seen(await (await ask(path, { ...options, headers: kind })).json());
    },
  };
}

function given(mode) {
  const find = async (path) => {
    const script = mode === "export" && !known.has(path) ? scriptOf(path) : null;
    if (script) await load(script);
    if (known.has(path)) return known.get(path);
    throw new Error(t("error.absent", { path }));
  };
  return {
    mode,
    base: "",
    writable: false,
    get: async (path) => {
      const value = await find(path);
      if (!taken.has(path)) known.set(path, seen(value));
      taken.add(path);
      return known.get(path);
    },
    bytes: async (path) => bytesOf(await find(path)).buffer,
    imageUrl: (path) => (known.has(path) ? known.get(path) : `data/${encodeURI(path)}`),
    post: () => Promise.reject(new Error(t("error.readonly"))),
  };
}

/** Bytes of a base64 string. */
export function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** The script file of an exported site that holds a path; null where none does. */
function scriptOf(path) {
  if (path === "") return "data/runs.js";
  const [run, kind, rest, number] = path.split("/");
  const folder = `data/${encodeURIComponent(run)}`;
  if (kind === "") return `${folder}/atlas.js`;
  if (kind === "latent") return `${folder}/latents-${Math.floor(Number(rest) / 32)}.js`;
  if (["training", "data", "playground"].includes(kind)) return `${folder}/${kind}.js`;
  if (kind === "map" && rest === "codes") return `${folder}/codes${number === undefined ? "" : `-${number}`}.js`;
  if (kind === "compare") return `${folder}/compare-${encodeURIComponent(rest)}.js`;
  if (kind === "files" && rest.endsWith(".bin")) return `${folder}/${rest}.js`;
  return null;
}

/** Run a script file once; what it holds is then known. */
function load(file) {
  if (!loading.has(file)) {
    const script = h("script", { src: file });
    document.head.append(script);
    loading.set(file, new Promise((ready) => {
      script.onload = script.onerror = ready;
    }));
  }
  return loading.get(file);
}
