/** While a run is trained on: says how old its tiles are, and waits for newer ones. */

import { announce, button, fill, h } from "../lib/dom.js";
import { count, known } from "../lib/numbers.js";
import { t } from "../lib/words.js";

const WAIT = 5000;

/** Asks now and then for the manifest of a run that was running when its tiles were made. */
export class Follower {
  /** `keep` is called before the page is loaded again. */
  constructor(store, keep) {
    Object.assign(this, { store, keep, run: null, timer: 0 });
    this.element = h("li", { class: "status", role: "status" });
  }

  /** Follow this run, or none; `row` is what the list of runs says of it. */
  watch(run, row) {
    clearTimeout(this.timer);
    this.run = run?.atlas.status === "running" ? run : null;
    if (!this.run) return;
    this.#say(row?.status);
    if (this.store.mode === "server") this.timer = setTimeout(() => this.#look(run), WAIT);
  }

  #say(status) {
    const { n_iter: step } = this.run.atlas;
    const since = t(status === "running" || !status ? "follow.running" : "follow.ended");
    const made = known(step) ? t("follow.made", { n: count(step) }) : t("follow.early");
    const words = `${made}; ${since}`;
    if (this.element.textContent !== words) fill(this.element, words);
  }

  async #look(run) {
    const { store } = this;
    const [atlas, list] = await Promise.all([store.get(`${run.name}/`), store.get("")]).catch(() => [null]);
    if (run !== this.run) return;
    if (atlas && (atlas.key !== run.atlas.key || atlas.status !== run.atlas.status)) {
      this.#news();
      return;
    }
    if (list) this.#say(list.runs.find(({ name }) => name === run.name)?.status);
    this.timer = setTimeout(() => this.#look(run), WAIT);
  }

  /** A new page at once, unless somebody is at work in this one. */
  #news() {
    const reload = () => {
      this.keep();
      location.reload();
    };
    const busy = document.querySelector("dialog[open], .playground")
      || document.activeElement?.closest("input, textarea, select");
    if (!busy) {
      reload();
      return;
    }
    fill(this.element, t("follow.news"), " ", button(t("follow.show"), reload));
    announce(t("follow.news"));
  }
}
