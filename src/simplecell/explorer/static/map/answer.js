/** What sets picked points apart from others: asked of the server, or how to ask without one. */

import { button, fill, h, table, term } from "../lib/dom.js";
import { count, cosine, figure, percent } from "../lib/numbers.js";
import { portrait } from "../lib/tiles.js";
import { t } from "../lib/words.js";
import { OTHERS, THESE } from "./picks.js";

const FEWEST = 10;
const SHOWN = 12;

/** The answer's part of the page; `ask` looks at what is picked and brings it up to date. */
export class Answer {
  /** @param {import("../app.js").Context} context @param {import("./picks.js").Picks} picks */
  constructor(context, picks, rows) {
    Object.assign(this, { context, run: context.run, picks, rows, turn: 0 });
    this.element = h("div", { class: "map-answer", "aria-live": "polite" });
  }

  async ask() {
    this.turn += 1;
    const { turn, picks } = this;
    const sizes = [picks.of(THESE).length, picks.of(OTHERS).length];
    if (sizes[0] + sizes[1] === 0) {
      fill(this.element, h("p", { class: "quiet" }, t("map.pick")));
      return;
    }
    const others = sizes[1] || picks.side.length - sizes[0];
    if (Math.min(sizes[0], others) < FEWEST) {
      fill(this.element, h("p", { class: "quiet" }, t("map.few", { n: FEWEST })), this.#save());
      return;
    }
    if (this.context.store.mode !== "server") {
      fill(this.element, this.#elsewhere(sizes[1] > 0));
      return;
    }
    const started = performance.now();
    const question = { rows: picks.bits(THESE), against: sizes[1] ? picks.bits(OTHERS) : null };
    try {
      const found = await this.context.store.post(`${this.run.name}/contrast`, question);
      if (turn !== this.turn) return;
      fill(this.element, this.#told(found), this.#save());
      this.element.dataset.took = (performance.now() - started).toFixed(0);
    } catch (error) {
      if (turn !== this.turn) return;
      fill(this.element, h("p", { class: "notice", role: "alert" }, error.message), this.#save());
    }
  }

  #told({ picked, used, found, holding, n_held_out: held, latents }) {
    const against = this.picks.of(OTHERS).length ? "map.against.picked" : "map.against.rest";
    const thinned = used.some((n, k) => n < picked[k]);
    const summary = t("map.found", { n: count(found), of: count(this.run.size), holding: count(holding), held: count(held) });
    return [
      h("h3", {}, t(against, { n: count(picked[0]), of: count(picked[1]) })),
      h("p", {}, found ? summary : t("map.nothing", { held: count(held) })),
      thinned && h("p", { class: "quiet" }, t("map.used", { n: count(used[0]), of: count(used[1]) })),
      latents.length > 0 && this.#table(latents),
      h("p", { class: "quiet" }, t("map.honest")),
    ];
  }

  #table(latents) {
    const sparse = Boolean(this.run.atlas.sparse);
    // anew for each table: an element stands in one place
    const names = () => [
      t("map.latent"), term(t("map.auc"), t("about.auc")), term(t("map.heldout"), t("about.heldout")),
      term("q", t("about.q")), t(sparse ? "map.active" : "map.mean"),
    ];
    const lines = latents.map((one) => this.#line(one, sparse));
    const more = lines.slice(SHOWN);
    return [
      h("div", { class: "scroll" }, table("figuretable map-found", names(), lines.slice(0, SHOWN))),
      more.length > 0 && h("details", {}, h("summary", {}, t("map.more", { n: more.length })),
        h("div", { class: "scroll" }, table("figuretable map-found", names(), more))),
    ];
  }

  #line(one, sparse) {
    const { run, context } = this;
    const write = sparse ? percent : figure;
    const ends = `[${cosine(one.auc_low)}, ${cosine(one.auc_high)}]`;
    const words = run.nameOf(one.latent) || run.notes[one.latent]?.text || run.atlas.tags[one.latent] || "";
    const link = h("a", { class: "map-latent", href: context.link(`${run.name}/latent/${one.latent}`) },
      run.atlas.sprites && portrait(run, one.latent, 40), h("span", {}, t("latent.name", { n: String(one.latent) })),
      h("span", { class: "quiet" }, words));
    const way = one.auc > 0.5 ? "map-more" : "map-less";
    return h("tr", { class: way }, h("th", { scope: "row" }, link), [
      [h("b", {}, cosine(one.auc)), " ", h("span", { class: "quiet" }, ends)],
      [cosine(one.held_out_auc), " ", h("span", { class: "quiet" }, t(one.holds ? "map.holds" : "map.doesnot"))],
      figure(one.q, 2), `${write(one.sides[0])} / ${write(one.sides[1])}`,
    ].map((cell) => h("td", {}, cell)));
  }

  /** What to run where no server answers. */
  #elsewhere(both) {
    const command = `simplecell explain RUN DATA --rows @these.txt${both ? " --against @others.txt" : ""}`;
    return [h("p", {}, t("map.elsewhere")), h("pre", {}, h("code", {}, command)), this.#save()];
  }

  /** Buttons that write row numbers to files, as the command line reads them. */
  #save() {
    const sides = [[THESE, "these"], [OTHERS, "others"]].filter(([side]) => this.picks.of(side).length);
    return h("p", { class: "map-save" }, sides.map(([side, name]) =>
      button(t(`map.save.${name}`), () => this.#write(side, `${name}.txt`))));
  }

  #write(side, name) {
    const lines = ["row", ...Array.from(this.picks.of(side), (point) => this.rows?.[point] ?? point)];
    const href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/plain" }));
    h("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }
}
