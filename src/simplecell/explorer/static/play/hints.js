/** Says so when a latent that is switched off was hardly active, and offers an input where it is. */

import { button, fill, h } from "../lib/dom.js";
import { t } from "../lib/words.js";

const IDLE = 0.01; // of the strongest code
const IDLE_DENSE = 0.05; // where codes are never exactly 0, all rest a little above it
const MOST = 3;

/** A line a latent; `element` is empty where every change can be seen. */
export class Hints {
  /**
   * @param {function(number): Promise<boolean>} show an input that excites a latent; false: none is known
   */
  constructor(run, show) {
    Object.assign(this, { run, show });
    this.unknown = new Set();
    this.told = "";
    this.element = h("div", { class: "play-hints", role: "status" });
  }

  /**
   * @param {Float32Array} code of the input, [n, M]
   * @param {number|null} patch the one that is meant; null: all
   */
  tell(code, scales, patch) {
    const { size } = this.run;
    const rows = patch === null ? code : code.subarray(patch * size, (patch + 1) * size);
    const off = Object.keys(scales).map(Number).filter((latent) => scales[latent] === 0);
    const idle = off.length ? hardlyActive(this.run, rows, off).slice(0, MOST) : [];
    const told = idle.map((latent) => `${latent}${this.unknown.has(latent)}`).join();
    if (told === this.told) return; // a button that has the focus keeps it
    this.told = told;
    fill(this.element, idle.map((latent) => this.line(latent)));
  }

  line(latent) {
    const n = String(latent);
    const none = this.unknown.has(latent);
    const show = button(t("play.idle.show", { n }), () => this.wanted(latent));
    const words = `${t("play.idle", { n })} ${none ? t("play.idle.none") : ""}`;
    return h("p", {}, h("span", {}, words), " ", !none && show);
  }

  async wanted(latent) {
    if (await this.show(latent)) return;
    this.unknown.add(latent);
    this.told = "";
    fill(this.element, this.line(latent));
  }
}

/** Those of some latents whose codes are next to nothing: beside the strongest, and their own. */
function hardlyActive({ atlas, size, columns }, code, latents) {
  const strongest = code.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
  const least = atlas.sparse ? IDLE : IDLE_DENSE;
  return latents.filter((latent) => {
    let own = 0;
    for (let at = latent; at < code.length; at += size) own = Math.max(own, Math.abs(code[at]));
    return own < least * Math.max(strongest, columns.max?.[latent] || 0);
  });
}
