/** The playground: an input, its code, its reconstruction, and latents to turn. */

import { columnsOf } from "../lib/columns.js";
import { button, fill, h, menu, section, term } from "../lib/dom.js";
import { Engine } from "./engine.js";
import { Exciting } from "./excite.js";
import { Errors, Figures } from "./figures.js";
import { Hints } from "./hints.js";
import { Inputs } from "./inputs.js";
import { Sliders } from "./sliders.js";
import { t } from "../lib/words.js";

const PAUSE = 150; // milliseconds of quiet before a server is asked
const ADDRESS_PAUSE = 300;
const MOST_PATCHES = 144;
const MOST_NUMBERS = 2 ** 20;

/** Fill the page; what is given back is to be called when the page is left. */
export async function showPlayground(context) {
  const { store, run, name, root } = context;
  const title = h("h1", { tabindex: "-1" }, t("page.playground"));
  const play = await store.get(`${name}/playground`);
  if (!play.here && store.mode !== "server") {
    const reason = t("play.missing", { reason: play.reason });
    fill(root, title, h("p", { class: "notice" }, `${reason} ${t("play.missing.serve")}`));
    return () => {};
  }
  const bytes = (file) => store.bytes(`${name}/files/${file}`);
  const [samples, weights] = await Promise.all([bytes("samples.bin"), play.here && bytes("weights.bin")]);
  const answers = play.here ? inBrowser(new Engine(play, weights)) : onServer(store, name, run.atlas);
  const page = new Playground(context, play, run.samplesOf(samples), answers);
  fill(root, title, h("p", {}, t("play.lead")), page.element);
  page.start();
  return () => page.leave();
}

/** Answers from the run's own weights. */
function inBrowser(engine) {
  const choose = engine.exact && ((codes) => engine.choose(codes));
  return { ask: async (x, n, scales) => engine.run(x, n, scales), most: MOST_PATCHES, choose };
}

/** Answers from Python; only the last of several questions is asked. */
function onServer(store, name, atlas) {
  const width = atlas.n_inputs;
  const ask = async (x, n, scales) => {
    const one = (_, row) => Array.from(x.subarray(row * width, (row + 1) * width));
    const rows = Array.from({ length: n }, one);
    const { code, recon, prepared, prepared_recon: preparedRecon } =
      await store.post(`${name}/play`, { x: rows, scale: scales });
    const flat = (parts) => Float64Array.from(parts.flat());
    return {
      code: flat(code), recon: flat(recon), prepared: flat(prepared), preparedRecon: flat(preparedRecon),
    };
  };
  const most = Math.min(MOST_PATCHES, Math.floor(MOST_NUMBERS / (atlas.n_latents + 3 * width)));
  return { ask, most: Math.max(1, most), pause: PAUSE };
}

class Playground {
  constructor(context, play, samples, answers) {
    const { run } = context;
    Object.assign(this, { context, run, play, answers, atlas: run.atlas });
    this.turn = 0;
    this.patch = null;
    this.input = null;
    this.plain = null;
    this.read();
    this.latents = new Sliders(context, run, this.scales, () => this.changed());
    this.errors = new Errors(play, this.atlas.figures);
    this.told = h("p", { class: "play-told", role: "alert" });
    const kept = { play, samples, most: answers.most };
    this.exciting = new Exciting(context, run, kept, answers);
    this.hints = new Hints(run, (latent) => this.excite(latent));
    this.inputs = new Inputs(context, run, kept, (...input) => this.take(...input));
    const { element, values } = this.inputs;
    this.code = section(t("play.code"), answers.choose && this.choice(), this.which(), this.latents.element);
    this.output = this.outputs();
    // nothing is shown until there is an input
    for (const card of [this.output, this.code]) card.hidden = true;
    this.element = h("div", { class: values ? "playground rows" : "playground" },
      h("div", { class: "play-left" }, section(t("play.figure.input"), element, this.told),
        values && section(t("play.values"), values)),
      h("div", { class: "play-right" }, this.output, this.code));
  }

  /** The first input: a sample that the address names, one that excites its latent, a typical one. */
  start() {
    const latent = this.sample === null ? Object.keys(this.scales)[0] : undefined;
    const found = latent === undefined ? null : this.exciting.of(Number(latent)).catch(() => null);
    found?.then((one) => one ?? this.hints.unknown.add(Number(latent)));
    this.inputs.start(this.sample, found);
  }

  /** An input that excites a latent; false: none is known. */
  async excite(latent) {
    const found = await this.exciting.of(latent).catch(() => null);
    if (!found || this.left) return false;
    const given = await this.inputs.give(found, true);
    if (given) this.latents.rows.get(latent)?.slider.focus({ preventScroll: true });
    return given;
  }

