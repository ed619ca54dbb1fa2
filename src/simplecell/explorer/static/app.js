/**
 * Start: the address to a page, links, keys.
 *
 * In all files a `context` is what is described here, a `run` a Run of lib/atlas.js, a `latent` its
 * number in that run, `play` what playground.json holds.
 *
 * @typedef {object} Context what a page is given
 * @property {import("./lib/store.js").Store} store
 * @property {import("./lib/atlas.js").Run} run null for a training that nothing is found of yet
 * @property {string} name of the run
 * @property {any[]} runs the rows of the list of runs
 * @property {string} strange a name in the address that no run has
 * @property {string[]} args what stands in the address after the page
 * @property {HTMLElement} root where the page goes
 * @property {URLSearchParams} query
 * @property {boolean} restored whether one comes back to where one has scrolled
 * @property {(path: string) => string} link
 * @property {(path: string) => void} go
 * @property {(path: string) => void} push another address, without a new page
 * @property {(path: string) => void} replace as `push`, with no way back to the one before
 */

import { showGallery } from "./pages/gallery.js";
import { showLatent } from "./pages/latent.js";
import { showPlayground } from "./play/playground.js";
import { showData } from "./pages/data.js";
import { showTraining } from "./pages/training.js";
import { showCompare } from "./pages/compare.js";
import { showRuns } from "./pages/runs.js";
import { openRun } from "./lib/atlas.js";
import { announce, fill, h } from "./lib/dom.js";
import { Shell, startTheme, startTips } from "./pages/shell.js";
import { createStore } from "./lib/store.js";
import { t } from "./lib/words.js";

const PAGES = {
  "": showGallery,
  latent: showLatent,
  playground: showPlayground,
  data: showData,
  training: showTraining,
  compare: showCompare,
};

class App {
  constructor() {
    this.store = createStore(document.documentElement);
    this.main = document.getElementById("main");
    this.served = this.store.mode === "server";
    this.turn = 0;
    this.leave = null;
    this.actions = {
      store: this.store,
      link: (path) => this.link(path),
      go: (path) => this.go(path),
      push: (path) => this.note("pushState", path),
      replace: (path) => this.note("replaceState", path),
    };
    this.shell = new Shell(this, document.getElementById("shell"), () => this.render());
    history.scrollRestoration = "manual";
    window.addEventListener("popstate", (event) => this.#moved(event));
    window.addEventListener("hashchange", () => this.#moved({}));
    document.addEventListener("click", (event) => this.#click(event));
  }

  /** Remember how far one has scrolled, for when the page comes again. */
  keepScroll() {
    this.#write("replaceState", { scroll: window.scrollY }, "");
  }

  #write(how, ...entry) {
    try {
      history[how](...entry);
    } catch {
      // a page inside a notebook's cell has no address of its own
    }
  }

  /** Path and query after the base. */
  get path() {
    if (!this.served) return location.hash.replace(/^#\/?/, "");
    return decodeURI(location.pathname).slice(this.store.base.length) + location.search;
  }

  link(path) {
    return this.served ? this.store.base + path : `#/${path}`;
  }

  go(path) {
    this.keepScroll();
    if (this.served) history.pushState({}, "", this.link(path));
    else {
      this.shown = path;
      location.hash = `/${path}`;
    }
    this.render();
  }

  /** Put another address up without a new page: `how` is "pushState" or "replaceState". */
  note(how, path) {
    const state = how === "pushState" ? {} : history.state;
    if (how === "pushState") this.keepScroll();
    this.shown = path;
    this.#write(how, state, "", this.link(path));
  }

  #moved(event) {
    if (!this.served && this.path === this.shown) return;
    this.render(event.state?.scroll);
  }

  #click(event) {
    const anchor = event.target.closest?.("a[href]");
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (!anchor || !plain || event.defaultPrevented || anchor.target || anchor.download) return;
    const href = anchor.getAttribute("href");
    const prefix = this.served ? this.store.base : "#/";
    if (!href.startsWith(prefix) || /^[^/]*\/files\//.test(href.slice(prefix.length))) return;
    event.preventDefault();
    this.go(href.slice(prefix.length));
  }

  /** Fill the page for the address. */
  async render(scroll) {
    this.turn += 1;
    const turn = this.turn;
    this.shown = this.path;
    this.leave?.();
    this.leave = null;
    const [place, search = ""] = this.path.split("?");
    let [name = "", page = "", ...args] = place.split("/").map((part) => decodeURIComponent(part));
    const root = h("div", { class: "page", "aria-busy": "true" });
    let run = null;
    try {
      const runs = await this.#runs();
      if (name === "" && runs.length === 1) {
        name = runs[0].name;
        this.note("replaceState", `${name}/`);
      }
      const strange = name !== "" && !runs.some((one) => one.name === name) ? name : "";
      if (strange) name = "";
      if (name !== "") run = await this.#open(name, page);
      if (turn !== this.turn) return;
      this.shell.update({ runs, run, name, page });
      fill(this.main, root);
      const query = new URLSearchParams(search);
      const restored = scroll !== undefined;
      const draw = name === "" ? showRuns : PAGES[page];
      if (!draw) throw new Error(t("error.nopage"));
      const told = { run, name, runs, strange, args, root, query, restored };
      const leave = await draw({ ...this.actions, ...told });
      if (turn !== this.turn) {
        leave?.();
        return;
      }
      this.leave = leave ?? null;
    } catch (error) {
      if (turn !== this.turn) return;
      this.shell.update({ runs: this.known ?? [], run, name, page });
      fill(this.main, root);
      fill(root, this.#trouble(error, name));
    }
    this.#arrived(root, scroll);
  }

  #arrived(root, scroll) {
    root.removeAttribute("aria-busy");
    const title = root.querySelector("h1");
    document.title = [title?.textContent, this.shell.name, "simplecell"].filter(Boolean).join(" · ");
    if (scroll !== undefined) window.scrollTo(0, scroll);
    else if (this.moved && !root.querySelector(".board")) window.scrollTo(0, 0);
    if (this.moved) {
      if (!root.contains(document.activeElement)) title?.focus({ preventScroll: true });
      announce(document.title);
    }
    this.moved = true;
  }

  /** The run; a training needs none of what is found after it. */
  async #open(name, page) {
    const run = openRun(this.store, name);
    return page === "training" ? run.catch(() => null) : run;
  }

  #trouble(error, name) {
    const sentence = error?.message || String(error);
    const known = this.known?.some((run) => run.name === name);
    return h("div", { class: "notice trouble", role: "alert" },
      h("h1", { tabindex: "-1" }, t("error.title")), h("p", {}, sentence),
      h("p", {}, known && h("a", { href: this.link(`${name}/training`) }, t("error.training")), " ",
        h("a", { href: this.link("") }, t("error.back"))));
  }

  async #runs() {
    this.known ??= await this.store.get("").then((answer) => answer.runs);
    return this.known;
  }
}

startTheme();
startTips();
new App().render(history.state?.scroll);
