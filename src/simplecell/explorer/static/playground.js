/** The playground: an input, its code, its reconstruction, and latents to turn. */

import { openRun } from "./atlas.js";
import { fill, h, section } from "./dom.js";
import { load } from "./engine.js";
import { Errors, Figures } from "./play-figures.js";
import { Inputs } from "./play-inputs.js";
import { Latents } from "./play-latents.js";
import { say } from "./play-say.js";

const PAUSE = 150; // milliseconds of quiet before a server is asked
const ADDRESS_PAUSE = 300;
const MOST_PATCHES = 144;
const MOST_NUMBERS = 2 ** 20;

/**
 * Fill the page.
 * @param {any} context
 * @returns {Promise<function(): void>} to call when the page is left
 */
export async function show(context) {
  const { store, run: name, root, atlas } = context;
  const title = h("h1", { tabindex: "-1" }, say("play.title"));
  const [play, run] = await Promise.all([store.get(`${name}/playground`), openRun(store, name)]);
  if (!play.here && store.mode !== "server") {
    const reason = say("play.missing", { reason: play.reason });
    fill(root, title, h("p", { class: "notice" }, `${reason} ${say("play.missing.serve")}`));
    return () => {};
  }
  const bytes = (file) => store.bytes(`${name}/files/${file}`);
  const [samples, weights] = await Promise.all([bytes("samples.bin"), play.here && bytes("weights.bin")]);
  const answers = play.here ? inBrowser(load(play, weights)) : onServer(store, name, atlas);
  const page = new Playground(context, run, play, new Float32Array(samples), answers);
  fill(root, title, h("p", {}, say("play.lead")), page.element);
  page.inputs.start(page.sample);
  return () => page.leave();
}

/** Answers from the run's own weights. */
function inBrowser(engine) {
  return { ask: async (x, n, scales) => engine.run(x, n, scales), most: MOST_PATCHES };
}

/** Answers from Python; only the last of several questions is asked. */
function onServer(store, name, atlas) {
  const width = atlas.n_inputs;
  const ask = async (x, n, scales) => {
    const one = (_, row) => Array.from(x.subarray(row * width, (row + 1) * width));
    const rows = Array.from({ length: n }, one);
    const { code, recon, prepared, prepared_recon: preparedRecon } =
      await store.post(`${name}/play`, { x: rows, scale: scales });
    const flat = (parts) => Float32Array.from(parts.flat());
    return {
      code: flat(code), recon: flat(recon), prepared: flat(prepared), preparedRecon: flat(preparedRecon),
    };
  };
  const most = Math.min(MOST_PATCHES, Math.floor(MOST_NUMBERS / (atlas.n_latents + 3 * width)));
  return { ask, most: Math.max(1, most), pause: PAUSE };
}

class Playground {
  constructor(context, run, play, samples, answers) {
    Object.assign(this, { context, run, play, answers });
    this.atlas = context.atlas;
    // what a transcoder gives is no picture of its input
    this.picture = this.atlas.look === "picture" && !this.atlas.transcoder;
    this.turn = 0;
    this.patch = null;
    this.input = null;
    this.plain = null;
    this.read();
    this.latents = new Latents(context, run, this.scales, () => this.changed());
    this.errors = new Errors(play, this.atlas.figures);
    this.told = h("p", { class: "play-told", role: "alert" });
    const kept = { play, samples, most: answers.most };
    this.inputs = new Inputs(context, kept, (input, sample) => this.take(input, sample));
    const code = section(say("play.code"), this.which(), this.latents.element);
    this.element = h("div", { class: this.picture ? "playground" : "playground rows" },
      section(say("play.input"), this.inputs.element),
      h("div", { class: "play-right" }, this.outputs(), code));
  }

  /** What the address asks for: latents switched off, and a sample. */
  read() {
    const query = this.context.query ?? new URLSearchParams(location.search);
    const within = (latent) => /^\d+$/.test(latent) && Number(latent) < this.run.size;
    this.scales = {};
    for (const latent of (query.get("off") ?? "").split(",").filter(within)) this.scales[Number(latent)] = 0;
    for (const pair of (query.get("turn") ?? "").split(",")) {
      const [latent, scale] = pair.split(":");
      if (within(latent) && scale >= 0 && scale <= 3) this.scales[Number(latent)] = Number(scale);
    }
    this.sample = query.has("sample") ? Number(query.get("sample")) : null;
  }

  /** Keep the address what the page shows. */
  write() {
    const all = Object.entries(this.latents.scales);
    const off = all.filter(([, scale]) => scale === 0).map(([latent]) => latent);
    const turned = all.filter(([, scale]) => scale !== 0).map(([latent, scale]) => `${latent}:${scale}`);
    const parts = [
      off.length && `off=${off.join(",")}`,
      turned.length && `turn=${turned.join(",")}`,
      this.sample !== null && `sample=${this.sample}`,
    ].filter(Boolean);
    const query = parts.length ? `?${parts.join("&")}` : "";
    this.context.replace?.(`${this.run.name}/playground${query}`);
  }

  outputs() {
    if (!this.picture) {
      return section(say("play.output"), this.inputs.row.result, this.errors.element, this.told);
    }
    this.figures = new Figures(this.atlas.shape, (patch) => this.pick(patch));
    return section(say("play.output"), this.figures.element, this.errors.element, this.told);
  }

  /** Which patch the code is of. */
  which() {
    const back = () => this.pick(null);
    this.patchTold = h("span");
    this.patchBack = h("button", { type: "button", on: { click: back } }, say("play.patch.back"));
    this.patchLine = h("p", { class: "play-tools", hidden: true }, this.patchTold, this.patchBack);
    return this.patchLine;
  }

  leave() {
    this.turn += 1;
    this.inputs.leave();
    clearTimeout(this.waiting);
    clearTimeout(this.writing);
  }

  /** Another input; `sample` is which of the kept samples it is, or null. */
  take(input, sample) {
    if (this.input?.across !== input.across) this.patch = null;
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
      this.figures.draw(input, plain, turned, this.play.input === "patches" ? null : { low, high });
    }
    this.inputs.row?.draw(plain, turned);
    if (!this.atlas.transcoder) this.errors.tell(plain, turned, input.n, patch);
    if (fresh) this.showCode();
  }

  showCode() {
    const { input, plain, patch } = this;
    const m = this.run.size;
    let code = plain.code.slice((patch ?? 0) * m, ((patch ?? 0) + 1) * m);
    if (patch === null && input.n > 1) {
      code = code.map((_, latent) => {
        let sum = 0;
        for (let row = 0; row < input.n; row += 1) sum += plain.code[row * m + latent];
        return sum / input.n;
      });
    }
    this.latents.show(code);
    this.patchLine.hidden = !input.across;
    this.patchBack.hidden = patch === null;
    const place = { row: Math.floor(patch / input.across) + 1, column: (patch % input.across) + 1 };
    const all = patch === null;
    this.patchTold.textContent = all ? say("play.patch.all", { n: input.n }) : say("play.patch.one", place);
  }
}