  /** What the address asks for: latents switched off, and a sample. */
  read() {
    const { query } = this.context;
    const within = (latent) => /^\d+$/.test(latent) && Number(latent) < this.run.size;
    this.scales = {};
    for (const latent of (query.get("off") ?? "").split(",").filter(within)) this.scales[Number(latent)] = 0;
    for (const pair of (query.get("turn") ?? "").split(",")) {
      const [latent, scale] = pair.split(":");
      if (within(latent) && scale >= 0 && scale <= 3) this.scales[Number(latent)] = Number(scale);
    }
    this.sample = query.has("sample") ? Number(query.get("sample")) : null;
    this.exact = Boolean(this.answers.choose) && query.get("codes") === "exact";
    this.answers.choose?.(this.exact ? "exact" : "encoder");
  }

  /** Keep the address what the page shows. */
  write() {
    const all = Object.entries(this.latents.scales);
    const off = all.filter(([, scale]) => scale === 0).map(([latent]) => latent);
    const turned = all.filter(([, scale]) => scale !== 0).map(([latent, scale]) => `${latent}:${scale}`);
    const codes = this.exact ? "exact" : "";
    const parts = Object.entries({ off: off.join(","), turn: turned.join(","), sample: this.sample ?? "", codes })
      .filter(([, value]) => value !== "").map(([name, value]) => `${name}=${value}`);
    const query = parts.length ? `?${parts.join("&")}` : "";
    this.context.replace(`${this.run.name}/playground${query}`);
  }

  outputs() {
    if (!this.inputs.result) this.figures = new Figures(this.atlas.shape, (patch) => this.pick(patch));
    const shown = this.figures ?? this.inputs.result;
    return section(t("play.output"), shown.element, this.errors.element, this.hints.element);
  }

  /** Whose codes: what the encoder guesses, or the best that the atoms have. */
  choice() {
    const options = ["encoder", "exact"].map((codes) => [codes, t(`play.codes.${codes}`)]);
    const choose = (codes) => {
      this.exact = codes === "exact";
      this.answers.choose(codes);
      this.plain = null;
      this.changed();
    };
    const value = this.exact ? "exact" : "encoder";
    const told = term(t("play.codes"), t("about.codes"));
    return h("p", { class: "play-tools" }, told, menu(options, choose, { value, "aria-label": t("play.codes") }));
  }

  /** Which patch the code is of. */
  which() {
    this.patchTold = h("span");
    this.patchBack = button(t("play.patch.back"), () => this.pick(null));
    this.patchLine = h("p", { class: "play-tools", hidden: true }, this.patchTold, this.patchBack);
    return this.patchLine;
  }

  leave() {
    this.left = true;
    this.turn += 1;
    this.inputs.leave();
    clearTimeout(this.waiting);
    clearTimeout(this.writing);
  }

  /** Another input; `sample` is which of the kept samples it is, `patch` the one to choose. */
  take(input, sample, patch) {
    if (this.left) return;
    if (patch !== null || this.input?.across !== input.across) this.patch = patch;
    this.input = input;
    this.sample = sample;
    this.plain = null;
    this.changed();
  }

  pick(patch) {
    this.patch = patch;
    if (this.plain) this.draw();
  }

  changed() {
    clearTimeout(this.writing);
    // browsers take only so many addresses a second
    this.writing = setTimeout(() => this.write(), ADDRESS_PAUSE);
    if (!this.answers.pause) this.answer();
    else {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.answer(), this.answers.pause);
    }
  }

  async answer() {
    if (!this.input) return;
    this.turn += 1;
    const { turn } = this;
    const { x, n } = this.input;
    const scales = { ...this.latents.scales };
    try {
      const fresh = !this.plain;
      const plain = this.plain ?? (await this.answers.ask(x, n, {}));
      const turned = Object.keys(scales).length ? await this.answers.ask(x, n, scales) : plain;
      if (turn !== this.turn) return;
      Object.assign(this, { plain, turned });
      this.told.textContent = "";
      this.draw(fresh);
    } catch (error) {
      if (turn === this.turn) this.told.textContent = error.message;
    }
  }

  draw(fresh = true) {
    const { input, plain, turned, patch } = this;
    if (this.figures) {
      this.figures.patch = patch;
      const { low, high } = this.play;
      this.figures.draw(input, plain, turned, this.play.input === "patches" ? null : [low, high]);
    }
    this.inputs.result?.draw(input.x, plain, turned);
    this.hints.tell(plain.code, this.latents.scales, patch);
    for (const card of [this.output, this.code]) card.hidden = false;
    if (!this.atlas.transcoder) this.errors.tell(plain, turned, input.n, patch);
    if (fresh) this.showCode();
  }

  showCode() {
    const { input, plain, patch } = this;
    const m = this.run.size;
    const all = patch === null;
    const rows = all ? plain.code : plain.code.subarray(patch * m, (patch + 1) * m);
    this.latents.show(Float32Array.from(columnsOf(rows, m), ({ mean }) => mean));
    this.patchLine.hidden = !input.across;
    this.patchBack.hidden = all;
    const place = { row: Math.floor(patch / input.across) + 1, column: (patch % input.across) + 1 };
    this.patchTold.textContent = all ? t("play.patch.all", { n: input.n }) : t("play.patch.one", place);
  }
}
