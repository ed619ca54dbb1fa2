/** What a person gives: a drawing, a picture, a region of a photograph, a sample, a row. */

import { columnsOf } from "../lib/columns.js";
import { button, fill, h } from "../lib/dom.js";
import { DrawingSurface, centred } from "./drawing.js";
import { typicalSample } from "./excite.js";
import { FileInput } from "./file-input.js";
import { Region } from "./region.js";
import { samplePicker } from "./sample-picker.js";
import { t } from "../lib/words.js";
import { Compared, EditedRow, Targets } from "./values.js";
import { TextInput } from "./text-input.js";
import { sampleFigure } from "../lib/sample.js";
import { bytesOf } from "../lib/store.js";
import { inRange, readPicture, resized, toGrey } from "./pictures.js";

const PHOTO_HEIGHT = 52;

/** The parts of a page that make inputs; each new input is given away. */
export class Inputs {
  /**
   * @param {{play: any, samples: Float32Array|Float64Array, most: number}} kept samples in input units; patches
   *   that may be asked for at once
   * @param {function({x: Float32Array|Float64Array, n: number, across: number}, number|null, number|null): void}
   *   given an input (patches side by side, or 0), which of the kept samples it is, and the patch to
   *   choose
   */
  constructor(context, run, { play, samples, most }, given) {
    Object.assign(this, { context, run, play, samples, most, atlas: run.atlas, turn: 0 });
    this.width = this.atlas.n_inputs;
    this.given = (input, sample = null, patch = null) => {
      this.turn += 1;
      this.text?.drop();
      this.picker.mark(sample);
      given(input, sample, patch);
    };
    // what a transcoder gives is no picture of its input
    const drawn = this.atlas.look === "picture" && !this.atlas.transcoder;
    this.kind = drawn ? play.input : "row";
    this.picker = samplePicker(play, this.atlas, (place) => this.choose(place));
    this.words = h("div", { class: "play-words" });
    this.values = this.kind === "row" ? this.table() : null;
    this.element = h("div", {}, this.parts());
  }

  parts() {
    if (this.kind === "row") {
      if (this.play.embeds) this.text = this.texts();
      return [this.text?.element, this.picker.element, this.words];
    }
    this.file = new FileInput(this.context.root, (picture, jpeg) =>
      this.opened(picture, jpeg && this.halves(picture) ? 2 : 1));
    const parts = [this.picker.element, this.file.element];
    if (this.kind === "digit") {
      this.pad = new DrawingSurface((ink) => this.drawn(ink));
      return [this.pad.element, ...parts];
    }
    return this.kind === "patches" ? [this.photographs(), ...parts] : parts;
  }

  /**
   * The first input of a page.
   * @param {number|null} sample that is asked for
   * @param {Promise<import("./excite.js").Found|null>|null} found what excites a latent
   */
  async start(sample, found) {
    if (this.play.samples[sample]) {
      this.choose(sample);
      return;
    }
    const { turn } = this;
    const input = await found;
    if (turn !== this.turn) return; // a person was faster
    if (input && (await this.give(input, true))) return;
    await this.typical();
  }

  /**
   * An input that was found.
   * @param {import("./excite.js").Found} found
   * @param {boolean} chosen whether the code is that of its patch alone
   * @returns {Promise<boolean>} whether it could be used
   */
  async give({ photo, sample, x }, chosen) {
    if (photo) {
      const own = this.region && this.atlas.photos?.[photo.photo];
      return Boolean(own) && this.photograph(own, { ...photo, chosen });
    }
    if (x) this.whole(x);
    else this.choose(sample);
    return true;
  }

  async typical() {
    const place = typicalSample(this.play);
    const photo = this.region && this.play.samples[place]?.sample.photo;
    const photos = this.region ? (this.atlas.photos ?? []) : [];
    if (photo && (await this.give({ photo }, false))) return;
    if (!photo && photos.length && (await this.photograph(photos[Math.floor(photos.length / 2)]))) return;
    this.choose(place);
  }

  /** Stop listening. */
  leave() {
    this.file?.leave();
    this.text?.drop();
  }

  /** Texts, which the server makes rows. */
  texts() {
    const { store, name } = this.context;
    const embed = async (text) => (await store.post(`${name}/embed`, { text })).x;
    const begun = () => {
      this.turn += 1; // a person was faster than the first input
    };
    const given = (x) => {
      this.edited = null;
      fill(this.words);
      this.whole(x);
    };
    return new TextInput(embed, begun, given);
  }

  /** A row that is nobody's edit of the fields, which therefore follow it. */
  whole(x, sample = null) {
    this.row?.set(x);
    this.one(x, sample);
  }

