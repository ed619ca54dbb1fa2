/** What surrounds every page: run, pages, figures, findings, language, theme, keys. */

import { button, fill, h, menu, recall, remember, term } from "../lib/dom.js";
import { Follower } from "./follow.js";
import { clamp, count, figure, known } from "../lib/numbers.js";
import { isSparse, ofComponents, statusOf } from "./runs.js";
import { readPaint } from "../lib/tiles.js";
import { language, setLanguage, t } from "../lib/words.js";

const PAGES = ["", "playground", "data", "training", "compare"];
const THEMES = ["auto", "dark", "light"];
const SIGNS = { auto: "◐", light: "○", dark: "●" };
const KEYS = [
  ["← ↑ ↓ →", "keys.arrows"], ["Home End PageUp PageDown", "keys.far"], ["Enter", "keys.enter"],
  ["/", "keys.search"], ["j k", "keys.next"], ["?", "keys.help"],
];

const DARK = window.matchMedia("(prefers-color-scheme: dark)");

/** Take up the theme that was chosen last. */
export function startTheme() {
  document.documentElement.lang = language();
  paintAs(recall("theme", "auto"));
}

/** Style sheets and canvases in the colours of a theme. */
function paintAs(theme) {
  const system = DARK.matches ? "dark" : "light";
  Object.assign(document.documentElement.dataset, { theme, colors: theme === "auto" ? system : theme });
  readPaint();
}

/** Show explanations at what has one, for pointer, finger and keyboard. */
export function startTips() {
  const tip = document.getElementById("tip");
  const at = (event) => event.target.closest?.("[data-tip]");
  const hide = () => {
    tip.hidden = true;
  };
  const show = (owner) => {
    tip.textContent = owner.dataset.tip;
    tip.hidden = false;
    const box = owner.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
    tip.style.left = `${clamp(box.left, 8, room)}px`;
    tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
  };
  const enter = (event) => (at(event) ? show(at(event)) : hide());
  document.addEventListener("pointerover", enter);
  document.addEventListener("focusin", (event) =>
    at(event) && event.target.matches(":focus-visible") ? show(at(event)) : hide());
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}

