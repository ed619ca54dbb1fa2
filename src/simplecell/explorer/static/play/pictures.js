/**
 * Pictures a person gives: read with care, greyed, made smaller, whitened, cut to patches, painted.
 * A picture is `{height, width, channels, values}`: row-major, channels last, 0…1 when just read.
 *
 * @typedef {{height: number, width: number, channels: number, values: Float32Array}} Picture
 */

const MOST_PIXELS = 50e6;
const MOST_BYTES = 64 * 2 ** 20;
const DECODED_SIDE = 1024;
const RED = 0.299;
const GREEN = 0.587;
const BLUE = 0.114;

/** A picture that cannot be used; `reason` is the key of a sentence, `values` what stands in it. */
export class PictureError extends Error {
  constructor(reason, values = {}) {
    super(reason);
    this.reason = reason;
    this.values = values;
  }
}

/** {width, height} that a file claims, read without decoding it; null for an unknown kind. */
export function sizeOf(bytes) {
  if (bytes.length < 32) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (text(1, 3) === "PNG") return { width: view.getUint32(16), height: view.getUint32(20) };
  if (text(0, 4) === "GIF8") {
    return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  }
  if (text(0, 2) === "BM") {
    return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  }
  if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return sizeOfWebp(view, text(12, 4));
  return view.getUint16(0) === 0xffd8 ? sizeOfJpeg(view) : null;
}

function sizeOfWebp(view, kind) {
  if (kind === "VP8X") {
    const side = (at) => 1 + view.getUint16(at, true) + 65536 * view.getUint8(at + 2);
    return { width: side(24), height: side(27) };
  }
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
  }
  const side = (at) => view.getUint16(at, true) & 0x3fff;
  return kind === "VP8 " ? { width: side(26), height: side(28) } : null;
}

function sizeOfJpeg(view) {
  let at = 2;
  while (at + 9 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    const filling = marker === 0xff;
    const alone = marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    if (filling) at += 1;
    else at += alone ? 2 : 2 + view.getUint16(at + 2);
  }
  return null;
}

/**
 * Decode a file: upright, transparency over white; large ones are made smaller on the way.
 * @param {Uint8Array} bytes
 * @returns {Promise<Picture>} in colour
 * @throws {PictureError}
 */
export async function readPicture(bytes) {
  if (bytes.length > MOST_BYTES) {
    throw new PictureError("play.file.long", { most: MOST_BYTES / 2 ** 20 });
  }
  const size = sizeOf(bytes);
  if (!size || !size.width || !size.height) throw new PictureError("play.file.unknown");
  if (size.width * size.height > MOST_PIXELS) {
    throw new PictureError("play.file.large", { ...size, most: MOST_PIXELS / 1e6 });
  }
  let image;
  try {
    image = await createImageBitmap(new Blob([bytes]), resizing(size));
    return pixelsOf(image);
  } catch {
    throw new PictureError("play.file.broken");
  } finally {
    image?.close();
  }
}

/** Only one side is named: an orientation in the file may swap the two. */
function resizing({ width, height }) {
  const options = { colorSpaceConversion: "none" };
  if (Math.max(width, height) <= DECODED_SIDE) return options;
  const side = width >= height ? "resizeWidth" : "resizeHeight";
  return { ...options, [side]: DECODED_SIDE, resizeQuality: "high" };
}

function pixelsOf(image) {
  const { width, height } = image;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  const values = new Float32Array(width * height * 3);
  for (let at = 0, from = 0; at < values.length; at += 1, from += at % 3 ? 1 : 2) {
    values[at] = data[from] / 255;
  }
  return { height, width, channels: 3, values };
}

/** Brightness of a picture. Source: ITU-R BT.601, as the Python package has it. */
export function toGrey(picture) {
  if (picture.channels === 1) return picture;
  const { height, width, values } = picture;
  const grey = new Float32Array(height * width);
  for (let at = 0; at < grey.length; at += 1) {
    grey[at] = RED * values[3 * at] + GREEN * values[3 * at + 1] + BLUE * values[3 * at + 2];
  }
  return { height, width, channels: 1, values: grey };
}

/** Values 0…1 as the range of the data. */
export function inRange(values, { low, high }) {
  return values.map((value) => low + value * (high - low));
}

/** A picture in another size: the mean over the area that each new pixel covers. */
export function resized(picture, height, width) {
  const { channels } = picture;
  const rows = shares(picture.height, height);
  const columns = shares(picture.width, width);
  const values = new Float32Array(height * width * channels);
  const half = new Float64Array(picture.width * channels);
  rows.forEach((parts, row) => {
    half.fill(0);
    for (const [from, share] of parts) addRow(picture, from, share, half);
    columns.forEach((across, column) => {
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 0;
        for (const [from, share] of across) sum += share * half[from * channels + channel];
        values[(row * width + column) * channels + channel] = sum;
      }
    });
  });
  return { height, width, channels, values };
}

function addRow({ width, channels, values }, row, share, sums) {
  const start = row * width * channels;
  for (let at = 0; at < sums.length; at += 1) sums[at] += share * values[start + at];
}

/** For each of `to` pixels: which of `from` it covers, and the share of each in it. */
function shares(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, at) => {
    const [start, end] = [at * step, (at + 1) * step];
    const parts = [];
    for (let pixel = Math.floor(start); pixel < Math.min(from, Math.ceil(end)); pixel += 1) {
      const share = (Math.min(end, pixel + 1) - Math.max(start, pixel)) / step;
      if (share > 1e-9) parts.push([pixel, share]);
    }
    return parts;
  });
}

/**
 * A picture of at most `side` pixels a side, by means of whole squares of pixels (what is left over
 * is dropped).
 */
export function shrunk(picture, side) {
  const factor = Math.ceil(Math.max(picture.height, picture.width) / side);
  if (factor === 1) return picture;
  const height = Math.max(1, Math.floor(picture.height / factor));
  const width = Math.max(1, Math.floor(picture.width / factor));
  const whole = cut(picture, 0, 0, Math.min(picture.height, height * factor),
    Math.min(picture.width, width * factor));
  return resized(whole, height, width);
}

/** A rectangle of a picture. */
export function cut(picture, top, left, height, width) {
  const { channels } = picture;
  const values = new Float32Array(height * width * channels);
  for (let row = 0; row < height; row += 1) {
    const from = ((top + row) * picture.width + left) * channels;
    values.set(picture.values.subarray(from, from + width * channels), row * width * channels);
  }
  return { height, width, channels, values };
}

/** The patches of a grid as large as the picture, row by row, each as one row of numbers. */
export function toPatches(picture, side) {
  const [down, across] = [picture.height / side, picture.width / side];
  const size = side * side * picture.channels;
  const rows = new Float32Array(down * across * size);
  for (let at = 0; at < down * across; at += 1) {
    const [row, column] = [Math.floor(at / across), at % across];
    rows.set(cut(picture, row * side, column * side, side, side).values, at * size);
  }
  return rows;
}

/** The picture that patches of a grid make, `across` of them side by side. */
export function fromPatches(rows, side, across, channels) {
  const size = side * side * channels;
  const width = across * side;
  const values = new Float32Array(rows.length);
  const height = values.length / channels / width;
  for (let patch = 0; patch * size < rows.length; patch += 1) {
    const [row, column] = [Math.floor(patch / across), patch % across];
    for (let line = 0; line < side; line += 1) {
      const from = patch * size + line * side * channels;
      const to = ((row * side + line) * width + column * side) * channels;
      values.set(rows.subarray(from, from + side * channels), to);
    }
  }
  return { height, width, channels, values };
}