  one(x, sample = null) {
    const [height, width, channels = 1] = this.atlas.shape;
    this.pad?.show({ height, width, channels, values: x }, this.play);
    this.given({ x, n: 1, across: 0 }, sample);
  }

  /** A kept sample as the input. */
  choose(place) {
    const kept = this.play.samples[place];
    if (!kept) return;
    const x = this.samples.slice(kept.at * this.width, (kept.at + 1) * this.width);
    this.word(kept.sample);
    this.whole(x, place);
  }

  /** The sample as a person reads it. */
  word(sample) {
    if (!["text", "tokens"].includes(this.atlas.look)) return;
    this.edited = h("p", { class: "hint", role: "status" });
    fill(this.words, sampleFigure(this.run, sample), this.edited);
  }

  typed(x) {
    if (this.edited) this.edited.textContent = t("play.row.edited");
    this.one(x);
  }

  drawn(ink) {
    const side = this.atlas.shape[0];
    const x = inRange(centred(ink, side) ?? new Float32Array(side * side), this.play);
    this.given({ x, n: 1, across: 0 });
  }

  /** As Python does, whose whitening would amplify the noise of a photograph's compression. */
  halves({ height, width }) {
    const { patch } = this.play;
    return patch?.whiten === "1/f" && Math.floor(Math.min(height, width) / 2) >= 4 * patch.side;
  }

  /**
   * A picture that came from a file, in colour and 0…1; `scale` of its pixels become one.
   * @returns {boolean} whether it could be used
   */
  opened(picture, scale = 1, middle = null) {
    if (this.region) {
      try {
        const [height, width] = [picture.height, picture.width].map((side) => Math.floor(side / scale));
        this.region.open(picture, { height, width }, middle);
        return true;
      } catch (error) {
        this.file.tell(error);
        return false;
      }
    }
    const [height, width, channels] = this.atlas.shape;
    this.one(inRange(resized(channels ? picture : toGrey(picture), height, width).values, this.play));
    return true;
  }

  photographs() {
    const [{ deviation: spread }] = columnsOf(this.samples, 1);
    this.region = new Region(this.play, spread, this.most, (input, patch) =>
      this.given(input, null, patch));
    const photos = this.atlas.photos ?? [];
    const buttons = photos.map((photo) => button(this.thumbnail(photo), () => this.photograph(photo), {
      class: "play-thumbnail", title: photo.name, "aria-label": t("play.photo", { name: photo.name }),
    }));
    return h("div", {}, photos.length > 0 && h("h3", {}, t("play.photos")),
      photos.length > 0 && h("div", { class: "play-strip across" }, buttons), this.region.element);
  }

  thumbnail({ file, width, height }) {
    const src = this.context.store.imageUrl(`${this.run.name}/files/${file}`);
    const size = { width: Math.round((PHOTO_HEIGHT * width) / height), height: PHOTO_HEIGHT };
    return h("img", { src, alt: "", loading: "lazy", ...size });
  }

  /** A photograph of the run, and the place in it that is to be seen. */
  async photograph({ file, width, height, scale }, place = null) {
    const middle = place && {
      down: (place.top + place.side / 2) / height,
      across: (place.left + place.side / 2) / width,
      chosen: place.chosen,
    };
    try {
      const picture = await readPicture(await this.bytesOf(file)); // the atlas keeps large ones smaller
      return this.opened(picture, Math.max(1, ((scale ?? 1) * picture.width) / width), middle);
    } catch (error) {
      this.file.tell(error);
      return false;
    }
  }

  /** A photograph's bytes: what came from a file may be shown, but not read back from a canvas. */
  async bytesOf(file) {
    const { store, name } = this.context;
    const path = `${name}/files/${file}`;
    if (store.mode === "page") return bytesOf(store.imageUrl(path).split(",")[1]);
    const copy = `${name}/files/${file.replace("/", "-")}.bin`;
    return new Uint8Array(await store.bytes(store.mode === "server" ? path : copy));
  }

  /** The columns to edit; `result` compares them with what is given back. */
  table() {
    const { atlas } = this;
    const names = atlas.input_names ?? Array.from({ length: this.width }, (_, at) => `x${at}`);
    const columns = columnsOf(this.samples, this.width);
    this.row = new EditedRow(this.run, names, columns, (x) => this.typed(x));
    this.result = atlas.transcoder ? new Targets() : new Compared(this.run, names, columns);
    if (atlas.look === "row") return this.row.element;
    return h("details", {}, h("summary", {}, t("play.row.open", { n: names.length })), this.row.element);
  }
}
