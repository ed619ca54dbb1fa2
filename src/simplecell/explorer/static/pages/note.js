/** What a person says of a latent, kept in the run's directory: a note, and a name. */

import { h } from "../lib/dom.js";
import { t } from "../lib/words.js";

const LONGEST = 10000;
const LONGEST_NAME = 80;
const WAIT = 1200;

/**
 * What a person writes about a latent, in a field or, where nothing can be saved, as words.
 * @param {{text: string, stale: boolean}|null} note
 */
export function noteField(context, run, latent, note) {
  const first = note?.text ?? run.notes[latent]?.text ?? "";
  if (!canWrite(context, run)) {
    const words = first || t(run.atlas.notes_error ? "note.broken" : "note.none");
    return h("p", { class: first ? "note" : "quiet" }, words);
  }
  const area = h("textarea", {
    rows: "4", maxlength: LONGEST, value: first, "aria-label": t("latent.note"),
    placeholder: t("note.hint"),
  });
  const take = ({ note: kept }) => {
    if (kept) run.notes[latent] = kept;
    else delete run.notes[latent];
    return Boolean(kept);
  };
  const path = `${run.name}/latent/${latent}/note`;
  return field({ context, area, path, key: "text", take, first, stale: note?.stale && "note.stale" });
}

/**
 * What a person calls a latent, in a line of its own or, where nothing can be saved, as words.
 * @param {{name: string, stale: boolean}|null} named
 */
export function nameField(context, run, latent, named) {
  const first = named?.name ?? "";
  if (!canWrite(context, run)) {
    return h("p", { class: first ? "note" : "quiet" }, first || t("name.none"));
  }
  const line = h("input", {
    type: "text", maxlength: LONGEST_NAME, value: first, "aria-label": t("latent.called"),
    placeholder: t("name.hint"), autocomplete: "off", spellcheck: "false",
  });
  const take = ({ name: kept }) => {
    if (kept) run.names[latent] = kept;
    else delete run.names[latent];
    document.querySelector(".heading .called").textContent = kept ? `: ${kept.name}` : "";
    return Boolean(kept);
  };
  const path = `${run.name}/latent/${latent}/name`;
  // half a name is a name of its own, and may be another latent's: no saving while one types
  return field({ context, area: line, path, key: "name", take, first, stale: named?.stale && "note.stale", waits: true });
}

function canWrite(context, run) {
  return context.store.writable && run.atlas.writable !== false;
}

/** The field with its button, and a word on whether it is saved. */
function field({ stale, ...kept }) {
  const state = h("span", { class: "state", role: "status" }, stale ? t(stale) : "");
  const save = h("button", { type: "button" }, t(kept.waits ? "name.save" : "note.save"));
  // what was said of other weights is said again by saving it as it is
  keep({ ...kept, save, state, saved: stale ? null : kept.first, last: kept.first && "note.saved" });
  const look = `notefield ${kept.waits ? "named" : "noted"}`;
  return h("div", { class: look }, kept.area, h("div", { class: "row" }, save, state));
}

/** Saves on the button, on leaving the field, and, unless it `waits`, after the last letter. */
function keep(kept) {
  const { area, save, state } = kept;
  // one after the other: leaving the field and pressing the button come together
  let turn = Promise.resolve();
  const write = () => (turn = turn.then(() => store(kept)));
  save.addEventListener("click", write);
  area.addEventListener("change", write);
  area.addEventListener("input", () => {
    state.textContent = t("note.unsaved");
    clearTimeout(kept.waiting);
    if (!kept.waits) kept.waiting = setTimeout(write, WAIT);
  });
}

async function store(kept) {
  const { context, area, state, path, key } = kept;
  clearTimeout(kept.waiting);
  const text = area.value.trim();
  if (text === kept.saved) {
    state.textContent = kept.last ? t(kept.last) : "";
    state.classList.remove("wrong");
    return;
  }
  state.textContent = t("note.saving");
  state.classList.remove("wrong");
  try {
    const there = kept.take(await context.store.post(path, { [key]: text }));
    kept.saved = text;
    kept.last = there ? "note.saved" : "note.removed";
    state.textContent = t(kept.last);
  } catch (error) {
    state.classList.add("wrong");
    state.textContent = t("note.failed", { why: error.message });
  }
}
