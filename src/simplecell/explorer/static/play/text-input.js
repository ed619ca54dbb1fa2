/** A text that a person types: the function that `explore --embed` named makes it a row. */

import { button, h } from "../lib/dom.js";
import { t } from "../lib/words.js";

const LONGEST = 20000; // characters that the server takes

/** A text area and its button; of several texts, and of whatever else is chosen, the last counts. */
export class TextInput {
  /**
   * @param {function(string): Promise<number[]>} embed asked for one text at a time
   * @param {function(): void} begun called when a text is asked for
   * @param {function(Float64Array): void} given called with its row
   */
  constructor(embed, begun, given) {
    Object.assign(this, { embed, begun, given, turn: 0, waiting: null, awaited: false, busy: false });
    this.area = h("textarea", {
      id: "play-text", rows: "4", maxlength: LONGEST, "aria-describedby": "play-text-keys",
      "aria-keyshortcuts": "Control+Enter Meta+Enter",
      on: { keydown: (event) => this.key(event), input: () => this.edited() },
    });
    this.state = h("span", { class: "hint", role: "status" });
    this.told = h("p", { class: "play-told", role: "alert" });
    this.element = h("div", { class: "play-text" },
      h("h3", {}, h("label", { for: "play-text" }, t("play.text"))), this.area,
      h("div", { class: "play-tools" }, button(t("play.text.send"), () => this.send()),
        h("span", { class: "hint", id: "play-text-keys" }, t("play.text.keys")), this.state, this.told));
  }

  key(event) {
    if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.send();
  }

  /** What is said is about the text before. */
  edited() {
    if (!this.awaited) this.tell("");
  }

  /** Another input was chosen: no answer is waited for any longer. */
  drop() {
    this.turn += 1;
    this.waiting = null;
    this.awaited = false;
    this.tell("");
  }

  tell(state, wrong = "") {
    this.state.textContent = state;
    this.told.textContent = wrong;
  }

  async send() {
    this.drop();
    const text = this.area.value;
    if (!text.trim()) {
      this.tell("", t("play.text.empty"));
      return;
    }
    this.begun();
    this.waiting = text;
    this.awaited = true;
    this.tell(t("play.text.busy"));
    if (this.busy) return; // the loop below comes to it
    this.busy = true;
    while (this.waiting !== null) await this.ask();
    this.busy = false;
  }

  async ask() {
    const { waiting: text, turn } = this;
    this.waiting = null;
    const answer = await this.embed(text).then((x) => ({ x }), (error) => ({ error }));
    if (turn !== this.turn) return;
    this.awaited = false;
    if (answer.error) this.tell("", answer.error.message);
    else {
      this.given(Float64Array.from(answer.x));
      const known = answer.x.some((value) => value !== 0);
      this.tell(t(known ? "play.text.done" : "play.text.nothing"));
    }
  }
}
