/** A note about a latent, kept in the run's directory. */

import { h } from "../lib/dom.js";
import { t } from "../lib/words.js";

const LONGEST = 10000;
const WAIT = 1200;

/**
 * What a person writes about a latent, in a field or, where nothing can be saved, as words.
 * @param {{text: string, stale: boolean}|null} note
 */
export function noteField(context, run, latent, note) {
  const writable = context.store.writable && run.atlas.writable !== false;
  const first = note?.text ?? run.notes[latent]?.text ?? "";
  if (!writable) {
    const words = first || t(run.atlas.notes_error ? "note.broken" : "note.none");
    return h("p", { class: first ? "note" : "quiet" }, words);
  }
  const state = h("span", { class: "state", role: "status" }, note?.stale ? t("note.stale") : "");
  const area = h("textarea", {
    rows: "4", maxlength: LONGEST, value: first, "aria-label": t("latent.note"),
    placeholder: t("note.hint"),
  });
  const save = h("button", { type: "button" }, t("note.save"));
  keep({ context, run, latent, area, save, state, saved: first, last: first && "note.saved" });
  return h("div", { class: "notefield" }, area, h("div", { class: "row" }, save, state));
}

/** Saves on the button, on leaving the field, and a moment after the last letter. */
function keep(field) {
  const { area, save, state } = field;
  // one after the other: leaving the field and pressing the button come together
  let turn = Promise.resolve();
  const write = () => (turn = turn.then(() => store(field)));
  save.addEventListener("click", write);
  area.addEventListener("change", write);
  area.addEventListener("input", () => {
    state.textContent = t("note.unsaved");
    clearTimeout(field.waiting);
    field.waiting = setTimeout(write, WAIT);
  });
}

async function store(field) {
  const { context, run, latent, area, state } = field;
  clearTimeout(field.waiting);
  const text = area.value.trim();
  if (text === field.saved) {
    state.textContent = field.last ? t(field.last) : "";
    return;
  }
  state.textContent = t("note.saving");
  state.classList.remove("wrong");
  try {
    const { note } = await context.store.post(`${run.name}/latent/${latent}/note`, { text });
    field.saved = text;
    if (note) run.notes[latent] = note;
    else delete run.notes[latent];
    field.last = note ? "note.saved" : "note.removed";
    state.textContent = t(field.last);
  } catch (error) {
    state.classList.add("wrong");
    state.textContent = t("note.failed", { why: error.message });
  }
}
