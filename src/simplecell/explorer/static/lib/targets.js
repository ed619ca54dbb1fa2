/** What the records say of samples, and what latents have to do with it. */

const SURE = 0.05; // q up to which an effect is a discovery

/**
 * A target of numbers, or a class of one.
 * @typedef {{target: any, at: number, place: number, label: string, main: string, middle: number}} Asked
 */

/**
 * All that the latents of a run may be held against, in order.
 * @returns {Asked[]}
 */
export function askedOf(run) {
  const tested = run.atlas.targets?.tested ?? []; // an atlas of an earlier version has none
  const all = tested.flatMap((target) => {
    const number = target.kind === "number";
    const named = (name) => (name === "True" ? target.name : `${target.name} = ${name}`);
    const names = number ? [target.name] : target.classes.map(named);
    return names.map((label, at) => ({
      target, at, label, main: number ? "rank_correlation" : "auc", middle: number ? 0 : 0.5,
    }));
  });
  return all.map((asked, place) => ({ ...asked, place }));
}

/**
 * The figures of a run's targets, loaded once: a function that gives a column of numbers.
 * @returns {Promise<(asked: Asked, name: string) => Float32Array|null>} null: there is no such figure
 */
export function loadEffects(run) {
  run.figures ??= run.store.bytes(`${run.name}/files/targets.bin`).then((bytes) => {
    const all = new Float32Array(bytes);
    return ({ target, at }, name) => {
      const place = target.figures.indexOf(name);
      if (place < 0) return null;
      const first = target.at + (place * Math.max(1, target.classes.length) + at) * run.size;
      return all.subarray(first, first + run.size);
    };
  });
  return run.figures;
}

/** How far each latent's effect is from none: what "strongest" means. */
export function strengthOf(values, { middle }) {
  return values.map((value) => Math.abs(value - middle));
}

/**
 * Which latents go with a target surely, and which of these do on held-out samples too.
 * @param {(asked: Asked, name: string) => Float32Array} figures
 * @returns {{found: Uint8Array, holding: Uint8Array}} 1 or 0 of each latent
 */
export function sureOf(figures, asked) {
  const [q, holds] = [figures(asked, "q"), figures(asked, "holds")];
  const found = Uint8Array.from(q, (value) => (value <= SURE ? 1 : 0));
  return { found, holding: found.map((one, latent) => (one && holds[latent] === 1 ? 1 : 0)) };
}

/** What a person types to ask the same of the whole run. */
export function commandFor(run, { target }) {
  const { group } = run.atlas;
  const kept = group ? ` --group ${quoted(group)}` : "";
  return `simplecell explain ${run.atlas.title ?? run.name} DATA --target ${quoted(target.name)}${kept}`;
}

/** A word as a shell takes it. */
function quoted(word) {
  return /^[\w.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
