/** One run as the pages use it: its manifest, a column of numbers per figure, its sprites. */

const USUAL_DIGITS = 4;
const opened = new Map();

/** Open a run of a store once; asked again, the same. */
export function openRun(store, name) {
  if (!opened.has(name)) {
    const parts = [store.get(`${name}/`), store.bytes(`${name}/files/columns.bin`)];
    const run = Promise.all(parts).then((read) => new Run(store, name, ...read));
    opened.set(name, run);
    run.catch(() => opened.delete(name));
  }
  return opened.get(name);
}

/** A run: `atlas` (manifest), `columns` (name to Float32Array), `notes` and `names` (by number). */
export class Run {
  constructor(store, name, atlas, bytes) {
    this.store = store;
    this.name = name;
    this.atlas = atlas;
    this.size = atlas.n_latents;
    this.notes = atlas.notes ?? {};
    this.names = atlas.names ?? {};
    this.columns = namedColumns(atlas, bytes);
    this.sheets = [];
    this.ready = null;
  }

  /** The value of a column for a latent; NaN where there is none. */
  value(column, latent) {
    return this.columns[column]?.[latent] ?? NaN;
  }

  /** What a person calls a latent; "" where nobody named it, or other weights were meant. */
  nameOf(latent) {
    const named = this.names[latent];
    return named && !named.stale ? named.name : "";
  }

  /** What stands for a latent in a few words: its name, or what the atlas found. */
  wordsOf(latent) {
    return this.nameOf(latent) || (this.atlas.tags[latent] ?? "");
  }

  /** Whether a latent never does anything; codes that are never 0 know no such thing. */
  isDead(latent) {
    if (!this.knowsDead) return false;
    const { density, max } = this.columns;
    return density ? density[latent] === 0 : max?.[latent] === 0;
  }

  /** Whether a latent is never active, or, of codes that are never 0, never above the middle. */
  isStill(latent) {
    return this.knowsDead ? this.isDead(latent) : this.columns.density?.[latent] === 0;
  }

  /** How many latents are still. */
  get still() {
    let found = 0;
    for (let i = 0; i < this.size; i += 1) found += this.isStill(i) ? 1 : 0;
    return found;
  }

  get knowsDead() {
    return Boolean(this.atlas.sparse);
  }

  /** Inputs of a row that is drawn as one strip, from the sprite's rows side by side; else 0. */
  get strip() {
    const { look, n_inputs: n, sprites } = this.atlas;
    return look === "row" && sprites && !this.pictured && n <= 64 ? n : 0;
  }

  /** Whether rows were made of pictures, which then stand for them. */
  get pictured() {
    return this.atlas.look === "row" && this.atlas.photos?.length > 0;
  }

  /** The numbers of samples.bin, in as many bits as they need; none where it is not here. */
  samplesOf(bytes) {
    return this.atlas.sample_bits === 64 ? new Float64Array(bytes ?? 0) : new Float32Array(bytes ?? 0);
  }

  /** Significant digits that tell the values of an input apart. */
  digitsOf(name) {
    const { digits = {} } = this.atlas; // an atlas of an earlier version has none
    return Object.hasOwn(digits, name) ? digits[name] : USUAL_DIGITS;
  }

  /** Counts of a latent's code in equal steps from `low` to `high`. */
  histogram(latent) {
    const { bins } = this.atlas.histogram;
    return this.columns.histogram.subarray(latent * bins, (latent + 1) * bins);
  }

  /** Load the sheets of tiles; `then` is called when all have come. */
  loadSheets(then) {
    const files = this.atlas.sprites?.sheets ?? [];
    this.ready ??= Promise.all(files.map((file, k) => this.#loadSheet(file, k)));
    this.ready.then(then, () => {});
  }

  async #loadSheet(file, k) {
    const image = new Image();
    image.src = this.store.imageUrl(`${this.name}/files/${file}`);
    await image.decode();
    // a bitmap stays decoded while one scrolls, an image may not
    this.sheets[k] = await createImageBitmap(image).catch(() => image);
  }

  /** The part of a sheet that shows a latent: {image, x, y, width, height}; null before it came. */
  sprite(latent) {
    const { tile, per_row: perRow, per_sheet: perSheet } = this.atlas.sprites ?? {};
    if (!tile) return null;
    const image = this.sheets[Math.floor(latent / perSheet)];
    if (!image) return null;
    const place = latent % perSheet;
    const [height, width] = tile;
    const y = Math.floor(place / perRow) * height;
    return { image, x: (place % perRow) * width, y, width, height };
  }
}

function namedColumns(atlas, bytes) {
  const all = new Float32Array(bytes);
  const m = atlas.n_latents;
  const columns = {};
  atlas.columns.forEach((name, k) => {
    columns[name] = all.subarray(k * m, (k + 1) * m);
  });
  columns.histogram = all.subarray(atlas.columns.length * m);
  return columns;
}
