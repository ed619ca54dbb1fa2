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
    get: async (path) => (await ask(path, { headers })).json(),
    bytes: async (path) => (await ask(path, {})).arrayBuffer(),
    imageUrl: (path) => base + path,
    post: async (path, body) => {
      const options = { method: "POST", body: JSON.stringify(body) };
      const kind = { ...headers, "Content-Type": "application/json" };
      return (await ask(path, { ...options, headers: kind })).json();
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
    get: find,
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
