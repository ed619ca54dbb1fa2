/** Two runs side by side: which latents are the same, and what only one of them has. */

import { openRun } from "../lib/atlas.js";
import { button, fill, h, menu, section, table, tableRow, term } from "../lib/dom.js";
import { cosine, figure, known, percent } from "../lib/numbers.js";
import { byComponents, ofComponents, plane } from "./runs.js";
import { tileLink } from "../lib/tiles.js";
import { t } from "../lib/words.js";

const PAGE = 24;
const MOST_ALONE = 200;

/** @param {import("../app.js").Context} context args: [name of the other run] */
export async function showCompare(context) {
  const { runs, name, root } = context;
  const named = context.args[0] || undefined;
  const strange = named !== undefined && !runs.some((one) => one.name === named);
  const other = (strange ? undefined : named) ?? runs.find((one) => one.name !== name)?.name ?? name;
  root.append(h("h1", { tabindex: "-1" }, t("compare.title")));
  if (runs.length < 2) {
    root.append(h("p", { class: "notice" }, t("compare.single"), " ", h("code", {}, `simplecell explore ${name} …`)));
    return;
  }
  if (strange) root.append(h("p", { class: "notice", role: "alert" }, t("compare.strange", { name: named })));
  else if (!named) context.replace(`${name}/compare/${other}`);
  root.append(h("p", { class: "lead" }, t("compare.lead")), choices(context, name, other));
  if (other === name) root.append(h("p", { class: "notice" }, t("compare.same")));
  else await compared(context, name, other);
  root.append(section(t("compare.plane"), plane(context, runs, [name, other])));
}

function choices(context, name, other) {
  const names = context.runs.map((one) => [one.name, one.name]);
  const choice = (value, key, path) => h(
    "label", {}, h("span", {}, t(key)), menu(names, (chosen) => context.go(path(chosen)), { value }));
  return h(
    "div", { class: "choices" },
    choice(name, "compare.first", (chosen) => `${chosen}/compare/${chosen === other ? name : other}`),
    choice(other, "compare.second", (chosen) => `${name}/compare/${chosen}`),
  );
}

async function compared(context, name, other) {
  let told;
  try {
    told = await context.store.get(`${name}/compare/${other}`);
  } catch (error) {
    context.root.append(h("p", { class: "notice" }, error.message));
    return;
  }
  const runs = await Promise.all([name, other].map((one) => openRun(context.store, one)));
  context.root.append(
    figures(told),
    section(term(t("compare.pairs"), t("about.pairs")), meaning(told), pairs(context, runs, told)),
    alone(context, runs[0], told.only_first), alone(context, runs[1], told.only_second),
  );
}

/** Whether the numbers of the pairs have signs: those of a matching without may lack them. */
function hasSigns({ signed, pairs: all }) {
  return signed !== false || all.some(([, , value]) => value < 0);
}

/** What the numbers are about, as it is not what the tiles show. */
function meaning(told) {
  const how = t(hasSigns(told) ? "compare.keeps" : "compare.loses");
  const unsigned = told.signed === false && t("compare.unsigned", { told: how });
  return h("p", { class: "quiet" }, t("compare.meaning"), " ", unsigned);
}

function figures(told) {
  const [one, two] = told.runs;
  const line = (key, first, second, about = key) =>
    tableRow(term(t(`word.${key}`), t(`about.${about}`)), [first, second]);
  const rows = [
    line("latents", figure(one.n_latents), figure(two.n_latents)),
    line("activation", one.activation ?? "–", two.activation ?? "–"),
    line("fvu", figure(one.fvu), figure(two.fvu)),
    (ofComponents(one) || ofComponents(two)) && line("pca", byComponents(one), byComponents(two)),
    (known(one.l0) || known(two.l0)) && line("l0", figure(one.l0), figure(two.l0)),
    line("nearest", cosine(told.mean_max_first), cosine(told.mean_max_second), "nearest.mean"),
    line("alone", figure(told.only_first.length), figure(told.only_second.length)),
  ];
  const shares = { share: percent(told.share), cosine: cosine(told.mean_cosine) };
  const share = known(told.share) && t("compare.share", shares);
  return section(
    t("compare.figures"),
    table("figuretable", ["", one.name, two.name], rows),
    share && h("p", {}, share),
  );
}

/** The cosine of a pair with its sign; without one where the server's has none. */
function likeness(value, signed) {
  const sign = signed && value > 0 ? "+" : "";
  return h("span", { class: "cosine" }, sign + cosine(value), value < 0 && h("small", {}, t("compare.opposite")));
}

/** Matched latents, a page at a time, by their cosine. */
function pairs(context, [one, two], found) {
  const signed = hasSigns(found);
  const all = [...found.pairs].sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
  const place = h("div", { class: "matched" });
  const told = h("span", { role: "status" });
  let page = 0;
  let down = true;
  const last = Math.max(0, Math.ceil(all.length / PAGE) - 1);
  const draw = () => {
    const order = down ? all : [...all].reverse();
    fill(place, order.slice(page * PAGE, (page + 1) * PAGE).map(([first, second, value]) => h(
      "div", { class: "match" }, tileLink(context, one, first, "", 64),
      likeness(value, signed), tileLink(context, two, second, "", 64))));
    told.textContent = t("compare.page", { page: page + 1, of: last + 1 });
    turn.textContent = t(down ? "compare.down" : "compare.up");
    before.disabled = page === 0;
    after.disabled = page === last;
  };
  const move = (to) => {
    page = to;
    draw();
  };
  const turn = button("", () => {
    down = !down;
    move(0);
  });
  const before = button("‹", () => move(page - 1), { "aria-label": t("compare.before") });
  const after = button("›", () => move(page + 1), { "aria-label": t("compare.after") });
  draw();
  if (!all.length) return h("p", {}, t("compare.none"));
  return [h("div", { class: "choices" }, turn, before, told, after), place];
}

function alone(context, run, latents) {
  const shown = latents.slice(0, MOST_ALONE);
  const title = term(t("compare.only", { name: run.name, n: latents.length }), t("about.alone"));
  const rest = latents.length - shown.length;
  return section(
    title,
    latents.length
      ? h("div", { class: "tiles" }, shown.map((latent) => tileLink(context, run, latent, "", 56)))
      : h("p", { class: "quiet" }, t("compare.nothing")),
    rest > 0 && h("p", { class: "quiet" }, t("compare.rest", { n: rest })),
  );
}