/** The header; `again` renders the page anew, after a change of language or theme. */
export class Shell {
  constructor(app, element, again) {
    Object.assign(this, { app, element, again, name: "" });
    this.follower = new Follower(app.store, () => app.keepScroll());
    this.help = h("dialog", { class: "help" });
    document.body.append(this.help);
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select");
      if (event.key === "?" && !typing) this.#showHelp();
    });
    DARK.addEventListener("change", () => {
      paintAs(document.documentElement.dataset.theme);
      again();
    });
  }

  /** Show the run and page that are open. */
  update(state) {
    this.state = state;
    const { run, name } = state;
    this.name = name;
    this.row = state.runs.find((one) => one.name === name);
    this.follower.watch(run, this.row);
    fill(
      this.element,
      h("div", { class: "top" }, this.#brand(), name && this.#pages(), this.#switches()),
      run && h("div", { class: "below" }, this.#figures(run), this.#findings(run.atlas.findings ?? [])),
    );
  }

  #brand() {
    const { runs, name: now } = this.state;
    const home = h("a", { class: "brand", href: this.app.link("") }, mark(), "simplecell");
    if (!now) return h("div", { class: "who" }, home);
    if (runs.length < 2) return h("div", { class: "who" }, home, h("span", { class: "run" }, now));
    const names = runs.map(({ name }) => [name, name]);
    const look = { class: "run", "aria-label": t("shell.run"), value: now };
    return h("div", { class: "who" }, home, menu(names, (name) => this.app.go(`${name}/`), look));
  }

  #pages() {
    const { runs, name: now, page } = this.state;
    const others = runs.filter(({ name }) => name !== now);
    const other = (others.find(({ look }) => look === this.row?.look) ?? others[0])?.name ?? now;
    const links = PAGES.map((name) => {
      const path = name === "compare" ? `${now}/compare/${other}` : `${now}/${name}`;
      const here = page === name || (name === "" && page === "latent");
      const current = here ? (page === name ? "page" : "true") : null;
      return h("a", { href: this.app.link(path), "aria-current": current }, t(`page.${name || "latents"}`));
    });
    return h("nav", { "aria-label": t("shell.pages") }, links);
  }

  #switches() {
    const other = language() === "en" ? "zh" : "en";
    const theme = document.documentElement.dataset.theme;
    const told = `${t("shell.theme")}: ${t(`theme.${theme}`)}`;
    const turn = (face, label, click, more = {}) =>
      button(face, click, { "aria-label": label, "data-tip": label, ...more });
    return h(
      "div", { class: "switches" },
      turn(other === "zh" ? "中文" : "English", t("shell.language"), () => this.#speak(other), { lang: other }),
      turn([SIGNS[theme], h("span", { class: "theme" }, ` ${t(`theme.${theme}`)}`)], told, () => this.#theme(theme)),
      turn("?", t("shell.keys"), () => this.#showHelp()),
    );
  }

  #speak(code) {
    setLanguage(code);
    document.documentElement.lang = code;
    this.again();
  }

  #theme(now) {
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    remember("theme", next);
    paintAs(next);
    this.again();
  }

  #figures(run) {
    const { atlas } = run;
    const { figures = {} } = atlas;
    const part = (value, key, about = key) =>
      h("li", {}, h("b", {}, value), " ", term(t(`word.${key}`, { n: value }), t(`about.${about}`)));
    const still = run.still || Math.round((figures.silent ?? 0) * run.size);
    const follows = atlas.status === "running";
    return h(
      "ul", { class: "figures" },
      part(count(atlas.n_latents), "latents"),
      run.knowsDead && part(count(still), "dead"),
      !run.knowsDead && still > 0 && part(count(still), "still"),
      known(figures.fvu) && part(figure(figures.fvu), "fvu"),
      known(figures.l0) && atlas.sparse && part(figure(figures.l0), "l0"),
      h("li", {}, term(t("shell.shown", { n: count(atlas.n_samples) }), t("about.shown"))),
      this.#heldOut(),
      this.#byPca(),
      follows && this.follower.element,
      atlas.status && !follows && atlas.status !== "finished" && h("li", { class: "status" }, statusOf(atlas.status)),
    );
  }

  /** The figures that the list of runs has, where they are of other samples than these. */
  #heldOut() {
    const { row } = this;
    if (row?.samples !== "held out" || !known(row.fvu)) return null;
    const l0 = isSparse(row.activation) && known(row.l0) ? `, l0 ${figure(row.l0)}` : "";
    return h("li", {}, term(t("shell.held", { fvu: figure(row.fvu) + l0 }), t("about.samples")));
  }

  /** PCA's fvu, of the samples that the list of runs has figures of. */
  #byPca() {
    const found = this.row && ofComponents(this.row);
    if (!found) return null;
    const on = t(this.row.samples === "training" ? "word.training" : "word.held");
    const told = { fvu: figure(found.fvu), on };
    return h("li", {}, term(t("shell.pca", { ...told, n: found.components }), t("about.pca")));
  }

  #findings(findings) {
    if (!findings.length) return null;
    const lines = findings.map((one) =>
      h("li", {}, one.words ?? one.what, !one.words && one.cure ? h("code", {}, one.cure) : ""));
    return h(
      "details", { class: "findings" },
      h("summary", {}, t("shell.findings", { n: findings.length })),
      h("ul", {}, lines),
    );
  }

  #showHelp() {
    const rows = KEYS.map(([keys, key]) =>
      h("tr", {}, h("td", {}, keys.split(" ").map((one) => h("kbd", {}, one))), h("td", {}, t(key))));
    const close = button(t("shell.close"), () => this.help.close());
    fill(this.help, h("h2", {}, t("shell.keys")), h("table", {}, h("tbody", {}, rows)), close);
    if (!this.help.open) this.help.showModal();
  }
}

/** A simple cell's field: a bright bar between dark ones. */
function mark() {
  const bars = [-1, 0, 1].map((k) => h("i", { class: k ? "dark" : "bright" }));
  return h("span", { class: "logo", "aria-hidden": "true" }, bars);
}
