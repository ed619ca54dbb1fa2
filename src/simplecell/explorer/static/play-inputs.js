/** What a person gives: a drawing, a picture, a region of a photograph, a sample, a row. */

import { h } from "./dom.js";
import { centred, drawingSurface } from "./play-digit.js";
import { FileInput } from "./play-file.js";
import { Region } from "./play-region.js";
import { Row } from "./play-row.js";
import { firstSample, samplePicker } from "./play-samples.js";
import { say } from "./play-say.js";
import { bytesOf } from "./store.js";
import { readPicture, resized, toGrey } from "./pictures.js";

const PHOTO_HEIGHT = 52;

/** The parts of a page that make inputs; each new input is given away. */
export class Inputs {
  /**
   * @param {any} context of the page
   * @param {{play: any, samples: Float32Array, most: number}} kept samples in input units; patches
   *   that may be asked for at once
   * @param {function({x: Float32Array, n: number, across: number}, number|null): void} given an
   *   input (patches side by side, or 0), and which of the kept samples it is
   */
  constructor(context, { play, samples, most }, given) {
    Object.assign(this, { context, play, samples, most, atlas: context.atlas });
    this.width = this.atlas.n_inputs;
    this.given = (input, sample = null) => {
      this.picker.mark(sample);
      given(input, sample);
    };
    // what a transcoder gives is no picture of its input
    const drawn = this.atlas.look === "picture" && !this.atlas.transcoder;
    this.kind = drawn ? play.input : "row";
    this.picker = samplePicker(play, this.atlas, (place) => this.choose(place));
    this.element = h("div", {}, this.parts());
  }

  parts() {
    if (this.kind === "row") return [this.picker.element, this.table()];
    this.file = new FileInput(this.context.root, (picture, jpeg) =>
      this.opened(picture, jpeg && this.halves(picture) ? 2 : 1));
    const parts = [this.file.element, this.picker.element];
    if (this.kind === "digit") return [drawingSurface((ink) => this.drawn(ink), say), ...parts];
    return this.kind === "patches" ? [this.photographs(), ...parts] : parts;
  }

  /** The first input of a page: the sample asked for, a photograph, or a usual sample. */
  start(sample) {
    const photos = this.region ? (this.atlas.photos ?? []) : [];
    if (this.play.samples[sample]) this.choose(sample);
    else if (photos.length) this.photograph(photos[Math.floor(photos.length / 2)]);
    else this.choose(firstSample(this.play));
  }

  /** Stop listening. */
  leave() {
    this.file?.leave();
  }

  one(x, sample = null) {
    this.given({ x, n: 1, across: 0 }, sample);
  }

  /** A kept sample as the input. */
  choose(place) {
    const kept = this.play.samples[place];
    if (!kept) return;
    const x = this.samples.slice(kept.at * this.width, (kept.at + 1) * this.width);
    this.row?.set(x);
    this.one(x, place);
  }

  drawn(ink) {
    const side = this.atlas.shape[0];
    this.one(this.inUnits(centred(ink, side) ?? new Float32Array(side * side)));
  }

  /** As Python does, whose whitening would amplify the noise of a photograph's compression. */
  halves({ height, width }) {
    const { patch } = this.play;
    return patch?.whiten === "1/f" && Math.floor(Math.min(height, width) / 2) >= 4 * patch.side;
  }

  /** 0…1 as the range of the data. */
  inUnits(values) {
    const { low, high } = this.play;
    return values.map((value) => low + value * (high - low));
  }

  /** A picture that came from a file, in colour and 0…1; `scale` of its pixels become one. */
  opened(picture, scale = 1) {
    if (this.region) {
      try {
        const [height, width] = [picture.height, picture.width].map((side) => Math.floor(side / scale));
        this.region.open(picture, { height, width });
      } catch (error) {
        this.file.tell(error);
      }
      return;
    }
    const [height, width, channels] = this.atlas.shape;
    this.one(this.inUnits(resized(channels ? picture : toGrey(picture), height, width).values));
  }

  photographs() {
    const { low, high } = this.play;
    const mean = this.samples.reduce((sum, value) => sum + value, 0) / this.samples.length;
    const power = this.samples.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const spread = Math.sqrt(power / this.samples.length);
    this.region = new Region(this.play.patch, { low, high, spread }, this.most, (input) =>
      this.given(input));
    const photos = this.atlas.photos ?? [];
    const buttons = photos.map((photo) => h("button", {
      type: "button", class: "play-thumbnail", title: photo.name,
      "aria-label": say("play.photo", { name: photo.name }), on: { click: () => this.photograph(photo) },
    }, this.thumbnail(photo)));
    return h("div", {}, photos.length > 0 && h("h3", {}, say("play.photos")),
      photos.length > 0 && h("div", { class: "play-strip across" }, buttons), this.region.element);
  }

  thumbnail({ file, width, height }) {
    const src = this.context.store.imageUrl(`${this.context.run}/files/${file}`);
    const size = { width: Math.round((PHOTO_HEIGHT * width) / height), height: PHOTO_HEIGHT };
    return h("img", { src, alt: "", loading: "lazy", ...size });
  }

  async photograph({ file, width, scale }) {
    try {
      const picture = await readPicture(await this.bytesOf(file)); // the atlas keeps large ones smaller
      this.opened(picture, Math.max(1, ((scale ?? 1) * picture.width) / width));
    } catch (error) {
      this.file.tell(error);
    }
  }

  /** A photograph's bytes: what came from a file may be shown, but not read back from a canvas. */
  async bytesOf(file) {
    const { store, run } = this.context;
    const path = `${run}/files/${file}`;
    if (store.mode === "page") return bytesOf(store.imageUrl(path).split(",")[1]);
    const copy = `${run}/files/${file.replace("/", "-")}.bin`;
    return new Uint8Array(await store.bytes(store.mode === "server" ? path : copy));
  }

  table() {
    const { atlas } = this;
    const names = atlas.input_names ?? Array.from({ length: this.width }, (_, at) => `x${at}`);
    const ranges = columnRanges(this.samples, this.width);
    this.row = new Row(names, ranges, atlas.transcoder, (x) => this.one(x));
    if (atlas.look === "row") return this.row.element;
    return h("details", {}, h("summary", {}, say("play.row.open", { n: names.length })), this.row.element);
  }
}

/** The least and greatest of each column. */
function columnRanges(values, width) {
  const ranges = Array.from({ length: width }, () => ({ low: Infinity, high: -Infinity }));
  values.forEach((value, at) => {
    const range = ranges[at % width];
    range.low = Math.min(range.low, value);
    range.high = Math.max(range.high, value);
  });
  return ranges;
}
